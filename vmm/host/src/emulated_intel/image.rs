//! The host's memory as it is at the kernel's 64-bit entry, and a boot ROM that goes there.
//!
//! Bochs reads one file into its memory before it starts. Of that memory a block of 128 KiB has its place only once it is used,
//! in the order of use, and the file is read without regard to it. So the file has only the blocks that are not empty, and the
//! ROM first reads a byte of each, in the file's order.

use super::IntelError;
use machine::{boot, create_memory, layout};
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};
use vm_memory::{Bytes, GuestAddress};

/// The files, in the run's folder.
pub(super) const MEMORY: &str = "memory";
pub(super) const ROM: &str = "rom";

/// BX_MEM_BLOCK_LEN of Bochs' memory/memory-bochs.h.
const BLOCK: u64 = 128 << 10;
/// From 640 KiB to 1 MiB a PC has no memory, in blocks.
const NO_MEMORY: std::ops::Range<u16> = 5..8;

/// The host kernel's command line, and why each token is there.
const COMMAND_LINE: &[&str] = &[
    // The file is what is shown when something goes wrong; each character takes 87 thousand instructions. So it says what a panic
    // says, and nothing less.
    "console=ttyS0",
    "loglevel=1",
    "panic=-1",
    // Emulated processors do not speculate.
    "mitigations=off",
    "nokaslr",
    // There are no tables: one processor, and the PC's first interrupt controller.
    "acpi=off",
    // One instruction, one tick, one nanosecond: there is nothing to measure, and no better clock to compare it with. The
    // processor's own word for its rate is that of a real one.
    "tsc_early_khz=1000000",
    "tsc=reliable",
    "no_timer_check",
    // What takes half of the boot and is of no use here: keys that nothing is signed with, tests of ciphers, a keyboard.
    "initcall_blacklist=load_system_certificate_list,i8042_init",
    "cryptomgr.notests=1",
    // Bochs' sizes of its parts contradict each other.
    "clearcpuid=xsave",
    "rdinit=/init",
];

/// Writes memory and ROM of a host into `folder`.
pub(super) fn write(files: &Path, initrd: &Path, memory_mib: u32, folder: &Path) -> Result<(), IntelError> {
    let packed = files.join("vmlinuz");
    let packed = fs::read(&packed).map_err(IntelError::io("read", &packed))?;
    let kernel = folder.join("vmlinux");
    let elf = kernel::unpack_bzimage(&packed).map_err(IntelError::Image)?;
    fs::write(&kernel, elf).map_err(IntelError::io("write", &kernel))?;

    let fail = |error: &dyn std::fmt::Display| IntelError::Image(error.to_string());
    let memory = create_memory(memory_mib).map_err(|error| fail(&error))?;
    let entry = boot::load(&memory, &kernel, initrd, &COMMAND_LINE.join(" "), 1, &[])
        .map_err(|error| fail(&error))?;
    // It is in memory now, and its file would be the run's largest.
    fs::remove_file(&kernel).map_err(IntelError::io("remove", &kernel))?;
    // Beside what the 64-bit entry needs: code of 32 bits, for the way there.
    memory
        .write_obj(0x00cf_9b00_0000_ffff_u64, GuestAddress(layout::GDT.0 + u64::from(CODE_32)))
        .map_err(|error| fail(&error))?;

    let path = folder.join(MEMORY);
    let file = File::create(&path).map_err(IntelError::io("write", &path))?;
    let mut file = BufWriter::new(file);
    let mut blocks = Vec::new();
    let mut block = vec![0; BLOCK as usize];
    for number in (0..(u64::from(memory_mib) << 20) / BLOCK).map(|number| number as u16) {
        if NO_MEMORY.contains(&number) {
            continue;
        }
        memory
            .read_slice(&mut block, GuestAddress(u64::from(number) * BLOCK))
            .map_err(|error| fail(&error))?;
        if block.iter().any(|byte| *byte != 0) {
            file.write_all(&block).map_err(IntelError::io("write", &path))?;
            blocks.push(number);
        }
    }
    file.flush().map_err(IntelError::io("write", &path))?;
    let path = folder.join(ROM);
    fs::write(&path, rom(entry.0 as u32, &blocks)).map_err(IntelError::io("write", &path))
}

/// Selectors of the table at [`layout::GDT`]: see `machine::boot` for the first two.
const CODE_64: u16 = 0x10;
const DATA: u8 = 0x18;
const CODE_32: u16 = 0x20;

