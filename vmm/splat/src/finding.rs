//! What a splat looks like to the rest of the world.

use serde::{Deserialize, Serialize};

use crate::blame::is_machinery;
use crate::{Frame, Kind};

/// One splat: one cause, however many messages the kernel printed about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What sort of splat.
    pub kind: Kind,
    /// One line, the same in every run: no addresses, process ids or CPU numbers.
    pub title: String,
    /// Where it happened: the first function that is not a helper of the reporting machinery.
    pub function: Option<String>,
    /// The call trace, innermost first; at most [`Finding::MAX_FRAMES`]. Frames that the kernel marks as
    /// unreliable (`? foo`) are left out.
    pub frames: Vec<Frame>,
    /// 16 hex digits that are the same for the same splat in every run and every build.
    pub fingerprint: String,
    /// Whether expected parts of the report are missing or broken; `damage` says which.
    pub corrupted: bool,
    /// What is missing or broken, one phrase each; empty when `corrupted` is false.
    pub damage: Vec<String>,
    /// Source position that the report's head names, as the kernel printed it (`lib/foo.c:12`).
    pub file_line: Option<String>,
    /// Taint letters at the time of the report, without the `G` that means none (Linux
    /// Documentation/admin-guide/tainted-kernels.rst). None when the report does not say, empty when not tainted.
    pub taint: Option<String>,
    /// CPU that the report names.
    pub cpu: Option<u32>,
    /// Process id that the report names.
    pub pid: Option<u32>,
    /// Name of that process.
    pub comm: Option<String>,
    /// The reason given, if the kernel panicked because of this splat.
    pub panicked: Option<String>,
    /// Whether the kernel's `die()` printed a line of it, which counts an oops. Not written down: who judges has the log.
    #[serde(skip)]
    pub trapped: bool,
    /// Whether the kernel's `__warn()` printed a line of it, which counts a warning.
    #[serde(skip)]
    pub warned: bool,
    /// Where in the log.
    pub lines: Lines,
    /// The report's own lines without the console's prefixes; at most [`Finding::MAX_EXCERPT`] lines.
    pub excerpt: Vec<String>,
}

impl Finding {
    /// Most frames that are kept of a trace.
    pub const MAX_FRAMES: usize = 128;
    /// Most lines that are kept of a report.
    pub const MAX_EXCERPT: usize = 80;

    /// The frames that a person wants first: those below the way in which the kernel came to report it. In a stall that
    /// is the whole trace, for there it tells what the CPU did all the time.
    pub fn telling_frames(&self) -> &[Frame] {
        let above = match &self.function {
            _ if self.kind.is_stall() => None,
            Some(function) => self.frames.iter().position(|frame| frame.function == *function),
            // A panic names nobody: its own words are its title.
            None => self.frames.iter().position(|frame| !is_machinery(frame)),
        };
        self.frames.get(above.unwrap_or(0)..).unwrap_or_default()
    }
}

/// A range of lines of the log, counted from 1, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    pub first: u64,
    pub last: u64,
}
