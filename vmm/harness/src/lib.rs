//! What the commands do: a [`Session`] takes scenarios from their typed form to their verdicts; [`module`], [`mod@kernel`], [`mod@explain`],
//! [`machines`], [`mod@kselftest`], [`mod@kunit`] and [`mod@bench`] are the commands of these names.
//!
//! All the steps of the way are crates of their own; here they are put one behind the other, and nothing else. Nothing is
//! printed here, and no exit code is made: whoever calls gets data, or an [`Abort`].

#![forbid(unsafe_code)]

mod abort;
pub mod bench;
pub mod explain;
pub mod kernel;
pub mod kselftest;
pub mod kunit;
pub mod machines;
pub mod many;
pub mod module;
mod session;
mod written;

pub use abort::Abort;
pub use session::{Options, Session, Starts};
pub use written::Guest;
