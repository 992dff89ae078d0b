//! What is not known of a run. No expectation holds because of something that was not seen.

use board::wire::{Door, Evidence, LogRecord, Uncounted};

/// What was not seen of the system calls.
#[derive(Debug, Default)]
pub struct Unknown {
    /// Why calls may have gone uncounted.
    calls: Vec<String>,
    /// Why results may not have been seen.
    results: Vec<String>,
    /// What else a reader of the report should know.
    others: Vec<String>,
}

impl Unknown {
    /// What the evidence itself says to be missing.
    pub fn of(evidence: &Evidence) -> Self {
        const WHY: &str = "for a while: the guest used the debug registers";
        let mut unknown = Self::default();
        for what in &evidence.uncounted {
            match what {
                Uncounted::Calls(door) => {
                    unknown.calls.push(format!("calls through {} were not counted {WHY}", name(*door)));
                }
                Uncounted::Results => unknown.results.push(format!("results of calls were not seen {WHY}")),
                Uncounted::GuestBreakpoint => unknown.others.push(
                    "a breakpoint of the guest's own could not fire: counting needs the debug registers"
                        .into(),
                ),
            }
        }
        for vcpu in &evidence.missing_vcpus {
            unknown.calls.push(format!("what vCPU {} counted is missing: {}", vcpu.index, vcpu.why));
        }
        unknown
    }

    /// Why there may have been more calls than were counted.
    pub fn calls(&self) -> Option<&str> {
        self.calls.first().map(String::as_str)
    }

    /// Why there may have been more results, or errors, than were seen; `untold` is how many found no room in a row.
    pub fn results(&self, untold: u64) -> Option<String> {
        let first = self.calls.iter().chain(&self.results).next().cloned();
        first.or_else(|| (untold > 0).then(|| format!("{untold} more were not told apart")))
    }

    /// All of it, a line each.
    pub fn lines(&self) -> Vec<String> {
        self.calls.iter().chain(&self.results).chain(&self.others).cloned().collect()
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
