//! A vCPU's time stamp counter, as its distance from the processor's own.
//!
//! The counter is an MSR too. But KVM takes a value that is written there for an attempt to bring vCPUs together where it is within a second of what
//! KVM expects (`kvm_synchronize_tsc` in arch/x86/kvm/x86.c), and lets the counter be: of a machine that was saved in its first second, or goes back
//! twice within one, the clock would stand still or jump. The distance is taken as it is given (Documentation/virt/kvm/devices/vcpu.rst, section 4.1,
//! "KVM_VCPU_TSC_OFFSET", since Linux 5.16). Where there is none, a value far from all that KVM may expect is written first.

use crate::{Result, Vm, error::Named};
use kvm_bindings::{KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, Msrs, kvm_device_attr, kvm_msr_entry};
use kvm_ioctls::VcpuFd;
use std::sync::PoisonError;
use vmm_sys_util::{
    errno,
    ioctl::{ioctl_with_mut_ref, ioctl_with_ref},
    ioctl_iow_nr,
};

/// MSR_IA32_TSC, the counter (Intel SDM volume 4, table 2-2).
pub(super) const TSC: u32 = 0x10;

// include/uapi/linux/kvm.h.
const KVMIO: u32 = 0xae;
ioctl_iow_nr!(KVM_SET_DEVICE_ATTR, KVMIO, 0xe1, kvm_device_attr);
ioctl_iow_nr!(KVM_GET_DEVICE_ATTR, KVMIO, 0xe2, kvm_device_attr);

/// Cycles: further than a second from what any KVM expects of a counter that was saved.
const FAR: u64 = 1 << 40;

/// Has the counter go on from what it was. All vCPUs of a machine get the distance of the one that is put back first: read one after the other, their
/// counters would differ by the time between. Where KVM knows no distances, they get its value, which KVM then takes for the attempt that it is.
pub(super) fn restore(fd: &VcpuFd, vm: &Vm, saved: u64) -> Result<()> {
    let mut common = vm.tsc_common.lock().unwrap_or_else(PoisonError::into_inner);
    let was = *common;
    let value = match get(fd) {
        Some(offset) => {
            let offset = match was {
                Some(offset) => offset,
                None => offset.wrapping_add(saved).wrapping_sub(read(fd)?),
            };
            set(fd, offset)?;
            offset
        }
        None => {
            let value = was.unwrap_or(saved);
            if was.is_none() {
                write(fd, value.wrapping_add(FAR))?;
            }
            write(fd, value)?;
            value
        }
    };
    *common = Some(value);
    Ok(())
}

fn msrs(data: u64) -> Result<Msrs> {
    let entry = kvm_msr_entry { index: TSC, data, ..Default::default() };
    Msrs::from_entries(&[entry]).map_err(|_| crate::Error::Missing("room for its MSRs"))
}

fn read(fd: &VcpuFd) -> Result<u64> {
    let mut msrs = msrs(0)?;
    match fd.get_msrs(&mut msrs).named("KVM_GET_MSRS")? {
        1 => Ok(msrs.as_slice()[0].data),
        _ => Err(crate::Error::Missing("a time stamp counter")),
    }
}

fn write(fd: &VcpuFd, data: u64) -> Result<()> {
    match fd.set_msrs(&msrs(data)?).named("KVM_SET_MSRS")? {
        1 => Ok(()),
        _ => Err(crate::Error::Missing("a time stamp counter")),
    }
}

fn attribute(offset: *mut u64) -> kvm_device_attr {
    kvm_device_attr {
        flags: 0,
        group: KVM_VCPU_TSC_CTRL,
        attr: u64::from(KVM_VCPU_TSC_OFFSET),
        addr: offset as u64,
    }
}

/// `None` where KVM has none.
fn get(fd: &VcpuFd) -> Option<u64> {
    let mut offset = 0;
    let mut attribute = attribute(&raw mut offset);
    // SAFETY: KVM writes 8 bytes, to `offset`, which outlives the call.
    let got = unsafe { ioctl_with_mut_ref(fd, KVM_GET_DEVICE_ATTR(), &mut attribute) };
    (got == 0).then_some(offset)
}

fn set(fd: &VcpuFd, mut offset: u64) -> Result<()> {
    let attribute = attribute(&raw mut offset);
    // SAFETY: KVM reads 8 bytes, from `offset`, which outlives the call.
    let set = unsafe { ioctl_with_ref(fd, KVM_SET_DEVICE_ATTR(), &attribute) };
    match set {
        0 => Ok(()),
        _ => Err(errno::Error::last()).named("KVM_SET_DEVICE_ATTR"),
    }
}
