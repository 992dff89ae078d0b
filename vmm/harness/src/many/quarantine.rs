//! Failures that are known: shown, and not held against anybody until their day is over.

use super::{Ran, excuse::Excuse};
use crate::Abort;
use base::diagnostic::{Diagnostic, Diagnostics, Source};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use judge::{Quarantined, RunReport, Settled, Verdict};
use scenario::{
    node::{self, Node},
    reader::Reader,
};
use std::path::{Path, PathBuf};

const FIELDS: &[&str] = &["scenario", "step", "fingerprint", "verdict", "reason", "owner", "until"];

/// The entries of a quarantine file.
#[derive(Debug, Default)]
pub struct Quarantine {
    entries: Vec<Entry>,
    path: String,
}

#[derive(Debug)]
struct Entry {
    line: usize,
    /// A scenario's name, or the end of its path.
    scenario: String,
    /// What it names of the failure.
    excuse: Excuse,
    known: Quarantined,
    until: Date,
}

impl Quarantine {
    /// Reads a file: a list of entries.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Abort> {
        let text = base::input::read_text(path)
            .map_err(|error| Abort::input(format!("--quarantine {}: {error}", path.display())))?;
        Self::parse(&Source::new(path, &text)).map_err(|errors| Abort::input(errors.to_string()))
    }

    fn parse(source: &Source) -> Result<Self, Diagnostics> {
        let path = source.path().display().to_string();
        if source.text().lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self { path, ..Self::default() });
        }
        let tree = node::parse(source).map_err(|errors| Diagnostics::new(source.clone(), errors))?;
        let mut reader = Reader::new(source);
        let items = reader.list(&tree, "a list of entries, each with its own `-`").unwrap_or_default();
        let entries = items.iter().filter_map(|item| entry(&mut reader, item)).collect();
        if reader.errors.is_empty() {
            return Ok(Self { entries, path });
        }
        Err(Diagnostics::new(source.clone(), reader.errors))
    }

    /// The entry that excuses this failure today.
    pub fn excuses(&self, report: &RunReport) -> Option<&Quarantined> {
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        self.excuses_on(today, report)
    }

    fn excuses_on(&self, today: Date, report: &RunReport) -> Option<&Quarantined> {
        let fits = |entry: &&Entry| {
            entry.until >= today
                && entry.concerns(&report.scenario, &report.path)
                && entry.excuse.is_for(report)
        };
        self.entries.iter().find(fits).map(|entry| &entry.known)
    }

    /// What is odd about entries before anything runs: those that concern several of these scenarios, by their names and files.
    pub fn too_wide(&self, scenarios: &[(String, PathBuf)]) -> Vec<String> {
        let one = |entry: &Entry| {
            let concerned: Vec<String> =
                entry.of(scenarios).map(|(_, path)| path.display().to_string()).collect();
            (concerned.len() > 1).then(|| {
                let (place, all) = (self.place(entry), concerned.join(", "));
                format!("{place} of {} concerns {all}: write more of the path", entry.scenario)
            })
        };
        self.entries.iter().filter_map(one).collect()
    }

    /// Entries that concern none of these scenarios.
    pub fn astray(&self, scenarios: &[(String, PathBuf)]) -> Vec<String> {
        let strays = self.entries.iter().filter(|entry| entry.of(scenarios).next().is_none());
        let one = |entry: &Entry| {
            format!("{} of {} concerns no scenario: correct or remove it", self.place(entry), entry.scenario)
        };
        strays.map(one).collect()
    }

    /// What to do about entries after these runs: those whose day is over, and those whose failure is gone.
    pub fn complaints(&self, all: &[Ran]) -> Vec<String> {
        self.complaints_on(Timestamp::now().to_zoned(TimeZone::UTC).date(), all)
    }

    fn complaints_on(&self, today: Date, all: &[Ran]) -> Vec<String> {
        let one = |entry: &Entry| {
            let Entry { scenario, until, known, .. } = entry;
            let mut concerned =
                all.iter().filter(|ran| entry.concerns(&ran.report.scenario, &ran.report.path));
            let place = self.place(entry);
            match concerned.clone().any(|ran| entry.was_seen(&ran.settled)) {
                false if concerned.any(|ran| was_tried(&ran.settled)) => {
                    Some(format!("{place} of {scenario} matches nothing any more: remove it"))
                }
                true if *until < today => Some(format!(
                    "{place} of {scenario} ended on {until}: it counts again ({}, {})",
                    known.owner, known.reason
                )),
                _ => None,
            }
        };
        self.entries.iter().filter_map(one).collect()
    }

    fn place(&self, entry: &Entry) -> String {
        format!("{}:{}: the quarantine", self.path, entry.line)
    }
}

