//! What the kernel's log comes to, with logs of real shape.

use crate::{fixture::run, *};
use board::wire::{Evidence, LogRecord, VcpuStanding};
use engine::event::{Ended, Event, RunEnd, StepOutcome};
use scenario::fixture::scenario;
use std::time::Duration;

pub(crate) const OOPS: &str = include_str!("../../splat/tests/logs/oops-null-x86-6.12.log");
pub(crate) const WARN: &str = include_str!("../../splat/tests/logs/warn-x86-6.8-dmesg-levels.log");
pub(crate) const OOM: &str = include_str!("../../splat/tests/logs/oom-6.12.log");
pub(crate) const STALL: &str = include_str!("../../splat/tests/logs/rcu-stall-self-x86-6.12.log");
pub(crate) const UNLOADED: &str = include_str!("../../splat/tests/logs/oops-unloaded-module-x86-6.12.log");
pub(crate) const PANIC: &str = include_str!("../../splat/tests/logs/panic-init-6.12.log");
pub(crate) const WARN_PANIC: &str = include_str!("../../splat/tests/logs/warn-panic-on-warn-x86-4.14.log");
pub(crate) const BUG: &str = include_str!("../../splat/tests/logs/bug-list-debug-x86-6.6.log");

/// A console log as records: what stands before the message is not part of a record.
pub(crate) fn records(log: &str) -> Vec<Event> {
    let text = |line: &str| match line.split_once("] ") {
        Some((head, text)) if head.starts_with(['[', '<']) => text.to_owned(),
        _ => line.to_owned(),
    };
    log.lines()
        .map(|line| LogRecord {
            seq: 0,
            time: Duration::from_secs(1),
            level: 4,
            user: false,
            caller: None,
            text: text(line),
        })
        .map(Event::Log)
        .collect()
}

pub(crate) fn booted() -> Event {
    crate::fixture::good_run(&scenario("steps:\n- sleep: 1 s\n")).remove(0)
}

pub(crate) fn end(why: RunEnd) -> Event {
    Event::Ended(Ended { why, evidence: Evidence::default(), ran: Duration::from_secs(1), steps: Vec::new() })
}

pub(crate) fn step(index: usize, middle: Vec<Event>, outcome: StepOutcome) -> Vec<Event> {
    let mut events = vec![Event::StepStarted { index }];
    events.extend(middle);
    events.push(Event::StepEnded { index, outcome });
    events
}

pub(crate) fn returned() -> StepOutcome {
    StepOutcome::Returned { value: 0, data: Vec::new(), took: Duration::ZERO, cut: false }
}

pub(crate) fn died() -> StepOutcome {
    StepOutcome::Died { signal: 9 }
}

/// A run of two steps: this happens in the first.
pub(crate) fn first(text: &str, middle: Vec<Event>, outcome: StepOutcome) -> RunReport {
    let mut events = vec![booted()];
    events.extend(step(0, middle, outcome));
    events.extend(step(1, Vec::new(), returned()));
    events.push(end(RunEnd::Completed));
    run(&scenario(text), &events)
}

pub(crate) const PLAIN: &str = "steps:\n- sleep: 1 s\n- sleep: 1 s\n";

/// Two steps, the first with these fields.
pub(crate) fn with(fields: &str) -> String {
    format!("steps:\n- sleep: 1 s\n  {fields}\n- sleep: 1 s\n")
}

#[test]
fn a_finding_says_what_where_and_in_which_step() {
    let report = first(PLAIN, records(OOPS), died());
    assert_eq!(report.verdict, Verdict::Oops);
    assert_eq!(report.reason.to_string(), "BUG: kernel NULL pointer dereference in chardev_write");
    let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
    assert_eq!((finding.gravity, finding.step, finding.count), (Gravity::Oops, Some(0), 1));
    assert_eq!(finding.splat.function.as_deref(), Some("chardev_write"));
    assert_eq!(finding.splat.frames[0].module.as_deref(), Some("chardev"));
    assert_eq!(finding.splat.taint.as_deref(), Some("O"));
    assert!(!finding.splat.corrupted, "{:?}", finding.splat.damage);
}

