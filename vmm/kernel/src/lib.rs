//! Kernels: built from a recipe once, found in the cache afterwards; and what is in them.
//!
//! [`get`] is all that most callers need. The parts: what people ask for is made a [`Recipe`] ([`wanted`]); a
//! [`Source`] is brought into the cache, a [`patch::Series`] is put on a private copy of it, [`config`] fragments are
//! put on a base, make builds, and what is worth keeping becomes a cache entry. Of an entry, [`symbols`],
//! [`syscall_table`] and [`lines`] know what a number or an address in it is called.
//!
//! It knows no scenario and boots nothing.

#![forbid(unsafe_code)]

mod apart;
pub mod at_boot;
mod base_config;
mod build;
pub mod check;
pub mod config;
mod configure;
mod debian;
pub mod diagnose;
mod download;
mod error;
mod fit;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
mod foreign;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod git;
mod handed;
mod kallsyms;
mod kconfig;
mod kernel;
pub mod lines;
mod looked;
pub mod menuconfig;
mod offsets;
pub mod parcel;
pub mod patch;
mod product;
mod recipe;
pub mod run;
mod source;
pub mod sources;
pub mod store;
pub mod symbols;
pub mod syscall_table;
pub mod toolchain;
pub mod tree;
mod unlisted;
pub mod wanted;

pub use base_config::Base;
pub use config::ConfigError;
pub use debian::origin;
pub use error::{BuildFailed, KernelError, NO_RUST};
pub use fit::Fit;
pub use foreign::{ForeignError, unpack_bzimage};
pub use git::LED;
pub use kernel::{Found, Kernel, ensure, found, get, hash, patched, ready, slot, source, time_make};
use kernel::{Prepared, prepare};

/// What reads kernels and their debug info, each in a process of its own.
pub static READERS: [&jail::reader::Reader; 3] = [&foreign::READER, &lines::KERNEL, &lines::MODULE];
pub use looked::Looked;
pub use product::{Facts, Manifest};
pub use recipe::{Ingredients, Patches, Recipe};
pub use source::Source;
pub use sources::NOT_CLEAN;
pub use toolchain::Compiler;

#[cfg(test)]
mod tests;
