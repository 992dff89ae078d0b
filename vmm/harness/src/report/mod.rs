//! Reporters: pure consumers of judged events. Adding one touches no other file.

pub mod json;
pub mod terminal;
mod trace;

#[cfg(test)]
mod tests;

use crate::judge::Judged;
use std::io;

/// Shows a run, or writes it down.
pub trait Reporter {
    /// Takes what happened.
    ///
    /// # Errors
    /// What it could not write. The run's verdict does not depend on it.
    fn event(&mut self, judged: &Judged) -> io::Result<()>;
}
