//! Files that somebody handed in: only regular ones are read, and only so much of them.
//!
//! A folder may hold anything: a link to the machine's secrets, a pipe that never ends, a terabyte of nothing. None of
//! that is a source, so whoever finds it says so ([`Refused`]) and reads none of it.

use crate::limits::{Bytes, Limits};
use nix::{
    fcntl::OFlag,
    sys::statfs::{PROC_SUPER_MAGIC, fstatfs},
};
use std::{
    fs::{self, File, FileType, Metadata},
    io::{self, Read, Write},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// What is not taken, and what to do.
#[derive(Debug, Error)]
pub enum Refused {
    /// A pipe, a socket, a device.
    #[error("read {}: it is {what}; only regular files can be handed in", path.display())]
    Special {
        /// Which.
        path: PathBuf,
        /// What it is, with its article.
        what: &'static str,
    },
    /// A link to somewhere else on this machine.
    #[error(
        "read {}: it is a link to {}, which is outside of {}; put the file itself there",
        path.display(), target.display(), folder.display()
    )]
    LeadsOut {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
        /// What it leads out of.
        folder: PathBuf,
    },
    /// A file that is too large.
    #[error("read {}: it has {}, and {} is the most; VMM_LIMITS=file=SIZE allows more", path.display(), Bytes(*size), Bytes(*most))]
    Large {
        /// Which.
        path: PathBuf,
        /// In bytes.
        size: u64,
        /// In bytes.
        most: u64,
    },
    /// All files together are.
    #[error("read {}: its files have more than {} together; VMM_LIMITS=total=SIZE allows more", path.display(), Bytes(*most))]
    Much {
        /// The folder.
        path: PathBuf,
        /// In bytes.
        most: u64,
    },
    /// Too many files.
    #[error("read {}: there are more than {most} files in it; VMM_LIMITS=files=NUMBER allows more", path.display())]
    Many {
        /// The folder.
        path: PathBuf,
        /// The limit.
        most: usize,
    },
    /// Folders in folders in folders.
    #[error("read {}: it is more than {most} folders deep; VMM_LIMITS=depth=NUMBER allows more", path.display())]
    Deep {
        /// The innermost that was looked at.
        path: PathBuf,
        /// The limit.
        most: usize,
    },
    /// What was built took more than it may.
    #[error("let it go on: {what}; VMM_LIMITS={name}={value} allows more")]
    Overrun {
        /// What was too much, as a sentence.
        what: String,
        /// The limit's name.
        name: &'static str,
        /// What could stand there.
        value: &'static str,
    },
    /// What is built fills this machine's disk, and takes no more than builds do.
    #[error("let it go on: hardly any space is left at {}; free some there", path.display())]
    Full {
        /// One of the folders that it writes to.
        path: PathBuf,
    },
    /// What is built takes all memory that this machine has for it, and no more than builds do.
    #[error(
        "let it go on: it takes more than {} of memory, which is what this machine, or its container, has for one; do it where there is more, \
         or with VMM_LIMITS=memory=SIZE", Bytes(*has)
    )]
    Small {
        /// In bytes.
        has: u64,
    },
    /// A box is required, and can't be had in full.
    #[error("confine what others wrote, as --require-jail asks: {lacks}")]
    NoBox {
        /// What is missing.
        lacks: String,
    },
    /// Nothing that is confined can be started on this machine.
    #[error(
        "start a build in its box: {said}; what starts this program (a service's SystemCallFilter=, a container's seccomp profile) has to let \
         it give up rights and set limits: capset, seccomp, landlock_restrict_self, prlimit64"
    )]
    Unstartable {
        /// What was said when it was tried.
        said: String,
    },
    /// This process may take less than a build may.
    #[error(
        "give a build its limits: this process may have at most {have} {what} (`ulimit -H -{letter}`), and a build needs to be allowed {need}; \
         raise that limit where this program is started (a container's `--ulimit`, a batch system's job)"
    )]
    Limited {
        /// Of what.
        what: &'static str,
        /// The hard limit.
        have: u64,
        /// What a build is limited to.
        need: u64,
        /// The shell's letter for it.
        letter: char,
    },
    /// The environment's variable makes no sense.
    #[error(
        "understand VMM_LIMITS={text}: expected names and values such as files=50000,file=128MiB,total=4GiB (also depth; \
         for builds time, processes, memory, output, disk)"
    )]
    Variable {
        /// Its value.
        text: String,
    },
    /// The system's answer.
    #[error("read {}: {source}", path.display())]
    Io {
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Refused {
    /// Whether it is the fault of whoever made the files, and not this machine's.
    pub fn blames_files(&self) -> bool {
        use io::ErrorKind::{InvalidFilename, IsADirectory, NotADirectory, NotFound, PermissionDenied};
        match self {
            Self::Io { source, .. } => {
                // The last has no kind that is stable: links that lead in circles.
                matches!(
                    source.kind(),
                    InvalidFilename | IsADirectory | NotADirectory | NotFound | PermissionDenied
                ) || source.raw_os_error() == Some(nix::libc::ELOOP)
            }
            Self::Full { .. }
            | Self::Small { .. }
            | Self::NoBox { .. }
            | Self::Unstartable { .. }
            | Self::Limited { .. }
            | Self::Variable { .. } => false,
            _ => true,
        }
    }

    /// The system's own answer, where that is all.
    pub fn as_io(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Counts what is handed in, and says when it is too much.
#[derive(Clone, Debug)]
pub struct Tally {
    folder: PathBuf,
    limits: Limits,
    files: usize,
    bytes: u64,
}

impl Tally {
    /// Nothing so far, of this folder.
    pub fn new(folder: &Path, limits: Limits) -> Self {
        Self { folder: folder.to_owned(), limits, files: 0, bytes: 0 }
    }

    /// One more file, folder or link.
    ///
    /// # Errors
    /// It is no regular file, or there are too many of them, or too much is in them.
    pub fn add(&mut self, path: &Path, meta: &Metadata) -> Result<(), Refused> {
        let Limits { file, total, .. } = self.limits;
        if let Some(what) = special(meta.file_type()) {
            return Err(Refused::Special { path: path.to_owned(), what });
        }
        self.count(path)?;
        if meta.is_file() {
            if meta.len() > file {
                return Err(Refused::Large { path: path.to_owned(), size: meta.len(), most: file });
            }
            self.bytes = self.bytes.saturating_add(meta.len());
            if self.bytes > total {
                return Err(Refused::Much { path: self.folder.clone(), most: total });
            }
        }
        Ok(())
    }

    /// One more folder or link, of which nothing else has to be known.
    ///
    /// # Errors
    /// There are too many.
    pub fn count(&mut self, path: &Path) -> Result<(), Refused> {
        let Limits { files, depth, .. } = self.limits;
        self.files += 1;
        if self.files > files {
            return Err(Refused::Many { path: self.folder.clone(), most: files });
        }
        let below = path.strip_prefix(&self.folder).unwrap_or(path);
        match below.components().count() > depth {
            true => Err(Refused::Deep { path: path.to_owned(), most: depth }),
            false => Ok(()),
        }
    }
}

/// What something is that is neither file, folder nor link.
pub fn special(kind: FileType) -> Option<&'static str> {
    match kind {
        kind if kind.is_fifo() => Some("a pipe"),
        kind if kind.is_socket() => Some("a socket"),
        kind if kind.is_char_device() || kind.is_block_device() => Some("a device"),
        _ => None,
    }
}

/// Opens a regular file, never waiting: a pipe in its place is told, not waited for.
///
/// # Errors
/// It is something else, or larger than `most` bytes.
pub fn open(path: &Path, most: u64) -> Result<File, Refused> {
    let io = |source| Refused::Io { path: path.to_owned(), source };
    let mut options = File::options();
    // What is a pipe now may have been a file when it was looked at.
    options.read(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits());
    let file = options.open(path).map_err(|error| {
        match fs::metadata(path).ok().and_then(|it| special(it.file_type())) {
            // A socket can't be opened at all.
            Some(what) => Refused::Special { path: path.to_owned(), what },
            None => io(error),
        }
    })?;
    let meta = file.metadata().map_err(io)?;
    if let Some(what) = special(meta.file_type()) {
        return Err(Refused::Special { path: path.to_owned(), what });
    }
    // Files of the kernel's own say that they are regular ones; some of them wait, or tell what is nobody's business.
    if fstatfs(&file).is_ok_and(|it| it.filesystem_type() == PROC_SUPER_MAGIC) {
        return Err(Refused::Special { path: path.to_owned(), what: "the kernel's own" });
    }
    match meta.len() {
        size if size > most => Err(Refused::Large { path: path.to_owned(), size, most }),
        _ => Ok(file),
    }
}

/// The content of a regular file.
///
/// # Errors
/// As [`open`]; also of a file that grows beyond `most` while it is read.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    let file = open(path, most)?;
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| Refused::Io { path: path.to_owned(), source })?;
    match bytes.len() as u64 {
        size if size > most => Err(Refused::Large { path: path.to_owned(), size, most }),
        _ => Ok(bytes),
    }
}

