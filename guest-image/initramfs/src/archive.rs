//! What is in the archive.

use crate::{
    entry::{Entry, Kind, NodeKind},
    newc,
};
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// The longest path in bytes, without the NUL: the kernel's unpacker drops what is longer (PATH_MAX).
const MAX_PATH: usize = 4095;
/// The longest part of a path between two slashes (NAME_MAX).
const MAX_NAME: usize = 255;

/// The content of an initramfs, by path.
#[derive(Clone, Debug, Default)]
pub struct Initramfs {
    entries: BTreeMap<String, Entry>,
}

/// Something that one archive has beyond another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extra<'a> {
    /// Relative to the root.
    pub path: &'a str,
    /// Permissions.
    pub mode: u32,
    /// What it is.
    pub kind: &'a Kind,
}

/// Why something can't be put into an initramfs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A path that is empty, or has an empty, `.` or `..` part.
    #[error("'{path}' is no path inside of an initramfs ({why})")]
    BadPath {
        /// As it was given.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A symbolic link to nothing, or to what can't be a path.
    #[error("the link '{path}' can't point to '{target}' ({why})")]
    BadTarget {
        /// The link.
        path: String,
        /// Where it should point.
        target: String,
        /// What is wrong with that.
        why: &'static str,
    },
    /// More than the format's 32 bits can say.
    #[error("'{path}' has {size} bytes (a file in an initramfs has 4294967295 at the most)")]
    TooLarge {
        /// Which file.
        path: String,
        /// In bytes.
        size: usize,
    },
    /// The same path twice, with different content, mode or type.
    #[error("'{path}' is there twice, and the two differ")]
    Duplicate {
        /// Which.
        path: String,
    },
    /// Something lies below a path that is no folder.
    #[error("'{path}' can't lie below '{parent}': that is no folder")]
    NotAFolder {
        /// What was to be added.
        path: String,
        /// What is there already, or is not.
        parent: String,
    },
    /// Bits in the mode that are no permissions.
    #[error("'{path}' has mode {mode:#o} (permissions are 0 to 0o7777)")]
    BadMode {
        /// Which.
        path: String,
        /// As it was given.
        mode: u32,
    },
}

impl Initramfs {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A folder. It may exist already, as the parent of something else; it then gets this mode.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn dir(&mut self, path: &str, mode: u32) -> Result<&mut Self, Error> {
        self.add(path, mode, Kind::Dir { asked_for: true })
    }

