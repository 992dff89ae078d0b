//! What the fuzzing targets share. Each is a program in `bin`, with its seeds in `seeds`; `ci/fuzz` builds and runs them.
//!
//! A target calls a reader of hostile input as production does, if need be in the same process although production puts a
//! child around it. Found is what panics, overflows, takes more than 10 seconds or more than 2 GiB.

#![forbid(unsafe_code)]

use std::{borrow::Cow, fs, io::Write, path::PathBuf};

/// A target's input, taken apart from its beginning. There is always more of it: zeros.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of it.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether only zeros would come.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next bytes, little endian where they are a number.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let (now, later) = self.0.split_at(self.0.len().min(N));
        self.0 = later;
        let mut array = [0; N];
        array[..now.len()].copy_from_slice(now);
        array
    }

    /// A number.
    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    /// A number.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// A number.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// A number.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// As many as there are, up to so many.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (now, later) = self.0.split_at(self.0.len().min(most));
        self.0 = later;
        now
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// The same, or a text that repeats it: one of every hundred lengths stands for that. What takes more than linear time shows
/// itself there, while all other inputs are short and quick.
pub fn often(bytes: &[u8]) -> Cow<'_, [u8]> {
    const MOST: usize = 256 << 10;
    match bytes.len() % 100 {
        99 => bytes.repeat(MOST / bytes.len()).into(),
        _ => bytes.into(),
    }
}

/// A folder of this process's own, in memory: what is read from files is written there.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("vmm-fuzz").tempdir_in("/dev/shm");
        Self(folder.expect("/dev/shm is there"))
    }

    /// Where a file of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a file there, with the folders above it.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("there is room");
        }
        let mut file = fs::File::create(&path).expect("there is room");
        file.write_all(content).expect("there is room");
        path
    }
}
