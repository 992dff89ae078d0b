//! What distributions compress: kernels, modules, configurations. Told by the content, not by the names.

use jail::reader::{Answers, Reader, Unread, answers};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Read},
};
use thiserror::Error;

/// No kernel and no module is larger once unpacked, in bytes: what is, is a bomb.
const LIMIT: u64 = 1 << 30;

/// The decoder's own memory, in KiB: xz's strongest setting takes 65 MiB.
const XZ_MEMORY_KIB: u32 = 128 << 10;

/// The endings that a compressed module's name can have.
pub const ENDINGS: [&str; 3] = [".xz", ".zst", ".gz"];

/// The module's name in a file's name: `a` of `a.ko` or `a.ko.xz`.
pub fn module_name(file: &str) -> Option<&str> {
    let plain = ENDINGS.iter().find_map(|ending| file.strip_suffix(ending)).unwrap_or(file);
    plain.strip_suffix(".ko").filter(|name| !name.is_empty())
}

/// It can't be unpacked.
#[derive(Debug, Deserialize, Error, PartialEq, Eq, Serialize)]
pub enum UnpackError {
    /// Of this format, as its decoder says.
    #[error("its {0} compression is cut off or damaged ({1})")]
    Damaged(String, String),
    /// It was not read to its end.
    #[error("{0}")]
    Unread(String),
    /// It is no file of our kinds.
    #[error("it is larger than 1 GiB once unpacked")]
    Large,
    /// This machine had no process for it, so nothing is known of it. No answer of such a process: what it reads may have it answer anything.
    #[error("{0}")]
    #[serde(skip)]
    Machine(String),
}

impl From<Unread> for UnpackError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Machine(_) => Self::Machine(unread.to_string()),
            Unread::Ended(_) => Self::Unread(unread.to_string()),
        }
    }
}

/// What unpacks: twice the limit, since what grows is doubled, and something for the decoder.
pub static READER: Reader = Reader { name: "unpack", memory: 3 << 30, open };

fn open(_: Option<File>) -> Answers {
    answers(|(): (), bytes| match unpack(bytes) {
        Ok(content) => (Ok(()), content),
        Err(error) => (Err(error), Vec::new()),
    })
}

/// As [`unpack`], in a process of its own.
///
/// # Errors
/// See [`UnpackError`].
pub fn unpack_apart(bytes: Vec<u8>) -> Result<Vec<u8>, UnpackError> {
    if format(&bytes).is_none() {
        return Ok(bytes);
    }
    let (answer, content) = READER.ask::<(), Result<(), UnpackError>>(&(), &bytes)?;
    answer.map(|()| content)
}

/// A way to compress.
#[derive(Clone, Copy)]
enum Format {
    Xz,
    Zstd,
    Gzip,
    Lz4,
}

/// By the formats' magic numbers: xz-file-format 1.2.0 (2.1.1.1), RFC 8878 (3.1.1), RFC 1952 (2.3.1), lz4_Frame_format.md ("Legacy frame").
fn format(bytes: &[u8]) -> Option<Format> {
    match bytes {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Format::Xz),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Format::Zstd),
        [0x1f, 0x8b, ..] => Some(Format::Gzip),
        [0x02, 0x21, 0x4c, 0x18, ..] => Some(Format::Lz4),
        _ => None,
    }
}

/// The content of what may be compressed; what is not stays as it is. Behind the compressed data anything may follow:
/// a bzImage has its own size there.
///
/// # Errors
/// See [`UnpackError`].
pub fn unpack(bytes: Vec<u8>) -> Result<Vec<u8>, UnpackError> {
    let (format, content) = match format(&bytes) {
        Some(Format::Xz) => ("xz", read(lzma_rust2::XzReader::new_mem_limit(&*bytes, false, XZ_MEMORY_KIB))),
        Some(Format::Zstd) => (
            "zstd",
            ruzstd::decoding::StreamingDecoder::new(&*bytes).map_err(io::Error::other).and_then(read),
        ),
        Some(Format::Gzip) => ("gzip", read(flate2::bufread::GzDecoder::new(&*bytes))),
        Some(Format::Lz4) => ("lz4", lz4(&bytes[4..])),
        None => return Ok(bytes),
    };
    let content = content.map_err(|error| match error.kind() {
        io::ErrorKind::OutOfMemory => UnpackError::Unread(
            "once unpacked it takes more memory than there is for that (VMM_LIMITS=memory=8GiB gives more)"
                .to_owned(),
        ),
        _ => UnpackError::Damaged(format.to_owned(), error.to_string()),
    })?;
    if content.len() as u64 > LIMIT { Err(UnpackError::Large) } else { Ok(content) }
}

