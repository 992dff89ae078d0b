//! The cache: what took long to make, kept under a hash of what it was made from.
//!
//! Below the root:
//!
//! | folder | what | may be deleted |
//! |---|---|---|
//! | `kernels/<hash>`, `modules/<hash>`, `sources/<name>`, `machines/<hash>` | finished entries | yes, and is then made again |
//! | `work/<name>` | where builds happen, kept so that the next one is incremental | yes |
//! | `tmp/` | entries in the making | swept at every start |
//! | `seals/` | what is in entries, so that a change is known | yes, and what is there then counts |
//! | `locks/`, `logs/`, `ccache/`, `tools/` | what the names say | logs and ccache |
//!
//! An entry comes into being by one rename of a finished folder, so that no entry is ever half there,
//! whatever kills its maker. It is used only while its files are what they were then ([`seal`]). Locks are `flock`s: the kernel drops them with the last process that holds
//! one.

pub use crate::stage::Stage;
use crate::{interrupt, progress, seal, stage};
use jail::Refused;
use std::{
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use thiserror::Error;

/// Why something could not be kept or found.
#[derive(Debug, Error)]
pub enum CacheError {
    /// Neither `VMM_CACHE`, `XDG_CACHE_HOME` nor `HOME` says where.
    #[error("find a place for the cache: none of VMM_CACHE, XDG_CACHE_HOME and HOME is set; set VMM_CACHE")]
    NoPlace,
    /// The kernel's makefiles can't cope with such a path.
    #[error(
        "use {} as cache: the kernel's makefiles can't cope with spaces or colons in a path; \
         set VMM_CACHE to another folder",
        .0.display()
    )]
    BadPlace(PathBuf),
    /// No space left.
    #[error("write {}: {full}; free some space there, or set VMM_CACHE to a folder on another file system", path.display())]
    DiskFull {
        /// What was being written.
        path: PathBuf,
        /// Where.
        full: Full,
    },
    /// Anything else that the system refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// The attempt, as a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// What leads a tool was killed, which nothing that runs in a whole box can do; where there is none, it is no pass either.
    #[error(
        "run a build to its end: somebody on this machine killed it (signal {signal}); run it again\n  what it had said by then is in {}",
        log.display()
    )]
    Killed {
        /// By which signal.
        signal: i32,
        /// Its output.
        log: PathBuf,
    },
    /// A tool failed while the kernel ended processes for want of memory: what it found is not known.
    #[error(
        "run a build to its end: this machine ran out of memory, and its kernel ended processes (dmesg names them); \
         run it again with fewer at once (-j), or where there is more memory\n  what it had said by then is in {}",
        log.display()
    )]
    OutOfMemory {
        /// Its output.
        log: PathBuf,
    },
    /// What was handed in is not taken.
    #[error(transparent)]
    Refused(Refused),
    /// The user pressed Ctrl-C.
    #[error("finish: interrupted")]
    Interrupted,
}

impl From<Refused> for CacheError {
    fn from(refused: Refused) -> Self {
        match refused {
            // As of every other file.
            Refused::Io { path, source } => Self::io("read", &path)(source),
            Refused::Full { path } => Self::disk_full(path),
            refused => Self::Refused(refused),
        }
    }
}

impl CacheError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Interrupted => Fault::Interrupted,
            Self::Refused(Refused::Overrun { .. }) => Fault::Build,
            Self::Refused(
                Refused::Small { .. }
                | Refused::NoBox { .. }
                | Refused::Unstartable { .. }
                | Refused::Limited { .. },
            ) => Fault::Machine,
            Self::Refused(_) => Fault::Input,
            _ => Fault::Machine,
        }
    }

    /// An error of the system on `path`; a full disk becomes [`CacheError::DiskFull`].
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::disk_full(path),
            _ => Self::Io { what, path, source },
        }
    }

    /// Whether there is so little space that a build can have failed for want of it. That it says so proves nothing: what
    /// is built can print anything, and nobody is excused by that.
    pub fn is_full(path: &Path) -> bool {
        Full::of(path).free_mib.is_none_or(|free| free < 64)
    }

    /// The file system that holds `path` is full.
    pub fn disk_full(path: PathBuf) -> Self {
        Self::DiskFull { full: Full::of(&path), path }
    }
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What was built does not build: the verdict is build-failed.
    Build,
    /// What was asked for can't be: exit code 2.
    Input,
    /// This machine's: exit code 3.
    Machine,
    /// The user's wish.
    Interrupted,
}

