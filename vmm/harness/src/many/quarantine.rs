//! Failures that are known: shown, and not held against anybody until their day is over.

use crate::Abort;
use base::diagnostic::{Diagnostic, Diagnostics, Source};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use judge::{Quarantined, RunReport, Verdict};
use scenario::{
    Scenario,
    node::{self, Node},
    reader::Reader,
};
use std::path::Path;

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
    /// The only step that may fail, by its name or number.
    step: Option<String>,
    /// Of a finding.
    fingerprint: Option<String>,
    verdict: Option<Verdict>,
    known: Quarantined,
    until: Date,
    /// Its scenario ran, and this was seen, or not.
    seen: Option<bool>,
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
        let fits =
            |entry: &&Entry| entry.until >= today && report.verdict.is_excusable() && entry.fits(report);
        self.entries.iter().find(fits).map(|entry| &entry.known)
    }

    /// A scenario ran, and came to this in the end.
    pub fn ran(&mut self, scenario: &Scenario, verdict: Verdict) {
        for entry in self.entries.iter_mut().filter(|entry| entry.concerns(&scenario.name, &scenario.path)) {
            let seen = verdict.is_against() && entry.verdict.is_none_or(|it| it == verdict);
            entry.seen = Some(entry.seen.unwrap_or(false) || seen);
        }
    }

    /// What to do about entries: those whose day is over, and those whose failure is gone.
    pub fn complaints(&self) -> Vec<String> {
        self.complaints_on(Timestamp::now().to_zoned(TimeZone::UTC).date())
    }

    fn complaints_on(&self, today: Date) -> Vec<String> {
        let one = |entry: &Entry| {
            let Entry { line, scenario, until, known, seen, .. } = entry;
            let place = format!("{}:{line}: the quarantine of {scenario}", self.path);
            match seen {
                Some(false) => Some(format!("{place} matches nothing any more: remove it")),
                Some(true) if *until < today => Some(format!(
                    "{place} ended on {until}: it counts again ({}, {})",
                    known.owner, known.reason
                )),
                _ => None,
            }
        };
        self.entries.iter().filter_map(one).collect()
    }
}

impl Entry {
    fn concerns(&self, name: &str, path: &Path) -> bool {
        self.scenario == name || path.ends_with(&self.scenario)
    }

    fn fits(&self, report: &RunReport) -> bool {
        let findings = || report.findings.iter().filter(|finding| finding.counts());
        let failed = || report.steps.iter().filter(|step| step.verdict.is_bad());
        // Whatever else is wrong is nobody's known failure.
        let fingerprint = |wanted: &String| {
            findings().count() > 0 && findings().all(|finding| finding.splat.fingerprint == *wanted)
        };
        let step = |wanted: &String| {
            let is = |step: &judge::JudgedStep| {
                (step.index + 1).to_string() == *wanted || step.title.starts_with(&format!("{wanted}:"))
            };
            failed().count() > 0 && failed().all(is) && report.failures.is_empty()
        };
        self.concerns(&report.scenario, &report.path)
            && self.verdict.is_none_or(|verdict| verdict == report.verdict)
            && self.fingerprint.as_ref().is_none_or(fingerprint)
            && self.step.as_ref().is_none_or(step)
    }
}

