//! A scenario that may have run several times: its attempts, and what it comes to in the end.

use crate::{Reason, Verdict};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One run of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// What it came to.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The guest's time.
    pub ran: Duration,
    /// Whether it counts.
    pub then: Then,
}

/// What followed an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// It counts.
    Counts,
    /// It failed, and was tried again.
    Retried,
    /// This machine failed it, so it was tried again on a fresh host and counts for nothing.
    FreshHost,
}

impl Then {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counts => "counts",
            Self::Retried => "retried",
            Self::FreshHost => "fresh-host",
        }
    }
}

/// What a scenario came to on one kernel, after all its attempts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// The first attempt that counts and did not pass; a pass if all that count passed.
    pub verdict: Verdict,
    /// In their order.
    pub attempts: Vec<Attempt>,
    /// The failure is known, and not held against anybody.
    pub quarantined: Option<Quarantined>,
}

/// An entry of a quarantine file, as far as reports show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Why.
    pub reason: String,
    /// Who looks after it.
    pub owner: String,
    /// The last day of it, `2026-12-31`.
    pub until: String,
}

impl Settled {
    /// Of these attempts.
    pub fn of(attempts: Vec<Attempt>) -> Self {
        let mut counting =
            attempts.iter().filter(|attempt| attempt.then == Then::Counts).map(|attempt| attempt.verdict);
        let verdict = counting.find(|verdict| *verdict != Verdict::Pass).unwrap_or(Verdict::Pass);
        let verdict = if attempts.is_empty() { Verdict::Infra } else { verdict };
        Self { verdict, attempts, quarantined: None }
    }

    /// It passed, but not at once.
    pub fn is_flaky(&self) -> bool {
        self.verdict == Verdict::Pass && self.attempts.iter().any(|attempt| attempt.then == Then::Retried)
    }

    /// The verdict in a word: `flaky` is a pass, `quarantined` a failure.
    pub fn word(&self) -> &'static str {
        match (&self.quarantined, self.is_flaky()) {
            (Some(_), _) => "quarantined",
            (None, true) => "flaky",
            (None, false) => self.verdict.name(),
        }
    }

    /// So many of the attempts that count passed, and so many count.
    pub fn passed(&self) -> (usize, usize) {
        let counting = || self.attempts.iter().filter(|attempt| attempt.then == Then::Counts);
        (counting().filter(|attempt| attempt.verdict == Verdict::Pass).count(), counting().count())
    }
}
