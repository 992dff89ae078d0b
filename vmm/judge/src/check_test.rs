//! Single expectations against what a step brought back.

use crate::{
    JudgedStep, RunReport, StepVerdict,
    fixture::{booted, run},
};
use board::wire::Evidence;
use engine::event::{Ended, Event, RunEnd, StepOutcome};
use scenario::fixture::scenario;
use std::time::Duration;

const TOOK: Duration = Duration::from_millis(1);

/// A scenario's steps, each with what it came to, judged.
fn judged_all(steps: &str, outcomes: Vec<StepOutcome>) -> RunReport {
    let scenario = scenario(&format!("steps:\n{steps}\n"));
    let step = |(index, outcome)| [Event::StepStarted { index }, Event::StepEnded { index, outcome }];
    let mut events: Vec<Event> = outcomes.into_iter().enumerate().flat_map(step).collect();
    events.insert(0, booted());
    events.push(Event::Ended(Ended { why: RunEnd::Completed, evidence: Evidence::default(), ran: TOOK }));
    run(&scenario, &events)
}

/// The only step of a scenario, judged.
fn judged(step: &str, outcome: StepOutcome) -> JudgedStep {
    judged_all(&format!("- {step}"), vec![outcome]).steps.swap_remove(0)
}

fn returned(value: i64) -> StepOutcome {
    StepOutcome::Returned { value, data: vec![vec![0; 8]], took: TOOK }
}

#[test]
fn an_error_satisfies_nothing_that_does_not_name_it() {
    let call = |expect: &str| format!("{{syscall: 999, args: [{{out: long, as: n}}], expect: {expect}}}");
    let fails = [
        "{returns: {at-most: 0}}",
        "{returns: {at-most: 5}}",
        "{returns: {at-least: -100, at-most: 100}}",
        "{returns: {at-least: -9, at-most: 9}}",
        "{returns: {at-least: -4095}}",
        "{returns: -14}",
        "{n: 0}",
        "{n: {at-most: 0}}",
        "{within: 1 min}",
        "{data: {lacks: x}}",
        "{log: {lacks: x}}",
        "0",
        "EFAULT",
    ];
    for expect in fails {
        let step = judged(&call(expect), returned(-9));
        assert_eq!(step.verdict, StepVerdict::Fail, "{expect}");
    }
    for expect in ["EBADF", "-9", "{returns: -9}", "{errno: EBADF, n: 0}", "{returns: EBADF}"] {
        let step = judged(&call(expect), returned(-9));
        assert_eq!(step.verdict, StepVerdict::Pass, "{expect}: {:?}", step.failures);
    }
    // What is no error any more is a number like any other.
    let step = judged(&call("{returns: {at-most: 0}}"), returned(-4096));
    assert_eq!(step.verdict, StepVerdict::Pass);
    let failure = &judged(&call("{returns: {at-most: 0}}"), returned(-9)).failures[0];
    assert_eq!((&*failure.expected, &*failure.got), ("at most 0, and no error", "EBADF (Bad file number)"));
}

#[test]
fn a_name_whose_value_happens_to_be_an_error_does_not_name_it() {
    let text = "- {syscall: 999, args: [{out: long, as: n}]}\n- {syscall: 999, expect: {returns: $n}}";
    let gives = |n: i64| StepOutcome::Returned { value: 0, data: vec![n.to_le_bytes().into()], took: TOOK };
    let verdict = |n, value| judged_all(text, vec![gives(n), returned(value)]).steps[1].verdict;
    assert_eq!((verdict(-9, -9), verdict(9, 9)), (StepVerdict::Fail, StepVerdict::Pass));
}

fn exited(code: i32, stdout: &str, stderr: &str) -> StepOutcome {
    StepOutcome::Exited { code, stdout: stdout.into(), stderr: stderr.into(), took: TOOK }
}

#[test]
fn a_program_that_a_signal_ended_is_told_by_the_signals_name() {
    let step = judged("run: /bin/x", exited(139, "", ""));
    assert_eq!(step.failures[0].got, "exit status 139 (SIGSEGV)");
    assert!(step.title.ends_with(" = exit status 139 (SIGSEGV)"), "{}", step.title);
    for expect in ["SIGSEGV", "-11", "139", "{exit: SIGSEGV}", "{exit: {at-least: 128}}"] {
        let step = judged(&format!("{{run: /bin/x, expect: {expect}}}"), exited(139, "", ""));
        assert_eq!(step.verdict, StepVerdict::Pass, "{expect}: {:?}", step.failures);
    }
    let step = judged("{run: /bin/x, expect: -11}", exited(11, "", ""));
    assert_eq!(step.failures[0].expected, "139 (SIGSEGV)");
}

#[test]
fn the_shown_call_has_the_memory_that_comes_back() {
    let title = |step: &str| judged(step, returned(0)).title;
    assert_eq!(
        title("{syscall: 217, args: [3, {out: 8192}, 8192]}"),
        "syscall 217(3, {out: 8192}, 8192) = 0"
    );
    assert_eq!(title("{syscall: 61, args: [-1, {out: int}, 0]}"), "syscall 61(-1, {out: int}, 0) = 0");
    // A number that is named after the call need not be shown in it.
    assert_eq!(
        title("{syscall: 548, args: [2, 40, {out: long, as: sum}]}"),
        "syscall 548(2, 40) = 0, sum = 0"
    );
}
