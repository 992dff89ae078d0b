//! `results.json`, as Gradescope reads it from `/autograder/results/` (its autograder documentation, "Output format").

use super::{markdown, page};
use crate::{
    assignment::{Assignment, Show, Visibility},
    record::{Record, State},
};
use page::Reader;
use serde_json::{Value, json};

/// The file. Of a student whose points are not known it has neither a score nor tests: then Gradescope says that the autograder failed,
/// and gives no zero.
pub fn render(assignment: &Assignment, record: &Record) -> String {
    let words = |blocks: &[page::Block]| markdown::render(blocks);
    if record.state == State::NotGraded {
        let output = "This could not be graded, which is not your fault: it will be tried again.";
        return pretty(&json!({ "output": output, "output_format": "text" }));
    }
    let student = page::of(assignment, record, Reader::Student);
    // What no test shows: the state, notes and the build. The tests come one by one.
    let head: Vec<page::Block> = student
        .into_iter()
        .skip(1)
        .filter(|block| !matches!(block, page::Block::Table(..)))
        .take_while(|block| !record.tests.iter().any(|test| is_heading_of(block, &test.name)))
        .collect();
    let tests: Vec<Value> = record
        .tests
        .iter()
        .map(|test| {
            let detail = assignment.show == Show::Everything;
            let output = match (&record.why, test.is_whole() && test.of > crate::Points::NONE) {
                (_, true) => String::new(),
                (Some(why), false) if test.run.is_none() => words(&[page::Block::Quoted(why.clone())]),
                _ => words(&page::in_words(test, detail, Reader::Student)),
            };
            json!({
                "name": test.name,
                "score": test.points.number(),
                "max_score": test.of.number(),
                "status": if test.is_whole() { "passed" } else { "failed" },
                "output": output,
                "output_format": "md",
                "visibility": test.visibility,
            })
        })
        .collect();
    let deducted = record.penalties.iter().map(|penalty| {
        json!({
            "name": format!("deducted: {}", penalty.what),
            "score": -penalty.points.number(),
            "max_score": 0,
            "output": "",
            "visibility": "visible",
        })
    });
    let tests: Vec<Value> = tests.into_iter().chain(deducted).collect();
    pretty(&json!({
        "score": record.points.number(),
        "execution_time": shown_time(record) / 1000,
        "output": words(&head),
        "output_format": "md",
        "stdout_visibility": "hidden",
        "tests": tests,
    }))
}

/// In milliseconds. What a hidden test took would tell of it: one that fails runs twice.
fn shown_time(record: &Record) -> u64 {
    let shown = record.tests.iter().filter(|test| test.visibility == Visibility::Visible.name());
    let runs = shown.flat_map(|test| test.run.iter().chain(&test.other));
    record.build.took_ms + runs.map(|run| run.took_ms).sum::<u64>()
}

fn is_heading_of(block: &page::Block, test: &str) -> bool {
    matches!(block, page::Block::Heading(2, title) if title.starts_with(&format!("{test}: ")))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
