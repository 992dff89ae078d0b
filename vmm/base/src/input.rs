//! Files and pipes that somebody names: whole, but never without end.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// No log and no report that anybody looks at is larger.
const MOST: u64 = 512 << 20;

/// The content of a file, or of the standard input where it is called `-`.
///
/// # Errors
/// It can't be read, or it is larger than 512 MiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    match path == Path::new("-") {
        true => bounded(io::stdin().lock(), MOST),
        false => bounded(File::open(path)?, MOST),
    }
}

/// As [`read`], of text.
///
/// # Errors
/// As [`read`], or it is no UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

fn bounded(reader: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => {
            let why = format!("it is larger than {} MiB; cut out the part that matters", most >> 20);
            Err(io::Error::new(io::ErrorKind::FileTooLarge, why))
        }
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_refused() {
        let error = bounded(io::repeat(b'x'), 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 1 MiB; cut out the part that matters");
        assert_eq!(bounded(&b"abc"[..], 3).unwrap(), b"abc");
        assert!(bounded(&b"abcd"[..], 3).is_err());
    }
}
