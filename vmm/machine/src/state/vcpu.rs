//! The state of one vCPU.

use super::{same, tsc};
use crate::{Error, Registers, Result, Vm, error::Named};
use kvm_bindings::{
    Msrs, kvm_debugregs, kvm_fpu, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_segment, kvm_sregs,
    kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Cap, VcpuFd};
use serde::{Deserialize, Serialize};

/// Everything that a vCPU consists of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VcpuState {
    registers: Registers,
    system: kvm_sregs,
    /// The oldest part of the floating point state, where there is no XSAVE.
    pub(super) fpu: Fpu,
    /// The classic 4096 bytes of the XSAVE area.
    pub(super) xsave: Option<Vec<u32>>,
    xcrs: Option<kvm_xcrs>,
    /// All that KVM lists, the time stamp counter among them.
    msrs: Vec<kvm_msr_entry>,
    lapic: Option<Box<kvm_lapic_state>>,
    events: kvm_vcpu_events,
    mp: kvm_mp_state,
    pub(super) debug: kvm_debugregs,
}

impl VcpuState {
    /// The general registers.
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// A model-specific register, if KVM lists it.
    pub fn msr(&self, index: u32) -> Option<u64> {
        self.msrs.iter().find(|msr| msr.index == index).map(|msr| msr.data)
    }

    /// The parts that are others in `now`, which was taken after this was taken back and nothing has run since. Time
    /// goes on all the same: counters that count it are left out.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let other = |msr: &&kvm_msr_entry| {
            let now = now.msr(msr.index);
            // On AMD's processors the guest can write 64 bits there, and KVM 32; more has no effect (AMD64 architecture,
            // volume 2, section 6.1.2: SYSENTER is there in legacy mode only).
            let narrow = SYSENTER.contains(&msr.index) && now == Some(msr.data & 0xffff_ffff);
            !COUNTS_TIME.contains(&msr.index) && now != Some(msr.data) && !narrow
        };
        let msr = |msr: &kvm_msr_entry| {
            let now = now.msr(msr.index).map_or("none".to_owned(), |now| format!("{now:#x}"));
            format!("MSR {:#x} ({:#x}, now {now})", msr.index, msr.data)
        };
        let msrs = self.msrs.iter().filter(other).map(msr);
        let parts = [
            ("the general registers", same(&self.registers, &now.registers)),
            ("the system registers", same(&in_use(&self.system), &in_use(&now.system))),
            ("the floating point state", same(&(&self.fpu, &self.xsave), &(&now.fpu, &now.xsave))),
            ("the extended control registers", same(&self.xcrs, &now.xcrs)),
            ("the pending events", same(&self.events, &now.events)),
            ("the run state", same(&self.mp, &now.mp)),
            ("the debug registers", same(&self.debug, &now.debug)),
        ];
        let parts = parts.into_iter().filter(|(_, same)| !same).map(|(name, _)| name.to_owned());
        parts.chain(msrs).chain(self.lapic_differences(now)).collect()
    }

    /// The registers of the local APIC that are others, by their offsets.
    fn lapic_differences(&self, now: &Self) -> Vec<String> {
        let registers = |state: &Self| state.lapic.as_deref().map(lasting);
        let (then, now) = match (registers(self), registers(now)) {
            (Some(then), Some(now)) => (then, now),
            (None, None) => return Vec::new(),
            _ => return vec!["the local APIC".to_owned()],
        };
        // Each has 32 bits, at a multiple of 16 bytes (Intel SDM volume 3, table 11-1).
        let pairs = then.chunks(16).zip(now.chunks(16)).enumerate().filter(|(_, (then, now))| then != now);
        let value = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        pairs
            .map(|(index, (then, now))| {
                let (at, then, now) = (index * 16, value(then), value(now));
                format!("the local APIC's register {at:#x} ({then:#x}, now {now:#x})")
            })
            .collect()
    }
}

