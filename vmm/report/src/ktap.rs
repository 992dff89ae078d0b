//! `--report ktap=FILE`: nested test results as the kernel's own tests write them (Documentation/dev-tools/ktap.rst).
//!
//! One test a scenario, with its steps as subtests. What is more than ok or not ok stands in diagnostic lines.

use crate::{
    failure,
    record::{Run, Session},
};
use base::text::escape;
use judge::{JudgedStep, Outcome, StepVerdict, Subtest};

/// All runs as one document.
pub fn render(session: &Session) -> String {
    let mut text = format!("KTAP version 1\n1..{}\n", session.runs.len());
    for (index, run) in session.runs.iter().enumerate() {
        subtests(&mut text, run);
        let (ok, directive) = if run.is_good() { ("ok", "") } else { failed(run) };
        run.remarks().iter().for_each(|remark| comment(&mut text, "", remark));
        if !run.is_good() {
            comment(&mut text, "", &format!("{}: {}", run.word(), run.reason()));
            failure::of_the_run(run).lines().for_each(|line| comment(&mut text, "", line));
        }
        text += &format!("{ok} {} {}{directive}\n", index + 1, name(&run.title()));
    }
    if let Some(why) = session.unfinished() {
        text += &format!("Bail out! {}\n", name(&why.reason));
    }
    text
}

/// What failed in a run: where that is quarantined it is known, and expected.
fn failed(run: &Run) -> (&'static str, &'static str) {
    ("not ok", if run.is_bad() { "" } else { " # XFAIL quarantined" })
}

fn subtests(text: &mut String, run: &Run) {
    let own = run.own_tests();
    let all = run.steps.len() + usize::from(!own.is_empty());
    *text += &format!("    KTAP version 1\n    1..{all}\n");
    for step in &run.steps {
        if step.verdict != StepVerdict::Pass {
            failure::in_full(step, &run.path()).lines().for_each(|line| comment(text, "    ", line));
        }
        parts(text, run, &step.subtests);
        let (ok, directive) = result(run, step);
        let title = run.name(step);
        let title = title.split_once(": ").map_or(&*title, |(_, title)| title);
        *text += &format!("    {ok} {} {}{directive}\n", step.index + 1, name(title));
    }
    if !own.is_empty() {
        parts(text, run, own);
        let one_failed = own.iter().any(|subtest| subtest.test.outcome == Outcome::Failed);
        let (ok, directive) = if one_failed { failed(run) } else { ("ok", "") };
        *text += &format!("    {ok} {all} the kernel's own tests{directive}\n");
    }
}

/// The tests that a step is made of, one below the other: their names say what they are parts of.
fn parts(text: &mut String, run: &Run, subtests: &[Subtest]) {
    if subtests.is_empty() {
        return;
    }
    *text += &format!("        KTAP version 1\n        1..{}\n", subtests.len());
    for (index, subtest) in subtests.iter().enumerate() {
        let (ok, directive) = match subtest.test.outcome {
            Outcome::Passed => ("ok", ""),
            Outcome::Skipped => ("ok", " # SKIP"),
            Outcome::ExpectedFailure => ("not ok", " # XFAIL"),
            Outcome::Failed => failed(run),
        };
        *text += &format!("        {ok} {} {}{directive}\n", index + 1, name(&subtest.test.name()));
    }
}

fn result(run: &Run, step: &JudgedStep) -> (&'static str, &'static str) {
    match step.verdict {
        StepVerdict::Pass => ("ok", ""),
        StepVerdict::NotRun => ("ok", " # SKIP not run"),
        StepVerdict::Skipped => ("ok", " # SKIP"),
        StepVerdict::Fail | StepVerdict::Timeout => failed(run),
    }
}

/// A test's name must not look like a directive, nor end its line.
fn name(text: &str) -> String {
    escape(text).replace('#', "\\#")
}

fn comment(text: &mut String, indent: &str, line: &str) {
    *text += &format!("{indent}# {}\n", escape(line));
}
