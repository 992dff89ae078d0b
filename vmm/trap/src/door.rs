//! The ways into the kernel: where each of them begins.

use crate::landmarks::Landmarks;
use machine::{
    AddressSpace, Breakpoint, GuestVirtualAddress, Processor,
    x86::{CSTAR, EFER, LSTAR, STAR, SYSCALL_MASK, SYSENTER, SYSENTER_EIP},
};
use serde::{Deserialize, Serialize};

/// An entry point for system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Door {
    /// `syscall` from 64-bit code, by MSR_LSTAR.
    Syscall64,
    /// `syscall` from 32-bit code, by MSR_CSTAR: AMD's processors.
    Syscall32,
    /// `sysenter` from 32-bit code, by MSR_IA32_SYSENTER_EIP: Intel's.
    Sysenter,
    /// `int $0x80`, from any code; counts by the 32-bit table.
    Int80,
}

/// Everything that decides where an entry leads, and with which interrupt flag: MSR_STAR, LSTAR, CSTAR,
/// FMASK and the three of SYSENTER; and EFER, without whose first bit `syscall` leads nowhere.
pub const ENTRY_MSRS: [u32; 8] =
    [EFER, STAR, LSTAR, CSTAR, SYSCALL_MASK, SYSENTER[0], SYSENTER[1], SYSENTER_EIP];

/// The name of one of [`ENTRY_MSRS`].
pub fn entry_name(msr: u32) -> Option<&'static str> {
    const NAMES: [&str; 8] = [
        "MSR_EFER",
        "MSR_STAR",
        "MSR_LSTAR",
        "MSR_CSTAR",
        "MSR_SYSCALL_MASK",
        "MSR_IA32_SYSENTER_CS",
        "MSR_IA32_SYSENTER_ESP",
        "MSR_IA32_SYSENTER_EIP",
    ];
    let index = ENTRY_MSRS.iter().position(|known| *known == msr)?;
    Some(NAMES[index])
}

/// What CSTAR leads to in a kernel that serves no 32-bit calls (arch/x86/entry/entry_64.S): `syscall` fails there. Before 6.8 it had
/// the other name.
const LOCKED: [&str; 2] = ["entry_SYSCALL32_ignore", "ignore_sysret"];

/// Where the kernel is entered, and where the 64-bit entry code has its result. Four addresses at the most,
/// as there are four breakpoint registers: of `syscall` and `sysenter` from 32-bit code no processor has
/// both in 64-bit mode.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Doors {
    entries: Vec<(Door, u64)>,
    /// Behind the call of `do_syscall_64`, where it was found.
    behind: Option<u64>,
    /// There is no breakpoint at that for now.
    paused: bool,
}

/// What a breakpoint is there to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Calls through this door.
    Entry(Door),
    /// Results of calls through the 64-bit door.
    Results,
}

impl Doors {
    /// Looks where the doors of this vCPU are, and where results are seen if they are wanted. `None` when the
    /// kernel has set none yet.
    pub fn find(
        vcpu: &dyn Processor,
        space: &AddressSpace,
        landmarks: &Landmarks,
        results: bool,
    ) -> machine::Result<Option<Self>> {
        let lstar = vcpu.msr(LSTAR)?;
        if lstar == 0 {
            return Ok(None);
        }
        let compat = if vcpu.is_intel() { (Door::Sysenter, SYSENTER_EIP) } else { (Door::Syscall32, CSTAR) };
        let candidates = [
            (Door::Syscall64, Some(lstar)),
            (Door::Int80, vcpu.user_gate(space, 0x80)?),
            (compat.0, Some(vcpu.msr(compat.1)?)),
        ];
        let locked = LOCKED.map(|name| landmarks.symbol(name));
        let leads = |at: &u64| *at != 0 && !locked.contains(&Some(*at));
        let entries = candidates.into_iter().filter_map(|(door, at)| Some((door, at.filter(leads)?)));
        let do_syscall_64 = landmarks.symbol("do_syscall_64");
        let behind = results.then(|| behind_call(space, lstar, do_syscall_64)).flatten();
        Ok(Some(Self { entries: entries.collect(), behind, paused: false }))
    }

    /// With another's place for results, if this has none.
    pub fn or_behind(self, other: &Self) -> Self {
        Self { behind: self.behind.or(other.behind), ..self }
    }

    /// The places, the most important first: where registers are short, those at the end are done without.
    fn places(&self) -> impl Iterator<Item = (Place, u64)> {
        let entries = self.entries.iter().map(|(door, at)| (Place::Entry(*door), *at));
        let behind = self.behind.filter(|_| !self.paused).map(|at| (Place::Results, at));
        entries.clone().take(1).chain(behind).chain(entries.skip(1))
    }

    /// Whether results of the 64-bit door are seen.
    pub fn see_results(&self) -> bool {
        self.behind.is_some()
    }

    /// Whether results need not be seen for now; says whether that is new, and breakpoints are others.
    pub fn pause_results(&mut self, paused: bool) -> bool {
        std::mem::replace(&mut self.paused, paused) != paused && self.behind.is_some()
    }

