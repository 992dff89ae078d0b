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
fn what_stands_behind_a_cut_is_told_where_no_warning_comes() {
    let warning = format!("WARNING: CPU: 0 PID: 7 at a/b.c:1 foo+0x1/0x2\n{TRACE}");
    let oops = format!("BUG: kernel NULL pointer dereference, address: 0000000000000000\n{TRACE}");
    for message in
        ["mydrv: BUG: queue corrupt\n", "BUG: Dentry 00000000a1b2c3d4{i=1,n=x}  still in use (1)\n"]
    {
        let begun = format!("{CUT}of mine\n{message}");
        assert_eq!(kinds(&begun), [Kind::Bug], "{message}");
        assert_eq!(kinds(&format!("{begun}{}", "some words\n".repeat(30))), [Kind::Bug], "{message}");
        assert_eq!(kinds(&format!("{begun}{CUT}{warning}")), [Kind::Bug, Kind::Warn], "{message}");
        assert_eq!(kinds(&format!("{begun}{oops}")), [Kind::Bug, Kind::Oops], "{message}");
        assert_eq!(kinds(&format!("{begun}irq 5: nobody cared\n")), [Kind::Bug, Kind::Bug], "{message}");
        // The last that there is room for, and the first that there is none for.
        for before in [7, 8] {
            let log = format!("{CUT}{}{message}", "some words\n".repeat(before));
            assert_eq!(kinds(&format!("{log}some words\n")), [Kind::Bug], "{message}");
            let warns = if before == 7 { vec![Kind::Warn] } else { vec![Kind::Bug, Kind::Warn] };
            assert_eq!(kinds(&format!("{log}{warning}")), warns, "{message}");
        }
        // All that is behind it is its own, and it stands in its place.
        let found = findings(&format!("{begun}{TRACE}"));
        assert_eq!(
            (found.len(), found[0].lines.first, found[0].frames.is_empty()),
            (1, 3, false),
            "{message}"
        );
    }
    let other = Some(splat::Caller::Task(9));
    let mut scanner = Scanner::new();
    let mut record = |text: &str, caller| _ = scanner.record(text, caller);
    record(CUT.trim_end(), None);
    record("mydrv: BUG: queue corrupt", None);
    record("something else", other);
    assert_eq!(scanner.unsettled().len(), 1, "as long as nobody knows");
    (0..300).for_each(|_| _ = scanner.record("something else", other));
    let found = scanner.finish();
    assert_eq!((found.len(), found[0].lines.first), (1, 2));
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

#[test]
fn what_only_looks_like_an_oops_or_a_warning_is_none() {
    for line in [
        "mymod: packet id: 1024 [#5]",
        "Request [#12] done",
        "WARNING: chan:3 overrun",
        "WARNING: at 10:20 the disk was slow",
        "WARNING: queue.c:12 at startup",
    ] {
        assert_eq!(kinds(&format!("{line}\nsomething else\n")), [], "{line}");
        assert_eq!(kinds(line), [], "{line}");
        // A report that comes soon afterwards is no reason to take it for one, nor does it harm one that it comes into.
        let warning = "WARNING: CPU: 0 PID: 7 at a/b.c:1 foo+0x1/0x2\n";
        assert_eq!(kinds(&format!("{line}\n{CUT}{warning}{TRACE}")), [Kind::Warn], "{line}");
        let found = findings(&format!("{CUT}{warning}{line}\n{TRACE}"));
        assert_eq!((found.len(), found[0].kind), (1, Kind::Warn), "{line}");
        assert!(!found[0].corrupted && !found[0].trapped, "{line}: {:?}", found[0].damage);
    }
    for head in ["int3: 0000 [#1] PREEMPT SMP\n", "Kernel access of bad area [#1]\n"] {
        let [finding] = &findings(&format!("{head}Modules linked in:\n{TRACE}"))[..] else {
            panic!("{head}")
        };
        assert_eq!((finding.kind, finding.trapped, finding.lines.first), (Kind::Oops, true, 1), "{head}");
    }
}

#[test]
fn a_number_in_a_message_makes_no_oops_of_a_warning() {
    let head = "WARNING: CPU: 0 PID: 7 at a/b.c:1 foo+0x1/0x2\n";
    let found = findings(&format!("{CUT}queue [#12] is stuck\n{head}{TRACE}"));
    assert_eq!((found.len(), found[0].trapped, found[0].warned), (1, false, true));
}

#[test]
fn a_warning_far_behind_in_a_report_is_still_told() {
    let head = "BUG kmalloc-64 (Tainted: G O): Object corrupt\n";
    let dump = "Object   ffff888004a1b400: 6b 6b 6b 6b 6b 6b 6b 6b  kkkkkkkk\n".repeat(128);
    let warning = "WARNING: mm/slub.c:1 at object_err+0x1/0x2, CPU#0: x/7\n";
    let found = findings(&format!("{head}{dump}{warning}{TRACE}"));
    assert_eq!((found.len(), found[0].kind, found[0].warned), (1, Kind::Slab, true));
}

#[test]
fn an_oops_long_after_a_report_of_kasan_is_its_own() {
    let kasan =
        "BUG: KASAN: null-ptr-deref in foo+0x1/0x2\nRead of size 8 at addr 0000000000000000 by task x/7\n";
    let oops = "BUG: kernel NULL pointer dereference, address: 0000000000000000\n";
    let log = |between: usize| format!("{kasan}{TRACE}{}{oops}{TRACE}", "something else\n".repeat(between));
    assert_eq!(kinds(&log(1)), [Kind::Kasan]);
    assert_eq!(kinds(&log(60)), [Kind::Kasan, Kind::Oops]);
}

#[test]
fn a_module_may_begin_with_a_digit() {
    let head = "WARNING: CPU: 0 PID: 7 at a/b.c:1 hello+0x1/0x2 [01_hello]\n";
    let trace = TRACE.replace("foo_init+0x1/0x2", "hello+0x1/0x2 [01_hello]");
    let found = findings(&format!("{head}{trace}"));
    assert!(found[0].frames.iter().any(|frame| frame.module.as_deref() == Some("01_hello")), "{found:?}");
}

#[test]
fn a_panic_of_a_drivers_own_is_no_consequence_of_an_old_warning() {
    let warning =
        format!("{CUT}WARNING: CPU: 0 PID: 7 at a/b.c:1 foo+0x1/0x2\n{TRACE}---[ end trace 0 ]---\n");
    let panicked = |why: &str| kinds(&format!("{warning}Kernel panic - not syncing: {why}\n"));
    for own in ["mydrv: BUG! queue lost", "mydrv: Oops, no workqueue", "BUG! but not that one"] {
        assert_eq!(panicked(own), [Kind::Warn, Kind::Panic], "{own}");
    }
    for consequence in
        ["panic_on_warn set ...", "kernel: panic_on_warn set ...", "UBSAN: panic_on_warn set ...", "BUG!"]
    {
        assert_eq!(panicked(consequence), [Kind::Warn], "{consequence}");
    }
}

#[test]
fn a_task_may_be_named_as_a_report_begins() {
    for name in ["BUG: foo", "BUG: KASAN: uaf", "Oops: 0000 [#1]", "WARNING: at a.c"] {
        for line in [
            "NAME[123]: segfault at 0 ip 0000000000401000 sp 00007ffe00000000 error 6 in prog[400000+1000]",
            "traps: NAME[123] general protection fault ip:401000 sp:7ffe00000000 error:0 in prog[400000+1000]",
            "NAME[123] trap int3 ip:401000 sp:7ffe00000000 error:0",
            "NAME[123] bad frame in rt_sigreturn frame:00007ffe00000000 ip:401000 sp:7ffe00000000 orax:f",
            "NAME[123]: unhandled signal 11 code 0x1 at 0x0000000000000000 in prog[400000+1000]",
            "NAME/123: potentially unexpected fatal signal 11.",
            "NAME (123): drop_caches: 3",
            "NAME (123) used greatest stack depth: 11000 bytes left",
        ] {
            assert_eq!(kinds(&line.replace("NAME", name)), [], "{line} of {name}");
        }
        let asks = format!("{name} invoked oom-killer: gfp_mask=0x1, order=0, oom_score_adj=0");
        assert_eq!(kinds(&asks), [Kind::Oom], "{name}");
    }
    // Nor is its name a place to hide behind.
    for name in [
        "[1] a ip:1 sp:1",
        "[1]: segfault a",
        "[1]: segfault (",
        "a[1]: segfault ",
        "a (1): drop_cac",
        "x invoked oom-k",
        "x[1]: unhandled",
    ] {
        let hung = format!("INFO: task {name}:55 blocked for more than 122 seconds.");
        assert_eq!(kinds(&hung), [Kind::HungTask], "{name}");
        assert_eq!(kinds(&format!("WARNING: {name}/55 still has locks held!")), [Kind::Lockdep], "{name}");
    }
    let file = "sysfs: cannot create duplicate filename '/x invoked oom-killer: gfp_mask='";
    assert_eq!(kinds(file), [Kind::Warn]);
    assert_eq!(kinds("BUG: soft lockup - CPU#1 stuck for 22s! [foo:123]"), [Kind::SoftLockup]);
}

#[test]
fn complaints_in_a_subsystems_own_words_are_found() {
    for (line, kind, title) in [
        (
            "eth0: NETDEV WATCHDOG: CPU: 0: transmit queue 0 timed out 5024 ms",
            Kind::Warn,
            "NETDEV WATCHDOG: transmit queue timed out",
        ),
        (
            "eth0 (unregistering): NETDEV WATCHDOG: CPU: 0: transmit queue 0 timed out 5024 ms",
            Kind::Warn,
            "NETDEV WATCHDOG: transmit queue timed out",
        ),
        (
            "e1000 0000:00:03.0 eth0: NETDEV WATCHDOG: CPU: 0: transmit queue 0 timed out 5024 ms",
            Kind::Warn,
            "NETDEV WATCHDOG: transmit queue timed out",
        ),
        ("pagealloc: memory corruption", Kind::BadPage, "pagealloc: memory corruption"),
        ("pagealloc: single bit error", Kind::BadPage, "pagealloc: single bit error"),
        ("BUG at mas_validate_limits:7480 (1)", Kind::Bug, "maple tree: BUG in mas_validate_limits"),
        ("WARN at mas_validate_limits:7480 (1)", Kind::Warn, "maple tree: WARN in mas_validate_limits"),
        (
            "neighbour: Destroying alive neighbour 00000000a1b2c3d4",
            Kind::Bug,
            "neighbour: destroying a neighbour that is alive",
        ),
        (
            "IPv4: Attempt to release TCP socket in state 1 00000000a1b2c3d4",
            Kind::Bug,
            "attempt to release TCP socket in state",
        ),
        (
            "IPv4: Attempt to release alive inet socket 00000000a1b2c3d4",
            Kind::Bug,
            "attempt to release alive inet socket",
        ),
        ("get_swap_device: Bad swap file entry 3fffffffffff", Kind::BadPage, "Bad swap file entry"),
        ("Leaked locks on dev=0x0:0x2a ino=0x1:", Kind::Bug, "leaked file locks"),
        ("Leaked POSIX lock on dev=0x0:0x2a ino=0x1 fl_owner=0", Kind::Bug, "leaked file lock"),
        (
            "kmemleak: Cannot insert 0xffff888003f2a800 into the object search tree (overlaps existing)",
            Kind::Bug,
            "kmemleak: gave up, as two objects overlap",
        ),
        (
            "kmemleak: Cannot allocate a kmemleak_object structure",
            Kind::Bug,
            "kmemleak: gave up, as it has no memory",
        ),
        ("ODEBUG: Out of memory. ODEBUG disabled", Kind::Bug, "ODEBUG: gave up, as it has no memory"),
        ("BUG kmalloc-64 (Tainted: G O): inuse 33 > max 32", Kind::Slab, "BUG: inuse N > max N (kmalloc-64)"),
        (
            "BUG kmalloc-64 (Not tainted): objects 33 > max 32",
            Kind::Slab,
            "BUG: objects N > max N (kmalloc-64)",
        ),
        (
            "BUG kmalloc-64 (Not tainted): page slab pointer corrupt.",
            Kind::Slab,
            "BUG: page slab pointer corrupt (kmalloc-64)",
        ),
        (
            "BUG my cache (Tainted: G    B   W  O       ): Object already free",
            Kind::Slab,
            "BUG: Object already free (my cache)",
        ),
        ("BUG: spinlock wrong CPU on CPU#1, insmod/77", Kind::Lockdep, "BUG: spinlock wrong CPU"),
        (
            "BUG: spinlock trylock failure on UP on CPU#0, insmod/77",
            Kind::Lockdep,
            "BUG: spinlock trylock failure on UP",
        ),
        (
            "bad: scheduling from the idle thread!",
            Kind::SchedulingWhileAtomic,
            "bad: scheduling from the idle thread",
        ),
    ] {
        let found = findings(line);
        let found: Vec<(Kind, &str)> = found.iter().map(|it| (it.kind, it.title.as_str())).collect();
        assert_eq!(found, [(kind, title)], "{line}");
    }
    for line in
        ["kmemleak: Kernel memory leak detector disabled", "mymod: BUG at foo:12 (1)", "mymod: Leaked locks"]
    {
        assert_eq!(kinds(line), [], "{line}");
    }
}

#[test]
fn a_title_has_nothing_of_one_boot_alone() {
    for (line, title) in [
        (
            "BUG kmalloc-rnd-05-64 (Not tainted): Poison overwritten",
            "BUG: Poison overwritten (kmalloc-rnd-N-64)",
        ),
        ("BUG: lost 12345678 of them", "BUG: lost N of them"),
        ("BUG: lost deadbeef", "BUG: lost ADDR"),
        ("BUG: lost 1234567890123456", "BUG: lost ADDR"),
        ("BUG: queue '7' of 1.25 <3> +4 eth@5", "BUG: queue 'N' of N.N <N> +N eth@N"),
    ] {
        assert_eq!(findings(line)[0].title, title, "{line}");
    }
}

#[test]
fn what_is_refused_to_a_driver_is_told_once_and_only_where_it_is_at_fault() {
    let gfp = "Unexpected gfp: 0x2 (__GFP_HIGHMEM). Fixing up to gfp: 0xcc0 (GFP_KERNEL). Fix your code!\n";
    let warning =
        format!("{CUT}{gfp}WARNING: CPU: 0 PID: 7 at mm/vmalloc.c:1 vmalloc_fix_flags+0x1/0x2\n{TRACE}");
    let found = findings(&warning);
    assert_eq!((found.len(), found[0].warned), (1, true));
    let found = findings(&format!("{gfp}{TRACE}"));
    assert_eq!((found.len(), found[0].warned), (1, false));
    assert_eq!(found[0].title, "unexpected gfp: __GFP_HIGHMEM in foo_init");
    for old in ["kmem_cache_create(raid5-1)", "kmem_cache_create_usercopy(a b)"] {
        assert_eq!(kinds(&format!("{old} failed with error -17\n")), [Kind::Warn], "{old}");
    }
    for line in ["kmem_cache_create(x) failed with error -12", "foo_create(x) failed with error -22"] {
        assert_eq!(kinds(line), [], "{line}");
    }
}

#[test]
fn the_message_of_a_report_is_in_its_excerpt() {
    let log = |name: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs");
        let log = std::fs::read(folder.join(format!("{name}.log"))).expect("a fixture");
        splat::scan(&log).remove(0)
    };
    for (name, message) in [
        ("ubsan-shift-x86-6.9", "shift exponent 64 is too large for 64-bit type 'long unsigned int'"),
        ("rust-panic-6.12", "index out of bounds: the len is 16 but the index is 16"),
        ("warn-old-message-after-head-x86-4.9", "NETDEV WATCHDOG: eth0 (e1000): transmit queue 0 timed out"),
    ] {
        let found = log(name);
        assert!(found.excerpt.iter().any(|line| line == message), "{name}: {:?}", found.excerpt);
        assert!(!found.corrupted, "{name}: {:?}", found.damage);
    }
    // What comes later is none, and no more than there can be is taken.
    let ubsan = "UBSAN: array-index-out-of-bounds in a/b.c:1:2\n";
    let told = format!("{ubsan}{}{TRACE}something else\n", "chatter\n".repeat(30));
    let found = findings(&told);
    assert_eq!(found[0].excerpt.iter().filter(|line| *line == "chatter").count(), 8);
    assert!(!found[0].excerpt.contains(&"something else".to_owned()));
}

