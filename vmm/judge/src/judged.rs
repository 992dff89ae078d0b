//! What reporters get: the events of a run, judged.

use super::case::{Attempt, Settled};
use super::check;
use super::entry::EntryWrite;
use super::excerpt::Excerpt;
use super::left_out::LeftOut;
use super::reason::Reason;
use super::subtests::Subtest;
use super::tampered::Tampered;
use super::unknown::Unseen;
use super::verdict::{StepVerdict, Verdict};
use board::wire::{Door, LogRecord, SeenCall};
use engine::event::Booted;
use scenario::Settings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One judged thing, in the order of the run.
#[derive(Clone, Debug, PartialEq)]
pub enum Judged {
    /// The first: what is going to be done.
    Began(Began),
    /// Where machines run, and why there.
    Host(String),
    /// The kernel is built or found.
    Kernel(Kernel),
    /// The modules are built or found, and will load as far as their files tell; how long that look took.
    Modules(Vec<Build>, Duration),
    /// The agent said hello.
    Booted(Booted),
    /// A step begins.
    StepBegan(usize),
    /// A step is judged.
    Step(Box<JudgedStep>),
    /// The kernel logged this, in that step.
    Log(LogRecord, Option<usize>),
    /// A traced system call, and its name.
    Call(String, Box<SeenCall>),
    /// The guest wrote this to its console.
    Console(Vec<u8>),
    /// So much of the last three came here, and nobody had room for it.
    LeftOut(LeftOut),
    /// The last: the verdict.
    Ended(Box<RunReport>),
    /// An attempt is over, and another one follows.
    Attempt(Box<Attempt>),
    /// After the last attempt: what the scenario came to.
    Settled(Box<Settled>),
}

/// What is going to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Began {
    /// The scenario's name.
    pub scenario: String,
    /// Its file.
    pub path: PathBuf,
    /// Which of several kernels it runs on; empty where there is only one.
    pub variant: String,
    /// Which try this is, counted from 1.
    pub attempt: u32,
    /// What its author should know of it.
    pub notes: Vec<String>,
    /// Parameters whose values were drawn, and what came.
    pub drawn: Settings,
    /// All steps, none of them run.
    pub steps: Vec<JudgedStep>,
}

/// The kernel that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// `uname -r`, once it is known; what the running kernel says replaces it.
    pub release: Option<String>,
    /// The recipe's content hash.
    pub hash: String,
    /// Nothing had to be built.
    pub cached: bool,
    /// How long kernel and modules took to build or find.
    pub build: Duration,
    /// What can't be known of it, and why: its symbols are missing, or are another build's.
    pub warnings: Vec<String>,
}

/// A folder of modules that was built, or a module's file that was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// As the scenario names it.
    pub source: PathBuf,
    /// The modules that came of it.
    pub modules: Vec<String>,
    /// Their files, in the same order.
    pub files: Vec<PathBuf>,
    /// Nothing had to be built.
    pub cached: bool,
    /// What the compiler warned of, each with its lines, and what else may be wrong.
    pub warnings: Vec<String>,
}

/// A step and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgedStep {
    /// Counted from 0.
    pub index: usize,
    /// What was done, in one line, with its result.
    pub title: String,
    /// Its line in the scenario, counted from 1.
    pub line: usize,
    /// Whom its program runs as, if not root.
    pub user: Option<u32>,
    /// What it came to.
    pub verdict: StepVerdict,
    /// Why it failed beyond expectations, or did not run.
    pub why: Option<String>,
    /// What came back.
    pub result: Option<StepResult>,
    /// As the guest's clock saw it.
    pub took: Option<Duration>,
    /// The expectations that did not hold.
    pub failures: Vec<Failure>,
    /// So many expectations were looked at.
    pub expectations: usize,
    /// The tests that it is made of, where it runs some.
    pub subtests: Vec<Subtest>,
    /// What the kernel logged in it, its first and its last lines; only of a step that went wrong.
    pub log: Vec<LogRecord>,
    /// So many lines between those are left out.
    pub log_left_out: u64,
}

impl JudgedStep {
    /// Whether it was done, as far as it can be.
    pub fn is_done(&self) -> bool {
        match self.verdict {
            StepVerdict::Pass | StepVerdict::Fail | StepVerdict::Timeout => true,
            // Its own tests said so.
            StepVerdict::Skipped => self.result.is_some(),
            StepVerdict::NotRun => false,
        }
    }
}

/// What a step brought back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    /// What a system call returned.
    pub value: Option<i64>,
    /// Its name, if that is an error.
    pub errno: Option<String>,
    /// A program's exit status.
    pub exit: Option<i32>,
    /// The step's named results.
    pub values: BTreeMap<String, i128>,
    /// What was read or printed.
    pub output: Option<Excerpt>,
    /// What a program printed to standard error, if anything.
    pub stderr: Option<Excerpt>,
}

/// An expectation that did not hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What was looked at: `return value`, `sum`, `kernel log`.
    pub what: String,
    /// What should be.
    pub expected: String,
    /// What is.
    pub got: String,
    /// The expectation's line in the scenario, counted from 1.
    pub line: usize,
}

