//! Several reports as one: the parts of a run that several machines shared, or runs of different scenarios.

use crate::record::{Aborted, Session, Shard};
use judge::Verdict;
use std::collections::BTreeMap;
use thiserror::Error;

/// So many missing parts are named: a report can say that there are four thousand million.
const SHOWN: usize = 16;

/// Why reports are no parts of one whole.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum MergeError {
    /// Not even one.
    #[error("there is nothing to merge")]
    Nothing,
    /// Some say which part they are, and others do not.
    #[error("{0} is a part of a run, and {1} is not")]
    Mixed(String, String),
    /// Parts of different runs.
    #[error(
        "{0} and {1} are parts of different runs: other scenarios, kernels, options or times, another vmm, or another number of parts"
    )]
    Other(String, String),
    /// Parts of runs that have different names.
    #[error(
        "{0} and {1} are parts of different runs, {2} and {3}: remove what a former run left, and run again what is missing"
    )]
    Former(String, String, String, String),
    /// The same part.
    #[error("{0} and {1} are the same part")]
    Twice(String, String),
    /// Not all parts.
    #[error("these parts of {of} are missing: {missing}")]
    Missing {
        /// How many there are.
        of: u32,
        /// Their numbers.
        missing: String,
    },
    /// A scenario that is in two of them.
    #[error("{scenario} is in {first} and in {second}")]
    Again {
        /// Its file, and its kernel.
        scenario: String,
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
}

/// Puts them together; each has a name for messages. One that ended before it began does not say which part it would have been: it stands
/// for one that is missing, and for nothing where none is, since that part was run again.
///
/// # Errors
/// They are no parts of one whole, or not all of them: a whole that lacks a part must not look green.
pub fn merge(mut all: Vec<(String, Session)>) -> Result<Session, MergeError> {
    let began = |(_, session): &&(String, Session)| session.aborted.is_none() || session.shard.is_some();
    let Some((first, one)) = all.iter().find(began).or(all.first()) else { return Err(MergeError::Nothing) };
    let mut parts: BTreeMap<u32, &String> = BTreeMap::new();
    for (name, session) in all.iter().filter(began) {
        match (&one.shard, &session.shard) {
            (None, None) => {}
            (Some(_), None) => return Err(MergeError::Mixed(first.clone(), name.clone())),
            (None, Some(_)) => return Err(MergeError::Mixed(name.clone(), first.clone())),
            (Some(here), Some(there)) if (here.of, &here.plan) != (there.of, &there.plan) => {
                return Err(MergeError::Other(first.clone(), name.clone()));
            }
            (Some(here), Some(there)) if here.run != there.run => {
                let run =
                    |shard: &Shard| shard.run.clone().unwrap_or_else(|| "one without a name".to_owned());
                return Err(MergeError::Former(first.clone(), name.clone(), run(here), run(there)));
            }
            (Some(_), Some(part)) => {
                if let Some(known) = parts.insert(part.index, name) {
                    return Err(MergeError::Twice(known.clone(), name.clone()));
                }
            }
        }
    }
    if let Some(shard) = &one.shard {
        let lacking = (shard.of as usize).saturating_sub(parts.len());
        if lacking > all.iter().filter(|it| !began(it)).count() {
            let missing = (1..=shard.of).filter(|part| !parts.contains_key(part)).take(SHOWN);
            let mut missing: Vec<String> = missing.map(|part| part.to_string()).collect();
            if lacking > SHOWN {
                missing.push(format!("{} more", lacking - SHOWN));
            }
            return Err(MergeError::Missing { of: shard.of, missing: missing.join(", ") });
        }
    }
    if one.shard.as_ref().is_some_and(|shard| parts.len() >= shard.of as usize) {
        all.retain(|it| began(&it));
    }
    let mut whole = Session::planned(&[]);
    whole.aborted = aborted(&all);
    whole.finished = all.iter().all(|(_, session)| session.finished);
    let mut seen: BTreeMap<(String, String), String> = BTreeMap::new();
    for (name, session) in all {
        for run in session.runs {
            let id = (run.path(), run.title());
            if let Some(first) = seen.insert(id, name.clone()).filter(|first| *first != name) {
                let scenario = format!("{} ({})", run.title(), run.path());
                return Err(MergeError::Again { scenario, first, second: name });
            }
            whole.runs.push(run);
        }
    }
    whole.runs.sort_by_key(|run| (run.path(), run.began.variant.clone()));
    Ok(whole)
}

/// Why some of them ended before they began. Bad input goes before this machine's fault, as in an exit code.
fn aborted(all: &[(String, Session)]) -> Option<Aborted> {
    let each = || all.iter().filter_map(|(name, session)| Some((name, session.aborted.as_ref()?)));
    let worst = each().find(|(_, why)| why.verdict == Verdict::BadInput).or_else(|| each().next());
    let reasons: Vec<String> = each().map(|(name, why)| format!("{name}: {}", why.reason)).collect();
    worst.map(|(_, why)| Aborted { verdict: why.verdict, reason: reasons.join("\n") })
}
