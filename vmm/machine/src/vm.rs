//! The virtual machine as KVM knows it.

use crate::{Error, InterruptLine, Memory, Result, Vcpu, cpuid, error::Named, layout};
use kvm_bindings::{
    KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_CAP_X86_USER_SPACE_MSR, KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY,
    KVM_MSR_EXIT_REASON_FILTER, KVM_PIT_SPEAKER_DUMMY, kvm_clock_data, kvm_enable_cap, kvm_pit_config,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, Kvm, MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VcpuFd, VmFd};
use std::{
    collections::BTreeMap,
    hash::Hasher,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use twox_hash::XxHash64;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

/// What of a machine depends on nothing that is asked of it: interrupt controllers, timer and first vCPU. KVM waits while it
/// makes them, for readers of its lists (RCU), by up to some 20 ms: time for something else.
pub struct Blank {
    kvm: Kvm,
    fd: VmFd,
    first: Option<VcpuFd>,
}

impl Blank {
    /// Opens KVM and makes a machine with KVM's own PIC, IOAPIC, local APICs and PIT.
    pub fn new() -> Result<Self> {
        let mut blank = Self::bare()?;
        let fd = &blank.fd;
        fd.set_identity_map_address(layout::KVM_IDENTITY_MAP).named("KVM_SET_IDENTITY_MAP_ADDR")?;
        fd.set_tss_address(layout::KVM_TSS).named("KVM_SET_TSS_ADDR")?;
        fd.create_irq_chip().named("KVM_CREATE_IRQCHIP")?;
        // With the dummy speaker KVM answers port 0x61, which the kernel reads to calibrate its timers.
        let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        fd.create_pit2(pit).named("KVM_CREATE_PIT2")?;
        blank.first = Some(fd.create_vcpu(0).named("KVM_CREATE_VCPU")?);
        Ok(blank)
    }

    fn bare() -> Result<Self> {
        let kvm = Kvm::new().map_err(Error::Open)?;
        let fd = kvm.create_vm().named("KVM_CREATE_VM")?;
        for (capability, name) in [
            (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
            (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
            (Cap::SyncRegs, "KVM_CAP_SYNC_REGS"),
            (Cap::SetGuestDebug, "KVM_CAP_SET_GUEST_DEBUG"),
            (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
            (Cap::ReadonlyMem, "KVM_CAP_READONLY_MEM"),
            (Cap::X86UserSpaceMsr, "KVM_CAP_X86_USER_SPACE_MSR"),
            (Cap::X86MsrFilter, "KVM_CAP_X86_MSR_FILTER"),
        ] {
            if !kvm.check_extension(capability) {
                return Err(Error::Missing(name));
            }
        }
        Ok(Self { kvm, fd, first: None })
    }
}

/// A virtual machine: memory, interrupt controllers and timer in the kernel, and room for vCPUs, each of which keeps it
/// alive.
pub struct Vm {
    kvm: Kvm,
    pub(crate) fd: VmFd,
    /// With interrupt controllers and timer.
    chips: bool,
    /// Of each memory slot that the guest can write to.
    flags: u32,
    slots: Mutex<Slots>,
    /// The first vCPU, which is made already.
    first: Mutex<Option<VcpuFd>>,
    /// How far the time stamp counters are from the processor's, once the first vCPU was put back.
    pub(crate) tsc_common: Mutex<Option<u64>>,
    /// Outlives the fd's memory slots: KVM accesses it by address.
    memory: Memory,
}

impl Vm {
    /// Gives a machine this memory. Its clock begins here.
    pub fn new(blank: Blank, memory: Memory) -> Result<Self> {
        let vm = Self::with_memory(blank, memory, 0)?;
        // A KVM that can't has let it begin a little earlier, with the machine.
        let _ = vm.fd.set_clock(&kvm_clock_data::default());
        Ok(vm)
    }

    /// The same, and KVM keeps a log of the pages that the guest writes to. What the clock says is a part of its state.
    pub fn logged(blank: Blank, memory: Memory) -> Result<Self> {
        Self::with_memory(blank, memory, KVM_MEM_LOG_DIRTY_PAGES)
    }

    /// A machine without interrupt controllers, where HLT ends KVM_RUN: enough for the probe.
    pub(crate) fn bare(memory: Memory) -> Result<Self> {
        Self::with_memory(Blank::bare()?, memory, 0)
    }

    fn with_memory(blank: Blank, memory: Memory, flags: u32) -> Result<Self> {
        let Blank { kvm, fd, first } = blank;
        if flags & KVM_MEM_LOG_DIRTY_PAGES != 0 {
            // Looking at the log does not clear it then, and no page is protected anew: who writes to it again takes no
            // further fault, and is in the log all the same. A KVM that can't clears it, which is as right and slower.
            const MANUAL_PROTECT: u64 = 1;
            let mut manual = kvm_enable_cap { cap: KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, ..Default::default() };
            manual.args[0] = MANUAL_PROTECT;
            let _ = fd.enable_cap(&manual);
        }
        let (chips, slots) = (first.is_some(), Mutex::default());
        let vm = Self {
            kvm,
            fd,
            chips,
            flags,
            slots,
            first: Mutex::new(first),
            tsc_common: Mutex::default(),
            memory,
        };
        vm.slots()
            .divide(&vm.regions(), &[], &mut |slot, part, is_protected| vm.slot(slot, part, is_protected))?;
        Ok(vm)
    }

    /// From now on the guest can read and execute these pages, and what it writes there is not done but ends the run, as a
    /// write to a device does. Addresses are physical, and begin and end at pages. No vCPU may run meanwhile: for a
    /// moment there is no memory at all.
    ///
    /// # Errors
    /// Nothing is protected then. With [`Error::MemoryLost`] there is not even memory, and no vCPU may run any more.
    pub fn protect(&self, pages: &[Range<u64>]) -> Result<()> {
        let mut slots = self.slots();
        if slots.protected == pages {
            return Ok(());
        }
        // The log goes with the slots.
        self.read_logs(&mut slots)?;
        slots.protect(&self.regions(), pages, &mut |slot, part, is_protected| {
            self.slot(slot, part, is_protected)
        })
    }

    fn regions(&self) -> Vec<Range<u64>> {
        self.memory.iter().map(|region| region.start_addr().0..region.start_addr().0 + region.len()).collect()
    }

    /// The guest's pages, by their physical addresses, that it has written to: at least those since the last time, and at
    /// the most all since the beginning. What is protected from it is not among them.
    pub(crate) fn written(&self) -> Result<Vec<u64>> {
        let mut slots = self.slots();
        self.read_logs(&mut slots)?;
        let written = slots.written.iter().flat_map(|(word, bits)| {
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| (word * 64 + bit) * PAGE)
        });
        Ok(written.collect())
    }

    /// Adds what the slots' logs say to what is known.
    fn read_logs(&self, slots: &mut Slots) -> Result<()> {
        if self.flags & KVM_MEM_LOG_DIRTY_PAGES == 0 {
            return Ok(());
        }
        let Slots { parts, protected, written } = slots;
        for (slot, part) in (0..).zip(&*parts) {
            if protected.iter().any(|range| range.contains(&part.start)) {
                continue;
            }
            let length = (part.end - part.start) as usize;
            let log = self.fd.get_dirty_log(slot, length).named("KVM_GET_DIRTY_LOG")?;
            // A part begins at any page: its words lie across those that are kept.
            let (first, shift) = (part.start / PAGE / 64, (part.start / PAGE % 64) as u32);
            for (word, bits) in (first..).zip(log).filter(|(_, bits)| *bits != 0) {
                *written.entry(word).or_default() |= bits << shift;
                if let Some(above) = bits.checked_shr(64 - shift).filter(|above| *above != 0) {
                    *written.entry(word + 1).or_default() |= above;
                }
            }
        }
        Ok(())
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, slot: u32, part: &Range<u64>, is_protected: bool) -> Result<()> {
        let address = self
            .memory
            .get_host_address(GuestAddress(part.start))
            .map_err(|e| Error::Memory { mib: 0, why: e.to_string() })?;
        let region = kvm_userspace_memory_region {
            slot,
            flags: if is_protected { KVM_MEM_READONLY } else { self.flags },
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

    /// What a saved state depends on: this processor and this KVM, by what they say of themselves.
    pub fn identity(&self) -> Result<u64> {
        let mut sum = XxHash64::default();
        for entry in cpuid::for_vcpu(&self.kvm, 0, 1)?.as_slice().iter().filter(|it| cpuid::is_all_cores(it))
        {
            for word in [entry.function, entry.index, entry.eax, entry.ebx, entry.ecx, entry.edx] {
                sum.write_u32(word);
            }
        }
        self.msr_list()?.into_iter().for_each(|msr| sum.write_u32(msr));
        let system =
            nix::sys::utsname::uname().map_err(|e| kvm_ioctls::Error::new(e as i32)).named("uname")?;
        [system.release(), system.version()].iter().for_each(|text| sum.write(text.as_encoded_bytes()));
        Ok(sum.finish())
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
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take_if(|_| index == 0);
        let fd = match first {
            Some(fd) => fd,
            None => self.fd.create_vcpu(u64::from(index)).named("KVM_CREATE_VCPU")?,
        };
        let mut cpuid = cpuid::for_vcpu(&self.kvm, index, count)?;
        // Who can't be asked says nothing of it.
        if let Ok(khz) = fd.get_tsc_khz() {
            cpuid::tell_tsc_khz(&mut cpuid, khz);
        }
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
    ///
    /// # Errors
    /// Without interrupt controllers.
    pub fn interrupt_line(self: &Arc<Self>, gsi: u32) -> Result<InterruptLine> {
        match self.chips {
            true => Ok(InterruptLine::new(self.clone(), gsi)),
            false => Err(Error::Missing("interrupt controllers")),
        }
    }
}

/// How the guest's memory is divided.
#[derive(Default)]
struct Slots {
    /// Physical addresses, one part a slot, in the order of slots.
    parts: Vec<Range<u64>>,
    protected: Vec<Range<u64>>,
    /// What the guest has written to, as far as the logs were read: bits of pages, by the number of a word of them.
    written: BTreeMap<u64, u64>,
}

/// What gives a slot a part of memory, protected or not. One without size is none.
type SetSlot<'s> = &'s mut dyn FnMut(u32, &Range<u64>, bool) -> Result<()>;

impl Slots {
    /// Divides memory so that these pages are protected. If that fails none is: no guest goes on without its memory.
    fn protect(&mut self, regions: &[Range<u64>], pages: &[Range<u64>], set: SetSlot) -> Result<()> {
        self.divide(regions, pages, set).map_err(|refused| match self.divide(regions, &[], set) {
            Ok(()) => refused,
            Err(_) => Error::MemoryLost(refused.into()),
        })
    }

    /// Takes away what slots there are, and gives the guest its memory, in parts of which some are protected. Whatever fails,
    /// the slots that there are then are known.
    fn divide(&mut self, regions: &[Range<u64>], pages: &[Range<u64>], set: SetSlot) -> Result<()> {
        while let Some(part) = self.parts.last() {
            set(self.parts.len() as u32 - 1, &(part.start..part.start), false)?;
            self.parts.pop();
        }
        self.protected = pages.to_vec();
        for (part, is_protected) in regions.iter().flat_map(|region| split(region.clone(), pages)) {
            set(self.parts.len() as u32, &part, is_protected)?;
            self.parts.push(part);
        }
        Ok(())
    }
}

const PAGE: u64 = 0x1000;

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
    use super::{Error, Range, Result, Slots, split};
    use std::collections::BTreeMap;

    /// KVM's slots, and how often it takes a change of them; then it refuses some.
    struct Kvm {
        slots: BTreeMap<u32, (Range<u64>, bool)>,
        takes: u32,
        refuses: u32,
    }

    impl Kvm {
        fn set(&mut self, slot: u32, part: &Range<u64>, is_protected: bool) -> Result<()> {
            let refused = || Err(Error::Missing("room"));
            match (self.takes, self.refuses) {
                (0, 0) => {}
                (0, _) => {
                    self.refuses -= 1;
                    return refused();
                }
                _ => self.takes -= 1,
            }
            // As KVM has it: none that is not there goes, none changes its place, and no two overlap.
            let overlaps = |(there, _): &(Range<u64>, bool)| there.start < part.end && part.start < there.end;
            let taken = match part.is_empty() {
                true => self.slots.remove(&slot).is_some(),
                false if self.slots.values().any(overlaps) => false,
                false => self.slots.insert(slot, (part.clone(), is_protected)).is_none(),
            };
            if taken { Ok(()) } else { refused() }
        }
    }

    #[test]
    fn a_guest_whose_memory_can_not_be_protected_has_it_all_the_same() {
        let (regions, pages) = ([0..0x4000, 0x10000..0x12000], [0x1000..0x2000, 0x11000..0x12000]);
        let whole = || BTreeMap::from([(0, (0..0x4000, false)), (1, (0x10000..0x12000, false))]);
        let protect = |takes, refuses| {
            let mut kvm = Kvm { slots: whole(), takes, refuses };
            let mut slots = Slots { parts: regions.to_vec(), ..Slots::default() };
            let done = slots.protect(&regions, &pages, &mut |slot, part, it| kvm.set(slot, part, it));
            (done, kvm.slots, slots)
        };
        // Two slots go, and five come.
        let (done, divided, slots) = protect(7, 1);
        assert!(done.is_ok() && divided.len() == 5 && divided[&1] == (0x1000..0x2000, true), "{divided:?}");
        assert_eq!(slots.protected, pages);
        for takes in 0..7 {
            let (done, left, slots) = protect(takes, 1);
            assert!(matches!(done, Err(Error::Missing("room"))), "{takes}: {done:?}");
            assert_eq!((left, slots.parts, slots.protected), (whole(), regions.to_vec(), vec![]), "{takes}");
            let (done, ..) = protect(takes, 2);
            assert!(matches!(done, Err(Error::MemoryLost(_))), "{takes}: {done:?}");
        }
    }

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
