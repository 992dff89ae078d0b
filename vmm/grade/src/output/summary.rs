//! The teacher's page: what needs a look, how it went, who got what, and what most of them got wrong.

use super::{causes, html, points};
use crate::{
    assignment::Assignment,
    points::Points,
    record::{Record, State, Test},
    store::file_name,
};
use maud::{Markup, html};

/// So many of the commonest failures are shown.
const COMMON: usize = 25;

/// The page.
pub fn render(assignment: &Assignment, records: &[Record], remarks: &[String]) -> String {
    let graded: Vec<&Record> = records.iter().filter(|record| record.state != State::NotGraded).collect();
    let body = html! {
        h1 { (assignment.title) }
        p { (counts(records)) "; " (assignment.points()) " points can be had." }
        @if !remarks.is_empty() {
            div.first { h2 { "Remarks" } ul { @for remark in remarks { li { (remark) } } } }
        }
        (first(records))
        h2 { "Distribution" }
        (distribution(&graded))
        h2 { "Commonest failures" }
        (common(assignment, records))
        h2 { "Students and tests" }
        (matrix(assignment, records))
    };
    html::document(&assignment.title, &body)
}

/// How many came how far.
fn counts(records: &[Record]) -> String {
    let count = |state: State| records.iter().filter(|record| record.state == state).count();
    let mut text = format!("{} students: {} graded", records.len(), count(State::Graded));
    for (state, what) in
        [(State::Unusable, "with nothing that could be graded"), (State::NotGraded, "not graded")]
    {
        let number = count(state);
        text += &if number > 0 { format!(", {number} {what}") } else { String::new() };
    }
    text
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
            .find(|(_, run)| run.is_tampered())
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
    let half = sorted.len() / 2;
    let median = match (sorted.len() % 2, sorted.get(half)) {
        (_, None) => "-".to_owned(),
        (0, Some(upper)) => format!("{:.1}", f64::midpoint(sorted[half - 1].number(), upper.number())),
        (_, Some(middle)) => middle.to_string(),
    };
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

/// Failures by what caused them, of which each student has each once.
fn common(assignment: &Assignment, records: &[Record]) -> Markup {
    let groups = causes::groups(assignment, records);
    html! {
        @if groups.is_empty() { p { "None." } }
        table { tbody { @for group in groups.iter().take(COMMON) { tr {
            td { (group.students.len()) }
            td { (group.words()) }
            td { @for (index, record) in group.students.iter().take(8).enumerate() {
                @if index > 0 { ", " }
                (link(record))
            } @if group.students.len() > 8 { " …" } }
        } } } }
    }
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
