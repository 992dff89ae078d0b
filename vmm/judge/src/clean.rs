//! Whether anything is left of a module: places as they were before the scenario's steps and as they are after.

mod memory;

use super::Failure;
use base::{taint, text::escape};
use scenario::model::Place;
use std::collections::BTreeSet;

/// Taint that loading a module of one's own brings by itself and that stays for good: proprietary (bit 0),
/// out of the kernel's tree (12), not signed (13). Documentation/admin-guide/tainted-kernels.rst.
const OF_ANY_MODULE: u64 = 1 | 1 << 12 | 1 << 13;

/// What differs; `line` is the expectation's.
pub fn compare(places: &[Place], before: &[Vec<u8>], after: &[Vec<u8>], line: usize) -> Vec<Failure> {
    let (mut before, mut after) = (before.iter(), after.iter());
    let mut next = || {
        let piece = |data: &mut std::slice::Iter<'_, Vec<u8>>| data.next().cloned().unwrap_or_default();
        (piece(&mut before), piece(&mut after))
    };
    let mut failures = Vec::new();
    for place in places {
        if *place == Place::Memory {
            let ((_, leaks), slabs) = (next(), next());
            failures.extend(memory::compare(&leaks, &slabs.0, &slabs.1, line));
            continue;
        }
        let (before, after) = next();
        // A record of a listing has 280 bytes at the most (NAME_MAX): where no room for one is left, some may be missing.
        let full = |data: &[u8]| *place == Place::Nodes && data.len() + 280 > Place::LISTING as usize;
        if full(&before) || full(&after) {
            failures.push(unknown(place.path(), line));
            continue;
        }
        let (before, after) = (entries(*place, &before), entries(*place, &after));
        let left: Vec<&str> = after.difference(&before).map(String::as_str).collect();
        let gone: Vec<&str> = before.difference(&after).map(String::as_str).collect();
        let mut got = Vec::new();
        if !left.is_empty() {
            got.push(format!("{} left", left.join(", ")));
        }
        if !gone.is_empty() {
            got.push(format!("{} gone", gone.join(", ")));
        }
        if !got.is_empty() {
            failures.push(Failure {
                what: format!("{} ({})", place.name(), place.path()),
                expected: "as before the first step".into(),
                got: got.join("; "),
                line,
            });
        }
    }
    failures
}

/// By how much the list of modules is longer, if it was looked at.
pub fn modules(places: &[Place], before: &[Vec<u8>], after: &[Vec<u8>]) -> Option<i64> {
    let index = piece(places, Place::Modules)?;
    let lines = |all: &[Vec<u8>]| Some(entries(Place::Modules, all.get(index)?).len() as i64);
    Some(lines(after)? - lines(before)?)
}

/// What was read, with the taint as it is in the kernel's memory, where that is known: a file may be another one.
pub fn known(places: &[Place], data: &[Vec<u8>], taint: Option<u64>) -> Vec<Vec<u8>> {
    let mut data = data.to_vec();
    let read = piece(places, Place::Taint).and_then(|index| data.get_mut(index));
    if let (Some(read), Some(taint)) = (read, taint) {
        *read = taint.to_string().into_bytes();
    }
    data
}

/// Which piece of the data a place's is; memory has two.
fn piece(places: &[Place], wanted: Place) -> Option<usize> {
    let index = places.iter().position(|place| *place == wanted)?;
    Some(index + places[..index].iter().filter(|place| **place == Place::Memory).count())
}

/// A place of which not all could be read.
pub fn unknown(what: &str, line: usize) -> Failure {
    Failure {
        what: "clean".into(),
        expected: "as before the first step".into(),
        got: format!("not known: {what} is too long to be read to its end"),
        line,
    }
}