/// A file system without space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Full {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// What is left for ordinary users, in MiB; `None` where the system does not say.
    pub free_mib: Option<u64>,
}

impl Full {
    /// The file system that `path`, or the nearest of its parents that exists, is on.
    fn of(path: &Path) -> Self {
        let mut at = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let free_mib = nix::sys::statvfs::statvfs(at)
            .ok()
            .map(|stat| (stat.blocks_available() * stat.fragment_size()) >> 20);
        let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
        while let Some(parent) = at.parent().filter(|parent| device(parent) == device(at)) {
            at = parent;
        }
        Self { mount: at.to_owned(), free_mib }
    }
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no space left on the file system at {}", self.mount.display())?;
        match self.free_mib {
            Some(mib) => write!(f, " ({mib} MiB are free there)"),
            None => Ok(()),
        }
    }
}

/// The kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A kernel that was built.
    Kernel,
    /// A folder's modules that were built.
    Module,
    /// A kernel source, unpacked.
    Source,
    /// A machine that was saved.
    Machine,
}

impl Kind {
    fn folder(self) -> &'static str {
        match self {
            Self::Kernel => "kernels",
            Self::Module => "modules",
            Self::Source => "sources",
            Self::Machine => "machines",
        }
    }
}

/// The cache's root folder.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The user's cache: `$VMM_CACHE`, else `$XDG_CACHE_HOME/vmm`, else `$HOME/.cache/vmm`.
    ///
    /// # Errors
    /// None of them is set, or see [`Cache::at`].
    pub fn open() -> Result<Self, CacheError> {
        let from = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = from("VMM_CACHE")
            .or_else(|| Some(from("XDG_CACHE_HOME")?.join("vmm")))
            .or_else(|| Some(from("HOME")?.join(".cache/vmm")))
            .ok_or(CacheError::NoPlace)?;
        Self::at(&root)
    }

    /// A cache in this folder, made where it is missing. What builds left in `tmp` when they were killed
    /// is removed.
    ///
    /// # Errors
    /// The folder can't be made or written, or the kernel's makefiles can't cope with its path.
    pub fn at(root: &Path) -> Result<Self, CacheError> {
        let root = std::path::absolute(root).map_err(CacheError::io("find", root))?;
        if root.to_string_lossy().contains(|c: char| c.is_whitespace() || c == ':') {
            return Err(CacheError::BadPlace(root));
        }
        stage::of_ones_own(&root, "name another by VMM_CACHE")?;
        for folder in ["kernels", "modules", "sources", "machines", "work", "tmp", "locks", "logs", "seals"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(CacheError::io("make the folder", &folder))?;
        }
        let cache = Self { root };
        stage::sweep(&cache.root.join("tmp"))?;
        Ok(cache)
    }

    /// The root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where an entry is or would be.
    pub fn place(&self, kind: Kind, key: &str) -> PathBuf {
        self.root.join(kind.folder()).join(key)
    }

    /// An entry, if it is there: whole, always, and as it was made. One that somebody has changed is removed.
    pub fn find(&self, kind: Kind, key: &str) -> Option<PathBuf> {
        let entry = Some(self.place(kind, key)).filter(|path| path.is_dir())?;
        let seal = seal_of(&entry);
        if seal::broken(&entry, &seal).is_none() {
            return Some(entry);
        }
        // Somebody may have made it anew since. In a cache that can't be written nobody does.
        let _lock = lock_entry(&entry);
        let entry = Some(entry).filter(|path| path.is_dir())?;
        let Some(changed) = seal::broken(&entry, &seal) else { return Some(entry) };
        let what = changed.display();
        progress::note(&format!(
            "{what} was changed since it was made: its entry in the cache is not used, and made anew"
        ));
        let _ = remove(&entry);
        let _ = fs::remove_file(&seal);
        None
    }

    /// The keys of all entries of a kind, sorted.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn keys(&self, kind: Kind) -> Result<Vec<String>, CacheError> {
        let folder = self.root.join(kind.folder());
        let read = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        let mut keys: Vec<String> = fs::read_dir(&folder)
            .and_then(|entries| entries.map(read).collect())
            .map_err(CacheError::io("read", &folder))?;
        keys.sort();
        Ok(keys)
    }

    /// A folder that stays from build to build.
    pub fn work(&self, name: &str) -> PathBuf {
        self.root.join("work").join(name)
    }

    /// Where a build's whole output goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// Waits until nobody else holds the lock of this name, saying so (`what` is a noun: "kernel 3f9c1a2")
    /// when that takes time.
    ///
    /// # Errors
    /// The lock file can't be made, or the user pressed Ctrl-C.
    pub fn lock(&self, name: &str, what: &str) -> Result<Lock, CacheError> {
        let path = self.root.join("locks").join(name);
        let file = fs::File::create(&path).map_err(CacheError::io("make the lock file", &path))?;
        let mut said = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { file }),
                Err(fs::TryLockError::Error(error)) => return Err(CacheError::io("lock", &path)(error)),
                Err(fs::TryLockError::WouldBlock) if interrupt::requested() => {
                    return Err(CacheError::Interrupted);
                }
                Err(fs::TryLockError::WouldBlock) if !said => {
                    progress::note(&format!("waiting for another process that is building {what}"));
                    said = true;
                }
                Err(fs::TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// A new folder in which an entry can be made. Where the cache can't be written it is elsewhere, and no entry comes
    /// of it: a cache that has all that is needed serves all the same.
    ///
    /// # Errors
    /// It can't be made.
    pub fn stage(&self) -> Result<Stage, CacheError> {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        match Stage::new(&self.root.join("tmp")) {
            Err(CacheError::Io { source, .. })
                if matches!(source.kind(), ReadOnlyFilesystem | PermissionDenied) =>
            {
                Stage::running()
            }
            result => result,
        }
    }
}

