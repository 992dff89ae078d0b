//! Test results within steps and runs.

use crate::{
    JudgedStep, RunReport, StepVerdict, Verdict,
    fixture::{booted, run},
};
use board::wire::{Evidence, LogRecord};
use engine::event::{Ended, Event, RunEnd, StepOutcome};
use scenario::fixture::scenario;
use std::time::Duration;

const TOOK: Duration = Duration::from_millis(1);

fn line(text: &str) -> Event {
    Event::Log(LogRecord { seq: 0, time: TOOK, level: 6, user: false, caller: None, text: text.into() })
}

/// One step that logs this and has this outcome, after a boot that logged this.
fn run_of(scenario_text: &str, boot: &str, log: &str, outcome: StepOutcome) -> RunReport {
    let scenario = scenario(scenario_text);
    let mut events: Vec<Event> = boot.lines().map(line).collect();
    events.extend([booted(), Event::StepStarted { index: 0 }]);
    events.extend(log.lines().map(line));
    events.push(Event::StepEnded { index: 0, outcome });
    events.push(Event::Ended(Ended {
        why: RunEnd::Completed,
        evidence: Evidence::default(),
        ran: TOOK,
        steps: Vec::new(),
    }));
    run(&scenario, &events)
}

/// A program with these fields that prints this and exits like this.
fn program(fields: &str, stdout: &str, code: i32) -> JudgedStep {
    let outcome = StepOutcome::Exited { code, stdout: stdout.into(), stderr: "".into(), took: TOOK };
    run_of(&format!("steps:\n- {{run: /bin/x{fields}}}\n"), "", "", outcome).steps.swap_remove(0)
}

fn verdict(fields: &str, stdout: &str, code: i32) -> StepVerdict {
    program(fields, stdout, code).verdict
}