#[test]
fn a_report_belongs_to_the_step_in_which_it_began() {
    let all = records(WARN);
    for cut in 3..all.len() {
        let (begin, rest) = all.split_at(cut);
        let mut events = vec![booted()];
        events.extend(step(0, begin.to_vec(), returned()));
        events.extend(step(1, rest.to_vec(), returned()));
        events.push(end(RunEnd::Completed));
        let report = run(&scenario(PLAIN), &events);
        let [finding] = &report.findings[..] else { panic!("cut {cut}: {:?}", report.findings) };
        assert_eq!((report.verdict, finding.step), (Verdict::Splat, Some(0)), "cut {cut}");
        assert!(!finding.splat.corrupted, "cut {cut}: {:?}", finding.splat.damage);
        // A step that wants it sees as much as there was when it ended.
        let wants = run(&scenario(&with("expect: {splat: foo_ioctl}")), &events);
        assert_eq!(wants.verdict, Verdict::Pass, "cut {cut}: {wants:?}");
    }
}

#[test]
fn a_splat_is_allowed_where_it_is_named_and_nowhere_else() {
    let verdict = |text: &str| first(text, records(WARN), returned()).verdict;
    let run_level = |entry: &str| verdict(&format!("allow: [{entry}]\n{PLAIN}"));
    assert_eq!(verdict(PLAIN), Verdict::Splat);
    for entry in [
        "{splat: foo_ioctl, reason: known}",
        "{splat: still busy, reason: known}",
        "{splat: {matches: 'queue \\d+ still'}, reason: known}",
        "{splat: {kind: warn, function: foo_ioctl}, reason: known}",
    ] {
        assert_eq!(run_level(entry), Verdict::Pass, "{entry}");
        assert_eq!(verdict(&with(&format!("allow: [{entry}]"))), Verdict::Pass, "{entry}");
        let other_step = format!("{PLAIN}  allow: [{entry}]\n");
        assert_eq!(verdict(&other_step), Verdict::Splat, "{entry} stands at the step after it");
    }
    for other in [
        "{splat: bar_ioctl, reason: known}",
        // A word of its furniture says nothing of the trouble.
        "{splat: RBX, reason: known}",
        "{splat: {kind: lockdep, function: foo_ioctl}, reason: known}",
        "{splat: {kind: warn, function: ioctl}, reason: known}",
        "{splat: {matches: '^busy'}, reason: known}",
    ] {
        assert_eq!(run_level(other), Verdict::Splat, "{other}");
    }
    let allowed = first(&format!("allow: {{splat: foo, reason: a bug}}\n{PLAIN}"), records(WARN), returned());
    assert_eq!(allowed.findings[0].excuse, Some(Excuse::Allowed("a bug".into())));
    // What kills is never allowed by a word for what does not.
    let oops = first(&format!("allow: {{splat: NULL pointer, reason: x}}\n{PLAIN}"), records(OOPS), died());
    assert_eq!(oops.verdict, Verdict::Oops);
}

#[test]
fn a_warning_that_is_allowed_covers_no_other_in_the_same_function() {
    let allowed = format!("allow: {{splat: still busy, reason: known}}\n{PLAIN}");
    let other = WARN.replace("foo: queue 3 still busy", "foo: lost");
    assert_ne!(other, WARN);
    let elsewhere = WARN.replace("foo_main.c:217", "foo_main.c:230");
    for (log, verdict, kept) in [
        (format!("{WARN}{WARN}"), Verdict::Pass, 1),
        (format!("{WARN}{elsewhere}"), Verdict::Pass, 2),
        // A kernel without names of files has no lines.
        (format!("{WARN}{other}"), Verdict::Splat, 2),
        (format!("{other}{WARN}"), Verdict::Splat, 2),
    ] {
        let report = first(&allowed, records(&log), returned());
        assert_eq!((report.verdict, report.findings.len()), (verdict, kept), "{}", report.reason);
    }
}

#[test]
fn an_expected_end_passes_when_it_comes_and_fails_when_it_does_not() {
    let cases = [("splat", WARN), ("oops", OOPS), ("oops", BUG)];
    for (word, log) in cases {
        for text in [with(&format!("expect: {{{word}: true}}")), format!("{PLAIN}expect: {{{word}: true}}\n")]
        {
            let outcome = || if word == "splat" { returned() } else { died() };
            let came = first(&text, records(log), outcome());
            assert_eq!(came.verdict, Verdict::Pass, "{text}: {came:#?}");
            assert!(came.findings.iter().all(|finding| finding.excuse == Some(Excuse::Expected)));
            let absent = first(&text, Vec::new(), returned());
            assert_eq!(absent.verdict, Verdict::Fail, "{text}");
            let failures: Vec<&Failure> =
                absent.steps.iter().flat_map(|step| &step.failures).chain(&absent.failures).collect();
            let [failure] = failures[..] else { panic!("{failures:?}") };
            assert!(failure.expected.ends_with(word), "{failure:?}");
            assert!(failure.got.starts_with("none: "), "{failure:?}");
        }
    }
}

