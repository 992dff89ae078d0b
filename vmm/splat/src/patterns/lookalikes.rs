//! Messages that look like the beginning of a report and are none.

use crate::kind::Kind::{Bug, Oops, RcuStall};
use crate::patterns::Place::No;
use crate::patterns::Role::Not;
use crate::patterns::Trace::Maybe;
use crate::patterns::{Pattern, p};

pub static PATTERNS: &[Pattern] = &[
    p(Bug, Not, "BUG: ", r"^(?:\S+: )?(?:DEBUG|Boot_DEBUG): ", "", No, Maybe, "debug output, not a bug"),
    // Messages that begin with the name of a task, which has 15 characters and is anybody's choice.
    p(
        Oops,
        Not,
        "]: segfault ",
        r"^.{1,15}\[\d+\]: segfault (?:at|\()",
        "",
        No,
        Maybe,
        "a program's own fault, as x86 (`show_signal_msg`), arm64 and powerpc tell it",
    ),
    p(
        Oops,
        Not,
        "ip:",
        r"^(?:traps: )?.{1,15}\[\d+\] .{1,80}\bip:[0-9a-f]+ (?:cs:[0-9a-f]+ )?sp:[0-9a-f]+ (?:error|orax|ax):[0-9a-f]",
        "",
        No,
        Maybe,
        "the same of traps (`traps: x[7] trap int3 ip:`), of frames of signals and of vsyscalls",
    ),
    p(
        Oops,
        Not,
        "]: unhandled ",
        r"^.{1,15}\[\d+\]: unhandled (?:signal|exception|syscall)",
        "",
        No,
        Maybe,
        "the same on riscv, powerpc and arm64",
    ),
    p(
        Oops,
        Not,
        "potentially unexpected fatal signal",
        r"^(?:potentially unexpected fatal signal|.{1,15}/\d+: potentially unexpected fatal signal) \d+",
        "",
        No,
        Maybe,
        "a program that dies of a signal (`print-fatal-signals`)",
    ),
    p(
        Bug,
        Not,
        "): drop_caches: ",
        r"^.{1,15} \(\d+\): drop_caches: \d",
        "",
        No,
        Maybe,
        "somebody who writes to /proc/sys/vm/drop_caches",
    ),
    p(
        Bug,
        Not,
        ") used greatest stack depth",
        r"^.{1,15} \(\d+\) used greatest stack depth: \d",
        "",
        No,
        Maybe,
        "a task that ends (CONFIG_DEBUG_STACK_USAGE)",
    ),
    p(Bug, Not, "BUG: ", r"^BUG: no syscalls can create resource", "", No, Maybe, "a fuzzer's own message"),
    p(
        RcuStall,
        Not,
        "INFO: ",
        r"^(?:rcu: )?INFO: Stall ended before state dump start",
        "",
        No,
        Maybe,
        "the stall went away by itself",
    ),
];
