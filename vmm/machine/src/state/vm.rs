//! The state of what a machine has in the kernel beside its vCPUs.

use super::same;
use crate::{Result, Vm, error::Named};
use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_clock_data, kvm_irqchip,
    kvm_irqchip__bindgen_ty_1, kvm_pit_state2,
};
use serde::{Deserialize, Serialize};
use std::sync::PoisonError;

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
        let chips = |state: &Self| state.chips.iter().map(without_timer).collect::<Vec<_>>();
        let parts = [
            ("the interrupt controllers", chips(self) == chips(now)),
            ("the timer", same(&timer(self), &timer(now))),
        ];
        parts.into_iter().filter(|(_, same)| !same).map(|(name, _)| name.to_owned()).collect()
    }
}

/// The registers of an interrupt controller, but for whether the timer has asked for its interrupt meanwhile: a guest that uses
/// another timer has it masked, and it stays (`irr` of struct kvm_pic_state and of struct kvm_ioapic_state, arch/x86/include/uapi/asm/kvm.h).
fn without_timer(chip: &kvm_irqchip) -> Vec<u8> {
    let mut bytes = postcard::to_allocvec(chip).unwrap_or_default();
    let registers = bytes.len().saturating_sub(size_of::<kvm_irqchip__bindgen_ty_1>());
    // Its line leads to the first input of the first PIC, and to the first or, as ACPI has it, the third of the IOAPIC.
    let requested = match chip.chip_id {
        KVM_IRQCHIP_PIC_MASTER => (1, 1),
        KVM_IRQCHIP_IOAPIC => (16, 1 << 0 | 1 << 2),
        _ => return bytes,
    };
    if let Some(byte) = bytes.get_mut(registers + requested.0) {
        *byte &= !requested.1;
    }
    bytes
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
        *self.tsc_common.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for chip in &state.chips {
            self.fd.set_irqchip(chip).named("KVM_SET_IRQCHIP")?;
        }
        if let Some(pit) = &state.pit {
            self.fd.set_pit2(pit).named("KVM_SET_PIT2")?;
        }
        self.fd.set_clock(&state.clock).named("KVM_SET_CLOCK")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvm_bindings::{kvm_ioapic_state, kvm_pic_state};

    #[test]
    fn of_interrupt_controllers_only_the_timers_interrupt_may_come_meanwhile() {
        let pic = |chip_id, irr| {
            let mut chip = kvm_irqchip { chip_id, ..Default::default() };
            chip.chip.pic = kvm_pic_state { irr, imr: 0xfb, ..Default::default() };
            chip
        };
        let ioapic = |irr| {
            let mut chip = kvm_irqchip { chip_id: KVM_IRQCHIP_IOAPIC, ..Default::default() };
            chip.chip.ioapic = kvm_ioapic_state { irr, ..Default::default() };
            chip
        };
        let state = |chips: [kvm_irqchip; 3]| VmState { chips: chips.into(), ..VmState::default() };
        let (master, slave) = (KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE);
        let saved = state([pic(master, 0x20), pic(slave, 0), ioapic(0)]);
        let ticked = state([pic(master, 0x21), pic(slave, 0), ioapic(0b101)]);
        assert_eq!(saved.differences(&ticked), Vec::<String>::new());
        for other in [
            state([pic(master, 0x22), pic(slave, 0), ioapic(0)]),
            state([pic(master, 0x20), pic(slave, 1), ioapic(0)]),
            state([pic(master, 0x20), pic(slave, 0), ioapic(0b10)]),
        ] {
            assert_eq!(saved.differences(&other), ["the interrupt controllers"]);
        }
    }
}
