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
pub use budget::READER;
pub use listing::{Entry, LATE, Listing, again, list, single};

use crate::assignment::Limits;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// What a student handed in.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Files {
    /// Paths with `/`, relative, without `..`, and what stands there.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What the student, or the teacher, should know of it.
    pub notes: Vec<String>,
}

/// Why a submission can't be graded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// For the student's eyes, too.
    pub why: String,
    /// It is what was handed in, and not how it lies here.
    pub is_theirs: bool,
}

impl Wrong {
    /// Something that no student could have done otherwise.
    pub fn ours(why: String) -> Self {
        Self { why, is_theirs: false }
    }
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self { why, is_theirs: true }
    }
}

/// Reads all that an entry holds.
///
/// # Errors
/// Why nobody can grade it.
pub fn read(entry: &Entry, limits: &Limits) -> Result<Files, Wrong> {
    let mut budget = Budget::new(limits);
    for (path, name) in &entry.parts {
        take(path, name, &mut budget)?;
    }
    let Budget { files, notes, .. } = budget;
    if files.is_empty() {
        let why = notes.iter().find(|note| note.contains(" archive, "));
        return Err(Wrong::from(match (why, notes.first()) {
            (Some(why), _) => format!("{why}; hand in .zip or .tar.gz, or the files themselves"),
            (None, Some(note)) => format!("there is no source in it; {note}"),
            (None, None) => "there is nothing in it: no file at all".to_owned(),
        }));
    }
    Ok(Files { files, notes })
}

fn take(path: &Path, name: &str, budget: &mut Budget) -> Result<(), Wrong> {
    let cannot =
        |error: std::io::Error| Wrong::ours(format!("it can't be read: {}", base::text::plain(&error)));
    let kind = std::fs::symlink_metadata(path).map_err(cannot)?.file_type();
    if kind.is_dir() {
        return folder::read(path, budget);
    }
    if kind.is_symlink() {
        // Where it leads may be this machine's business, and a solution.
        return Err(Wrong::ours(format!(
            "{} is a link that leads nowhere, or that whoever handed in may have made, and so is not followed: name what it leads to, or \
             put that there",
            path.display()
        )));
    }
    if !kind.is_file() {
        return Err(format!("{name} is neither a file nor a folder").into());
    }
    // An LMS gives each file an entry of its own, a report and a video as well.
    if Budget::is_silent(name) || budget.leaves_out(name) {
        return Ok(());
    }
    let bytes = folder::content(path, name, budget)?;
    budget.take(name, bytes)
}

#[cfg(test)]
#[path = "intake_test.rs"]
mod tests;
