//! Folders that go with their maker, even one that is killed: the next one to make such a folder sweeps.
//!
//! Beside each folder lies a file that its maker has locked. The kernel drops the lock with the process, so a folder
//! whose file can be locked has nobody any more.

use crate::{
    cache::{self, CacheError, remove},
    seal,
};
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
            None => {
                let temporary = env::temp_dir();
                if !temporary.is_dir() {
                    let why = "it is not there; have TMPDIR or XDG_RUNTIME_DIR name one that is";
                    let use_it = CacheError::io("use the folder for temporary files", &temporary);
                    return Err(use_it(io::Error::other(why)));
                }
                temporary.join(format!("vmm-{}", Uid::effective()))
            }
        })
    }

    fn running_in(folder: &Path) -> Result<Self, CacheError> {
        // In a folder that all may write to, somebody else can have been first, with a link.
        if fs::symlink_metadata(folder).is_ok_and(|meta| !meta.is_dir()) {
            let why = "it is no folder; remove it, or set XDG_RUNTIME_DIR";
            return Err(CacheError::io("use the folder", folder)(io::Error::other(why)));
        }
        of_ones_own(folder, "remove it, or set XDG_RUNTIME_DIR")?;
        sweep(folder)?;
        Self::new(folder)
    }

    /// The stage that a path is in, if it is in one: whatever lies beside it belongs to somebody else.
    pub fn around(path: &Path) -> Option<&Path> {
        let is_stage = |folder: &&Path| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let numbers = name.split('-').all(|part| part.parse::<u32>().is_ok()) && name.contains('-');
            numbers && folder.with_file_name(format!("{name}.lock")).is_file()
        };
        path.ancestors().find(is_stage)
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
        let _lock = cache::lock_entry(place)?;
        if !place.is_dir() {
            let seal = cache::seal_of(place);
            seal::seal(&self.path, &seal).map_err(CacheError::io("seal", &self.path))?;
        }
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

/// Makes a folder that nobody else may enter, if it is not there, and sees that nobody else may write to it. A folder that
/// root owns will do to be read. `else_do` is what to do where it is not to be used.
///
/// # Errors
/// It can't be made, or others may write to it.
pub fn of_ones_own(folder: &Path, else_do: &str) -> Result<(), CacheError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(CacheError::io("make the folder", folder))?;
    let meta = fs::metadata(folder).map_err(CacheError::io("look at", folder))?;
    let refuse = |why: String| Err(CacheError::io("use the folder", folder)(io::Error::other(why)));
    let me = Uid::effective().as_raw();
    if meta.uid() != me && meta.uid() != 0 {
        return refuse(format!("it is the user's with number {}; {else_do}", meta.uid()));
    }
    // Where a group or all may write, they can put in what they like. In a folder with the sticky bit, such as /tmp, they
    // can't replace what is somebody else's; they can in others.
    const STICKY: u32 = 0o1000;
    let above = folder.parent().and_then(|above| fs::metadata(above).ok());
    let above = above.is_some_and(|above| above.mode() & 0o002 != 0 && above.mode() & STICKY == 0);
    match meta.mode() & 0o022 != 0 {
        true => refuse(format!("others may write to it; run chmod go-w {}, or {else_do}", folder.display())),
        false if above => {
            refuse(format!("others may write to the folder that it is in, and replace it; {else_do}"))
        }
        false => Ok(()),
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