#[test]
fn an_end_that_is_expected_excuses_no_other() {
    let both = || [records(OOPS), records(WARN)].concat();
    let oops = first(&with("expect: {oops: chardev_write}"), both(), died());
    assert_eq!((oops.verdict, &*oops.reason.to_string()), (Verdict::Splat, "WARNING in foo_ioctl"));
    let splat = first(&with("expect: {splat: foo_ioctl}"), both(), returned());
    assert_eq!(splat.verdict, Verdict::Oops);
    let run_level = first(&format!("{PLAIN}expect: {{oops: true}}\n"), both(), died());
    assert_eq!(run_level.verdict, Verdict::Splat);
    // With the other one allowed, all is said.
    let allowed = with("expect: {oops: chardev_write}\n  allow: {splat: foo_ioctl, reason: known}");
    assert_eq!(first(&allowed, both(), died()).verdict, Verdict::Pass);
}

#[test]
fn an_end_that_fits_only_in_part_fails_with_what_was_seen() {
    for part in [
        "oops: elsewhere",
        "oops: {function: chardev_read}",
        "oops: {kind: kasan}",
        "oops: {function: chardev_write, contains: elsewhere}",
        "oops: {matches: '^NULL'}",
        "splat: chardev_write",
        "panic: chardev_write",
    ] {
        let report = first(&with(&format!("expect: {{{part}}}")), records(OOPS), died());
        assert_eq!(report.verdict, Verdict::Oops, "{part}");
        let [failure] = &report.steps[0].failures[..] else { panic!("{part}: {report:?}") };
        let seen = "oops: BUG: kernel NULL pointer dereference in chardev_write";
        assert_eq!(failure.got, seen, "{part}");
    }
    let fits = with("expect: {oops: {kind: oops, function: chardev_write, contains: NULL pointer}}");
    assert_eq!(first(&fits, records(OOPS), died()).verdict, Verdict::Pass);
}

#[test]
fn a_splat_that_is_expected_leaves_the_other_expectations_of_its_step() {
    let right = with("expect: {splat: foo_ioctl, returns: 0}");
    assert_eq!(first(&right, records(WARN), returned()).verdict, Verdict::Pass);
    let wrong = with("expect: {splat: foo_ioctl, returns: 1}");
    assert_eq!(first(&wrong, records(WARN), returned()).verdict, Verdict::Fail);
    let log = with("expect: {oops: true, log: chardev_write}");
    assert_eq!(first(&log, records(OOPS), died()).verdict, Verdict::Pass);
    let no_log = with("expect: {oops: true, log: never said}");
    assert_eq!(first(&no_log, records(OOPS), died()).verdict, Verdict::Fail);
}

#[test]
fn memory_that_runs_out_is_shown_and_judged_by_nobody() {
    let report = first(PLAIN, records(OOM), returned());
    assert_eq!(report.verdict, Verdict::Pass);
    assert_eq!(
        (report.findings[0].gravity, report.findings[0].splat.kind),
        (Gravity::Harmless, splat::Kind::Oom)
    );
    let wanted = with("expect: {splat: {kind: oom}}");
    assert_eq!(first(&wanted, records(OOM), returned()).verdict, Verdict::Pass);
    assert_eq!(first(&wanted, Vec::new(), returned()).verdict, Verdict::Fail);
    // Any splat is one that is the kernel's fault.
    assert_eq!(first(&with("expect: {splat: true}"), records(OOM), returned()).verdict, Verdict::Fail);
}

#[test]
fn a_panic_that_follows_a_splat_is_a_panic() {
    let died_of_it = |text: &str| {
        let mut events = vec![booted()];
        events.extend(step(0, records(WARN_PANIC), StepOutcome::Lost));
        events.push(end(RunEnd::Panicked));
        run(&scenario(text), &events)
    };
    let report = died_of_it(PLAIN);
    assert_eq!(report.verdict, Verdict::Panic);
    assert_eq!(
        report.reason.to_string(),
        "WARNING in tube_put, then the kernel panicked: panic_on_warn set ..."
    );
    assert_eq!(died_of_it(&with("expect: {panic: {kind: warn, function: tube_put}}")).verdict, Verdict::Pass);
    assert_eq!(died_of_it(&with("expect: {splat: tube_put}")).verdict, Verdict::Panic);
}

