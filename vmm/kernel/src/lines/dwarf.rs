//! The debug info of one file.

use super::{
    Code, Stands,
    elf::{Elf, Functions},
};
use addr2line::{Context, LookupContinuation, LookupResult};
use base::unpack::unpack;
use gimli::{
    AbbreviationsCacheStrategy, DebugAbbrev, DebugAbbrevOffset, EndianArcSlice, LittleEndian, SectionId,
};
use jail::reader::{Answers, Reader as Apart, answers};
use object::{ReadCache, ReadRef};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufReader, Read, Seek},
};

/// So many bytes of debug info a kernel may have: a distribution's has about 800 MiB.
const KERNEL_LIMIT: u64 = 2 << 30;
/// The same for a module.
const MODULE_LIMIT: u64 = 128 << 20;

/// What reads a kernel's, in a process of its own. Its tables may take as much as what they are made of.
pub static KERNEL: Apart =
    Apart { name: "lines", memory: 6 << 30, open: |file| answering(file, KERNEL_LIMIT) };
/// What reads a module's.
pub static MODULE: Apart =
    Apart { name: "module-lines", memory: 2 << 30, open: |file| answering(file, MODULE_LIMIT) };

/// A line, as a file's debug info has it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Line {
    /// As the compiler knew it.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
    /// The folder of the kernel's source, with `/` at its end, as this file has it; only a vmlinux has.
    pub root: Option<String>,
}

fn answering(file: Option<File>, limit: u64) -> Answers {
    let info = file.and_then(|file| DebugInfo::load(file, limit));
    let root = info.as_ref().and_then(DebugInfo::source_root);
    answers(move |(code, stands): (Code, Stands), _| {
        let found = info.as_ref().and_then(|info| info.find(&code, stands));
        (found.map(|(file, line)| Line { file, line, root: root.clone() }), Vec::new())
    })
}

/// How deep the tree of a compilation unit may be. What reads it goes down by recursion; compilers make a dozen levels.
const DEPTH: isize = 256;

/// So many compilation units a file may have; a kernel with all its drivers has a tenth.
const UNITS: usize = 100_000;

/// What is read. Not those that tell of variables: they are most of it.
const SECTIONS: &[SectionId] = &[
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugAranges,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
];

type Reader = EndianArcSlice<LittleEndian>;

/// What one file says of its code.
struct DebugInfo {
    symbols: Functions,
    context: Context<Reader>,
    /// Whether functions can be gone into, or only lines be looked for.
    flat: bool,
}

impl DebugInfo {
    /// Of an ELF file, which may be compressed. `None` if it has no debug info, or more than `limit` bytes of it, or
    /// can't be understood.
    fn load(mut file: File, limit: u64) -> Option<Self> {
        let mut magic = [0; 4];
        file.read_exact(&mut magic).ok()?;
        file.rewind().ok()?;
        if magic == *b"\x7fELF" {
            // A part of a kernel's file is enough.
            return Self::parse(&ReadCache::new(BufReader::new(file)), limit);
        }
        let mut packed = Vec::new();
        file.take(limit).read_to_end(&mut packed).ok()?;
        Self::parse(&*unpack(packed).ok()?, limit)
    }

    fn parse<'data, R: ReadRef<'data>>(data: R, limit: u64) -> Option<Self> {
        let elf = Elf::parse(data)?;
        let names: Vec<&str> = SECTIONS.iter().map(|id| id.name()).collect();
        let has_lines = [".debug_info", ".debug_line"].iter().all(|name| elf.size(&[name]) > 0);
        // Each byte of a line program can make a row of thirty.
        if !has_lines || elf.size(&names) > limit || elf.size(&[".debug_line"]) > limit / 16 {
            return None;
        }
        let section = |id: SectionId| {
            let data = if SECTIONS.contains(&id) { elf.section(id.name()).ok_or(())? } else { Vec::new() };
            Ok::<_, ()>(Reader::new(data.into(), LittleEndian))
        };
        let mut dwarf = gimli::Dwarf::load(section).ok()?;
        if !are_apart(&dwarf, &elf.section(SectionId::DebugAbbrev.name())?)? {
            return None;
        }
        // Units share tables of abbreviations; each would be read anew for each of them.
        dwarf.populate_abbreviations_cache(AbbreviationsCacheStrategy::All);
        let flat = is_flat(&dwarf).unwrap_or(false);
        Some(Self { symbols: elf.symbols(), context: Context::from_dwarf(dwarf).ok()?, flat })
    }

