//! A build of what others wrote leaves nothing behind: its makefiles can write to the build folder whatever they like, and the next
//! one's objects would be made of it. So all that belongs to the folder is set aside meanwhile, and a copy takes its place: by the same
//! path, or make would compile everything anew.
//!
//! All of this happens under the folder's lock. Who is killed in the middle leaves it to the next one to put things back.

use super::run;
use base::cache::{self, CacheError, Lock};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

fn kept(root: &Path) -> PathBuf {
    let mut name = root.as_os_str().to_owned();
    name.push(".kept");
    name.into()
}

/// Sets aside a folder with `source` and `build`, and puts a copy in its place.
pub(super) fn set_aside(root: &Path, lock: &Lock, log: &Path) -> Result<(), CacheError> {
    let kept = kept(root);
    fs::rename(root, &kept).map_err(CacheError::io("move", root))?;
    fs::create_dir(root).map_err(CacheError::io("make the folder", root))?;
    for entry in fs::read_dir(&kept).map_err(CacheError::io("read", &kept))? {
        let entry = entry.map_err(CacheError::io("read", &kept))?;
        // Files of the source are replaced, never written to. Of others a file system that can share parts of files does so.
        // Times go along: make goes by them.
        let how = if entry.file_name() == "source" { "--link" } else { "--reflink=auto" };
        let mut copy = run::tied("cp");
        copy.args(["-a", how, "--"]).args([&entry.path(), root]);
        // With the lock: should we be killed, the next one is not to put things back under its hands.
        let ran = run::run(copy, log, Some(lock), |_| ())?;
        if !ran.status.success() {
            return Err(match CacheError::is_full(root) {
                true => CacheError::disk_full(root.to_owned()),
                false => CacheError::io("copy", &entry.path())(io::Error::other(ran.lines.join("; "))),
            });
        }
    }
    Ok(())
}

/// Puts back what was set aside, if anything was.
pub(super) fn put_back(root: &Path) -> Result<(), CacheError> {
    let kept = kept(root);
    if fs::symlink_metadata(&kept).is_err() {
        return Ok(());
    }
    cache::remove(root)?;
    fs::rename(&kept, root).map_err(CacheError::io("move", &kept))
}
