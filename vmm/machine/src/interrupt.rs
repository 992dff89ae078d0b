//! Interrupt lines into KVM's interrupt controllers.

use crate::Vm;
use std::sync::Arc;

/// A device's interrupt line.
pub struct InterruptLine {
    vm: Arc<Vm>,
    gsi: u32,
}

impl InterruptLine {
    pub(crate) fn new(vm: Arc<Vm>, gsi: u32) -> Self {
        Self { vm, gsi }
    }

    /// Raises one edge. It has arrived when this returns, so that a machine that is saved or put back has none on its way: an eventfd's
    /// (KVM_IRQFD) is brought later, by a thread of the host's kernel.
    pub fn raise(&self) {
        for level in [true, false] {
            // It fails in a machine without interrupt controllers only (KVM API, section 4.25), and such a one hands out no lines.
            let _ = self.vm.fd.set_irq_line(self.gsi, level);
        }
    }
}
