//! Verdicts, from events alone.

use crate::{
    calls_test::counted,
    fixture::{any_event, booted, good_run, run},
    *,
};
use board::wire::{Blame, EndReason, Evidence, LogRecord, MissingVcpu, VcpuStanding};
use engine::event::{Ended, Event, RunEnd, StepOutcome};
use proptest::prelude::*;
use scenario::{
    Scenario,
    errno::Errno,
    fixture::{CHARDEV, HELLO, SYSCALL, scenario},
    model::{Data, Interval, LogWant, Num, Text, Want},
};
use std::time::Duration;

fn ended(why: RunEnd) -> Event {
    Event::Ended(Ended { why, evidence: Evidence::default(), ran: Duration::from_secs(1), steps: Vec::new() })
}

fn line(text: &str) -> Event {
    Event::Log(LogRecord {
        seq: 0,
        time: Duration::ZERO,
        level: 4,
        user: false,
        caller: None,
        text: text.into(),
    })
}

fn standing(halted: bool) -> Vec<Vec<VcpuStanding>> {
    vec![vec![VcpuStanding { index: 0, rip: 0x1234, cpl: 0, halted, interrupts: false }]; 3]
}

/// A step in which something happens, and then the end.
fn during(text: &str, middle: Vec<Event>, why: RunEnd) -> RunReport {
    let start = [booted(), Event::StepStarted { index: 0 }];
    run(&scenario(text), &start.into_iter().chain(middle).chain([ended(why)]).collect::<Vec<_>>())
}

fn end_of_step(outcome: StepOutcome) -> Event {
    Event::StepEnded { index: 0, outcome }
}

pub(crate) fn returned(value: i64) -> Event {
    end_of_step(StepOutcome::Returned { value, data: Vec::new(), took: Duration::ZERO, cut: false })
}

pub(crate) const SLEEP: &str = "steps:\n- sleep: 1 s\n";

#[test]
fn what_programs_write_to_the_console_is_in_the_report_whatever_the_verdict() {
    let console = || Event::Console(b"[    1.234567] the kernel's\nlost output\n[1] a job\n".to_vec());
    for (value, verdict) in [(0, Verdict::Pass), (-1, Verdict::Fail)] {
        let report = during(SLEEP, vec![line("x"), console(), returned(value)], RunEnd::Completed);
        assert_eq!(report.verdict, verdict);
        assert_eq!(report.console_tail, "lost output\n[1] a job\n");
    }
    // Of a log that could not be read, the console has what there is.
    let report = during(SLEEP, vec![console(), returned(0)], RunEnd::Completed);
    assert!(report.console_tail.starts_with("[    1.234567] the kernel's\n"), "{}", report.console_tail);
}

#[test]
fn a_run_in_which_everything_is_right_passes() {
    for text in [CHARDEV, HELLO, SYSCALL] {
        let scenario = scenario(text);
        let report = run(&scenario, &good_run(&scenario));
        assert_eq!(report.verdict, Verdict::Pass, "{report:#?}");
        assert!(report.expectations > report.steps.len());
        assert!(report.steps.iter().all(|step| step.verdict == StepVerdict::Pass));
    }
}

/// An expectation that means something else.
fn change(want: &mut Want) -> bool {
    let shift = |range: &mut Interval| {
        for bound in [&mut range.low, &mut range.high].into_iter().flatten() {
            if let Num::Int(number) = bound {
                *number += 1;
            }
        }
    };
    let text = |text: &mut Text| match text {
        Text::Equals(data) | Text::Contains(data) => *data = [&data.written(), &b"!"[..]].concat().into(),
        Text::Lacks(data) => *data = Data::default(),
        Text::Matches(regex) => *regex = regex::Regex::new("never(1)").unwrap(),
    };
    match want {
        Want::Success => *want = Want::Errno(Errno(5)),
        Want::Returns(range) | Want::Named(_, range) | Want::Exit(range) | Want::Users(range) => shift(range),
        // That is another step's matter.
        Want::Clean | Want::Blocks | Want::Events(_) => return false,
        Want::Errno(errno) => errno.0 += 1,
        Want::Data(data) | Want::NamedText(_, data) | Want::Stdout(data) | Want::Stderr(data) => text(data),
        Want::Within(limit) => *limit = Duration::ZERO,
        Want::Log(LogWant::Has(data)) => *data = [&data.written(), &b"!"[..]].concat().into(),
        Want::Taint(_) | Want::Log(_) => return false,
    }
    true
}

