//! How long scenarios took in a former run.

use crate::Abort;
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
        let time = |run: report::record::Run| {
            let id = match run.began.variant.as_str() {
                "" => run.path(),
                variant => format!("{}@{variant}", run.path()),
            };
            // Boot and steps; what a build takes depends on the cache.
            let boot = run.booted.as_ref().map_or(Duration::ZERO, |booted| booted.ready);
            run.report.is_some().then(|| (id, boot + run.ran()))
        };
        Ok(Self(session.runs.into_iter().filter_map(time).collect()))
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
