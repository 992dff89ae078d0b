//! Single expectations against what a step brought back.

use crate::{
    JudgedStep, RunReport, StepVerdict, Verdict,
    fixture::{booted, run},
};
use board::wire::{Evidence, LogRecord};
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
    events.push(Event::Ended(Ended {
        why: RunEnd::Completed,
        evidence: Evidence::default(),
        ran: TOOK,
        steps: Vec::new(),
    }));
    run(&scenario, &events)
}

/// The only step of a scenario, judged.
fn judged(step: &str, outcome: StepOutcome) -> JudgedStep {
    judged_all(&format!("- {step}"), vec![outcome]).steps.swap_remove(0)
}

fn returned(value: i64) -> StepOutcome {
    StepOutcome::Returned { value, data: vec![vec![0; 8]], took: TOOK, cut: false }
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
    let gives = |n: i64| StepOutcome::Returned {
        value: 0,
        data: vec![n.to_le_bytes().into()],
        took: TOOK,
        cut: false,
    };
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

#[test]
fn an_output_that_was_cut_satisfies_nothing_that_lies_behind_the_cut() {
    let flood = |last: &str| {
        let mut stdout = engine::output::Output::from("first\n");
        stdout.push(&vec![b'-'; 2 * engine::output::KEPT]);
        stdout.push(last.as_bytes());
        StepOutcome::Exited { code: 0, stdout, stderr: "".into(), took: TOOK }
    };
    let verdict =
        |expect: &str, last| judged(&format!("{{run: /bin/x, expect: {{stdout: {expect}}}}}"), flood(last));
    for held in ["{contains: first}", "{contains: last}", "{matches: '(?m)^last$'}"] {
        assert_eq!(verdict(held, "\nlast").verdict, StepVerdict::Pass, "{held}");
    }
    for unknown in ["{lacks: BAD}", "{contains: BAD}", "{matches: BAD}", "{lacks: [BAD, WORSE]}"] {
        let step = verdict(unknown, "\nlast");
        assert_eq!(step.verdict, StepVerdict::Fail, "{unknown}");
        assert!(step.failures[0].got.starts_with("not known: it was cut, "), "{:?}", step.failures);
    }
    let output = verdict("{lacks: BAD}", "\nlast").result.unwrap().output.unwrap();
    assert!(output.text.starts_with("first\n") && output.text.ends_with("\nlast") && output.left_out > 0);
    // The same of a file.
    let read = |cut| StepOutcome::Returned { value: 4, data: vec![b"text".into()], took: TOOK, cut };
    let file = |cut| judged("{file: /f, expect: {data: {lacks: BAD}}}", read(cut));
    assert_eq!((file(false).verdict, file(true).verdict), (StepVerdict::Pass, StepVerdict::Fail));
    assert_eq!(file(true).failures[0].got, "not known: it was cut behind 4 bytes");
}

#[test]
fn a_failed_step_has_what_its_program_printed_and_what_the_kernel_logged() {
    let scenario = scenario("steps:\n- run: /bin/x\n- run: /bin/x\n");
    let mut events = vec![booted()];
    for (index, code) in [(0, 0), (1, 1)] {
        events.push(Event::StepStarted { index });
        for line in 0..40 {
            let seq = (40 * index + line) as u64;
            let text = format!("step {index} line {line}");
            events.push(Event::Log(LogRecord { seq, time: TOOK, level: 6, user: false, caller: None, text }));
        }
        events.push(Event::StepEnded { index, outcome: exited(code, "out\n", "err\n") });
    }
    events.push(Event::Ended(Ended {
        why: RunEnd::Completed,
        evidence: Evidence::default(),
        ran: TOOK,
        steps: Vec::new(),
    }));
    let steps = run(&scenario, &events).steps;
    assert!(steps[0].log.is_empty(), "a good step needs no explanation");
    let log: Vec<&str> = steps[1].log.iter().map(|record| &*record.text).collect();
    assert_eq!(
        (log[0], log[4], log[5], log[14], log.len()),
        ("step 1 line 0", "step 1 line 4", "step 1 line 30", "step 1 line 39", 15)
    );
    assert_eq!(steps[1].log_left_out, 25);
    let result = steps[1].result.as_ref().unwrap();
    assert_eq!(result.output.as_ref().map(|excerpt| &*excerpt.text), Some("out\n"));
    assert_eq!(result.stderr.as_ref().map(|excerpt| &*excerpt.text), Some("err\n"));
}

#[test]
fn a_step_that_took_too_long_is_a_timeout_and_the_run_fails() {
    let ended = StepOutcome::Ended {
        limit: Duration::from_secs(2),
        stdout: "tick\n".into(),
        stderr: "".into(),
        standing: Vec::new(),
        inside: false,
    };
    let report = judged_all("- run: /bin/x\n- syscall: 999", vec![ended.clone(), returned(0)]);
    assert_eq!((report.verdict, &*report.reason.to_string()), (Verdict::Fail, "1 of 2 steps took too long"));
    let step = &report.steps[0];
    assert_eq!(
        (step.verdict, step.why.as_deref()),
        (StepVerdict::Timeout, Some("not done within 2 s, so it was ended"))
    );
    assert_eq!(step.result.as_ref().unwrap().output.as_ref().unwrap().text, "tick\n");
    assert_eq!(report.steps[1].verdict, StepVerdict::Pass);
    // It is no hang: the guest lives.
    let report = judged_all("- {run: /bin/x, expect: {hang: true}}", vec![ended]);
    assert_eq!(report.steps[0].verdict, StepVerdict::Fail);
    assert!(report.steps[0].failures[0].got.contains("so it was ended"), "{:?}", report.steps[0].failures);
    assert!(report.steps[0].failures[0].got.contains("write `expect: blocks`"));
}

#[test]
fn a_step_that_should_block_passes_only_if_it_is_in_the_kernel_when_its_time_is_over() {
    let ended = |inside| StepOutcome::Ended {
        limit: Duration::from_secs(1),
        stdout: "".into(),
        stderr: "".into(),
        standing: Vec::new(),
        inside,
    };
    let step =
        |expect: &str, outcome| judged(&format!("{{read: 3, timeout: 1 s, expect: {expect}}}"), outcome);
    for expect in ["blocks", "{blocks: true}", "{blocks: true, log: {lacks: BUG}}"] {
        let passed = step(expect, ended(true));
        assert_eq!((passed.verdict, passed.failures.len()), (StepVerdict::Pass, 0), "{expect}");
        assert!(passed.title.ends_with(": blocked for 1 s, as expected"), "{}", passed.title);
    }
    assert_eq!(step("{blocks: true, log: sleeps}", ended(true)).failures[0].what, "kernel log");
    let late = step("blocks", ended(false));
    assert_eq!(late.verdict, StepVerdict::Fail);
    assert_eq!(late.failures[0].got, "a call that was seen to return, or was never made");
    for (value, got) in [(3, "3 after 1.0 ms"), (-11, "EAGAIN (Try again) after 1.0 ms")] {
        let returned = step("blocks", returned(value));
        assert_eq!(returned.verdict, StepVerdict::Fail);
        let failure = &returned.failures[0];
        assert_eq!((&*failure.expected, &*failure.got), ("none within 1 s, as it was to block", got));
    }
    // Nothing can end it.
    let hung = StepOutcome::TimedOut { limit: Duration::from_secs(1), standing: Vec::new() };
    assert_eq!(step("blocks", hung).verdict, StepVerdict::Fail);
    assert_eq!(step("blocks", StepOutcome::Died { signal: 9 }).verdict, StepVerdict::Fail);
    // Its process went, and its descriptors with it.
    let skipped = StepOutcome::Skipped { why: "no value".into() };
    let steps = "- {open: /x, as: fd}\n- {read: $fd, expect: blocks}\n- {close: $fd}";
    let report = judged_all(steps, vec![returned(3), ended(true), skipped]);
    let verdicts: Vec<StepVerdict> = report.steps.iter().map(|step| step.verdict).collect();
    assert_eq!(verdicts, [StepVerdict::Pass, StepVerdict::Pass, StepVerdict::Skipped]);
}

#[test]
fn steps_whose_descriptor_died_with_its_process_are_skipped_with_the_cause() {
    let text = "- {open: /dev/x, as: fd}\n- {write: $fd, data: x}\n- {read: $fd}\n- {close: $fd}\n- {syscall: 999}\n\
                - {open: /dev/x, as: again}";
    let scenario = scenario(&format!("steps:\n{text}\n"));
    let line = |text: &str| {
        Event::Log(LogRecord { seq: 0, time: TOOK, level: 1, user: false, caller: None, text: text.into() })
    };
    let skipped = || StepOutcome::Skipped { why: "no value".into() };
    let outcomes =
        [returned(3), StepOutcome::Died { signal: 9 }, skipped(), skipped(), returned(0), returned(3)];
    let mut events = vec![booted()];
    for (index, outcome) in outcomes.into_iter().enumerate() {
        events.push(Event::StepStarted { index });
        if index == 1 {
            events.push(line("BUG: kernel NULL pointer dereference, address: 0000000000000000"));
            events.push(line("Oops: Oops: 0002 [#1] SMP"));
        }
        events.push(Event::StepEnded { index, outcome });
    }
    events.push(Event::Ended(Ended {
        why: RunEnd::Completed,
        evidence: Evidence::default(),
        ran: TOOK,
        steps: Vec::new(),
    }));
    let report = run(&scenario, &events);
    let verdicts: Vec<String> = report.steps.iter().map(|step| step.verdict.to_string()).collect();
    assert_eq!(verdicts, ["pass", "fail", "skipped", "skipped", "pass", "pass"]);
    let why = report.steps[3].why.as_deref().unwrap();
    assert!(
        why.starts_with("`$fd` has no value: the process that it belonged to ended in the step of line 3 ("),
        "{why}"
    );
    assert!(why.contains("NULL pointer dereference"), "{why}");
    assert_eq!(report.verdict, Verdict::Oops);
}

#[test]
fn a_process_that_ends_between_two_calls_takes_its_descriptors_along() {
    let text =
        "- {open: /dev/x, as: a}\n- {sleep: 1 s}\n- {open: /dev/x, as: b}\n- {read: $a}\n- {read: $b}\n";
    let scenario = scenario(&format!("steps:\n{text}"));
    let skipped = || StepOutcome::Skipped { why: "no value".into() };
    // It may end in a step, and behind the answer of one.
    for (line, before, behind) in [(3, Some(1), None), (2, None, Some(0))] {
        let mut events = vec![booted()];
        for (index, outcome) in
            [returned(3), returned(0), returned(3), skipped(), returned(0)].into_iter().enumerate()
        {
            events.push(Event::StepStarted { index });
            events.extend((before == Some(index)).then_some(Event::ProcessEnded { index }));
            events.push(Event::StepEnded { index, outcome });
            events.extend((behind == Some(index)).then_some(Event::ProcessEnded { index }));
        }
        // What a step that no plan has lost is nobody's.
        events.push(Event::ProcessEnded { index: 99 });
        let (evidence, steps) = (Evidence::default(), Vec::new());
        events.push(Event::Ended(Ended { why: RunEnd::Completed, evidence, ran: TOOK, steps }));
        let report = run(&scenario, &events);
        let verdicts: Vec<String> = report.steps.iter().map(|step| step.verdict.to_string()).collect();
        assert_eq!(verdicts, ["pass", "pass", "pass", "skipped", "pass"]);
        let why = report.steps[3].why.as_deref().unwrap();
        let ended = format!("the process that it belonged to ended in the step of line {line}");
        assert_eq!(why, format!("`$a` has no value: {ended}"));
    }
}

#[test]
fn an_end_by_a_signal_satisfies_nothing_that_does_not_name_it() {
    let ends = |expect: &str, code: i32| {
        judged(&format!("{{run: /bin/x, expect: {expect}}}"), exited(code, "", "")).verdict
    };
    for expect in ["{exit: {at-least: 1}}", "{exit: {at-most: 255}}", "{exit: {at-least: 1, at-most: 200}}"] {
        assert_eq!(ends(expect, 139), StepVerdict::Fail, "{expect}");
    }
    for expect in ["{exit: SIGSEGV}", "{exit: 139}", "139", "{exit: -11}"] {
        assert_eq!(ends(expect, 139), StepVerdict::Pass, "{expect}");
    }
    assert_eq!(ends("{exit: {at-least: 1}}", 3), StepVerdict::Pass);
}

#[test]
fn a_line_that_the_kernel_may_have_cut_proves_the_absence_of_nothing() {
    let expects = |length: usize, want: &str| {
        let scenario =
            scenario(&format!("steps:\n- sleep: 1 s\n  expect: {{log: {want}}}\nexpect: {{log: {want}}}\n"));
        let text = "x".repeat(length);
        let events = [
            booted(),
            Event::StepStarted { index: 0 },
            Event::Log(LogRecord { seq: 0, time: TOOK, level: 6, user: false, caller: None, text }),
            Event::StepEnded { index: 0, outcome: returned(0) },
            Event::Ended(Ended {
                why: RunEnd::Completed,
                evidence: Evidence::default(),
                ran: TOOK,
                steps: Vec::new(),
            }),
        ];
        run(&scenario, &events)
    };
    assert_eq!(expects(900, "{lacks: BADBAD}").verdict, Verdict::Pass);
    let cut = expects(1021, "{lacks: BADBAD}");
    assert_eq!(cut.verdict, Verdict::Fail);
    for failure in cut.failures.iter().chain(&cut.steps[0].failures) {
        assert!(failure.got.contains("may be cut"), "{failure:?}");
    }
    assert_eq!((cut.failures.len(), cut.steps[0].failures.len()), (1, 1));
    assert_eq!(expects(1021, "{has: xxx}").verdict, Verdict::Pass, "what is there is there");
}

/// What comes back of a step that writes.
fn wrote(value: i64) -> StepOutcome {
    StepOutcome::Returned { value, data: Vec::new(), took: TOOK, cut: false }
}

#[test]
fn the_events_of_a_poll_are_those_that_come_back() {
    let poll = |expect: &str, value: i64, revents: u8| {
        let data = vec![vec![3, 0, 0, 0, 5, 0, revents, 0]];
        let step = format!("{{poll: 3, events: [in, out]{expect}}}");
        judged(&step, StepOutcome::Returned { value, data, took: TOOK, cut: false })
    };
    let out = |expect: &str| poll(expect, 1, 4);
    for expect in ["", ", expect: 1", ", expect: {events: [out]}", ", expect: {events: out, returns: 1}"] {
        assert_eq!(out(expect).verdict, StepVerdict::Pass, "{expect}");
    }
    assert_eq!(out("").title, "poll 3 for in, out = out");
    let failure = |step: JudgedStep| (step.failures[0].expected.clone(), step.failures[0].got.clone());
    let words = |expected: &str, got: &str| (expected.to_owned(), got.to_owned());
    assert_eq!(failure(out(", expect: {events: [in, out]}")), words("in, out", "out"));
    assert_eq!(failure(out(", expect: {events: none}")), words("none", "out"));
    assert_eq!(failure(poll(", expect: {events: [in]}", 1, 0x10)), words("in", "hup"));
    assert_eq!(poll(", expect: {events: none}", 0, 0).verdict, StepVerdict::Pass);
    assert_eq!(failure(poll(", expect: {events: none}", -4, 0)).1, "EINTR (Interrupted system call)");
}

#[test]
fn a_file_is_written_whole_or_not() {
    let step = judged("{file: /x, write: hello}", wrote(3));
    assert_eq!(
        (step.verdict, &*step.failures[0].expected),
        (StepVerdict::Fail, "5, all that was to be written")
    );
    assert!(step.title.ends_with(" = 3 of 5 bytes"), "{}", step.title);
    assert_eq!(judged("{file: /x, write: hello}", wrote(5)).verdict, StepVerdict::Pass);
    assert_eq!(judged("{file: /x, write: hello, expect: 3}", wrote(3)).verdict, StepVerdict::Pass);
    // A driver may take less at a time; who wants more says so.
    let step = judged("{write: 1, data: hello}", wrote(3));
    assert!(step.verdict == StepVerdict::Pass && step.title.ends_with(" = 3 of 5 bytes"), "{}", step.title);
}

#[test]
fn names_stand_for_their_values_in_what_is_expected() {
    let file =
        |text: &str| StepOutcome::Returned { value: 0, data: vec![text.into()], took: TOOK, cut: false };
    let steps = |expect: &str| {
        format!(
            "- {{file: /proc/devices, match: '([0-9]+) chardev', as: major}}\n- {{file: /proc/devices, expect: {{data: {expect}}}}}"
        )
    };
    let judged = |expect: &str, last: &str| {
        judged_all(&steps(expect), vec![file("240 chardev\n"), file(last)]).steps.swap_remove(1)
    };
    let lacks = "{lacks: '${major} chardev'}";
    let still = judged(lacks, "240 chardev\n");
    assert_eq!(
        (still.verdict, &*still.failures[0].expected),
        (StepVerdict::Fail, "no \"240 chardev\" in it")
    );
    assert_eq!(judged(lacks, "1 mem\n").verdict, StepVerdict::Pass);
    assert_eq!(judged("$major", "240").verdict, StepVerdict::Pass);
    // Without a value nothing holds.
    let report = judged_all(&steps(lacks), vec![file("none\n"), file("1 mem\n")]);
    let step = &report.steps[1];
    assert_eq!((step.verdict, &*step.failures[0].got), (StepVerdict::Fail, "`$major` has no value"));
}

#[test]
fn a_step_that_failed_gives_no_names_as_in_the_engine() {
    let step = judged("{syscall: 999, args: [{out: int, as: n}], as: r, expect: EBADF}", returned(-9));
    assert_eq!(step.result.unwrap().values, [].into());
    let status = StepOutcome::Exited { code: 3, stdout: "at -0x10\n".into(), stderr: "".into(), took: TOOK };
    let step = judged("{run: ls, match: 'at (.*)', as: n, expect: 3}", status.clone());
    assert_eq!(step.result.unwrap().values, [].into());
    let StepOutcome::Exited { stdout, stderr, .. } = status else { unreachable!() };
    let well = StepOutcome::Exited { code: 0, stdout, stderr, took: TOOK };
    let step = judged("{run: ls, match: 'at (.*)', as: n}", well);
    assert_eq!(step.result.unwrap().values, [("n".to_owned(), -16)].into());
}

#[test]
fn data_is_the_first_buffer_that_the_kernel_fills() {
    let call =
        "- {syscall: 1, as: n}\n- {syscall: 2, args: [{in: long, value: $n}, {out: 2}], expect: {data: ok}}";
    let second = StepOutcome::Returned { value: 0, data: vec![b"ok".to_vec()], took: TOOK, cut: false };
    assert_eq!(judged_all(call, vec![wrote(0), second]).steps[1].verdict, StepVerdict::Pass);
}
