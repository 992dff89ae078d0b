//! ACPI tables, for kernels that take neither the MP table nor devices on the command line: distributions' kernels.
//!
//! Source: ACPI specification 6.5: 5.2 (tables), 5.2.9 (FADT), 5.2.12 (MADT), 6.4 (resources), 20.2 (AML). The
//! machine is a "hardware-reduced" one (4.1): none of the PC's power management registers exist.

use crate::layout;

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
    let mut all = vec![0; 64];
    let mut add = |table: Vec<u8>| {
        let at = layout::ACPI.0 as usize + all.len();
        all.extend(table);
        all.resize(all.len().next_multiple_of(16), 0);
        at
    };
    let dsdt = add(dsdt(devices));
    let fadt = add(fadt(dsdt as u64));
    let madt = add(madt(vcpus));
    let pointers = [fadt, madt].into_iter().flat_map(|at| (at as u64).to_le_bytes());
    let xsdt = add(table(b"XSDT", 1, &pointers.collect::<Vec<u8>>()));
    let mut root = Vec::from(*b"RSD PTR \0VMM   \x02");
    root.extend([0; 4]);
    root.extend(36u32.to_le_bytes());
    root.extend((xsdt as u64).to_le_bytes());
    root.extend([0; 4]);
    // The first sum is over what version 1 had, the second over all (5.2.5.3).
    root[8] = checksum(&root[..20]);
    root[32] = checksum(&root);
    all[..root.len()].copy_from_slice(&root);
    all
}

/// A table with its header (5.2.6).
fn table(signature: &[u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut table = Vec::from(*signature);
    table.extend((36 + body.len() as u32).to_le_bytes());
    table.extend([revision, 0]);
    table.extend(b"VMM   KERNTEST");
    table.extend(1u32.to_le_bytes());
    table.extend(b"VMM ");
    table.extend(1u32.to_le_bytes());
    table.extend(body);
    table[9] = checksum(&table);
    table
}

fn fadt(dsdt: u64) -> Vec<u8> {
    const HARDWARE_REDUCED: u32 = 1 << 20;
    const NO_VGA: u16 = 1 << 2;
    const LENGTH: usize = 276;
    // Offsets in the table (5.2.9, table 5.9); the header's length goes off.
    let mut body = vec![0; LENGTH - 36];
    let mut put = |offset: usize, bytes: &[u8]| body[offset - 36..][..bytes.len()].copy_from_slice(bytes);
    put(109, &NO_VGA.to_le_bytes());
    put(112, &HARDWARE_REDUCED.to_le_bytes());
    put(131, &[5]);
    put(140, &dsdt.to_le_bytes());
    table(b"FACP", 6, &body)
}

fn madt(vcpus: u8) -> Vec<u8> {
    let mut body = Vec::from((layout::LAPIC).to_le_bytes());
    body.extend(0u32.to_le_bytes());
    for id in 0..vcpus {
        const ENABLED: u8 = 1;
        body.extend([0, 8, id, id, ENABLED, 0, 0, 0]);
    }
    body.extend([1, 12, vcpus, 0]);
    body.extend(layout::IOAPIC.to_le_bytes());
    // Its first input is interrupt 0.
    body.extend(0u32.to_le_bytes());
    table(b"APIC", 6, &body)
}

/// The one thing that needs AML: `Scope (\_SB_) { Device (V000) { _HID, _UID, _CRS } ... }`.
fn dsdt(devices: &[MmioDevice]) -> Vec<u8> {
    let mut inside = Vec::from(*b"\\_SB_");
    for (index, device) in devices.iter().enumerate() {
        let mut body = format!("V{index:03}").into_bytes();
        // The driver's own name for a virtio-mmio device (drivers/virtio/virtio_mmio.c, virtio_mmio_acpi_match).
        body.extend(b"\x08_HID\x0dLNRO0005\0");
        body.extend(b"\x08_UID\x0a");
        body.push(index as u8);
        body.extend(b"\x08_CRS");
        body.extend(buffer(&resources(device)));
        inside.extend([0x5b, 0x82]);
        inside.extend(package(&body));
    }
    let mut body = vec![0x10];
    body.extend(package(&inside));
    table(b"DSDT", 2, &body)
}

/// Registers, an interrupt, and the end (6.4.3.4, 6.4.3.6, 6.4.2.9).
fn resources(device: &MmioDevice) -> Vec<u8> {
    const WRITABLE: u8 = 1;
    const CONSUMER_EDGE_HIGH: u8 = 0b0011;
    let mut bytes = vec![0x86, 9, 0, WRITABLE];
    bytes.extend(device.base.to_le_bytes());
    bytes.extend(device.size.to_le_bytes());
    bytes.extend([0x89, 6, 0, CONSUMER_EDGE_HIGH, 1]);
    bytes.extend(device.gsi.to_le_bytes());
    bytes.extend([0x79, 0]);
    bytes
}

fn buffer(bytes: &[u8]) -> Vec<u8> {
    let mut body = vec![0x0a, bytes.len() as u8];
    body.extend(bytes);
    let mut buffer = vec![0x11];
    buffer.extend(package(&body));
    buffer
}

/// What has its length before it, which counts itself (20.2.4): one byte up to 63, else two, up to 4095.
fn package(body: &[u8]) -> Vec<u8> {
    let short = body.len() + 1;
    let mut bytes = if short < 64 {
        vec![short as u8]
    } else {
        let long = body.len() + 2;
        vec![0x40 | (long & 0xf) as u8, (long >> 4) as u8]
    };
    bytes.extend(body);
    bytes
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_length_counts_itself_and_its_own_bytes() {
        assert_eq!(package(&[0; 62])[..2], [63, 0]);
        assert_eq!(package(&[0; 63])[..3], [0x40 | 1, 4, 0]);
        assert_eq!(package(&[0; 1000]).len(), 1002);
    }
}