/// What is in a place.
fn entries(place: Place, data: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(data);
    match place {
        Place::Modules => text.lines().filter_map(|line| line.split(' ').next()).map(escape).collect(),
        // Character and block devices have majors of their own; a line belongs to the heading above it.
        Place::Devices => {
            let mut kind = "";
            let mut found = BTreeSet::new();
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                match line.strip_suffix(" devices:") {
                    Some(heading) => kind = heading,
                    None => _ = found.insert(escape(&format!("{line} ({kind})"))),
                }
            }
            found
        }
        Place::Nodes => names(data),
        // It has no entries that could be compared one by one.
        Place::Memory => BTreeSet::new(),
        Place::Taint => {
            let bits = text.trim().parse::<u64>().unwrap_or(0) & !OF_ANY_MODULE;
            (0..64).map(|bit| bits & 1 << bit).filter(|bit| *bit != 0).map(taint::letters).collect()
        }
    }
}

/// The names in what getdents64 brought (struct linux_dirent64: inode and offset of 8 bytes each, the length of
/// the record in 2, the type in 1, the name with a NUL).
fn names(mut data: &[u8]) -> BTreeSet<String> {
    const NAME: usize = 19;
    let mut found = BTreeSet::new();
    while let Some(length) = data.get(16..18).map(|it| usize::from(u16::from_le_bytes([it[0], it[1]]))) {
        let Some(record) = data.get(..length).filter(|record| record.len() > NAME) else { break };
        let name = record[NAME..].split(|byte| *byte == 0).next().unwrap_or_default();
        if !matches!(name, b"." | b"..") {
            found.insert(escape(&String::from_utf8_lossy(name)));
        }
        data = &data[length..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(place: Place, before: &[u8], after: &[u8]) -> String {
        let failures = compare(&[place], &[before.to_vec()], &[after.to_vec()], 3);
        failures.first().map_or(String::new(), |failure| failure.got.clone())
    }

    fn dirent(name: &str) -> Vec<u8> {
        let length = (19 + name.len() + 1).next_multiple_of(8);
        let mut record = vec![0; length];
        record[16..18].copy_from_slice(&(length as u16).to_le_bytes());
        record[19..19 + name.len()].copy_from_slice(name.as_bytes());
        record
    }

    #[test]
    fn what_is_left_is_named() {
        let line = b"hello 16384 0 - Live 0x0 (O)\n";
        assert_eq!(difference(Place::Modules, b"", line), "hello left");
        assert_eq!(difference(Place::Modules, line, b"hello 16384 2 a,b, Live 0x0 (O)\n"), "");
        let (before, after) = (
            "Character devices:\n  1 mem\n\nBlock devices:\n",
            "Character devices:\n  1 mem\n240 chardev\n\nBlock devices:\n",
        );
        assert_eq!(
            difference(Place::Devices, before.as_bytes(), after.as_bytes()),
            "240 chardev (Character) left"
        );
        let nodes = [dirent("."), dirent("null")].concat();
        assert_eq!(
            difference(Place::Nodes, &nodes, &[nodes.clone(), dirent("chardev0")].concat()),
            "chardev0 left"
        );
        assert_eq!(difference(Place::Nodes, &nodes, &dirent(".")), "null gone");
    }

    #[test]
    fn taint_of_any_module_is_no_dirt_and_a_warning_is() {
        assert_eq!(difference(Place::Taint, b"0\n", b"4096\n"), "");
        assert_eq!(difference(Place::Taint, b"0\n", b"4608\n"), "W left");
        assert_eq!(difference(Place::Taint, b"0\n", b"128\n"), "D left");
    }

    #[test]
    fn a_listing_that_may_be_cut_is_not_as_before() {
        let long = dirent("chardev0").repeat(Place::LISTING as usize / 32);
        assert!(difference(Place::Nodes, &long, &long).starts_with("not known"));
        let fits = &long[..long.len() - 320];
        assert_eq!(difference(Place::Nodes, fits, fits), "");
    }

    #[test]
    fn damaged_listings_end() {
        for length in 0..40 {
            let _ = names(&dirent("chardev0").repeat(2)[..length.min(64)]);
        }
        assert!(names(&[0; 64]).is_empty());
        assert!(names(&[0xff; 64]).is_empty());
    }
}
