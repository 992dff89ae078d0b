//! What is in a kernel's image: the kernel, uncompressed, and what it says of itself.

use crate::{kallsyms, product, symbols::Symbols};
use base::unpack::unpack;
use jail::reader::{Answers, Reader, answers};
use serde::{Deserialize, Serialize};
use std::fs::File;

/// What reads kernels, in a process of its own: what is packed in one takes up to 1 GiB, twice while it grows.
pub static READER: Reader = Reader { name: "kernel", memory: 6 << 30, open };

fn open(_: Option<File>) -> Answers {
    answers(|(): (), bytes| match inside(bytes) {
        Ok((said, elf)) => (Ok(said), elf),
        Err(why) => (Err(why), Vec::new()),
    })
}

/// What an image says of itself.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Said {
    pub release: String,
    /// A `System.map`; empty where there are no symbols.
    pub map: String,
}

/// What an image says of itself, and the uncompressed kernel.
pub(super) fn inside(bytes: Vec<u8>) -> Result<(Said, Vec<u8>), String> {
    let (elf, release) = if bytes.starts_with(b"\x7fELF") { (bytes, None) } else { bzimage(&bytes)? };
    let release = release.or_else(|| banner(&elf)).ok_or("it names no version")?;
    let own = Symbols::from_elf(&elf).ok().filter(|symbols| !symbols.is_empty());
    let map = match own {
        Some(symbols) => symbols.to_map(),
        None => kallsyms::find(&elf).map(kallsyms::system_map).unwrap_or_default(),
    };
    Ok((Said { release, map }, elf))
}

/// The uncompressed kernel in a bzImage.
///
/// # Errors
/// In words, what is wrong with it.
pub fn unpack_bzimage(bytes: &[u8]) -> Result<Vec<u8>, String> {
    bzimage(bytes).map(|(elf, _)| elf)
}

/// The uncompressed kernel in a bzImage, and its release (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
pub(super) fn bzimage(bytes: &[u8]) -> Result<(Vec<u8>, Option<String>), String> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize);
    if bytes.get(0x202..0x206) != Some(b"HdrS") {
        return Err("it is neither an ELF file, nor a bzImage, nor a Debian package".to_owned());
    }
    // Version 2.08 brought the payload's place.
    if u16_at(0x206).is_none_or(|version| version < 0x208) {
        return Err("it is a bzImage of before Linux 2.6.26".to_owned());
    }
    let sectors = match bytes[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let place = || Some(((sectors + 1) * 512 + u32_at(0x248)?, u32_at(0x24c)?));
    let payload = place().and_then(|(at, length)| bytes.get(at..)?.get(..length));
    let payload = payload.ok_or("it is cut off")?;
    let elf = unpack(payload.to_vec()).map_err(|error| error.to_string())?;
    if !elf.starts_with(b"\x7fELF") {
        return Err("what is packed in it is no ELF file, or it is packed in a way that is not known here (gzip, xz, zstd and \
                    lz4 are)"
            .to_owned());
    }
    Ok((elf, release_in_header(bytes)))
}

/// What a bzImage's header says of the release (Documentation/arch/x86/boot.rst, "kernel_version"). It becomes a part of paths.
fn release_in_header(bytes: &[u8]) -> Option<String> {
    let at = u16::from_le_bytes(*bytes.get(0x20e..)?.first_chunk()?);
    let text = bytes.get(usize::from(at) + 0x200..)?.split(|byte| *byte == 0 || *byte == b' ').next()?;
    Some(String::from_utf8_lossy(text).into_owned()).filter(|text| product::is_release(text))
}

/// An image's release, as far as it can be told without unpacking anything.
pub(super) fn release_of(bytes: &[u8]) -> Option<String> {
    match bytes.get(0x202..0x206) {
        _ if bytes.starts_with(b"\x7fELF") => banner(bytes),
        Some(b"HdrS") => release_in_header(bytes),
        _ => None,
    }
}

/// "Linux version 6.1.0-37-amd64 (...", which every kernel says first.
pub(super) fn banner(elf: &[u8]) -> Option<String> {
    const BEGIN: &[u8] = b"Linux version ";
    memchr::memmem::find_iter(elf, BEGIN).find_map(|at| {
        let text = elf.get(at + BEGIN.len()..)?;
        let text = &text[..text.len().min(64)];
        let end = text.iter().position(|byte| !(byte.is_ascii_graphic()))?;
        let release = std::str::from_utf8(&text[..end]).ok()?;
        product::is_release(release).then(|| release.to_owned())
    })
}
