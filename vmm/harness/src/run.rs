//! `vmm run`: a scenario's way from its file to its verdict.

mod bench;
mod command;
mod explain;
mod home;
mod modules;
mod prepare;

pub use bench::{bench_boot, bench_build, bench_calls};
pub use command::{build_modules, check_modules};
pub use explain::{Explain, explain};

use base::{
    cache::{Cache, CacheError, Fault},
    diagnostic::EXIT_BAD_INPUT,
    interrupt,
    wanted::Wanted,
};
use host::{Choice, Chosen, Host, HostError};
use judge::{Judge, Judged, Verdict};
use prepare::Prepared;
use report::{Reporter, json::Json, terminal::Terminal};
use scenario::model::Scenario;
use std::{
    fmt::Display,
    io::{self, ErrorKind},
    path::PathBuf,
};

/// What a program exits with when Ctrl-C ended it: 128 and the signal's number, as shells do.
pub const EXIT_INTERRUPTED: u8 = 130;

/// What it exits with when this machine is at fault.
pub const EXIT_INFRA: u8 = 3;

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where.
    pub host: Choice,
    /// Show system calls one by one; with names, those alone.
    pub trace: Option<Vec<String>>,
    /// Also write the run as one JSON object to this file; only for a single scenario.
    pub json: Option<PathBuf>,
    /// The kernel, where it is not the scenario's choice.
    pub kernel: Wanted,
}

/// Runs scenarios one after the other and reports to standard output. Returns the exit code: 0 if all
/// passed, 1 if one did not, 2 for bad input (then nothing was run), 3 where this machine is at fault, 130
/// after Ctrl-C; of several the gravest.
///
/// [`interrupt::install`] makes Ctrl-C end a run in order.
pub fn run(paths: &[PathBuf], options: &Options) -> u8 {
    let mut scenarios = Vec::new();
    let mut bad = false;
    for path in paths {
        match scenario::load(path) {
            Ok(scenario) => scenarios.push(scenario),
            Err(diagnostics) => {
                complain(&diagnostics);
                bad = true;
            }
        }
    }
    if bad {
        return EXIT_BAD_INPUT;
    }
    let json = match options.json.as_deref().map(Json::create).transpose() {
        Ok(json) => json,
        Err(why) => {
            error(&why);
            return EXIT_BAD_INPUT;
        }
    };
    let cache = match Cache::open() {
        Ok(cache) => cache,
        Err(error) => return failed_before(&error, error.fault()),
    };
    let mut all = Runs {
        guests_mib: scenarios.iter().map(|scenario| scenario.machine.memory_mib).max().unwrap_or(0),
        cache,
        choice: options.host,
        trace: options.trace.clone(),
        kernel: options.kernel.clone(),
        chosen: None,
        host: None,
    };
    let mut json = json;
    let mut code = 0;
    for (index, scenario) in scenarios.iter().enumerate() {
        if index > 0 {
            println_or_not("");
        }
        let mut reports = Reports { all: vec![Box::new(Terminal::stdout())], failed: false };
        // Last, so that the terminal has shown what a file can't take.
        reports.all.extend(json.take().map(|json| Box::new(json) as Box<dyn Reporter>));
        let mut this = all.one(scenario, &mut reports);
        if reports.failed {
            this = this.max(EXIT_INFRA);
        }
        code = code.max(this);
        if this == EXIT_INTERRUPTED {
            break;
        }
    }
    code
}

/// What several runs share.
struct Runs {
    cache: Cache,
    choice: Choice,
    trace: Option<Vec<String>>,
    kernel: Wanted,
    /// The largest of the guests.
    guests_mib: u32,
    chosen: Option<Chosen>,
    host: Option<Host>,
}

/// Why a run ends before, or without, its last event.
enum Abort {
    /// A verdict, and the reason for it.
    Verdict(Verdict, String),
    /// Exit code 2.
    Input(String),
    /// Ctrl-C.
    Interrupted,
}

impl Abort {
    /// `error` continues "failed to".
    fn fault(error: &dyn Display, fault: Fault) -> Self {
        let why = format!("failed to {error}");
        match fault {
            Fault::Build => Self::Verdict(Verdict::BuildFailed, why),
            Fault::Machine => Self::Verdict(Verdict::Infra, why),
            Fault::Input => Self::Input(why),
            Fault::Interrupted => Self::Interrupted,
        }
    }
}

impl From<HostError> for Abort {
    fn from(error: HostError) -> Self {
        if error.is_interrupt() { Self::Interrupted } else { Self::fault(&error, Fault::Machine) }
    }
}

