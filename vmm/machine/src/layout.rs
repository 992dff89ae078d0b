//! Where things are in the guest's physical address space.
//!
//! Below 1 MiB lies what the kernel is handed at its entry, above it the kernel at the address that it
//! was linked for and the initramfs at the end of low memory; from 3 GiB to 4 GiB the devices.

use vm_memory::GuestAddress;

/// The GDT of the 64-bit entry (Documentation/arch/x86/boot.rst, "64-bit boot protocol").
pub const GDT: GuestAddress = GuestAddress(0x500);
/// boot_params, "zero page".
pub const BOOT_PARAMS: GuestAddress = GuestAddress(0x7000);
/// Top-level page table; the next two levels follow it.
pub const PAGE_TABLES: GuestAddress = GuestAddress(0x9000);
/// The kernel command line.
pub const COMMAND_LINE: GuestAddress = GuestAddress(0x2_0000);
/// `COMMAND_LINE_SIZE` of arch/x86/include/asm/setup.h, in bytes with the NUL.
pub const COMMAND_LINE_SIZE: usize = 2048;
/// MP table: the kernel looks for it in the last KiB of base memory (MP specification 1.4, section 4).
pub const MP_TABLE: GuestAddress = GuestAddress(0x9_fc00);
/// End of base memory; from here to 1 MiB is what a PC keeps for its firmware.
pub const BASE_MEMORY_END: u64 = 0x9_fc00;
/// ACPI tables: the kernel looks for the root from here to 1 MiB (ACPI 6.5, 5.2.5.1).
pub const ACPI: GuestAddress = GuestAddress(0xe_0000);
/// First byte of the memory that the kernel and the initramfs live in.
pub const HIGH_MEMORY: GuestAddress = GuestAddress(0x10_0000);
/// Low memory ends here at the latest; more goes above 4 GiB.
pub const GAP_START: u64 = 0xc000_0000;
/// Memory beyond the gap.
pub const GAP_END: u64 = 0x1_0000_0000;
/// Devices, one page each.
pub const MMIO: GuestAddress = GuestAddress(0xd000_0000);
/// Size of a device's window.
pub const MMIO_WINDOW: u64 = 0x1000;
/// Three pages for KVM on Intel (KVM API, section 4.40 KVM_SET_TSS_ADDR), in no memory and no device.
pub const KVM_TSS: usize = 0xfffb_d000;
/// One page for KVM on Intel (KVM API, section 4.41 KVM_SET_IDENTITY_MAP_ADDR).
pub const KVM_IDENTITY_MAP: u64 = 0xfffb_c000;
/// The IOAPIC of KVM's interrupt controller.
pub const IOAPIC: u32 = 0xfec0_0000;
/// The local APICs.
pub const LAPIC: u32 = 0xfee0_0000;
