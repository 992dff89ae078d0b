//! Who holds what a task waits for.
//!
//! A task that waits for a mutex or a reader-writer semaphore has a waiter on its stack: a node in the lock's list, and
//! behind it a pointer to the task (struct mutex_waiter in kernel/locking/mutex.h, struct rwsem_waiter in
//! kernel/locking/rwsem.c). The head of that list is in the lock; later kernels have a pointer to the first waiter there
//! and a list without a head, so that the lock is found by its address, which is on the stack as well. In both kinds
//! of locks the owner stands so far before that field as `mutex.owner` before the mutex's.

use super::KernelState;
use std::collections::{BTreeMap, BTreeSet};

/// A list of waiters is followed so far.
const MOST_WAITERS: usize = 1024;

/// Flags in the low bits of an owner (MUTEX_FLAGS of kernel/locking/mutex.c; the semaphore's are fewer).
const FLAGS: u64 = 7;

impl KernelState {
    /// The task that holds the lock which `task` waits for. `tasks` are all there are: what is not among them is
    /// no owner.
    pub(super) fn holder(&self, task: u64, tasks: &BTreeSet<u64>) -> Option<u64> {
        let owner = self.at("mutex.owner")?;
        let (low, end) = self.stack(task)?;
        let waiter = |at: &u64| self.word(at.wrapping_add(16)) == Some(task);
        // The newest first: it is what the task waits for now.
        let waiters = (low..end.saturating_sub(24)).step_by(8).filter(waiter);
        let owner_before = |field: u64, before: u64| {
            let owner = self.word(field.wrapping_sub(before))? & !FLAGS;
            tasks.contains(&owner).then_some(owner)
        };
        if let Some(head) = self.at("mutex.wait_list") {
            let stacks: Vec<(u64, u64)> = tasks.iter().filter_map(|task| self.stack(*task)).collect();
            let on_a_stack = |at: &u64| stacks.iter().any(|(low, end)| (*low..*end).contains(at));
            let before = head.checked_sub(owner)?;
            let of = |node| {
                let head = self.circle(node).into_iter().find(|at| !on_a_stack(at))?;
                owner_before(head, before)
            };
            return waiters.into_iter().find_map(of);
        }
        let first = self.at("mutex.first_waiter")?;
        let (before, fields) = (first.checked_sub(owner)?, [first, self.at("rw_semaphore.first_waiter")?]);
        let of = |node| {
            let nodes = self.circle(node);
            let locks = (low..end - 8).step_by(8).filter_map(|at| self.word(at)).filter(|it| it >> 63 == 1);
            let points_here = |field: &u64| self.word(*field).is_some_and(|first| nodes.contains(&first));
            let found = locks.flat_map(|lock| fields.map(|field| lock.wrapping_add(field))).find(points_here);
            owner_before(found?, before)
        };
        waiters.into_iter().find_map(of)
    }

    /// The nodes of a list, from one of them on.
    fn circle(&self, node: u64) -> BTreeSet<u64> {
        let mut nodes = BTreeSet::from([node]);
        let mut at = self.word(node);
        while let Some(next) = at.filter(|next| *next >> 63 == 1 && nodes.len() < MOST_WAITERS) {
            if !nodes.insert(next) {
                break;
            }
            at = self.word(next);
        }
        nodes
    }

    /// The part of a task's stack that is in use.
    fn stack(&self, task: u64) -> Option<(u64, u64)> {
        let bottom = self.word(task.wrapping_add(self.at("task_struct.stack")?))?;
        let end = bottom.checked_add(self.at("THREAD_SIZE")?)?;
        let sp = self.word(task.wrapping_add(self.at("task_struct.sp")?))?;
        (bottom..end).contains(&sp).then_some((sp, end))
    }
}

/// Whether a task waits for itself, alone or by way of others. `holders` has who each task waits for.
pub(super) fn is_stuck(task: u64, holders: &BTreeMap<u64, u64>) -> bool {
    let mut seen = BTreeSet::new();
    let mut at = task;
    while let Some(next) = holders.get(&at) {
        if !seen.insert(at) {
            return true;
        }
        at = *next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_somebody_in_a_circle_is_stuck_and_nobody_else() {
        let holders = BTreeMap::from([(1, 2), (2, 3), (3, 2), (4, 4), (5, 6)]);
        let stuck: Vec<u64> = (1..8).filter(|task| is_stuck(*task, &holders)).collect();
        assert_eq!(stuck, [1, 2, 3, 4]);
    }
}