impl Entry {
    fn of<'s>(
        &self,
        scenarios: &'s [(String, PathBuf)],
    ) -> impl Iterator<Item = &'s (String, PathBuf)> + use<'s, '_> {
        scenarios.iter().filter(|(name, path)| self.concerns(name, path))
    }

    fn concerns(&self, name: &str, path: &Path) -> bool {
        self.scenario == name || path.ends_with(&self.scenario)
    }

    /// Whether something like it happened.
    fn was_seen(&self, settled: &Settled) -> bool {
        let verdict = self.excuse.verdict;
        let is = |it: Verdict| it.is_against() && verdict.is_none_or(|verdict| verdict == it);
        settled.attempts.iter().any(|attempt| is(attempt.verdict))
    }
}

/// Whether steps were done, so that a failure which did not come is gone.
fn was_tried(settled: &Settled) -> bool {
    const BEFORE: [Verdict; 4] =
        [Verdict::Infra, Verdict::Interrupted, Verdict::BadInput, Verdict::BuildFailed];
    settled.attempts.iter().any(|attempt| !BEFORE.contains(&attempt.verdict))
}

fn entry(reader: &mut Reader<'_>, node: &Node) -> Option<Entry> {
    let mut fields = reader.fields(node, "an entry")?;
    let line = reader.line(&node.span);
    let steps = fields.take("step").and_then(|node| {
        let items = reader.items(node, "a step's name or number, or a list of them")?;
        items.iter().map(|item| reader.text(item, "a step's name or number")).collect::<Option<Vec<_>>>()
    });
    let fingerprints = fields.take("fingerprint").and_then(|node| {
        let items = reader.items(node, "a finding's fingerprint, or a list of them")?;
        items.iter().map(|item| fingerprint(reader, item)).collect::<Option<Vec<_>>>()
    });
    let verdict = fields.take("verdict").and_then(|node| {
        let text = reader.text(node, "a verdict")?;
        match Verdict::named(&text).filter(|verdict| verdict.is_excusable()) {
            Some(verdict) => Some((verdict, node)),
            None => {
                let against = Verdict::names().into_iter();
                let against = against.filter(|name| Verdict::named(name).is_some_and(Verdict::is_excusable));
                reader.error(
                    Diagnostic::new(
                        &node.span,
                        format!("expected a verdict that can be excused, found `{text}`"),
                    )
                    .nearest(&text, against),
                )
            }
        }
    });
    let mut words = |reader: &mut Reader<'_>, name: &str, what: &str| {
        let node = fields.need(reader, name)?;
        let text = reader.text(node, what)?;
        if text.trim().is_empty() { reader.expected(node, what) } else { Some(text) }
    };
    let scenario = words(reader, "scenario", "a scenario's name or path");
    let reason = words(reader, "reason", "a reason, in words");
    let owner = words(reader, "owner", "who looks after it");
    let until = fields.need(reader, "until").and_then(|node| {
        let day = node.text().and_then(|text| text.parse::<Date>().ok());
        match day {
            Some(day) => Some(day),
            None => reader.expected(node, "a day, like `2026-12-31`"),
        }
    });
    let excuse = Excuse {
        verdict: verdict.map(|it| it.0),
        fingerprints: fingerprints.unwrap_or_default(),
        steps: steps.unwrap_or_default(),
    };
    if excuse == Excuse::default() && reader.errors.is_empty() {
        let text =
            "an entry needs at least one of `step`, `fingerprint` and `verdict`: it would hide any failure";
        return reader.error(Diagnostic::new(&node.span, text));
    }
    fields.end(reader, FIELDS);
    let until = until?;
    let known = Quarantined { reason: reason?, owner: owner?, until: until.to_string() };
    Some(Entry { line, scenario: scenario?, excuse, known, until })
}

fn fingerprint(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "a finding's fingerprint")?;
    let is_one = text.len() == 16 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    if is_one { Some(text) } else { reader.expected(node, "a fingerprint: 16 hexadecimal digits, in quotes") }
}

#[cfg(test)]
#[path = "quarantine_test.rs"]
mod tests;
