//! What a kernel itself notes of a report, beside the log: its counts, and its taint.

use crate::findings::died;
use crate::judged::{Finding, Gravity};
use splat::Kind;
use std::collections::BTreeSet;

/// What a kernel must have noted of the findings that were added, however many there are.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// Oopses.
    pub oopses: u64,
    /// What it counts with its warnings.
    pub warnings: u64,
    /// Letters of its taint.
    pub taint: BTreeSet<char>,
}

impl Noted {
    /// Adds a finding, unless all of it came in the first `before` lines.
    pub fn add(&mut self, finding: &Finding, before: u64) {
        if finding.splat.lines.last <= before {
            return;
        }
        self.oopses += u64::from(died(&finding.splat));
        self.warnings += u64::from(finding.splat.warned || is_counted(&finding.splat));
        self.taint.extend((finding.gravity >= Gravity::Oops).then_some('D'));
        self.taint.extend(finding.splat.warned.then_some('W'));
        self.taint.extend(tainted_by(&finding.splat).unwrap_or_default().chars());
    }
}

/// Whether the kernel counts such a report with its warnings (calls of `check_panic_on_warn` of kernel/panic.c, beside that in
/// `__warn`).
fn is_counted(finding: &splat::Finding) -> bool {
    match finding.kind {
        Kind::Kasan | Kind::Kcsan | Kind::Kfence | Kind::Ubsan => true,
        Kind::SchedulingWhileAtomic => is_schedule_bug(finding),
        _ => false,
    }
}

/// What a kernel's taint has after such a report (calls of `add_taint` in mm/kasan/report.c, mm/kfence/report.c,
/// mm/kmsan/report.c, mm/page_alloc.c, mm/memory.c, mm/slub.c, kernel/sched/core.c and kernel/watchdog.c).
pub fn tainted_by(finding: &splat::Finding) -> Option<&'static str> {
    match finding.kind {
        Kind::Kasan | Kind::Kfence | Kind::Kmsan => Some("B"),
        // Those of counters and of page tables leave none.
        Kind::BadPage => finding.title.starts_with("BUG: Bad page ").then_some("B"),
        Kind::Slab => Some("BW"),
        Kind::SleepingInAtomic => Some("W"),
        Kind::SchedulingWhileAtomic => (!finding.title.starts_with("bad: ")).then_some("W"),
        Kind::SoftLockup => Some("L"),
        _ => None,
    }
}

/// Whether it is of `__schedule_bug()`, and not one of those that are like it.
fn is_schedule_bug(finding: &splat::Finding) -> bool {
    finding.title.starts_with("BUG: scheduling while atomic")
}
