//! The command `vmm`.
//!
//! It is also what runs where no command line is: every guest has a machine process of its own
//! (`vmm machine serve`), and in an emulated host this program is the init.

#![forbid(unsafe_code)]

mod bench;
mod bisect;
mod brought;
mod cli;
mod confined;
mod doctor;
mod dry;
mod exit;
mod gc;
mod grade;
mod host;
mod init;
mod kernel;
mod kernel_tests;
mod machine;
mod manual;
mod many;
mod module;
mod repeat;
mod report;
mod run;
mod runner;
mod say;
mod splat;

use ::host::emulated;
use base::{interrupt, project};
use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use judge::Verdict;
use machine::MachineArgs;
use std::process::ExitCode;

fn main() -> ExitCode {
    if emulated::is_init() {
        // Its return ends the emulated host, whose console is then shown.
        return match emulated::init() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say::error(&error);
                ExitCode::FAILURE
            }
        };
    }
    // Kernels before 5.11 lack it: there a machine process has what others left open.
    let _ = ::machine::pass_none_on();
    // As the engine starts it, each time there is a guest: all other commands need not be known for that.
    if std::env::args_os().skip(1).eq(["machine", "serve"]) {
        return machine::serve();
    }
    // The same for what reads files of others.
    if std::env::args_os().nth(1).is_some_and(|word| word == jail::reader::COMMAND) {
        return read();
    }
    jail::confined::has_commands();
    let Cli { command, require_jail, project } = Cli::try_parse().unwrap_or_else(|error| refuse(&error));
    project::fall_back_to(brought::project);
    if let Some(folder) = project {
        project::name(folder);
    }
    match command {
        Command::Machine(MachineArgs { command: machine::Command::Serve }) => machine::serve(),
        Command::Probe => probe(),
        Command::Confined(args) => confined::run(args),
        command => {
            // Only now: a machine process ends with its socket, not by Ctrl-C.
            if let Err(error) = interrupt::install() {
                return not_started(&format!("prepare for Ctrl-C: {error}"));
            }
            // After it: who is told to end ends in order.
            if let Err(error) = base::program::end_with_its_starter() {
                return not_started(&format!("start: {error}"));
            }
            if let Some(short) = jail::short_of_addresses() {
                return not_started(&format!("start: {short}"));
            }
            if require_jail && let Some(lacks) = jailed() {
                return not_started(&format!("confine what others wrote, as --require-jail asks: {lacks}"));
            }
            if let Err(error) = runner::stop(&command) {
                return not_started(&format!("keep what others wrote from GitHub's runner: {error}"));
            }
            let code = user(command);
            runner::resume();
            ExitCode::from(code)
        }
    }
}

/// This machine's fault, before anything was begun.
fn not_started(why: &str) -> ExitCode {
    say::error(&format!("failed to {why}"));
    ExitCode::from(exit::before_anything(Verdict::Infra, std::env::args_os()))
}

/// Ends the program as clap does, after a usage error and after what is no error, such as --help.
fn refuse(error: &clap::Error) -> ! {
    if !error.use_stderr() {
        error.exit();
    }
    // Where that can't be shown, the code still tells it.
    let _ = error.print();
    std::process::exit(exit::before_anything(Verdict::BadInput, std::env::args_os()).into())
}

/// Reads what others wrote, as [`jail::reader`] starts it.
fn read() -> ExitCode {
    let mut readers = vec![&base::unpack::READER, &::module::preflight::READER];
    readers.extend(::kernel::READERS.into_iter().chain(::grade::readers()));
    let arguments: Vec<_> = std::env::args_os().skip(2).collect();
    match jail::reader::serve(&readers, &arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::error(&format!("failed to read what others wrote: {error}"));
            ExitCode::from(exit::code(Verdict::Infra))
        }
    }
}

/// Has everything be confined in full from now on. What this machine lacks for that, if it lacks anything.
fn jailed() -> Option<String> {
    jail::require();
    let lacks: Vec<String> = jail::cell::layers().into_iter().filter_map(|layer| layer.lacks).collect();
    (!lacks.is_empty()).then(|| lacks.join("; "))
}

/// What a person asked for.
fn user(command: Command) -> u8 {
    match command {
        Command::Run(args) => match args.complaint() {
            Some(complaint) => usage(&complaint),
            None => run::run(&args),
        },
        Command::Kselftest(args) => kernel_tests::kselftest(&args),
        Command::Kunit(args) => kernel_tests::kunit(&args),
        Command::Bisect(args) => bisect::bisect(&args),
        Command::Bench(args) => say::outcome(bench::measure(args.command)),
        Command::Explain(args) => say::outcome(harness::explain::explain(&args.asked())),
        Command::Module(args) => module::module(&args),
        Command::Grade(args) => grade::grade(args),
        Command::Init(args) => init::init(&args),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
        Command::Report(args) => report::report(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Kernel(args) => kernel::kernel(&args),
        Command::Machine(args) => machine::machine(&args.command),
        Command::Host(args) => host::host(&args),
        Command::Splat(args) => splat::splat(&args),
        Command::Probe | Command::Confined(_) => unreachable!("this is no user's command"),
    }
}

/// The tiny guest that tells a sound KVM from one that only looks like it.
fn probe() -> ExitCode {
    jail::cell::raise();
    let found = ::machine::probe().map_err(|error| error.to_string()).map(|found| ::host::kvm::Findings {
        ring0_ns: found.ring0_ns,
        int3: found.int3,
        hw_breakpoint: found.hw_breakpoint,
    });
    match ::host::kvm::report_probe(&found) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What clap could not see of the command line.
fn usage(complaint: &str) -> ! {
    runner::resume();
    refuse(&Cli::command().error(clap::error::ErrorKind::ArgumentConflict, complaint))
}
