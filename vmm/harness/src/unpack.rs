//! Compressed files, as distributions install modules: xz, zstd, gzip. Told by their content, not by their
//! names.

use std::io::{self, Read};

/// What is larger than so many bytes once unpacked is no module but a bomb.
const LIMIT: u64 = 512 << 20;

/// The decoders' own memory, in KiB: xz's strongest setting takes 65 MiB.
const XZ_MEMORY_KIB: u32 = 128 << 10;

/// The endings that a compressed module's name can have.
pub const ENDINGS: [&str; 3] = [".xz", ".zst", ".gz"];

/// The content of a file that may be compressed; one that is not stays as it is.
///
/// # Errors
/// It is cut off, damaged, or larger than 512 MiB once unpacked. The text names the format.
pub fn unpack(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    // The formats' magic numbers: xz-file-format 1.2.0 (2.1.1.1), RFC 8878 (3.1.1), RFC 1952 (2.3.1).
    let (format, content) = match &*bytes {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            ("xz", read(lzma_rust2::XzReader::new_mem_limit(&*bytes, true, XZ_MEMORY_KIB)))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => (
            "zstd",
            ruzstd::decoding::StreamingDecoder::new(&*bytes).map_err(io::Error::other).and_then(read),
        ),
        [0x1f, 0x8b, ..] => ("gzip", read(flate2::read::MultiGzDecoder::new(&*bytes))),
        _ => return Ok(bytes),
    };
    content.map_err(|error| format!("its {format} compression is cut off or damaged ({error})"))
}

fn read(decoder: impl Read) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    decoder.take(LIMIT + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LIMIT {
        return Err(io::Error::other("it is larger than 512 MiB once unpacked"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    /// By the formats' own tools, which every machine that builds kernels has.
    fn pack(tool: &str, content: &[u8]) -> Vec<u8> {
        let mut command = Command::new(tool);
        let mut child = command.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(content).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    #[test]
    fn every_format_comes_back_as_it_went_in() {
        let content: Vec<u8> = (0..40_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        for tool in ["xz", "gzip"] {
            let packed = pack(tool, &content);
            assert!(packed.len() < content.len());
            assert!(unpack(packed).unwrap() == content, "{tool}");
        }
        assert_eq!(unpack(content.clone()).unwrap(), content);
        assert_eq!(unpack(Vec::new()).unwrap(), b"");
    }

    /// "hello\n" in a zstd frame of one raw block (RFC 8878, 3.1.1): zstd's tool is not everywhere.
    #[test]
    fn zstd_comes_back() {
        let frame = b"\x28\xb5\x2f\xfd\x20\x06\x31\x00\x00hello\n".to_vec();
        assert_eq!(unpack(frame).unwrap(), b"hello\n");
    }

    #[test]
    fn a_damaged_file_names_its_format() {
        let content = vec![7; 5000];
        for (tool, format) in [("xz", "xz"), ("gzip", "gzip")] {
            let mut packed = pack(tool, &content);
            packed.truncate(packed.len() - 9);
            let error = unpack(packed).unwrap_err();
            assert!(error.starts_with(&format!("its {format} compression is cut off")), "{error}");
        }
        assert!(unpack(b"\x28\xb5\x2f\xfd\x20\x06\x31\x00\x00hel".to_vec()).unwrap_err().contains("zstd"));
    }
}
