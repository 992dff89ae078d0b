//! Copies of source trees that change as little as possible, so that make rebuilds as little as possible.

use crate::cache::CacheError;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use walkdir::{DirEntry, WalkDir};

/// What builds make, and what version control keeps: no part of a source.
const PRODUCT_ENDINGS: &[&str] =
    &[".o", ".ko", ".a", ".mod", ".mod.c", ".cmd", ".rmeta", ".order", "Module.symvers", ".usyms"];

/// One file of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    size: u64,
    mtime: (i64, i64),
    mode: u32,
    /// A symbolic link that stays inside of the tree.
    link: Option<PathBuf>,
}

type Files = BTreeMap<PathBuf, File>;

/// The files of a source tree, by their paths below it.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
    files: Files,
}

/// How a copy is to share with its original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Hard links: for originals that never change.
    Links,
    /// Nothing.
    Nothing,
}

/// What a copy was made of, kept beside it: what is here and no longer in the original is deleted.
#[derive(Default, Serialize, Deserialize)]
struct Manifest {
    files: BTreeSet<PathBuf>,
}

impl Tree {
    /// Looks at every file of `root` but what builds made there, without reading any.
    ///
    /// # Errors
    /// A folder can't be read.
    pub fn scan(root: &Path) -> Result<Self, CacheError> {
        // A kernel has 90,000 files, most of them below a few folders: one walker for each of the second level.
        let mut starts = Vec::new();
        let mut files = Files::new();
        for entry in WalkDir::new(root).max_depth(2).into_iter().filter_entry(is_source) {
            let entry = entry.map_err(|error| unreadable(root, error))?;
            if entry.depth() == 2 && entry.file_type().is_dir() {
                starts.push(entry.into_path());
            } else {
                add(root, &entry, &mut files)?;
            }
        }
        let next = AtomicUsize::new(0);
        let walk = || {
            let mut files = Files::new();
            while let Some(start) = starts.get(next.fetch_add(1, Ordering::Relaxed)) {
                for entry in WalkDir::new(start).into_iter().filter_entry(is_source) {
                    add(root, &entry.map_err(|error| unreadable(start, error))?, &mut files)?;
                }
            }
            Ok(files)
        };
        let parts: Vec<_> = thread::scope(|scope| {
            let count = thread::available_parallelism().map_or(1, usize::from);
            let walkers: Vec<_> = (0..count).map(|_| scope.spawn(walk)).collect();
            walkers.into_iter().filter_map(|walker| walker.join().ok()).collect()
        });
        for part in parts {
            files.append(&mut part?);
        }
        Ok(Self { root: root.to_owned(), files })
    }

    /// The files' paths below the root, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// A text that changes when a file comes, goes, or is written: for trees too large to be read.
    pub fn state(&self) -> String {
        use std::fmt::Write;
        self.files.iter().fold(String::new(), |mut text, (path, file)| {
            let (seconds, nanos) = file.mtime;
            let _ = writeln!(text, "{} {} {seconds}.{nanos} {:?}", path.display(), file.size, file.link);
            text
        })
    }

