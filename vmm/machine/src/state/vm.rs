//! The state of what a machine has in the kernel beside its vCPUs.

use super::same;
use crate::{Result, Vm, error::Named};
use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_clock_data, kvm_irqchip,
    kvm_pit_state2,
};
use serde::{Deserialize, Serialize};

/// Interrupt controllers, timer and clock.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VmState {
    /// Two PICs and the IOAPIC; none in a machine without.
    chips: Vec<kvm_irqchip>,
    pit: Option<kvm_pit_state2>,
    clock: kvm_clock_data,
}

impl VmState {
    /// As [`super::VcpuState::differences`].
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let timer = |state: &Self| {
            state.pit.map(|mut pit| {
                // When it was loaded, by the host's clock.
                pit.channels.iter_mut().for_each(|channel| channel.count_load_time = 0);
                pit
            })
        };
        let parts = [
            ("the interrupt controllers", same(&self.chips, &now.chips)),
            ("the timer", same(&timer(self), &timer(now))),
        ];
        parts.into_iter().filter(|(_, same)| !same).map(|(name, _)| name.to_owned()).collect()
    }
}

const CHIPS: [u32; 3] = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC];

impl Vm {
    /// Everything beside vCPUs and memory. No vCPU may run meanwhile.
    pub fn save(&self) -> Result<VmState> {
        let chip = |chip_id: u32| {
            let mut chip = kvm_irqchip { chip_id, ..Default::default() };
            self.fd.get_irqchip(&mut chip).named("KVM_GET_IRQCHIP")?;
            Ok(chip)
        };
        let chips = if self.has_chips() { &CHIPS[..] } else { &[] };
        let clock = self.fd.get_clock().named("KVM_GET_CLOCK")?.clock;
        Ok(VmState {
            chips: chips.iter().map(|id| chip(*id)).collect::<Result<_>>()?,
            pit: self.has_chips().then(|| self.fd.get_pit2().named("KVM_GET_PIT2")).transpose()?,
            // Beside it KVM tells of the clock's quality and of the host's time, and takes neither back.
            clock: kvm_clock_data { clock, ..Default::default() },
        })
    }

    /// Takes it back; before the vCPUs'. The guest's clock goes on from where it was.
    pub fn restore(&self, state: &VmState) -> Result<()> {
        for chip in &state.chips {
            self.fd.set_irqchip(chip).named("KVM_SET_IRQCHIP")?;
        }
        if let Some(pit) = &state.pit {
            self.fd.set_pit2(pit).named("KVM_SET_PIT2")?;
        }
        self.fd.set_clock(&state.clock).named("KVM_SET_CLOCK")
    }
}
