//! Who holds what a task waits for.
//!
//! A task that waits for a mutex or a reader-writer semaphore has a waiter on its stack: a node in the lock's list, and
//! behind it a pointer to the task (struct mutex_waiter in kernel/locking/mutex.h, struct rwsem_waiter in
//! kernel/locking/rwsem.c). The head of that list is in the lock; later kernels have a pointer to the first waiter there
//! and a list without a head, so that the lock is found by its address, which is on the stack as well. In both kinds
//! of locks the owner stands so far before that field as `mutex.owner` before the mutex's.
//!
//! What the guest made up is followed for a bounded number of reads, and only from tasks that are shown.

use super::KernelState;
use machine::GuestVirtualAddress;
use std::collections::BTreeSet;

/// A list of waiters is followed so far.
const MOST_WAITERS: usize = 128;
/// Nodes on a stack that may be a waiter.
const MOST_NODES: usize = 4;
/// Tasks that wait for each other in a row.
const MOST_HOLDERS: usize = 16;
/// Larger stacks there are none, in bytes (THREAD_SIZE of arch/x86/include/asm/page_64_types.h, with KASAN).
const LARGEST_STACK: u64 = 1 << 16;

/// Flags in the low bits of an owner (MUTEX_FLAGS of kernel/locking/mutex.c; the semaphore's are fewer).
const FLAGS: u64 = 7;
/// A mutex has this bit set while somebody waits, a semaphore while somebody reads (RWSEM_READER_OWNED).
const WAITED_OR_READ: u64 = 1;

/// All tasks, and what they wait for.
pub(super) struct Locks<'a> {
    pub state: &'a KernelState,
    /// What is not among them is no owner.
    pub tasks: &'a BTreeSet<u64>,
}

impl Locks<'_> {
    /// The task that holds the lock which this one waits for.
    pub fn holder(&self, task: u64) -> Option<u64> {
        let state = self.state;
        let owner = state.at("mutex.owner")?;
        let (low, words) = self.stack(task)?;
        // The newest first: it is what the task waits for now.
        let waiters = words.windows(3).enumerate().filter(|(_, words)| words[2] == task);
        let mut nodes = waiters.map(|(index, _)| low + index as u64 * 8).take(MOST_NODES);
        if let Some(head) = state.at("mutex.wait_list") {
            let before = head.checked_sub(owner)?;
            return nodes.find_map(|node| {
                let head = self.circle(node).into_iter().find(|at| !self.is_waiter(*at))?;
                self.owner(head.wrapping_sub(before))
            });
        }
        let first = state.at("mutex.first_waiter")?;
        let (before, fields) = (first.checked_sub(owner)?, [first, state.at("rw_semaphore.first_waiter")?]);
        nodes.find_map(|node| {
            let nodes = self.circle(node);
            let locks = words.iter().filter(|word| **word >> 63 == 1);
            let mut places = locks.flat_map(|lock| fields.map(|field| lock.wrapping_add(field)));
            let place = places.find(|at| state.word(*at).is_some_and(|first| nodes.contains(&first)))?;
            self.owner(place.wrapping_sub(before))
        })
    }

    /// Whether a task waits for itself, alone or by way of others, so that no signal can end it.
    pub fn is_stuck(&self, task: u64) -> bool {
        waits_for_itself(task, |task| self.holder(task).filter(|_| self.is_uninterruptible(task)))
    }

    fn is_uninterruptible(&self, task: u64) -> bool {
        // TASK_UNINTERRUPTIBLE of include/linux/sched.h.
        let state =
            self.state.at("task_struct.__state").and_then(|at| self.state.half(task.wrapping_add(at)));
        state.is_some_and(|state| state & 2 != 0)
    }

    /// The owner in this field of a lock. Readers leave their name in a semaphore when they are done, so that of a
    /// reader says nothing.
    fn owner(&self, field: u64) -> Option<u64> {
        let owner = self.state.word(field)?;
        // A semaphore's count stands before its owner; a mutex begins with the owner.
        let count = self.state.word(field.wrapping_sub(8)).unwrap_or(0);
        if owner & WAITED_OR_READ != 0 && counts_readers(count) {
            return None;
        }
        Some(owner & !FLAGS).filter(|owner| self.tasks.contains(owner))
    }

    /// Whether this is a node on the stack of the task that it names.
    fn is_waiter(&self, node: u64) -> bool {
        let task = self.state.word(node.wrapping_add(16)).filter(|task| self.tasks.contains(task));
        let range = task.and_then(|task| self.stack_range(task));
        range.is_some_and(|(low, end)| (low..end).contains(&node))
    }

    /// The nodes of a list, from one of them on.
    fn circle(&self, node: u64) -> BTreeSet<u64> {
        let mut nodes = BTreeSet::from([node]);
        let mut at = self.state.word(node);
        while let Some(next) = at.filter(|next| *next >> 63 == 1 && nodes.len() < MOST_WAITERS) {
            if !nodes.insert(next) {
                break;
            }
            at = self.state.word(next);
        }
        nodes
    }

    /// The part of a task's stack that is in use: where it begins, and its words.
    fn stack(&self, task: u64) -> Option<(u64, Vec<u64>)> {
        let (low, end) = self.stack_range(task)?;
        let mut bytes = vec![0; (end - low) as usize];
        self.state.space.read(GuestVirtualAddress(low), &mut bytes)?;
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        Some((low, bytes.chunks_exact(8).map(word).collect()))
    }

    fn stack_range(&self, task: u64) -> Option<(u64, u64)> {
        let field = |name| self.state.word(task.wrapping_add(self.state.at(name)?));
        let bottom = field("task_struct.stack")?;
        let end = bottom.checked_add(self.state.at("THREAD_SIZE")?.min(LARGEST_STACK))?;
        let sp = field("task_struct.sp")?;
        (bottom..end).contains(&sp).then_some((sp, end))
    }
}

/// Whether this is the count of a semaphore that has waiters and no writer (kernel/locking/rwsem.c): the number of
/// readers above bit 8, bits 1 and 2 for those that wait.
fn counts_readers(count: u64) -> bool {
    count & 0xff & !4 == 2 && count >> 32 == 0
}

fn waits_for_itself(task: u64, holder: impl Fn(u64) -> Option<u64>) -> bool {
    let mut seen = BTreeSet::from([task]);
    let mut at = task;
    while let Some(next) = holder(at).filter(|_| seen.len() <= MOST_HOLDERS) {
        if !seen.insert(next) {
            return true;
        }
        at = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn who_waits_for_somebody_in_a_circle_is_stuck_and_nobody_else() {
        let holders = BTreeMap::from([(1, 2), (2, 3), (3, 2), (4, 4), (5, 6)]);
        let stuck = |task: &u64| waits_for_itself(*task, |task| holders.get(&task).copied());
        assert_eq!((1..8).filter(stuck).collect::<Vec<u64>>(), [1, 2, 3, 4]);
        assert!(!waits_for_itself(0, |task| Some(task + 1)), "a row without an end");
    }

    #[test]
    fn a_semaphore_with_readers_is_told_from_what_may_stand_before_a_mutex() {
        // Two readers and a waiter; the same with a hand-over; nobody but a waiter.
        assert!([0x202, 0x206, 2].into_iter().all(counts_readers));
        // A writer; nothing; a pointer.
        assert!(![0x103, 1, 0, 0xffff_8880_0000_0102].into_iter().any(counts_readers));
    }
}
