//! A guest's memory with tasks, stacks and a lock, written by hand.

use super::KernelState;
use crate::{Function, Landmarks};
use machine::{AddressSpace, Memory};
use std::collections::BTreeMap;
use vm_memory::{Bytes, GuestAddress};

/// Where the kernel has all of memory.
const DIRECT: u64 = 0xffff_8880_0000_0000;
const CODE: u64 = 0xffff_ffff_8100_0000;
const THREAD_SIZE: u64 = 0x4000;

pub const TASKS: [u64; 3] = [DIRECT + 0x10000, DIRECT + 0x11000, DIRECT + 0x12000];
pub const LOCK: u64 = DIRECT + 0x20000;

/// Functions that a task can be in.
const FUNCTIONS: &[&str] = &[
    "__schedule",
    "schedule",
    "schedule_preempt_disabled",
    "schedule_timeout",
    "wait_woken",
    "__mutex_lock.constprop.0",
    "rwsem_down_write_slowpath",
    "caller",
];
/// Of each of them, in bytes.
const LENGTH: u64 = 0x100;
/// Of each function's variables, in bytes; above them are a frame pointer and a return address.
const VARIABLES: u64 = 0x80;

/// How a lock knows who waits for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    /// By the head of a list.
    Head,
    /// By a pointer to the first.
    First,
}

/// Where a waiter is put that does not belong there.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// Among the variables of what the lock's function called.
    Below,
    /// Among those of its caller.
    Above,
}

pub struct Guest {
    memory: Memory,
    layout: Layout,
    waiters: std::cell::RefCell<BTreeMap<u64, u64>>,
}

impl Guest {
    pub fn new(layout: Layout) -> Self {
        let guest = Self { memory: machine::create_memory(2).unwrap(), layout, waiters: Default::default() };
        // One top entry, one large page of 1 GiB.
        guest.memory.write_obj(0x2000u64 | 3, GuestAddress(0x1000 + (DIRECT >> 39 & 511) * 8)).unwrap();
        guest.memory.write_obj(1u64 << 7 | 3, GuestAddress(0x2000)).unwrap();
        guest
    }

    pub fn put(&self, at: u64, value: u64) {
        self.memory.write_obj(value, GuestAddress(at - DIRECT)).unwrap();
    }

    pub fn state(&self) -> KernelState {
        let space = AddressSpace::new(self.memory.clone(), 0x1000, 0);
        KernelState::new(
            space,
            self.landmarks(),
            std::time::Instant::now() + std::time::Duration::from_secs(600),
        )
    }

    fn landmarks(&self) -> Landmarks {
        let functions = FUNCTIONS.iter().enumerate().map(|(index, name)| {
            let start = CODE + index as u64 * LENGTH;
            Function { name: (*name).to_owned(), code: start..start + LENGTH }
        });
        let fields = [
            ("task_struct.__state", 0x18),
            ("task_struct.stack", 0x20),
            ("task_struct.sp", 0x28),
            ("THREAD_SIZE", THREAD_SIZE),
            ("mutex.owner", 0),
            ("rw_semaphore.count", 0),
            ("rw_semaphore.owner", 8),
        ];
        let lists = match self.layout {
            Layout::Head => [("mutex.wait_list", 0x10), ("rw_semaphore.wait_list", 0x18)],
            Layout::First => [("mutex.first_waiter", 0x10), ("rw_semaphore.first_waiter", 0x18)],
        };
        let layout = fields.into_iter().chain(lists).map(|(name, at)| (name.to_owned(), at)).collect();
        Landmarks { functions: functions.collect(), layout, ..Landmarks::default() }
    }

    /// Writes a field of the lock.
    pub fn field(&self, structure: &str, name: &str, value: u64) {
        self.put(LOCK + self.landmarks().layout[&format!("{structure}.{name}")], value);
    }

    fn stack(task: u64) -> u64 {
        DIRECT + 0x40000 + (task - TASKS[0]) * 4
    }

    /// The task's state.
    pub fn sleeps(&self, task: u64, state: u32) {
        self.put(task + 0x18, state.into());
    }

    /// The task was switched away from in these functions, the innermost first. The last one has a waiter among its
    /// variables and the lock's address, and was called by one that is of no interest.
    pub fn waits(&self, task: u64, state: u32, functions: &[&str]) {
        self.sleeps(task, state);
        let bottom = Self::stack(task);
        let sp = bottom + THREAD_SIZE / 2;
        self.put(task + 0x20, bottom);
        self.put(task + 0x28, sp);
        let (mut slot, mut at) = (sp + 5 * 8, sp + 7 * 8);
        for name in functions.iter().chain(&["caller"]) {
            let index = FUNCTIONS.iter().position(|known| known == name).unwrap();
            let frame = at + VARIABLES;
            self.put(slot, frame);
            self.put(slot + 8, CODE + index as u64 * LENGTH + 0x20);
            slot = frame;
            at = frame + 16;
        }
        // User space.
        self.put(slot, 0x7fff_0000);
        self.put(slot + 8, 0x40_1000);
        let own = sp + 7 * 8 + (functions.len() as u64 - 1) * (VARIABLES + 16);
        self.put(own + 0x10, LOCK);
        self.waiters.borrow_mut().insert(task, own + 0x20);
    }

    /// Where the task's waiter is.
    pub fn waiter(&self, task: u64) -> u64 {
        self.waiters.borrow()[&task]
    }

    pub fn moves_waiter(&self, task: u64, place: Place) {
        let old = self.waiter(task);
        (0..3).for_each(|word| self.put(old + word * 8, 0));
        let new = match place {
            Place::Below => old - (VARIABLES + 16),
            Place::Above => old + (VARIABLES + 16),
        };
        self.waiters.borrow_mut().insert(task, new);
    }

    /// Makes a list of the waiters of these tasks, and has the lock lead there.
    pub fn links(&self, tasks: &[u64], structure: &str) {
        let mut nodes: Vec<u64> = tasks.iter().map(|task| self.waiter(*task)).collect();
        tasks.iter().zip(&nodes).for_each(|(task, node)| self.put(node + 16, *task));
        match self.layout {
            Layout::Head => nodes.push(LOCK + self.landmarks().layout[&format!("{structure}.wait_list")]),
            Layout::First => self.field(structure, "first_waiter", nodes[0]),
        }
        for (index, node) in nodes.iter().enumerate() {
            let next = nodes[(index + 1) % nodes.len()];
            self.put(*node, next);
            self.put(next + 8, *node);
        }
    }
}
