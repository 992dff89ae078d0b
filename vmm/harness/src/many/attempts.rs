//! How often a scenario is run: again when it failed, several times to find what fails now and then, and on a fresh host
//! when this machine failed it.

use judge::{Attempt, Quarantined, RunReport, Then, Verdict, deciding};

/// So often what this machine failed is run again, on a fresh host.
pub const FRESH_HOSTS: u32 = 2;

/// How often to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Again after a failure, so many times.
    pub retry: u32,
    /// So many times in any case; 0 means once, or without end where it goes until a failure.
    pub repeat: u32,
    /// Until one fails.
    pub until_fail: bool,
    /// A pass after a failure is a failure.
    pub fail_on_flaky: bool,
}

/// The next attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next<'a> {
    /// Counted from 1.
    pub number: u32,
    /// What the one before came to.
    pub before: Option<&'a Attempt>,
}

impl Next<'_> {
    /// The last one failed for a reason of this machine's.
    pub fn after_infra(&self) -> bool {
        self.before.is_some_and(|before| before.then == Then::FreshHost)
    }
}

/// What an attempt came to.
pub(super) struct Came {
    pub report: RunReport,
    /// Its failure is known.
    pub known: Option<Quarantined>,
    /// It ended where its host was at work, and not before.
    pub on_host: bool,
}

/// Runs a scenario as often as the policy says. Of all reports only that of the attempt that decides is kept.
pub(super) fn all(policy: Policy, mut run: impl FnMut(Next<'_>) -> Came) -> (Vec<Attempt>, Option<Came>) {
    let rounds = match policy {
        Policy { repeat: 0, until_fail: true, .. } => u32::MAX,
        Policy { repeat, .. } => repeat.max(1),
    };
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut decides = None;
    for _ in 0..rounds {
        let (mut retried, mut hosts) = (0, 0);
        let verdict = loop {
            let next = Next { number: attempts.len() as u32 + 1, before: attempts.last() };
            let came = run(next);
            let Came { report, known, on_host } = &came;
            let verdict = report.verdict;
            let then = match verdict {
                // A full disk is as full there.
                Verdict::Infra if *on_host && hosts < FRESH_HOSTS => Then::FreshHost,
                // What does not build will not build the next time, and who lied once is not asked again.
                verdict
                    if verdict.is_excusable()
                        && verdict != Verdict::BuildFailed
                        && retried < policy.retry =>
                {
                    Then::Retried
                }
                _ => Then::Counts,
            };
            let (reason, ran, known) = (report.reason.clone(), report.ran, known.clone());
            attempts.push(Attempt { verdict, reason, ran, then, known });
            if deciding(&attempts) == Some(attempts.len() - 1) {
                decides = Some(came);
            }
            match then {
                Then::FreshHost => hosts += 1,
                Then::Retried => retried += 1,
                Then::Counts => break verdict,
            }
        };
        // Bad input stays bad, what does not build will not build the next time, and what can't be run here can't be run a thousand times.
        let hopeless = matches!(
            verdict,
            Verdict::Interrupted | Verdict::BadInput | Verdict::BuildFailed | Verdict::Infra
        );
        if hopeless || policy.until_fail && verdict != Verdict::Pass {
            break;
        }
    }
    (attempts, decides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{BadInput, BuildFailed, Fail, Infra, Interrupted, Pass, Tampered};
    use judge::Settled;

    /// The last verdict goes on for ever.
    fn tried(policy: Policy, verdicts: &[Verdict]) -> Settled {
        let of = |number: u32| verdicts[(number as usize - 1).min(verdicts.len() - 1)];
        let attempts = all(policy, |next| {
            let before = (next.number > 1).then(|| of(next.number - 1));
            assert_eq!(next.after_infra(), before == Some(Infra), "{verdicts:?}");
            assert_eq!(next.before.map(|it| it.verdict), before, "{verdicts:?}");
            let report = judge::fixture::report(of(next.number));
            let reason = judge::Reason::Told(next.number.to_string());
            Came { report: RunReport { reason, ..report }, known: None, on_host: true }
        });
        let (attempts, came) = attempts;
        let decided = deciding(&attempts).map(|index| (index + 1).to_string());
        assert_eq!(came.map(|it| it.report.reason.to_string()), decided, "{verdicts:?}");
        Settled::of(attempts)
    }

    #[test]
    fn a_pass_after_a_failure_is_flaky_and_a_pass_at_once_is_not() {
        let retry = Policy { retry: 2, ..Policy::default() };
        let came = |verdicts: &[Verdict]| {
            let settled = tried(retry, verdicts);
            (settled.verdict, settled.is_flaky(), settled.attempts.len())
        };
        assert_eq!(came(&[Pass]), (Pass, false, 1));
        assert_eq!(came(&[Fail, Pass]), (Pass, true, 2));
        assert_eq!(came(&[Fail, Fail, Pass]), (Pass, true, 3));
        assert_eq!(came(&[Fail]), (Fail, false, 3));
        assert_eq!(came(&[BuildFailed, Pass]), (BuildFailed, false, 1), "it would not build again either");
        assert_eq!(came(&[Fail, Interrupted]), (Interrupted, false, 2));
        assert_eq!(came(&[Tampered, Pass]), (Tampered, false, 1), "who lied once is not asked again");
        assert_eq!(came(&[Fail, Tampered, Pass]), (Tampered, false, 2));
    }

    #[test]
    fn what_this_machine_failed_is_tried_on_two_fresh_hosts_and_counts_for_nothing() {
        let settled = tried(Policy::default(), &[Infra, Infra, Pass]);
        assert_eq!((settled.verdict, settled.is_flaky(), settled.attempts.len()), (Pass, false, 3));
        let settled = tried(Policy::default(), &[Infra]);
        assert_eq!((settled.verdict, settled.attempts.len()), (Infra, 3));
        let settled = tried(Policy { retry: 1, ..Policy::default() }, &[Fail, Infra, Pass]);
        assert_eq!((settled.verdict, settled.is_flaky(), settled.attempts.len()), (Pass, true, 3));
    }

    #[test]
    fn what_no_other_host_would_change_is_not_tried_again() {
        let report = || judge::fixture::report(Infra);
        let all = all(Policy { repeat: 3, ..Policy::default() }, |_| Came {
            report: report(),
            known: None,
            on_host: false,
        });
        assert_eq!(all.0.len(), 1);
    }

    #[test]
    fn repeated_runs_all_count_and_until_fail_ends_with_the_first_failure() {
        let repeat = Policy { repeat: 4, ..Policy::default() };
        let settled = tried(repeat, &[Pass, Fail, Pass]);
        assert_eq!((settled.verdict, settled.is_flaky(), settled.passed()), (Fail, false, (3, 4)));
        let until = Policy { until_fail: true, ..Policy::default() };
        assert_eq!(tried(until, &[Pass, Pass, Fail]).passed(), (2, 3));
        assert_eq!(tried(Policy { repeat: 5, ..until }, &[Pass]).passed(), (5, 5));
        assert_eq!(tried(repeat, &[BadInput]).attempts.len(), 1, "it stays bad");
        assert_eq!(tried(repeat, &[BuildFailed]).attempts.len(), 1, "nor does it build the next time");
    }
}
