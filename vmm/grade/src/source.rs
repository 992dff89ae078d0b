//! From what was handed in to what can be built: which files count, what is mended on the way, and what the source says of
//! itself. What is mended is said.

mod c;
pub mod diff;
pub mod module;
pub mod patches;
mod tidy;
pub mod tree;

pub use c::{device, is_program, major, strip};
pub use tidy::tidy;

use std::collections::BTreeMap;

/// A path as the kernel's build system can cope with it, which takes some characters for more than a name.
pub fn plain(path: &str) -> String {
    path.chars().map(|c| if c.is_ascii_alphanumeric() || "/._-+".contains(c) { c } else { '_' }).collect()
}

/// Where the lines of a text begin.
pub struct Lines(Vec<usize>);

impl Lines {
    /// Of this text.
    pub fn of(text: &str) -> Self {
        Self([0].into_iter().chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line in which a byte is, counted from 0.
    pub fn line(&self, at: usize) -> usize {
        self.0.partition_point(|start| *start <= at).saturating_sub(1)
    }
}

/// What can be built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Paths below the folder that is written, and what stands there.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The module's folder in it; empty for the folder itself.
    pub root: String,
    /// The module's name.
    pub module: String,
    /// All C source that counts, as text.
    pub text: String,
    /// There was no MODULE_LICENSE, and now there is one.
    pub license_mended: bool,
    /// What was mended or left out.
    pub notes: Vec<String>,
}
