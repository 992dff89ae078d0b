//! What programs are: the pages of their files that a process has in memory unchanged, for who looks at it from outside.

use crate::image::why_not_static;
use board::wire::{Code, Key, PAGE, digest};
use object::{Object, ObjectKind, ObjectSegment, SegmentFlags, elf::PF_W};
use std::{collections::BTreeMap, ops::Range};

/// Of larger programs nothing is said, in pages.
const MOST_PAGES: u64 = 1 << 14;

/// Of a static program for x86-64; nothing is known of others, whose code lies in libraries as well, or unpacks itself (UPX).
pub fn of(elf: &[u8], key: Key) -> Option<Code> {
    let is_packed = elf[..elf.len().min(PAGE as usize)].windows(4).any(|word| word == b"UPX!");
    if is_packed || why_not_static(elf).is_some() {
        return None;
    }
    let file = object::File::parse(elf).ok()?;
    let moves = match file.kind() {
        ObjectKind::Executable => false,
        ObjectKind::Dynamic => true,
        _ => return None,
    };
    let (mut pages, mut unknown): (_, Vec<Range<u64>>) = (BTreeMap::new(), Vec::new());
    for segment in file.segments() {
        let SegmentFlags::Elf { p_flags, .. } = segment.flags() else { return None };
        let (address, (offset, length)) = (segment.address(), segment.file_range());
        let start = address & !(PAGE - 1);
        let all = start..address.checked_add(segment.size())?;
        // What is written to, or is longer than in its file, holds something else later; and in a page that two segments share.
        let fixed = !p_flags.contains(PF_W) && length == segment.size();
        let shared = all.clone().step_by(PAGE as usize).take(1).any(|page| pages.contains_key(&page));
        if !fixed || shared {
            unknown.push(all);
            continue;
        }
        // The kernel maps whole pages of the file (elf_map of fs/binfmt_elf.c).
        let first = offset.checked_sub(address - start).filter(|first| first % PAGE == 0)?;
        if (all.end - all.start) / PAGE > MOST_PAGES {
            return None;
        }
        for page in all.step_by(PAGE as usize) {
            let at = usize::try_from(first + (page - start)).ok()?;
            let there = elf.get(at..)?;
            let mut bytes = there[..there.len().min(PAGE as usize)].to_vec();
            bytes.resize(PAGE as usize, 0);
            pages.insert(page, digest(key, &bytes));
        }
    }
    let is_known = |page: u64| !unknown.iter().any(|other| other.start < page + PAGE && page < other.end);
    pages.retain(|page, _| is_known(*page));
    (!pages.is_empty()).then_some(Code { key, pages, moves })
}

/// The interpreter of a script (binfmt_script of fs/binfmt_script.c).
pub fn interpreter(script: &[u8]) -> Option<&str> {
    let line = script.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use board::wire::Digest;

    /// A program header: type, flags, offset, address, length in the file and in memory (ELF-64 Object File Format, version 1.5).
    fn header(kind: u32, flags: u32, [offset, address, length, size]: [u64; 4]) -> Vec<u8> {
        let mut header = [kind.to_le_bytes(), flags.to_le_bytes()].concat();
        for word in [offset, address, address, length, size, PAGE] {
            header.extend(word.to_le_bytes());
        }
        header
    }

    /// A file of three pages and a half, the second full of twos and so on.
    fn elf(kind: u8, headers: &[Vec<u8>]) -> Vec<u8> {
        let mut elf = vec![0; 64];
        elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        (elf[16], elf[18], elf[20], elf[32], elf[52], elf[54]) = (kind, 62, 1, 64, 64, 56);
        elf[56] = headers.len() as u8;
        elf.extend(headers.concat());
        elf.resize(PAGE as usize, 1);
        elf.extend([2; PAGE as usize]);
        elf.extend([3; PAGE as usize]);
        elf.extend([4; PAGE as usize / 2]);
        elf
    }

    const KEY: Key = 7;
    const EXECUTABLE: u8 = 2;
    const LOAD: u32 = 1;
    const READ_EXECUTE: u32 = 5;
    const READ_WRITE: u32 = 6;

    #[test]
    fn pages_that_nobody_writes_to_are_known_as_the_kernel_maps_them() {
        let of = |kind, headers: &[Vec<u8>]| super::of(&elf(kind, headers), KEY);
        let text = header(LOAD, READ_EXECUTE, [0x1000, 0x40_1000, 0x1800, 0x1800]);
        let code = of(EXECUTABLE, std::slice::from_ref(&text)).unwrap();
        let known: Vec<(u64, Digest)> = code.pages.into_iter().collect();
        assert!(!code.moves);
        assert_eq!(known, [(0x40_1000, digest(KEY, &[2; 4096])), (0x40_2000, digest(KEY, &[3; 4096]))]);
        // It begins within a page, and ends where the file does.
        let end = header(LOAD, READ_EXECUTE, [0x2100, 0x40_2100, 0x1700, 0x1700]);
        let last = [[4; 2048], [0; 2048]].concat();
        let known = of(EXECUTABLE, &[end]).unwrap().pages;
        assert_eq!(known[&0x40_2000], digest(KEY, &[3; 4096]));
        assert_eq!(known[&0x40_3000], digest(KEY, &last));
        // Data begins in the last page of the text.
        let data = header(LOAD, READ_WRITE, [0x2800, 0x40_2800, 0x10, 0x9000]);
        let known = of(EXECUTABLE, &[text.clone(), data]).unwrap().pages;
        assert_eq!(known.keys().collect::<Vec<_>>(), [&0x40_1000]);
        let moves = header(LOAD, READ_EXECUTE, [0x1000, 0x1000, 0x1000, 0x1000]);
        assert!(of(3, &[moves]).unwrap().moves);
    }

    #[test]
    fn nothing_is_known_of_what_is_no_static_program() {
        let text = header(LOAD, READ_EXECUTE, [0x1000, 0x40_1000, 0x1000, 0x1000]);
        let of = |elf: &[u8]| super::of(elf, KEY);
        let loader = header(3, 4, [0x100, 0x40_0100, 0x10, 0x10]);
        assert_eq!(of(&elf(3, &[text.clone(), loader])), None);
        assert_eq!(of(&elf(1, std::slice::from_ref(&text))), None);
        assert_eq!(of(b"#!/bin/sh\n"), None);
        let mut packed = elf(EXECUTABLE, std::slice::from_ref(&text));
        packed[200..204].copy_from_slice(b"UPX!");
        assert_eq!(of(&packed), None);
        for length in 0..200 {
            let _ = of(&elf(EXECUTABLE, std::slice::from_ref(&text))[..length]);
        }
        for place in [
            [0x1001, 0x40_1000, 8, 8],
            [u64::MAX, 0x40_1000, 8, 8],
            [0x1000, u64::MAX, 8, 8],
            [0, 0, 1 << 62, 1 << 62],
        ] {
            assert_eq!(of(&elf(EXECUTABLE, &[header(LOAD, READ_EXECUTE, place)])), None, "{place:x?}");
        }
    }

    #[test]
    fn a_script_names_what_runs_it() {
        assert_eq!(interpreter(b"#! /bin/sh -e\necho"), Some("/bin/sh"));
        assert_eq!([interpreter(b"echo"), interpreter(b"#!\n/bin/sh"), interpreter(b"#!\xff")], [None; 3]);
    }
}
