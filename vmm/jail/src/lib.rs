//! What others hand in, and what it may do here: which files are taken and how many ([`intake`]).
//!
//! It knows no kernel, no module and no scenario, and no other crate of this project.

#![forbid(unsafe_code)]

pub mod intake;

pub use intake::{Limits, Refused};
