//! The archive's bytes.

use crate::entry::{Entry, Kind, NodeKind};
use std::io::{self, Write};

/// The name of the entry that ends an archive.
pub(crate) const TRAILER: &str = "TRAILER!!!";

/// Types of files, as in stat(2).
const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// The fields of an entry's header that differ from entry to entry.
#[derive(Default)]
struct Header {
    inode: u32,
    mode: u32,
    links: u32,
    device: (u32, u32),
}

/// Writes entries, whose folders must come before what is in them, and the trailer.
pub(crate) fn write<'a>(
    entries: impl Iterator<Item = (&'a str, &'a Entry)>,
    out: &mut impl Write,
) -> io::Result<()> {
    // From 1 on: a reader may take 0 for "none".
    for (inode, (path, entry)) in (1..).zip(entries) {
        let (kind, links, device, content): (_, _, _, &[u8]) = match &entry.kind {
            // Two links: its name, and its own '.'. Nobody counts those of subfolders.
            Kind::Dir { .. } => (S_IFDIR, 2, (0, 0), &[]),
            Kind::File(bytes) => (S_IFREG, 1, (0, 0), bytes),
            Kind::Symlink(target) => (S_IFLNK, 1, (0, 0), target.as_bytes()),
            Kind::Node { kind: NodeKind::Char, major, minor } => (S_IFCHR, 1, (*major, *minor), &[]),
            Kind::Node { kind: NodeKind::Block, major, minor } => (S_IFBLK, 1, (*major, *minor), &[]),
        };
        write_entry(out, path, &Header { inode, mode: kind | entry.mode, links, device }, content)?;
    }
    write_entry(out, TRAILER, &Header { links: 1, ..Header::default() }, &[])
}

fn write_entry(out: &mut impl Write, name: &str, header: &Header, content: &[u8]) -> io::Result<()> {
    let fields = [
        header.inode,
        header.mode,
        0, // user
        0, // group
        header.links,
        0, // time of last change
        content.len() as u32,
        0, // major and minor number of the file system that the file was on
        0,
        header.device.0,
        header.device.1,
        name.len() as u32 + 1,
        0, // checksum: not in this variant of the format
    ];
    out.write_all(b"070701")?;
    for field in fields {
        write!(out, "{field:08X}")?;
    }
    out.write_all(name.as_bytes())?;
    // The header has 110 bytes, the name ends in a NUL, and what follows begins at a multiple of 4.
    out.write_all(&[0; 4][..1 + padding(110 + name.len() + 1)])?;
    out.write_all(content)?;
    out.write_all(&[0; 4][..padding(content.len())])
}

fn padding(length: usize) -> usize {
    length.next_multiple_of(4) - length
}
