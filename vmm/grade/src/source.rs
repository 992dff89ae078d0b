//! From what was handed in to what can be built: which files count, what is mended on the way, and what the source says of
//! itself. What is mended is said.

mod c;
pub mod diff;
mod makefile;
pub mod module;
pub mod patches;
mod rust;
mod tidy;
pub mod tree;

pub use c::{is_program, major, strip};
#[cfg(test)]
pub(crate) use tidy::any_of;
pub use tidy::tidy;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A path as the kernel's build system can cope with it, which takes some characters for more than a name.
pub fn plain(path: &str) -> String {
    only(path, |c| c.is_ascii_alphanumeric() || "/._-+".contains(c))
}

/// A text with `_` for what is not taken, the same whichever way an umlaut was written: a Mac has a letter and a mark for it.
fn only(text: &str, takes: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let is_mark = ('\u{300}'..='\u{36f}').contains(&c);
        if is_mark && out.ends_with(|last: char| last.is_ascii_alphanumeric()) {
            out.pop();
        }
        out.push(if takes(c) { c } else { '_' });
    }
    out
}

/// The name that a driver registers, as its source says, in C or in Rust. `text` has no comments.
pub fn device(text: &str, module: &str) -> Option<String> {
    c::device(text, module).or_else(|| rust::device(text))
}

/// Without the ending of a file of source that becomes an object.
pub fn stem(path: &str) -> &str {
    path.strip_suffix(".c").or_else(|| path.strip_suffix(".rs")).unwrap_or(path)
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
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
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
