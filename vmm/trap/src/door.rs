//! The ways into the kernel: where each of them begins.

use machine::{AddressSpace, GuestVirtualAddress, Vcpu};

/// An entry point for system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Door {
    /// `syscall` from 64-bit code.
    Syscall64,
    /// `syscall` from 32-bit code: AMD's processors.
    Syscall32,
    /// `sysenter` from 32-bit code: Intel's.
    Sysenter,
    /// `int $0x80`, from any code; counts by the 32-bit table.
    Int80,
}

/// MSR_LSTAR (AMD64 architecture, volume 2, section 6.1.1).
pub(crate) const LSTAR: u32 = 0xc000_0082;
/// MSR_CSTAR (the same section).
const CSTAR: u32 = 0xc000_0083;
/// MSR_IA32_SYSENTER_EIP (Intel SDM volume 4, table 2-2).
const SYSENTER_EIP: u32 = 0x176;
/// Everything that decides where an entry leads, and with which interrupt flag: MSR_STAR, LSTAR, CSTAR,
/// FMASK and the three of SYSENTER.
pub const ENTRY_MSRS: [u32; 7] = [0xc000_0081, LSTAR, CSTAR, 0xc000_0084, 0x174, 0x175, SYSENTER_EIP];

/// Where the kernel is entered, and where the 64-bit entry code has its result. Four addresses at the most,
/// as there are four breakpoint registers: of `syscall` and `sysenter` from 32-bit code no processor has
/// both in 64-bit mode.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Doors {
    entries: Vec<(Door, u64)>,
    /// Behind the call of `do_syscall_64`, where it was found.
    behind: Option<u64>,
}

/// What is at an address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    Entry(Door),
    Behind,
}

impl Doors {
    /// Looks where the doors of this vCPU are. `None` when the kernel has set none yet.
    pub fn find(
        vcpu: &Vcpu,
        space: &AddressSpace,
        do_syscall_64: Option<u64>,
    ) -> machine::Result<Option<Self>> {
        let lstar = vcpu.msr(LSTAR)?;
        if lstar == 0 {
            return Ok(None);
        }
        let compat = if vcpu.is_intel() { (Door::Sysenter, SYSENTER_EIP) } else { (Door::Syscall32, CSTAR) };
        let candidates = [
            (Door::Syscall64, Some(lstar)),
            (compat.0, Some(vcpu.msr(compat.1)?)),
            (Door::Int80, vcpu.user_gate(space, 0x80)?),
        ];
        let entries = candidates.into_iter().filter_map(|(door, at)| Some((door, at.filter(|at| *at != 0)?)));
        let behind = do_syscall_64.and_then(|function| behind_call(space, lstar, function));
        Ok(Some(Self { entries: entries.collect(), behind }))
    }

    /// With another's place for results, if this has none.
    pub fn or_behind(self, other: &Self) -> Self {
        Self { behind: self.behind.or(other.behind), ..self }
    }

    pub fn addresses(&self) -> Vec<u64> {
        self.entries.iter().map(|(_, at)| *at).chain(self.behind).collect()
    }

    pub fn at(&self, address: u64) -> Option<Place> {
        if Some(address) == self.behind {
            return Some(Place::Behind);
        }
        self.entries.iter().find(|(_, at)| *at == address).map(|(door, _)| Place::Entry(*door))
    }
}

/// Finds `call function` (E8 and a relative address) in the code from `entry` on, and returns the address
/// behind it. The entry code of all kernels so far makes this call within its first 200 bytes.
fn behind_call(space: &AddressSpace, entry: u64, function: u64) -> Option<u64> {
    const SPAN: usize = 512;
    let mut code = [0; SPAN];
    space.read(GuestVirtualAddress(entry), &mut code)?;
    code.windows(5).enumerate().find_map(|(at, bytes)| {
        let distance = i32::from_le_bytes(bytes[1..].try_into().expect("four bytes"));
        let behind = entry.wrapping_add(at as u64 + 5);
        (bytes[0] == 0xe8 && behind.wrapping_add_signed(distance.into()) == function).then_some(behind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_an_address_is_told_apart() {
        let doors = Doors { entries: vec![(Door::Syscall64, 10), (Door::Int80, 20)], behind: Some(30) };
        assert_eq!(doors.at(10), Some(Place::Entry(Door::Syscall64)));
        assert_eq!(doors.at(20), Some(Place::Entry(Door::Int80)));
        assert_eq!((doors.at(30), doors.at(11)), (Some(Place::Behind), None));
        assert_eq!(doors.addresses(), [10, 20, 30]);
    }
}