#[test]
fn changing_any_one_expectation_of_a_step_makes_exactly_that_step_fail() {
    for text in [CHARDEV, HELLO, SYSCALL] {
        let right = scenario(text);
        let events = good_run(&right);
        for index in 0..right.steps.len() {
            for position in 0..right.steps[index].checks.len() {
                let mut wrong = right.clone();
                if !change(&mut wrong.steps[index].checks[position].want) {
                    continue;
                }
                let report = run(&wrong, &events);
                let failed: Vec<usize> = report
                    .steps
                    .iter()
                    .filter(|step| step.verdict == StepVerdict::Fail)
                    .map(|step| step.index)
                    .collect();
                assert_eq!(failed, [index], "{:?}", wrong.steps[index]);
                assert_eq!(report.steps[index].failures.len(), 1);
                assert_eq!(report.verdict, Verdict::Fail);
                assert_eq!(report.verdict, Verdict::Fail);
            }
        }
    }
}

#[test]
fn changing_any_expectation_of_the_run_makes_the_run_fail_and_no_step() {
    let right = scenario(CHARDEV);
    let events = good_run(&right);
    let fails = |wrong: &Scenario| {
        let report = run(wrong, &events);
        assert_eq!((report.verdict, report.failures.len()), (Verdict::Fail, 1), "{:?}", report.failures);
        assert!(report.steps.iter().all(|step| step.verdict == StepVerdict::Pass));
    };
    for index in 0..right.expect.syscalls.len() {
        let mut wrong = right.clone();
        let wrong_count = Some(Interval { low: Some(Num::Int(99)), high: None });
        wrong.expect.syscalls[index].count = wrong_count;
        fails(&wrong);
    }
    let mut wrong = right.clone();
    wrong.expect.syscalls[0].errors[0].0 = Errno(4);
    fails(&wrong);
    for index in 0..right.expect.log.len() {
        let mut wrong = right.clone();
        wrong.expect.log[index].0 = match &right.expect.log[index].0 {
            LogWant::Lacks(_) => LogWant::Lacks("chardev".into()),
            _ => LogWant::Has("never said".into()),
        };
        fails(&wrong);
    }
}

#[test]
fn what_the_kernel_says_while_it_boots_is_no_word_of_the_run() {
    let judged = |want: &str, events: &[Event]| {
        run(&scenario(&format!("{SLEEP}expect: {{log: {want}}}\n")), events).verdict
    };
    let ran = |text: &str| {
        let step = [Event::StepStarted { index: 0 }, line(text), returned(0), ended(RunEnd::Completed)];
        [line("random: ready"), booted()].into_iter().chain(step).collect::<Vec<_>>()
    };
    assert_eq!(judged("random", &ran("nothing")), Verdict::Fail);
    assert_eq!(judged("{lacks: random}", &ran("nothing")), Verdict::Pass);
    assert_eq!(judged("random", &ran("random: more")), Verdict::Pass);
}

#[test]
fn the_agents_own_calls_do_not_count() {
    // The fixture gives the agent seven calls of each.
    let scenario = scenario(SYSCALL);
    let report = run(&scenario, &good_run(&scenario));
    let row = report.syscalls.iter().find(|row| row.name == "getppid").unwrap();
    assert_eq!((row.count(), row.step, row.agent), (1000, 1000, 7));
}

#[test]
fn a_number_without_a_name_is_shown_as_one() {
    let scenario = scenario(SYSCALL);
    let report = run(&scenario, &good_run(&scenario));
    assert!(report.syscalls.iter().any(|row| row.name == "syscall_999"));
}

