//! Bad ends that a scenario wants: what they excuse, and what they leave as it is.

use crate::{findings_test::*, fixture::run, *};
use board::wire::VcpuStanding;
use engine::event::{Event, RunEnd, StepOutcome};
use engine::output::Output;
use scenario::fixture::scenario;
use std::time::Duration;

fn ended() -> StepOutcome {
    StepOutcome::Ended {
        limit: Duration::from_secs(10),
        stdout: Output::default(),
        stderr: Output::default(),
        standing: Vec::new(),
        inside: false,
    }
}

fn exited() -> StepOutcome {
    let (stdout, stderr) = Default::default();
    StepOutcome::Exited { code: 0, stdout, stderr, took: Duration::ZERO }
}

#[test]
fn a_wanted_splat_leaves_how_its_step_ended() {
    let step = |text: &str, log: &str, outcome| {
        let report = first(&with(text), records(log), outcome);
        (report.verdict, report.steps[0].verdict)
    };
    for wants in ["{splat: foo_ioctl}", "{splat: foo_ioctl, returns: 42}"] {
        let wants = format!("expect: {wants}");
        assert_eq!(step(&wants, WARN, died()), (Verdict::Fail, StepVerdict::Fail), "{wants}");
        assert_eq!(step(&wants, WARN, exited()), (Verdict::Fail, StepVerdict::Fail), "{wants}");
        assert_eq!(step(&wants, WARN, ended()), (Verdict::Fail, StepVerdict::Timeout), "{wants}");
    }
}

#[test]
fn evidence_beside_a_wanted_oops_is_looked_at_however_the_step_ended() {
    let verdict = |log: &str, outcome| {
        first(&with(&format!("expect: {{oops: true, log: {log}}}")), records(OOPS), outcome).verdict
    };
    for outcome in [ended, died, exited, returned] {
        assert_eq!(verdict("chardev_write", outcome()), Verdict::Pass);
        assert_eq!(verdict("never said", outcome()), Verdict::Fail);
    }
}

#[test]
fn a_report_that_the_run_wants_excuses_no_step_that_dies_of_something_else() {
    let runs = |wants: &str, log: &str, first: StepOutcome, second: StepOutcome| {
        let mut events = vec![booted()];
        events.extend(step(0, records(log), first));
        events.extend(step(1, Vec::new(), second));
        events.push(end(RunEnd::Completed));
        run(&scenario(&format!("{PLAIN}expect: {{{wants}: true}}\n")), &events).verdict
    };
    assert_eq!(runs("splat", WARN, returned(), died()), Verdict::Fail);
    assert_eq!(runs("splat", WARN, died(), returned()), Verdict::Fail);
    assert_eq!(runs("oops", OOPS, died(), died()), Verdict::Fail);
    assert_eq!(runs("oops", OOPS, died(), returned()), Verdict::Pass);
}

#[test]
fn what_is_expected_beside_a_boot_that_fails_is_looked_at() {
    let dead = |wants: &str| {
        let tests = records("KTAP version 1\n1..2\nok 1 first\n");
        let events =
            [vec![Event::Taint(1 << 7)], tests, records(PANIC), vec![end(RunEnd::Panicked)]].concat();
        run(&scenario(&format!("{PLAIN}expect: {{{wants}}}\n")), &events)
    };
    for ending in ["boot-failed: true", "panic: Attempted to kill init"] {
        for (wants, verdict) in [
            ("log: {has: Attempted to kill init, lacks: no such driver}", Verdict::Pass),
            ("log: {has: no such driver}", Verdict::Fail),
            ("log: {lacks: Attempted to kill init}", Verdict::Fail),
            ("taint: D", Verdict::Pass),
            ("taint: unchanged", Verdict::Fail),
            // Of calls nothing is known, and its tests were cut off.
            ("syscalls: {getppid: 3}", Verdict::Pass),
        ] {
            let report = dead(&format!("{ending}, {wants}"));
            assert_eq!(report.verdict, verdict, "{ending}, {wants}: {:?}", report.failures);
        }
    }
}

#[test]
fn a_hang_of_the_run_is_known_by_where_it_stood_alone() {
    let hung = |wants: &str| {
        let vcpu = VcpuStanding { index: 0, rip: 0x1234, cpl: 0, halted: false, interrupts: true };
        let outcome = StepOutcome::TimedOut { limit: Duration::from_secs(1), standing: vec![vec![vcpu]; 3] };
        let mut events = vec![booted()];
        events.extend(step(0, records("mydrv: waits for its queue\n"), outcome));
        events.push(end(RunEnd::StepTimedOut { index: 0 }));
        run(&scenario(&format!("{PLAIN}expect: {{hang: {wants}}}\n")), &events).verdict
    };
    assert_eq!(hung("foo"), Verdict::Pass);
    assert_eq!(hung("mydrv"), Verdict::HangSpinning, "a line of the log says nothing of it");
    assert_eq!(hung("sleep"), Verdict::HangSpinning, "nor does the step's title");
}
