//! The virtual machine as KVM knows it.

use crate::{Error, InterruptLine, Memory, Result, Vcpu, cpuid, error::Named, layout};
use kvm_bindings::{
    KVM_CAP_X86_USER_SPACE_MSR, KVM_MEM_READONLY, KVM_MSR_EXIT_REASON_FILTER, KVM_PIT_SPEAKER_DUMMY,
    kvm_enable_cap, kvm_pit_config, kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, Kvm, MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VmFd};
use std::{ops::Range, sync::Arc};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

/// A virtual machine: memory, interrupt controllers and timer in the kernel, and room for vCPUs, each of which keeps it
/// alive.
pub struct Vm {
    kvm: Kvm,
    pub(crate) fd: VmFd,
    /// With interrupt controllers and timer.
    chips: bool,
    /// Outlives the fd's memory slots: KVM accesses it by address.
    memory: Memory,
}

impl Vm {
    /// Opens KVM and makes a machine with this memory and KVM's own PIC, IOAPIC, local APICs and PIT.
    pub fn new(memory: Memory) -> Result<Self> {
        let mut vm = Self::bare(memory)?;
        vm.fd.set_identity_map_address(layout::KVM_IDENTITY_MAP).named("KVM_SET_IDENTITY_MAP_ADDR")?;
        vm.fd.set_tss_address(layout::KVM_TSS).named("KVM_SET_TSS_ADDR")?;
        vm.fd.create_irq_chip().named("KVM_CREATE_IRQCHIP")?;
        // With the dummy speaker KVM answers port 0x61, which the kernel reads to calibrate its timers.
        let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        vm.fd.create_pit2(pit).named("KVM_CREATE_PIT2")?;
        vm.chips = true;
        Ok(vm)
    }