impl From<CacheError> for Abort {
    fn from(error: CacheError) -> Self {
        Self::fault(&error, error.fault())
    }
}

impl Runs {
    fn one(&mut self, scenario: &Scenario, reports: &mut Reports) -> u8 {
        let mut judge = Judge::new(scenario);
        reports.tell(&judge.begin());
        let (verdict, why, code) = match self.carry_out(scenario, &mut judge, reports) {
            // The engine's last event brings the verdict. It always comes; if it did not, that's our fault.
            Ok(()) => (Verdict::Infra, "the run has no end".to_owned(), None),
            Err(Abort::Verdict(verdict, why)) => (verdict, why, None),
            Err(Abort::Input(why)) => {
                error(&why);
                (Verdict::Infra, why, Some(EXIT_BAD_INPUT))
            }
            Err(Abort::Interrupted) => {
                (Verdict::Infra, "interrupted by the user".to_owned(), Some(EXIT_INTERRUPTED))
            }
        };
        for judged in judge.abort(verdict, why) {
            reports.tell(&judged);
        }
        code.unwrap_or_else(|| judge.verdict().map_or(EXIT_INFRA, Verdict::exit_code))
    }

    fn carry_out(
        &mut self,
        scenario: &Scenario,
        judge: &mut Judge,
        reports: &mut Reports,
    ) -> Result<(), Abort> {
        if self.chosen.is_none() {
            // Before the kernel is built: to learn after minutes that it can't run would be late.
            self.chosen = Some(host::choose(self.choice, self.cache.root().join("emulator"))?);
        }
        let chosen = self.chosen.as_ref().expect("it was just chosen");
        reports.tell(&judge.host(chosen.description.clone()));
        let kernel = prepare::kernel(scenario, &self.kernel, &self.cache)?;
        // It boots while modules and image are made.
        if self.host.is_none() {
            self.host = Some(chosen.start(self.guests_mib, &interrupt::requested)?);
        }
        let Prepared { plan, kernel, names, builds, preflight, stage: _kept } =
            prepare::the_rest(scenario, kernel, self.trace.as_deref(), &self.cache)?;
        reports.tell(&judge.kernel(kernel, names));
        reports.tell(&Judged::Modules(builds, preflight));
        let host = self.host.as_mut().expect("it was just started");
        let result = host.execute(&plan, &interrupt::requested, &mut |event| {
            for judged in judge.event(&event) {
                reports.tell(&judged);
            }
        });
        if result.is_err() {
            // Another scenario gets a fresh one.
            self.host = None;
        }
        Ok(result?)
    }
}

/// Everybody who wants to know how a run goes.
struct Reports {
    all: Vec<Box<dyn Reporter>>,
    failed: bool,
}

impl Reports {
    /// One who can't write gets nothing more: the run goes on for the others.
    fn tell(&mut self, judged: &Judged) {
        let failed = &mut self.failed;
        self.all.retain_mut(|reporter| match reporter.event(judged) {
            Ok(()) => true,
            // `vmm run ... | head` has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => false,
            Err(error) => {
                complain(&format!("error: failed to write a report: {error}"));
                *failed = true;
                false
            }
        });
    }
}

/// What a command that is no run exits with; says why it failed.
fn exit_code(result: Result<(), Abort>) -> u8 {
    let (why, code) = match result {
        Ok(()) => return 0,
        Err(Abort::Interrupted) => return EXIT_INTERRUPTED,
        Err(Abort::Verdict(verdict, why)) => (why, verdict.exit_code()),
        Err(Abort::Input(why)) => (why, EXIT_BAD_INPUT),
    };
    error(&why);
    code
}

fn failed_before(error: &dyn Display, fault: Fault) -> u8 {
    complain(&format!("error: failed to {error}"));
    match fault {
        Fault::Interrupted => EXIT_INTERRUPTED,
        Fault::Input => EXIT_BAD_INPUT,
        Fault::Build => 1,
        Fault::Machine => EXIT_INFRA,
    }
}

/// Diagnostics of a file begin with the word already.
fn error(why: &str) {
    let word = if why.starts_with("error") { "" } else { "error: " };
    complain(&format!("{word}{why}"));
}

/// On standard error. A closed one is no reason to stop.
fn complain(what: &dyn Display) {
    let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("{what}\n"));
}

fn print_or_not(what: &str) {
    let _ = io::Write::write_fmt(&mut io::stdout(), format_args!("{what}"));
}

fn println_or_not(what: &str) {
    print_or_not(&format!("{what}\n"));
}
