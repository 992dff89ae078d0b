//! Many runs as one: which scenarios, on which kernels, how often each, and what they come to together.

mod attempts;
mod cases;
mod dry;
mod excuse;
mod parallel;
mod quarantine;
mod select;
mod shard;
mod times;

pub use attempts::{FRESH_HOSTS, Policy};
pub use cases::{Case, cases};
pub use dry::{Foreseen, foresee};
pub use quarantine::Quarantine;
pub use select::{files, tagged};
pub use shard::{Part, Wish, run_id};
pub use times::Times;

use crate::{Abort, Session, kernel, session};
use attempts::Came;
use base::cache::Cache;
use judge::{Judged, RunReport, Settled, Verdict};
use report::Reporters;

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Ran {
    /// All attempts together.
    pub settled: Settled,
    /// That of the attempt that decided.
    pub report: RunReport,
    /// It ended where its host was at work, and not before.
    pub on_host: bool,
}

/// Finds out which kernels the cases mean, without building any: a name that means none is to be known before others are run.
///
/// # Errors
/// All names that mean none.
pub fn look_for_kernels(cases: &[Case]) -> Result<(), Abort> {
    look_in(&Cache::open()?, cases)
}

fn look_in(cache: &Cache, cases: &[Case]) -> Result<(), Abort> {
    let mut wrong: Vec<String> = Vec::new();
    for Case { scenario, kernel, .. } in cases {
        let wanted = session::wanted(scenario, kernel);
        let Err(abort) = kernel::meant(&wanted, Some(&scenario.path), cache) else { continue };
        let why = format!("{}: {}", scenario.path.display(), abort.why);
        // What this machine lacks is each run's own matter.
        if abort.verdict == Verdict::BadInput && !wrong.contains(&why) {
            wrong.push(why);
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Abort::input(wrong.join("\n"))) }
}

/// Runs all cases, as many at once as there are sessions, and tells how it goes, one case after the other. Those behind an
/// interrupt are not run; what comes back is in the order of the cases.
pub fn run(
    mut sessions: Vec<Session>,
    cases: &[Case],
    policy: Policy,
    quarantine: &Quarantine,
    reporters: &mut Reporters,
) -> Vec<Ran> {
    let mut all = Vec::new();
    sessions.iter_mut().for_each(Session::files_stay);
    let mut settle = |ran: Ran, reporters: &mut Reporters| {
        reporters.tell(&Judged::Settled(Box::new(ran.settled.clone())));
        all.push(ran);
    };
    let mut more = sessions.split_off(1.min(sessions.len()));
    match sessions.pop() {
        Some(mut only) if more.is_empty() => {
            for (index, case) in cases.iter().enumerate() {
                let more = index + 1 < cases.len();
                let Some(ran) = attempt(&mut only, case, policy, quarantine, more, reporters) else {
                    continue;
                };
                let is_over = ran.settled.is_interrupted();
                settle(ran, reporters);
                if is_over {
                    break;
                }
            }
        }
        first => {
            more.extend(first);
            parallel::run(more, cases, policy, quarantine, &mut settle, reporters);
        }
    }
    all
}

/// Runs a case as often as the policy says. `more` says whether others may follow.
fn attempt(
    session: &mut Session,
    case: &Case,
    policy: Policy,
    quarantine: &Quarantine,
    more: bool,
    reporters: &mut Reporters,
) -> Option<Ran> {
    // A machine that ends well is kept for the next run.
    session.expect_more(more || policy.repeat > 1 || policy.until_fail || policy.retry > 0);
    let (attempts, came) = attempts::all(policy, |attempt| {
        if let Some(before) = attempt.before {
            reporters.tell(&Judged::Attempt(Box::new(before.clone())));
        }
        if attempt.after_infra() {
            session.fresh_host();
        }
        let report = session.run_case(case, attempt.number, reporters);
        let known = quarantine.excuses(&report).cloned();
        Came { report, known, on_host: session.ended_on_host() }
    });
    let settled = Settled::of(attempts);
    let settled = if policy.fail_on_flaky { settled.strict() } else { settled };
    came.map(|Came { report, on_host, .. }| Ran { settled, report, on_host })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::wanted::Wanted;

    #[test]
    fn a_kernel_that_is_none_is_known_before_anything_runs() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let look = |kernels: &[&str], common: Wanted| {
            let kernels: Vec<String> = kernels.iter().map(|it| (*it).to_owned()).collect();
            let scenario = scenario::fixture::scenario("steps:\n- sleep: 1 s\n");
            look_in(&cache, &super::cases(vec![scenario], &kernels, &common)).map_err(|abort| abort.why)
        };
        assert_eq!(look(&["6.12"], Wanted::default()), Ok(()));
        let error = look(&["6.12", "5.4", "5.5"], Wanted::default()).unwrap_err();
        assert!(error.contains("`5.4`") && error.contains("`5.5`") && error.contains("test.yaml"), "{error}");
        let fragments = vec!["no-such-fragment".to_owned()];
        assert!(
            look(&[], Wanted { fragments, ..Wanted::default() }).unwrap_err().contains("no-such-fragment")
        );
    }
}
