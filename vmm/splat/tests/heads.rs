//! Which lines begin a report, and which are only words in another one.

use splat::{Finding, Kind, Scanner};

fn findings(log: &str) -> Vec<Finding> {
    let mut scanner = Scanner::new();
    log.lines().for_each(|line| _ = scanner.record(line, None));
    scanner.finish()
}

fn kinds(log: &str) -> Vec<Kind> {
    findings(log).iter().map(|finding| finding.kind).collect()
}

const CUT: &str = "------------[ cut here ]------------\n";
const DUPLICATE: &str = "sysfs: cannot create duplicate filename '/class/foo'\n";
const TRACE: &str = "CPU: 0 UID: 0 PID: 7 Comm: x Not tainted 6.12.0 #1\nCall Trace:\n <TASK>\n dump_stack_lvl+0x1/0x2\n foo_init+0x1/0x2\n do_one_initcall+0x1/0x2\n </TASK>\n";

#[test]
fn a_report_that_waits_for_its_trace_takes_in_no_other() {
    for (first, kind) in [
        ("Out of memory: Killed process 77 (foo) total-vm:1kB\n", Kind::Oom),
        ("unregister_netdevice: waiting for lo to become free. Usage count = 2\n", Kind::Refcount),
        ("BUG: something strange\n", Kind::Bug),
    ] {
        assert_eq!(kinds(&format!("{first}{DUPLICATE}{TRACE}")), [kind, Kind::Warn], "{first}");
        let orphan = "Freed in foo_free+0x1/0x2 age=1 cpu=0 pid=7\n";
        assert_eq!(kinds(&format!("{first}{orphan}")), [kind, Kind::Slab], "{first}");
        let unwinder =
            "WARNING: kernel stack regs at 0000000012345678 in x:7 has bad 'bp' value 0000000012345678\n";
        assert_eq!(kinds(&format!("{first}{unwinder}")), [kind, Kind::Warn], "{first}");
    }
}

#[test]
fn whom_the_kernel_kills_for_memory_belongs_to_the_report_of_that() {
    let killer = "foo invoked oom-killer: gfp_mask=0x1, order=0, oom_score_adj=0\n";
    let told = "active_anon:1 inactive_anon:2 isolated_anon:0\n".repeat(100);
    let killed = "Out of memory: Killed process 77 (foo) total-vm:1kB\n";
    assert_eq!(kinds(&format!("{killer}{TRACE}{told}{killed}")), [Kind::Oom]);
}

#[test]
fn the_message_of_a_warning_is_no_finding_beside_it() {
    let head = "WARNING: CPU: 0 PID: 7 at fs/dcache.c:1 umount_check+0x1/0x2\n";
    for message in [
        "BUG: Dentry 00000000a1b2c3d4{i=1,n=x}  still in use (1) [unmount of tmpfs tmpfs]\n",
        "BUG: anything at all\n",
        DUPLICATE,
    ] {
        assert_eq!(kinds(&format!("{CUT}{message}{head}{TRACE}")), [Kind::Warn], "{message}");
        assert_eq!(kinds(&format!("{CUT}{head}{message}{TRACE}")), [Kind::Warn], "{message}");
        assert_eq!(kinds(message).len(), 1, "{message}");
    }
}

#[test]
fn a_task_that_is_named_after_the_cut_hides_nothing() {
    let segfault =
        "[ cut here ][99]: segfault at 0 ip 0000000000401000 sp 00007ffe00000000 error 6 in a[400000+1000]\n";
    assert_eq!(kinds(&format!("{segfault}{DUPLICATE}{TRACE}")), [Kind::Warn]);
    assert_eq!(kinds(&format!("-[ cut here ]-\n{DUPLICATE}{TRACE}")), [Kind::Warn]);
}

#[test]
fn two_bugs_in_a_row_are_one_only_if_they_say_the_same() {
    assert_eq!(kinds("BUG: queue 3 is lost\nBUG: queue 4 is lost\n"), [Kind::Bug]);
    assert_eq!(kinds("BUG: queue 3 is lost\nBUG: list is empty\n"), [Kind::Bug, Kind::Bug]);
}
