//! Copies of source trees that change as little as possible, so that make rebuilds as little as possible.

use base::cache::{self, CacheError};
use jail::{
    Limits, Refused,
    intake::{self, Tally},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ffi::OsStr,
    fs::{self, DirEntry},
    io::ErrorKind,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use walkdir::WalkDir;

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

type Files = Vec<(PathBuf, File)>;

/// The files of a source tree, by their paths below it.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
    /// Sorted by the paths' bytes: comparing paths as such would take longer than looking at the files.
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

/// What a copy was made of, kept beside it: what is here and no longer in the original is deleted, and what has not
/// changed since need not be looked at.
#[derive(Default, Serialize, Deserialize)]
struct Manifest {
    /// The original. Size and time tell nothing of another one: all files of two archives may have the same time.
    #[serde(default)]
    root: PathBuf,
    files: Vec<PathBuf>,
    /// The originals of `files`, in the same order; nothing for those that may have been changed since.
    #[serde(default)]
    stamps: Vec<Option<Stamp>>,
}

/// Size, time of change in seconds and nanoseconds, permissions.
type Stamp = (u64, i64, i64, u32);

impl File {
    fn stamp(&self) -> Stamp {
        (self.size, self.mtime.0, self.mtime.1, self.mode)
    }
}

impl Tree {
    /// Looks at every file of `root` but what builds made there, without reading any.
    ///
    /// # Errors
    /// A folder can't be read, there is more in it than `limits` allow, or something that is no file or leads out.
    pub fn scan(root: &Path, limits: Limits) -> Result<Self, CacheError> {
        let limits = limits.wanted()?;
        let tally = &Mutex::new(Tally::new(root, limits));
        // A kernel has 90,000 files, and most of the time goes into asking the system about each. So that is done
        // relative to the folder just read, not by the whole path again, and by as many threads as can run.
        let mut starts = vec![PathBuf::new()];
        let mut files = Files::new();
        for _ in 0..2 {
            for start in std::mem::take(&mut starts) {
                read_folder(root, &start, tally, &mut files, &mut starts)?;
            }
        }
        let next = AtomicUsize::new(0);
        let walk = || {
            let (mut files, mut todo) = (Files::new(), Vec::new());
            while let Some(start) = starts.get(next.fetch_add(1, Ordering::Relaxed)) {
                todo.push(start.clone());
                while let Some(folder) = todo.pop() {
                    read_folder(root, &folder, tally, &mut files, &mut todo)?;
                }
            }
            sort(&mut files);
            Ok::<Files, CacheError>(files)
        };
        let parts: Vec<_> = thread::scope(|scope| {
            let count = thread::available_parallelism().map_or(1, usize::from);
            let walkers: Vec<_> = (0..count).map(|_| scope.spawn(walk)).collect();
            walkers.into_iter().filter_map(|walker| walker.join().ok()).collect()
        });
        for part in parts {
            files.append(&mut part?);
        }
        sort(&mut files);
        Ok(Self { root: root.to_owned(), files })
    }

    /// The files' paths below the root, sorted by their bytes.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// The same, with where those lead that are links in the tree and in a copy.
    pub fn files(&self) -> impl Iterator<Item = (&Path, Option<&Path>)> {
        self.files.iter().map(|(path, file)| (path.as_path(), file.link.as_deref()))
    }

    /// A digest that changes when a file comes, goes, or is written: for trees too large to be read.
    pub fn state(&self) -> [u8; 32] {
        self.state_of(|_| true)
    }

    /// The same of some files only.
    pub fn state_of(&self, wanted: impl Fn(&Path) -> bool) -> [u8; 32] {
        let mut digest = Sha256::new();
        let mut add = |text: &OsStr| {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text.as_bytes());
        };
        let mut numbers = Vec::with_capacity(self.files.len() * 24);
        for (path, file) in self.files.iter().filter(|(path, _)| wanted(path)) {
            add(path.as_os_str());
            // No link points to nothing, so this tells links from files.
            add(file.link.as_deref().unwrap_or(Path::new("")).as_os_str());
            let (seconds, nanos) = file.mtime;
            numbers.extend([file.size.to_le_bytes(), seconds.to_le_bytes(), nanos.to_le_bytes()].concat());
        }
        digest.update(numbers);
        digest.finalize().into()
    }

    /// Makes `to` a copy of this tree but for the files `except`, which are the caller's. Files that are
    /// equal already are not touched. `manifest` is where this is remembered for the next time.
    ///
    /// Whatever comes after the first time gets the present as its time, also where nothing was before and where a link
    /// leads from now on: else make would take objects that were built from something else for newer.
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
        let journal = manifest.with_extension("changing");
        let old =
            if to.is_dir() { Manifest::read(manifest, &journal, &self.root) } else { Manifest::default() };
        let known: HashMap<&PathBuf, Stamp> =
            old.files.iter().zip(&old.stamps).filter_map(|(name, stamp)| Some((name, (*stamp)?))).collect();
        let ours = || self.files.iter().filter(|(name, _)| !except.contains(name));
        let changed: Vec<_> = ours().filter(|(name, file)| known.get(name) != Some(&file.stamp())).collect();
        let new: HashSet<&PathBuf> = self.files.iter().map(|(name, _)| name).chain(except).collect();
        let gone: Vec<&PathBuf> = old.files.iter().filter(|name| !new.contains(name)).collect();
        let excepted = old.files.iter().filter(|name| except.contains(*name) && !known.contains_key(name));
        if changed.is_empty() && gone.is_empty() && excepted.count() == except.len() {
            return Ok(());
        }
        let was_broken_off = journal.exists();
        // Nothing is built before the first copy is whole.
        let first = (!manifest.exists()).then_some(share);
        // Written before anything is done: should we be killed, the next time knows all that may be here, and
        // looks at whatever this one may have been at.
        let names = changed.iter().map(|(name, _)| name).chain(gone.iter().copied()).chain(except);
        save(&journal, &names.collect::<Vec<_>>())?;
        gone.into_iter().try_for_each(|name| remove(to, name))?;
        let (mut folder, mut links) = (PathBuf::new(), Vec::new());
        for (name, file) in changed {
            let (from, place) = (self.root.join(name), to.join(name));
            if let Some(parent) = place.parent().filter(|parent| *parent != folder) {
                parent.clone_into(&mut folder);
                fs::create_dir_all(parent).map_err(CacheError::io("make the folder", parent))?;
            }
            // Of the original's folder that was here, all files are gone.
            if fs::symlink_metadata(&place).is_ok_and(|it| it.is_dir()) {
                cache::remove(&place)?;
            }
            match &file.link {
                None => put(&from, file, &place, first)?,
                Some(target) => {
                    let is_new = link(target, &place)?;
                    links.extend((is_new || was_broken_off).then_some(name));
                }
            }
        }
        if first.is_none() {
            links.into_iter().try_for_each(|name| renew(to, name))?;
        }
        let ours = ours().map(|(name, file)| (name.clone(), Some(file.stamp())));
        let (files, stamps) = ours.chain(except.iter().map(|name| (name.clone(), None))).unzip();
        save(manifest, &Manifest { root: self.root.clone(), files, stamps })?;
        fs::remove_file(&journal).map_err(CacheError::io("remove", &journal))
    }
}

