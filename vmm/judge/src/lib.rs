//! Compares what happened with what a scenario expects.
//!
//! A [`Judge`] takes the events of a run one by one and gives back [`Judged`] values for reporters. It
//! trusts nothing in the events: a guest, or a machine process gone wrong, may have sent anything. It reads no file
//! and prints nothing; what things are called it asks the [`Names`] that it was given.

#![forbid(unsafe_code)]

mod case;
mod check;
mod clean;
mod compare;
mod entry;
mod excerpt;
mod findings;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
mod ignored;
mod judge;
mod judged;
mod left_out;
mod names;
mod needs;
mod noted;
mod places;
mod quote;
mod reason;
mod standing;
mod subtests;
mod tail;
mod tampered;
mod title;
mod unknown;
mod verdict;

#[cfg(test)]
mod calls_test;
#[cfg(test)]
mod check_test;
#[cfg(test)]
mod ends_test;
#[cfg(test)]
mod evidence_test;
#[cfg(test)]
mod findings_test;
#[cfg(test)]
mod reports_test;
#[cfg(test)]
mod subtests_test;
#[cfg(test)]
mod tests;

pub use case::{Attempt, Quarantined, Settled, Then, deciding};
pub use entry::{EntryWrite, Named};
pub use excerpt::Excerpt;
pub use judge::Judge;
pub use judged::{
    Began, Build, Excuse, Failure, Finding, Gravity, Judged, JudgedStep, Kernel, RunReport, StepResult,
    SyscallRow, Taint,
};
pub use ktap::Outcome;
pub use left_out::LeftOut;
pub use names::Names;
pub use reason::{Reason, Unmet};
pub use subtests::{Place, Subtest};
pub use tail::BoundedLog;
pub use tampered::Tampered;
pub use unknown::{Unseen, untold_calls};
pub use verdict::{StepVerdict, Verdict};
