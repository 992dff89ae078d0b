//! What sorts of splat there are.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The sort of a splat; its kebab-case name is what scenarios, JSON and reports use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// `WARN()` and its relatives.
    Warn,
    /// `BUG()`, corrupted lists, and checks that print "BUG:" but have no kind of their own.
    Bug,
    /// A CPU exception in kernel mode: NULL dereference, page fault, general protection, invalid opcode, ...
    Oops,
    /// `panic()` that no other report explains.
    Panic,
    /// The lock validator, RCU usage and spinlock checks.
    Lockdep,
    /// Kernel address sanitizer.
    Kasan,
    /// Kernel memory sanitizer (uninitialised values).
    Kmsan,
    /// Kernel concurrency sanitizer (data races).
    Kcsan,
    /// Undefined behaviour sanitizer.
    Ubsan,
    /// Sampling memory-safety detector.
    Kfence,
    /// Leaked memory, as kmemleak reports it.
    Kmemleak,
    /// RCU grace period that does not end.
    RcuStall,
    /// A CPU that did not schedule for too long.
    SoftLockup,
    /// A CPU that took no interrupt for too long.
    HardLockup,
    /// A task in uninterruptible sleep for too long.
    HungTask,
    /// Work items that wait for a worker for too long.
    WorkqueueLockup,
    /// `schedule()` in atomic context.
    SchedulingWhileAtomic,
    /// A function that may sleep, called in atomic context.
    SleepingInAtomic,
    /// Bad page state, page map, page table or rss counters.
    BadPage,
    /// A slab object overwritten, freed twice or left over.
    Slab,
    /// `refcount_t` saturation, underflow or use after free, and references to a network device never dropped.
    Refcount,
    /// A panic in Rust code of the kernel.
    RustPanic,
    /// The out-of-memory killer. The kernel works as designed: see [`Kind::is_kernel_fault`].
    Oom,
}

impl Kind {
    /// All of them.
    pub const ALL: &[Kind] = &[
        Kind::Warn,
        Kind::Bug,
        Kind::Oops,
        Kind::Panic,
        Kind::Lockdep,
        Kind::Kasan,
        Kind::Kmsan,
        Kind::Kcsan,
        Kind::Ubsan,
        Kind::Kfence,
        Kind::Kmemleak,
        Kind::RcuStall,
        Kind::SoftLockup,
        Kind::HardLockup,
        Kind::HungTask,
        Kind::WorkqueueLockup,
        Kind::SchedulingWhileAtomic,
        Kind::SleepingInAtomic,
        Kind::BadPage,
        Kind::Slab,
        Kind::Refcount,
        Kind::RustPanic,
        Kind::Oom,
    ];

    /// The name used in scenarios, JSON and text.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Warn => "warn",
            Kind::Bug => "bug",
            Kind::Oops => "oops",
            Kind::Panic => "panic",
            Kind::Lockdep => "lockdep",
            Kind::Kasan => "kasan",
            Kind::Kmsan => "kmsan",
            Kind::Kcsan => "kcsan",
            Kind::Ubsan => "ubsan",
            Kind::Kfence => "kfence",
            Kind::Kmemleak => "kmemleak",
            Kind::RcuStall => "rcu-stall",
            Kind::SoftLockup => "soft-lockup",
            Kind::HardLockup => "hard-lockup",
            Kind::HungTask => "hung-task",
            Kind::WorkqueueLockup => "workqueue-lockup",
            Kind::SchedulingWhileAtomic => "scheduling-while-atomic",
            Kind::SleepingInAtomic => "sleeping-in-atomic",
            Kind::BadPage => "bad-page",
            Kind::Slab => "slab",
            Kind::Refcount => "refcount",
            Kind::RustPanic => "rust-panic",
            Kind::Oom => "oom",
        }
    }

    /// Whether a CPU got stuck: then its call trace is a sample of a loop, and its innermost functions differ from run to run.
    pub fn is_stall(self) -> bool {
        matches!(self, Kind::RcuStall | Kind::SoftLockup | Kind::HardLockup)
    }

    /// Whether it is of a checker, which says in steady words what is wrong in a function, and of another trouble there in others.
    pub fn is_checker(self) -> bool {
        matches!(self, Kind::Kasan | Kind::Kfence | Kind::Kmsan | Kind::Kcsan | Kind::Ubsan | Kind::Lockdep)
    }

    /// Whether the kernel itself is at fault. Only [`Kind::Oom`] is not: a guest that runs out of memory may
    /// have been meant to.
    pub fn is_kernel_fault(self) -> bool {
        self != Kind::Oom
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_a_pattern_is_in_the_list_and_has_the_name_that_json_gives_it() {
        for pattern in crate::patterns::PATTERNS.iter() {
            assert!(Kind::ALL.contains(&pattern.kind), "{}", pattern.kind);
        }
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("a name"), kind.name());
        }
    }
}
