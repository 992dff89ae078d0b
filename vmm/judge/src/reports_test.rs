//! What the kernel counts and taints itself with, against what its log tells.

use crate::{findings_test::*, fixture::run, *};
use board::wire::Reports;
use engine::event::{Event, RunEnd, StepOutcome};
use scenario::fixture::scenario;

#[test]
fn reports_that_the_kernel_counted_and_did_not_log_are_no_pass() {
    let counted = |log: &str, warnings, oopses| {
        let reports = |warnings, oopses| {
            Event::Reports(Reports { warnings: Some(warnings), oopses: Some(oopses), panicked: None })
        };
        let mut events = vec![reports(3, 0), booted()];
        events.extend(step(0, [records(log), vec![reports(warnings, oopses)]].concat(), returned()));
        events.extend(step(1, vec![], returned()));
        events.push(end(RunEnd::Completed));
        run(&scenario(&format!("allow: {{splat: foo_ioctl, reason: known}}\n{PLAIN}")), &events)
    };
    assert_eq!(counted("", 3, 0).verdict, Verdict::Pass);
    let hushed = counted("", 4, 0);
    assert_eq!(hushed.verdict, Verdict::Splat);
    assert_eq!(hushed.reason.to_string(), "the kernel has counted a warning that is not in its log");
    assert_eq!(counted("", 3, 1).verdict, Verdict::Oops);
    assert_eq!(counted(WARN, 4, 0).verdict, Verdict::Pass, "it is in the log, and allowed");
}

#[test]
fn a_report_that_is_not_counted_stands_for_none_that_is() {
    let came = |log: &str, warnings, taint: u64| {
        let reports = |warnings| {
            Event::Reports(Reports { warnings: Some(warnings), oopses: Some(0), panicked: Some(false) })
        };
        let mut events = vec![reports(0), Event::Taint(1 << 12), booted()];
        let told = vec![Event::Taint(1 << 12 | taint), reports(warnings)];
        events.extend(step(0, [records(log), told].concat(), returned()));
        events.extend(step(1, vec![], returned()));
        events.push(end(RunEnd::Completed));
        run(&scenario(&format!("allow: {{splat: {{kind: ubsan}}, reason: known}}\n{PLAIN}")), &events)
    };
    let log = UBSAN.replace("NAME", "old");
    assert_eq!(came(&log, 0, 0).verdict, Verdict::Pass);
    // The kernel counts that one, too, but leaves no taint for it.
    assert_eq!(came(&log, 1, 0).verdict, Verdict::Pass);
    let covered = came(&log, 1, 1 << 9);
    assert_eq!(covered.verdict, Verdict::Splat);
    assert!(covered.reason.to_string().contains("taint W tells of a warning"), "{}", covered.reason);
    let counted = came(&log, 2, 0);
    assert!(counted.reason.to_string().contains("has counted a warning"), "{}", counted.reason);
    let damaged = came(&log, 0, 1 << 5);
    assert_eq!(damaged.verdict, Verdict::Splat);
    assert!(damaged.reason.to_string().contains("damaged memory"), "{}", damaged.reason);
}

#[test]
fn a_kernel_that_says_it_has_panicked_and_lives_on_is_no_pass() {
    let came = |panicked| {
        let reports = |panicked| Event::Reports(Reports { panicked, ..Reports::default() });
        let mut events = vec![reports(Some(false)), booted()];
        events.extend(step(0, vec![reports(panicked)], returned()));
        events.extend(step(1, vec![], returned()));
        events.push(end(RunEnd::Completed));
        run(&scenario(PLAIN), &events).verdict
    };
    assert_eq!([Some(false), None].map(came), [Verdict::Pass; 2]);
    assert_eq!(came(Some(true)), Verdict::Tampered);
}

#[test]
fn wanted_panics_have_to_be_the_kernels_own() {
    let panicked = |panicked| {
        let mut events =
            vec![Event::Reports(Reports { panicked: Some(false), ..Reports::default() }), booted()];
        events.extend(step(0, records(PANIC), StepOutcome::Lost));
        events.push(Event::Reports(Reports { panicked, ..Reports::default() }));
        events.push(end(RunEnd::Panicked));
        run(&scenario(&format!("{PLAIN}expect: {{panic: true}}\n")), &events).verdict
    };
    assert_eq!([Some(true), None].map(panicked), [Verdict::Pass; 2]);
    assert_eq!(panicked(Some(false)), Verdict::Tampered);
}