fn entry(reader: &mut Reader<'_>, node: &Node) -> Option<Entry> {
    let mut fields = reader.fields(node, "an entry")?;
    let line = reader.line(&node.span);
    let scenario =
        fields.need(reader, "scenario").and_then(|node| reader.text(node, "a scenario's name or path"));
    let step = fields.take("step").and_then(|node| reader.text(node, "a step's name or number"));
    let fingerprint = fields.take("fingerprint").and_then(|node| {
        let text = reader.text(node, "a finding's fingerprint")?;
        let is_one = text.len() == 16 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        if is_one {
            Some(text)
        } else {
            reader.expected(node, "a fingerprint: 16 hexadecimal digits, in quotes")
        }
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
    let reason = words(reader, "reason", "a reason, in words");
    let owner = words(reader, "owner", "who looks after it");
    let until = fields.need(reader, "until").and_then(|node| {
        let day = node.text().and_then(|text| text.parse::<Date>().ok());
        match day {
            Some(day) => Some(day),
            None => reader.expected(node, "a day, like `2026-12-31`"),
        }
    });
    if fingerprint.is_none() && verdict.is_none() && step.is_none() && reader.errors.is_empty() {
        let text =
            "an entry needs at least one of `step`, `fingerprint` and `verdict`: it would hide any failure";
        return reader.error(Diagnostic::new(&node.span, text));
    }
    fields.end(reader, FIELDS);
    let until = until?;
    let known = Quarantined { reason: reason?, owner: owner?, until: until.to_string() };
    Some(Entry {
        line,
        scenario: scenario?,
        step,
        fingerprint,
        verdict: verdict.map(|it| it.0),
        known,
        until,
        seen: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "- scenario: hello\n  verdict: fail\n  reason: it is late\n  owner: ann\n  until: 2026-12-31\n";

    fn read(text: &str) -> Result<Quarantine, String> {
        Quarantine::parse(&Source::new(Path::new("q.yaml"), text)).map_err(|errors| errors.to_string())
    }

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn an_entry_says_what_why_who_and_until_when() {
        assert!(read(GOOD).is_ok());
        assert!(read("# none yet\n").is_ok());
        for (line, instead, expected) in [
            ("  reason: it is late\n", "", "needs the field `reason`"),
            ("  reason: it is late\n", "  reason: ' '\n", "a reason, in words"),
            ("  owner: ann\n", "", "needs the field `owner`"),
            ("  until: 2026-12-31\n", "", "needs the field `until`"),
            ("2026-12-31", "2026-02-30", "a day, like"),
            ("2026-12-31", "soon", "a day, like"),
            ("  verdict: fail\n", "", "at least one of"),
            ("verdict: fail", "verdict: infra", "that can be excused"),
            ("verdict: fail", "verdict: tampered", "that can be excused"),
            ("verdict: fail", "verdict: fial", "did you mean `fail`?"),
            ("verdict: fail", "fingerprint: abc", "16 hexadecimal digits"),
            ("owner", "onwer", "unknown field"),
        ] {
            let error = read(&GOOD.replace(line, instead)).unwrap_err();
            assert!(error.contains(expected) && error.contains("q.yaml"), "{instead}: {error}");
        }
    }

    #[test]
    fn a_failure_is_excused_until_its_day_is_over_and_nothing_else_is() {
        let quarantine = read(GOOD).unwrap();
        let report = |scenario: &str, verdict| RunReport {
            scenario: scenario.into(),
            path: format!("scenarios/{scenario}.yaml").into(),
            ..judge::fixture::report(verdict)
        };
        let excused = |day_: &str, report: &RunReport| quarantine.excuses_on(day(day_), report).is_some();
        assert!(excused("2026-12-31", &report("hello", Verdict::Fail)));
        let of_a_step = read(&GOOD.replace("verdict: fail", "step: '1'")).unwrap();
        let scenario = scenario::fixture::scenario("name: hello\nsteps:\n- sleep: 1 s\n");
        let steps = judge::fixture::run(&scenario, &judge::fixture::good_run(&scenario)).steps;
        let of_any = |verdict| {
            let mut report = report("hello", verdict);
            report.failures.clear();
            report.steps = steps.clone();
            report.steps[0].verdict = judge::StepVerdict::Fail;
            of_a_step.excuses_on(day("2026-01-01"), &report).is_some()
        };
        assert!(of_any(Verdict::Fail));
        assert!(!of_any(Verdict::Tampered), "nothing excuses a guest that lied");
        assert!(!excused("2027-01-01", &report("hello", Verdict::Fail)), "its day is over");
        assert!(!excused("2026-12-31", &report("hello", Verdict::Panic)), "that is another failure");
        assert!(!excused("2026-12-31", &report("other", Verdict::Fail)));
        let by_path = read(&GOOD.replace("hello", "scenarios/hello.yaml")).unwrap();
        assert!(by_path.excuses_on(day("2026-01-01"), &report("hello", Verdict::Fail)).is_some());
        let by_finding = read(&GOOD.replace("verdict: fail", "fingerprint: '0123456789abcdef'")).unwrap();
        assert!(by_finding.excuses_on(day("2026-01-01"), &report("hello", Verdict::Fail)).is_none());
    }

    #[test]
    fn an_entry_that_matches_nothing_any_more_is_told() {
        let scenario = scenario::fixture::scenario("name: hello\nsteps:\n- sleep: 1 s\n");
        let told = |verdict: Option<Verdict>, today: &str| {
            let mut quarantine = read(GOOD).unwrap();
            verdict.iter().for_each(|verdict| quarantine.ran(&scenario, *verdict));
            quarantine.complaints_on(day(today)).concat()
        };
        assert_eq!(told(None, "2026-01-01"), "", "it did not run, so nobody knows");
        assert_eq!(told(Some(Verdict::Fail), "2026-01-01"), "");
        let gone = told(Some(Verdict::Pass), "2026-01-01");
        assert!(gone.contains("q.yaml:1") && gone.contains("remove it"), "{gone}");
        assert!(told(Some(Verdict::Fail), "2027-01-01").contains("ended on 2026-12-31"));
    }
}
