//! The four breakpoint registers of a processor, and who gets which.
//!
//! Several may want some at once: who counts system calls, who follows one, and the guest itself, whose own registers
//! take no effect while the hypervisor uses them (KVM API, section 4.87). Each says what it wants and how badly.

use crate::x86::{Registers, debug};
use std::collections::BTreeMap;

/// So many registers there are.
pub const SLOTS: usize = 4;

/// Who wants breakpoints; of equal needs, the first is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subscriber {
    /// The guest's own debug registers, and what it takes to know them.
    Guest,
    /// Whoever watches the guest.
    Watch,
    /// Whoever sees to it that something stays as it is.
    Guard,
}

/// How badly a breakpoint is wanted; the most urgent comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Before all others.
    Urgent,
    /// What registers are ordinarily used for.
    Ordinary,
    /// Where a register is left.
    Spare,
}

/// What ends a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The instruction at the address is about to be executed.
    Execute,
    /// Data was accessed: R/W and LEN as DR7 has them (Intel SDM volume 3, section 18.2.4).
    Data {
        /// 1 for writes, 2 for ports, 3 for reads and writes.
        kind: u8,
        /// 0 to 3 for 1, 2, 8 and 4 bytes.
        length: u8,
    },
}

/// One breakpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breakpoint {
    /// Linear address.
    pub address: u64,
    /// When it ends the run.
    pub on: Condition,
    /// How badly it is wanted.
    pub need: Need,
}

impl Breakpoint {
    /// The ordinary one, on an instruction.
    pub fn at(address: u64) -> Self {
        Self { address, on: Condition::Execute, need: Need::Ordinary }
    }

    /// The same with another need.
    pub fn needed(self, need: Need) -> Self {
        Self { need, ..self }
    }
}

/// All that is wanted of one processor's registers.
#[derive(Clone, Debug, Default)]
pub struct Breakpoints {
    wanted: BTreeMap<Subscriber, Vec<Breakpoint>>,
    /// All of them by need; the first four have registers.
    all: Vec<(Subscriber, usize, Breakpoint)>,
}

impl Breakpoints {
    /// Replaces what a subscriber wants.
    pub fn set(&mut self, who: Subscriber, wanted: &[Breakpoint]) {
        self.wanted.insert(who, wanted.to_vec());
        let each = self.wanted.iter().flat_map(|(who, list)| {
            list.iter().enumerate().map(|(index, breakpoint)| (*who, index, *breakpoint))
        });
        self.all = each.collect();
        // Stable: each subscriber's own order stays.
        self.all.sort_by_key(|(_, _, breakpoint)| breakpoint.need);
    }

    /// Whom the registers belong to, by slot: the subscriber, and which of its breakpoints, counted from 0.
    pub fn slots(&self) -> &[(Subscriber, usize, Breakpoint)] {
        &self.all[..self.all.len().min(SLOTS)]
    }

    /// Those of a subscriber's that found no register.
    pub fn left_out(&self, who: Subscriber) -> impl Iterator<Item = usize> {
        let rest = self.all.iter().skip(SLOTS);
        rest.filter(move |(owner, ..)| *owner == who).map(|(_, index, _)| *index)
    }

    /// DR0 to DR3 and DR7.
    pub(crate) fn registers(&self) -> ([u64; SLOTS], u64) {
        let mut addresses = [0; SLOTS];
        let mut control = debug::DR7_IDLE;
        for (slot, (_, _, breakpoint)) in self.slots().iter().enumerate() {
            addresses[slot] = breakpoint.address;
            control |= match breakpoint.on {
                Condition::Execute => debug::enable(slot, 0, 0),
                Condition::Data { kind, length } => debug::enable(slot, kind.into(), length.into()),
            };
        }
        (addresses, control)
    }