    /// Makes `to` a copy of this tree but for the files `except`, which are the caller's. Files that are
    /// equal already are not touched. `manifest` is where this is remembered for the next time.
    ///
    /// A file that replaces another gets the present as its time, whatever its original's is: else make
    /// would take objects that were built from its predecessor for newer.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn mirror(
        &self,
        to: &Path,
        share: Share,
        except: &BTreeSet<PathBuf>,
        manifest: &Path,
    ) -> Result<(), CacheError> {
        let old: Manifest =
            fs::read(manifest).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let new: BTreeSet<PathBuf> = self.files.keys().chain(except).cloned().collect();
        // Written before anything is done: should we be killed, the next time knows all that may be here.
        save(manifest, &Manifest { files: old.files.union(&new).cloned().collect() })?;
        for gone in old.files.difference(&new) {
            let path = to.join(gone);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(CacheError::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        let mut folder = PathBuf::new();
        for (name, file) in self.files.iter().filter(|(name, _)| !except.contains(*name)) {
            let (from, to) = (self.root.join(name), to.join(name));
            if let Some(parent) = to.parent().filter(|parent| *parent != folder) {
                parent.clone_into(&mut folder);
                fs::create_dir_all(parent).map_err(CacheError::io("make the folder", parent))?;
            }
            place(&from, file, &to, share)?;
        }
        save(manifest, &Manifest { files: new })
    }
}

fn unreadable(root: &Path, error: walkdir::Error) -> CacheError {
    let path = error.path().unwrap_or(root).to_owned();
    CacheError::io("read", &path)(error.into())
}

/// Adds what is a file of the source.
fn add(root: &Path, entry: &DirEntry, files: &mut Files) -> Result<(), CacheError> {
    let path = entry.path();
    if entry.file_type().is_dir() || path == root {
        return Ok(());
    }
    let link = if entry.path_is_symlink() { inner_link(root, path) } else { None };
    let meta = match &link {
        Some(_) => entry.metadata().map_err(|error| CacheError::io("read", path)(error.into()))?,
        None => match fs::metadata(path) {
            Ok(meta) if meta.is_file() => meta,
            // A link to nowhere or out to a folder, a socket: nothing that a build needs.
            _ => return Ok(()),
        },
    };
    let name = path.strip_prefix(root).unwrap_or(path).to_owned();
    let mtime = (meta.mtime(), meta.mtime_nsec());
    files.insert(name, File { size: meta.len(), mtime, mode: meta.mode(), link });
    Ok(())
}

fn save(path: &Path, manifest: &Manifest) -> Result<(), CacheError> {
    let text = serde_json::to_vec(manifest).map_err(|error| CacheError::io("write", path)(error.into()))?;
    fs::write(path, text).map_err(CacheError::io("write", path))
}

fn is_source(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    entry.depth() == 0 || (name != ".git" && !PRODUCT_ENDINGS.iter().any(|ending| name.ends_with(ending)))
}

/// Where a link points, if that is inside of `root` also in a copy.
fn inner_link(root: &Path, path: &Path) -> Option<PathBuf> {
    let target = fs::read_link(path).ok().filter(|target| target.is_relative())?;
    let real = fs::canonicalize(path).ok()?;
    real.starts_with(fs::canonicalize(root).ok()?).then_some(target)
}

fn place(from: &Path, file: &File, to: &Path, share: Share) -> Result<(), CacheError> {
    let present = fs::symlink_metadata(to).ok();
    if let Some(target) = &file.link {
        if fs::read_link(to).is_ok_and(|it| it == *target) {
            return Ok(());
        }
        if present.is_some() {
            fs::remove_file(to).map_err(CacheError::io("replace", to))?;
        }
        return symlink(target, to).map_err(CacheError::io("make the link", to));
    }
    match present {
        None if share == Share::Links && fs::hard_link(from, to).is_ok() => Ok(()),
        None => {
            copy(from, to)?;
            let time = fs::metadata(from).and_then(|meta| meta.modified());
            time.and_then(|time| fs::File::options().write(true).open(to)?.set_modified(time))
                .map_err(CacheError::io("set the time of", to))
        }
        Some(meta) => {
            let same_size = meta.is_file() && meta.len() == file.size;
            let same_time = (meta.mtime(), meta.mtime_nsec()) == file.mtime;
            let same_mode = meta.mode() & 0o111 == file.mode & 0o111;
            if same_mode && same_size && (same_time || fs::read(from).ok() == fs::read(to).ok()) {
                return Ok(());
            }
            copy(from, to)
        }
    }
}

/// Copies by way of a rename, so that a hard link's other names keep their content.
pub fn copy(from: &Path, to: &Path) -> Result<(), CacheError> {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".vmm-new");
    let new = to.with_file_name(name);
    fs::copy(from, &new).map_err(|error| match error.kind() {
        // It is the copy's disk that is full, which may be another.
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => CacheError::io("write", &new)(error),
        _ => CacheError::io("copy", from)(error),
    })?;
    // Sources of packages may be read-only; what is built from them is ours.
    let mode = fs::metadata(&new).map(|meta| meta.permissions().mode() | 0o600);
    mode.and_then(|mode| fs::set_permissions(&new, fs::Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(&new, to))
        .map_err(CacheError::io("write", to))
}

#[cfg(test)]
#[path = "tree_test.rs"]
mod tests;