/// As [`read`], of text that a person wrote; bytes that are no UTF-8 are replaced.
///
/// # Errors
/// As [`read`].
pub fn read_text(path: &Path) -> Result<String, Refused> {
    Ok(String::from_utf8_lossy(&read(path, Limits::TEXT.wanted()?.file)?).into_owned())
}

/// As [`read`], of a file that was named by somebody: a link must not lead out of the folder in which it lies, unless it
/// is one of the system's own.
///
/// # Errors
/// As [`read`], or [`Refused::LeadsOut`].
pub fn read_named(path: &Path, most: u64) -> Result<Vec<u8>, Refused> {
    named(path)?;
    read(path, most)
}

/// As [`read_named`], of one among whose folders is `home`: the link must not lead out of that, nor to what git keeps there.
///
/// # Errors
/// As [`read_named`].
pub fn read_named_in(home: &Path, path: &Path, most: u64) -> Result<Vec<u8>, Refused> {
    stays(home, path)?;
    read(path, most)
}

/// A file below a folder that programs of others wrote to: wherever links lead on the way, it has to lie below the folder.
///
/// # Errors
/// [`Refused::LeadsOut`], or there is none.
pub fn within(folder: &Path, name: impl AsRef<Path>) -> Result<PathBuf, Refused> {
    let path = folder.join(name);
    let real =
        |path: &Path| fs::canonicalize(path).map_err(|source| Refused::Io { path: path.to_owned(), source });
    let (home, target) = (real(folder)?, real(&path)?);
    match target.starts_with(&home) {
        true => Ok(target),
        false => Err(Refused::LeadsOut { path, target, folder: folder.to_owned() }),
    }
}

