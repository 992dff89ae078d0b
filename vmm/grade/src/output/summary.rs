//! The teacher's page: what needs a look, how it went, who got what, and what most of them got wrong.

use super::{html, points};
use crate::{
    assignment::Assignment,
    points::Points,
    record::{Record, State, Test},
    score::is_tampered,
    store::file_name,
};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// So many of the commonest failures are shown.
const COMMON: usize = 25;

/// The page.
pub fn render(assignment: &Assignment, records: &[Record]) -> String {
    let graded: Vec<&Record> = records.iter().filter(|record| record.state != State::NotGraded).collect();
    let body = html! {
        h1 { (assignment.title) }
        p {
            (records.len()) " students, " (graded.len()) " graded, of " (assignment.points()) " points."
        }
        (first(records))
        h2 { "Distribution" }
        (distribution(&graded))
        h2 { "Commonest failures" }
        (common(records))
        h2 { "Students and tests" }
        (matrix(assignment, records))
    };
    html::document(&assignment.title, &body)
}

/// What can't wait: who has no points through no fault of theirs, who handed in nothing of use, who got two results.
fn first(records: &[Record]) -> Markup {
    let of = |state: State| records.iter().filter(move |record| record.state == state);
    let unstable = || records.iter().filter(|record| record.tests.iter().any(|test| test.other.is_some()));
    let why = |record: &Record| record.why.clone().unwrap_or_default();
    let caught = |record: &Record| {
        record
            .tests
            .iter()
            .filter_map(|test| Some((test.name.clone(), test.run.as_ref()?)))
            .find(|(_, run)| is_tampered(run))
            .map(|(name, run)| format!("{name}: {}", run.reason))
    };
    html! {
        @if records.iter().any(|record| caught(record).is_some()) {
            div.first {
                h2 { "Tampered: what the guest said is not what was seen" }
                ul { @for record in records { @if let Some(why) = caught(record) { li { (link(record)) ": " (why) } } } }
            }
        }
        @for (title, state) in [("Not graded", State::NotGraded), ("No submission that could be graded: no points", State::Unusable)] {
            @if of(state).next().is_some() {
                div.first {
                    h2 { (title) }
                    ul { @for record in of(state) { li { (link(record)) ": " (why(record).lines().next().unwrap_or_default()) } } }
                }
            }
        }
        @if unstable().next().is_some() {
            div.first {
                h2 { "Unstable: two runs, two results" }
                ul { @for record in unstable() { @for test in record.tests.iter().filter(|test| test.other.is_some()) {
                    li { (link(record)) ": " (test.name) ": " (both(test)) }
                } } }
            }
        }
    }
}

fn both(test: &Test) -> String {
    let one = |run: &Option<crate::record::Run>| {
        run.as_ref().map_or(String::new(), |run| format!("{} with {} points", run.verdict, run.points))
    };
    format!("{} counts, and {}", one(&test.run), one(&test.other))
}

fn link(record: &Record) -> Markup {
    html! { a href={ "students/" (file_name(&record.student)) "/teacher.html" } { (record.student) } }
}

/// How many students got how much, in tenths.
fn distribution(graded: &[&Record]) -> Markup {
    const WIDTH: usize = 60;
    const HEIGHT: usize = 160;
    let mut tenths = [0_usize; 10];
    for record in graded {
        tenths[(record.points.percent(record.of) as usize / 10).min(9)] += 1;
    }
    let most = tenths.iter().copied().max().unwrap_or(0).max(1);
    let mut sorted: Vec<Points> = graded.iter().map(|record| record.points).collect();
    sorted.sort();
    let median = sorted.get(sorted.len() / 2).map_or("-".to_owned(), ToString::to_string);
    let mean = graded.iter().map(|record| record.points.number()).sum::<f64>() / graded.len().max(1) as f64;
    html! {
        svg viewBox="0 0 620 210" width="620" role="img" aria-label="how many students got how many percent" {
            @for (index, count) in tenths.iter().enumerate() {
                @let height = count * HEIGHT / most;
                rect x=(index * WIDTH + 14) y=(HEIGHT + 20 - height) width=(WIDTH - 8) height=(height) {}
                @if *count > 0 {
                    text x=(index * WIDTH + 40) y=(HEIGHT + 15 - height) text-anchor="middle" { (count) }
                }
                text x=(index * WIDTH + 40) y="198" text-anchor="middle" {
                    (index * 10) "–" (if index == 9 { 100 } else { index * 10 + 9 }) " %"
                }
            }
        }
        p { "Median " (median) ", mean " (format!("{mean:.1}")) "." }
    }
}

