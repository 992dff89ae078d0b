//! Reporters: judged runs as a person ([`terminal`]) or a program ([`json`]) reads them, and a system call's way through
//! the kernel in words ([`explain`]).
//!
//! They are pure consumers: a reporter gets [`Judged`] values, and never asks back. Adding one touches no other file.

#![forbid(unsafe_code)]

pub mod explain;

pub mod json;
mod reporters;
mod target;
pub mod terminal;
mod trace;

#[cfg(test)]
mod tests;

use judge::Judged;
pub use reporters::Reporters;
use std::io;

/// Shows a run, or writes it down.
pub trait Reporter {
    /// Takes what happened.
    ///
    /// # Errors
    /// What it could not write. The run's verdict does not depend on it.
    fn event(&mut self, judged: &Judged) -> io::Result<()>;
}
