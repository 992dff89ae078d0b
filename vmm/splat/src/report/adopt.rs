//! Stalls make other CPUs print their traces: their lines belong to the stall's report.

use crate::kind::Kind;
use crate::line::{Caller, Line};

use super::Report;

/// So many tasks and CPUs can print lines of one report.
const MAX_CALLERS: usize = 64;

impl Report {
    /// Whether a CPU begins to print its trace because it was asked to.
    pub fn is_backtrace(line: &Line<'_>) -> bool {
        line.text.starts_with("NMI backtrace for cpu")
    }

    /// Whether traces of other CPUs belong here.
    pub fn takes_backtraces(&self) -> bool {
        !self.ended && self.asks() && self.callers.len() < MAX_CALLERS
    }

    /// Whether more lines of its caller are to come, though they be of a trace.
    pub fn goes_on(&self) -> bool {
        !self.ended && (!self.bottomed || self.asks())
    }

    fn asks(&self) -> bool {
        self.pattern.kind.is_stall() || self.pattern.kind == Kind::HungTask
    }

    /// Takes the lines of this caller from now on.
    pub fn adopt(&mut self, caller: Option<Caller>) {
        self.callers.push(caller);
    }

    /// Takes no further lines of this caller.
    pub fn disown(&mut self, caller: Option<Caller>) {
        self.callers.retain(|known| *known != caller);
    }
}
