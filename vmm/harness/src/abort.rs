//! Why a command, or a run, ends before its machine could tell.

use base::cache::{CacheError, Fault};
use host::HostError;
use judge::Verdict;
use kernel::KernelError;
use std::fmt::Display;

/// An end before, or without, a run's last event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// What it comes to. The exit code follows from it, as from any verdict.
    pub verdict: Verdict,
    /// For the user's eyes.
    pub why: String,
}

impl Abort {
    /// `error` continues "failed to".
    pub fn fault(error: &dyn Display, fault: Fault) -> Self {
        if fault == Fault::Interrupted || base::interrupt::requested() {
            return Self::interrupted();
        }
        Self { verdict: fault.into(), why: format!("failed to {error}") }
    }

    /// What was asked for can't be.
    pub fn input(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::BadInput, why: why.into() }
    }

    /// This machine's fault.
    pub fn infra(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Infra, why: why.into() }
    }

    /// A signal came.
    pub fn interrupted() -> Self {
        Self { verdict: Verdict::Interrupted, why: base::interrupt::reason() }
    }
}

impl From<HostError> for Abort {
    fn from(error: HostError) -> Self {
        if error.is_interrupt() { Self::interrupted() } else { Self::fault(&error, Fault::Machine) }
    }
}

impl From<KernelError> for Abort {
    fn from(error: KernelError) -> Self {
        Self::fault(&error, error.fault())
    }
}

impl From<CacheError> for Abort {
    fn from(error: CacheError) -> Self {
        Self::fault(&error, error.fault())
    }
}