#[test]
fn how_the_kernel_complains_of_an_expected_hang_belongs_to_it() {
    let vcpu = VcpuStanding { index: 0, rip: 0x1234, cpl: 0, halted: false, interrupts: true };
    let hang = StepOutcome::TimedOut { limit: Duration::from_secs(1), standing: vec![vec![vcpu]; 3] };
    let hung = |text: &str, log: &str| {
        let mut events = vec![booted()];
        events.extend(step(0, records(log), hang.clone()));
        events.push(end(RunEnd::StepTimedOut { index: 0 }));
        run(&scenario(text), &events)
    };
    assert_eq!(hung(&with("expect: {hang: true}"), STALL).verdict, Verdict::Pass);
    assert_eq!(hung(&with("expect: {hang-spinning: foo}"), STALL).verdict, Verdict::Pass);
    assert_eq!(hung(&with("expect: {hang: true}"), WARN).verdict, Verdict::Splat);
    assert_eq!(hung(&with("expect: {hang: elsewhere}"), STALL).verdict, Verdict::HangSpinning);
    assert_eq!(hung(PLAIN, STALL).verdict, Verdict::HangSpinning);
}

#[test]
fn an_end_after_an_expected_one_keeps_its_own_verdict() {
    let text = "steps:\n- sleep: 1 s\n  expect: {splat: true}\n- sleep: 1 s\n";
    let then = |outcome: StepOutcome, why: RunEnd| {
        let mut events = vec![booted()];
        events.extend(step(0, records(WARN), returned()));
        events.extend(step(1, Vec::new(), outcome));
        events.push(end(why));
        run(&scenario(text), &events).verdict
    };
    let hang = StepOutcome::TimedOut { limit: Duration::from_secs(1), standing: Vec::new() };
    assert_eq!(then(hang, RunEnd::StepTimedOut { index: 1 }), Verdict::HangIdle);
    assert_eq!(then(StepOutcome::Lost, RunEnd::Panicked), Verdict::Panic);
    assert_eq!(then(StepOutcome::Lost, RunEnd::Machine(board::wire::EndReason::Reset)), Verdict::Fail);
}

#[test]
fn a_boot_that_should_fail_must_fail_like_that() {
    let dead = |text: &str| {
        let mut events = records(PANIC);
        events.push(end(RunEnd::Panicked));
        run(&scenario(&format!("{PLAIN}expect: {{{text}}}\n")), &events)
    };
    assert_eq!(dead("boot-failed: true").verdict, Verdict::Pass);
    assert_eq!(dead("boot-failed: Attempted to kill init").verdict, Verdict::Pass);
    assert_eq!(dead("panic: Attempted to kill init").verdict, Verdict::Pass);
    let other = dead("boot-failed: no such file system");
    assert_eq!((other.verdict, other.failures.len()), (Verdict::BootFailed, 1));
    assert_eq!(dead("oops: true").verdict, Verdict::BootFailed);
    let up = first(&format!("{PLAIN}expect: {{boot-failed: true}}\n"), Vec::new(), returned());
    assert_eq!((up.verdict, &*up.failures[0].got), (Verdict::Fail, "none: every step was done"));
}

#[test]
fn a_flood_of_warnings_is_counted_and_hides_no_panic() {
    let warning = records(WARN);
    let mut flood: Vec<Event> = Vec::new();
    for round in 0..500 {
        flood.extend(warning.iter().cloned().map(|event| match event {
            // Half of them are all different.
            Event::Log(mut record) if round % 2 == 0 => {
                record.text = record.text.replace("foo_ioctl", &format!("foo_{}", "x".repeat(round / 2)));
                Event::Log(record)
            }
            other => other,
        }));
    }
    flood.extend(records("Kernel panic - not syncing: sysrq triggered crash\n"));
    let mut events = vec![booted()];
    events.extend(step(0, flood, StepOutcome::Lost));
    events.push(end(RunEnd::Panicked));
    let report = run(&scenario(PLAIN), &events);
    assert_eq!(report.verdict, Verdict::Panic);
    assert!(report.findings.len() <= 110, "{}", report.findings.len());
    let same = report.findings.iter().find(|finding| finding.splat.function.as_deref() == Some("foo_ioctl"));
    assert_eq!(same.map(|finding| finding.count), Some(250));
    assert!(report.findings.iter().any(|finding| finding.gravity == Gravity::Panic));
}