/// Where the seal of an entry is.
pub(crate) fn seal_of(entry: &Path) -> PathBuf {
    beside(entry, "seals")
}

/// Holds off all others that would make or remove this entry and its seal: the two belong together. It is short.
pub(crate) fn lock_entry(entry: &Path) -> Result<fs::File, CacheError> {
    let path = beside(entry, "locks");
    let file = fs::File::create(&path).map_err(CacheError::io("make the lock file", &path))?;
    file.lock().map_err(CacheError::io("lock", &path))?;
    Ok(file)
}

fn beside(entry: &Path, folder: &str) -> PathBuf {
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
    };
    let kind = entry.parent();
    let root = kind.and_then(Path::parent).unwrap_or(Path::new(""));
    root.join(folder).join(format!("{}-{}", name(kind), name(Some(entry))))
}

/// Removes a folder and all that is in it, whatever a build has made of it; one that is not there is fine.
///
/// # Errors
/// Something can't be removed.
pub fn remove(folder: &Path) -> Result<(), CacheError> {
    jail::remove(folder).map_err(CacheError::io("remove", folder))
}

/// Held until dropped, and by every process that was given [`Lock::share`].
#[derive(Debug)]
pub struct Lock {
    file: fs::File,
}

impl Lock {
    /// The same lock once more. A child process that has it as its standard input keeps the lock for as
    /// long as it or one of its own children lives, even when this process is killed: nobody builds in
    /// a folder in which an orphaned compiler still writes.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn share(&self) -> io::Result<fs::File> {
        self.file.try_clone()
    }
}

#[cfg(test)]
#[path = "cache_test.rs"]
mod tests;
