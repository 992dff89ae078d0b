//! A driver's own words, which are no report, and heads that are one by themselves.

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
const TRACE: &str = "CPU: 0 UID: 0 PID: 7 Comm: x Not tainted 6.12.0 #1\nCall Trace:\n <TASK>\n dump_stack_lvl+0x1/0x2\n foo_init+0x1/0x2\n do_one_initcall+0x1/0x2\n </TASK>\n";

#[test]
fn what_a_driver_says_of_its_own_troubles_is_no_report() {
    for line in [
        "unable to handle request 7",
        "Unable to handle unknown ioctl",
        "unable to handle kernel version 5",
        "unable to handle data access at offset 12",
        "Unhandled fault: overcurrent",
        "Unhandled fault: overcurrent (0x12)",
        "general protection fault: the write-protect pin is set",
        "kernel stack overflow check passed",
        "Internal error: queue full [#3]",
        "Oops: Queue full [#3]",
        "Unrecoverable exception 3 at startup",
        "Bad kernel stack pointer 0",
        "Assertion failed: queue is empty, line 12",
        "ring:3: bad pte count",
        "WARNING: possible firmware dependency",
        "WARNING: bad contention on the bus",
        "WARNING: CPU: 3 is too hot",
        "WARNING: at 0x00001000 the FIFO is full",
        "port:3 blocked for more than 5 seconds",
    ] {
        assert_eq!(kinds(&format!("{line}\nsomething else\n")), [], "{line}");
        let inside = format!("{CUT}{line}\nWARNING: CPU: 0 PID: 7 at a/b.c:1 foo+0x1/0x2\n{TRACE}");
        assert_eq!(kinds(&inside), [Kind::Warn], "{line}");
    }
    // What it calls a bug is one, and no oops.
    assert_eq!(kinds("BUG: unable to handle request 7"), [Kind::Bug]);
    let file = "sysfs: cannot create duplicate filename '/x:3 blocked for more than 5 seconds'";
    assert_eq!(kinds(file), [Kind::Warn]);
}

#[test]
fn an_oops_that_breaks_off_behind_its_first_line_is_one() {
    for line in [
        "BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "BUG: unable to handle page fault for address: ffffffffa0201040",
        "BUG: unable to handle kernel paging request at ffff880013370e68",
        "Unable to handle kernel access to user memory outside uaccess routines at virtual address 0000000000000008",
        "Unable to handle kernel pointer dereference in virtual user address space",
        "BUG: Unable to handle unknown paging fault at 0xc000000000000008",
        "Oops: general protection fault, probably for non-canonical address",
        "general protection fault, maybe for address 0x8",
        "Unhandled fault: imprecise external abort (0x1406) at 0x00000000",
        "Unrecoverable exception 700 at c000000000012345 (msr=9000000000009033)",
        "Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP",
        "Oops: Kernel access of bad area, sig: 11 [#1]",
        "kernel stack overflow (page fault): 0000 [#1] SMP",
        "Kernel stack overflow.",
    ] {
        assert_eq!(kinds(line), [Kind::Oops], "{line}");
        assert_eq!(splat::scan(line.as_bytes()).len(), 1, "{line}");
    }
    let torn = format!("general protection fault: 00\nModules linked in:\n{TRACE}");
    assert_eq!(kinds(&torn), [Kind::Oops]);
    assert_eq!(kinds(&format!("WARNING: CPU: 0 PID: 7 at foo+0x1/0x2\n{TRACE}")), [Kind::Warn]);
    assert_eq!(kinds(&format!("WARNING: CPU: 0 PID: 7 at 0xffffffffc0123456\n{TRACE}")), [Kind::Warn]);
    for place in ["0xffffffffc0123456, CPU#0: insmod/7", "0xffffffffc0123456"] {
        assert_eq!(kinds(&format!("WARNING: at {place}\n{TRACE}")), [Kind::Warn], "{place}");
    }
    // Of a console's lines it is not certain that they are whole.
    for torn in
        ["[    1.000000] WARNING: CPU: 0 PI", "[    1.000000] b:55 blocked for more than 122 seconds."]
    {
        assert_eq!(splat::scan(torn.as_bytes()).len(), 1, "{torn}");
    }
}

#[test]
fn memory_that_was_not_to_be_had_is_told_whoever_was_asked_for_it() {
    for (head, title) in [
        (
            "insmod: vmalloc error: size 1099511627776, exceeds total pages, mode:0xcc0(GFP_KERNEL), nodemask=(null)",
            "vmalloc allocation failure in foo_init",
        ),
        (
            "insmod: vmalloc size 1099511627776 allocation failure: exceeds total pages, mode:0xcc0(GFP_KERNEL), nodemask=(null)",
            "vmalloc allocation failure in foo_init",
        ),
        (
            "insmod: vmalloc: allocation failure: 1099511627776 bytes, mode:0xcc0(GFP_KERNEL), nodemask=(null)",
            "vmalloc allocation failure in foo_init",
        ),
        (
            "percpu: allocation failed, size=65536 align=8 atomic=0, alloc from reserved chunk failed",
            "per-CPU allocation failure in foo_init",
        ),
    ] {
        let trace = TRACE.replace(
            "foo_init",
            "warn_alloc+0x1/0x2\n vmalloc_noprof+0x1/0x2\n pcpu_alloc_noprof+0x1/0x2\n foo_init",
        );
        let found = findings(&format!("{head}\n{trace}"));
        assert_eq!((found.len(), found[0].kind, found[0].title.as_str()), (1, Kind::Oom, title), "{head}");
    }
    assert_eq!(
        kinds(
            "mymod: vmalloc failed\nmymod: vmalloc size 3 failed\nmymod: allocation failed, size=3 align=8"
        ),
        []
    );
}
