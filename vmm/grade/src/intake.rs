//! Submissions as they come: folders, archives and single files, at any depth, under any name. What comes out is harmless: names
//! and bytes in memory, bounded in number and size.
//!
//! Whoever hands in may be hostile. No link is followed, nothing is unpacked onto the disk, and what is neither a file nor a
//! folder is refused.

mod archive;
mod budget;
mod folder;
mod listing;

pub(crate) use budget::Budget;
pub use listing::{Entry, Listing, again, list, single};

use crate::assignment::Limits;
use std::{collections::BTreeMap, path::Path};

/// What a student handed in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Paths with `/`, relative, without `..`, and what stands there.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What the student, or the teacher, should know of it.
    pub notes: Vec<String>,
}

/// Reads all that an entry holds.
///
/// # Errors
/// Why nobody can grade it, for the student's eyes.
pub fn read(entry: &Entry, limits: &Limits) -> Result<Files, String> {
    let mut budget = Budget::new(limits);
    for (path, name) in &entry.parts {
        take(path, name, &mut budget)?;
    }
    let Budget { files, notes, .. } = budget;
    if files.is_empty() {
        let why = notes.iter().find(|note| note.contains(" archive, "));
        return Err(match why {
            Some(why) => format!("{why}; hand in .zip or .tar.gz, or the files themselves"),
            None => "there is nothing in it: no file at all".to_owned(),
        });
    }
    Ok(Files { files, notes })
}

fn take(path: &Path, name: &str, budget: &mut Budget) -> Result<(), String> {
    let cannot = |error: std::io::Error| format!("it can't be read: {}", base::text::plain(&error));
    let kind = std::fs::symlink_metadata(path).map_err(cannot)?.file_type();
    if kind.is_dir() {
        return folder::read(path, budget);
    }
    if !kind.is_file() {
        return Err(format!("{name} is neither a file nor a folder"));
    }
    let bytes = folder::content(path, name, budget)?;
    budget.add(name, bytes, 0)
}

#[cfg(test)]
#[path = "intake_test.rs"]
mod tests;
