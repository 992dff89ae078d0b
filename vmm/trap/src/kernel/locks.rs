//! Who holds what a task waits for.
//!
//! A task that waits for a mutex or a reader-writer semaphore is in the lock's own function, just above the scheduler's.
//! Among that function's variables is a waiter: a node in the lock's list, and behind it a pointer to the task (struct
//! mutex_waiter in kernel/locking/mutex.h, struct rwsem_waiter in kernel/locking/rwsem.c). The head of that list is in the
//! lock; later kernels have a pointer to the first waiter there and a list without a head, so that the lock is found by
//! its address, which is among those functions' variables as well.
//!
//! Anything may lie on a stack, so words that look like a waiter are none: they have to be where the waiter is, linked
//! both ways in a list that leads back to them by way of other waiters only, and the lock has to say that somebody waits
//! for it. What the guest made up is followed for a bounded number of reads, and only from tasks that are shown.

use super::{
    KernelState,
    stack::{Frame, Part},
};
use std::collections::BTreeSet;

/// A list of waiters is followed so far.
const MOST_WAITERS: usize = 128;
/// Tasks that wait for each other in a row.
const MOST_HOLDERS: usize = 16;

/// All tasks, and what they wait for.
pub(super) struct Locks<'a> {
    pub state: &'a KernelState,
    /// What is not among them is no owner.
    pub tasks: &'a BTreeSet<u64>,
}

impl Locks<'_> {
    /// The task that holds the lock which this one waits for.
    pub fn holder(&self, task: u64) -> Option<u64> {
        let (kind, locks) = self.locks(task)?;
        let mut holders = locks.into_iter().filter_map(|lock| self.owner(kind, lock));
        let holder = holders.next()?;
        holders.all(|other| other == holder).then_some(holder)
    }

    fn owner(&self, kind: Kind, lock: u64) -> Option<u64> {
        let field = |name| self.state.word(lock.wrapping_add(self.offset(kind, name)?));
        let owner = match kind {
            Kind::Mutex => mutex_owner(field("owner")?),
            Kind::Semaphore => writer(field("count")?, field("owner")?),
        };
        owner.filter(|owner| self.tasks.contains(owner))
    }

    fn offset(&self, kind: Kind, field: &str) -> Option<u64> {
        self.state.layout(&format!("{}.{field}", kind.structure()))
    }

    /// The tasks by way of which a task waits for itself, beginning with it, when no signal can end that; else none.
    pub fn circle(&self, task: u64) -> Vec<u64> {
        waits_for_itself(task, |task| self.holder(task).filter(|_| self.is_unkillable(task)))
    }

    fn is_unkillable(&self, task: u64) -> bool {
        /// TASK_INTERRUPTIBLE, TASK_UNINTERRUPTIBLE and TASK_WAKEKILL of include/linux/sched.h.
        const INTERRUPTIBLE: u32 = 1;
        const UNINTERRUPTIBLE: u32 = 2;
        const WAKEKILL: u32 = 0x100;
        let state =
            self.state.layout("task_struct.__state").and_then(|at| self.state.half(task.wrapping_add(at)));
        state.is_some_and(|state| state & (INTERRUPTIBLE | UNINTERRUPTIBLE | WAKEKILL) == UNINTERRUPTIBLE)
    }

    /// The lock that a task waits for; where no list leads to it, all that may be it.
    fn locks(&self, task: u64) -> Option<(Kind, Vec<u64>)> {
        let state = self.state;
        let frames = state.frames(task)?;
        let part = |frame: &Frame| state.part(frame);
        let scheduler = frames.iter().take_while(|frame| part(frame) == Some(Part::Scheduler)).count();
        let waits = frames.get(scheduler).filter(|_| scheduler > 0).and_then(part)?;
        let own: Vec<&Frame> =
            frames[scheduler..].iter().take_while(|frame| part(frame) == Some(waits)).collect();
        let kind = if waits == Part::Mutex { Kind::Mutex } else { Kind::Semaphore };

        let nodes = own.iter().flat_map(|frame| frame.variables.clone().step_by(8));
        let mut rings = nodes
            .filter(|node| state.word(node.wrapping_add(16)) == Some(task))
            .filter_map(|node| self.ring(node));
        // A task waits for one lock at a time.
        let ring = rings.next().filter(|_| rings.next().is_none())?;

        let others: Vec<u64> = ring.iter().copied().filter(|node| !self.is_waiter(*node)).collect();
        if let Some(list) = self.offset(kind, "wait_list") {
            let [head] = others[..] else { return None };
            return Some((kind, vec![head.wrapping_sub(list)]));
        }
        let first = self.offset(kind, "first_waiter").filter(|_| others.is_empty())?;
        // The registers that hold the lock's address may have been saved by the scheduler's functions.
        let words = state.stack(task)?.start..own.last()?.variables.end;
        let locks = words.step_by(8).filter_map(|at| state.word(at)).filter(|lock| lock >> 63 == 1);
        let points_to_it =
            |lock: &u64| state.word(lock.wrapping_add(first)).is_some_and(|it| ring.contains(&it));
        Some((kind, locks.filter(points_to_it).collect()))
    }

    /// Whether this is a node on the stack of the task that it names.
    fn is_waiter(&self, node: u64) -> bool {
        let task = self.state.word(node.wrapping_add(16)).filter(|task| self.tasks.contains(task));
        task.and_then(|task| self.state.stack(task)).is_some_and(|stack| stack.contains(&node))
    }

    /// The nodes of the list that this one is linked in, if they are linked both ways and lead back to it.
    fn ring(&self, node: u64) -> Option<BTreeSet<u64>> {
        let mut nodes = BTreeSet::new();
        let mut at = node;
        while nodes.len() < MOST_WAITERS && nodes.insert(at) {
            let next = self.state.word(at).filter(|next| next >> 63 == 1)?;
            if self.state.word(next.wrapping_add(8))? != at {
                return None;
            }
            at = next;
        }
        (at == node).then_some(nodes)
    }
}

