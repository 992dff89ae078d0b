//! Interrupt lines: an eventfd that KVM turns into an edge on a GSI.

use crate::{Result, error::Named};
use kvm_ioctls::VmFd;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// A device's interrupt line.
pub struct InterruptLine {
    irqfd: EventFd,
}

impl InterruptLine {
    pub(crate) fn new(vm: &VmFd, gsi: u32) -> Result<Self> {
        let irqfd = EventFd::new(EFD_NONBLOCK)
            .map_err(|e| kvm_ioctls::Error::new(e.raw_os_error().unwrap_or(0)))
            .named("an eventfd")?;
        vm.register_irqfd(&irqfd, gsi).named("KVM_IRQFD")?;
        Ok(Self { irqfd })
    }

    /// Raises one edge.
    pub fn raise(&self) {
        // An eventfd's write fails only when its counter is about to overflow, and then KVM has an edge
        // to deliver anyway.
        let _ = self.irqfd.write(1);
    }
}