    pub fn breakpoints(&self) -> Vec<Breakpoint> {
        self.places().map(|(_, at)| Breakpoint::at(at)).collect()
    }

    /// What number so-and-so of the breakpoints is there for.
    pub fn place(&self, index: usize) -> Option<Place> {
        self.places().nth(index).map(|(place, _)| place)
    }

    pub fn at(&self, address: u64) -> Option<Place> {
        if Some(address) == self.behind {
            return Some(Place::Results);
        }
        self.entries.iter().find(|(_, at)| *at == address).map(|(door, _)| Place::Entry(*door))
    }
}

/// Finds the call of a function in the code from `entry` on, and returns the address behind it. The entry code of all
/// kernels so far makes this call within its first 200 bytes.
fn behind_call(space: &AddressSpace, entry: u64, function: Option<u64>) -> Option<u64> {
    const SPAN: usize = 512;
    let mut code = [0; SPAN];
    space.read(GuestVirtualAddress(entry), &mut code)?;
    match function {
        Some(function) => end_of_call(&code, entry, function),
        None => end_of_likely_call(&code),
    }
    .map(|end| entry.wrapping_add(end as u64))
}

/// Where `call function` (E8 and a relative address) ends.
fn end_of_call(code: &[u8], entry: u64, function: u64) -> Option<usize> {
    code.windows(5).enumerate().find_map(|(at, bytes)| {
        let distance = i32::from_le_bytes(bytes[1..].try_into().expect("four bytes"));
        let behind = entry.wrapping_add(at as u64 + 5);
        (bytes[0] == 0xe8 && behind.wrapping_add_signed(distance.into()) == function).then_some(at + 5)
    })
}

/// The same without knowing where the function is, in entry_SYSCALL_64 of arch/x86/entry/entry_64.S: behind
/// `movslq %eax, %rsi`, which makes its second argument, the call before the result is looked at. That is
/// `test %al, %al` since Linux 6.7, and `mov RCX(%rsp), %rcx` before.
fn end_of_likely_call(code: &[u8]) -> Option<usize> {
    const ARGUMENT: &[u8] = &[0x48, 0x63, 0xf0];
    const AFTER: [&[u8]; 2] = [&[0x84, 0xc0], &[0x48, 0x8b, 0x4c, 0x24, 0x58]];
    let argument = code.windows(ARGUMENT.len()).position(|bytes| bytes == ARGUMENT)?;
    (argument + ARGUMENT.len()..code.len().saturating_sub(5)).find_map(|at| {
        let (call, after) = code[at..].split_at(5);
        (call[0] == 0xe8 && AFTER.iter().any(|it| after.starts_with(it))).then_some(at + 5)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_an_address_is_told_apart() {
        let entries = vec![(Door::Syscall64, 10), (Door::Int80, 20)];
        let mut doors = Doors { entries, behind: Some(30), paused: false };
        assert_eq!(doors.at(10), Some(Place::Entry(Door::Syscall64)));
        assert_eq!(doors.at(20), Some(Place::Entry(Door::Int80)));
        assert_eq!((doors.at(30), doors.at(11)), (Some(Place::Results), None));
        let order = [
            Some(Place::Entry(Door::Syscall64)),
            Some(Place::Results),
            Some(Place::Entry(Door::Int80)),
            None,
        ];
        assert_eq!([0, 1, 2, 3].map(|index| doors.place(index)), order);
        let addresses = |doors: &Doors| doors.breakpoints().iter().map(|one| one.address).collect::<Vec<_>>();
        assert_eq!(addresses(&doors), [10, 30, 20]);
        assert!(doors.pause_results(true) && !doors.pause_results(true));
        assert_eq!((addresses(&doors), doors.place(1)), (vec![10, 20], Some(Place::Entry(Door::Int80))));
        assert!(doors.see_results() && doors.pause_results(false));
        assert_eq!(addresses(&doors), [10, 30, 20]);
    }

    #[test]
    fn the_call_is_found_with_and_without_its_address() {
        // As 6.12 has it: movslq %eax, %rsi; five nops; call; test %al, %al.
        let mut code = vec![0x90; 64];
        code.extend([0x48, 0x63, 0xf0, 0x90, 0x90, 0x90, 0x90, 0x90, 0xe8, 0x00, 0x10, 0, 0, 0x84, 0xc0]);
        code.extend([0x90; 32]);
        assert_eq!(end_of_call(&code, 0x4000, 0x4000 + 77 + 0x1000), Some(77));
        assert_eq!(end_of_call(&code, 0x4000, 0x4000), None);
        assert_eq!(end_of_likely_call(&code), Some(77));
        // As 6.1 has it.
        code.splice(77..79, [0x48, 0x8b, 0x4c, 0x24, 0x58]);
        assert_eq!(end_of_likely_call(&code), Some(77));
        code[77] = 0x90;
        assert_eq!(end_of_likely_call(&code), None, "something else follows");
        assert_eq!(end_of_likely_call(&[0x48, 0x63, 0xf0, 0xe8]), None, "cut off");
        assert_eq!(end_of_likely_call(&[]), None);
    }
}
