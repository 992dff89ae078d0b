//! The MP table, which tells the kernel of processors and of the IOAPIC's wiring.
//!
//! Source: Intel MultiProcessor Specification 1.4, section 4. It is smaller than ACPI's tables and needs no
//! ACPI in the kernel.

use crate::layout;

/// Floating pointer and configuration table, to be written at [`layout::MP_TABLE`].
pub(super) fn build(vcpus: u8) -> Vec<u8> {
    let ioapic = vcpus;
    let mut entries = Vec::new();
    let mut count = 0u16;
    let mut add = |entry: &[u8]| {
        entries.extend_from_slice(entry);
        count += 1;
    };
    for id in 0..vcpus {
        const ENABLED: u8 = 1;
        const BOOT: u8 = 2;
        let flags = if id == 0 { ENABLED | BOOT } else { ENABLED };
        // Type, APIC id, APIC version, flags, signature (family 6), features (FPU, APIC), reserved.
        let mut cpu = [0; 20];
        cpu[..4].copy_from_slice(&[0, id, 0x14, flags]);
        cpu[4..8].copy_from_slice(&0x600u32.to_le_bytes());
        cpu[8..12].copy_from_slice(&0x201u32.to_le_bytes());
        add(&cpu);
    }
    add(b"\x01\0ISA   ");
    let mut chip = [2, ioapic, 0x11, 1, 0, 0, 0, 0];
    chip[4..].copy_from_slice(&layout::IOAPIC.to_le_bytes());
    add(&chip);
    // ISA interrupt n goes to input n of the IOAPIC; KVM wires the timer (0) to input 2.
    for irq in (0..16u8).filter(|irq| *irq != 2) {
        add(&[3, 0, 0, 0, 0, irq, ioapic, if irq == 0 { 2 } else { irq }]);
    }
    // Local interrupts: the PIC at LINT0 of the first processor, NMI at LINT1 of all.
    add(&[4, 3, 0, 0, 0, 0, 0, 0]);
    add(&[4, 1, 0, 0, 0, 0, 0xff, 1]);

    let mut table = Vec::from(*b"PCMP");
    table.extend(((44 + entries.len()) as u16).to_le_bytes());
    table.extend([4, 0]); // revision 1.4, checksum
    table.extend(b"VMM     KERNELTEST  ");
    table.extend([0; 6]);
    table.extend(count.to_le_bytes());
    table.extend(layout::LAPIC.to_le_bytes());
    table.extend([0; 4]);
    table.extend(entries);
    table[7] = checksum(&table);

    let mut pointer = Vec::from(*b"_MP_");
    pointer.extend((layout::MP_TABLE.0 as u32 + 16).to_le_bytes());
    pointer.extend([1, 4, 0, 0, 0, 0, 0, 0]);
    pointer[10] = checksum(&pointer);
    pointer.extend(table);
    pointer
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_sum_to_zero_and_fit_below_one_mib() {
        for vcpus in [1, 2, 32] {
            let table = build(vcpus);
            assert_eq!(checksum(&table[..16]), 0);
            assert_eq!(checksum(&table[16..]), 0);
            let length = u16::from_le_bytes([table[20], table[21]]);
            assert_eq!(usize::from(length), table.len() - 16);
            assert!(layout::MP_TABLE.0 + table.len() as u64 <= 0xa_0000, "{vcpus} vCPUs");
        }
    }
}
