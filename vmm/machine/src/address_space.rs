//! Reading the kernel's virtual memory from outside, by its own page tables.

use crate::{Memory, load};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};
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
            let entry: Option<u64> = at.and_then(|at| load(&self.memory, GuestAddress(at)));
            let Some(entry) = entry.filter(|entry| entry & PRESENT != 0) else { return (None, rest) };
            if level == 1 || ((2..=3).contains(&level) && entry & LARGE != 0) {
                let offset = (1u64 << shift) - 1;
                return (Some(GuestAddress((entry & FRAME & !offset) | (address.0 & offset))), rest);
            }
            table = GuestAddress(entry & FRAME);
        }
        (None, 1)
    }

    /// The tables below the top one by which addresses from `first` to `last` are translated now, by their physical addresses.
    pub fn tables(&self, first: GuestVirtualAddress, last: GuestVirtualAddress) -> BTreeSet<u64> {
        let mut tables = BTreeSet::new();
        let mut at = first.0;
        while at <= last.0 {
            let mut table = self.root;
            let mut rest = 1;
            for level in (1..=self.levels).rev() {
                let shift = 12 + 9 * u64::from(level - 1);
                rest = (1u64 << shift) - (at & ((1 << shift) - 1));
                let entry = table.0.checked_add(((at >> shift) & 0x1ff) * 8);
                let entry: Option<u64> = entry.and_then(|at| load(&self.memory, GuestAddress(at)));
                let Some(entry) = entry.filter(|entry| entry & PRESENT != 0) else { break };
                if level == 1 || ((2..=3).contains(&level) && entry & LARGE != 0) {
                    break;
                }
                table = GuestAddress(entry & FRAME);
                tables.insert(table.0);
            }
            let Some(next) = at.checked_add(rest) else { break };
            at = next;
        }
        tables
    }

    /// For many reads in one moment: the tables are walked once for each page.
    pub fn at_once(&self) -> AtOnce<'_> {
        AtOnce { space: self, known: RefCell::default() }
    }

    /// An entry of the top table, without what the processor itself notes there (accessed, dirty).
    pub fn top_entry(&self, index: u64) -> Option<u64> {
        let entry: u64 = load(&self.memory, GuestAddress(self.root.0.checked_add((index & 0x1ff) * 8)?))?;
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
        read(|at| self.translate(GuestVirtualAddress(at)), &self.memory, address, buffer)
    }

    /// A little-endian integer in virtual memory.
    pub fn read_u64(&self, address: GuestVirtualAddress) -> Option<u64> {
        if address.0.is_multiple_of(8) {
            return load(&self.memory, self.translate(address)?);
        }
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Some(u64::from_le_bytes(bytes))
    }
}

/// An address space of which it is remembered where the pages are.
pub struct AtOnce<'s> {
    space: &'s AddressSpace,
    /// From there on, so many bytes, are there in physical memory.
    known: RefCell<BTreeMap<u64, (u64, u64)>>,
}

impl AtOnce<'_> {
    fn translate(&self, address: u64) -> Option<GuestAddress> {
        let known = self.known.borrow().range(..=address).next_back().map(|(at, place)| (*at, *place));
        if let Some((at, (length, physical))) = known
            && address - at < length
        {
            return Some(GuestAddress(physical + (address - at)));
        }
        // From the page's beginning on, for those who come from behind.
        let begin = address & !0xfff;
        let (place, length) = self.space.place(GuestVirtualAddress(begin));
        let physical = place?.0;
        self.known.borrow_mut().insert(begin, (length, physical));
        Some(GuestAddress(physical.checked_add(address - begin)?))
    }

    /// As [`AddressSpace::read`].
    pub fn read(&self, address: GuestVirtualAddress, buffer: &mut [u8]) -> Option<()> {
        read(|at| self.translate(at), &self.space.memory, address, buffer)
    }

    /// As [`AddressSpace::read_u64`].
    pub fn read_u64(&self, address: GuestVirtualAddress) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Some(u64::from_le_bytes(bytes))
    }
}

fn read(
    translate: impl Fn(u64) -> Option<GuestAddress>,
    memory: &Memory,
    address: GuestVirtualAddress,
    buffer: &mut [u8],
) -> Option<()> {
    let mut at = address.0;
    let mut rest = buffer;
    while !rest.is_empty() {
        let in_page = (0x1000 - (at & 0xfff) as usize).min(rest.len());
        let (head, tail) = rest.split_at_mut(in_page);
        memory.read_slice(head, translate(at)?).ok()?;
        at = at.checked_add(in_page as u64).or(tail.is_empty().then_some(0))?;
        rest = tail;
    }
    Some(())
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
    fn at_once_reads_the_same() {
        let space = space_with(&[
            (0x1000, 0x2003),
            (0x2000, 0x3003),
            (0x3000, 0x4003),
            (0x3008, 0x40_0083),
            (0x4008, 0x6003),
            (0x4010, 0x5003),
            (0x5ff8, 77),
            (0x6ff8, 66),
            (0x5000, 55),
            (0x40_1238, 88),
        ]);
        let at_once = space.at_once();
        for at in [0x1ff8, 0x2ff8, 0x1ffc, 0x2000, 0x20_1238, 0x20_0000, 0x3000, 0x2ffc, 0x20_1238] {
            let at = GuestVirtualAddress(at);
            assert_eq!(at_once.read_u64(at), space.read_u64(at), "{at:x?}");
        }
        assert_eq!(at_once.read_u64(GuestVirtualAddress(0x2ff8)), Some(77));
    }

    #[test]
    fn tables_are_those_that_addresses_are_translated_by() {
        let space = space_with(&[(0x1000, 0x2003), (0x2000, 0x3003), (0x3000, 0x4003), (0x3008, 0x40_0083)]);
        let tables = |first, last| {
            space
                .tables(GuestVirtualAddress(first), GuestVirtualAddress(last))
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(tables(0, 0x1f_ffff), [0x2000, 0x3000, 0x4000]);
        assert_eq!(tables(0x20_0000, 0x3f_ffff), [0x2000, 0x3000]);
        assert_eq!(tables(1 << 39, 1 << 39), [0; 0]);
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
