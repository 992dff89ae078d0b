//! Where the kernel's log comes from.

use crate::{serial_log::SerialLog, wire::LogRecord};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use trap::{KernelLog, LogPosition};

/// Guest memory, or what the kernel prints to the serial port.
pub enum Log {
    /// Found by the kernel's symbols.
    Memory(KernelLog),
    /// For a kernel without them.
    Serial(Arc<Mutex<SerialLog>>),
}

/// How far a log was read, as plain data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LogState {
    /// In guest memory.
    Memory(LogPosition),
    /// With lines that nobody has taken.
    Serial(SerialLog),
}

impl Log {
    /// How far it was read.
    pub fn state(&self) -> LogState {
        match self {
            Self::Memory(log) => LogState::Memory(log.position().clone()),
            Self::Serial(log) => LogState::Serial(lock(log).clone()),
        }
    }

    /// Goes on from there; `false` for a state of the other kind of log.
    #[must_use]
    pub fn set_state(&mut self, state: LogState) -> bool {
        match (self, state) {
            (Self::Memory(log), LogState::Memory(position)) => log.set_position(position),
            (Self::Serial(log), LogState::Serial(state)) => *lock(log) = state,
            _ => return false,
        }
        true
    }

    /// Records that were changed after they had been read.
    pub fn changed(&mut self) -> Vec<u64> {
        match self {
            Self::Memory(log) => log.changed(),
            Self::Serial(_) => Vec::new(),
        }
    }

    /// Where its parts are in memory.
    pub fn parts(&self) -> Vec<(&'static str, u64)> {
        match self {
            Self::Memory(log) => log.parts().into_iter().flatten().collect(),
            Self::Serial(_) => Vec::new(),
        }
    }

    /// Which record keeps back others that are finished, if one does.
    pub fn keeps_back(&self) -> Option<u64> {
        match self {
            Self::Memory(log) => log.keeps_back(),
            Self::Serial(_) => None,
        }
    }

    /// How much of the place for lines that were not read is taken: 0 for nothing, 1 when the next is lost. What is
    /// printed to the serial port waits for its reader, up to a number that [`SerialLog`] has.
    pub fn backlog(&self) -> f64 {
        match self {
            Self::Memory(log) => log.backlog(),
            Self::Serial(log) => lock(log).backlog(),
        }
    }

    /// The whole lines that came since the last time; of more than can be read until then, the first.
    pub fn read(&mut self, until: Instant) -> Vec<LogRecord> {
        match self {
            Self::Memory(log) => log.read(until),
            Self::Serial(log) => lock(log).take(),
        }
    }

    /// The same with a last line that has no end yet. Consoles get whole lines only.
    pub fn read_written(&mut self, until: Instant) -> Vec<LogRecord> {
        match self {
            Self::Memory(log) => log.read_written(until),
            Self::Serial(log) => lock(log).take(),
        }
    }

    /// Of a guest that runs no more: a line that is not complete counts too.
    pub fn read_last(&mut self, until: Instant) -> Vec<LogRecord> {
        match self {
            Self::Memory(log) => log.read_last(until),
            Self::Serial(log) => lock(log).take_last(),
        }
    }
}

fn lock(log: &Mutex<SerialLog>) -> MutexGuard<'_, SerialLog> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