    /// A regular file.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Result<&mut Self, Error> {
        let bytes = bytes.into();
        if u32::try_from(bytes.len()).is_err() {
            return Err(Error::TooLarge { path: path.into(), size: bytes.len() });
        }
        self.add(path, mode, Kind::File(bytes))
    }

    /// A symbolic link; the target need not exist.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<&mut Self, Error> {
        let why = match target {
            "" => Some("it is empty"),
            _ if target.contains('\0') => Some("it contains a NUL byte"),
            _ if target.len() > MAX_PATH => Some("it is longer than 4095 bytes"),
            _ => None,
        };
        match why {
            Some(why) => Err(Error::BadTarget { path: path.into(), target: target.into(), why }),
            None => self.add(path, 0o777, Kind::Symlink(target.into())),
        }
    }

    /// A device node.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn node(
        &mut self,
        path: &str,
        mode: u32,
        kind: NodeKind,
        major: u32,
        minor: u32,
    ) -> Result<&mut Self, Error> {
        self.add(path, mode, Kind::Node { kind, major, minor })
    }

    /// What is in this archive and not, or otherwise, in another one; in the order in which it can be put in place.
    pub fn beyond<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Extra<'a>> {
        let extra = self.entries.iter().filter(|(path, entry)| other.entries.get(*path) != Some(entry));
        extra.map(|(path, entry)| Extra { path, mode: entry.mode, kind: &entry.kind })
    }

    /// What a file holds, by an absolute path; of a link, what it leads to.
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        let mut path = path.to_owned();
        // As often as the kernel follows links (MAXSYMLINKS of include/linux/namei.h).
        for _ in 0..=40 {
            let (mut so_far, mut rest) = (Vec::<&str>::new(), path.split('/'));
            let followed = loop {
                match rest.next() {
                    None => break None,
                    Some("" | ".") => continue,
                    Some("..") => drop(so_far.pop()),
                    Some(name) => so_far.push(name),
                }
                if let Some(Kind::Symlink(target)) = self.entries.get(&so_far.join("/")).map(|it| &it.kind) {
                    so_far.pop();
                    let start = if target.starts_with('/') { String::new() } else { so_far.join("/") };
                    let rest: Vec<&str> = rest.collect();
                    break Some(format!("{start}/{target}/{}", rest.join("/")));
                }
            };
            match followed {
                Some(next) => path = next,
                None => {
                    return match &self.entries.get(&so_far.join("/"))?.kind {
                        Kind::File(bytes) => Some(bytes),
                        _ => None,
                    };
                }
            }
        }
        None
    }

    /// The archive.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        newc::write(self.entries.iter().map(|(path, entry)| (path.as_str(), entry)), out)
    }

    /// The archive, in memory.
    pub fn into_bytes(self) -> Vec<u8> {
        // Megabytes, which are not to be moved as they grow; the rest is headers and names.
        let content = self.entries.values().map(|entry| match &entry.kind {
            Kind::File(bytes) => bytes.len() + 256,
            _ => 256,
        });
        let mut bytes = Vec::with_capacity(content.sum());
        self.write(&mut bytes).expect("writing into memory");
        bytes
    }

    fn add(&mut self, path: &str, mode: u32, kind: Kind) -> Result<&mut Self, Error> {
        let inside = check_path(path)?;
        if mode > 0o7777 {
            return Err(Error::BadMode { path: path.into(), mode });
        }
        for (slash, _) in inside.match_indices('/') {
            let parent = &inside[..slash];
            match self.entries.get(parent).map(|entry| &entry.kind) {
                Some(Kind::Dir { .. }) => {}
                Some(_) => return Err(Error::NotAFolder { path: path.into(), parent: format!("/{parent}") }),
                None => {
                    let kind = Kind::Dir { asked_for: false };
                    self.entries.insert(parent.into(), Entry { mode: 0o755, kind });
                }
            }
        }
        let entry = Entry { mode, kind };
        match self.entries.get(inside) {
            // A parent that was made up may still get its true mode.
            Some(Entry { kind: Kind::Dir { asked_for: false }, .. })
                if matches!(entry.kind, Kind::Dir { .. }) => {}
            Some(there) if *there != entry => return Err(Error::Duplicate { path: path.into() }),
            _ => {}
        }
        self.entries.insert(inside.into(), entry);
        Ok(self)
    }
}

/// The path as it stands in the archive: relative to the root.
fn check_path(path: &str) -> Result<&str, Error> {
    let inside = path.strip_prefix('/').unwrap_or(path);
    let bad_part = |part: &str| match part {
        "" => Some("a part of it is empty"),
        "." | ".." => Some("it has '.' or '..' in it"),
        _ if part.len() > MAX_NAME => Some("a part of it is longer than 255 bytes"),
        _ => None,
    };
    let why = match inside {
        "" => Some("it names no file"),
        // The unpacker takes it for the archive's end.
        newc::TRAILER => Some("that name marks the end of an archive"),
        _ if inside.contains('\0') => Some("it contains a NUL byte"),
        _ if inside.len() > MAX_PATH => Some("it is longer than 4095 bytes"),
        _ => inside.split('/').find_map(bad_part),
    };
    match why {
        Some(why) => Err(Error::BadPath { path: path.into(), why }),
        None => Ok(inside),
    }
}
