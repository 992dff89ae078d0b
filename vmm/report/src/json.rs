//! `--report json=FILE`: everything as one object, for programs. `schema.json` beside this file is its JSON Schema.
//!
//! A file is whole at every moment. Until the end its verdict is `infra`, so that a run that was killed can't be taken for
//! a pass.

mod read;
mod scenario;

pub use read::{ReadError, read};
pub(crate) use scenario::{call, finding, start, step};

use crate::record::{Run, Session};
use judge::Verdict;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Goes up with every change that could break a reader.
pub const SCHEMA: u32 = 2;

/// The JSON Schema of what [`render`] writes.
pub const JSON_SCHEMA: &str = include_str!("json/schema.json");

/// All runs as one object.
pub fn render(session: &Session) -> String {
    let (mut counts, mut counted): (BTreeMap<_, usize>, BTreeMap<_, usize>) = Default::default();
    for run in &session.runs {
        *counts.entry(run.word()).or_default() += 1;
        *counted.entry(run.counted().name()).or_default() += 1;
    }
    // The worst first, as exit codes rank them.
    let rank = |run: &&Run| match run.counted() {
        Verdict::Pass => 0,
        Verdict::BadInput => 3,
        Verdict::Interrupted => 5,
        verdict if verdict.is_against() => 4,
        _ => 2,
    };
    let worst = session.runs.iter().rev().max_by_key(rank).filter(|run| rank(run) > 0);
    let unfinished = session.unfinished();
    let verdict = match (&unfinished, worst) {
        (Some(why), _) => why.verdict.name(),
        (None, None) => "pass",
        (None, Some(run)) => run.counted().name(),
    };
    let shard = session.shard.as_ref();
    let whole = Whole {
        schema: SCHEMA,
        vmm: env!("CARGO_PKG_VERSION"),
        verdict,
        finished: session.finished,
        reason: session.aborted.as_ref().map(|aborted| &*aborted.reason),
        counts,
        counted,
        shard: shard.map(
            |shard| json!({ "index": shard.index, "of": shard.of, "plan": shard.plan, "run": shard.run }),
        ),
        scenarios: Runs(&session.runs),
    };
    let text = serde_json::to_string_pretty(&whole);
    text.expect("keys are strings, and nothing in it can fail") + "\n"
}

#[derive(Serialize)]
struct Whole<'a> {
    schema: u32,
    vmm: &'a str,
    verdict: &'a str,
    finished: bool,
    reason: Option<&'a str>,
    counts: BTreeMap<&'a str, usize>,
    counted: BTreeMap<&'a str, usize>,
    shard: Option<Value>,
    scenarios: Runs<'a>,
}

/// One after the other: as objects, ten thousand of them would take gigabytes at once.
struct Runs<'a>(&'a [Run]);

impl Serialize for Runs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(scenario::object))
    }
}
