//! What happened, in order: the one stream that the judge and every reporter read.
//!
//! The engine sends these; they cross from an emulated host to this machine unchanged.

use crate::output::Output;
use board::wire::{
    Difference, EndReason, Evidence, Explanation, LogRecord, Reports, Reset, SeenCall, SyscallCount,
    Tampering, VcpuStanding, Walk,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The agent said hello, and system calls are trapped if the plan says so.
    Booted(Booted),
    /// A step begins.
    StepStarted {
        /// Counted from 0, as in the plan.
        index: usize,
    },
    /// A step ended, one way or another.
    StepEnded {
        /// Counted from 0, as in the plan.
        index: usize,
        /// How.
        outcome: StepOutcome,
    },
    /// The kernel logged this; sent before the `StepEnded` of the step in which it was printed.
    Log(LogRecord),
    /// Why nothing goes on; comes before the `StepEnded` of a step that timed out or was ended.
    Explained(Box<Explanation>),
    /// A system call that the plan has traced.
    Call(Box<SeenCall>),
    /// The way of the system call that the plan has followed.
    Walked(Box<Walk>),
    /// The kernel's taint as read from its memory, one bit a reason: when it was first known, and when it had
    /// changed. Like a log line, it belongs to the step in which it comes.
    Taint(u64),
    /// What the kernel has counted of its own reports, when it was first known, and when it had changed.
    Reports(Reports),
    /// `function+0x12/0x34 [module]` for addresses in the log that comes next, which the kernel could not name.
    Symbols(BTreeMap<u64, String>),
    /// The guest changed what has to stay as it is, or the agent's answer is not what the hypervisor saw. Like a log line, it
    /// belongs to the step in which it comes.
    Tampered(Tampered),
    /// The process that makes the calls of steps ended, and not in one of them: its descriptors are gone, and calls from here on are
    /// another one's.
    ProcessEnded {
        /// The step in which it did. Before its `StepEnded`, if what came of that step came from another one; else behind that.
        index: usize,
    },
    /// The guest wrote this to its console or serial port.
    Console(Vec<u8>),
    /// Some rows of the system calls that were counted: a part of the evidence, which comes before the end.
    Counted(Vec<SyscallCount>),
    /// The last event of a run that got as far as a machine.
    Ended(Ended),
}

/// What can't be trusted any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tampered {
    /// The guest changed something.
    Guest(Tampering),
    /// The step's call did not enter the kernel as the step wants it.
    Call(Difference),
    /// The agent says that it made the step's call, and nobody saw it.
    Unseen,
    /// The agent says that the call returned, and it did not.
    Inside,
    /// The agent says that the call returned something else than the kernel did.
    Result {
        /// As the agent says.
        said: i64,
        /// As the kernel returned it.
        seen: i64,
    },
    /// A buffer that came back from the agent is not as the kernel left it.
    Buffer {
        /// Counted from 0, among those that came back.
        index: usize,
        /// The first byte that differs.
        at: usize,
    },
    /// What came as the agent's answer is none to what it was asked.
    Kind,
    /// The agent says that its process ended in a call, with this status, and the call returned.
    Ended {
        /// As the agent says.
        said: i32,
    },
    /// The agent says that a program ended with this status, and it did not.
    Exit {
        /// As the agent says.
        said: i32,
        /// What it ended with.
        seen: Option<i32>,
    },
    /// A program had other code than its file had when it was brought into the guest.
    Program {
        /// Where.
        address: u64,
    },
    /// Output came from a program that no program wrote.
    Printed {
        /// So many bytes, at least.
        made_up: u64,
        /// So many came in all.
        said: u64,
    },
    /// The log tells of a panic, and the kernel lives on.
    Panic,
    /// The kernel's own variable says that it has panicked, so that it logs nothing more, and it lives on.
    Muted,
    /// The log tells of this, and neither the kernel's taint nor its own count of reports does.
    Finding {
        /// Its title.
        title: String,
    },
    /// The agent says that it made the step's call as often as it should, and it was seen less often.
    Fewer {
        /// So often.
        seen: u64,
    },
    /// The agent does not tell of all calls that it made for the step.
    Hidden {
        /// So many entered the kernel.
        seen: u64,
    },
    /// A record of the log that is never finished keeps back what was logged after it.
    KeptBack,
}