    /// A machine without interrupt controllers, where HLT ends KVM_RUN: enough for the probe.
    pub(crate) fn bare(memory: Memory) -> Result<Self> {
        let kvm = Kvm::new().map_err(Error::Open)?;
        let fd = kvm.create_vm().named("KVM_CREATE_VM")?;
        for (capability, name) in [
            (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
            (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
            (Cap::Irqfd, "KVM_CAP_IRQFD"),
            (Cap::SyncRegs, "KVM_CAP_SYNC_REGS"),
            (Cap::SetGuestDebug, "KVM_CAP_SET_GUEST_DEBUG"),
            (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
        ] {
            if !kvm.check_extension(capability) {
                return Err(Error::Missing(name));
            }
        }
        let vm = Self { kvm, fd, chips: false, memory };
        for (slot, region) in (0..).zip(vm.memory.iter()) {
            let start = region.start_addr().0;
            vm.slot(slot, &(start..start + region.len()), 0)?;
        }
        Ok(vm)
    }

    /// From now on the guest can read and execute these pages, and what it writes there is not done but ends the run, as a
    /// write to a device does. Addresses are physical, and begin and end at pages. No vCPU may run meanwhile: for a
    /// moment there is no memory at all.
    pub fn protect(&self, pages: &[Range<u64>]) -> Result<()> {
        if !self.kvm.check_extension(Cap::ReadonlyMem) {
            return Err(Error::Missing("KVM_CAP_READONLY_MEM"));
        }
        let regions =
            || self.memory.iter().map(|region| region.start_addr().0..region.start_addr().0 + region.len());
        for (slot, region) in (0..).zip(regions()) {
            // One without size is none.
            self.slot(slot, &(region.start..region.start), 0)?;
        }
        let parts = regions().flat_map(|region| split(region, pages));
        for (slot, (part, protected)) in (0..).zip(parts) {
            self.slot(slot, &part, if protected { KVM_MEM_READONLY } else { 0 })?;
        }
        Ok(())
    }

    fn slot(&self, slot: u32, part: &Range<u64>, flags: u32) -> Result<()> {
        let address = self
            .memory
            .get_host_address(GuestAddress(part.start))
            .map_err(|e| Error::Memory { mib: 0, why: e.to_string() })?;
        let region = kvm_userspace_memory_region {
            slot,
            flags,
            guest_phys_addr: part.start,
            memory_size: part.end - part.start,
            userspace_addr: address as u64,
        };
        // SAFETY: the part lies in a region that is mapped, at this address, for as long as `memory` lives, which this
        // struct keeps; slots don't overlap, as regions don't, nor parts of one.
        unsafe { self.fd.set_user_memory_region(region) }.named("KVM_SET_USER_MEMORY_REGION")
    }

    /// The guest's memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn has(&self, capability: Cap) -> bool {
        self.kvm.check_extension(capability)
    }

    pub(crate) fn has_chips(&self) -> bool {
        self.chips
    }

    /// The model-specific registers that are a part of a vCPU's state.
    pub(crate) fn msr_list(&self) -> Result<Vec<u32>> {
        Ok(self.kvm.get_msr_index_list().named("KVM_GET_MSR_INDEX_LIST")?.as_slice().to_vec())
    }

    /// Makes vCPU number `index` of `count`. The first one starts; the others wait for the kernel to
    /// wake them (INIT and SIPI, which KVM does).
    pub fn vcpu(self: &Arc<Self>, index: u8, count: u8) -> Result<Vcpu> {
        let fd = self.fd.create_vcpu(u64::from(index)).named("KVM_CREATE_VCPU")?;
        let cpuid = cpuid::for_vcpu(&self.kvm, index, count)?;
        fd.set_cpuid2(&cpuid).named("KVM_SET_CPUID2")?;
        Vcpu::new(fd, self.clone(), cpuid::is_intel(&cpuid))
    }

    /// From now on a guest that writes to one of these MSRs ends the run with [`crate::Exit::WriteMsr`], and
    /// the write is not done. Reads are not affected.
    pub fn watch_msr_writes(&self, msrs: &[u32]) -> Result<()> {
        let mut exits = kvm_enable_cap { cap: KVM_CAP_X86_USER_SPACE_MSR, ..Default::default() };
        exits.args[0] = u64::from(KVM_MSR_EXIT_REASON_FILTER);
        self.fd.enable_cap(&exits).named("KVM_CAP_X86_USER_SPACE_MSR")?;
        // A bit that is clear denies; each range here is one MSR.
        let range = |base: &u32| MsrFilterRange {
            flags: MsrFilterRangeFlags::WRITE,
            base: *base,
            msr_count: 1,
            bitmap: &[0],
        };
        let ranges: Vec<_> = msrs.iter().map(range).collect();
        self.fd.set_msr_filter(MsrFilterDefaultAction::ALLOW, &ranges).named("KVM_X86_SET_MSR_FILTER")
    }

    /// An interrupt line to the given input of the interrupt controllers.
    pub fn interrupt_line(&self, gsi: u32) -> Result<InterruptLine> {
        InterruptLine::new(&self.fd, gsi)
    }
}

/// A region in parts, each with whether it is among the pages.
fn split(region: Range<u64>, pages: &[Range<u64>]) -> Vec<(Range<u64>, bool)> {
    let mut parts = Vec::new();
    let mut at = region.start;
    for page in pages {
        let page = page.start.max(at)..page.end.min(region.end);
        if page.is_empty() {
            continue;
        }
        parts.push((at..page.start, false));
        at = page.end;
        parts.push((page, true));
    }
    parts.push((at..region.end, false));
    parts.retain(|(part, _)| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_region_is_split_where_pages_begin_and_end() {
        let pages = [0x1000..0x3000, 0x3000..0x4000, 0x8000..0x9000];
        assert_eq!(
            split(0..0x6000, &pages),
            [(0..0x1000, false), (0x1000..0x3000, true), (0x3000..0x4000, true), (0x4000..0x6000, false)]
        );
        assert_eq!(split(0x2000..0x3000, &pages), [(0x2000..0x3000, true)]);
        assert_eq!(split(0x8800..0xa000, &pages), [(0x8800..0x9000, true), (0x9000..0xa000, false)]);
        assert_eq!(split(0x6000..0x7000, &pages), [(0x6000..0x7000, false)]);
    }
}
