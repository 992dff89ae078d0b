//! `--report junit=FILE`: one suite a scenario, one case a step, for the CI systems that read JUnit's XML.
//!
//! A step that failed is a failure, one that was not run or whose failure is quarantined is skipped; tests that a step is made of are cases of their own. Of a run that came to something worse than its steps say (a
//! splat, a hang, infra), a last case `verdict` has the reason: an error if it is no verdict against the kernel.

use crate::record::{Aborted, Run, Session};
use base::text::escape;
use judge::{JudgedStep, Outcome, StepVerdict, Subtest, Verdict};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

/// All runs as one XML document.
pub fn render(session: &Session) -> String {
    let mut report = Report::new("vmm");
    report.add_test_suites(session.runs.iter().map(suite));
    report.add_test_suites(session.unfinished().map(|why| without_end(&why)));
    report.to_string().unwrap_or_default()
}

/// Who counts failures must not take what ran until then for all.
fn without_end(why: &Aborted) -> TestSuite {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_type(why.verdict.name()).set_message(escape(&why.reason));
    let mut suite = TestSuite::new("vmm");
    suite.add_test_case(TestCase::new("verdict", status));
    suite
}

fn suite(run: &Run) -> TestSuite {
    let mut suite = TestSuite::new(escape(&run.title()));
    suite.set_time(run.ran());
    for step in &run.steps {
        suite.add_test_case(case(run, step));
        let prefix = format!("{}: ", step.index + 1);
        suite.add_test_cases(step.subtests.iter().map(|subtest| part(run, &prefix, subtest)));
    }
    suite.add_test_cases(run.own_tests().iter().map(|test| part(run, "", test)));
    suite.add_test_case(verdict(run));
    suite
}

fn case(run: &Run, step: &JudgedStep) -> TestCase {
    let status = match step.verdict {
        StepVerdict::Pass => TestCaseStatus::success(),
        StepVerdict::NotRun | StepVerdict::Skipped => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(escape(step.why.as_deref().unwrap_or_default()));
            status
        }
        StepVerdict::Fail | StepVerdict::Timeout if !run.is_bad() => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(crate::failure::in_a_line(step));
            status
        }
        StepVerdict::Fail | StepVerdict::Timeout => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(step.verdict.to_string());
            status.set_message(crate::failure::in_a_line(step));
            status.set_description(crate::failure::in_full(step, &run.path()));
            status
        }
    };
    let mut case = TestCase::new(escape(&run.name(step)), status);
    case.set_classname(escape(&run.path()));
    case.set_time(step.took.unwrap_or_default());
    case
}

/// A test that is a part of a step, or of the run.
fn part(run: &Run, prefix: &str, subtest: &Subtest) -> TestCase {
    let test = &subtest.test;
    let why = escape(test.why.as_deref().unwrap_or_default());
    let mut status = match test.outcome {
        Outcome::Passed | Outcome::ExpectedFailure => TestCaseStatus::success(),
        Outcome::Skipped => TestCaseStatus::skipped(),
        Outcome::Failed if !run.is_bad() => TestCaseStatus::skipped(),
        Outcome::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    if matches!(test.outcome, Outcome::Skipped | Outcome::Failed) {
        status.set_message(why);
    }
    let mut case = TestCase::new(format!("{prefix}{}", escape(&test.name())), status);
    case.set_classname(escape(&run.path()));
    case
}

fn verdict(run: &Run) -> TestCase {
    let status = match run.verdict() {
        Some(Verdict::Pass) if !run.is_bad() => TestCaseStatus::success(),
        // It passed, and not at once.
        Some(Verdict::Pass) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(run.word()).set_message(escape(&run.remarks().join("; ")));
            status
        }
        // Known, and nobody's new trouble.
        Some(_) if !run.is_bad() => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(escape(&run.reason()));
            status
        }
        None => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_type("not-run").set_message(run.reason());
            status
        }
        Some(verdict) => {
            let error = matches!(verdict, Verdict::Infra | Verdict::BadInput | Verdict::Interrupted);
            let kind = if error { NonSuccessKind::Error } else { NonSuccessKind::Failure };
            let mut status = TestCaseStatus::non_success(kind);
            status.set_type(verdict.name()).set_message(escape(&run.reason()));
            status.set_description(crate::failure::of_the_run(run));
            status
        }
    };
    let mut case = TestCase::new("verdict", status);
    case.set_classname(escape(&run.path()));
    let remarks = run.remarks().iter().map(|remark| escape(remark)).collect::<Vec<_>>();
    if !remarks.is_empty() {
        case.set_system_out(remarks.join("\n"));
    }
    case
}