    /// File and line of this code.
    fn find(&self, code: &Code, stands: Stands) -> Option<(String, u32)> {
        let (start, offset) = match code {
            Code::Linked(address) => (*address, 0),
            Code::Named { function, offset, size, .. } => {
                (self.symbols.start(function, *offset, *size)?, *offset)
            }
        };
        let address = start.checked_add(offset)?;
        // The address behind a call may belong to another line, or even to another function.
        let address = match stands {
            Stands::BehindCall if offset > 0 || matches!(code, Code::Linked(_)) => address.checked_sub(1)?,
            _ => address,
        };
        self.line(address)
    }

    /// File, as the compiler knew it, and line of the code at an address.
    fn line(&self, address: u64) -> Option<(String, u32)> {
        // What looks there looks up to the next address.
        address.checked_add(1)?;
        let mut found = None;
        if self.flat {
            // Innermost first; the last is the function that has all the others in it.
            let mut frames = without_others(self.context.find_frames(address)).ok()?;
            while let Some(frame) = frames.next().ok()? {
                found = frame.location.or(found);
            }
        } else {
            found = self.context.find_location(address).ok()?;
        }
        let location = found?;
        Some((location.file?.to_owned(), location.line.filter(|line| *line > 0)?))
    }

    /// The folder of the kernel's source, with `/` at its end, as this file has it; only a vmlinux has.
    fn source_root(&self) -> Option<String> {
        const FILE: &str = "init/main.c";
        let start = self.symbols.start("start_kernel", 0, None)?;
        let (file, _) = self.line(start)?;
        super::tidy(&file).strip_suffix(FILE).map(str::to_owned)
    }
}

/// Whether there is a sensible number of units, and no table of abbreviations is a part of another, which would be read once for each
/// place in it. `None`: they can't be read.
fn are_apart(dwarf: &gimli::Dwarf<Reader>, table: &[u8]) -> Option<bool> {
    let (mut units, mut count, mut starts) = (dwarf.units(), 0, BTreeSet::new());
    while let Some(unit) = units.next().ok()? {
        count += 1;
        if count > UNITS {
            return Some(false);
        }
        starts.insert(unit.debug_abbrev_offset().0);
    }
    let ends = starts.iter().copied().skip(1).chain([table.len()]);
    let ends_before = |(start, end): (&usize, usize)| {
        // Who goes on behind it finds a number without an end.
        let part = table.get(*start..end).map(|part| [part, &[0x80]].concat());
        let part = part.as_deref().map(|part| DebugAbbrev::new(part, LittleEndian));
        part.is_some_and(|part| part.abbreviations(DebugAbbrevOffset(0)).is_ok())
    };
    Some(starts.iter().zip(ends).all(ends_before))
}

/// Whether all units are trees of sensible depth.
fn is_flat(dwarf: &gimli::Dwarf<Reader>) -> gimli::Result<bool> {
    let mut units = dwarf.units();
    while let Some(unit) = units.next()? {
        let abbreviations = dwarf.abbreviations(&unit)?;
        let mut entries = unit.entries_raw(&abbreviations, None)?;
        while !entries.is_empty() {
            if entries.next_depth() > DEPTH {
                return Ok(false);
            }
            if let Some(entry) = entries.read_abbreviation()? {
                entries.skip_attributes(entry.attributes())?;
            }
        }
    }
    Ok(true)
}

/// Debug info may say that more of it is in another file. A module's is not to choose what we open.
fn without_others<L: LookupContinuation<Buf = Reader>>(result: LookupResult<L>) -> L::Output {
    result.skip_all_loads()
}
