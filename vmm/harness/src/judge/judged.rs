//! What reporters get: the events of a run, judged.

use super::verdict::{StepVerdict, Verdict};
use crate::event::Booted;
use board::wire::{Door, LogRecord};
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
    /// The guest wrote this to its console.
    Console(Vec<u8>),
    /// The last: the verdict.
    Ended(Box<RunReport>),
}

/// What is going to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Began {
    /// The scenario's name.
    pub scenario: String,
    /// Its file.
    pub path: PathBuf,
    /// All steps, none of them run.
    pub steps: Vec<JudgedStep>,
}

/// The kernel that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// `uname -r`, once it is known; what the running kernel says replaces it.
    pub release: Option<String>,
    /// The recipe's content hash.
    pub hash: String,
    /// Nothing had to be built.
    pub cached: bool,
    /// How long kernel and modules took to build or find.
    pub build: Duration,
}

/// A folder of modules that was built, or a module's file that was given.
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedStep {
    /// Counted from 0.
    pub index: usize,
    /// What was done, in one line, with its result.
    pub title: String,
    /// Its line in the scenario, counted from 1.
    pub line: usize,
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
}

/// What a step brought back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepResult {
    /// What a system call returned.
    pub value: Option<i64>,
    /// Its name, if that is an error.
    pub errno: Option<String>,
    /// A program's exit status.
    pub exit: Option<i32>,
    /// The step's named results.
    pub values: BTreeMap<String, i128>,
    /// The head of what was read or printed.
    pub output: Option<String>,
}

/// An expectation that did not hold.
#[derive(Clone, Debug, PartialEq)]
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

/// Something bad in the kernel's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What sort of thing.
    pub kind: FindingKind,
    /// Its headline.
    pub title: String,
    /// In which step it was printed.
    pub step: Option<usize>,
    /// The scenario wants it.
    pub expected: bool,
}

/// Sorts of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// The kernel complains and goes on.
    Splat,
    /// The kernel kills the task.
    Oops,
    /// The kernel dies.
    Panic,
}

/// How often a system call was seen.
#[derive(Clone, Debug, PartialEq)]
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
}

impl SyscallRow {
    /// What a scenario counts: calls by steps and by their programs.
    pub fn count(&self) -> u64 {
        self.step.saturating_add(self.program)
    }
}

/// The end of a run: everything that it came to.
#[derive(Clone, Debug, PartialEq)]
pub struct RunReport {
    /// The verdict.
    pub verdict: Verdict,
    /// In words; empty for a pass.
    pub reason: String,
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
    /// What the kernel's log holds against it.
    pub findings: Vec<Finding>,
    /// By those that the scenario names first, then by count.
    pub syscalls: Vec<SyscallRow>,
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
    /// The end of the console, where there is no kernel log.
    pub console_tail: String,
    /// From the agent's hello to the end.
    pub ran: Duration,
}