/// System registers without what means nothing: of a segment that can't be used an Intel processor tells but its selector and its base,
/// the rest is undefined (Intel SDM volume 3, "Saving Segment Registers and Descriptor-Table Registers").
fn in_use(registers: &kvm_sregs) -> kvm_sregs {
    let segment = |segment: kvm_segment| match segment {
        kvm_segment { unusable: 0, .. } => segment,
        kvm_segment { base, selector, unusable, .. } => {
            kvm_segment { base, selector, unusable, ..Default::default() }
        }
    };
    let kvm_sregs { cs, ds, es, fs, gs, ss, tr, ldt, .. } = *registers;
    let [cs, ds, es, fs, gs, ss, tr, ldt] = [cs, ds, es, fs, gs, ss, tr, ldt].map(segment);
    kvm_sregs { cs, ds, es, fs, gs, ss, tr, ldt, ..*registers }
}

/// The registers of a local APIC but for how far its timer is (Intel SDM volume 3, table 11-1): what is left of its time, and, once
/// that is over, its interrupt among those that are requested. The processor's priority is not kept but computed, of those that are in
/// service and the task's (section 11.8.3.1). KVM does so whenever it matters; what it has in that register after KVM_SET_LAPIC is of those
/// that were in service before.
fn lasting(lapic: &kvm_lapic_state) -> [u8; 1024] {
    const PROCESSOR_PRIORITY: usize = 0xa0;
    const LVT_TIMER: usize = 0x320;
    const REQUESTED: usize = 0x200;
    const CURRENT_COUNT: usize = 0x390;
    let mut registers = lapic.regs.map(i8::cast_unsigned);
    for computed in [CURRENT_COUNT, PROCESSOR_PRIORITY] {
        registers[computed..computed + 4].fill(0);
    }
    let vector = usize::from(registers[LVT_TIMER]);
    registers[REQUESTED + vector / 32 * 16 + vector % 32 / 8] &= !(1 << (vector % 8));
    registers
}

/// MSR_IA32_SYSENTER_ESP and MSR_IA32_SYSENTER_EIP.
const SYSENTER: [u32; 2] = [0x175, 0x176];

/// The time stamp counter, when it is due to interrupt, and two of Hyper-V's that KVM has in every vCPU: how long it ran
/// (HV_X64_MSR_VP_RUNTIME), and since when the machine is there (HV_X64_MSR_TIME_REF_COUNT).
const COUNTS_TIME: [u32; 4] = [0x10, TSC_DEADLINE, 0x4000_0010, 0x4000_0020];

/// `struct kvm_fpu` (KVM API, section 4.17), which has no serialization of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fpu {
    fpr: [[u8; 16]; 8],
    fcw: u16,
    fsw: u16,
    ftwx: u8,
    last_opcode: u16,
    last_ip: u64,
    last_dp: u64,
    pub(super) xmm: [[u8; 16]; 16],
    mxcsr: u32,
}

impl From<kvm_fpu> for Fpu {
    fn from(fpu: kvm_fpu) -> Self {
        let kvm_fpu { fpr, fcw, fsw, ftwx, last_opcode, last_ip, last_dp, xmm, mxcsr, .. } = fpu;
        Self { fpr, fcw, fsw, ftwx, last_opcode, last_ip, last_dp, xmm, mxcsr }
    }
}

impl From<Fpu> for kvm_fpu {
    fn from(fpu: Fpu) -> Self {
        let Fpu { fpr, fcw, fsw, ftwx, last_opcode, last_ip, last_dp, xmm, mxcsr } = fpu;
        Self { fpr, fcw, fsw, ftwx, last_opcode, last_ip, last_dp, xmm, mxcsr, ..Default::default() }
    }
}

/// MSR_IA32_TSC_DEADLINE: when the local APIC's timer is due, by the time stamp counter (Intel SDM volume 3, section
/// 11.5.4.1). Written before that counter is, it would be due at another time.
const TSC_DEADLINE: u32 = 0x6e0;

