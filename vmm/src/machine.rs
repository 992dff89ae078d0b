//! `vmm machine`: the machines that were saved, so that later runs need no boot.

use crate::{
    gc::GcArgs,
    kernel::table,
    say::{self, failed, out},
};
use base::{cache::Cache, text};
use clap::{Args, Subcommand};
use harness::{
    Abort,
    machines::{self, Saved},
};
use std::{fmt::Write, process::ExitCode, time::SystemTime};

/// Look after the machines that were saved.
///
/// The first run with a kernel boots it, and saves the machine when its agent is ready; later ones start from there. There
/// is one for each combination of kernel, memory, processors, command line and build of vmm. Those of an emulated host are
/// kept in that host, and are not listed here.
#[derive(Debug, Args)]
pub struct MachineArgs {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the saved machines
    List,
    /// Show what a saved machine is, and where
    Show {
        /// Its name, or enough of its first digits
        name: String,
    },
    /// Remove saved machines; they are made again when they are needed
    #[command(after_long_help = "\
Examples:
  vmm machine gc --keep 3                 all but the three most recently used
  vmm machine gc --older 30d --dry-run    what was not used for thirty days: only say it")]
    Gc(GcArgs),
    /// One machine, driven over the standard input
    #[command(hide = true)]
    Serve,
}

/// One guest, driven over the socket that is the standard input.
pub fn serve() -> ExitCode {
    jail::cell::raise();
    match board::process::serve(std::io::stdin()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked for, and returns the exit code.
pub fn machine(command: &Command) -> u8 {
    let cache = match Cache::open() {
        Ok(cache) => cache,
        Err(error) => return failed(&error, error.fault()),
    };
    let done = match command {
        Command::List => machines::list(&cache).map(|all| out(&list(&all))),
        Command::Show { name } => {
            return say::outcome(machines::find(&cache, name).map(|one| show(&one)).map_err(Abort::input));
        }
        Command::Gc(GcArgs { keep, older, dry_run }) => machines::list(&cache).and_then(|all| {
            let goes = machines::choose(all, *keep, *older);
            if !dry_run {
                machines::sweep(&cache);
                machines::remove(&goes)?;
            }
            out(&freed(&goes, *dry_run));
            Ok(())
        }),
        Command::Serve => unreachable!("this is no user's command"),
    };
    match done {
        Ok(()) => 0,
        Err(error) => failed(&error, error.fault()),
    }
}

fn list(all: &[Saved]) -> String {
    let head = ["name", "kernel", "memory", "cpus", "boot", "size", "last used"].map(str::to_owned);
    let now = SystemTime::now();
    let row = |machine: &Saved| {
        let [kernel, memory, cpus, boot] = match &machine.about {
            Ok(about) => [
                format!("{} {}", about.release, short(&about.kernel)),
                format!("{} MiB", about.memory_mib),
                about.vcpus.to_string(),
                text::time(about.cold),
            ],
            Err(_) => ["(damaged)", "", "", ""].map(str::to_owned),
        };
        let (size, used) = (table::size(machine.size), table::ago(machine.used, now));
        [short(&machine.key).to_owned(), kernel, memory, cpus, boot, size, used]
    };
    table::columns(&std::iter::once(head).chain(all.iter().map(row)).collect::<Vec<_>>())
}

fn short(name: &str) -> &str {
    name.get(..7).unwrap_or(name)
}

fn show(machine: &Saved) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| _ = writeln!(text, "{name:<14}{value}");
    line("name", &machine.key);
    match &machine.about {
        Ok(about) => {
            line("kernel", &format!("{} {}", about.release, about.kernel));
            line("memory", &format!("{} MiB", about.memory_mib));
            line("processors", &about.vcpus.to_string());
            let words = about.command_line.join(" ");
            line("command line", if words.is_empty() { "(vmm's own)" } else { &words });
            line("boot", &format!("{}, which a start from here saves", text::time(about.cold)));
        }
        Err(why) => line("damaged", &format!("{why}; the next run makes it again")),
    }
    line("last used", &table::ago(machine.used, SystemTime::now()));
    line("size", &format!("{} (zero pages take nothing)", table::size(machine.size)));
    line("folder", &machine.path.display().to_string());
    text
}

/// What was removed, or would be.
pub fn freed(machines: &[Saved], dry_run: bool) -> String {
    let verb = if dry_run { "would remove" } else { "removed" };
    let mut text = String::new();
    for machine in machines {
        let size = table::size(machine.size);
        _ = writeln!(text, "{verb} saved machine {} ({size})", short(&machine.key));
    }
    if machines.is_empty() {
        text += "no saved machine to remove\n";
    }
    text
}