#[test]
fn each_end_has_its_verdict() {
    let timed_out = |halted| {
        end_of_step(StepOutcome::TimedOut { limit: Duration::from_secs(10), standing: standing(halted) })
    };
    let lost = || end_of_step(StepOutcome::Lost);
    let panic = || line("Kernel panic - not syncing: Attempted to kill init!");
    let oops = || line("BUG: kernel NULL pointer dereference, address: 0000000000000000");
    let failed = |blame| RunEnd::Machine(EndReason::Failed { blame, why: "on purpose".into() });
    let warn = || line("WARNING: CPU: 0 PID: 1 at fs/x.c:1 f+0x1/0x2");
    let hung = || RunEnd::StepTimedOut { index: 0 };
    let exited =
        || StepOutcome::Exited { code: 0, stdout: "".into(), stderr: "".into(), took: Duration::ZERO };
    let cases: Vec<(Verdict, Vec<Event>, RunEnd)> = vec![
        (Verdict::Pass, vec![returned(0)], RunEnd::Completed),
        (Verdict::Fail, vec![returned(-14)], RunEnd::Completed),
        (Verdict::Fail, vec![], RunEnd::Completed),
        (
            Verdict::Splat,
            vec![line("WARNING: CPU: 0 PID: 1 at fs/x.c:1 f+0x1/0x2"), returned(0)],
            RunEnd::Completed,
        ),
        (Verdict::Fail, vec![line("WARNING: CPU: 0 PID: 1 at fs/x.c:1"), returned(-1)], RunEnd::Completed),
        (Verdict::Oops, vec![oops(), end_of_step(StepOutcome::Died { signal: 9 })], RunEnd::Completed),
        (Verdict::Fail, vec![end_of_step(StepOutcome::Died { signal: 9 })], RunEnd::Completed),
        // Its call is none in which a process ends.
        (Verdict::Fail, vec![end_of_step(exited())], RunEnd::Completed),
        (Verdict::Panic, vec![panic(), lost()], RunEnd::Panicked),
        (Verdict::Panic, vec![oops(), panic(), lost()], RunEnd::Panicked),
        (Verdict::Panic, vec![lost()], RunEnd::Panicked),
        (Verdict::Panic, vec![panic(), timed_out(true)], hung()),
        (Verdict::Panic, vec![lost()], RunEnd::Machine(EndReason::TripleFault)),
        (Verdict::Fail, vec![lost()], RunEnd::Machine(EndReason::Reset)),
        (Verdict::Fail, vec![lost()], RunEnd::SwitchedOff),
        (Verdict::Oops, vec![oops(), lost()], RunEnd::SwitchedOff),
        (Verdict::HangIdle, vec![timed_out(true)], hung()),
        (Verdict::HangSpinning, vec![timed_out(false)], hung()),
        (Verdict::Tampered, vec![lost()], RunEnd::BadAgent("a frame of 4294967295 bytes".into())),
        (Verdict::Fail, vec![lost()], failed(Blame::Guest)),
        (Verdict::Fail, vec![lost()], failed(Blame::Unknown)),
        (Verdict::Infra, vec![lost()], failed(Blame::Host)),
        // What was known before stays, whoever is to blame for the end.
        (Verdict::Panic, vec![panic(), lost()], failed(Blame::Host)),
        (Verdict::Oops, vec![oops(), lost()], failed(Blame::Unknown)),
        (Verdict::Oops, vec![oops(), lost()], failed(Blame::Host)),
        (Verdict::Splat, vec![warn(), lost()], failed(Blame::Host)),
        (Verdict::Fail, vec![returned(-14)], failed(Blame::Host)),
        (Verdict::Panic, vec![panic(), lost()], RunEnd::Machine(EndReason::Stopped)),
        (Verdict::Infra, vec![lost()], RunEnd::Machine(EndReason::Stopped)),
    ];
    for (verdict, middle, why) in cases {
        let report = during(SLEEP, middle.clone(), why.clone());
        assert_eq!(report.verdict, verdict, "{middle:?} {why:?}");
        assert_eq!(
            report.reason == crate::Reason::None,
            verdict == Verdict::Pass,
            "{verdict}: {}",
            report.reason
        );
    }
}

