//! Grading: an [`Assignment`], what students handed in (`intake`), and what came of it as `record`s, tables and pages.
//!
//! Each submission is made buildable (`source`), built in a process of its own, and run, each test on a fresh machine, by the
//! harness. Points come from what the judge says of a run (`score`); what is this machine's fault costs nobody a point.
//!
//! It makes no exit code, and knows nothing of kernels and machines but what the harness tells.

#![forbid(unsafe_code)]

mod again;
mod all;
mod apart;
mod assignment;
pub mod bench;
mod build;
mod check;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod intake;
mod mutants;
mod output;
mod points;
mod record;
mod run;
mod score;
mod source;
mod stand_in;
mod store;
mod student;
mod syscall;
mod table;

pub use all::{Graded, Grading, all, merge, remarks};
pub use assignment::Assignment;
pub use check::{Checked, check};
pub use intake::{Entry, Listing, list, single};
pub use points::Points;
pub use record::{Record, State};
pub use run::is_shown;
pub use store::Whose;

use jail::reader::Reader;
use std::fmt::Write;

/// What reads the work of students, each kind of it in a process of its own.
pub fn readers() -> impl Iterator<Item = &'static Reader> {
    apart::READERS.into_iter().chain([&intake::READER])
}

/// A student's page as text, for the teacher or with what the student may see, which is more once the due date is over.
pub fn page(assignment: &Assignment, record: &Record, for_student: bool, is_due: bool) -> String {
    output::text(assignment, &all::as_seen(record, is_due), for_student)
}

/// Bytes as digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
