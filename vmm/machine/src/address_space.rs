//! Reading the kernel's virtual memory from outside, by its own page tables.

use crate::Memory;
use vm_memory::{Bytes, GuestAddress};

/// An address as the guest's kernel uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestVirtualAddress(pub u64);

/// A guest address space: physical memory seen through a set of page tables.
///
/// The guest may change the tables at any moment and is not trusted: a walk takes at most five steps,
/// and what it can't find is `None`.
#[derive(Clone)]
pub struct AddressSpace {
    memory: Memory,
    root: GuestAddress,
    levels: u8,
}

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
/// Bits 12 to 51 (Intel SDM volume 3, section 4.5, table 4-15).
const FRAME: u64 = 0x000f_ffff_ffff_f000;

impl AddressSpace {
    /// The tables whose top one is at the physical address in CR3; five levels where CR4.LA57 is set.
    pub fn new(memory: Memory, cr3: u64, cr4: u64) -> Self {
        const LA57: u64 = 1 << 12;
        Self { memory, root: GuestAddress(cr3 & FRAME), levels: if cr4 & LA57 == 0 { 4 } else { 5 } }
    }

    /// The kernel's own tables (`init_top_pgt`), found by their looks: for a kernel whose symbols are not known, and
    /// which runs. `None` where nothing looks like them.
    ///
    /// They are the page in the kernel's image that maps nothing for user space, and maps itself where the kernel
    /// has all of memory and its own image where that is linked (Documentation/arch/x86/x86_64/mm.rst; both as
    /// without KASLR). The guest may have made others that look like it.
    pub fn find_kernels(memory: Memory) -> Option<Self> {
        const PAGE: usize = 4096;
        /// `page_offset_base`, four levels.
        const DIRECT: u64 = 0xffff_8880_0000_0000;
        /// `__START_KERNEL_map`.
        const IMAGE: u64 = 0xffff_ffff_8000_0000;
        /// CONFIG_PHYSICAL_START's default, and more than a kernel is long.
        const PLACES: std::ops::Range<u64> = 16 << 20..128 << 20;
        let mut page = [0; PAGE];
        PLACES.step_by(PAGE).find_map(|at| {
            memory.read_slice(&mut page, GuestAddress(at)).ok()?;
            // Half of the table is user space's; the last entry is that of the image.
            if page[..PAGE / 2].iter().any(|byte| *byte != 0) || page[PAGE - 8] & PRESENT as u8 == 0 {
                return None;
            }
            let space = Self::new(memory.clone(), at, 0);
            let maps = |base: u64, to: u64| {
                space.translate(GuestVirtualAddress(base + to)) == Some(GuestAddress(to))
            };
            (maps(DIRECT, at) && maps(IMAGE, at) && maps(IMAGE, PLACES.start)).then_some(space)
        })
    }

    /// Where a virtual address is in physical memory.
    pub fn translate(&self, address: GuestVirtualAddress) -> Option<GuestAddress> {
        self.place(address).0
    }

    /// Where a virtual address is in physical memory, and how many bytes from there on it is the same for: to the end of the page, or of
    /// what is not mapped.
    pub fn place(&self, address: GuestVirtualAddress) -> (Option<GuestAddress>, u64) {
        let mut table = self.root;
        for level in (1..=self.levels).rev() {
            let shift = 12 + 9 * u64::from(level - 1);
            let rest = (1u64 << shift) - (address.0 & ((1 << shift) - 1));
            let at = table.0.checked_add(((address.0 >> shift) & 0x1ff) * 8);
            let entry: Option<u64> = at.and_then(|at| self.memory.read_obj(GuestAddress(at)).ok());
            let Some(entry) = entry.filter(|entry| entry & PRESENT != 0) else { return (None, rest) };
            if level == 1 || ((2..=3).contains(&level) && entry & LARGE != 0) {
                let offset = (1u64 << shift) - 1;
                return (Some(GuestAddress((entry & FRAME & !offset) | (address.0 & offset))), rest);
            }
            table = GuestAddress(entry & FRAME);
        }
        (None, 1)
    }

    /// An entry of the top table, without what the processor itself notes there (accessed, dirty).
    pub fn top_entry(&self, index: u64) -> Option<u64> {
        let entry: u64 =
            self.memory.read_obj(GuestAddress(self.root.0.checked_add((index & 0x1ff) * 8)?)).ok()?;
        Some(entry & !(1 << 5 | 1 << 6))
    }