#[test]
fn a_guest_that_never_says_hello_failed_to_boot() {
    let limit = Duration::from_secs(60);
    let no_agent = || ended(RunEnd::NoAgent { limit, greeted: false, standing: standing(true) });
    let silent = run(&scenario(SLEEP), &[no_agent()]);
    assert_eq!(silent.verdict, Verdict::BootFailed);
    assert_eq!(silent.standing, ["vCPU 0 halted at foo+0x34, interrupts off (3 of 3 samples)"]);
    let panic = "Kernel panic - not syncing: VFS: Unable to mount root fs";
    let dead = run(&scenario(SLEEP), &[line(panic), ended(RunEnd::Panicked)]);
    assert_eq!(
        (dead.verdict, &*dead.reason.to_string()),
        (Verdict::BootFailed, "kernel panic: VFS: Unable to mount root fs")
    );
    assert_eq!(dead.log_tail.len(), 1);
    let failed = |blame| ended(RunEnd::Machine(EndReason::Failed { blame, why: "on purpose".into() }));
    assert_eq!(run(&scenario(SLEEP), &[failed(Blame::Host)]).verdict, Verdict::Infra);
    assert_eq!(run(&scenario(SLEEP), &[failed(Blame::Guest)]).verdict, Verdict::BootFailed);
    assert_eq!(run(&scenario(SLEEP), &[failed(Blame::Unknown)]).verdict, Verdict::BootFailed);
    assert_eq!(run(&scenario(SLEEP), &[line(panic), failed(Blame::Host)]).verdict, Verdict::BootFailed);
}

#[test]
fn a_step_that_waits_for_a_failed_one_is_not_run_but_the_run_fails() {
    let text = "steps:\n- open: /a\n  as: fd\n- close: $fd\n- run: /nothing\n";
    let mut events = vec![booted()];
    let skipped = |why: &str| StepOutcome::Skipped { why: why.into() };
    let outcomes = [
        StepOutcome::Returned { value: -2, data: vec![], took: Duration::ZERO, cut: false },
        skipped("no value"),
        skipped("no such program"),
    ];
    for (index, outcome) in outcomes.into_iter().enumerate() {
        events.extend([Event::StepStarted { index }, Event::StepEnded { index, outcome }]);
    }
    events.push(ended(RunEnd::Completed));
    let report = run(&scenario(text), &events);
    let verdicts: Vec<StepVerdict> = report.steps.iter().map(|step| step.verdict).collect();
    assert_eq!(verdicts, [StepVerdict::Fail, StepVerdict::Skipped, StepVerdict::Fail]);
    assert_eq!(report.steps[1].why.as_deref(), Some("`$fd` has no value: the step of line 2 gave it none"));
    assert_eq!(report.verdict, Verdict::Fail);
}

#[test]
fn counts_that_nobody_could_take_are_this_machines_fault() {
    let verdict = |text: &str, middle: Vec<Event>| {
        let mut booted = booted();
        if let Event::Booted(booted) = &mut booted {
            booted.not_trapping = Some("no hardware breakpoints".into());
        }
        let scenario = scenario(text);
        let middle = if middle.is_empty() { good_run(&scenario).split_off(1) } else { middle };
        run(&scenario, &[vec![booted], middle].concat()).verdict
    };
    assert_eq!(verdict(SYSCALL, vec![]), Verdict::Infra);
    // Nor is a run watched in which nobody asks for counts, unless that is not wanted.
    assert_eq!(verdict(SLEEP, vec![]), Verdict::Infra);
    assert_eq!(verdict(&format!("evidence: basic\n{SLEEP}"), vec![]), Verdict::Pass);
    // What is known against the guest stays.
    let failed = vec![Event::StepStarted { index: 0 }, returned(-14), ended(RunEnd::Completed)];
    assert_eq!(verdict(SLEEP, failed), Verdict::Fail);
}

#[test]
fn a_run_without_its_end_is_no_pass_and_an_end_is_final() {
    let scenario = scenario(SLEEP);
    let mut judge = Judge::new(&scenario);
    assert_eq!(judge.verdict(), None);
    let ended = judge.abort(Verdict::Infra, "interrupted".into());
    assert!(matches!(&ended[..], [Judged::Ended(report)] if report.verdict == Verdict::Infra));
    assert!(judge.abort(Verdict::BuildFailed, "later".into()).is_empty());
    for event in good_run(&scenario) {
        assert!(judge.event(&event).is_empty());
    }
    assert_eq!(judge.verdict(), Some(Verdict::Infra));
}