#[test]
fn a_program_that_reports_a_failure_fails_whatever_its_status() {
    let bad = [
        "TAP version 13\n1..1\nnot ok 1 a\n",
        "TAP version 13\n1..2\nok 1 a\n",
        "TAP version 13\n1..2\nok 1 a\nBail out! no\n",
        "not ok 1 a\n",
        "TAP version 13\n1..1\n# TAP version 13\n# 1..1\n# not ok 1 inner\nok 1 outer\n",
    ];
    for text in bad {
        assert_eq!(verdict("", text, 0), StepVerdict::Fail, "{text}");
        assert_eq!(verdict(", ktap: ignored", text, 0), StepVerdict::Pass, "{text}");
        // Nor does an expectation of the output make it good.
        assert_eq!(verdict(", expect: {stdout: {contains: ok}}", text, 0), StepVerdict::Fail, "{text}");
    }
    let good = "TAP version 13\n1..3\nok 1 a\nok 2 b # SKIP no\nnot ok 3 c # TODO\n";
    let step = program("", good, 0);
    assert_eq!(step.verdict, StepVerdict::Pass, "{:?}", step.failures);
    assert!(step.title.ends_with(": 1 passed, 1 skipped, 1 failed as expected"), "{}", step.title);
    let names: Vec<String> = step.subtests.iter().map(|subtest| subtest.test.name()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let failure = &program("", bad[0], 0).failures[0];
    assert_eq!((&*failure.what, &*failure.expected, &*failure.got), ("test a", "ok", "not ok"));
}

#[test]
fn results_of_which_a_part_is_missing_are_not_good() {
    let mut output = engine::output::Output::from("TAP version 13\n1..1\nok 1 a\n");
    output.push(&vec![b'-'; engine::output::KEPT + 2 * engine::output::TAIL]);
    let outcome = StepOutcome::Exited { code: 0, stdout: output, stderr: "".into(), took: TOOK };
    let report = run_of("steps:\n- run: /bin/x\n", "", "", outcome);
    assert_eq!(report.steps[0].verdict, StepVerdict::Fail);
    assert!(report.steps[0].failures[0].got.contains("it was cut"), "{:?}", report.steps[0].failures);
}

#[test]
fn skipped_tests_neither_pass_nor_fail() {
    let skipped = "TAP version 13\n1..0 # SKIP needs two processors\n";
    for code in [0, 4] {
        let step = program("", skipped, code);
        assert_eq!((step.verdict, step.why.as_deref()), (StepVerdict::Skipped, Some("needs two processors")));
    }
    assert_eq!(verdict("", "SKIP: no such module\n", 4), StepVerdict::Skipped);
    assert_eq!(verdict(", expect: {stdout: {contains: done}}", "SKIP: no\n", 4), StepVerdict::Fail);
    // Any other program that exits with 4 has failed.
    assert_eq!(verdict("", "skipping nothing\n", 4), StepVerdict::Fail);
    assert_eq!(verdict("", "not ok 1 a\nSKIP\n", 4), StepVerdict::Fail);
    assert_eq!(verdict(", expect: 0", "SKIP\n", 4), StepVerdict::Fail);
    let outcome = StepOutcome::Exited { code: 4, stdout: "SKIP\n".into(), stderr: "".into(), took: TOOK };
    let report = run_of("steps:\n- {run: /bin/x, expect: {log: never}}\n", "", "", outcome.clone());
    assert_eq!(report.steps[0].verdict, StepVerdict::Fail, "what the log should have is another matter");
    let report = run_of("steps:\n- run: /bin/x\n", "", "", outcome);
    assert_eq!((report.verdict, report.steps[0].verdict), (Verdict::Pass, StepVerdict::Skipped));
}

#[test]
fn results_that_must_be_there_are_missed() {
    assert_eq!(verdict(", ktap: required", "all is well\n", 0), StepVerdict::Fail);
    assert_eq!(verdict(", ktap: required", "1..1\nok 1 a\n", 0), StepVerdict::Pass);
    let ran = || StepOutcome::Returned { value: 0, data: Vec::new(), took: TOOK, cut: false };
    let text = "steps:\n- syscall: 999\nexpect: {ktap: required}\n";
    assert_eq!(run_of(text, "", "", ran()).failures[0].what, "test results");
    assert_eq!(run_of(text, "KTAP version 1\n1..1\nok 1 a", "", ran()).verdict, Verdict::Pass);
    assert_eq!(run_of(text, "", "KTAP version 1\n1..1\nok 1 a", ran()).verdict, Verdict::Pass);
}

#[test]
fn tests_of_the_kernel_count_where_they_ran() {
    let kunit = |result: &str| {
        format!(
            "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n    1..1\n    {result} 1 t\nusb: noise\n{result} 1 s"
        )
    };
    let ran = || StepOutcome::Returned { value: 0, data: Vec::new(), took: TOOK, cut: false };
    let text = "steps:\n- syscall: 999\n";
    let in_step = run_of(text, "", &kunit("not ok"), ran());
    assert_eq!((in_step.verdict, in_step.steps[0].verdict), (Verdict::Fail, StepVerdict::Fail));
    assert_eq!(in_step.steps[0].failures[0].what, "test s / t (kernel log)");
    let at_boot = run_of(text, &kunit("not ok"), "", ran());
    assert_eq!((at_boot.verdict, at_boot.steps[0].verdict), (Verdict::Fail, StepVerdict::Pass));
    assert_eq!((at_boot.failures.len(), at_boot.subtests.len()), (1, 2));
    assert_eq!(run_of(text, &kunit("ok"), &kunit("ok"), ran()).verdict, Verdict::Pass);
    let cut = run_of(text, &kunit("ok").replace("ok 1 s", ""), "", ran());
    assert_eq!(cut.verdict, Verdict::Fail, "{cut:?}");
}

#[test]
fn a_deliberate_oops_is_allowed_with_its_reason_and_no_other() {
    let text = |allowed: &str| {
        format!(
            "steps:\n- syscall: 999\nallow: [{{oops: {allowed}, reason: KUnit looks whether it survives that}}]\n"
        )
    };
    let oops = "BUG: kernel NULL pointer dereference, address: 0000000000000000\nOops: Oops: 0002 [#1] SMP";
    let ran = || StepOutcome::Returned { value: 0, data: Vec::new(), took: TOOK, cut: false };
    assert_eq!(run_of(&text("NULL pointer"), "", oops, ran()).verdict, Verdict::Pass);
    assert_eq!(run_of(&text("page fault"), "", oops, ran()).verdict, Verdict::Oops);
    let splat = text("NULL pointer").replace("oops:", "splat:");
    assert_eq!(run_of(&splat, "", oops, ran()).verdict, Verdict::Oops);
}
