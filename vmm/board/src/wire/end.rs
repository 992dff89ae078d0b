//! Why a machine ended, and what the hypervisor counted until then.

use super::{Door, EntryWrite, Origin};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why a machine ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EndReason {
    /// The harness said so.
    Stopped,
    /// The guest asked for a reset (`reboot` through the keyboard controller).
    Reset,
    /// A vCPU took a triple fault.
    TripleFault,
    /// It can't go on.
    Failed {
        /// Whose doing that is.
        blame: Blame,
        /// What went wrong.
        why: String,
    },
}

/// Whose doing something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blame {
    /// The guest's: its kernel, or what runs on it.
    Guest,
    /// This machine's, or of the hypervisor itself: no guest brings it about.
    Host,
    /// A guest may have brought it about, and a fault of the host's may have as well.
    Unknown,
}

impl EndReason {
    /// Whose doing the end is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Reset | Self::TripleFault => Blame::Guest,
            Self::Stopped => Blame::Host,
            Self::Failed { blame, .. } => *blame,
        }
    }

    /// An end for which this machine is to blame.
    pub fn host(why: impl ToString) -> Self {
        Self::Failed { blame: Blame::Host, why: why.to_string() }
    }
}

/// What the hypervisor counted, from the first instruction to the end; system calls are told apart from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Writes to the entry points' registers, the first of them.
    pub entry_writes: Vec<EntryWrite>,
    /// What was not counted all the time, as the guest wanted the registers for its own breakpoints.
    pub uncounted: Vec<Uncounted>,
    /// Why nobody watched over the kernel's text, if that was asked for and could not be.
    pub unguarded: Option<String>,
    /// So many calls were handled under another number than the one that entered, and some program may have been another's
    /// tracer, who can do that.
    pub changed: u64,
    /// vCPUs of which nothing is known: what they counted is missing.
    pub missing_vcpus: Vec<MissingVcpu>,
    /// Exits to user space by kind, until the control port's first byte from the guest.
    pub exits_until_ready: BTreeMap<String, u64>,
    /// Exits to user space by kind, in all.
    pub exits: BTreeMap<String, u64>,
    /// Descriptor chains that broke the rules, by device.
    pub device_errors: BTreeMap<String, u64>,
    /// Memory of the machine process itself at its end, without guest memory, in KiB.
    pub own_memory_kib: u64,
    /// Guest memory that no other process shares, in KiB: of a machine that started from a saved one, what it wrote.
    pub guest_memory_kib: u64,
}

/// What was not counted for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Uncounted {
    /// Calls through this door.
    Calls(Door),
    /// Results of calls through the 64-bit door.
    Results,
    /// A breakpoint of the guest's own, which did not fire.
    GuestBreakpoint,
}

/// A vCPU that left nothing behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MissingVcpu {
    /// Counted from 0.
    pub index: u8,
    /// Its thread panicked, or does not stop.
    pub why: String,
}

/// So many calls of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyscallCount {
    /// Through which entry point.
    pub door: Door,
    /// The number in the door's table, as the caller gave it.
    pub nr: u64,
    /// Whose call it was.
    pub origin: Origin,
    /// How many were seen at the entry: the number that counts.
    pub count: u64,
    /// Of these, how many returned each errno, as seen at the return; the first few dozen different ones. Calls that
    /// never return (`exit`, `execve` into another program) are in no row here.
    pub errors: BTreeMap<i32, u64>,
    /// The results that were seen, the first few dozen different ones; an errno is negative.
    pub results: BTreeMap<i64, u64>,
    /// Who called, the first few dozen different ones: pid, name and how often.
    pub processes: Vec<(u32, String, u64)>,
    /// Returns with an errno that is not in this row.
    pub untold_errors: u64,
    /// Returns with a result that is not in this row.
    pub untold_results: u64,
    /// Calls by a process that is not in this row.
    pub untold_processes: u64,
}
