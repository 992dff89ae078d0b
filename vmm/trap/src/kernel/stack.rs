//! The stack of a task that was switched away from: the functions that it is in, and where the variables of each lie.
//!
//! Of a kernel with frame pointers that is exact. Of another one only the scheduler's own function is known, and so
//! nothing is said of what the task waits for.

use super::KernelState;
use crate::{Function, Landmarks};
use std::ops::Range;

const MOST_FRAMES: usize = 24;
/// Larger stacks there are none, in bytes (THREAD_SIZE of arch/x86/include/asm/page_64_types.h, with KASAN).
const LARGEST_STACK: u64 = 1 << 16;

/// A function that is not done.
pub(super) struct Frame {
    /// Where it goes on when what it called is done.
    pub address: u64,
    /// Where its variables are, and registers that it saved.
    pub variables: Range<u64>,
}

/// What a function has to do with a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Every sleep ends in it.
    Scheduler,
    /// It waits for a mutex.
    Mutex,
    /// It waits for a reader-writer semaphore.
    Semaphore,
}

/// Functions by which a wait for a lock is told from any other sleep (kernel/sched/core.c, kernel/locking/mutex.c and
/// rwsem.c). Which of them are inlined into which is the compiler's choice.
pub const SLEEPING_FUNCTIONS: &[&str] = &[
    "context_switch",
    "__schedule",
    "__schedule_loop",
    "schedule",
    "schedule_preempt_disabled",
    "__mutex_lock",
    "__mutex_lock_common",
    "__mutex_lock_slowpath",
    "__mutex_lock_interruptible_slowpath",
    "__mutex_lock_killable_slowpath",
    "_mutex_lock_killable",
    "_mutex_lock_nest_lock",
    "mutex_lock",
    "mutex_lock_interruptible",
    "mutex_lock_interruptible_nested",
    "mutex_lock_io",
    "mutex_lock_io_nested",
    "mutex_lock_killable",
    "mutex_lock_killable_nested",
    "mutex_lock_nested",
    "__ww_mutex_lock",
    "__ww_mutex_lock_interruptible_slowpath",
    "__ww_mutex_lock_slowpath",
    "ww_mutex_lock",
    "ww_mutex_lock_interruptible",
    "__down_read",
    "__down_read_common",
    "__down_read_interruptible",
    "__down_read_killable",
    "__down_write",
    "__down_write_common",
    "__down_write_killable",
    "_down_write_nest_lock",
    "down_read",
    "down_read_interruptible",
    "down_read_killable",
    "down_read_killable_nested",
    "down_read_nested",
    "down_write",
    "down_write_killable",
    "down_write_killable_nested",
    "down_write_nested",
    "rwsem_down_read_slowpath",
    "rwsem_down_write_slowpath",
];

/// The part of one of [`SLEEPING_FUNCTIONS`].
fn part(name: &str) -> Part {
    if name.contains("mutex") {
        Part::Mutex
    } else if name.contains("down_") {
        Part::Semaphore
    } else {
        Part::Scheduler
    }
}

impl KernelState {
    /// The functions that a sleeping task is in, the innermost first, by its frame pointers: `__switch_to_asm` has left
    /// r15, r14, r13, r12, rbx, rbp and a return address at its stack pointer (struct inactive_task_frame,
    /// arch/x86/include/asm/switch_to.h).
    pub(super) fn frames(&self, task: u64) -> Option<Vec<Frame>> {
        let stack = self.stack(task)?;
        let is_frame = |at: u64| {
            at.is_multiple_of(8)
                && stack.contains(&at)
                && at.checked_add(15).is_some_and(|end| end < stack.end)
        };
        let mut low = stack.start.checked_add(7 * 8)?;
        let mut frame = self.word(stack.start.checked_add(5 * 8)?)?;
        let mut frames = Vec::new();
        let mut address = self.word(stack.start + 6 * 8)?;
        // User space's frame pointer follows the kernel's last one.
        while address >> 63 == 1 && frames.len() < MOST_FRAMES {
            if frame < low || !is_frame(frame) {
                // It goes on from here, but where its variables end is not known.
                frames.push(Frame { address, variables: low..low });
                break;
            }
            frames.push(Frame { address, variables: low..frame });
            (address, low, frame) = (self.word(frame + 8)?, frame + 16, self.word(frame)?);
        }
        Some(frames)
    }

    /// The part of a sleeping task's stack that is in use.
    pub(super) fn stack(&self, task: u64) -> Option<Range<u64>> {
        let field = |name| self.word(task.wrapping_add(self.layout(name)?));
        let bottom = field("task_struct.stack")?;
        let end = bottom.checked_add(self.layout("THREAD_SIZE")?.min(LARGEST_STACK))?;
        let sp = field("task_struct.sp")?;
        (sp.is_multiple_of(8) && (bottom..end).contains(&sp)).then_some(sp..end)
    }

    /// What the function that a frame is of has to do with its sleep. It called another one, so it begins before the
    /// address where it goes on.
    pub(super) fn part(&self, frame: &Frame) -> Option<Part> {
        let (.., part) =
            self.sleeping.iter().find(|(code, _)| code.contains(&frame.address.wrapping_sub(1)))?;
        Some(*part)
    }
}

/// Where [`SLEEPING_FUNCTIONS`] are in the kernel, from its landmarks.
pub(super) fn sleeping(landmarks: &Landmarks) -> Vec<(Range<u64>, Part)> {
    let one = |function: &Function| {
        let name = function.name.split('.').next();
        let base = SLEEPING_FUNCTIONS.iter().find(|base| name == Some(base))?;
        Some((function.code.clone(), part(base)))
    };
    landmarks.functions.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::AddressSpace;
    use std::time::{Duration, Instant};
    use vm_memory::{Bytes, GuestAddress};

    #[test]
    fn a_stack_that_ends_where_addresses_do_is_read_to_its_end() {
        let memory = machine::create_memory(2).unwrap();
        let put = |at: u64, value: u64| memory.write_obj(value, GuestAddress(at)).unwrap();
        // The last 2 MiB of all addresses.
        const LAST: u64 = 0xffff_ffff_ffe0_0000;
        put(0x1ff8, 0x2003);
        put(0x2ff8, 0x3003);
        put(0x3ff8, 0x83);
        let (task, sp) = (0x1_0000, 0x1f_f000);
        put(task + 0x20, u64::MAX - 0x4000);
        put(task + 0x28, LAST + sp);
        // A frame pointer and a return address; the former leads to the last word there is.
        put(sp + 5 * 8, u64::MAX - 7);
        put(sp + 6 * 8, 0xffff_ffff_8100_0000);
        let layout = [("task_struct.stack", 0x20), ("task_struct.sp", 0x28), ("THREAD_SIZE", 0x4000)];
        let landmarks = Landmarks {
            layout: layout.map(|(name, at)| (name.to_owned(), at)).into(),
            ..Landmarks::default()
        };
        let space = AddressSpace::new(memory.clone(), 0x1000, 0);
        let state = KernelState::new(space, landmarks, Instant::now() + Duration::from_secs(60));
        let frames = state.frames(LAST + task).unwrap();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].variables.start, frames[0].variables.end);
    }
}