impl Manifest {
    /// What is known of a copy of `root`. Where a copy was broken off, its `journal` has the names of those files that
    /// nothing is sure of.
    fn read(path: &Path, journal: &Path, root: &Path) -> Self {
        fn parsed<T: DeserializeOwned>(path: &Path) -> Option<T> {
            serde_json::from_slice(&fs::read(path).ok()?).ok()
        }
        let mut manifest: Self = parsed(path).unwrap_or_default();
        if manifest.root != root {
            manifest.stamps.clear();
        }
        manifest.stamps.resize(manifest.files.len(), None);
        if let Some(mut unsure) = parsed::<HashSet<PathBuf>>(journal) {
            for (name, stamp) in manifest.files.iter().zip(&mut manifest.stamps) {
                if unsure.remove(name) {
                    *stamp = None;
                }
            }
            manifest.files.extend(unsure);
        }
        manifest
    }
}

fn sort(files: &mut Files) {
    files.sort_unstable_by(|(a, _), (b, _)| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
}

/// Adds the files of one folder to `files`, and the folders in it to `folders`. All paths are below `root`.
fn read_folder(
    root: &Path,
    folder: &Path,
    tally: &Mutex<Tally>,
    files: &mut Files,
    folders: &mut Vec<PathBuf>,
) -> Result<(), CacheError> {
    let path = root.join(folder);
    let is_top = folder.as_os_str().is_empty();
    for entry in fs::read_dir(&path).map_err(CacheError::io("read", &path))? {
        let entry = entry.map_err(CacheError::io("read", &path))?;
        let file_name = entry.file_name();
        if !is_source(&file_name) || is_top && is_beside(&entry) {
            continue;
        }
        let name = folder.join(&file_name);
        let kind = entry.file_type().map_err(CacheError::io("read", &path))?;
        if kind.is_dir() {
            locked(tally).count(&entry.path())?;
            folders.push(name);
        } else if let Some(file) = look(root, &entry, kind.is_symlink(), tally)? {
            files.push((name, file));
        }
    }
    Ok(())
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a build could need of something that is no folder; `None` for nothing.
fn look(
    root: &Path,
    entry: &DirEntry,
    is_link: bool,
    tally: &Mutex<Tally>,
) -> Result<Option<File>, CacheError> {
    let path = || entry.path();
    let link = if is_link { inner_link(root, &path())? } else { Link::No };
    let meta = match &link {
        // To nowhere, or out to a folder: no build gets there.
        Link::Useless => return Ok(None),
        Link::Whole => fs::metadata(path()),
        _ => entry.metadata(),
    };
    let meta = match meta {
        // Editors' files come and go.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        meta => meta.map_err(|error| CacheError::io("read", &path())(error))?,
    };
    locked(tally).add(&path(), &meta)?;
    let link = if let Link::Inner(target) = link { Some(target) } else { None };
    let mtime = (meta.mtime(), meta.mtime_nsec());
    Ok(Some(File { size: meta.len(), mtime, mode: meta.mode(), link }))
}

/// By way of a rename: of a manifest that is cut off nobody knew any more what to delete.
fn save(path: &Path, value: &impl Serialize) -> Result<(), CacheError> {
    let text = serde_json::to_vec(value).map_err(|error| CacheError::io("write", path)(error.into()))?;
    let new = path.with_extension("new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, path)).map_err(CacheError::io("write", path))
}

/// Whether a file or folder of this name can be part of a source.
pub fn is_source(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name != b".git" && !PRODUCT_ENDINGS.iter().any(|ending| name.ends_with(ending.as_bytes()))
}

/// Where scenarios are that `vmm init` writes.
const SCENARIOS: &str = "vmm";

/// Whether something at the top of a source is a folder that lies there for others than its build: a hidden one, of tools and
/// services, or one with scenarios and nothing that could be built. Whoever writes a line there has changed nothing in the source.
fn is_beside(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
        return false;
    }
    if name.as_bytes().starts_with(b".") {
        return true;
    }
    let names = || fs::read_dir(entry.path()).into_iter().flatten().flatten().map(|inner| inner.file_name());
    let ends = |name: &OsStr, endings: &[&str]| {
        Path::new(name).extension().is_some_and(|it| endings.iter().any(|ending| it == *ending))
    };
    let is_built = |name: &OsStr| {
        ["Makefile", "Kbuild"].iter().any(|it| name == *it) || ends(name, &["c", "h", "S", "rs", "mk"])
    };
    name == SCENARIOS
        && names().any(|name| ends(&name, &["yaml", "yml"]))
        && !names().any(|name| is_built(&name))
}

/// What becomes of a link in a copy.
enum Link {
    /// It is none.
    No,
    /// A link to the same.
    Inner(PathBuf),
    /// The file to which it leads, within the tree, by a path that leads elsewhere from a copy.
    Whole,
    /// Nothing.
    Useless,
}

/// Where a link points, if that is inside of `root` also in a copy.
fn inner_link(root: &Path, path: &Path) -> Result<Link, CacheError> {
    let (Ok(target), Ok(real)) = (fs::read_link(path), fs::canonicalize(path)) else {
        return Ok(Link::Useless);
    };
    let folder = fs::canonicalize(root).map_err(CacheError::io("read", root))?;
    match real.starts_with(&folder) {
        true if target.is_relative() => Ok(Link::Inner(target)),
        // A folder outside is a shortcut of its author's, to a kernel's source, say. It is not followed.
        _ if real.is_dir() => Ok(Link::Useless),
        true => Ok(Link::Whole),
        false => {
            Err(Refused::LeadsOut { path: path.to_owned(), target: real, folder: root.to_owned() }.into())
        }
    }
}

/// Removes a file of a copy, and the folders that are empty without it.
fn remove(copy: &Path, name: &Path) -> Result<(), CacheError> {
    let path = copy.join(name);
    let mut above = path.parent();
    // A copy that was broken off may have a file or a link where its folder was: behind that is something else.
    if !above.is_some_and(|above| intake::in_place(copy, above).is_ok_and(|it| it.is_dir())) {
        return Ok(());
    }
    cache::remove(&path)?;
    while let Some(folder) = above.filter(|it| *it != copy && fs::remove_dir(it).is_ok()) {
        above = folder.parent();
    }
    Ok(())
}

/// Makes a link; `false` if it is there already.
fn link(target: &Path, to: &Path) -> Result<bool, CacheError> {
    if fs::read_link(to).is_ok_and(|it| it == target) {
        return Ok(false);
    }
    cache::remove(to)?;
    symlink(target, to).map_err(CacheError::io("make the link", to))?;
    Ok(true)
}

/// Gives what a link of a copy leads to the present as its time: make looks at that, and not at the link.
fn renew(root: &Path, link: &Path) -> Result<(), CacheError> {
    let Ok(target) = intake::within(root, link) else { return Ok(()) };
    let all: Result<Vec<_>, _> = WalkDir::new(&target).into_iter().collect();
    let all = all.map_err(|error| CacheError::io("read", &target)(error.into()))?;
    let mut files = all.iter().filter(|entry| entry.file_type().is_file());
    // The original may share the file.
    files.try_for_each(|file| copy(file.path(), file.path()))
}

/// Brings a file to its place in a copy; into the `first` one with its original's time.
fn put(from: &Path, file: &File, to: &Path, first: Option<Share>) -> Result<(), CacheError> {
    match (fs::symlink_metadata(to).ok(), first) {
        (Some(present), _) => {
            let is_alike = present.is_file()
                && present.len() == file.size
                && present.mode() & 0o111 == file.mode & 0o111;
            let is_shared =
                || fs::metadata(from).is_ok_and(|it| (it.dev(), it.ino()) == (present.dev(), present.ino()));
            if is_alike && (is_shared() || fs::read(from).ok() == fs::read(to).ok()) {
                return Ok(());
            }
            copy(from, to)
        }
        (None, None) => copy(from, to),
        (None, Some(Share::Links)) if fs::hard_link(from, to).is_ok() => Ok(()),
        (None, Some(_)) => {
            copy(from, to)?;
            let time = fs::metadata(from).and_then(|meta| meta.modified());
            time.and_then(|time| fs::File::options().write(true).open(to)?.set_modified(time))
                .map_err(CacheError::io("set the time of", to))
        }
    }
}

/// Copies by way of a rename, so that a hard link's other names keep their content.
pub fn copy(from: &Path, to: &Path) -> Result<(), CacheError> {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".vmm-new");
    let new = to.with_file_name(name);
    // Once more: what was a file when it was looked at may be a pipe by now.
    let mut source = intake::open(from, Limits::KERNEL.wanted()?.file)?;
    let mode = source.metadata().map_err(CacheError::io("read", from))?.permissions().mode();
    fs::File::create(&new).and_then(|mut file| std::io::copy(&mut source, &mut file)).map_err(|error| {
        match error.kind() {
            // It is the copy's disk that is full, which may be another.
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => CacheError::io("write", &new)(error),
            _ => CacheError::io("copy", from)(error),
        }
    })?;
    // Sources of packages may be read-only; what is built from them is ours, and runs as nobody else.
    fs::set_permissions(&new, fs::Permissions::from_mode(mode & 0o777 | 0o600))
        .and_then(|()| fs::rename(&new, to))
        .map_err(CacheError::io("write", to))
}

#[cfg(test)]
#[path = "tree_test.rs"]
mod tests;
