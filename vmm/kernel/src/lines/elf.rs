//! Two things in an ELF file that its debug info depends on: the addresses of functions, and the sections of debug info
//! with their relocations done.
//!
//! A module is a relocatable file: every section of it begins at address 0, and its debug info has zeros where
//! addresses belong. So its sections of code are laid out one behind the other, and relocations are done for that.

use object::{
    Architecture, Object, ObjectSection, ObjectSymbol, ReadRef, RelocationFlags, RelocationTarget,
    SectionIndex, SectionKind, SymbolKind, elf,
};
use std::collections::{BTreeMap, HashMap};

/// Where the first section of code is put. Not 0, which debug info has for code that was dropped.
const FIRST: u64 = 1 << 20;

/// An ELF file, and where its sections of code are.
pub struct Elf<'data, R: ReadRef<'data>> {
    file: object::File<'data, R>,
    /// What to add to addresses in a section; nothing for a file that is linked.
    bases: HashMap<SectionIndex, u64>,
}

impl<'data, R: ReadRef<'data>> Elf<'data, R> {
    /// `None` for what is no x86-64 file.
    pub fn parse(data: R) -> Option<Self> {
        let file = object::File::parse(data).ok()?;
        if file.architecture() != Architecture::X86_64 {
            return None;
        }
        let mut bases = HashMap::new();
        if file.kind() == object::ObjectKind::Relocatable {
            let mut next = FIRST;
            for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
                bases.insert(section.index(), next);
                // A page between two, so that no address belongs to both.
                let end = next.checked_add(section.size())?.checked_next_multiple_of(4096)?;
                next = end.checked_add(4096)?;
            }
        }
        Some(Self { file, bases })
    }

    /// So many bytes these sections have, unpacked.
    pub fn size(&self, names: &[&str]) -> u64 {
        let sections = names.iter().filter_map(|name| self.file.section_by_name(name));
        let sizes = sections.map(|section| section.compressed_data().map_or(0, |it| it.uncompressed_size));
        sizes.fold(0, u64::saturating_add)
    }

    /// A section's content, unpacked and relocated; empty if there is no such section.
    pub fn section(&self, name: &str) -> Option<Vec<u8>> {
        let Some(section) = self.file.section_by_name(name) else { return Some(Vec::new()) };
        let mut data = section.uncompressed_data().ok()?.into_owned();
        if self.file.kind() != object::ObjectKind::Relocatable {
            return Some(data);
        }
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let Ok(symbol) = self.file.symbol_by_index(index) else { continue };
            let base = symbol.section_index().and_then(|index| self.bases.get(&index)).copied();
            let value = base.unwrap_or(0).wrapping_add(symbol.address());
            let value = value.wrapping_add_signed(relocation.addend()).to_le_bytes();
            // x86-64 psABI, section 4.4.1. Debug info has no others that matter here.
            let length = match relocation.flags() {
                RelocationFlags::Elf { r_type: elf::R_X86_64_64 } => 8,
                RelocationFlags::Elf { r_type: elf::R_X86_64_32 } => 4,
                _ => continue,
            };
            let place = usize::try_from(offset).ok().and_then(|at| data.get_mut(at..)?.get_mut(..length));
            place?.copy_from_slice(&value[..length]);
        }
        Some(data)
    }

    /// The functions.
    pub fn symbols(&self) -> Functions {
        let code: BTreeMap<usize, (u64, u64)> = self
            .file
            .sections()
            .filter(|section| section.kind() == SectionKind::Text)
            .map(|section| {
                let start = section.address().wrapping_add(self.base(section.index()));
                (section.index().0, (start, start.saturating_add(section.size())))
            })
            .collect();
        let mut all: Vec<(u64, u64, u64, &str)> = Vec::new();
        for symbol in self.file.symbols() {
            let index = symbol.section_index();
            let Some((index, (_, end))) = index.and_then(|it| Some((it, code.get(&it.0)?))) else { continue };
            let wanted = matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Unknown | SymbolKind::Label);
            // The assembler's own marks are in no table that the kernel looks at.
            let name =
                symbol.name().ok().filter(|name| wanted && !name.is_empty() && !name.starts_with(".L"));
            let Some(name) = name else { continue };
            all.push((symbol.address().wrapping_add(self.base(index)), symbol.size(), *end, name));
        }
        all.sort_unstable();
        Functions::new(&all)
    }

    fn base(&self, index: SectionIndex) -> u64 {
        self.bases.get(&index).copied().unwrap_or(0)
    }
}

