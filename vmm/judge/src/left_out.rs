//! What a guest makes as often as it likes, and reports can do without: its console, its log line by line, single calls. Whoever
//! keeps them for later has room for so many, and says how many were left out. The verdict and its findings are made of all.

use super::judged::Judged;
use std::{
    fmt,
    mem::{size_of, size_of_val},
};

/// How much was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Bytes of the console.
    pub console_bytes: u64,
    /// Lines of the kernel's log.
    pub log_lines: u64,
    /// Traced system calls.
    pub calls: u64,
}

impl Judged {
    /// What keeping it takes, in bytes, if it is of those that a guest makes as often as it likes.
    pub fn bulk(&self) -> Option<usize> {
        let content = match self {
            Self::Console(bytes) => bytes.len(),
            Self::Log(record, _) => record.text.len(),
            Self::Call(name, seen) => {
                let memory: usize = seen.memory.iter().map(|(_, bytes)| bytes.len()).sum();
                name.len() + size_of_val(&**seen) + memory
            }
            _ => return None,
        };
        Some(size_of::<Self>() + content)
    }
}

impl LeftOut {
    /// Counts one that has a [`Judged::bulk`], or what others left out already.
    pub fn count(&mut self, judged: &Judged) {
        let more = match judged {
            Judged::Console(bytes) => Self { console_bytes: bytes.len() as u64, ..Self::default() },
            Judged::Log(..) => Self { log_lines: 1, ..Self::default() },
            Judged::Call(..) => Self { calls: 1, ..Self::default() },
            Judged::LeftOut(more) => *more,
            _ => return,
        };
        self.console_bytes = self.console_bytes.saturating_add(more.console_bytes);
        self.log_lines = self.log_lines.saturating_add(more.log_lines);
        self.calls = self.calls.saturating_add(more.calls);
    }

    /// Nothing was.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { console_bytes, log_lines, calls } = *self;
        let parts = [
            (log_lines, "lines of the kernel's log"),
            (calls, "traced calls"),
            (console_bytes, "bytes of the console"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use board::wire::LogRecord;
    use std::time::Duration;

    #[test]
    fn what_was_left_out_is_counted_by_kind_and_told() {
        let line = LogRecord {
            seq: 0,
            time: Duration::ZERO,
            level: 6,
            user: false,
            caller: None,
            text: "x".repeat(1000),
        };
        let all =
            [Judged::Console(vec![0; 5000]), Judged::Log(line.clone(), None), Judged::Log(line, Some(1))];
        let mut left_out = LeftOut::default();
        assert!(left_out.is_nothing());
        all.iter().for_each(|judged| left_out.count(judged));
        assert!(all.iter().all(|judged| judged.bulk() > Some(1000)));
        let mut sum = left_out;
        sum.count(&Judged::LeftOut(left_out));
        assert_eq!(sum.to_string(), "4 lines of the kernel's log, 10000 bytes of the console");
        assert_eq!(Judged::StepBegan(0).bulk(), None);
    }
}
