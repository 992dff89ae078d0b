//! The kernels that the cache has: which they are, and which may go.

use super::{Facts, KernelError, Manifest, product};
use base::cache::{self, Cache, CacheError, Kind};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use walkdir::WalkDir;

/// A file of an entry: its time of change is when the kernel was last used.
const USED: &str = "used";

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub struct Stored {
    /// 16 hexadecimal digits.
    pub hash: String,
    /// Where it is.
    pub path: PathBuf,
    /// `uname -r`; empty when the entry is damaged.
    pub release: String,
    /// How it was made; `None` when the entry is damaged.
    pub facts: Option<Facts>,
    /// On disk, in bytes, its build folder not counted.
    pub size: u64,
    /// When it was last built or found.
    pub used: SystemTime,
}

/// Remembers that an entry was used.
pub(super) fn touch(entry: &Path) {
    // A cache that can't be written serves all the same.
    let _ = fs::write(entry.join(USED), "");
}

/// All kernels, the most recently used one first.
///
/// # Errors
/// The cache can't be read.
pub fn list(cache: &Cache) -> Result<Vec<Stored>, CacheError> {
    let keys = cache.keys(Kind::Kernel)?;
    let mut list: Vec<_> =
        keys.into_iter().map(|hash| look(&cache.place(Kind::Kernel, &hash), hash)).collect();
    list.sort_by_key(|kernel| std::cmp::Reverse(kernel.used));
    Ok(list)
}

fn look(path: &Path, hash: String) -> Stored {
    let manifest = fs::read(path.join("kernel.json")).ok();
    let manifest: Option<Manifest> = manifest.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let manifest = manifest.filter(|manifest| manifest.check().is_ok());
    let time = |name: &str| fs::metadata(path.join(name)).and_then(|meta| meta.modified()).ok();
    let (release, facts) = manifest.map(|it| (it.release, Some(it.facts))).unwrap_or_default();
    Stored {
        hash,
        release,
        facts,
        size: disk_usage(path),
        used: time(USED).or_else(|| time("kernel.json")).unwrap_or(SystemTime::UNIX_EPOCH),
        path: path.to_owned(),
    }
}

/// In bytes; a file with several names counts once.
fn disk_usage(folder: &Path) -> u64 {
    let mut seen = BTreeSet::new();
    let metas = WalkDir::new(folder).into_iter().flatten().filter_map(|entry| entry.metadata().ok());
    // stat counts in units of 512 bytes (stat(2), st_blocks).
    metas.filter(|meta| seen.insert((meta.dev(), meta.ino()))).map(|meta| meta.blocks() * 512).sum()
}

/// What goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// All but so many of the most recently used ones.
    pub keep: Option<usize>,
    /// Only what was not used for so long.
    pub older: Option<Duration>,
}

impl Rule {
    /// Those of `list` (the most recently used one first) that go. Without a limit that is none.
    pub fn choose(self, list: Vec<Stored>, now: SystemTime) -> Vec<Stored> {
        if self.keep.is_none() && self.older.is_none() {
            return Vec::new();
        }
        let idle = |kernel: &Stored| now.duration_since(kernel.used).unwrap_or_default();
        let old = |kernel: &Stored| self.older.is_none_or(|age| idle(kernel) >= age);
        list.into_iter().skip(self.keep.unwrap_or(0)).filter(old).collect()
    }
}

/// What removing kernels frees.
#[derive(Clone, Debug, Default)]
pub struct Freed {
    /// The kernels.
    pub kernels: Vec<Stored>,
    /// Build folders that only these kernels were made in, with their sizes in bytes.
    pub folders: Vec<(PathBuf, u64)>,
}

impl Freed {
    /// In bytes.
    pub fn size(&self) -> u64 {
        self.kernels.iter().map(|it| it.size).chain(self.folders.iter().map(|it| it.1)).sum()
    }
}

/// What goes by a rule, and the build folders that are then of no use; removes nothing.
///
/// # Errors
/// The cache can't be read.
pub fn plan(cache: &Cache, rule: Rule) -> Result<Freed, CacheError> {
    let list = list(cache)?;
    let kernels = rule.choose(list.clone(), SystemTime::now());
    let goes: BTreeSet<&str> = kernels.iter().map(|it| it.hash.as_str()).collect();
    let slot = |kernel: &Stored| {
        let slot = kernel.facts.as_ref()?.ingredients.slot.clone();
        // Whatever an entry says, only what lies in the cache is ours to remove.
        Some(slot).filter(|slot| product::is_name(slot))
    };
    let needed: BTreeSet<_> =
        list.iter().filter(|it| !goes.contains(it.hash.as_str())).filter_map(slot).collect();
    let unused: BTreeSet<_> = kernels.iter().filter_map(slot).filter(|slot| !needed.contains(slot)).collect();
    let folders = unused.iter().map(|slot| cache.work(slot)).filter(|path| path.is_dir());
    let folders = folders.map(|path| (disk_usage(&path), path)).map(|(size, path)| (path, size)).collect();
    Ok(Freed { kernels, folders })
}

/// Removes what [`plan`] found.
///
/// A kernel disappears by one rename, so that nobody finds a part of it. Who is building in one of the folders is
/// waited for.
///
/// # Errors
/// The cache can't be written, or Ctrl-C.
pub fn remove(cache: &Cache, freed: &Freed) -> Result<(), CacheError> {
    for kernel in &freed.kernels {
        let _lock = cache.lock(&format!("kernel-{}", kernel.hash), &format!("kernel {}", &kernel.hash))?;
        let stage = cache.stage()?;
        match fs::rename(&kernel.path, stage.path().join("entry")) {
            // Somebody else was faster.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            result => result.map_err(CacheError::io("remove", &kernel.path))?,
        }
    }
    for (folder, _) in &freed.folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let _lock = cache.lock(&name, &format!("a kernel in {}", folder.display()))?;
        cache::remove(folder)?;
    }
    Ok(())
}

/// A kernel by its hash, or by enough of its first digits.
///
/// # Errors
/// [`KernelError::NoSuch`] when it is not there, [`KernelError::Several`] where others begin like this.
pub fn find(cache: &Cache, hash: &str) -> Result<Stored, KernelError> {
    let kernels = cache.place(Kind::Kernel, "");
    match super::wanted::built(hash, &kernels) {
        Some(path) => {
            let hash = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok(look(&path, hash))
        }
        None => match cache.keys(Kind::Kernel)?.iter().filter(|key| key.starts_with(hash)).count() {
            0 | 1 => Err(KernelError::NoSuch(hash.to_owned())),
            _ => Err(KernelError::Several(hash.to_owned())),
        },
    }
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
