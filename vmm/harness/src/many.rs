//! Many runs as one: which scenarios, on which kernels, how often each, and what they come to together.

mod attempts;
mod cases;
mod parallel;
mod quarantine;
mod select;
mod shard;
mod times;

pub use attempts::Policy;
pub use cases::{Case, cases};
pub use quarantine::Quarantine;
pub use select::{files, tagged};
pub use shard::{Part, Wish};
pub use times::Times;

use crate::Session;
use judge::{Judged, RunReport, Settled, Then, Verdict};
use report::Reporters;

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Ran {
    /// All attempts together.
    pub settled: Settled,
    /// The last one that was held against somebody, or the last one.
    pub report: RunReport,
}

/// What all attempts at a case came to, before anybody looks whether its failure is known.
struct Tried {
    settled: Settled,
    /// The last one that was held against somebody.
    failed: Option<RunReport>,
    /// The last one.
    last: Option<RunReport>,
}

/// Runs all cases, as many at once as there are sessions, and tells how it goes, one case after the other. Those behind an
/// interrupt are not run; what comes back is in the order of the cases.
pub fn run(
    mut sessions: Vec<Session>,
    cases: &[Case],
    policy: Policy,
    quarantine: &mut Quarantine,
    reporters: &mut Reporters,
) -> Vec<Ran> {
    let mut all = Vec::new();
    let mut settle = |case: &Case, tried: Tried, reporters: &mut Reporters| {
        let Tried { mut settled, failed, last } = tried;
        let known = |report: &RunReport| quarantine.excuses(report);
        settled.quarantined =
            failed.as_ref().filter(|_| settled.verdict.is_against()).and_then(known).cloned();
        quarantine.ran(&case.scenario, settled.verdict);
        reporters.tell(&Judged::Settled(Box::new(settled.clone())));
        all.extend(failed.or(last).map(|report| Ran { settled, report }));
    };
    let mut more = sessions.split_off(1.min(sessions.len()));
    match sessions.pop() {
        Some(mut only) if more.is_empty() => {
            for (index, case) in cases.iter().enumerate() {
                let tried = attempt(&mut only, case, policy, index + 1 < cases.len(), reporters);
                let is_over = tried.settled.verdict == Verdict::Interrupted;
                settle(case, tried, reporters);
                if is_over {
                    break;
                }
            }
        }
        first => {
            more.extend(first);
            parallel::run(more, cases, policy, &mut settle, reporters);
        }
    }
    all
}

/// Runs a case as often as the policy says. `more` says whether others may follow.
fn attempt(
    session: &mut Session,
    case: &Case,
    policy: Policy,
    more: bool,
    reporters: &mut Reporters,
) -> Tried {
    // A machine that ends well is kept for the next run.
    session.expect_more(more || policy.repeat > 1 || policy.until_fail || policy.retry > 0);
    let (mut failed, mut last): (Option<RunReport>, Option<RunReport>) = (None, None);
    let attempts = attempts::all(policy, |attempt| {
        if attempt.after_infra {
            session.fresh_host();
        }
        let report = session.run_case(case, attempt.number, reporters);
        if report.verdict.is_against() {
            failed = Some(report.clone());
        }
        last = Some(report.clone());
        report
    });
    Tried { settled: Settled::of(attempts), failed, last }
}

/// The verdict that the exit code is made of: what is known of does not count, and a flaky pass does where that is wanted.
pub fn counted(settled: &Settled, policy: Policy) -> Verdict {
    match settled {
        Settled { quarantined: Some(_), .. } => Verdict::Pass,
        settled if settled.is_flaky() && policy.fail_on_flaky => {
            let retried = settled.attempts.iter().find(|attempt| attempt.then == Then::Retried);
            retried.map_or(Verdict::Fail, |attempt| attempt.verdict)
        }
        settled => settled.verdict,
    }
}