/// At most one byte more than the limit.
fn read(decoder: impl Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    decoder.take(LIMIT + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// Blocks of up to 8 MiB each, with their compressed length before them.
fn lz4(mut rest: &[u8]) -> io::Result<Vec<u8>> {
    const BLOCK: usize = 8 << 20;
    let mut content = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        // Behind the last block of a kernel stands its size: no block has one like that.
        let Some((block, behind)) = behind.split_at_checked(length) else { break };
        if content.len() as u64 > LIMIT {
            break;
        }
        content.extend(lz4_flex::block::decompress(block, BLOCK).map_err(io::Error::other)?);
        rest = behind;
    }
    if content.is_empty() { Err(io::Error::other("there is no whole block")) } else { Ok(content) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    /// By the formats' own tools, which every machine that builds kernels has.
    fn pack(tool: &[&str], content: &[u8]) -> Vec<u8> {
        let mut command = Command::new(tool[0]);
        let mut child =
            command.args(&tool[1..]).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(content).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    #[test]
    fn every_format_comes_back_as_it_went_in_and_what_follows_is_ignored() {
        let content: Vec<u8> = (0..40_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        for tool in [&["xz"][..], &["gzip"], &["xz", "--check=crc32", "--x86", "--lzma2"]] {
            let mut packed = pack(tool, &content);
            assert!(packed.len() < content.len());
            packed.extend((content.len() as u32).to_le_bytes());
            assert!(unpack(packed).unwrap() == content, "{tool:?}");
        }
        let mut lz4 = vec![0x02, 0x21, 0x4c, 0x18];
        for part in content.chunks(30_000) {
            let block = lz4_flex::block::compress(part);
            lz4.extend((block.len() as u32).to_le_bytes());
            lz4.extend(block);
        }
        lz4.extend((content.len() as u32).to_le_bytes());
        assert!(unpack(lz4).unwrap() == content);
        assert_eq!(unpack(content.clone()).unwrap(), content);
        assert_eq!(unpack(Vec::new()).unwrap(), b"");
    }

    #[test]
    fn no_process_to_unpack_in_says_nothing_of_the_file() {
        let machine = UnpackError::from(Unread::Machine(io::ErrorKind::OutOfMemory.into()));
        assert!(matches!(machine, UnpackError::Machine(_)));
        assert!(matches!(UnpackError::from(Unread::Ended(String::new())), UnpackError::Unread(_)));
    }

    /// "hello\n" in a zstd frame of one raw block (RFC 8878, 3.1.1): zstd's tool is not everywhere.
    #[test]
    fn zstd_comes_back() {
        let frame = b"\x28\xb5\x2f\xfd\x20\x06\x31\x00\x00hello\n".to_vec();
        assert_eq!(unpack(frame).unwrap(), b"hello\n");
    }

    #[test]
    fn a_damaged_file_names_its_format() {
        for tool in ["xz", "gzip"] {
            let mut cut = pack(&[tool], &[7; 5000]);
            cut.truncate(cut.len() - 9);
            let error = unpack(cut).unwrap_err().to_string();
            assert!(error.starts_with(&format!("its {tool} compression is cut off")), "{error}");
        }
        let mut changed = pack(&["xz"], &[7; 10_000]);
        let middle = changed.len() / 2;
        changed[middle] ^= 0xff;
        assert!(matches!(unpack(changed), Err(UnpackError::Damaged(it, _)) if it == "xz"));
        for (bytes, format) in [
            (&b"\x28\xb5\x2f\xfd\x20\x06\x31\x00\x00hel"[..], "zstd"),
            (b"\x28\xb5\x2f\xfd\x01", "zstd"),
            (b"\x02\x21\x4c\x18\xff\x00\x00\x00\x01", "lz4"),
            (b"\x1f\x8b\x08\x00", "gzip"),
        ] {
            assert!(matches!(unpack(bytes.to_vec()), Err(UnpackError::Damaged(it, _)) if it == format));
        }
    }
}
