//! Who holds what a task waits for.
//!
//! A task that waits for a mutex or a reader-writer semaphore has a waiter on its stack: a node in the lock's list, and
//! behind it a pointer to the task (struct mutex_waiter in kernel/locking/mutex.h, struct rwsem_waiter in
//! kernel/locking/rwsem.c). The head of that list is in the lock, and in both kinds the owner stands so far before
//! the head as `mutex.owner` before `mutex.wait_list`.

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
        let before = self.at("mutex.wait_list")?.checked_sub(self.at("mutex.owner")?)?;
        let (low, end) = self.stack(task)?;
        let stacks: Vec<(u64, u64)> = tasks.iter().filter_map(|task| self.stack(*task)).collect();
        let on_a_stack = |at: u64| stacks.iter().any(|(low, end)| (*low..*end).contains(&at));
        let waiter = |at: &u64| self.word(at.wrapping_add(16)) == Some(task);
        // The newest first: it is what the task waits for now.
        for node in (low..end.saturating_sub(24)).step_by(8).filter(waiter) {
            let mut at = self.word(node);
            for _ in 0..MOST_WAITERS {
                let Some(next) = at.filter(|next| *next >> 63 == 1 && *next != node) else { break };
                if !on_a_stack(next) {
                    let owner = self.word(next.wrapping_sub(before)).map(|owner| owner & !FLAGS);
                    if let Some(owner) = owner.filter(|owner| tasks.contains(owner)) {
                        return Some(owner);
                    }
                    break;
                }
                at = self.word(next);
            }
        }
        None
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