/// Where the ROM begins, for the processor.
const BASE: u32 = 0xf_0000;
const SIZE: usize = 0x1_0000;
/// The numbers of the blocks, in it; zero ends them. The first is zero, too, and is in use by then.
const LIST: u32 = 0x100;

/// 64 KiB that end where a processor begins (Intel SDM volume 3, section 9.1.4), in real mode.
fn rom(entry: u32, blocks: &[u16]) -> Vec<u8> {
    let mut code: Vec<u8> = Vec::new();
    let long = |value: u32| value.to_le_bytes();
    let far = |at: u32, selector: u16| [&at.to_le_bytes()[..], &selector.to_le_bytes()].concat();
    let mut add = |bytes: &[&[u8]]| {
        bytes.iter().for_each(|bytes| code.extend_from_slice(bytes));
        BASE + code.len() as u32
    };
    add(&[b"\xfa"]); // cli
    add(&[b"\x2e\x66\x0f\x01\x16", &(TABLE as u16).to_le_bytes()]); // lgdt cs:[TABLE]
    add(&[b"\x0f\x20\xc0\x0c\x01\x0f\x22\xc0"]); // cr0 |= PE
    let here = add(&[]);
    add(&[b"\x66\xea", &far(here + 8, CODE_32)]); // jmp to the next instruction, in 32 bits
    add(&[b"\xb8", &long(DATA.into())]); // mov eax, DATA
    add(&[b"\x8e\xd8\x8e\xc0\x8e\xd0"]); // mov ds, es, ss, eax
    add(&[b"\xbe", &long(BASE + LIST + 2)]); // mov esi, the second block
    // next: movzx eax, word [esi]; add esi, 2; shl eax, 17; mov cl, [eax]; jnz next
    add(&[b"\x0f\xb7\x06\x83\xc6\x02\xc1\xe0\x11\x8a\x08\x75\xf3"]);
    add(&[b"\xb8", &long(0x20), b"\x0f\x22\xe0"]); // cr4 = PAE
    add(&[b"\xb8", &long(layout::PAGE_TABLES.0 as u32), b"\x0f\x22\xd8"]); // cr3
    add(&[b"\xb9", &long(0xc000_0080), b"\x0f\x32\x0d", &long(0x100), b"\x0f\x30"]); // EFER |= LME
    add(&[b"\x0f\x20\xc0\x0d", &long(0x8000_0000), b"\x0f\x22\xc0"]); // cr0 |= PG
    let here = add(&[]);
    add(&[b"\xea", &far(here + 7, CODE_64)]); // jmp to the next instruction, in 64 bits
    add(&[b"\xbe", &long(layout::BOOT_PARAMS.0 as u32)]); // mov esi, boot_params
    add(&[b"\xb8", &long(entry), b"\xff\xe0"]); // jmp to the kernel

    let mut rom = vec![0xff; SIZE];
    rom[..code.len()].copy_from_slice(&code);
    // Its limit and its address.
    let table = [&(CODE_32 + 7).to_le_bytes()[..], &long(layout::GDT.0 as u32)].concat();
    rom[TABLE..TABLE + table.len()].copy_from_slice(&table);
    let list: Vec<u8> = blocks.iter().chain(&[0]).flat_map(|number| number.to_le_bytes()).collect();
    rom[LIST as usize..LIST as usize + list.len()].copy_from_slice(&list);
    // jmp f000:0000
    rom[SIZE - 16..SIZE - 11].copy_from_slice(b"\xea\x00\x00\x00\xf0");
    rom
}

/// What lgdt reads, in the ROM.
const TABLE: usize = 0xf0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rom_fits_and_lists_every_block_in_order() {
        let blocks: Vec<u16> = (0..5).chain(128..24_576).collect();
        let rom = rom(0x0100_0000, &blocks);
        assert_eq!(rom.len(), SIZE);
        assert_eq!(&rom[0xfff0..0xfff5], b"\xea\0\0\0\xf0");
        let list: Vec<u16> = rom[0x100..]
            .chunks(2)
            .map(|it| u16::from_le_bytes([it[0], it[1]]))
            .take(blocks.len() + 1)
            .collect();
        assert_eq!(list[..blocks.len()], blocks);
        assert_eq!(list.last(), Some(&0));
        // The code ends before what lies behind it.
        assert!(rom[0xd0..0xf0].iter().all(|byte| *byte == 0xff));
    }
}