#[test]
fn taint_is_told_before_and_after_and_can_be_expected() {
    let (out_of_tree, unsigned, warning) = (1 << 12, 1 << 13, 1 << 9);
    let tainted_with = |text: &str, log: &str| {
        let mut events = vec![Event::Taint(unsigned), booted()];
        events.extend(step(0, vec![Event::Taint(unsigned | out_of_tree)], returned()));
        let mut last = records(log);
        last.push(Event::Taint(unsigned | out_of_tree | warning));
        events.extend(step(1, last, returned()));
        events.push(end(RunEnd::Completed));
        run(&scenario(text), &events)
    };
    let report = tainted_with(PLAIN, "");
    assert_eq!((report.taint.before, report.taint.after), (Some(8192), Some(12_800)));
    assert_eq!(report.verdict, Verdict::Splat, "W tells of a warning, and the log of none");
    assert_eq!(report.reason.to_string(), "the kernel's taint W tells of a warning that is not in its log");
    let tainted =
        |text: &str| tainted_with(&format!("allow: {{splat: foo_ioctl, reason: known}}\n{text}"), WARN);
    for (right, wrong) in [("[O]", "unchanged"), ("O", "[O, W]"), ("{at-most: [O, E]}", "{at-most: [W, E]}")]
    {
        assert_eq!(tainted(&with(&format!("expect: {{taint: {right}}}"))).verdict, Verdict::Pass, "{right}");
        let failed = tainted(&with(&format!("expect: {{taint: {wrong}}}")));
        assert_eq!((failed.verdict, &*failed.steps[0].failures[0].got), (Verdict::Fail, "O"), "{wrong}");
    }
    assert_eq!(tainted(&format!("{PLAIN}expect: {{taint: [O, W]}}\n")).verdict, Verdict::Pass);
    let failed = tainted(&format!("{PLAIN}expect: {{taint: unchanged}}\n"));
    assert_eq!((&*failed.failures[0].expected, &*failed.failures[0].got), ("nothing new", "WO"));
    // A kernel without symbols can't show it: that is no pass.
    assert_eq!(first(&with("expect: {taint: unchanged}"), Vec::new(), returned()).verdict, Verdict::Fail);
}

#[test]
fn what_a_program_wrote_into_the_log_is_no_finding() {
    let by_a_program = |event| match event {
        Event::Log(record) => Event::Log(LogRecord { user: true, ..record }),
        other => other,
    };
    let written = [WARN, OOPS, PANIC].map(records).concat().into_iter().map(by_a_program).collect();
    let report = first(PLAIN, written, returned());
    assert_eq!((report.verdict, report.findings.len()), (Verdict::Pass, 0), "{}", report.reason);
}

#[test]
fn paths_are_those_that_the_user_knows() {
    let old = UBSAN.replace("drivers/NAME.c", "/cache/foo_main.c");
    for log in [WARN.replace("drivers/foo/foo_main.c", "/cache/foo_main.c"), old] {
        let report = first(PLAIN, records(&log), returned());
        let [finding] = &report.findings[..] else { panic!("{log}: {:?}", report.findings) };
        let place = finding.splat.file_line.as_deref().and_then(|place| place.split_once(':'));
        assert_eq!(place.map(|place| place.0), Some("/home/my work/foo_main.c"));
        assert!(finding.splat.excerpt.iter().any(|line| line.contains("/home/my work/foo_main.c")));
    }
    let log = WARN.replace("drivers/foo/foo_main.c", "/cache/foo_main.c");
    let report = first(PLAIN, records(&log), returned());
    assert!(report.log_tail.iter().all(|line| !line.text.contains("/cache/")), "{:?}", report.log_tail);
}

