//! What most students got wrong: failures grouped by their cause. What fails only because something failed before is no cause, and
//! what is another one for each student, such as drawn data and names, is no difference.

use crate::{
    again,
    assignment::{Assignment, Origin},
    record::{Record, State, Test},
};
use regex::{Captures, Regex};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// One cause.
pub struct Group<'a> {
    words: String,
    /// What came instead, in all cases.
    got: Option<String>,
    /// In which tests; none for what was never run.
    tests: BTreeSet<&'a str>,
    /// Whose.
    pub students: Vec<&'a Record>,
}

impl Group<'_> {
    /// In a line.
    pub fn words(&self) -> String {
        let got = self.got.as_ref().map_or(String::new(), |got| format!(", got {got}"));
        let tests: Vec<&str> = self.tests.iter().copied().collect();
        let tests = if tests.is_empty() { String::new() } else { format!(" ({})", tests.join(", ")) };
        format!("{}{got}{tests}", self.words)
    }
}

/// A failure of one student.
struct Cause<'a> {
    key: String,
    words: String,
    got: Option<String>,
    test: Option<&'a str>,
}

/// All causes, the commonest first.
pub fn groups<'a>(assignment: &Assignment, records: &'a [Record]) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<String, Group<'a>> = BTreeMap::new();
    for record in records {
        let names = names(assignment, record);
        let module = assignment.params.iter().find(|(_, origin)| matches!(origin, Origin::Module));
        let module = module.and_then(|(name, _)| record.params.get(name)).map_or("", String::as_str);
        let tests = record.tests.iter().flat_map(|test| of_test(test, module, &names));
        for Cause { key, words, got, test } in tests.chain(unusable(record)) {
            let made = || Group { words, got: got.clone(), tests: BTreeSet::new(), students: Vec::new() };
            let group = groups.entry(key).or_insert_with(made);
            if group.got != got {
                group.got = None;
            }
            group.tests.extend(test);
            if group.students.last().is_none_or(|last| last.student != record.student) {
                group.students.push(record);
            }
        }
    }
    let mut groups: Vec<Group<'a>> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.students.len()));
    groups
}

/// What is called otherwise by each student, longest first, and what it is called for all.
fn names(assignment: &Assignment, record: &Record) -> Vec<(String, String)> {
    let mut names: Vec<(String, String)> = Vec::new();
    for (name, value) in record.params.iter().filter(|(_, value)| value.len() > 1) {
        let origin = assignment.params.iter().find(|(other, _)| other == name).map(|(_, origin)| origin);
        let placeholder = match origin {
            // Often one and the same.
            Some(Origin::Module | Origin::Device) => "NAME".to_owned(),
            Some(Origin::Fixed(_)) => continue,
            _ => format!("${name}"),
        };
        names.push((value.clone(), placeholder));
    }
    names.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    names
}

/// A text with names for what is another one for each student.
fn alike(text: &str, names: &[(String, String)]) -> String {
    let mut text = text.to_owned();
    for (value, placeholder) in names {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let mut out = String::new();
        let mut rest = &*text;
        while let Some(at) = rest.find(&**value) {
            let (before, behind) = (&rest[..at], &rest[at + value.len()..]);
            let last = before.chars().next_back().or(out.chars().next_back());
            let inside = last.is_some_and(is_word) || behind.chars().next().is_some_and(is_word);
            out += before;
            out += if inside { value } else { placeholder };
            rest = behind;
        }
        text = out + rest;
    }
    text
}

/// Of a test that did not get all points: what the kernel found; else where it hung; else the first step that failed, on which later
/// ones depend; else what was wrong at the end.
fn of_test<'a>(test: &'a Test, module: &str, names: &[(String, String)]) -> Vec<Cause<'a>> {
    let Some(run) = test.run.as_ref().filter(|_| !test.is_whole()) else { return Vec::new() };
    let cause =
        |key: String, words: String, got: Option<String>| Cause { key, words, got, test: Some(&test.name) };
    let findings: Vec<Cause<'a>> = run
        .findings
        .iter()
        .filter(|finding| finding.counts)
        .take(1)
        .map(|it| cause(it.fingerprint.clone(), format!("{}: {}", it.gravity, alike(&it.title, names)), None))
        .collect();
    if !findings.is_empty() {
        return findings;
    }
    let first = run.steps.iter().find(|step| step.bad);
    let step = first.map(|step| alike(step.name.as_ref().unwrap_or(&step.title), names));
    if run.verdict != "fail" {
        let place = again::place(run, module);
        let during = || step.map(|step| format!("{} during {step}", run.verdict));
        let words = place.or_else(during).unwrap_or_else(|| run.verdict.clone());
        return vec![cause(words.clone(), words, None)];
    }
    if let (Some(first), Some(step)) = (first, step) {
        let (words, got) = match first.failures.first() {
            Some(it) => {
                // What a test looks at besides makes no other cause of what stayed behind.
                let step = if first.of_the_run { String::new() } else { format!("{step}: ") };
                let words = format!("{step}{}, expected {}", it.what, alike(&it.expected, names));
                (words, Some(alike(&it.got, names)))
            }
            None => (format!("{step}: {}", first.verdict), None),
        };
        return vec![cause(words.clone(), words, got)];
    }
    let whole = run.failures.iter().map(|it| {
        let words = format!("{}, expected {}", it.what, alike(&it.expected, names));
        cause(words.clone(), words, Some(alike(&it.got, names)))
    });
    whole.collect()
}

/// What could not be built, by the compiler's first words without the student's own, and what was no submission.
fn unusable<'a>(record: &'a Record) -> Option<Cause<'a>> {
    static QUOTED: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("[‘'`\"]([^’'`\"]+)[’'`\"]").expect("a constant that tests use"));
    if record.state != State::Unusable {
        return None;
    }
    let words = match &record.build.errors {
        Some(errors) => {
            static ERROR: LazyLock<Regex> =
                LazyLock::new(|| Regex::new(r"\b[Ee]rror: (.+)$").expect("a constant that tests use"));
            let said = errors.lines().find_map(|line| Some(ERROR.captures(line)?.extract::<1>().1[0]));
            // modpost and make have words of their own, behind what was built.
            let said = said.or(errors.lines().nth(1)).or(errors.lines().next())?.trim();
            // Quoted names are the student's own, but for those of the language.
            let name = |found: &Captures<'_>| match found[1].chars().any(|c| c.is_alphanumeric()) {
                true => "‘…’".to_owned(),
                false => found[0].to_owned(),
            };
            format!("does not build: {}", QUOTED.replace_all(said, name))
        }
        None => format!("no submission: {}", record.why.as_ref()?.lines().next()?),
    };
    Some(Cause { key: words.clone(), words, got: None, test: None })
}

#[cfg(test)]
#[path = "causes_test.rs"]
mod tests;