/// A file or folder below one that programs of others wrote to, if it still is where its name says: by a link on the way to it, something else
/// would be taken for what they made.
///
/// # Errors
/// [`Refused::LeadsOut`], or there is none.
pub fn in_place(folder: &Path, path: &Path) -> Result<PathBuf, Refused> {
    let io = |source| Refused::Io { path: folder.to_owned(), source };
    let below = path.strip_prefix(folder).map_err(|error| io(io::Error::other(error)))?;
    let (target, place) = (within(folder, below)?, fs::canonicalize(folder).map_err(io)?.join(below));
    match target == place {
        true => Ok(target),
        false => Err(Refused::LeadsOut { path: path.to_owned(), target, folder: place }),
    }
}

/// As [`read_text`], of a file that is [`within`] a folder.
///
/// # Errors
/// As both.
pub fn read_within(folder: &Path, name: impl AsRef<Path>) -> Result<String, Refused> {
    read_text(&within(folder, name)?)
}

/// Puts text into a file of a folder that programs of others wrote to: into a new one, whatever had its name.
///
/// # Errors
/// It can't be written.
pub fn write_anew(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => File::create_new(path)?.write_all(text.as_bytes()),
    }
}

/// Whether a file that somebody named is to be followed where it leads.
///
/// # Errors
/// [`Refused::LeadsOut`].
pub fn named(path: &Path) -> Result<(), Refused> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    stays(folder.unwrap_or(Path::new(".")), path)
}

fn stays(folder: &Path, path: &Path) -> Result<(), Refused> {
    /// Where distributions keep links of their own, such as those to `/etc/alternatives`.
    const SYSTEM: [&str; 8] =
        ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/boot", "/etc/alternatives"];
    if !fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()) {
        return Ok(());
    }
    let (Ok(home), Ok(target)) = (fs::canonicalize(folder), fs::canonicalize(path)) else { return Ok(()) };
    let is_systems = SYSTEM.iter().any(|at| home.starts_with(at));
    let is_inside = |inner: &Path| !inner.starts_with(".git");
    match target.strip_prefix(&home).is_ok_and(is_inside) || is_systems {
        true => Ok(()),
        false => Err(Refused::LeadsOut { path: path.to_owned(), target, folder: folder.to_owned() }),
    }
}

#[cfg(test)]
#[path = "intake_test.rs"]
mod tests;