#[test]
fn a_bad_end_that_a_step_should_bring_about_passes_and_its_absence_fails() {
    let wants = |end: &str| format!("steps:\n- sleep: 1 s\n  expect: {{{end}}}\n- sleep: 1 s\n");
    let panic = || vec![line("Kernel panic - not syncing: sysrq"), end_of_step(StepOutcome::Lost)];
    let oops = || vec![line("Oops: 0002 [#1]"), end_of_step(StepOutcome::Died { signal: 9 })];
    let hang = || {
        vec![end_of_step(StepOutcome::TimedOut { limit: Duration::from_secs(1), standing: standing(false) })]
    };
    let hung = || RunEnd::StepTimedOut { index: 0 };
    let verdict = |end: &str, middle, why| during(&wants(end), middle, why).verdict;
    assert_eq!(verdict("panic: true", panic(), RunEnd::Panicked), Verdict::Pass);
    assert_eq!(verdict("panic: sysrq", panic(), RunEnd::Panicked), Verdict::Pass);
    assert_eq!(verdict("panic: other", panic(), RunEnd::Panicked), Verdict::Panic);
    assert_eq!(verdict("hang: true", hang(), hung()), Verdict::Pass);
    assert_eq!(verdict("hang-spinning: foo", hang(), hung()), Verdict::Pass);
    assert_eq!(verdict("hang-idle: true", hang(), hung()), Verdict::HangSpinning);
    assert_eq!(verdict("panic: true", vec![returned(0)], RunEnd::Completed), Verdict::Fail);
    let rest = |mut events: Vec<Event>| {
        let outcome = StepOutcome::Returned { value: 0, data: vec![], took: Duration::ZERO, cut: false };
        events.extend([Event::StepStarted { index: 1 }, Event::StepEnded { index: 1, outcome }]);
        events
    };
    assert_eq!(verdict("oops: true", rest(oops()), RunEnd::Completed), Verdict::Pass);
    assert_eq!(verdict("oops: true", rest(vec![returned(0)]), RunEnd::Completed), Verdict::Fail);
    // An oops that comes later is another one.
    let mut twice = rest(oops());
    twice.push(line("Oops: 0000 [#2]"));
    assert_eq!(verdict("oops: true", twice, RunEnd::Completed), Verdict::Oops);
}

#[test]
fn a_bad_end_that_the_run_should_come_to_passes_and_its_absence_fails() {
    let wants = |end: &str| format!("steps:\n- sleep: 1 s\nexpect: {{{end}}}\n");
    let panic = || vec![line("Kernel panic - not syncing: sysrq"), end_of_step(StepOutcome::Lost)];
    let good = during(&wants("panic: true"), panic(), RunEnd::Panicked);
    assert_eq!(good.verdict, Verdict::Pass, "{good:?}");
    let healthy = during(&wants("panic: true"), vec![returned(0)], RunEnd::Completed);
    assert_eq!((healthy.verdict, healthy.failures.len()), (Verdict::Fail, 1));
    let limit = Duration::from_secs(60);
    let no_agent = ended(RunEnd::NoAgent { limit, greeted: false, standing: standing(true) });
    let silent = run(&scenario(&wants("boot-failed: true")), &[no_agent]);
    assert_eq!(silent.verdict, Verdict::Pass);
    let failed = during(
        &wants("splat: true"),
        vec![line("WARNING: CPU: 0 PID: 1 at fs/x.c:1"), returned(-5)],
        RunEnd::Completed,
    );
    assert_eq!(failed.verdict, Verdict::Fail, "a failed step stays one");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_events_make_the_judge_panic_or_pass_without_an_end(events in prop::collection::vec(any_event(), 0..40)) {
        let scenario = scenario(CHARDEV);
        let mut judge = Judge::new(&scenario);
        for event in &events {
            judge.event(event);
        }
        prop_assert_ne!(judge.verdict(), Some(Verdict::Pass), "not all steps can have passed");
    }
}

/// A line with this number.
fn numbered(seq: u64) -> Event {
    Event::Log(LogRecord {
        seq,
        time: Duration::ZERO,
        level: 6,
        user: false,
        caller: None,
        text: format!("line {seq}"),
    })
}

