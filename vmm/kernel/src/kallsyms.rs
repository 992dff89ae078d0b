//! Symbols of a kernel that has no symbol table: those that it carries for its own messages.
//!
//! Source: scripts/kallsyms.c, which writes the tables, and kernel/kallsyms.c, which reads them. Nothing says where in
//! an image they are, so they are searched for; each find is checked by another table. All are aligned to 8 bytes:
//!
//! | until 6.3 | since 6.4 |
//! |---|---|
//! | offsets, relative base | number, names, markers |
//! | number, names, markers | tokens, index of tokens |
//! | (6.2: sequence), tokens, index of tokens | offsets, relative base |

use std::ops::Range;

/// A symbol: its address, its type as in System.map, its name.
pub type Symbol = (u64, char, String);

/// How many symbols a kernel may have.
const COUNTS: Range<usize> = 1_000..4_000_000;

/// Names lie so far before their tokens at the most, in bytes.
const SPAN: usize = 64 << 20;

/// So many names are stepped over while tables are looked for: whoever made the image may have put a number everywhere that could be theirs.
const STEPS: usize = 64 << 20;

/// A name is no longer, in bytes (KSYM_NAME_LEN of include/linux/kallsyms.h, with its type).
const LONGEST: usize = 513;

/// Kernel addresses begin here (Documentation/arch/x86/x86_64/mm.rst, kernel text mapping).
const TEXT: u64 = 0xffff_ffff_8000_0000;

/// The symbols in `image`, the content of an uncompressed kernel, in its order. `None` when there are none.
pub fn find(image: &[u8]) -> Option<Vec<Symbol>> {
    let tokens = Tokens::find(image)?;
    let names = Names::find(image, &tokens)?;
    let count = names.names.len();
    let before =
        || names.number.checked_sub(8).and_then(|base| Some((base, base.checked_sub(align(4 * count))?)));
    let behind = || Some((align(tokens.end) + align(4 * count), align(tokens.end)));
    let (base, offsets) = [before(), behind()]
        .into_iter()
        .flatten()
        .find(|(base, _)| u64_at(image, *base).is_some_and(|base| base >= TEXT))?;
    let base = u64_at(image, base)?;
    let offsets: Vec<i32> =
        (0..count).map(|n| Some(u32_at(image, offsets + 4 * n)? as i32)).collect::<Option<_>>()?;
    // CONFIG_KALLSYMS_ABSOLUTE_PERCPU: per-CPU symbols are small numbers, all others negative ones.
    let absolute = offsets.iter().filter(|offset| **offset < 0).count() > count / 2;
    let address = |offset: i32| match (absolute, offset) {
        (true, 0..) => offset as u64,
        (true, _) => base.wrapping_sub(1).wrapping_sub(offset as i64 as u64),
        (false, _) => base.wrapping_add(u64::from(offset as u32)),
    };
    let symbol = |(offset, name): (i32, String)| {
        let mut chars = name.chars();
        let kind = chars.next()?;
        Some((address(offset), kind, chars.as_str().to_owned()))
    };
    offsets.into_iter().zip(names.names).map(symbol).collect()
}

/// The same as text in System.map's form, sorted by address.
pub fn system_map(mut symbols: Vec<Symbol>) -> String {
    use std::fmt::Write;
    symbols.sort();
    symbols.iter().fold(String::new(), |mut text, (address, kind, name)| {
        let _ = writeln!(text, "{address:016x} {kind} {name}");
        text
    })
}

/// The 256 pieces that names are made of.
struct Tokens {
    pieces: Vec<Vec<u8>>,
    /// Where the table begins.
    start: usize,
    /// Where its index ends.
    end: usize,
}

impl Tokens {
    fn find(image: &[u8]) -> Option<Self> {
        // Every digit stands for itself, for every kernel has names with it.
        let digits: Vec<u8> = (b'0'..=b'9').flat_map(|digit| [digit, 0]).collect();
        memchr::memmem::find_iter(image, &digits).find_map(|at| Self::around(image, at))
    }

    fn around(image: &[u8], digits: usize) -> Option<Self> {
        let mut start = digits;
        for _ in 0..b'0' {
            // Behind the NUL of the piece before the one before.
            let end = start.checked_sub(1)?;
            start = memchr::memrchr(0, image.get(..end)?).map_or(0, |nul| nul + 1);
            (start < end && image[end] == 0).then_some(())?;
        }
        let mut pieces = Vec::new();
        let mut index = Vec::new();
        let mut at = start;
        for _ in 0..256 {
            let length = memchr::memchr(0, image.get(at..)?.get(..64)?)?;
            index.extend(u16::try_from(at - start).ok()?.to_le_bytes());
            pieces.push(image[at..at + length].to_vec());
            at += length + 1;
        }
        let end = align(at) + index.len();
        (image.get(align(at)..end)? == index).then_some(Self { pieces, start, end })
    }
}

struct Names {
    /// With the type before each.
    names: Vec<String>,
    /// Where their number stands.
    number: usize,
}

impl Names {
    /// The nearest place before the tokens that has a number followed by so many names, followed by markers that
    /// agree with them.
    fn find(image: &[u8], tokens: &Tokens) -> Option<Self> {
        let last = tokens.start & !7;
        let first = last.saturating_sub(SPAN);
        let mut steps = STEPS;
        (first..last).rev().filter(|at| at % 8 == 0).find_map(|number| {
            let count = u64_at(image, number)?;
            let count = usize::try_from(count).ok().filter(|count| COUNTS.contains(count))?;
            Self::at(image, tokens, number, count, &mut steps)
        })
    }

    fn at(image: &[u8], tokens: &Tokens, number: usize, count: usize, steps: &mut usize) -> Option<Self> {
        let start = number + 8;
        let mut at = start;
        let mut markers = Vec::new();
        // Only what has its markers is made names of.
        for index in 0..count {
            *steps = steps.checked_sub(1)?;
            if index % 256 == 0 {
                markers.extend(u32::try_from(at - start).ok()?.to_le_bytes());
            }
            let name = name_at(image, at)?;
            if name.is_empty() || name.end > tokens.start {
                return None;
            }
            at = name.end;
        }
        let place = align(at);
        if image.get(place..place + markers.len())? != markers {
            return None;
        }
        let mut names = Vec::new();
        at = start;
        for _ in 0..count {
            let name = name_at(image, at)?;
            at = name.end;
            let pieces = image.get(name)?.iter().map(|token| &tokens.pieces[usize::from(*token)][..]);
            let mut text = Vec::new();
            for piece in pieces {
                text.extend(piece);
                (text.len() <= LONGEST).then_some(())?;
            }
            names.push(String::from_utf8(text).ok()?);
        }
        Some(Self { names, number })
    }
}

/// Where the tokens of the name are whose length stands here.
fn name_at(image: &[u8], at: usize) -> Option<Range<usize>> {
    let length = usize::from(*image.get(at)?);
    // Since 6.1 long names have their length in two bytes, seven bits each.
    if length & 0x80 == 0 {
        return Some(at + 1..at + 1 + length);
    }
    let length = (length & 0x7f) | usize::from(*image.get(at + 1)?) << 7;
    Some(at + 2..at + 2 + length)
}

fn align(at: usize) -> usize {
    at.next_multiple_of(8)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
#[path = "kallsyms_test.rs"]
mod tests;
