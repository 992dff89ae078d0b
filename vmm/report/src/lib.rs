//! Reporters: judged runs as a person ([`terminal`], [`markdown`], [`html`]) or a program ([`json`], [`events`], [`junit`], [`ktap`],
//! [`github`]) reads them, and a system call's way through the kernel in words ([`explain`]).
//!
//! They are pure consumers: a reporter gets [`Judged`] values, and never asks back. Adding one touches no other file.

#![forbid(unsafe_code)]

pub mod artifacts;
pub mod diff;
pub mod events;
pub mod explain;
mod failure;
mod files;
pub mod github;
pub mod html;
pub mod json;
pub mod junit;
pub mod ktap;
pub mod markdown;
pub mod merge;
pub mod record;
mod reporters;
pub mod show;
mod suites;
pub mod summary;
pub mod target;
pub mod terminal;
mod trace;

#[cfg(test)]
mod tests;

pub use files::{Files, Render, abandon};
use judge::{Began, Judged};
pub use reporters::Reporters;
use std::io;

/// Shows a run, or writes it down.
pub trait Reporter {
    /// Takes what is going to run, before anything does.
    ///
    /// # Errors
    /// As [`Reporter::event`].
    fn begin(&mut self, _all: &[Began]) -> io::Result<()> {
        Ok(())
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// As [`Reporter::event`].
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Takes what happened.
    ///
    /// # Errors
    /// What it could not write. The run's verdict does not depend on it.
    fn event(&mut self, judged: &Judged) -> io::Result<()>;
}