pub(crate) fn save(fd: &VcpuFd, vm: &Vm, registers: Registers) -> Result<VcpuState> {
    // Asking for it lets KVM do what a pending INIT or SIPI would, so it comes first.
    let mp = fd.get_mp_state().named("KVM_GET_MP_STATE")?;
    // What KVM has asked of no process in particular: its components beyond the classic 4096 bytes have to be requested
    // by arch_prctl, which nobody here does.
    let xsave = vm.has(Cap::Xsave).then(|| fd.get_xsave().named("KVM_GET_XSAVE")).transpose()?;
    let xcrs = vm.has(Cap::Xcrs).then(|| fd.get_xcrs().named("KVM_GET_XCRS")).transpose()?;
    Ok(VcpuState {
        registers,
        system: fd.get_sregs().named("KVM_GET_SREGS")?,
        fpu: fd.get_fpu().named("KVM_GET_FPU")?.into(),
        xsave: xsave.map(|xsave| xsave.region.to_vec()),
        xcrs,
        msrs: read_msrs(fd, &vm.msr_list()?)?,
        lapic: vm.has_chips().then(|| fd.get_lapic().named("KVM_GET_LAPIC")).transpose()?.map(Box::new),
        events: fd.get_vcpu_events().named("KVM_GET_VCPU_EVENTS")?,
        mp,
        debug: fd.get_debug_regs().named("KVM_GET_DEBUGREGS")?,
    })
}

/// Those that can be read: KVM lists some that this vCPU does not have.
fn read_msrs(fd: &VcpuFd, list: &[u32]) -> Result<Vec<kvm_msr_entry>> {
    let mut found = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        let wanted: Vec<_> =
            rest.iter().map(|&index| kvm_msr_entry { index, ..Default::default() }).collect();
        let mut msrs = Msrs::from_entries(&wanted).map_err(|_| Error::Missing("room for its MSRs"))?;
        // It stops at the first that it can't read.
        let read = fd.get_msrs(&mut msrs).named("KVM_GET_MSRS")?;
        found.extend_from_slice(&msrs.as_slice()[..read]);
        rest = rest.get(read + 1..).unwrap_or_default();
    }
    Ok(found)
}

pub(crate) fn restore(fd: &VcpuFd, vm: &Vm, state: &VcpuState) -> Result<()> {
    fd.set_mp_state(state.mp).named("KVM_SET_MP_STATE")?;
    fd.set_regs(&state.registers).named("KVM_SET_REGS")?;
    // The local APIC's base and mode are among these, so its registers come later.
    for system in [flushing(&state.system), state.system] {
        fd.set_sregs(&system).named("KVM_SET_SREGS")?;
    }
    match &state.xsave {
        Some(region) => {
            let mut xsave = kvm_xsave::default();
            let length = region.len().min(xsave.region.len());
            xsave.region[..length].copy_from_slice(&region[..length]);
            // SAFETY: KVM reads the classic 4096 bytes, and more only if the process asked for a component that needs them
            // (KVM API, section 4.43), which this one does not.
            unsafe { fd.set_xsave(&xsave) }.named("KVM_SET_XSAVE")?;
        }
        None => fd.set_fpu(&state.fpu.into()).named("KVM_SET_FPU")?,
    }
    if let Some(xcrs) = &state.xcrs {
        fd.set_xcrs(xcrs).named("KVM_SET_XCRS")?;
    }
    fd.set_debug_regs(&state.debug).named("KVM_SET_DEBUGREGS")?;
    if let Some(lapic) = &state.lapic {
        fd.set_lapic(lapic).named("KVM_SET_LAPIC")?;
    }
    let counter = state.msrs.iter().find(|msr| msr.index == tsc::TSC);
    counter.map_or(Ok(()), |msr| tsc::restore(fd, vm, msr.data))?;
    let others = state.msrs.iter().filter(|msr| msr.index != tsc::TSC);
    let (last, first): (Vec<_>, Vec<_>) = others.partition(|msr| msr.index == TSC_DEADLINE);
    write_msrs(fd, first)?;
    write_msrs(fd, last)?;
    fd.set_vcpu_events(&state.events).named("KVM_SET_VCPU_EVENTS")
}

