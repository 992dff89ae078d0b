//! How long scenarios took in a former run.

use crate::Abort;
use judge::Verdict;
use std::{collections::BTreeMap, path::Path, time::Duration};

/// Times by a case's id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(BTreeMap<String, Duration>);

impl Times {
    /// From a report in JSON.
    ///
    /// # Errors
    /// It can't be read, or is none.
    pub fn of_report(path: &Path) -> Result<Self, Abort> {
        let cannot = |why: &dyn std::fmt::Display| Abort::input(format!("--times {}: {why}", path.display()));
        let text = base::input::read_text(path).map_err(|error| cannot(&error))?;
        let session = report::json::read(&text).map_err(|error| cannot(&error))?;
        Ok(Self::of_runs(session.runs))
    }

    /// Of those that ran: what did not build, or what this machine failed, took no time that says anything.
    fn of_runs(runs: Vec<report::record::Run>) -> Self {
        let tells = |run: &report::record::Run| {
            run.verdict()
                .is_some_and(|it| it == Verdict::Pass || it.is_against() && it != Verdict::BuildFailed)
        };
        let time = |run: report::record::Run| {
            let id = match run.began.variant.as_str() {
                "" => run.path(),
                variant => format!("{}@{variant}", run.path()),
            };
            // Boot and steps; what a build takes depends on the cache.
            let boot = run.booted.as_ref().map_or(Duration::ZERO, |booted| booted.ready);
            (id, boot + run.ran())
        };
        Self(runs.into_iter().filter(tells).map(time).collect())
    }

    /// A case's time; one that nobody knows takes as long as the others do on average.
    pub(super) fn of(&self, id: &str) -> Duration {
        let average = || match self.0.len() {
            0 => Duration::from_secs(1),
            count => self.0.values().sum::<Duration>() / count as u32,
        };
        self.0.get(id).copied().unwrap_or_else(average)
    }

    #[cfg(test)]
    pub(super) fn given(times: &[(&str, u64)]) -> Self {
        Self(times.iter().map(|(id, secs)| ((*id).to_owned(), Duration::from_secs(*secs))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_this_machine_failed_has_no_time() {
        let scenario = scenario::fixture::scenario("steps:\n- sleep: 1 s\n");
        let run = |verdict| {
            let mut session = report::record::Session::default();
            for judged in judge::fixture::judged(&scenario, &judge::fixture::good_run(&scenario)) {
                session.event(&match judged {
                    judge::Judged::Ended(report) => {
                        judge::Judged::Ended(Box::new(judge::RunReport { verdict, ..*report }))
                    }
                    other => other,
                });
            }
            session.runs.remove(0)
        };
        let known = |verdict| Times::of_runs(vec![run(verdict)]).0.len();
        let failed = [Verdict::Infra, Verdict::Interrupted, Verdict::BadInput, Verdict::BuildFailed];
        assert_eq!(failed.map(known), [0; 4]);
        assert_eq!([Verdict::Pass, Verdict::Fail, Verdict::HangIdle].map(known), [1; 3]);
        assert_eq!(Times::default().of("a.yaml"), Duration::from_secs(1));
    }
}
