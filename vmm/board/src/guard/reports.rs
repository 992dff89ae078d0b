//! What a kernel says of its own troubles: variables that count or tell of them, and its table of warnings.

use crate::wire::Tampering;
use machine::{AddressSpace, GuestVirtualAddress, Memory, holds, load};
use trap::Landmarks;
use vm_memory::{Bytes, GuestAddress};

/// No kernel's table of warnings is longer, in bytes.
const MOST_WARNINGS: u64 = 4 << 20;

/// Variables that change as told, and their lengths: what the kernel counts of its own troubles (kernel/panic.c), whether it
/// logs at all, and where the log is (kernel/printk/printk.c).
pub(super) const VARIABLES: [(&str, usize, Rule); 5] = [
    (TAINT, 8, Rule::Gains),
    (COUNT, 4, Rule::Grows),
    ("oops_count", 4, Rule::Grows),
    ("suppress_printk", 4, Rule::StaysInLife),
    ("prb", 8, Rule::Stays),
];
pub(super) const TAINT: &str = "tainted_mask";
pub(super) const COUNT: &str = "warn_count";

/// How a variable may change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    /// Its bits stay set.
    Gains,
    /// It counts upwards.
    Grows,
    /// It does not.
    Stays,
    /// It does not, but in a kernel that has panicked (the end of `panic` with `panic=0`).
    StaysInLife,
}

/// Where a kernel says that it has panicked.
pub(super) struct PanicCpu(GuestAddress);

impl PanicCpu {
    pub(super) fn of(space: &AddressSpace, landmarks: &Landmarks) -> Option<Self> {
        let at = space.translate(GuestVirtualAddress(landmarks.symbol("panic_cpu")?))?;
        Some(Self(GuestAddress(at.0)))
    }

    pub(super) fn has_panicked(&self, memory: &Memory) -> bool {
        /// PANIC_CPU_INVALID of include/linux/panic.h.
        const NONE: u32 = u32::MAX;
        load::<u32>(memory, self.0).is_some_and(|cpu| cpu != NONE)
    }
}

/// A variable of the kernel's.
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) rule: Rule,
    /// Physical.
    pub(super) at: GuestAddress,
    pub(super) length: usize,
    pub(super) value: u64,
}

impl Variable {
    pub(super) fn of(
        memory: &Memory,
        space: &AddressSpace,
        landmarks: &Landmarks,
        (name, length, rule): (&'static str, usize, Rule),
    ) -> Option<Self> {
        let at = GuestAddress(space.translate(GuestVirtualAddress(landmarks.symbol(name)?))?.0);
        let mut variable = Self { name, rule, at, length, value: 0 };
        variable.value = variable.read(memory)?;
        Some(variable)
    }

    fn read(&self, memory: &Memory) -> Option<u64> {
        match self.length {
            4 => load::<u32>(memory, self.at).map(u64::from),
            _ => load(memory, self.at),
        }
    }

    pub(super) fn changed(&mut self, memory: &Memory, rip: Option<u64>) -> Option<Tampering> {
        // At each system call; nearly always.
        let to = self.read(memory).filter(|to| *to != self.value)?;
        let from = std::mem::replace(&mut self.value, to);
        let allowed = match self.rule {
            Rule::Gains => from & !to == 0,
            Rule::Grows => from <= to,
            Rule::Stays | Rule::StaysInLife => from == to,
        };
        (!allowed).then(|| match self.rule {
            Rule::Gains => Tampering::Taint { from, to, rip, by: None },
            _ => Tampering::Variable { name: self.name.to_owned(), from, to, rip, by: None },
        })
    }
}

/// Which warnings the kernel gives but once, and has given (`struct bug_entry` of include/asm-generic/bug.h).
pub(super) struct Warnings {
    at: GuestAddress,
    table: Vec<u8>,
    /// So many were given since, and which was the last.
    given: u64,
    last: Option<Tampering>,
    /// So many the kernel had counted by then.
    counted: u64,
}

/// BUGFLAG_DONE.
const GIVEN: u8 = 1 << 2;

impl Warnings {
    pub(super) fn of(
        memory: &Memory,
        space: &AddressSpace,
        landmarks: &Landmarks,
        counted: Option<u64>,
    ) -> Option<Self> {
        let symbol = |name| landmarks.symbol(name);
        let (start, end) = (symbol("__start___bug_table")?, symbol("__stop___bug_table")?);
        let length = end.checked_sub(start).filter(|length| *length <= MOST_WARNINGS)?;
        let (at, mut table) = (space.translate(GuestVirtualAddress(start))?, vec![0; length as usize]);
        memory.read_slice(&mut table, at).ok()?;
        Some(Self { at, table, given: 0, last: None, counted: counted? })
    }

    /// Warnings are given; nothing else of the table changes.
    pub(super) fn changed(&mut self, memory: &Memory) -> Option<Tampering> {
        if holds(memory, self.at, &self.table)? {
            return None;
        }
        let mut now = vec![0; self.table.len()];
        memory.read_slice(&mut now, self.at).ok()?;
        let before = std::mem::replace(&mut self.table, now);
        let pairs = before.iter().zip(&self.table).filter(|(old, new)| old != new);
        let told = |(old, new): (&u8, &u8)| Tampering::Variable {
            name: "__bug_table".to_owned(),
            from: (*old).into(),
            to: (*new).into(),
            rip: None,
            by: None,
        };
        for pair in pairs {
            if pair.0 ^ pair.1 != GIVEN {
                return Some(told(pair));
            }
            // Whoever clears `clear_warn_once` in debugfs wants them again.
            if pair.1 & GIVEN != 0 {
                self.given += 1;
                self.last = Some(told(pair));
            }
        }
        None
    }

    /// Whether some have been given that the kernel has not counted. It does so once all that it says of one is in the log (`__report_bug`
    /// of lib/bug.c, and `__warn` of kernel/panic.c).
    pub(super) fn are_uncounted(&self, counted: u64) -> bool {
        self.given > counted.saturating_sub(self.counted)
    }

    /// Nobody gave these; told once.
    pub(super) fn overdue(&mut self, counted: u64) -> Option<Tampering> {
        if !self.are_uncounted(counted) {
            return None;
        }
        self.given = counted.saturating_sub(self.counted);
        self.last.take()
    }
}