/// Registers that are others, so that KVM forgets translations when it gets the real ones: it keeps what the processor remembers of page
/// tables where CR0, CR3, CR4 and EFER are as they were (`__set_sregs_common` of arch/x86/kvm/x86.c), and memory is another one now. All
/// 64-bit processors have this bit.
fn flushing(registers: &kvm_sregs) -> kvm_sregs {
    /// CR4.PGE (AMD64 architecture, volume 2, section 3.1.3).
    const GLOBAL_PAGES: u64 = 1 << 7;
    kvm_sregs { cr4: registers.cr4 ^ GLOBAL_PAGES, ..*registers }
}

/// Those that take what they held: some are read-only, and hold it anyway.
fn write_msrs(fd: &VcpuFd, msrs: Vec<&kvm_msr_entry>) -> Result<()> {
    let all: Vec<kvm_msr_entry> = msrs.into_iter().copied().collect();
    let mut rest = &all[..];
    while !rest.is_empty() {
        let msrs = Msrs::from_entries(rest).map_err(|_| Error::Missing("room for its MSRs"))?;
        let written = fd.set_msrs(&msrs).named("KVM_SET_MSRS")?;
        rest = rest.get(written + 1..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_the_real_registers_differs_in_what_makes_kvm_forget_translations() {
        for cr4 in [0, 0xa0, 0x20] {
            let real = kvm_sregs { cr0: 0x8005_0033, cr3: 0x1000, cr4, efer: 0xd01, ..Default::default() };
            let other = flushing(&real);
            assert_eq!(other.cr4 ^ cr4, 0x80);
            assert_eq!(kvm_sregs { cr4, ..other }, real);
        }
    }

    #[test]
    fn of_a_segment_that_can_not_be_used_only_selector_and_base_count() {
        let ds = kvm_segment { base: 1, limit: 2, selector: 3, type_: 3, unusable: 1, ..Default::default() };
        let of = |ds| in_use(&kvm_sregs { ds, ..Default::default() });
        let taken_back = kvm_segment { limit: 0, type_: 0, ..ds };
        assert_eq!(of(ds), of(taken_back));
        for other in [kvm_segment { base: 9, ..ds }, kvm_segment { selector: 9, ..ds }] {
            assert_ne!(of(ds), of(other));
        }
        let used = kvm_segment { unusable: 0, ..ds };
        assert_ne!(of(used), of(kvm_segment { type_: 0, ..used }));
        assert_ne!(of(used), of(ds));
    }

    #[test]
    fn of_a_local_apic_the_timer_and_what_is_computed_may_differ() {
        let mut saved = kvm_lapic_state { regs: [0; 1024] };
        // The timer's vector, as Linux has it: LOCAL_TIMER_VECTOR.
        saved.regs[0x320] = 0xecu8.cast_signed();
        let mut later = saved;
        later.regs[0x390] = 17;
        later.regs[0x200 + 7 * 16 + 1] = 1 << 4;
        later.regs[0xa0] = 0xe0u8.cast_signed();
        assert_eq!(lasting(&later), lasting(&saved));
        for (at, value) in
            [(0x200 + 7 * 16 + 1, 1 << 5), (0x200 + 6 * 16, 1), (0x100 + 7 * 16 + 1, 1 << 4), (0x80, 0x10)]
        {
            let mut other = later;
            other.regs[at] = value;
            assert_ne!(lasting(&other), lasting(&saved), "{at:#x}");
        }
    }
}
