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
    /// Its failure is known.
    pub known: Option<Quarantined>,
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
    /// That of the attempt that decided ([`deciding`]).
    pub verdict: Verdict,
    /// In their order.
    pub attempts: Vec<Attempt>,
    /// All failures of all attempts are known, and not held against anybody.
    pub quarantined: Option<Quarantined>,
    /// What the exit code is made of.
    pub counted: Verdict,
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

/// Which attempt decides, counted from 0: the first that counts and did not pass, of which nobody knew where there is one, or else
/// the last that counts. What it is after each attempt is what it is in the end, or that is a later one.
pub fn deciding(attempts: &[Attempt]) -> Option<usize> {
    let counts = |it: &Attempt| it.then == Then::Counts;
    let failed = |it: &Attempt| counts(it) && it.verdict != Verdict::Pass;
    // What somebody knows of one attempt says nothing of another.
    let unknown = attempts.iter().position(|it| failed(it) && it.known.is_none());
    let last = || attempts.iter().rposition(counts).or(attempts.len().checked_sub(1));
    unknown.or_else(|| attempts.iter().position(failed)).or_else(last)
}

impl Settled {
    /// Of these attempts.
    pub fn of(attempts: Vec<Attempt>) -> Self {
        let decided = deciding(&attempts).map(|index| &attempts[index]);
        let verdict = decided.map_or(Verdict::Infra, |it| it.verdict);
        let all_known = attempts.iter().all(|it| !it.verdict.is_against() || it.known.is_some());
        let quarantined = decided.and_then(|it| it.known.clone()).filter(|_| all_known);
        let counted = match attempts.last() {
            Some(Attempt { verdict: Verdict::Interrupted, .. }) => Verdict::Interrupted,
            _ if quarantined.is_some() => Verdict::Pass,
            _ => verdict,
        };
        Self { verdict, attempts, quarantined, counted }
    }

    /// The same where a flaky pass is held against it, unless all that failed is known.
    pub fn strict(self) -> Self {
        let unknown = |it: &&Attempt| it.then == Then::Retried && it.known.is_none();
        match self.attempts.iter().find(unknown).map(|it| it.verdict) {
            Some(counted) if self.is_flaky() => Self { counted, ..self },
            _ => self,
        }
    }

    /// Somebody wanted it to stop, so nothing more is run.
    pub fn is_interrupted(&self) -> bool {
        self.counted == Verdict::Interrupted
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

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Fail, Infra, Interrupted, Panic, Pass, Tampered};

    fn settled(attempts: &[(Verdict, Then, bool)]) -> Settled {
        let quarantined =
            Quarantined { reason: "late".into(), owner: "ann".into(), until: "2026-12-31".into() };
        let one = |(verdict, then, known): &(Verdict, Then, bool)| Attempt {
            then: *then,
            known: known.then(|| quarantined.clone()),
            ..crate::fixture::attempt(*verdict)
        };
        Settled::of(attempts.iter().map(one).collect())
    }

    /// What it comes to, whether that is excused, and what counts.
    fn came(attempts: &[(Verdict, Then, bool)]) -> (Verdict, bool, Verdict) {
        let settled = settled(attempts);
        (settled.verdict, settled.quarantined.is_some(), settled.counted)
    }

    #[test]
    fn a_flaky_pass_is_a_failure_only_if_nobody_knew_of_it() {
        use Then::{Counts, Retried};
        let counted = |failed: &[(Verdict, Then, bool)]| {
            settled(&[failed, &[(Pass, Counts, false)]].concat()).strict().counted
        };
        assert_eq!(counted(&[(Fail, Retried, true)]), Pass);
        assert_eq!(counted(&[(Fail, Retried, true), (Panic, Retried, false)]), Panic);
        assert_eq!(counted(&[(Infra, Then::FreshHost, false)]), Pass);
    }

    #[test]
    fn a_known_failure_of_one_attempt_excuses_no_other() {
        use Then::{Counts, Retried};
        let known = (Fail, Counts, true);
        assert_eq!(came(&[(Pass, Counts, false), known, known]), (Fail, true, Pass));
        for (other, counted) in [(Panic, Panic), (Tampered, Tampered), (Infra, Infra), (Fail, Fail)] {
            let other = (other, Counts, false);
            assert_eq!(came(&[other, known]), (counted, false, counted));
            assert_eq!(came(&[known, other]), (counted, false, counted));
        }
        assert_eq!(came(&[(Panic, Retried, false), known]), (Fail, false, Fail));
        assert_eq!(came(&[(Fail, Retried, true), known]), (Fail, true, Pass));
    }

    #[test]
    fn the_attempt_that_decides_is_known_as_soon_as_it_is_over() {
        use Then::{Counts, FreshHost, Retried};
        let (known, unknown) = ((Fail, Counts, true), (Fail, Counts, false));
        let (pass, retried, host) =
            ((Pass, Counts, false), (Fail, Retried, false), (Infra, FreshHost, false));
        for (all, decides) in [
            (&[pass, known, unknown, unknown][..], 2),
            (&[pass, known, known, pass], 1),
            (&[retried, retried, unknown], 2),
            (&[retried, pass], 1),
            (&[host, pass, pass], 2),
            (&[host, host, (Infra, Counts, false)], 2),
        ] {
            let attempts = settled(all).attempts;
            assert_eq!(deciding(&attempts), Some(decides), "{all:?}");
            // Whoever keeps what decides so far, has it in the end.
            let kept = (1..=all.len()).rfind(|count| deciding(&attempts[..*count]) == Some(count - 1));
            assert_eq!(kept, Some(decides + 1), "{all:?}");
        }
        assert_eq!(deciding(&[]), None);
    }

    #[test]
    fn a_signal_counts_before_what_failed_until_then() {
        let failed = (Fail, Then::Counts, false);
        assert_eq!(came(&[failed, (Interrupted, Then::Counts, false)]), (Fail, false, Interrupted));
    }
}
