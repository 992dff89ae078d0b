//! Messages that look like the beginning of a report and are none.

use crate::kind::Kind::{Bug, RcuStall};
use crate::patterns::Place::No;
use crate::patterns::Role::Not;
use crate::patterns::Trace::Maybe;
use crate::patterns::{Pattern, p};

pub static PATTERNS: &[Pattern] = &[
    p(Bug, Not, "BUG: ", r"^(?:\S+: )?(?:DEBUG|Boot_DEBUG): ", "", No, Maybe, "debug output, not a bug"),
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
