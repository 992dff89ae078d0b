//! Kernel modules: [`build`]ing those of a folder, and looking before the boot whether the kernel will take them
//! ([`preflight`]). What else is built for a guest in the same way: [`program`]s.
//!
//! It knows the kernel that they are for, and no scenario; loading them is a guest's work.

#![forbid(unsafe_code)]

mod around;
mod build;
mod kept;
mod makefile;
pub mod preflight;
mod program;
mod sources;

pub use build::{Built, Module, ModuleError, build, look};
pub use program::{program, program_sources};
pub use sources::sources;
