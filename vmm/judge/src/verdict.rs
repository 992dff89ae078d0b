//! Verdicts, of a run and of a step.

use base::cache::Fault;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every expectation held.
    Pass,
    /// An expectation did not hold; the guest is healthy.
    Fail,
    /// The kernel complained (WARN, lockdep, KASAN and the like), though the steps passed.
    Splat,
    /// The kernel killed a task because of its own error.
    Oops,
    /// The kernel died.
    Panic,
    /// No progress, and a vCPU was busy.
    HangSpinning,
    /// No progress, and all vCPUs were halted.
    HangIdle,
    /// The guest changed what has to stay as it is, or the agent says something else than was seen.
    Tampered,
    /// The agent never said hello.
    BootFailed,
    /// Kernel, patch or module did not build.
    BuildFailed,
    /// What was asked for can't be: a kernel that there is not, a machine that is too small.
    BadInput,
    /// This machine's fault, never the kernel's.
    Infra,
    /// A signal ended it, such as Ctrl-C.
    Interrupted,
}

impl Verdict {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Splat => "splat",
            Self::Oops => "oops",
            Self::Panic => "panic",
            Self::HangSpinning => "hang-spinning",
            Self::HangIdle => "hang-idle",
            Self::Tampered => "tampered",
            Self::BootFailed => "boot-failed",
            Self::BuildFailed => "build-failed",
            Self::BadInput => "bad-input",
            Self::Infra => "infra",
            Self::Interrupted => "interrupted",
        }
    }
}

/// All verdicts.
const ALL: [Verdict; 13] = [
    Verdict::Pass,
    Verdict::Fail,
    Verdict::Splat,
    Verdict::Tampered,
    Verdict::Oops,
    Verdict::Panic,
    Verdict::HangSpinning,
    Verdict::HangIdle,
    Verdict::BootFailed,
    Verdict::BuildFailed,
    Verdict::BadInput,
    Verdict::Infra,
    Verdict::Interrupted,
];

impl Verdict {
    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|verdict| verdict.name() == name)
    }

    /// All names.
    pub fn names() -> [&'static str; 13] {
        ALL.map(Self::name)
    }

    /// Whether it is held against a kernel, a module or an expectation, and not against the input or this machine.
    pub fn is_against(self) -> bool {
        !matches!(self, Self::Pass | Self::BadInput | Self::Infra | Self::Interrupted)
    }

    /// Whether somebody may say that it does not count: that it is known, or that another attempt went well. Nothing excuses a
    /// guest that lied.
    pub fn is_excusable(self) -> bool {
        self.is_against() && self != Self::Tampered
    }
}

impl From<Fault> for Verdict {
    /// The verdict of a run that ended before its machine began.
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Build => Self::BuildFailed,
            Fault::Input => Self::BadInput,
            Fault::Machine => Self::Infra,
            Fault::Interrupted => Self::Interrupted,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepVerdict {
    /// Every expectation held.
    Pass,
    /// One did not, or the guest ended in the step.
    Fail,
    /// It took too long and was ended; the run went on.
    Timeout,
    /// Its tests say that they could not run; or, of a step that was not done, what it needs was not there.
    Skipped,
    /// It was not done.
    NotRun,
}

impl StepVerdict {
    /// Whether it speaks against the kernel, or the scenario.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Fail | Self::Timeout)
    }
}

impl fmt::Display for StepVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Timeout => "timeout",
            Self::Skipped => "skipped",
            Self::NotRun => "not-run",
        })
    }
}
