//! Single calls, for a trace.

use crate::{
    door::Door,
    tally::Origin,
    task::{Caller, Process},
};
use machine::{AddressSpace, GuestVirtualAddress};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// So much of what an argument points to is kept, in bytes.
const PIECE: usize = 64;

/// Calls under way that are remembered; there are no more tasks in a sane guest.
const MOST_PENDING: usize = 4096;

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Through which door.
    pub door: Door,
    /// The number.
    pub nr: u64,
    /// Whose.
    pub origin: Origin,
    /// The arguments' registers, in the order of the door's calling convention.
    pub args: [u64; 6],
    /// What those of them that are pointers into user memory point to, at the entry: number and bytes.
    pub memory: Vec<(u8, Vec<u8>)>,
    /// Who called, where that is known.
    pub process: Option<Process>,
    /// At the entry.
    pub at: Instant,
    /// The result and how long it took; `None` for a call that did not come back, or not through a door
    /// where results are seen.
    pub result: Option<(i64, Duration)>,
}

/// Which calls are traced, and those that are under way.
#[derive(Debug)]
pub(crate) struct Trace {
    /// Empty for all.
    numbers: Vec<u64>,
    pending: HashMap<Caller, Seen>,
}

impl Trace {
    pub fn new(numbers: Vec<u64>) -> Self {
        Self { numbers, pending: HashMap::new() }
    }

    pub fn wants(&self, nr: u64, origin: Origin) -> bool {
        origin != Origin::Agent && (self.numbers.is_empty() || self.numbers.contains(&nr))
    }

    /// A thread enters; hands out the one before it that did not come back.
    pub fn enter(&mut self, caller: Caller, seen: Seen) -> Option<Seen> {
        // 32-bit doors have no results.
        if seen.door != Door::Syscall64 || self.pending.len() >= MOST_PENDING {
            return Some(seen);
        }
        self.pending.insert(caller, seen)
    }

    pub fn leave(&mut self, caller: Caller, nr: u64, result: i64) -> Option<Seen> {
        // Another call of that thread, which is not traced.
        if self.pending.get(&caller)?.nr != nr {
            return None;
        }
        let mut seen = self.pending.remove(&caller)?;
        seen.result = Some((result, seen.at.elapsed()));
        Some(seen)
    }

    /// Those that never came back.
    pub fn rest(&mut self) -> Vec<Seen> {
        let mut rest: Vec<Seen> = self.pending.drain().map(|(_, seen)| seen).collect();
        rest.sort_by_key(|seen| seen.at);
        rest
    }
}

/// What the arguments point to in user memory.
pub(crate) fn pointed_to(user: &AddressSpace, args: &[u64; 6]) -> Vec<(u8, Vec<u8>)> {
    let piece = |(index, address): (usize, &u64)| {
        // The first page and the kernel's half are nobody's data.
        if !(0x1000..1 << 47).contains(address) {
            return None;
        }
        let room = PIECE.min(0x1000 - (*address & 0xfff) as usize);
        let mut bytes = vec![0; room];
        user.read(GuestVirtualAddress(*address), &mut bytes)?;
        Some((index as u8, bytes))
    };
    args.iter().enumerate().filter_map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(nr: u64) -> Seen {
        let (door, origin, at) = (Door::Syscall64, Origin::Step, Instant::now());
        Seen { door, nr, origin, args: [0; 6], memory: vec![], process: None, at, result: None }
    }

    #[test]
    fn results_find_their_calls_by_the_caller() {
        let mut trace = Trace::new(vec![]);
        assert_eq!(trace.enter(Caller::Task(1), seen(10)), None);
        assert_eq!(trace.enter(Caller::Task(2), seen(20)), None);
        assert_eq!(trace.leave(Caller::Task(2), 20, 5).unwrap().result.unwrap().0, 5);
        // The first task left without a result and is here again.
        assert_eq!(trace.enter(Caller::Task(1), seen(11)).unwrap().nr, 10);
        assert!(
            trace.leave(Caller::Task(1), 99, 0).is_none() && trace.leave(Caller::Task(3), 1, 0).is_none()
        );
        assert_eq!(trace.rest()[0].nr, 11);
    }

    #[test]
    fn only_what_was_asked_for_is_traced_and_never_the_agent() {
        let trace = Trace::new(vec![7]);
        assert!(trace.wants(7, Origin::Program) && !trace.wants(8, Origin::Program));
        assert!(!trace.wants(7, Origin::Agent) && Trace::new(vec![]).wants(8, Origin::Step));
    }
}
