//! From a kernel file to a vCPU at its 64-bit entry: no firmware, no real mode.
//!
//! Source: Documentation/arch/x86/boot.rst, "64-bit boot protocol", and zero-page.rst.

mod acpi;
mod image;
mod mptable;

pub use acpi::MmioDevice;

use crate::{Error, Memory, Result, Vcpu, layout};
use image::Image;
use linux_loader::loader::{
    KernelLoader,
    bootparam::{boot_e820_entry, boot_params},
    elf::Elf,
};
use std::path::Path;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

/// Loads kernel and initramfs, writes the tables that the kernel expects, and returns its entry.
///
/// `kernel` is an ELF vmlinux for x86-64; `command_line` has at most 2047 bytes. ACPI tables are
/// written where there are devices for them.
pub fn load(
    memory: &Memory,
    kernel: &Path,
    initramfs: &Path,
    command_line: &str,
    vcpus: u8,
    acpi_devices: &[MmioDevice],
) -> Result<GuestAddress> {
    let mut image =
        Image::open(kernel, memory).map_err(|source| Error::Read { path: kernel.into(), source })?;
    let loaded = Elf::load(&**memory, None, &mut image, Some(layout::HIGH_MEMORY))
        .map_err(|e| Error::NotAKernel { path: kernel.into(), why: e.to_string() })?;

    let mut params = boot_params::default();
    params.hdr.boot_flag = 0xaa55;
    params.hdr.header = u32::from_le_bytes(*b"HdrS");
    params.hdr.type_of_loader = 0xff;
    params.hdr.kernel_alignment = 0x0100_0000;

    if command_line.len() >= layout::COMMAND_LINE_SIZE {
        return Err(Error::CommandLine(command_line.len()));
    }
    let too_small = |what| Error::TooSmall { what, mib: memory.iter().map(|r| r.len()).sum::<u64>() >> 20 };
    let write = |bytes: &[u8], at, what| memory.write_slice(bytes, at).map_err(|_| too_small(what));
    write(command_line.as_bytes(), layout::COMMAND_LINE, "the command line")?;
    params.hdr.cmd_line_ptr = layout::COMMAND_LINE.0 as u32;
    params.hdr.cmdline_size = command_line.len() as u32;

    let (at, size) =
        load_initramfs(memory, initramfs, loaded.kernel_end.max(layout::HIGH_MEMORY.0), &too_small)?;
    params.hdr.ramdisk_image = at as u32;
    params.hdr.ramdisk_size = size as u32;

    add_memory_map(&mut params, memory);
    memory.write_obj(params, layout::BOOT_PARAMS).map_err(|_| too_small("boot_params"))?;
    write(&mptable::build(vcpus), layout::MP_TABLE, "the MP table")?;
    if !acpi_devices.is_empty() {
        write(&acpi::build(vcpus, acpi_devices), layout::ACPI, "the ACPI tables")?;
    }
    write_tables(memory).map_err(|_| too_small("the page tables"))?;
    // The memory remembers what devices write, and none has yet.
    memory.iter().for_each(|region| region.get_mmap().bitmap().reset());
    Ok(loaded.kernel_load)
}

fn load_initramfs(
    memory: &Memory,
    path: &Path,
    kernel_end: u64,
    too_small: &dyn Fn(&'static str) -> Error,
) -> Result<(u64, u64)> {
    let unreadable = |source| Error::Read { path: path.into(), source };
    let mut image = Image::open(path, memory).map_err(unreadable)?;
    let size = image.length().map_err(unreadable)?;
    let low_end = memory.iter().next().map_or(0, |low| low.len());
    let at = low_end.checked_sub(size).map(|at| at & !0xfff).filter(|at| *at >= kernel_end);
    let at = at.ok_or_else(|| too_small("the initramfs"))?;
    memory
        .read_exact_volatile_from(GuestAddress(at), &mut image, size as usize)
        .map_err(|_| too_small("the initramfs"))?;
    Ok((at, size))
}

fn add_memory_map(params: &mut boot_params, memory: &Memory) {
    const RAM: u32 = 1;
    let mut add = |addr, end: u64| {
        let entry = boot_e820_entry { addr, size: end - addr, r#type: RAM };
        params.e820_table[usize::from(params.e820_entries)] = entry;
        params.e820_entries += 1;
    };
    add(0, layout::BASE_MEMORY_END);
    for region in memory.iter() {
        let start = region.start_addr().0.max(layout::HIGH_MEMORY.0);
        add(start, region.start_addr().0 + region.len());
    }
}

/// Flat 64-bit segments and an identity map of the first GiB in pages of 2 MiB.
pub(crate) fn write_tables(memory: &Memory) -> std::result::Result<(), vm_memory::GuestMemoryError> {
    // Null, unused, code (selector 0x10), data (0x18): __BOOT_CS and __BOOT_DS.
    for (index, descriptor) in [0, 0, 0x00af_9b00_0000_ffffu64, 0x00cf_9300_0000_ffff].into_iter().enumerate()
    {
        memory.write_obj(descriptor, GuestAddress(layout::GDT.0 + index as u64 * 8))?;
    }
    const PRESENT_WRITABLE: u64 = 3;
    const LARGE: u64 = 1 << 7;
    let [top, middle, bottom] = [0u64, 0x1000, 0x2000].map(|offset| layout::PAGE_TABLES.0 + offset);
    memory.write_obj(middle | PRESENT_WRITABLE, GuestAddress(top))?;
    memory.write_obj(bottom | PRESENT_WRITABLE, GuestAddress(middle))?;
    for index in 0..512u64 {
        memory.write_obj(index << 21 | LARGE | PRESENT_WRITABLE, GuestAddress(bottom + index * 8))?;
    }
    Ok(())
}

/// Puts the first vCPU at the entry that [`load`] returned.
pub fn start(vcpu: &Vcpu, entry: GuestAddress) -> Result<()> {
    vcpu.enter_long_mode(entry, layout::BOOT_PARAMS)
}
