//! Records of the kernel's log: nothing stands before the message, and whatever a name in it says begins no report.

use splat::{Caller, Finding, Kind, Scanner};

fn findings(records: &[&str]) -> Vec<Finding> {
    let mut scanner = Scanner::new();
    for record in records {
        scanner.record(record, None);
    }
    scanner.finish()
}

fn kinds(records: &[&str]) -> Vec<Kind> {
    findings(records).iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_time_stamp_within_a_record_is_somebodys_word() {
    for record in [
        "process '/tmp/[1.000]WARNING: possible recursive locking detected' started with executable stack",
        "tmpfs: Unknown parameter '[1.000]WARNING: possible recursive locking detected'",
        "[1.000]BUG: abc[123]: segfault at 0 ip 0000000000401000 sp 00007ffe00000000 error 6 in a[400000+1000]",
        "<3>[    1.000000] BUG: abc",
        "Nov 23 09:01:02 host kernel: BUG: abc",
    ] {
        assert_eq!(kinds(&[record]), [], "{record}");
    }
    // Nor does it break the report that it stands in.
    let stamp = "BUG: using smp_processor_id() in preemptible [00000000] code: [1.000]x/7";
    let frames = ["CPU: 0 UID: 0 PID: 7 Comm: [1.000]x Not tainted 6.12.0 #1", "Call Trace:", " foo+0x1/0x2"];
    let found = findings(&[&[stamp], &frames[..], &["---[ end trace ]---"]].concat());
    assert!(!found[0].corrupted, "{:?}", found[0].damage);
}

#[test]
fn a_newline_in_a_tasks_name_hides_no_report() {
    for (record, kind) in [
        ("INFO: task a\nb:55 blocked for more than 122 seconds.", Kind::HungTask),
        ("WARNING: a\nb/55 still has locks held!", Kind::Lockdep),
        ("a\nb invoked oom-killer: gfp_mask=0x1, order=0, oom_score_adj=0", Kind::Oom),
    ] {
        assert_eq!(kinds(&[record]), [kind], "{record}");
    }
    // What stands behind it begins none.
    assert_eq!(kinds(&["process 'x\nBUG: abc' launched '/bin/y' with NULL argv: empty string added"]), []);
}

#[test]
fn each_line_of_a_record_has_a_number() {
    let mut scanner = Scanner::new();
    assert_eq!(scanner.record("one\ntwo", None), 2);
    assert_eq!(scanner.record("INFO: task a\nb:55 blocked for more than 122 seconds.", None), 4);
    assert_eq!(scanner.record("BUG: three", None), 5);
    let firsts: Vec<u64> = scanner.finish().iter().map(|finding| finding.lines.first).collect();
    assert_eq!(firsts, [3, 5]);
}

#[test]
fn reports_of_two_processors_that_print_at_once_are_kept_apart() {
    let report = |name: &str| {
        [
            format!("WARNING: CPU: 0 PID: 7 at a/b.c:1 {name}+0x1/0x2"),
            "CPU: 0 UID: 0 PID: 7 Comm: x Not tainted 6.12.0 #1".into(),
            "Call Trace:".into(),
            " <TASK>".into(),
            format!(" {name}_caller+0x1/0x2"),
            " do_syscall_64+0x1/0x2".into(),
            "---[ end trace 0000000000000000 ]---".into(),
        ]
    };
    let mut scanner = Scanner::new();
    for (one, other) in report("one").iter().zip(&report("two")) {
        scanner.record(one, Some(Caller::Task(7)));
        scanner.record(other, Some(Caller::Cpu(1)));
    }
    let found = scanner.finish();
    assert_eq!(found.len(), 2);
    for (finding, name) in found.iter().zip(["one", "two"]) {
        assert!(!finding.corrupted, "{finding}");
        assert_eq!(finding.frames[0].function, format!("{name}_caller"));
    }
}

#[test]
fn a_report_that_is_not_whole_stays_open_however_many_others_end() {
    let mut scanner = Scanner::new();
    let begun = ["WARNING: CPU: 0 PID: 7 at a/b.c:1 one+0x1/0x2", "Call Trace:", " one_caller+0x1/0x2"];
    begun.iter().for_each(|line| _ = scanner.record(line, Some(Caller::Task(7))));
    for task in 100..200 {
        let all = ["WARNING: CPU: 0 PID: 8 at a/b.c:1 two+0x1/0x2", "Call Trace:", " two_caller+0x1/0x2"];
        all.iter().for_each(|line| _ = scanner.record(line, Some(Caller::Task(task))));
        scanner.record("---[ end trace 0000000000000000 ]---", Some(Caller::Task(task)));
    }
    scanner.record(" do_syscall_64+0x1/0x2", Some(Caller::Task(7)));
    scanner.record("---[ end trace 0000000000000000 ]---", Some(Caller::Task(7)));
    let found = scanner.finish();
    assert_eq!((found.len(), found[0].frames.len(), found[0].corrupted), (101, 2, false));
}

#[test]
fn a_processor_that_had_a_report_before_prints_its_trace_for_the_stall() {
    const STALL: &str = include_str!("logs/rcu-stall-other-x86-5.15-caller.log");
    let own = |end: &[&'static str]| {
        let begun = [
            "WARNING: CPU: 1 PID: 7 at a/b.c:1 one+0x1/0x2",
            "Call Trace:",
            " <TASK>",
            " one_caller+0x1/0x2",
        ];
        [&begun, end].concat()
    };
    for end in [&[" </TASK>", "---[ end trace 0000000000000000 ]---"][..], &[" </TASK>"]] {
        let mut scanner = Scanner::new();
        own(end).iter().for_each(|line| _ = scanner.record(line, Some(Caller::Cpu(1))));
        for line in STALL.lines() {
            let (head, text) = line.split_once("] ").expect("a line with its caller");
            scanner.record(text, Some(Caller::Cpu(u32::from(head.ends_with("C1")))));
        }
        let found = scanner.finish();
        let titles: Vec<&str> = found.iter().map(|finding| finding.title.as_str()).collect();
        assert_eq!(titles, ["WARNING in one", "rcu_preempt detected stall in loop_ioctl"]);
        assert_eq!((found[0].frames.len(), found[1].corrupted), (1, false), "{}", found[1]);
    }
}