    /// The tables that user space has beside these, where page table isolation is on: the page behind
    /// (Documentation/arch/x86/pti.rst). Where it is off, nothing is there that could be taken for tables.
    pub fn user_side(&self) -> Option<Self> {
        let root = GuestAddress(self.root.0.checked_add(0x1000)?);
        Some(Self { memory: self.memory.clone(), root, levels: self.levels })
    }

    /// Fills `buffer` from virtual memory; `None` when any page of it is not mapped to memory.
    pub fn read(&self, address: GuestVirtualAddress, buffer: &mut [u8]) -> Option<()> {
        let mut at = address.0;
        let mut rest = buffer;
        while !rest.is_empty() {
            let in_page = (0x1000 - (at & 0xfff) as usize).min(rest.len());
            let (head, tail) = rest.split_at_mut(in_page);
            let physical = self.translate(GuestVirtualAddress(at))?;
            self.memory.read_slice(head, physical).ok()?;
            at = at.checked_add(in_page as u64).or(tail.is_empty().then_some(0))?;
            rest = tail;
        }
        Some(())
    }

    /// A little-endian integer in virtual memory.
    pub fn read_u64(&self, address: GuestVirtualAddress) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Some(u64::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::create_memory;

    fn space_with(entries: &[(u64, u64)]) -> AddressSpace {
        let memory = create_memory(32).unwrap();
        for (at, entry) in entries {
            memory.write_obj(*entry, GuestAddress(*at)).unwrap();
        }
        AddressSpace::new(memory, 0x1000, 0)
    }

    #[test]
    fn a_small_page_is_found_and_reads_stop_at_its_unmapped_neighbour() {
        let space = space_with(&[
            (0x1000, 0x2003),
            (0x2000, 0x3003),
            (0x3000, 0x4003),
            (0x4000, 0x5003),
            (0x5ff8, 77),
        ]);
        assert_eq!(space.translate(GuestVirtualAddress(0xff8)), Some(GuestAddress(0x5ff8)));
        assert_eq!(space.read_u64(GuestVirtualAddress(0xff8)), Some(77));
        assert_eq!(space.read_u64(GuestVirtualAddress(0xffc)), None);
    }

    #[test]
    fn a_large_page_keeps_the_low_21_bits() {
        let space = space_with(&[(0x1000, 0x2003), (0x2000, 0x3003), (0x3008, 0x40_0083)]);
        assert_eq!(space.translate(GuestVirtualAddress(0x20_1234)), Some(GuestAddress(0x40_1234)));
    }

    #[test]
    fn tables_outside_of_memory_or_looping_end_the_walk() {
        let outside = space_with(&[(0x1000, 0x000f_ffff_ffff_f003)]);
        assert_eq!(outside.translate(GuestVirtualAddress(0)), None);
        let looping = space_with(&[(0x1000, 0x1003)]);
        assert_eq!(looping.translate(GuestVirtualAddress(0)), Some(GuestAddress(0x1000)));
        assert_eq!(looping.read_u64(GuestVirtualAddress(u64::MAX - 3)), None);
    }

    #[test]
    fn the_kernels_tables_are_found_and_a_processes_are_not() {
        const START: u64 = 16 << 20;
        let memory = create_memory(64).unwrap();
        let set = |at: u64, entry: u64| memory.write_obj(entry, GuestAddress(at)).unwrap();
        // A process's tables, a copy of the kernel's with something of its own, lie before them.
        let (process, top, direct, image, large) =
            (START, START + 0x3000, START + 0x4000, START + 0x5000, START + 0x6000);
        assert!(AddressSpace::find_kernels(memory.clone()).is_none(), "an empty memory");
        for table in [process, top] {
            // Entries of 0xffff888000000000 and 0xffffffff80000000.
            set(table + 273 * 8, direct | 3);
            set(table + 511 * 8, image | 3);
        }
        set(process + 8, 0x7003);
        // A large page of 1 GiB each, and one table of two MiB ones for the image.
        set(direct, 0x83);
        set(image + 510 * 8, large | 3);
        (0..32).for_each(|index| set(large + index * 8, (index << 21) | 0x83));
        let found = AddressSpace::find_kernels(memory.clone()).unwrap();
        assert_eq!(found.root, GuestAddress(top));
        // One that maps the image elsewhere is none.
        set(large + 8 * 8, (9 << 21) | 0x83);
        assert!(AddressSpace::find_kernels(memory).is_none());
    }
}
