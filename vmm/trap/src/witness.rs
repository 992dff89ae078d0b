//! The call that a step makes, as it is seen at the door: what the agent says of it has to be the same.
//!
//! Who asks the agent for a call says beforehand how it should look ([`Expected`]). The trap then compares what comes through
//! the door with it, and keeps what the kernel returns: the result, and the buffers as they are when it leaves. Whatever
//! a guest's kernel does to the agent, to its memory or to its messages comes later.

use crate::{door::Door, task::Caller};
use machine::{AddressSpace, GuestVirtualAddress};
use protocol::Arg;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// So many programs' ends are remembered, the newest.
const MOST_EXITS: usize = 256;
/// Larger buffers than the agent makes are not read.
const MOST_BYTES: usize = 64 << 20;

/// `restart_syscall`, by which the kernel goes on with a call that a signal interrupted
/// (arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl).
fn is_restart(door: Door, nr: u64) -> bool {
    nr == if door == Door::Syscall64 { 219 } else { 0 }
}

/// Calls whose buffers the kernel fills when it likes: `io_submit`, `io_getevents`, `io_pgetevents`, `io_uring_*`.
const LATER: [u64; 6] = [208, 209, 333, 425, 426, 427];

/// How a step's call should look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// The door that it should come by.
    pub door: protocol::Door,
    /// Its number.
    pub nr: u64,
    /// Its arguments.
    pub args: Vec<Arg>,
    /// The agent makes it so often.
    pub times: u32,
}

/// What was seen of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Calls of the step's that entered the kernel.
    pub entered: u64,
    /// How the first that did not look as it should differs.
    pub differs: Option<Difference>,
    /// What the kernel returned, if it was looked for.
    pub result: Option<i64>,
    /// Buffers that the kernel may write to, in the arguments' order, as they were when it returned.
    pub buffers: Option<Vec<Vec<u8>>>,
    /// Statuses that programs ended with, by their own calls, the newest.
    pub exits: VecDeque<i32>,
    /// There were more of them.
    pub more_exits: bool,
}

/// What is not as it should be. Arguments are counted from 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// Another call than the step's.
    Number {
        /// The step's.
        wanted: u64,
        /// The one that entered.
        seen: u64,
    },
    /// The kernel handled another number than the one that entered.
    Dispatched {
        /// The one that entered.
        entered: u64,
        /// The one that was saved for the kernel.
        handled: u64,
    },
    /// Another value.
    Argument {
        /// Which.
        index: u8,
        /// The step's.
        wanted: u64,
        /// The one that entered.
        seen: u64,
    },
    /// Other bytes behind a pointer.
    Bytes {
        /// Which argument.
        index: u8,
    },
}

/// Where the vCPUs of a machine write down what they see.
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    expected: Option<Expected>,
    seen: Sighting,
    /// The call that is in the kernel.
    inside: Option<Inside>,
}

#[derive(Debug)]
struct Inside {
    caller: Caller,
    nr: u64,
    /// Pointers and lengths of what the kernel may write to.
    buffers: Vec<(u64, usize)>,
}

impl Witness {
    /// The next call of a step's should look like this; what was seen before is forgotten.
    pub fn expect(&self, expected: Option<Expected>) {
        *self.inner() = Inner { expected, ..Inner::default() };
    }

