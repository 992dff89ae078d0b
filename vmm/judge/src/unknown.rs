//! What is not known of a run. No expectation holds because of something that was not seen.

use crate::judged::SyscallRow;
use board::wire::{Door, Evidence, LogRecord, Uncounted};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something that was not seen of the system calls. What calls may have gone uncounted by comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unseen {
    /// Calls through this door, while the guest used the debug registers.
    Calls(Door),
    /// What a vCPU counted.
    Vcpu {
        /// Counted from 0.
        index: u8,
        /// What became of it.
        why: String,
    },
    /// Results, while the guest used the debug registers.
    Results,
    /// So many calls were handled under another number than they entered with; a tracer can do that.
    Changed(u64),
    /// So many calls had numbers beyond the first few thousand that no kernel's table has, and are counted as one.
    Overflow(u64),
    /// A breakpoint of the guest's own, which could not fire.
    GuestBreakpoint,
    /// Whether the kernel's text stayed as it was; why.
    Text(String),
}

impl Unseen {
    /// Whether it may be that of what a step does itself, which goes through the 64-bit door.
    pub fn is_of_steps(&self) -> bool {
        matches!(self, Self::Calls(Door::Syscall64) | Self::Results)
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WHY: &str = "for a while: the guest used the debug registers";
        match self {
            Self::Calls(door) => write!(f, "calls through {} were not counted {WHY}", name(*door)),
            Self::Vcpu { index, why } => write!(f, "what vCPU {index} counted is missing: {why}"),
            Self::Changed(calls) => {
                write!(
                    f,
                    "{calls} calls were handled under another number than they entered with, as a tracer's are"
                )
            }
            Self::Overflow(calls) => {
                write!(
                    f,
                    "{calls} calls had made-up numbers of their own, beyond the first few thousand, and are not told apart"
                )
            }
            Self::Results => f.write_str(
                "results of calls were not seen: the guest used the debug registers, or its entry code calls do_syscall_64() in an unknown way",
            ),
            Self::Text(why) => write!(f, "nobody watched over the kernel's text: {why}"),
            Self::GuestBreakpoint => f.write_str(
                "a breakpoint of the guest's own could not fire: counting needs the debug registers",
            ),
        }
    }
}

/// How many calls had numbers that are not told apart, in words; `None` if there are none.
pub fn untold_calls(unknown: &[Unseen]) -> Option<String> {
    unknown.iter().find(|unseen| matches!(unseen, Unseen::Overflow(_))).map(Unseen::to_string)
}

/// All that was not seen.
#[derive(Debug, Default)]
pub struct Unknown(pub Vec<Unseen>);

impl Unknown {
    /// What the evidence itself says to be missing; `rows` are the calls that were counted.
    pub fn of(evidence: &Evidence, rows: &[SyscallRow]) -> Self {
        let uncounted = evidence.uncounted.iter().map(|what| match what {
            Uncounted::Calls(door) => Unseen::Calls(*door),
            Uncounted::Results => Unseen::Results,
            Uncounted::GuestBreakpoint => Unseen::GuestBreakpoint,
        });
        let missing = evidence.missing_vcpus.iter();
        let missing = missing.map(|vcpu| Unseen::Vcpu { index: vcpu.index, why: vcpu.why.clone() });
        let text = evidence.unguarded.iter().cloned().map(Unseen::Text);
        let changed = (evidence.changed > 0).then_some(Unseen::Changed(evidence.changed));
        // What a number stands for that a guest may make up as well is in the same row.
        let beyond = rows.iter().filter(|row| row.nr == u64::MAX).map(SyscallRow::count);
        let beyond = Some(beyond.fold(0_u64, u64::saturating_add)).filter(|calls| *calls > 0);
        let more = changed.into_iter().chain(beyond.map(Unseen::Overflow));
        let mut all: Vec<Unseen> = uncounted.chain(missing).chain(text).chain(more).collect();
        all.sort();
        Self(all)
    }

    /// Why there may have been more calls than were counted.
    pub fn calls(&self) -> Option<String> {
        let calls =
            |unseen: &&Unseen| matches!(unseen, Unseen::Calls(_) | Unseen::Vcpu { .. } | Unseen::Changed(_));
        self.0.iter().find(calls).map(Unseen::to_string)
    }

    /// Why there may have been more results, or errors, than were seen; `untold` is how many found no room in a row.
    pub fn results(&self, untold: u64) -> Option<String> {
        let first = self.0.iter().find(|unseen| {
            !matches!(unseen, Unseen::GuestBreakpoint | Unseen::Text(_) | Unseen::Overflow(_))
        });
        let untold = (untold > 0).then(|| format!("{untold} more were not told apart"));
        first.map(Unseen::to_string).or(untold)
    }
}

/// A line of the log that has so many bytes may have had more, which the kernel did not keep. Kernels differ: 1021 in 6.12
/// (PRINTKRB_RECORD_MAX of kernel/printk/internal.h without the level), and by the prefix less in older ones, down to this.
const LONGEST_LINE: usize = 973;

/// What a log does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    /// So many lines were lost.
    pub lost: u64,
    /// So many are as long as a line can be.
    pub cut: u64,
}

impl Holes {
    /// What this line adds.
    pub fn see(&mut self, record: &LogRecord) {
        self.cut += u64::from(record.text.len() >= LONGEST_LINE);
    }

    /// What came since an earlier moment.
    pub fn since(self, before: Self) -> Self {
        Self { lost: self.lost.saturating_sub(before.lost), cut: self.cut.saturating_sub(before.cut) }
    }

    /// In words; `None` for a log that is known whole.
    pub fn told(self) -> Option<String> {
        match self {
            Self { lost: 0, cut: 0 } => None,
            Self { lost: 0, cut: 1 } => {
                Some("a line is as long as the kernel lets one be, and may be cut".into())
            }
            Self { lost: 0, cut } => {
                Some(format!("{cut} lines are as long as the kernel lets one be, and may be cut"))
            }
            Self { lost: lines, .. } => Some(lost(lines)),
        }
    }
}

/// So many lines of the log are not known.
pub fn lost(lines: u64) -> String {
    match lines {
        1 => "a line of the kernel's log is not known".to_owned(),
        lines => format!("{lines} lines of the kernel's log are not known"),
    }
}

fn name(door: Door) -> &'static str {
    match door {
        Door::Syscall64 => "`syscall`",
        Door::Syscall32 => "`syscall` of 32-bit programs",
        Door::Sysenter => "`sysenter`",
        Door::Int80 => "`int $0x80`",
    }
}
