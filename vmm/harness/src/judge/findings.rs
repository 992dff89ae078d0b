//! What the kernel's log holds against the kernel: one finding for each headline that it prints when it
//! is in trouble. Whatever finds more takes this file's place: the judge needs only [`Finding`]s.

use super::judged::{Finding, FindingKind};
use board::wire::LogRecord;

/// Headlines, as a part of their line, and what they mean. Searched in this order.
const HEADLINES: &[(&str, FindingKind)] = &[
    // kernel/panic.c
    ("Kernel panic - not syncing", FindingKind::Panic),
    // kernel/panic.c and lib/*: reports that look like an oops but let the task live come first.
    ("BUG: KASAN: ", FindingKind::Splat),
    ("BUG: KFENCE: ", FindingKind::Splat),
    ("BUG: KCSAN: ", FindingKind::Splat),
    ("BUG: sleeping function called from invalid context", FindingKind::Splat),
    ("BUG: scheduling while atomic", FindingKind::Splat),
    ("BUG: soft lockup", FindingKind::Splat),
    ("BUG: Bad page state", FindingKind::Splat),
    ("WARNING: ", FindingKind::Splat),
    ("UBSAN: ", FindingKind::Splat),
    ("refcount_t: ", FindingKind::Splat),
    ("INFO: rcu_", FindingKind::Splat),
    ("INFO: task ", FindingKind::Splat),
    // arch/x86/mm/fault.c, arch/x86/kernel/dumpstack.c, arch/x86/kernel/traps.c
    ("BUG: kernel NULL pointer dereference", FindingKind::Oops),
    ("BUG: unable to handle", FindingKind::Oops),
    ("kernel BUG at ", FindingKind::Oops),
    ("Oops: ", FindingKind::Oops),
];

/// What a line says, if it is a headline.
pub fn finding(record: &LogRecord, step: Option<usize>) -> Option<Finding> {
    let (_, kind) = HEADLINES.iter().find(|(headline, _)| record.text.contains(headline))?;
    let title = record.text.chars().take(200).collect();
    Some(Finding { kind: *kind, title, step, expected: false })
}