    /// Whose breakpoints a debug exception was: those on the instruction that is next, and those on data that DR6 names.
    pub fn hit(&self, registers: &Registers, dr6: u64) -> [Option<(Subscriber, usize)>; SLOTS] {
        // A single step that ends at a breakpoint comes first; the breakpoint is met when the guest goes on.
        let stepped = dr6 & debug::SINGLE_STEP != 0;
        let mut hits = [None; SLOTS];
        for (slot, (who, index, breakpoint)) in self.slots().iter().enumerate() {
            let met = match breakpoint.on {
                Condition::Execute => !stepped && breakpoint.address == registers.rip,
                Condition::Data { .. } => dr6 >> slot & 1 == 1,
            };
            hits[slot] = met.then_some((*who, *index));
        }
        hits
    }
}

/// The breakpoints in a set of debug registers, by their number.
pub(crate) fn decode(addresses: [u64; SLOTS], dr7: u64) -> [Option<Breakpoint>; SLOTS] {
    let mut slot = 0;
    addresses.map(|address| {
        let (kind, length) = debug::condition(dr7, slot);
        let on = match kind {
            0 => Condition::Execute,
            kind => Condition::Data { kind: kind as u8, length: length as u8 },
        };
        slot += 1;
        debug::enabled(dr7, slot - 1).then_some(Breakpoint { address, on, need: Need::Urgent })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(addresses: &[u64]) -> Vec<Breakpoint> {
        addresses.iter().map(|address| Breakpoint::at(*address)).collect()
    }

    fn left_out(all: &Breakpoints, who: Subscriber) -> Vec<usize> {
        all.left_out(who).collect()
    }

    #[test]
    fn the_guest_comes_first_and_what_is_left_out_is_known() {
        let mut all = Breakpoints::default();
        all.set(Subscriber::Watch, &at(&[1, 2, 3, 4]));
        assert!(left_out(&all, Subscriber::Watch).is_empty());
        let spare = Breakpoint::at(9).needed(Need::Spare);
        all.set(Subscriber::Guest, &[spare]);
        assert_eq!((left_out(&all, Subscriber::Guest), left_out(&all, Subscriber::Watch)), (vec![0], vec![]));
        let own = Breakpoint { address: 8, on: Condition::Data { kind: 1, length: 2 }, need: Need::Urgent };
        all.set(Subscriber::Guest, &[spare.needed(Need::Urgent), own]);
        assert_eq!(left_out(&all, Subscriber::Watch), [2, 3]);
        let (addresses, control) = all.registers();
        assert_eq!(addresses, [9, 8, 1, 2]);
        // G0 to G3, bit 10; slot 1 has R/W 1 and LEN 2.
        assert_eq!(control, 0b1010_1010 | 0x400 | 1 << 20 | 2 << 22);
        all.set(Subscriber::Guest, &[]);
        assert!(left_out(&all, Subscriber::Watch).is_empty());
    }

    #[test]
    fn a_hit_finds_its_subscriber() {
        let mut all = Breakpoints::default();
        all.set(Subscriber::Watch, &at(&[100, 200]));
        let data = Breakpoint { address: 8, on: Condition::Data { kind: 3, length: 0 }, need: Need::Urgent };
        all.set(Subscriber::Guest, &[data]);
        let hit = |rip, dr6| {
            all.hit(&Registers { rip, ..Registers::default() }, dr6).into_iter().flatten().collect::<Vec<_>>()
        };
        assert_eq!(hit(200, 0), [(Subscriber::Watch, 1)]);
        assert_eq!(hit(50, 1), [(Subscriber::Guest, 0)]);
        assert_eq!(hit(200, debug::SINGLE_STEP), []);
        // Data that was accessed just before an instruction that is watched.
        assert_eq!(hit(100, 1), [(Subscriber::Guest, 0), (Subscriber::Watch, 0)]);
    }

    #[test]
    fn registers_that_were_written_read_back_the_same() {
        let mut all = Breakpoints::default();
        let data = Breakpoint { address: 8, on: Condition::Data { kind: 1, length: 3 }, need: Need::Urgent };
        all.set(Subscriber::Guest, &[Breakpoint::at(7).needed(Need::Urgent), data]);
        let (addresses, control) = all.registers();
        assert_eq!(
            decode(addresses, control),
            [Some(Breakpoint::at(7).needed(Need::Urgent)), Some(data), None, None]
        );
    }
}
