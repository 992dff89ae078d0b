//! The registers that decide where system calls enter the kernel, on one vCPU: what the guest writes to them, and what they hold all the
//! same.

use crate::wire::{EntryWrite, Tampering};
use machine::{
    Processor, Result,
    x86::{EFER, EFER_BITS, LONG_MODE_ENABLE, SYSCALL_ENABLE},
};
use std::collections::BTreeMap;
use trap::{ENTRY_MSRS, entry_name};

/// What they hold, as far as it is known.
#[derive(Default)]
pub(super) struct Entries(BTreeMap<u32, u64>);

/// What came of a write.
pub(super) enum Written {
    /// The register takes no such value.
    Refused,
    /// It holds what it held.
    Stays,
    /// An entry leads elsewhere now, or nowhere.
    Moved(EntryWrite),
}

impl Entries {
    /// As they are, from the moment on in which each write comes here.
    pub fn of(vcpu: &dyn Processor) -> Result<Self> {
        Ok(Self(ENTRY_MSRS.into_iter().map(|msr| Ok((msr, vcpu.msr(msr)?))).collect::<Result<_>>()?))
    }

    /// Does what vCPU number `index` wanted. A processor that comes up sets its registers for the first time, or to what they were. Some
    /// registers hold fewer bits than are written, and that depends on whether KVM or the processor did the write: it is the same
    /// either way.
    pub fn write(&mut self, index: u8, vcpu: &mut dyn Processor, msr: u32, value: u64) -> Result<Written> {
        let (from, rip) = (vcpu.msr(msr)?, vcpu.registers()?.rip);
        let refused = msr == EFER && !takes(from, value, vcpu.controls()?.paging());
        if refused || !vcpu.set_msr(msr, value)? {
            return Ok(Written::Refused);
        }
        let to = vcpu.msr(msr)?;
        self.0.insert(msr, to);
        // Without this bit no breakpoint sees what user space asks for. The others change with paging and with floating point.
        let gone = from & !to & SYSCALL_ENABLE != 0;
        let moved = if msr == EFER { gone } else { from != 0 && from != to && from != value };
        Ok(if moved {
            Written::Moved(EntryWrite { vcpu: index, msr, from, to, rip })
        } else {
            Written::Stays
        })
    }

    /// Those that hold something else than what was last written to them, whatever put it there. What resets a processor leaves zeros, which
    /// lead nowhere; EFER is among [`machine::Controls`].
    pub fn strays(&mut self, index: u8, vcpu: &dyn Processor) -> Vec<Tampering> {
        let stray = |msr| {
            let to = vcpu.msr(msr).ok()?;
            let from = self.0.insert(msr, to)?;
            let name = entry_name(msr)?.to_owned();
            (from != 0 && to != 0 && from != to).then_some(Tampering::Register {
                vcpu: index,
                name,
                from,
                to,
            })
        };
        ENTRY_MSRS.into_iter().filter(|msr| *msr != EFER).filter_map(stray).collect()
    }
}

/// Whether EFER takes a value, as hardware has it. KVM looks at less where it is not the guest that it does a write for (`set_efer` of
/// arch/x86/kvm/x86.c): not whether the guest's processor has a bit, nor at paging.
fn takes(from: u64, value: u64, paging: bool) -> bool {
    value & !EFER_BITS == 0 && (!paging || (from ^ value) & LONG_MODE_ENABLE == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn efer_takes_what_the_guests_processor_has() {
        const LINUX: u64 = 0xd01;
        let bit = |bit: u32| LINUX ^ 1 << bit;
        for allowed in [LINUX, bit(0), bit(11), bit(13), bit(14), bit(15), bit(21)] {
            assert!(takes(LINUX, allowed, true), "{allowed:#x}");
        }
        // SVME, and what is no bit.
        for refused in [bit(12), bit(1), bit(9), bit(16), bit(63)] {
            assert!(!takes(LINUX, refused, true) && !takes(LINUX, refused, false), "{refused:#x}");
        }
        // Long mode is switched on before paging, and off after it.
        assert!(!takes(LINUX, bit(8), true) && takes(0, 1 << 8, false) && takes(LINUX, bit(8), false));
    }
}