#[test]
fn wanted_reports_have_to_be_the_kernels_own() {
    let wanted = |ending: &str, log: &str, taint: Option<u64>, counted: Option<u32>, vcpus: u32| {
        // Each wants reports of its own kind.
        let counts = |counted: Option<u32>| {
            let (warnings, oopses) = match ending.starts_with("splat") {
                true => (counted, counted.map(|_| 0)),
                false => (counted.map(|_| 0), counted),
            };
            Event::Reports(Reports { warnings, oopses, panicked: None })
        };
        let mut events: Vec<Event> = taint.map(|_| Event::Taint(1 << 12)).into_iter().collect();
        events.extend([counts(counted.map(|_| 0)), booted()]);
        let told = taint.map(Event::Taint).into_iter().chain([counts(counted)]).collect();
        events.extend(step(0, [records(log), told].concat(), returned()));
        events.push(end(RunEnd::Completed));
        let text = format!("machine: {{cpus: {vcpus}}}\nsteps:\n  - sleep: 1 s\nexpect: {{{ending}}}\n");
        run(&scenario(&text), &events)
    };
    let (warning, oops, dead, warned) = ("splat: true", "oops: true", 1 << 12 | 1 << 7, 1 << 12 | 1 << 9);
    assert_eq!(wanted(warning, WARN, Some(warned), Some(1), 1).verdict, Verdict::Pass);
    assert_eq!(wanted(oops, OOPS, Some(dead), Some(1), 1).verdict, Verdict::Pass);
    // A kernel of which neither is known.
    assert_eq!(wanted(oops, OOPS, None, None, 1).verdict, Verdict::Pass);
    assert_eq!(wanted(oops, OOPS, Some(dead), None, 1).verdict, Verdict::Pass);
    for (ending, log, taint, counted) in [
        (warning, WARN, 1 << 12, 1),
        (warning, WARN, warned, 0),
        (oops, OOPS, warned, 1),
        (oops, OOPS, dead, 0),
    ] {
        let report = wanted(ending, log, Some(taint), Some(counted), 1);
        assert_eq!(report.verdict, Verdict::Tampered, "{ending} {taint:#x} {counted}");
        assert!(report.reason.to_string().starts_with("the log tells of `"), "{}", report.reason);
        // The engine gives others the time to get to it.
        assert_eq!(wanted(ending, log, Some(taint), Some(counted), 2).verdict, Verdict::Tampered);
    }
}

#[test]
fn reports_of_detectors_have_to_be_the_kernels_own() {
    const SLEEPS: &str = "BUG: sleeping function called from invalid context at mm/slab.h:1\nin_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 1, name: x\nCall Trace:\n <TASK>\n f+0x1/0x2\n </TASK>";
    let wanted = |taint| {
        let mut events = vec![Event::Taint(1 << 12), booted()];
        events.extend(step(0, [records(SLEEPS), vec![Event::Taint(taint)]].concat(), returned()));
        events.push(end(RunEnd::Completed));
        let text = "steps:\n  - sleep: 1 s\nexpect: {splat: {kind: sleeping-in-atomic}}\n";
        run(&scenario(text), &events).verdict
    };
    assert_eq!((wanted(1 << 12), wanted(1 << 12 | 1 << 9)), (Verdict::Tampered, Verdict::Pass));
}

#[test]
fn reports_before_another_end_have_to_be_the_kernels_own() {
    let ended = |taint, warnings| {
        let count = |warnings| {
            Event::Reports(Reports { warnings: Some(warnings), oopses: Some(0), panicked: Some(true) })
        };
        let mut events = vec![Event::Taint(1 << 12), count(0), booted()];
        events.extend(step(0, records(WARN), returned()));
        events.extend(step(
            1,
            [records(PANIC), vec![Event::Taint(taint), count(warnings)]].concat(),
            StepOutcome::Lost,
        ));
        events.push(end(RunEnd::Panicked));
        let text = "steps:\n  - {sleep: 1 s, expect: {splat: {kind: warn}}}\n  - {sleep: 1 s, expect: {panic: true}}\n";
        run(&scenario(text), &events).verdict
    };
    assert_eq!((ended(1 << 12, 0), ended(1 << 12 | 1 << 9, 1)), (Verdict::Tampered, Verdict::Pass));
    assert_eq!(ended(1 << 12, 1), Verdict::Pass, "panic_on_warn comes before the taint");
}

