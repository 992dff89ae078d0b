//! `--report md=FILE`: a table of all scenarios, and what failed below it, for a comment or a job's summary.

use crate::{
    failure,
    record::{Run, Session},
    suites::{Suite, suites},
};
use base::text::{escape_lines, time};
use judge::StepVerdict;

/// What is shown of one failure, in lines.
const LINES: usize = 30;

/// All runs as one document.
pub fn render(session: &Session) -> String {
    let passed = session.runs.iter().filter(|run| run.is_good()).count();
    let mut text = format!("## vmm: {passed} of {} scenarios passed\n\n", session.runs.len());
    if let Some(why) = session.unfinished() {
        text += &format!("**{}**:\n\n{}", why.verdict, block(&escape_lines(&why.reason)));
    }
    text += "| scenario | verdict | steps | kernel | time | reason |\n|---|---|---|---|---|---|\n";
    session.runs.iter().for_each(|run| text += &row(run));
    session.runs.iter().for_each(|run| text += &own_tests(run));
    let not_passed = session.runs.iter().filter(|run| run.verdict().is_some() && !run.is_good());
    not_passed.for_each(|run| text += &details(run));
    text
}

fn row(run: &Run) -> String {
    let good = run.steps.iter().filter(|step| step.verdict == StepVerdict::Pass).count();
    let kernel = run.kernel.as_ref().and_then(|kernel| kernel.release.clone()).unwrap_or_default();
    let mark = if run.word() == "pass" { "pass".to_owned() } else { format!("**{}**", run.word()) };
    let reason = (!run.is_good()).then(|| run.reason());
    let reason = reason.into_iter().filter(|reason| !reason.is_empty());
    let reason = reason.chain(run.remarks()).collect::<Vec<_>>().join("; ");
    format!(
        "| {} | {mark} | {good} of {} | {} | {} | {} |\n",
        cell(&run.title()),
        run.steps.len(),
        cell(&kernel),
        time(run.ran()),
        cell(&reason)
    )
}

/// The suites of tests that the kernel ran by itself.
fn own_tests(run: &Run) -> String {
    let suites = suites(run.own_tests());
    if suites.is_empty() {
        return String::new();
    }
    let mut text = format!("\n### {}: the kernel's own tests\n\n", cell(&run.title()));
    text += "| suite | passed | failed | skipped |\n|---|---|---|---|\n";
    for Suite { name, passed, failed, skipped } in suites {
        let name = cell(&name);
        let name = if failed > 0 { format!("**{name}**") } else { name };
        text += &format!("| {name} | {passed} | {failed} | {skipped} |\n");
    }
    text
}

fn details(run: &Run) -> String {
    let mut text = format!("\n### {}: {}\n\n", cell(&run.title()), run.word());
    let failed = run.steps.iter().filter(|step| step.verdict.is_bad());
    for step in failed {
        text += &format!("Step {}: {}\n\n", step.index + 1, cell(&step.title));
        text += &block(&failure::in_full(step, &run.path()));
    }
    let rest = failure::of_the_run(run);
    if !rest.is_empty() {
        text += &block(&rest);
    }
    text
}

/// Text that a guest may have made, where it can't become markup or another cell.
pub(crate) fn cell(text: &str) -> String {
    let mut shown = String::new();
    for c in base::text::escape(text).chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '!' | '~' | '@' => {
                shown.push('\\');
                shown.push(c);
            }
            c => shown.push(c),
        }
    }
    shown
}

/// A fenced block whose fence is longer than any in it (CommonMark 0.31, section 4.5).
fn block(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let all = text.lines().count();
    let lines: Vec<&str> = text.lines().take(LINES).collect();
    let more = if all > LINES { format!("... and {} more lines\n", all - LINES) } else { String::new() };
    format!("{fence}text\n{}\n{more}{fence}\n\n", lines.join("\n"))
}