impl Failure {
    /// Whether the run did not end as it should have.
    pub fn is_of_the_end(&self) -> bool {
        self.what == check::END
    }
}

/// A trouble of the kernel's, found in its log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is: kind, title, function, frames.
    pub splat: splat::Finding,
    /// How bad it is.
    pub gravity: Gravity,
    /// The step in which its report began.
    pub step: Option<usize>,
    /// So often in that step, counted from 1; the first is shown.
    pub count: u64,
    /// Why it is not held against the kernel.
    pub excuse: Option<Excuse>,
}

impl Finding {
    /// Whether a run that has it can't pass.
    pub fn counts(&self) -> bool {
        self.gravity > Gravity::Harmless && self.excuse.is_none()
    }
}

/// How bad a finding is; the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gravity {
    /// Nobody's fault, such as memory that ran out: shown, not judged.
    Harmless,
    /// The kernel complains and goes on.
    Splat,
    /// The kernel kills the task.
    Oops,
    /// The kernel dies.
    Panic,
}

impl Gravity {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Harmless => "note",
            Self::Splat => "splat",
            Self::Oops => "oops",
            Self::Panic => "panic",
        }
    }
}

/// Why a finding is not held against the kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Excuse {
    /// The scenario wants it.
    Expected,
    /// The scenario allows it, for this reason.
    Allowed(String),
}

/// The kernel's taint, one bit a reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    /// When the agent said hello; `None` where it could not be read.
    pub before: Option<u64>,
    /// As last read.
    pub after: Option<u64>,
}

impl Taint {
    /// What came newly.
    pub fn added(self) -> Option<u64> {
        Some(self.after? & !self.before?)
    }
}

/// How often a system call was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyscallRow {
    /// Through which entry point.
    pub door: Door,
    /// The number in the door's table.
    pub nr: u64,
    /// Its name in the running kernel's table, or `syscall_999`.
    pub name: String,
    /// By steps.
    pub step: u64,
    /// By programs that steps started.
    pub program: u64,
    /// By the agent for itself; not part of what scenarios count.
    pub agent: u64,
    /// How often steps and programs got which error.
    pub errors: BTreeMap<String, u64>,
    /// What steps and programs got, the first few dozen different values; an errno is negative.
    pub results: BTreeMap<i64, u64>,
    /// Which processes called, the agent's own calls left out: pid, name and how often.
    pub processes: Vec<(u32, String, u64)>,
    /// Errors of steps and programs beyond those that are told apart.
    pub untold_errors: u64,
    /// The same of results.
    pub untold_results: u64,
}

impl SyscallRow {
    /// What a scenario counts: calls by steps and by their programs.
    pub fn count(&self) -> u64 {
        self.step.saturating_add(self.program)
    }
}

/// The end of a run: everything that it came to, as data that can be written down and read again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The verdict.
    pub verdict: Verdict,
    /// Why; none for a pass.
    pub reason: Reason,
    /// The scenario's name.
    pub scenario: String,
    /// Its file.
    pub path: PathBuf,
    /// All steps.
    pub steps: Vec<JudgedStep>,
    /// Expectations of the whole run that did not hold.
    pub failures: Vec<Failure>,
    /// So many expectations were looked at, of steps and of the run.
    pub expectations: usize,
    /// Tests that the kernel reported outside of all steps, as it does where they run at boot.
    pub subtests: Vec<Subtest>,
    /// The troubles in the kernel's log, in the order in which they began.
    pub findings: Vec<Finding>,
    /// What is not known of it; of the log, see `log_lost`.
    pub unknown: Vec<Unseen>,
    /// The kernel's taint.
    pub taint: Taint,
    /// By those that the scenario names first, then by count.
    pub syscalls: Vec<SyscallRow>,
    /// What the guest changed that has to stay as it is, and where its answers are not what was seen.
    pub tampered: Vec<Tampered>,
    /// Where the guest moved the kernel's entry points for system calls.
    pub entry_writes: Vec<EntryWrite>,
    /// Why system calls were not counted.
    pub not_trapping: Option<String>,
    /// Exits to user space by kind, until the agent's first byte.
    pub exits_until_ready: BTreeMap<String, u64>,
    /// Exits to user space by kind, in all.
    pub exits: BTreeMap<String, u64>,
    /// Broken descriptor chains by device.
    pub device_errors: BTreeMap<String, u64>,
    /// The machine process's own memory in KiB.
    pub own_memory_kib: u64,
    /// Where the vCPUs stood when the guest hung, one line each.
    pub standing: Vec<String>,
    /// The end of the kernel's log, for verdicts that it explains.
    pub log_tail: Vec<LogRecord>,
    /// So many lines of the log were overwritten before they could be read.
    pub log_lost: u64,
    /// What would keep it from passing though nothing else did: a taint that nothing explains, lines of the log or results of
    /// steps that nobody saw.
    pub doubt: Option<Reason>,
    /// The end of the console, where there is no kernel log.
    pub console_tail: String,
    /// From the agent's hello to the end.
    pub ran: Duration,
}