/// The guest is up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Booted {
    /// From the start of the machine process to the agent's hello.
    pub ready: Duration,
    /// Of this, until the first instruction of the guest.
    pub setup: Duration,
    /// From there until the scenario's files were in the guest.
    pub files: Duration,
    /// Exits to user space until it was ready, of all kinds.
    pub exits: u64,
    /// `uname -r` as the agent said.
    pub release: String,
    /// Why system calls are not trapped although the plan asks for it.
    pub not_trapping: Option<String>,
    /// How it came to be up.
    pub start: Start,
    /// What is to be said of a saved machine that was not used, or not made.
    pub notes: Vec<String>,
}

/// How a guest came to be where its run begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Start {
    /// Its kernel booted.
    Booted {
        /// The saved machine that was made on the way, by its short name.
        saved: Option<String>,
    },
    /// It started from a saved machine.
    Saved {
        /// Its short name.
        name: String,
        /// What the boot took that it stands for.
        cold: Duration,
    },
    /// The machine of the plan before went back to where it had started from.
    Back {
        /// The saved machine's short name.
        name: String,
        /// What the boot took that it stands for.
        cold: Duration,
        /// What going back took.
        reset: Reset,
    },
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StepOutcome {
    /// The main op, or the setup op that failed, returned.
    Returned {
        /// As the kernel left it in RAX; errno negated. A sleep returns 0.
        value: i64,
        /// Contents of out buffers, in their order.
        data: Vec<Vec<u8>>,
        /// As the guest's clock saw it; the sum over the step's calls.
        took: Duration,
        /// A file was longer than what was read of it.
        cut: bool,
    },
    /// The program ended.
    Exited {
        /// Exit status, or 128 plus the signal.
        code: i32,
        /// What it printed.
        stdout: Output,
        /// What it printed to standard error.
        stderr: Output,
        /// As the guest's clock saw it.
        took: Duration,
    },
    /// The process that made the call was killed in it.
    Died {
        /// By this signal.
        signal: i32,
    },
    /// It could not be asked for: an argument's name has no value, the agent refused.
    Skipped {
        /// Why.
        why: String,
    },
    /// The step's time was over, and what it did was ended; the run goes on.
    Ended {
        /// So long it had.
        limit: Duration,
        /// What had come by then: a program's output, what was read of a file.
        stdout: Output,
        /// What the program had printed to standard error.
        stderr: Output,
        /// Where the vCPUs stood when the time was over, several rounds; none for a sleep.
        standing: Vec<Vec<VcpuStanding>>,
        /// It was a call, and was in the kernel when the time was over, as far as that was seen.
        inside: bool,
    },
    /// No answer in the step's time, or none that could still come, and nothing ends it; the run ends here. Where the
    /// vCPUs stood, sampled some times.
    TimedOut {
        /// So long it was waited for.
        limit: Duration,
        /// Several rounds over all vCPUs.
        standing: Vec<Vec<VcpuStanding>>,
    },
    /// The machine ended in the middle of the step.
    Lost,
}

/// The end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Why the run ended.
    pub why: RunEnd,
    /// Everything that was counted.
    pub evidence: Evidence,
    /// From the agent's hello to here.
    pub ran: Duration,
    /// Of it, each step from its first request until everything was asked that concerns it, in order.
    pub steps: Vec<Duration>,
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RunEnd {
    /// Every step was done.
    Completed,
    /// A step timed out.
    StepTimedOut {
        /// Which.
        index: usize,
    },
    /// The agent never said hello, or has been silent since.
    NoAgent {
        /// The limit.
        limit: Duration,
        /// It had said hello.
        greeted: bool,
        /// Where the vCPUs stood, sampled some times.
        standing: Vec<Vec<VcpuStanding>>,
    },
    /// The agent sent what is no message, or another version's.
    BadAgent(String),
    /// The kernel's log says that it panicked.
    Panicked,
    /// The kernel's log says that it was told to halt, or to switch the machine off.
    SwitchedOff,
    /// The machine ended by itself.
    Machine(EndReason),
}
