//! What the guest's processor says of itself.

use crate::{Result, error::Named};
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, Kvm};

/// Whether the processor says that it is Intel's.
pub(crate) fn is_intel(cpuid: &CpuId) -> bool {
    // "GenuineIntel" in EBX, EDX, ECX.
    let vendor = cpuid.as_slice().iter().find(|entry| entry.function == 0);
    vendor.is_some_and(|entry| [entry.ebx, entry.edx, entry.ecx] == [0x756e_6547, 0x4965_6e69, 0x6c65_746e])
}

/// Everything that this KVM supports, made to fit one vCPU.
pub(crate) fn for_vcpu(kvm: &Kvm, index: u8, count: u8) -> Result<CpuId> {
    let mut cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).named("KVM_GET_SUPPORTED_CPUID")?;
    let tsc_deadline = kvm.check_extension(Cap::TscDeadlineTimer);
    for entry in cpuid.as_mut_slice() {
        match (entry.function, entry.index) {
            (1, _) => {
                // Initial APIC id, and how many logical processors the package has.
                entry.ebx = (entry.ebx & 0x0000_ffff) | u32::from(index) << 24 | u32::from(count) << 16;
                const HYPERVISOR: u32 = 1 << 31;
                const TSC_DEADLINE: u32 = 1 << 24;
                const HTT: u32 = 1 << 28;
                entry.ecx |= HYPERVISOR;
                if tsc_deadline {
                    entry.ecx |= TSC_DEADLINE;
                }
                entry.edx = if count > 1 { entry.edx | HTT } else { entry.edx & !HTT };
            }
            // Extended topology: one thread a core, all cores in one package.
            (0xb | 0x1f, level) => {
                entry.edx = u32::from(index);
                (entry.eax, entry.ebx, entry.ecx) = match level {
                    0 => (0, 1, 1 << 8),
                    1 => (8, u32::from(count), 2 << 8 | 1),
                    _ => (0, 0, level),
                };
            }
            _ => {}
        }
        withhold(entry);
    }
    Ok(cpuid)
}

/// Whether all cores of a machine say the same there. Of caches, translation buffers and the kind of core KVM tells what the core has on which it is
/// asked, and cores differ (Intel SDM volume 2, "CPUID", leaves 2, 4, 18H, 1AH; AMD64 architecture, volume 3, appendix E.4).
pub(crate) fn is_all_cores(entry: &kvm_cpuid_entry2) -> bool {
    !matches!(entry.function, 2 | 4 | 0x18 | 0x1a | 0x8000_0005 | 0x8000_0006 | 0x8000_001d | 0x8000_001e)
}

/// Takes away what would lead past those who watch a guest: entries for system calls that nobody knows of, and processors of its own. Of
/// those VMLOAD and VM exits change the registers of the entry, VMRUN takes breakpoints away, and nested tables put other text behind an address.
/// (AMD64 architecture, volume 3, appendix E.3 and E.4; Intel SDM volume 2, "CPUID".)
fn withhold(entry: &mut kvm_cpuid_entry2) {
    const VMX: u32 = 1 << 5;
    const SMX: u32 = 1 << 6;
    const SVM: u32 = 1 << 2;
    const SKINIT: u32 = 1 << 12;
    const FRED: u32 = 1 << 17;
    const LKGS: u32 = 1 << 18;
    match (entry.function, entry.index) {
        (1, _) => entry.ecx &= !(VMX | SMX),
        // MSR_LSTAR is not where FRED enters; LKGS comes with it.
        (7, 1) => entry.eax &= !(FRED | LKGS),
        (0x8000_0001, _) => entry.ecx &= !(SVM | SKINIT),
        // What SVM can do.
        (0x8000_000a, _) => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
        _ => {}
    }
}

/// What the hypervisor says of itself begins here, with its name and the last leaf that there is
/// (Documentation/virt/kvm/x86/cpuid.rst).
const HYPERVISOR: u32 = 0x4000_0000;
/// How fast the time stamp counter counts, in kHz: a leaf that VMware and QEMU have as well.
const TIMING: u32 = 0x4000_0010;

/// Adds how fast the time stamp counter counts: user space can tell the time by it then, without a system call.
pub(crate) fn tell_tsc_khz(cpuid: &mut CpuId, khz: u32) {
    let first = cpuid.as_mut_slice().iter_mut().find(|entry| entry.function == HYPERVISOR);
    let Some(first) = first.filter(|first| first.eax < TIMING) else { return };
    first.eax = TIMING;
    // Without room for it, nobody is told.
    let _ = cpuid.push(kvm_cpuid_entry2 { function: TIMING, eax: khz, ..Default::default() });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_has_no_processors_of_its_own_and_no_unknown_entry() {
        let left = |function, index| {
            let all = u32::MAX;
            let mut entry = kvm_cpuid_entry2 {
                function,
                index,
                eax: all,
                ebx: all,
                ecx: all,
                edx: all,
                ..Default::default()
            };
            withhold(&mut entry);
            [entry.eax, entry.ebx, entry.ecx, entry.edx].map(|register| !register)
        };
        assert_eq!(left(1, 0), [0, 0, 1 << 5 | 1 << 6, 0]);
        assert_eq!(left(7, 1), [1 << 17 | 1 << 18, 0, 0, 0]);
        assert_eq!(left(0x8000_0001, 0), [0, 0, 1 << 2 | 1 << 12, 0]);
        assert_eq!(left(0x8000_000a, 0), [u32::MAX; 4]);
        assert_eq!([left(7, 0), left(0x8000_0008, 0)], [[0; 4]; 2]);
    }

    #[test]
    fn the_counters_speed_is_told_behind_the_hypervisors_own_leaves() {
        let first = kvm_cpuid_entry2 { function: HYPERVISOR, eax: 0x4000_0001, ..Default::default() };
        let mut cpuid = CpuId::from_entries(&[first]).unwrap();
        tell_tsc_khz(&mut cpuid, 2_600_000);
        let told: Vec<_> = cpuid.as_slice().iter().map(|entry| (entry.function, entry.eax)).collect();
        assert_eq!(told, [(HYPERVISOR, TIMING), (TIMING, 2_600_000)]);
        let mut silent = CpuId::from_entries(&[]).unwrap();
        tell_tsc_khz(&mut silent, 1);
        assert!(silent.as_slice().is_empty());
    }
}
