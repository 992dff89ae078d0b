//! Folders that go with their maker, even one that is killed: the next one to make such a folder sweeps.
//!
//! Beside each folder lies a file that its maker has locked. The kernel drops the lock with the process, so a folder
//! whose file can be locked has nobody any more.

use crate::cache::{CacheError, remove};
use nix::unistd::Uid;
use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// A folder of one's own, such as a cache entry in the making; dropped, it leaves nothing.
#[derive(Debug)]
pub struct Stage {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: fs::File,
}

impl Stage {
    /// A new folder in `tmp`, which is there.
    ///
    /// # Errors
    /// It can't be made.
    pub fn new(tmp: &Path) -> Result<Self, CacheError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let (path, lock_path) = (tmp.join(&name), tmp.join(name + ".lock"));
            let lock = fs::File::create(&lock_path).map_err(CacheError::io("make", &lock_path))?;
            // A sweep of another process may have come between these two: then the lock is its own, or
            // the file has lost its name.
            if lock.try_lock().is_err() || !is_still(&lock, &lock_path) {
                continue;
            }
            fs::create_dir(&path).map_err(CacheError::io("make the folder", &path))?;
            return Ok(Self { path, lock_path, _lock: lock });
        }
    }

    /// A new folder for sockets and other files of running processes, which nobody else may enter: below
    /// `$XDG_RUNTIME_DIR`, else in the system's folder for temporary files. What others left there when they were
    /// killed is removed first.
    ///
    /// # Errors
    /// It can't be made, or the folder in which it should be is another user's.
    pub fn running() -> Result<Self, CacheError> {
        let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
        Self::running_in(&match runtime {
            Some(folder) => folder.join("vmm"),
            None => env::temp_dir().join(format!("vmm-{}", Uid::effective())),
        })
    }

    fn running_in(folder: &Path) -> Result<Self, CacheError> {
        let cannot = || CacheError::io("make the folder", folder);
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(cannot()(error)),
            _ => {}
        }
        // In a folder that all may write to, somebody else can have been first.
        let meta = fs::symlink_metadata(folder).map_err(CacheError::io("look at", folder))?;
        if !meta.is_dir() || meta.uid() != Uid::effective().as_raw() || meta.mode() & 0o022 != 0 {
            let why = "it is another user's, or others may write to it; remove it, or set XDG_RUNTIME_DIR";
            return Err(CacheError::io("use the folder", folder)(io::Error::other(why)));
        }
        sweep(folder)?;
        Self::new(folder)
    }

    /// The folder to fill.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder the entry at `place`. An entry that is there already stays.
    ///
    /// # Errors
    /// The rename fails.
    pub fn commit(self, place: &Path) -> Result<(), CacheError> {
        match fs::rename(&self.path, place) {
            Err(_) if place.is_dir() => Ok(()),
            result => result.map_err(CacheError::io("make the cache entry", place)),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Nobody is there to hear of a failure; the next start sweeps.
        if remove(&self.path).is_ok() {
            let _ = fs::remove_file(&self.lock_path);
        }
    }
}

/// Removes folders in `tmp` whose makers are no more.
///
/// # Errors
/// `tmp` can't be read.
pub fn sweep(tmp: &Path) -> Result<(), CacheError> {
    for entry in fs::read_dir(tmp).map_err(CacheError::io("read", tmp))?.flatten() {
        let lock_path = entry.path();
        if lock_path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let Ok(lock) = fs::File::open(&lock_path) else { continue };
        if lock.try_lock().is_ok() && is_still(&lock, &lock_path) {
            // In this order: as long as rubbish is left, a lock file that leads to it is left too.
            // Several processes may sweep at once; what is gone is gone.
            if remove(&lock_path.with_extension("")).is_ok() {
                let _ = fs::remove_file(&lock_path);
            }
        }
    }
    Ok(())
}

/// Whether `path` still names this open file.
fn is_still(file: &fs::File, path: &Path) -> bool {
    let inode = |meta: &fs::Metadata| (meta.dev(), meta.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(a), Ok(b)) if inode(&a) == inode(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_is_in_use_stays() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("vmm");
        let mine = Stage::running_in(&place).unwrap();
        // As a process that is gone leaves it: nobody holds the lock.
        fs::create_dir(place.join("1-0")).unwrap();
        fs::write(place.join("1-0/socket"), "").unwrap();
        fs::write(place.join("1-0.lock"), "").unwrap();
        let second = Stage::running_in(&place).unwrap();
        assert!(!place.join("1-0").exists() && !place.join("1-0.lock").exists());
        assert!(mine.path().is_dir() && second.path().is_dir());
        drop((mine, second));
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("vmm");
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Stage::running_in(&place).unwrap_err().to_string();
        assert!(error.contains("others may write to it"), "{error}");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
        assert!(Stage::running_in(&folder.path().join("link")).is_err(), "a link leads elsewhere");
    }
}
