//! What distributions compress: kernels and modules.

use std::io::Read;
use thiserror::Error;

/// No kernel and no module is larger, in bytes: what pretends to be is cut off there and refused.
const LIMIT: usize = 1 << 30;

/// It can't be had.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CompressedError {
    /// Its first bytes are none that we know.
    #[error("it is compressed in a way that is not known here (gzip, xz, zstd and lz4 are)")]
    Unknown,
    /// It is damaged.
    #[error("its {0} data is damaged: {1}")]
    Damaged(&'static str, String),
    /// It is no file of this kind.
    #[error("it unpacks to more than 1 GiB")]
    Large,
}

/// Unpacks gzip, xz, zstd and lz4 (the legacy frames that kernels have); told by the first bytes. What follows the
/// compressed data is ignored.
///
/// # Errors
/// See [`CompressedError`].
pub fn unpack(bytes: &[u8]) -> Result<Vec<u8>, CompressedError> {
    match bytes {
        [0x1f, 0x8b, ..] => read("gzip", flate2::bufread::GzDecoder::new(bytes)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => read("xz", lzma_rust2::XzReader::new(bytes, false)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(bytes)
                .map_err(|error| CompressedError::Damaged("zstd", error.to_string()))?;
            read("zstd", decoder)
        }
        [0x02, 0x21, 0x4c, 0x18, rest @ ..] => lz4(rest),
        _ => Err(CompressedError::Unknown),
    }
}

/// Whether the first bytes say that it is compressed.
pub fn is_compressed(bytes: &[u8]) -> bool {
    [&[0x1f, 0x8b][..], b"\xfd7zXZ\0", &[0x28, 0xb5, 0x2f, 0xfd], &[0x02, 0x21, 0x4c, 0x18]]
        .iter()
        .any(|magic| bytes.starts_with(magic))
}

fn read(kind: &'static str, reader: impl Read) -> Result<Vec<u8>, CompressedError> {
    let mut all = Vec::new();
    reader
        .take(LIMIT as u64 + 1)
        .read_to_end(&mut all)
        .map_err(|error| CompressedError::Damaged(kind, error.to_string()))?;
    if all.len() > LIMIT { Err(CompressedError::Large) } else { Ok(all) }
}

/// Blocks of up to 8 MiB each, with their compressed length before them (lz4_Frame_format.md, "Legacy frame").
fn lz4(mut rest: &[u8]) -> Result<Vec<u8>, CompressedError> {
    const BLOCK: usize = 8 << 20;
    let mut all = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        // Behind the last block of a kernel stands its size: no block has one like that.
        let Some((block, behind)) = behind.split_at_checked(length) else { break };
        if all.len() > LIMIT {
            return Err(CompressedError::Large);
        }
        let block = lz4_flex::block::decompress(block, BLOCK)
            .map_err(|error| CompressedError::Damaged("lz4", error.to_string()))?;
        all.extend(block);
        rest = behind;
    }
    if all.is_empty() {
        return Err(CompressedError::Damaged("lz4", "there is no whole block".to_owned()));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, process::Stdio};

    /// By the tools that distributions use.
    fn packed(tool: &[&str], text: &[u8]) -> Vec<u8> {
        let mut child = std::process::Command::new(tool[0])
            .args(&tool[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text).unwrap();
        child.wait_with_output().unwrap().stdout
    }

    #[test]
    fn what_the_tools_pack_is_unpacked_and_what_follows_ignored() {
        let text: Vec<u8> = (0..20_000u32).flat_map(|n| n.to_le_bytes()).collect();
        for tool in [&["gzip", "-c"][..], &["xz", "--check=crc32", "--x86", "--lzma2", "-c"]] {
            let mut bytes = packed(tool, &text);
            bytes.extend((text.len() as u32).to_le_bytes());
            assert!(is_compressed(&bytes));
            assert!(unpack(&bytes).unwrap() == text, "{tool:?}");
        }
        let mut lz4 = vec![0x02, 0x21, 0x4c, 0x18];
        for part in text.chunks(30_000) {
            let block = lz4_flex::block::compress(part);
            lz4.extend((block.len() as u32).to_le_bytes());
            lz4.extend(block);
        }
        lz4.extend((text.len() as u32).to_le_bytes());
        assert!(unpack(&lz4).unwrap() == text);
    }

    #[test]
    fn damage_and_other_formats_are_errors() {
        let mut bytes = packed(&["xz", "-c"], &[7; 10_000]);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        assert!(matches!(unpack(&bytes), Err(CompressedError::Damaged("xz", _))));
        assert_eq!(unpack(b"plain text"), Err(CompressedError::Unknown));
        assert!(unpack(&[0x02, 0x21, 0x4c, 0x18, 0xff, 0, 0, 0, 1]).is_err());
        assert!(unpack(&[0x28, 0xb5, 0x2f, 0xfd, 1]).is_err());
        for cut in 0..6 {
            let _ = unpack(&[0x1f, 0x8b, 8, 0, 0, 0][..cut]);
        }
    }
}
