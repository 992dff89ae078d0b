//! Tasks, and the calls that they are in the kernel with.

use super::{
    EXECS, EXITS, Ids,
    again::{Again, Site},
};
use crate::tally::Origin;

/// One of them.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) pid: u32,
    /// Its process's number.
    pub(super) tgid: u32,
    /// Its stack pointer when it called last.
    pub(super) stack: u64,
    pub(super) inside: Option<Inside>,
    /// A call that it makes once more.
    pub(super) again: Option<Again>,
}

/// What a task's functions have on its stack between two calls is less, in bytes, and no thread's stack is smaller
/// (PTHREAD_STACK_MIN).
pub(super) const NEAR: i64 = 16 << 10;

impl Task {
    /// In user space, where it is known for the first time.
    pub(super) fn outside(ids: Ids) -> Self {
        Self { pid: ids.pid, tgid: ids.tgid, stack: 0, inside: None, again: None }
    }

    pub(super) fn executes(&self) -> bool {
        self.inside.as_ref().is_some_and(|inside| EXECS.contains(&inside.nr))
    }

    /// Whether this task has other numbers, now that it calls from there. Where one has died another may be, of the same process, too: it
    /// has a stack of its own.
    pub(super) fn is_renumbered(&self, ids: Ids, site: Site) -> bool {
        if self.tgid != ids.tgid {
            return self.pid == ids.pid;
        }
        let ended = self.inside.as_ref().is_some_and(|inside| EXITS.contains(&inside.nr));
        self.pid != ids.pid
            && !ended
            && !self.executes()
            && self.stack.abs_diff(site.stack) < NEAR.cast_unsigned()
    }
}

/// A call that is in the kernel.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) nr: u64,
    /// What it was counted as: the call that it was at first.
    pub(super) row: u64,
    pub(super) site: Site,
    pub(super) origin: Origin,
    /// The agent forks.
    pub(super) forks: bool,
    /// If it succeeds, it has reached into this process of the agent's.
    pub(super) reaches: Option<u32>,
    /// The agent's own, of which nothing depends on what comes of it: its return may go by unseen.
    pub(super) quiet: bool,
}

impl Inside {
    /// As one that begins anew.
    pub(super) fn again(&self, handled: bool) -> Again {
        let Self { row, origin, nr, site, .. } = *self;
        Again { row, origin, nr, site, handled }
    }

    /// Whether its return is of interest, and will come.
    pub(super) fn is_awaited(&self) -> bool {
        !self.quiet && !EXITS.contains(&self.nr)
    }
}
