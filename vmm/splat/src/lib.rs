//! Finds kernel splats in a console log, of any kernel version and any architecture, and says what each one is:
//! kind, title, function, frames, and a fingerprint that stays the same from run to run and from build to build.
//!
//! It is pure text to values: it reads no file, knows no guest, and gives no verdict. The log is hostile input: nothing in it
//! makes [`scan`] panic, take more than linear time, or use more memory than a small multiple of the log.
//!
//! How a log flows through: `line` strips what consoles put before a message; `patterns` (data) says which
//! messages begin a report; `scan` hands every line to the report that it belongs to; `report` collects it; `blame` finds the function
//! that it is named after; `finish` turns it into a [`Finding`]. A log that is not at its end yet goes line by line, or record
//! by record, into a [`Scanner`].

#![forbid(unsafe_code)]

mod blame;
mod finding;
mod fingerprint;
mod finish;
mod frames;
mod kind;
mod line;
mod patterns;
mod render;
mod report;
mod scan;
mod stack;
mod task;

pub use blame::takes_for_others;
pub use finding::{Finding, Lines};
pub use frames::{Frame, base_name, is_frame};
pub use kind::Kind;
pub use line::Caller;
pub use render::render;
pub use scan::{Scanner, scan};
