//! Archives: zip and tar, the latter plain or through gzip. They are known by their first bytes, not by their names.

use super::budget::Budget;
use std::io::{Cursor, Read};

/// What an archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Zip,
    Tar,
    Gzip,
}

/// The kind of an archive; `None` for any other file.
pub fn kind(name: &str, bytes: &[u8]) -> Option<Kind> {
    // APPNOTE.TXT 4.3.7 and, of an empty archive, 4.3.16; RFC 1952, 2.3.1; POSIX ustar, "magic" at 257.
    match bytes {
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Kind::Zip),
        [0x1f, 0x8b, ..] => Some(Kind::Gzip),
        bytes if bytes.get(257..262) == Some(b"ustar") => Some(Kind::Tar),
        // What should be one and is not, is told as damaged.
        [..] if name.ends_with(".zip") => Some(Kind::Zip),
        [..] if name.ends_with(".tar.gz") || name.ends_with(".tgz") => Some(Kind::Gzip),
        [..] => None,
    }
}

/// What a file is called whose first bytes are those of an archive that is not read here.
pub fn foreign(bytes: &[u8]) -> Option<&'static str> {
    // Of each format's own specification: its signature.
    const KNOWN: [(&[u8], &str); 5] = [
        (b"Rar!\x1a\x07", ".rar"),
        (b"7z\xbc\xaf\x27\x1c", ".7z"),
        (b"\xfd7zXZ\0", ".xz"),
        (b"BZh", ".bz2"),
        (b"\x28\xb5\x2f\xfd", ".zst"),
    ];
    KNOWN.iter().find(|(signature, _)| bytes.starts_with(signature)).map(|(_, name)| *name)
}

/// An archive's name without its ending.
pub fn stem(name: &str) -> Option<&str> {
    [".tar.gz", ".tgz", ".tar", ".zip", ".gz"].iter().find_map(|ending| name.strip_suffix(ending))
}

/// Puts what is in an archive beside it, into a folder of its name.
pub fn unpack(
    kind: Kind,
    name: &str,
    bytes: Vec<u8>,
    budget: &mut Budget,
    depth: usize,
) -> Result<(), String> {
    let stem = stem(name).unwrap_or(name);
    match kind {
        Kind::Zip => zip(name, stem, bytes, budget, depth),
        Kind::Tar => tar(name, stem, &bytes, budget, depth),
        Kind::Gzip => {
            let content = bounded(flate2::read::GzDecoder::new(&*bytes), name, budget)?;
            match self::kind("", &content) {
                Some(Kind::Tar) => tar(name, stem, &content, budget, depth),
                _ => budget.add(stem, content, depth),
            }
        }
    }
}

/// Not a byte more than there is room for, whatever the archive says of its size; counted, whatever becomes of it.
fn bounded(reader: impl Read, name: &str, budget: &mut Budget) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let room = budget.room();
    reader.take(room + 1).read_to_end(&mut content).map_err(|error| damaged(name, &error.to_string()))?;
    if content.len() as u64 > room {
        return Err(budget.too_large());
    }
    budget.passes(content.len() as u64)?;
    Ok(content)
}

fn damaged(name: &str, why: &str) -> String {
    format!("{name} is no archive that can be read ({why}); pack it again as .zip or .tar.gz")
}

fn zip(name: &str, stem: &str, bytes: Vec<u8>, budget: &mut Budget, depth: usize) -> Result<(), String> {
    let mut archive =
        zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(name, &error.to_string()))?;
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| damaged(name, &error.to_string()))?;
        let inner = entry.name().map_err(|error| damaged(name, &error.to_string()))?.into_owned();
        outside(&inner)?;
        if Budget::is_silent(&inner) {
            continue;
        }
        budget.count(&inner)?;
        if entry.is_dir() {
            continue;
        }
        if entry.is_symlink() {
            budget.link(&inner, None);
            continue;
        }
        if budget.leaves_out(&inner) {
            continue;
        }
        let content = bounded(entry, name, budget)?;
        budget.add(&format!("{stem}/{inner}"), content, depth)?;
    }
    Ok(())
}

fn tar(name: &str, stem: &str, bytes: &[u8], budget: &mut Budget, depth: usize) -> Result<(), String> {
    let wrong = |error: std::io::Error| damaged(name, &error.to_string());
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let inner = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        outside(&inner)?;
        if Budget::is_silent(&inner) {
            continue;
        }
        budget.count(&inner)?;
        match entry.header().entry_type() {
            _ if budget.leaves_out(&inner) => {}
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                let content = bounded(entry, name, budget)?;
                budget.add(&format!("{stem}/{inner}"), content, depth)?;
            }
            tar::EntryType::Symlink | tar::EntryType::Link => {
                let to = entry.link_name_bytes().map(|to| String::from_utf8_lossy(&to).into_owned().into());
                budget.link(&inner, to);
            }
            tar::EntryType::Char | tar::EntryType::Block | tar::EntryType::Fifo => {
                return Err(format!("{inner} in {name} is a device or a pipe, not a file"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What would be written elsewhere by whoever unpacks it without looking.
fn outside(inner: &str) -> Result<(), String> {
    let leads = inner.starts_with(['/', '\\']) || inner.split(['/', '\\']).any(|part| part == "..");
    if leads { Err(format!("the path {inner} leads out of the archive")) } else { Ok(()) }
}
