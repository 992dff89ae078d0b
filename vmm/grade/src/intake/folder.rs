//! Folders, as somebody else filled them.

use super::{Wrong, budget::Budget};
use base::text::plain;
use nix::fcntl::OFlag;
use std::{
    fs,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// Reads all that is below a folder.
pub fn read(folder: &Path, budget: &mut Budget) -> Result<(), Wrong> {
    let walk = WalkDir::new(folder).follow_links(false).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || !is_silent(entry.path())) {
        let entry = entry.map_err(|error| Wrong::ours(format!("it can't be read: {error}")))?;
        let name = entry.path().strip_prefix(folder).unwrap_or(entry.path()).to_string_lossy().into_owned();
        if name.is_empty() {
            continue;
        }
        budget.count(&name)?;
        let kind = entry.file_type();
        if kind.is_symlink() {
            budget.link(&name, fs::read_link(entry.path()).ok());
        } else if kind.is_file() && !budget.leaves_out(&name) {
            let bytes = content(entry.path(), &name, budget)?;
            budget.take(&name, bytes)?;
        } else if !kind.is_dir() && !kind.is_file() {
            return Err(format!("{name} is a device, a pipe or a socket, not a file").into());
        }
    }
    Ok(())
}

fn is_silent(path: &Path) -> bool {
    path.file_name().is_some_and(|name| Budget::is_silent(&name.to_string_lossy()))
}

/// A file's content, if there is room for it.
pub fn content(path: &Path, name: &str, budget: &Budget) -> Result<Vec<u8>, Wrong> {
    let cannot = |error: std::io::Error| Wrong::ours(format!("{name} can't be read: {}", plain(&error)));
    // What was a file a moment ago may be a link or a pipe now.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let path: PathBuf = path.to_owned();
    let file = fs::File::options().read(true).custom_flags(flags.bits()).open(&path).map_err(cannot)?;
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err(format!("{name} is not a file").into());
    }
    let mut bytes = Vec::new();
    let room = budget.room();
    file.take(room + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > room { Err(budget.too_large().into()) } else { Ok(bytes) }
}