/// What a task can wait for.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Mutex,
    Semaphore,
}

impl Kind {
    fn structure(self) -> &'static str {
        match self {
            Self::Mutex => "mutex",
            Self::Semaphore => "rw_semaphore",
        }
    }
}

/// Who holds a mutex that somebody waits for, by its field `owner` (kernel/locking/mutex.h). One that is being handed
/// over names its next owner.
fn mutex_owner(owner: u64) -> Option<u64> {
    const WAITERS: u64 = 1;
    const PICKUP: u64 = 4;
    (owner & (WAITERS | PICKUP) == WAITERS).then_some(owner & !7)
}

/// Who writes under a semaphore that somebody waits for, by its count and its owner (kernel/locking/rwsem.c). Readers
/// leave their name when they are done, so that of a reader says nothing.
fn writer(count: u64, owner: u64) -> Option<u64> {
    const WRITER_LOCKED: u64 = 1;
    const WAITERS: u64 = 2;
    const READER_OWNED: u64 = 1;
    const FLAGS: u64 = 3;
    let held = count & (WRITER_LOCKED | WAITERS) == WRITER_LOCKED | WAITERS;
    (held && owner & READER_OWNED == 0).then_some(owner & !FLAGS)
}

/// Those that are asked for their holder, if that comes back to one of them.
fn waits_for_itself(task: u64, holder: impl Fn(u64) -> Option<u64>) -> Vec<u64> {
    let mut seen = vec![task];
    let mut at = task;
    while let Some(next) = holder(at).filter(|_| seen.len() <= MOST_HOLDERS) {
        if seen.contains(&next) {
            return seen;
        }
        seen.push(next);
        at = next;
    }
    Vec::new()
}

#[cfg(test)]
#[path = "locks_test.rs"]
mod tests;
