//! ACPI tables, for kernels that take neither the MP table nor devices on the command line: distributions' kernels.
//!
//! Source: ACPI specification 6.5: 5.2 (tables), 5.2.9 (FADT), 5.2.12 (MADT), 6.4 (resources), 20.2 (AML). The
//! machine is a "hardware-reduced" one (4.1): none of the PC's power management registers exist.

use crate::layout;
use acpi_tables::{
    Aml,
    aml::{Device, Interrupt, Memory32Fixed, Name, ResourceTemplate, Scope},
    fadt::{FADTBuilder, Flags},
    madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic},
    rsdp::Rsdp,
    sdt::Sdt,
    xsdt::XSDT,
};

const OEM: [u8; 6] = *b"VMM   ";
const OEM_TABLE: [u8; 8] = *b"KERNTEST";

/// A virtio device on the MMIO bus, as the kernel is to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioDevice {
    /// Guest-physical address of its registers.
    pub base: u32,
    /// Their size in bytes.
    pub size: u32,
    /// The input of the IOAPIC that it interrupts at.
    pub gsi: u32,
}

/// All tables, to be written at [`layout::ACPI`], where the kernel looks for the first of them (5.2.5.1).
pub(super) fn build(vcpus: u8, devices: &[MmioDevice]) -> Vec<u8> {
    let mut all = vec![0; Rsdp::len().next_multiple_of(16)];
    let mut add = |table: &dyn Aml| {
        let at = layout::ACPI.0 + all.len() as u64;
        table.to_aml_bytes(&mut all);
        all.resize(all.len().next_multiple_of(16), 0);
        at
    };
    let dsdt = add(&dsdt(devices));
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, 1);
    xsdt.add_entry(add(&fadt(dsdt)));
    xsdt.add_entry(add(&madt(vcpus)));
    let mut root = Vec::new();
    Rsdp::new(OEM, add(&xsdt)).to_aml_bytes(&mut root);
    all[..root.len()].copy_from_slice(&root);
    all
}

fn fadt(dsdt: u64) -> impl Aml {
    const NO_VGA: u16 = 1 << 2;
    let mut table = FADTBuilder::new(OEM, OEM_TABLE, 1).dsdt_64(dsdt).flag(Flags::HwReducedAcpi);
    table.iapc_boot_arch = NO_VGA.into();
    table.finalize()
}

fn madt(vcpus: u8) -> impl Aml {
    let mut table = MADT::new(OEM, OEM_TABLE, 1, LocalInterruptController::Address(layout::LAPIC));
    for id in 0..vcpus {
        table.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    // Its first input is interrupt 0.
    table.add_structure(IoApic::new(vcpus, layout::IOAPIC, 0));
    table
}

/// The one thing that needs AML: `Scope (\_SB_) { Device (V000) { _HID, _UID, _CRS } ... }`.
fn dsdt(devices: &[MmioDevice]) -> impl Aml {
    let mut table = Sdt::new(*b"DSDT", 36, 2, OEM, OEM_TABLE, 1);
    let mut inside = Vec::new();
    for (index, device) in (0u8..).zip(devices) {
        // Consumer, edge-triggered, active high, not shared.
        let interrupt = Interrupt::new(true, true, false, false, device.gsi);
        let registers = Memory32Fixed::new(true, device.base, device.size);
        let resources = ResourceTemplate::new(vec![&registers, &interrupt]);
        Device::new(
            format!("V{index:03}").as_str().into(),
            vec![
                // The driver's own name for a virtio-mmio device (drivers/virtio/virtio_mmio.c, virtio_mmio_acpi_match).
                &Name::new("_HID".into(), &"LNRO0005"),
                &Name::new("_UID".into(), &index),
                &Name::new("_CRS".into(), &resources),
            ],
        )
        .to_aml_bytes(&mut inside);
    }
    table.append_slice(&Scope::raw("\\_SB_".into(), inside));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a table, or of a part of one, that is as it should be, this is 0.
    fn checksum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    const CONSOLE: MmioDevice = MmioDevice { base: 0xd000_0000, size: 0x1000, gsi: 5 };

    fn u32_at(bytes: &[u8], at: usize) -> usize {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    }

    #[test]
    fn every_table_is_found_from_the_root_and_sums_to_zero() {
        for vcpus in [1, 32] {
            let all = build(vcpus, &[CONSOLE; 8]);
            let base = layout::ACPI.0 as usize;
            assert_eq!((checksum(&all[..20]), checksum(&all[..36])), (0, 0));
            let mut todo = vec![u32_at(&all, 24) - base];
            let mut seen = Vec::new();
            while let Some(at) = todo.pop() {
                let table = &all[at..at + u32_at(&all, at + 4)];
                assert_eq!(checksum(table), 0);
                let signature = &table[..4];
                seen.push(String::from_utf8_lossy(signature).into_owned());
                match signature {
                    b"XSDT" => todo.extend(table[36..].chunks(8).map(|it| u32_at(it, 0) - base)),
                    b"FACP" => todo.push(u32_at(table, 140) - base),
                    _ => {}
                }
            }
            seen.sort();
            assert_eq!(seen, ["APIC", "DSDT", "FACP", "XSDT"]);
            assert!(layout::ACPI.0 + all.len() as u64 <= layout::HIGH_MEMORY.0);
        }
    }

    #[test]
    fn a_device_is_described_as_the_driver_looks_for_it() {
        let all = build(1, &[MmioDevice { base: 0xd000_0000, size: 0x1000, gsi: 5 }; 2]);
        let has = |bytes: &[u8]| all.windows(bytes.len()).any(|window| window == bytes);
        assert!(has(b"V000") && has(b"V001") && !has(b"V002"));
        assert!(has(b"\x08_HID\x0dLNRO0005\0\x08_UID\x01"));
        // 6.4.3.4: 32-bit memory, writable. 6.4.3.6: an interrupt that is consumed, edge, active high. 6.4.2.9: the end.
        assert!(has(&[0x86, 9, 0, 1, 0, 0, 0, 0xd0, 0, 0x10, 0, 0, 0x89, 6, 0, 3, 1, 5, 0, 0, 0, 0x79]));
    }
}
