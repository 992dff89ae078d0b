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
            link(folder, entry.path(), &name, budget)?;
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

/// Whoever reads through a link that leads out gives away what is there.
fn link(folder: &Path, path: &Path, name: &str, budget: &mut Budget) -> Result<(), String> {
    let to = fs::read_link(path).unwrap_or_default();
    let inside = match (fs::canonicalize(path), fs::canonicalize(folder)) {
        (Ok(to), Ok(folder)) => to.starts_with(folder),
        // It leads nowhere.
        _ => to.is_relative() && !to.components().any(|part| part.as_os_str() == ".."),
    };
    if !inside {
        return Err(format!("the link {name} leads out of the submission, to {}", to.display()));
    }
    budget.notes.push(format!("the link {name} is left out"));
    Ok(())
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
