//! What a report says in its own words, between its head and where the processor was.

use crate::kind::Kind;
use crate::line::Line;
use crate::patterns::{Role, Trace};

use super::{Report, Section};

/// So many lines that nobody knows are taken for the message: the longest of UBSAN's has three, and a console may squeeze others in.
const MAX_MESSAGE: usize = 8;

impl Report {
    /// Whether the next line is the message of this `WARN()`: old kernels print it behind the head.
    pub fn waits_for_message(&self, number: u64) -> bool {
        let warns = matches!(self.pattern.kind, Kind::Warn | Kind::Refcount)
            && matches!(self.pattern.role, Role::Begin | Role::Torn)
            && self.pattern.key == "WARNING: ";
        warns && self.frame_count() == 0 && !self.ended && self.lines.last + 1 == number
    }

    /// Whether the line with CPU and task is still to come.
    pub fn waits_for_context(&self) -> bool {
        !self.ended
            && self.pattern.trace != Trace::Maybe
            && self.context_lines == 0
            && self.frame_count() == 0
    }

    /// Keeps a line that belongs to no report by its looks, where the message is to be expected.
    pub(super) fn keep_message(&mut self, line: &Line<'_>) {
        if self.waits_for_context() && self.section == Section::Head && self.foreign < MAX_MESSAGE {
            self.show(line);
        }
    }
}