#[test]
fn what_usercopy_says_before_its_bug_is_the_head() {
    let log = format!(
        "usercopy: Kernel memory exposure attempt detected from SLUB object 'kmalloc-64' (offset 0, size 128)!\n{CUT}kernel BUG at mm/usercopy.c:102!\nOops: invalid opcode: 0000 [#1] PREEMPT SMP\nRIP: 0010:usercopy_abort+0x74/0x80\n{TRACE}"
    );
    let found = findings(&log);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].title.as_str(), found[0].trapped),
        ("usercopy: Kernel memory exposure attempt in foo_init", true)
    );
}

#[test]
fn what_a_checker_found_in_a_function_is_in_the_fingerprint() {
    let of = |head: &str| findings(&format!("{head}\n{TRACE}")).remove(0).fingerprint;
    let kasan = |what: &str, access: &str| {
        of(&format!(
            "BUG: KASAN: {what} in foo_init+0x1/0x2\n{access} of size 8 at addr ffff888003b27000 by task x/7"
        ))
    };
    let race = |other: &str| {
        let read = format!("read to 0xffff888003b27000 of 8 bytes by task 8 on cpu 0:\n {other}+0x1/0x2");
        of(&format!(
            "BUG: KCSAN: data-race in foo_init / {other}\n\nwrite to 0xffff888003b27000 of 8 bytes by task 7 on cpu 1:\n foo_init+0x1/0x2\n\n{read}\n"
        ))
    };
    let lock = |what: &str| {
        of(&format!(
            "WARNING: {what}\nx/7 is trying to acquire lock:\n(&a){{+.+.}}-{{3:3}}, at: foo_init+0x1/0x2"
        ))
    };
    for (one, other) in [
        (kasan("slab-out-of-bounds", "Read"), kasan("slab-use-after-free", "Read")),
        (kasan("slab-out-of-bounds", "Read"), kasan("slab-out-of-bounds", "Write")),
        (of("UBSAN: shift-out-of-bounds in a/b.c:1:2"), of("UBSAN: array-index-out-of-bounds in a/b.c:1:2")),
        (lock("possible circular locking dependency detected"), lock("inconsistent lock state")),
        (race("read_one"), race("read_other")),
    ] {
        assert_ne!(one, other);
    }
    let elsewhere = of("UBSAN: shift-out-of-bounds in a/b.c:9:2");
    assert_eq!(of("UBSAN: shift-out-of-bounds in a/b.c:1:2"), elsewhere, "lines move");
}