#[test]
fn nothing_passes_for_what_is_missing_in_a_log_with_holes() {
    let lacks = "steps:\n- sleep: 1 s\n  expect:\n    log: {lacks: [BADBAD]}\n";
    let of_run = "steps:\n- sleep: 1 s\nexpect:\n  log: {lacks: [BADBAD]}\n";
    for (text, what) in [
        (SLEEP, "7 lines of the kernel's log are not known: what they said may be against it"),
        (lacks, "1 of 1 steps failed"),
        (of_run, "an expectation of the run did not hold"),
    ] {
        let whole = during(text, vec![numbered(0), numbered(1), returned(0)], RunEnd::Completed);
        assert_eq!(whole.verdict, Verdict::Pass, "{text}: {}", whole.reason);
        let holes = during(text, vec![numbered(0), numbered(8), returned(0)], RunEnd::Completed);
        assert_eq!((holes.verdict, &*holes.reason.to_string()), (Verdict::Fail, what), "{text}");
        let failures = holes.steps.iter().flat_map(|step| &step.failures).chain(&holes.failures);
        failures.for_each(|failure| {
            assert_eq!(failure.got, "no such line, but 7 lines of the kernel's log are not known");
        });
    }
    // Holes of an earlier step leave what a later one expects as it is, and the run still does not pass.
    let two = "steps:\n- sleep: 1 s\n- sleep: 1 s\n  expect:\n    log: {lacks: [BADBAD]}\n";
    let second = [
        Event::StepStarted { index: 1 },
        numbered(9),
        Event::StepEnded {
            index: 1,
            outcome: StepOutcome::Returned { value: 0, data: Vec::new(), took: Duration::ZERO, cut: false },
        },
    ];
    let middle = [numbered(0), numbered(8), returned(0)].into_iter().chain(second).collect();
    let report = during(two, middle, RunEnd::Completed);
    assert!(report.steps.iter().all(|step| step.verdict == StepVerdict::Pass), "{:?}", report.steps);
    assert_eq!(report.verdict, Verdict::Fail);
}

#[test]
fn a_script_is_called_by_its_first_line() {
    let scenario = scenario("steps:\n- script: |\n    # why\n    ls /sys | grep \"${X}\"\n    true\n");
    let Judged::Began(began) = Judge::new(&scenario).begin() else { panic!("no beginning") };
    assert_eq!(began.steps[0].title, "script: ls /sys | grep \"${X}\" ... and 1 lines more");
}

#[test]
fn a_report_is_data_that_can_be_written_and_read_again() {
    let scenario = scenario(SLEEP);
    let good = run(&scenario, &good_run(&scenario));
    let missing = vec![MissingVcpu { index: 1, why: "its thread panicked".into() }];
    let bad = counted("2", 3, Evidence { missing_vcpus: missing, ..Evidence::default() });
    for report in [good, bad] {
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<crate::RunReport>(&text).unwrap(), report, "{text}");
    }
}

#[test]
fn whoever_tampers_with_evidence_gets_that_verdict_whatever_else_there_is() {
    let lost = || end_of_step(StepOutcome::Lost);
    let panic = || line("Kernel panic - not syncing: sysrq triggered crash");
    let lie = || Event::Tampered(engine::event::Tampered::Result { said: 0, seen: -14 });
    let failed = RunEnd::Machine(EndReason::Failed { blame: Blame::Host, why: "on purpose".into() });
    for (middle, why) in [
        (vec![lie(), returned(0)], RunEnd::Completed),
        (vec![lie(), panic(), lost()], RunEnd::Panicked),
        (vec![lie(), lost()], failed),
    ] {
        let report = during(SLEEP, middle, why.clone());
        assert_eq!(report.verdict, Verdict::Tampered, "{why:?}");
        assert_eq!(
            report.reason.to_string(),
            "the kernel returned EFAULT, and the agent says 0 in `sleep 1 s`",
            "{why:?}"
        );
    }
    // No allowance, nor an expected end, excuses it.
    let text = format!("{SLEEP}expect: {{panic: true}}\n");
    assert_eq!(during(&text, vec![lie(), panic(), lost()], RunEnd::Panicked).verdict, Verdict::Tampered);
}
