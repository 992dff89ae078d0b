//! System calls that were counted, and those of which that is not known.

use crate::{
    fixture::{booted, good_run, run},
    tests::{SLEEP, returned},
    *,
};
use board::wire::{Door, Evidence, MissingVcpu, Origin, SyscallCount, Uncounted};
use engine::event::{Ended, Event, RunEnd, StepOutcome};
use scenario::fixture::{CHARDEV, scenario};
use std::time::Duration;

/// So many calls of which nobody saw what came of them.
fn calls(door: Door, nr: u64, count: u64) -> SyscallCount {
    SyscallCount {
        door,
        nr,
        origin: Origin::Program,
        count,
        errors: Default::default(),
        results: Default::default(),
        processes: Vec::new(),
        untold_errors: 0,
        untold_results: 0,
        untold_processes: 0,
    }
}

/// A run in which `getppid` was called twice, one of them in vain, with this evidence beside.
pub(crate) fn counted(expect: &str, untold: u64, evidence: Evidence) -> RunReport {
    let row = SyscallCount {
        door: Door::Syscall64,
        nr: 110,
        origin: Origin::Step,
        count: 2,
        errors: [(14, 1)].into(),
        results: [(1, 1), (-14, 1)].into(),
        processes: Vec::new(),
        untold_errors: untold,
        untold_results: untold,
        untold_processes: 0,
    };
    let end = Ended { why: RunEnd::Completed, evidence, ran: Duration::from_secs(1), steps: Vec::new() };
    let events = [
        booted(),
        Event::StepStarted { index: 0 },
        returned(0),
        Event::Counted(vec![row]),
        Event::Ended(end),
    ];
    run(&scenario(&format!("{SLEEP}expect:\n  syscalls: {{getppid: {expect}}}\n")), &events)
}

#[test]
fn no_number_holds_for_calls_that_were_not_seen() {
    let missing = || Evidence {
        missing_vcpus: vec![MissingVcpu { index: 1, why: "its thread panicked: on purpose".into() }],
        ..Evidence::default()
    };
    let uncounted = |what| Evidence { uncounted: vec![what], ..Evidence::default() };
    let exact = ["2", "{errors: {EFAULT: 1}}", "{returns: [1, EFAULT]}"];
    for expect in exact {
        assert_eq!(counted(expect, 0, Evidence::default()).verdict, Verdict::Pass, "{expect}");
        let report = counted(expect, 0, missing());
        assert_eq!(report.verdict, Verdict::Fail, "{expect}");
        assert!(report.failures[0].got.contains("vCPU 1"), "{:?}", report.failures);
        assert_eq!(report.unknown.len(), 1);
        assert_eq!(
            counted(expect, 0, uncounted(Uncounted::Calls(Door::Int80))).verdict,
            Verdict::Fail,
            "{expect}"
        );
    }
    for expect in &exact[1..] {
        assert_eq!(counted(expect, 3, Evidence::default()).verdict, Verdict::Fail, "{expect}");
        assert_eq!(counted(expect, 0, uncounted(Uncounted::Results)).verdict, Verdict::Fail, "{expect}");
    }
    // The calls themselves were all seen.
    let report = counted(exact[0], 3, uncounted(Uncounted::Results));
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    // But nobody knows what came of them.
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.reason.to_string().starts_with("results of calls were not seen"), "{}", report.reason);
    // More of them change nothing.
    assert_eq!(counted("{at-least: 2}", 0, missing()).verdict, Verdict::Pass);
    let report = counted("{at-least: 3}", 0, missing());
    assert_eq!(report.verdict, Verdict::Fail);
    // Nothing of what is counted is lost by it, but a reader is told.
    let report = counted(exact[0], 0, uncounted(Uncounted::GuestBreakpoint));
    assert_eq!((report.verdict, report.unknown.len()), (Verdict::Pass, 1));
}

#[test]
fn no_number_of_errors_holds_where_calls_came_through_other_doors() {
    let came = |door: Door, expect: &str| {
        let row = calls(door, if door == Door::Int80 { 64 } else { 110 }, 2);
        let why = RunEnd::Completed;
        let end =
            Ended { why, evidence: Evidence::default(), ran: Duration::from_secs(1), steps: Vec::new() };
        let events = [
            booted(),
            Event::StepStarted { index: 0 },
            returned(0),
            Event::Counted(vec![row]),
            Event::Ended(end),
        ];
        run(&scenario(&format!("{SLEEP}expect:\n  syscalls: {{getppid: {expect}}}\n")), &events).verdict
    };
    assert_eq!(came(Door::Syscall64, "{errors: {EFAULT: 0}}"), Verdict::Pass);
    assert_eq!(came(Door::Int80, "2"), Verdict::Pass);
    assert_eq!(came(Door::Int80, "{errors: {EFAULT: 0}}"), Verdict::Fail);
    assert_eq!(came(Door::Int80, "{returns: []}"), Verdict::Fail);
}

#[test]
fn no_exact_number_holds_where_a_tracer_changed_some() {
    let changed = || Evidence { changed: 1, ..Evidence::default() };
    let report = counted("2", 0, changed());
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.failures[0].got.contains("as a tracer's are"), "{:?}", report.failures);
    assert_eq!(counted("{at-least: 2}", 0, changed()).verdict, Verdict::Pass);
}

#[test]
fn what_the_list_of_modules_says_holds_for_nothing_where_calls_were_not_seen() {
    let scenario = scenario(CHARDEV);
    let with_calls = |evidence: Evidence, more: Option<SyscallCount>| {
        let mut events = good_run(&scenario);
        for event in &mut events {
            match event {
                Event::Ended(ended) => ended.evidence = evidence.clone(),
                Event::Counted(rows) => rows.extend(more.clone()),
                Event::StepEnded { index, outcome: StepOutcome::Returned { data, .. } } => {
                    if let scenario::model::Action::Look { at, .. } = &scenario.steps[*index].action {
                        *data = vec![Vec::new(); at.len()];
                    }
                }
                _ => {}
            }
        }
        run(&scenario, &events)
    };
    let with = |evidence| with_calls(evidence, None);
    let of_modules = |report: &RunReport| {
        let failed = |it: &&crate::Failure| it.what.starts_with("modules (");
        report.failures.iter().find(failed).map(|it| it.got.clone())
    };
    assert_eq!(of_modules(&with(Evidence::default())), None);
    for uncounted in [Uncounted::Calls(Door::Int80), Uncounted::Results] {
        let report = with(Evidence { uncounted: vec![uncounted], ..Evidence::default() });
        let got = of_modules(&report).unwrap_or_else(|| panic!("{:?}", report.failures));
        assert!(got.starts_with("not known: "), "{got}");
        assert_eq!(report.verdict, Verdict::Fail);
    }
    // Nobody sees what comes of calls through other doors: finit_module and delete_module of 32-bit programs. Others load nothing.
    for (door, nr, said) in [
        (Door::Int80, 350, Some("not known: 3 more were not told apart")),
        (Door::Sysenter, 129, Some("not known: 3 more were not told apart")),
        (Door::Int80, 313, None),
        (Door::Syscall64, 350, None),
    ] {
        let report = with_calls(Evidence::default(), Some(calls(door, nr, 3)));
        assert_eq!(of_modules(&report).as_deref(), said, "{door:?} {nr}");
    }
    // Breakpoints that are the guest's own count nothing.
    let report = with(Evidence { uncounted: vec![Uncounted::GuestBreakpoint], ..Evidence::default() });
    assert_eq!(of_modules(&report), None);
}