/// Failures by what they are: a finding by its fingerprint, all else by what was expected and not had.
fn common(records: &[Record]) -> Markup {
    let mut groups: BTreeMap<String, (String, Vec<&Record>)> = BTreeMap::new();
    for record in records {
        for (key, words) in record.tests.iter().flat_map(failures).chain(broken(record)) {
            let (_, students) = groups.entry(key).or_insert_with(|| (words, Vec::new()));
            if students.last().is_none_or(|last| last.student != record.student) {
                students.push(record);
            }
        }
    }
    let mut groups: Vec<(String, Vec<&Record>)> = groups.into_values().collect();
    groups.sort_by_key(|(_, students)| std::cmp::Reverse(students.len()));
    html! {
        @if groups.is_empty() { p { "None." } }
        table { tbody { @for (words, students) in groups.iter().take(COMMON) { tr {
            td { (students.len()) }
            td { (words) }
            td { @for (index, record) in students.iter().take(8).enumerate() {
                @if index > 0 { ", " }
                (link(record))
            } @if students.len() > 8 { " …" } }
        } } } }
    }
}

fn failures(test: &Test) -> Vec<(String, String)> {
    let Some(run) = test.run.as_ref().filter(|_| !test.is_whole()) else { return Vec::new() };
    let findings: Vec<(String, String)> = run
        .findings
        .iter()
        .filter(|finding| finding.counts)
        .map(|it| (it.fingerprint.clone(), format!("{}: {}", it.gravity, it.title)))
        .collect();
    if !findings.is_empty() {
        return findings;
    }
    if run.verdict != "fail" {
        let words = format!("{}: {}", run.verdict, test.name);
        return vec![(words.clone(), words)];
    }
    let steps = run.steps.iter().filter(|step| step.bad).map(|step| {
        let name = step.name.as_ref().unwrap_or(&step.title);
        match step.failures.first() {
            Some(it) => format!("{}: {name}: {}, expected {}", test.name, it.what, it.expected),
            None => format!("{}: {name}: {}", test.name, step.verdict),
        }
    });
    let whole = run.failures.iter().map(|it| format!("{}: {}, expected {}", test.name, it.what, it.expected));
    steps.chain(whole).map(|words| (words.clone(), words)).collect()
}

/// What did not build, by the compiler's first words.
fn broken(record: &Record) -> Option<(String, String)> {
    let errors = record.build.errors.as_ref()?;
    let first = errors.lines().find(|line| line.contains("error: ")).unwrap_or(errors.lines().next()?);
    let words = first.split("error: ").last().unwrap_or(first);
    Some((format!("build: {words}"), format!("does not build: {words}")))
}

fn matrix(assignment: &Assignment, records: &[Record]) -> Markup {
    let class = |test: &Test| match test {
        Test { not_graded: Some(_), .. } => "unknown",
        test if test.points == test.of => "all",
        test if test.points == Points::NONE => "none",
        _ => "some",
    };
    html! {
        div.wide { table {
            thead { tr {
                th { "student" } th { "points" }
                @for test in &assignment.tests { th { (test.name) " (" (test.award.points()) ")" } }
                th { "deducted" }
            } }
            tbody { @for record in records { tr {
                td { (link(record)) }
                td { (points(record)) }
                @for wanted in &assignment.tests {
                    @match record.tests.iter().find(|test| test.name == wanted.name) {
                        Some(test) => td class=(class(test)) {
                            @if test.not_graded.is_some() { "?" } @else { (test.points) }
                            @if test.other.is_some() { " ±" }
                        },
                        None => td.unknown { "?" },
                    }
                }
                td { @let lost: Points = record.penalties.iter().map(|it| it.points).sum();
                    @if lost > Points::NONE { "-" (lost) } }
            } } }
        } }
    }
}