    /// What was seen since then.
    pub fn sighting(&self) -> Sighting {
        self.inner().seen.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step's call entered. `user` are the caller's page tables.
    pub(crate) fn entered(
        &self,
        door: Door,
        nr: u64,
        args: &[u64; 6],
        caller: Caller,
        user: impl FnOnce() -> Option<AddressSpace>,
    ) {
        let mut inner = self.inner();
        inner.seen.entered = inner.seen.entered.saturating_add(1);
        let Some(expected) = inner.expected.clone() else { return };
        if is_restart(door, nr) && inner.seen.entered > 1 {
            return;
        }
        let user = user();
        let differs = differs(&expected, nr, args, user.as_ref());
        if inner.seen.differs.is_none() {
            inner.seen.differs = differs;
        }
        let once = expected.times == 1 && door == Door::Syscall64;
        inner.inside = once.then(|| Inside { caller, nr, buffers: buffers(&expected, args) });
    }

    /// A call leaves the kernel.
    pub(crate) fn returned(
        &self,
        caller: impl FnOnce() -> Caller,
        nr: u64,
        result: i64,
        user: impl FnOnce() -> Option<AddressSpace>,
    ) {
        let mut inner = self.inner();
        // No step's call is in the kernel at most returns: it needs not be known then whose they are.
        if inner.inside.is_none() {
            return;
        }
        let caller = caller();
        let Some(inside) = inner.inside.take_if(|inside| inside.caller == caller) else { return };
        if inside.nr != nr && inner.seen.differs.is_none() {
            inner.seen.differs = Some(Difference::Dispatched { entered: inside.nr, handled: nr });
        }
        inner.seen.result = Some(result);
        if !LATER.contains(&nr) {
            inner.seen.buffers = user().and_then(|user| {
                let read = |(at, length): &(u64, usize)| {
                    let mut bytes = vec![0; *length];
                    user.read(GuestVirtualAddress(*at), &mut bytes)?;
                    Some(bytes)
                };
                inside.buffers.iter().map(read).collect()
            });
        }
    }

    /// A program ends itself.
    pub(crate) fn exits(&self, status: i32) {
        let seen = &mut self.inner().seen;
        if seen.exits.len() == MOST_EXITS {
            seen.exits.pop_front();
            seen.more_exits = true;
        }
        seen.exits.push_back(status);
    }
}

fn differs(expected: &Expected, nr: u64, args: &[u64; 6], user: Option<&AddressSpace>) -> Option<Difference> {
    if nr != expected.nr {
        return Some(Difference::Number { wanted: expected.nr, seen: nr });
    }
    // Through this door 32 bits of each arrive.
    let mask = if expected.door == protocol::Door::Int80 { u64::from(u32::MAX) } else { u64::MAX };
    (0..).zip(&expected.args).zip(args).find_map(|((index, wanted), seen)| match wanted {
        Arg::Int(wanted) => {
            let wanted = wanted & mask;
            (wanted != seen & mask).then_some(Difference::Argument { index: index + 1, wanted, seen: *seen })
        }
        Arg::In(bytes) | Arg::InOut(bytes) => {
            let mut there = vec![0; bytes.len().min(MOST_BYTES)];
            // What is not in memory can't be compared.
            user?.read(GuestVirtualAddress(*seen), &mut there)?;
            (!bytes.starts_with(&there)).then_some(Difference::Bytes { index: index + 1 })
        }
        Arg::Out(_) => None,
    })
}

fn buffers(expected: &Expected, args: &[u64; 6]) -> Vec<(u64, usize)> {
    let buffers = expected.args.iter().zip(args).filter_map(|(wanted, at)| match wanted {
        Arg::Out(length) => Some((*at, (*length as usize).min(MOST_BYTES))),
        Arg::InOut(bytes) => Some((*at, bytes.len().min(MOST_BYTES))),
        Arg::Int(_) | Arg::In(_) => None,
    });
    buffers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::{Memory, create_memory};
    use vm_memory::{Bytes, GuestAddress};

    const BUFFER: u64 = 0x5000;

    /// A page of user memory at [`BUFFER`].
    fn memory() -> Memory {
        let memory = create_memory(2).unwrap();
        for (at, entry) in [(0x1000, 0x2007_u64), (0x2000, 0x3007), (0x3000, 0x4007), (0x4028, 0x8007)] {
            memory.write_obj(entry, GuestAddress(at)).unwrap();
        }
        memory.write_slice(b"hello", GuestAddress(0x8000)).unwrap();
        memory
    }

    fn user(memory: &Memory) -> Option<AddressSpace> {
        Some(AddressSpace::new(memory.clone(), 0x1000, 0))
    }

    fn call(args: Vec<Arg>) -> Witness {
        let witness = Witness::default();
        witness.expect(Some(Expected { door: protocol::Door::Syscall64, nr: 7, args, times: 1 }));
        witness
    }

    #[test]
    fn a_call_that_looks_as_it_should_brings_result_and_buffers() {
        let memory = memory();
        let witness = call(vec![Arg::Int(3), Arg::InOut(b"hello".to_vec())]);
        let args = [3, BUFFER, 9, 9, 9, 9];
        witness.entered(Door::Syscall64, 7, &args, Caller::Task(1), || user(&memory));
        memory.write_slice(b"HELLO", GuestAddress(0x8000)).unwrap();
        // Another task's.
        witness.returned(|| Caller::Task(2), 7, 4, || user(&memory));
        witness.returned(|| Caller::Task(1), 7, 5, || user(&memory));
        let seen = witness.sighting();
        assert_eq!((seen.entered, seen.differs, seen.result), (1, None, Some(5)));
        assert_eq!(seen.buffers, Some(vec![b"HELLO".to_vec()]));
        witness.expect(None);
        assert_eq!(witness.sighting(), Sighting::default());
    }

    #[test]
    fn what_differs_is_told() {
        let memory = memory();
        let seen = |args: Vec<Arg>, nr, registers: [u64; 6]| {
            let witness = call(args);
            witness.entered(Door::Syscall64, nr, &registers, Caller::Task(1), || user(&memory));
            witness.sighting().differs
        };
        let at = [BUFFER, 0, 0, 0, 0, 0];
        assert_eq!(seen(vec![], 8, [0; 6]), Some(Difference::Number { wanted: 7, seen: 8 }));
        assert_eq!(
            seen(vec![Arg::Int(1)], 7, [2; 6]),
            Some(Difference::Argument { index: 1, wanted: 1, seen: 2 })
        );
        assert_eq!(seen(vec![Arg::In(b"hellO".to_vec())], 7, at), Some(Difference::Bytes { index: 1 }));
        assert_eq!(seen(vec![Arg::In(b"hello".to_vec())], 7, at), None);
        // Not in memory: nothing is known.
        assert_eq!(seen(vec![Arg::In(b"hello".to_vec())], 7, [0x10_0000; 6]), None);
        let witness = call(vec![]);
        witness.entered(Door::Syscall64, 7, &[0; 6], Caller::Task(1), || None);
        witness.returned(|| Caller::Task(1), 39, 0, || None);
        assert_eq!(witness.sighting().differs, Some(Difference::Dispatched { entered: 7, handled: 39 }));
    }

    #[test]
    fn ends_of_programs_are_kept_up_to_a_number() {
        let witness = call(vec![]);
        (0..300).for_each(|status| witness.exits(status));
        let seen = witness.sighting();
        assert_eq!((seen.exits.len(), seen.exits.back(), seen.more_exits), (256, Some(&299), true));
    }
}