#[test]
fn a_wanted_report_of_the_boot_was_counted_before_the_steps() {
    let wanted = |counted: u32, taint: u64| {
        let reports = |warnings| {
            Event::Reports(Reports { warnings: Some(warnings), oopses: Some(0), panicked: Some(false) })
        };
        let mut events = records(WARN);
        events.extend([reports(counted), Event::Taint(taint), booted()]);
        events.extend(step(0, vec![], returned()));
        events.extend(step(1, vec![], returned()));
        events.push(end(RunEnd::Completed));
        run(&scenario(&format!("{PLAIN}expect: {{splat: foo_ioctl}}\n")), &events)
    };
    let came = wanted(1, 1 << 9);
    assert_eq!(came.verdict, Verdict::Pass, "{}", came.reason);
    assert_eq!(wanted(0, 1 << 9).verdict, Verdict::Tampered, "no kernel that has counted nothing has warned");
    assert_eq!(wanted(1, 1 << 12).verdict, Verdict::Tampered);
}

/// The taint and the counts of a run in which one step logs this.
fn told(text: &str, before: &str, log: &str, taint: u64, warnings: [u32; 2]) -> RunReport {
    let reports = |warnings| {
        Event::Reports(Reports { warnings: Some(warnings), oopses: Some(0), panicked: Some(false) })
    };
    let mut events = records(before);
    events.extend([reports(warnings[0]), Event::Taint(1 << 12), booted()]);
    let end_of_step = vec![Event::Taint(1 << 12 | taint), reports(warnings[1])];
    events.extend(step(0, [records(log), end_of_step].concat(), returned()));
    events.extend(step(1, vec![], returned()));
    events.push(end(RunEnd::Completed));
    run(&scenario(text), &events)
}

#[test]
fn reports_that_are_allowed_explain_their_counts_however_many_there_are() {
    let flood: String = (0..150).map(|number| UBSAN.replace("NAME", &format!("old{number}"))).collect();
    let allowed = format!("allow: {{splat: {{kind: ubsan}}, reason: known}}\n{PLAIN}");
    let report = told(&allowed, "", &flood, 0, [0, 150]);
    assert_eq!(report.verdict, Verdict::Pass, "{}", report.reason);
    assert_eq!(told(&allowed, "", &flood, 0, [0, 151]).verdict, Verdict::Splat);
}

#[test]
fn a_warning_from_before_the_steps_explains_none_that_comes_later() {
    let allowed = format!("allow: {{splat: foo_ioctl, reason: known}}\n{PLAIN}");
    assert_eq!(told(&allowed, WARN, "", 0, [1, 1]).verdict, Verdict::Pass);
    let hushed = told(&allowed, WARN, "", 0, [1, 2]);
    assert_eq!(hushed.reason.to_string(), "the kernel has counted a warning that is not in its log");
    assert_eq!(told(&allowed, WARN, WARN, 1 << 9, [1, 2]).verdict, Verdict::Pass);
}

#[test]
fn a_kind_of_report_that_leaves_no_taint_is_not_made_up() {
    let wanted = |kind: &str, log: &str, taint| {
        let text = format!("steps:\n- sleep: 1 s\n  expect: {{splat: {{kind: {kind}}}}}\n- sleep: 1 s\n");
        told(&text, "", log, taint, [0, 0]).verdict
    };
    for (kind, log) in [
        ("bad-page", "BUG: Bad rss-counter state mm:00000000a1b2c3d4 type:MM_FILEPAGES val:1"),
        ("bad-page", "BUG: non-zero pgtables_bytes on freeing mm: 4096"),
        ("bad-page", "mm/pgtable-generic.c:50: bad pmd 00000000a1b2c3d4(8000000012345678)"),
        ("bad-page", "BUG: mempool element poison mismatch"),
        ("scheduling-while-atomic", "bad: scheduling from the idle thread!\nCall Trace:\n f+0x1/0x2\n"),
    ] {
        assert_eq!(wanted(kind, log, 0), Verdict::Pass, "{log}");
    }
    let state = "BUG: Bad page state in process x  pfn:12345\nCall Trace:\n f+0x1/0x2\n";
    assert_eq!([0, 1 << 5].map(|taint| wanted("bad-page", state, taint)), [Verdict::Tampered, Verdict::Pass]);
}

#[test]
fn the_message_of_a_warning_makes_no_oops_of_it() {
    let log = WARN.replace("queue 3 still busy", "queue [#12] still busy");
    assert_ne!(log, WARN);
    let report = told(PLAIN, "", &log, 1 << 9, [0, 1]);
    assert_eq!((report.verdict, report.findings[0].gravity), (Verdict::Splat, Gravity::Splat));
}
