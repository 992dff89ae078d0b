//! What failed, as plain text, for reports that hold a few lines of it.

use crate::record::Run;
use base::text::escape;
use judge::{Excerpt, JudgedStep};

/// So many lines of a failed program's output are shown; JSON has more.
const OUTPUT: usize = 10;
/// Longer lines of those are cut, in characters.
const WIDTH: usize = 200;

/// A line of what was going on where a step went wrong; harmless.
pub enum Circumstance {
    /// What follows.
    Heading(String),
    /// A line of somebody else's.
    Quoted {
        /// The line.
        text: String,
        /// It says that something is wrong.
        bad: bool,
    },
}

/// What a program printed last, and what the kernel logged.
pub fn circumstances(step: &JudgedStep) -> Vec<Circumstance> {
    let mut lines = Vec::new();
    if let Some(result) = step.result.as_ref().filter(|result| result.value.is_none()) {
        printed(&mut lines, "standard output", result.output.as_ref());
        printed(&mut lines, "standard error", result.stderr.as_ref());
    }
    if !step.log.is_empty() {
        lines.push(Circumstance::Heading("the kernel logged:".to_owned()));
    }
    let all = step.log.len();
    for (index, record) in step.log.iter().enumerate() {
        // Between the first ones and the last ones.
        if step.log_left_out > 0 && index == all - all * 2 / 3 {
            lines.push(Circumstance::Heading(format!("  ... {} lines more ...", step.log_left_out)));
        }
        lines.push(quoted(&record.text, record.level <= 3));
    }
    lines
}

fn printed(lines: &mut Vec<Circumstance>, name: &str, excerpt: Option<&Excerpt>) {
    let Some(excerpt) = excerpt.filter(|excerpt| !excerpt.text.is_empty()) else { return };
    let (last, more) = excerpt.last_lines(OUTPUT);
    let its_end = if more { ", its end" } else { "" };
    lines.push(Circumstance::Heading(format!("{name}{its_end}:")));
    lines.extend(last.into_iter().map(|line| quoted(line, false)));
}

fn quoted(line: &str, bad: bool) -> Circumstance {
    let mut text = escape(line);
    if let Some((cut, _)) = text.char_indices().nth(WIDTH) {
        let left = text.chars().count() - WIDTH;
        text.truncate(cut);
        text.push_str(&format!("... ({left} characters more)"));
    }
    Circumstance::Quoted { text, bad }
}

/// The first thing that is wrong with a step.
pub fn in_a_line(step: &JudgedStep) -> String {
    match (step.failures.first(), &step.why) {
        (Some(first), _) => {
            format!(
                "{}: expected {}, got {}",
                escape(&first.what),
                escape(&first.expected),
                escape(&first.got)
            )
        }
        (None, Some(why)) => escape(why),
        (None, None) => step.verdict.to_string(),
    }
}

/// All that is wrong with a step, a line each, with the scenario's line; and what was going on. What others say stands behind a bar, so
/// that it looks like nothing of a report's own.
pub fn in_full(step: &JudgedStep, path: &str) -> String {
    let failures = step.failures.iter().map(|failure| {
        let (what, expected, got) = (escape(&failure.what), escape(&failure.expected), escape(&failure.got));
        format!("{what}: expected {expected}, got {got}\n  at {}:{}\n", escape(path), failure.line)
    });
    let why = step.why.iter().map(|why| format!("{}\n  at {}:{}\n", escape(why), escape(path), step.line));
    let circumstances = circumstances(step).into_iter().filter(|_| step.verdict.is_bad());
    let circumstances = circumstances.map(|line| match line {
        Circumstance::Heading(text) => format!("{text}\n"),
        Circumstance::Quoted { text, .. } => format!("  | {text}\n"),
    });
    failures.chain(why).chain(circumstances).collect()
}

/// What a run came to beside its steps: findings, expectations of the run, where a hang stood, the end of the log.
pub fn of_the_run(run: &Run) -> String {
    let Some(report) = &run.report else { return String::new() };
    let mut lines = Vec::new();
    for finding in report.findings.iter().filter(|finding| finding.counts()) {
        lines.push(escape(&finding.splat.title));
        lines.extend(finding.splat.file_line.iter().map(|place| format!("  at {}", escape(place))));
        lines.extend(
            finding.splat.frames.iter().take(8).map(|frame| format!("    {}", escape(&frame.to_string()))),
        );
        lines.push(format!("  fingerprint {}", finding.splat.fingerprint));
    }
    for failure in &report.failures {
        let (what, expected, got) = (escape(&failure.what), escape(&failure.expected), escape(&failure.got));
        lines.push(format!("{what}: expected {expected}, got {got}"));
        lines.push(format!("  at {}:{}", escape(&run.path()), failure.line));
    }
    lines.extend(report.standing.iter().map(|line| escape(line)));
    lines.extend(report.log_tail.iter().map(|record| escape(&record.text)));
    lines.join("\n")
}