/// A function's place in its file.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Function {
    start: u64,
    /// As the compiler says; 0 if it does not.
    size: u64,
    /// Until the next function, or the section's end.
    room: u64,
    /// It is the last of its section: the kernel, which knows no sections, may take it for longer.
    last: bool,
}

/// A file's functions by their names.
#[derive(Debug, Default)]
pub struct Functions(HashMap<String, Vec<Function>>);

impl Functions {
    /// Of address, size, end of the section, and name, in the order of addresses.
    fn new(all: &[(u64, u64, u64, &str)]) -> Self {
        let mut functions: HashMap<String, Vec<Function>> = HashMap::new();
        let (mut this, mut after) = (u64::MAX, u64::MAX);
        for (start, size, end, name) in all.iter().rev() {
            if *start != this {
                (this, after) = (*start, this);
            }
            let next = after.min(*end);
            let room = next.saturating_sub(*start);
            let function = Function { start: *start, size: *size, room, last: next == *end };
            let same = functions.entry(splat::base_name(name)).or_default();
            // One function may have several names that differ in their suffix alone.
            if same.last().is_none_or(|it| it.start != *start) {
                same.push(function);
            }
        }
        Self(functions)
    }

    /// Where the function begins that has this name and, as far as the kernel is concerned, this size. `None` if
    /// there is none, or several.
    pub fn start(&self, name: &str, offset: u64, size: Option<u64>) -> Option<u64> {
        let all = self.0.get(name)?;
        let Some(size) = size else {
            let [one] = &all[..] else { return None };
            return (offset <= one.room).then_some(one.start);
        };
        if offset > size {
            return None;
        }
        let exact = |it: &&Function| it.room == size || it.last && it.room <= size;
        // The kernel leaves some names out of its tables, and takes the function before for longer.
        let possible = |it: &&Function| it.size <= size && offset <= it.room;
        match (&all.iter().filter(exact).collect::<Vec<_>>()[..], &all[..]) {
            ([one], _) => Some(one.start),
            ([], [one]) => Some(one).filter(possible).map(|one| one.start),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_one_name_are_told_apart_by_size() {
        let all = [
            (0x100, 0x2d, 0x1000, "init"),
            (0x130, 0x10, 0x1000, "init"),
            (0x140, 0x10, 0x1000, "other"),
            (0x150, 0x10, 0x1000, "twin"),
            (0x160, 0x10, 0x1000, "twin.cold"),
            (0x170, 0x10, 0x1000, "last"),
        ];
        let functions = Functions::new(&all);
        assert_eq!(functions.start("init", 4, Some(0x30)), Some(0x100));
        assert_eq!(functions.start("init", 4, Some(0x10)), Some(0x130));
        assert_eq!(functions.start("init", 4, Some(0x20)), None, "no such size");
        assert_eq!(functions.start("init", 4, None), None, "two of them");
        assert_eq!(functions.start("twin", 4, Some(0x10)), None, "two of one size");
        assert_eq!(functions.start("other", 4, None), Some(0x140));
        assert_eq!(functions.start("other", 0x11, None), None, "behind its end");
        assert_eq!(functions.start("other", 4, Some(0x8)), None, "another build's");
        assert_eq!(functions.start("last", 4, Some(0x2000)), Some(0x170), "until the module's end");
        assert_eq!(functions.start("nobody", 0, None), None);
    }
}