#[test]
fn code_of_a_module_that_is_gone_is_named_if_somebody_saw_the_module() {
    let report = first(PLAIN, records(UNLOADED), died());
    assert_eq!(
        report.reason.to_string(),
        "BUG: unable to handle kernel paging request in unknown code of a module (chardev was unloaded last)"
    );

    let name = |text: &str| Event::Symbols([(0xffff_ffff_a020_1040, text.to_owned())].into());
    let mut seen = vec![name("chardev_write+0x10/0x50 [chardev]")];
    seen.extend(records(UNLOADED));
    let report = first(PLAIN, seen, died());
    assert_eq!(report.reason.to_string(), "BUG: unable to handle kernel paging request in chardev_write");
    let finding = &report.findings[0].splat;
    assert_eq!(finding.frames[0].to_string(), "chardev_write+0x10/0x50 [chardev]");
    assert!(finding.excerpt.contains(&"RIP: 0010:chardev_write+0x10/0x50 [chardev]".to_owned()));
    // What a guest makes up is not more than a name.
    let mut seen = vec![name("\n\u{1b}[2J] [#1] 0xffffffffa0201040")];
    seen.extend(records(UNLOADED));
    assert_eq!(first(PLAIN, seen, died()).findings.len(), 1);
}

#[test]
fn a_report_in_a_record_with_a_newline_is_found_and_one_in_a_name_is_not() {
    let one = |text: &str| {
        let text = text.to_owned();
        let record = LogRecord { seq: 0, time: Duration::ZERO, level: 4, user: false, caller: None, text };
        first(PLAIN, vec![Event::Log(record)], returned()).verdict
    };
    assert_eq!(one("INFO: task a\nb:55 blocked for more than 122 seconds."), Verdict::Splat);
    let name = "'/tmp/[1.000]WARNING: possible recursive locking detected'";
    assert_eq!(one(&format!("process {name} started with executable stack")), Verdict::Pass);
}

#[test]
fn reports_of_two_processors_that_print_at_once_are_two_whole_findings() {
    let by = |caller: board::wire::Caller, log: &str| {
        let whose = move |event| match event {
            Event::Log(record) => Event::Log(LogRecord { caller: Some(caller), ..record }),
            other => other,
        };
        records(log).into_iter().map(whose).collect::<Vec<_>>()
    };
    let one = by(board::wire::Caller::Task(7), WARN);
    let other = by(board::wire::Caller::Cpu(1), &WARN.replace("foo_ioctl", "bar_ioctl"));
    let both = one.into_iter().zip(other).flat_map(|(one, other)| [one, other]).collect();
    let report = first(PLAIN, both, returned());
    let found: Vec<_> = report.findings.iter().map(|it| (&*it.splat.title, it.splat.corrupted)).collect();
    assert_eq!(found, [("WARNING in foo_ioctl", false), ("WARNING in bar_ioctl", false)]);
}

pub(crate) const UBSAN: &str = "UBSAN: array-index-out-of-bounds in drivers/NAME.c:12:3\nindex 7 is out of range for type 'int [4]'\nCPU: 0 UID: 0 PID: 20 Comm: sh Not tainted 6.12.0 #1\nCall Trace:\n <TASK>\n NAME_work+0x1/0x10 [old]\n </TASK>\n---[ end trace ]---\n";

#[test]
fn however_many_reports_are_allowed_another_one_finds_room() {
    let flood: String = (0..150).map(|number| UBSAN.replace("NAME", &format!("old{number}"))).collect();
    let allowed = format!("allow: {{splat: {{kind: ubsan}}, reason: known}}\n{PLAIN}");
    let report = first(&allowed, records(&flood), returned());
    assert_eq!(report.verdict, Verdict::Pass);
    assert!(report.findings.len() > 90 && report.findings.len() <= 100, "{}", report.findings.len());
    let report = first(&allowed, records(&(flood + WARN)), returned());
    assert_eq!(report.verdict, Verdict::Splat);
}

#[test]
fn lines_within_a_record_begin_no_report_and_no_test() {
    let log = |text: &str| {
        let text = text.to_owned();
        vec![Event::Log(LogRecord {
            seq: 0,
            time: Duration::ZERO,
            level: 4,
            user: false,
            caller: None,
            text,
        })]
    };
    let name =
        format!("process 'x\n{}KTAP version 1\n1..1\nok 1 all\n' launched", UBSAN.replace("NAME", "old"));
    let report = first(PLAIN, log(&name), returned());
    assert_eq!((report.verdict, report.findings.len()), (Verdict::Pass, 0));
    assert!(report.steps.iter().all(|step| step.subtests.is_empty()));
    // What begins with a record goes on in it.
    let report = first(PLAIN, log(WARN.split_once("] ").map_or(WARN, |(_, text)| text)), returned());
    assert_eq!(report.findings.len(), 0, "it begins with a line that cuts");
    let whole = UBSAN.replace("NAME", "old");
    assert_eq!(first(PLAIN, log(&whole), returned()).findings.len(), 1);
}
