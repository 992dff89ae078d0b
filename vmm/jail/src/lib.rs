//! What others hand in, and what it may do here: which files are taken ([`intake`]), how much of everything ([`Limits`],
//! [`Budget`]), the box in which it is built ([`Sandbox`]), the one in which it is parsed ([`reader`]), and the one in which a guest runs ([`cell`]).
//!
//! It knows no kernel, no module and no scenario, and no other crate of this project.

#![forbid(unsafe_code)]

#[cfg(test)]
mod answers;
pub mod cell;
pub mod confined;
mod end;
mod filter;
pub mod intake;
mod kernel_limits;
mod landlocked;
mod limits;
mod memory;
mod processes;
mod programs;
pub mod reader;
mod remove;
mod rights;
mod sandbox;
mod starts;
mod watch;

pub use end::end;
pub use intake::Refused;
pub use landlocked::{Rules, Walls, restrict};
pub use limits::{Budget, Limits, short_of_addresses, with_time};
pub use memory::killed_for_memory;
pub use remove::remove;
pub use sandbox::{Sandbox, Way, is_required, require, way};
pub use watch::Watch;
