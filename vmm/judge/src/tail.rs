//! The kernel's log in bounded memory: its first and its newest lines.

use board::wire::LogRecord;
use std::collections::VecDeque;

/// So many of the first lines stay.
const HEAD: usize = 1000;
/// So many of the newest lines stay.
const TAIL: usize = 4000;
/// Longer lines are cut, in bytes. The kernel's own limit is 1024 (`PRINTK_MESSAGE_MAX`).
const LINE: usize = 2048;

/// A log that never grows beyond some megabytes.
#[derive(Clone, Debug, Default)]
pub struct BoundedLog {
    head: Vec<LogRecord>,
    tail: VecDeque<LogRecord>,
    dropped: u64,
    next_seq: u64,
    lost: u64,
}

impl BoundedLog {
    /// Takes a line.
    pub fn push(&mut self, record: &LogRecord) {
        // The kernel counts its lines from 0.
        self.lost = self.lost.saturating_add(record.seq.saturating_sub(self.next_seq));
        self.next_seq = record.seq.saturating_add(1);
        let mut record = record.clone();
        if record.text.len() > LINE {
            let cut = (0..=LINE).rev().find(|at| record.text.is_char_boundary(*at)).unwrap_or(0);
            record.text.truncate(cut);
        }
        if self.head.len() < HEAD {
            self.head.push(record);
            return;
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
            self.dropped += 1;
        }
        self.tail.push_back(record);
    }

    /// So many lines came that nobody had room for.
    pub fn leave_out(&mut self, lines: u64) {
        self.dropped = self.dropped.saturating_add(lines);
        self.next_seq = self.next_seq.saturating_add(lines);
    }

    /// All lines that are left.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &LogRecord> {
        self.head.iter().chain(&self.tail)
    }

    /// So many lines between the first and the newest ones are gone.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// So many lines never came: the kernel overwrote them before they could be read.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The newest lines.
    pub fn newest(&self, count: usize) -> Vec<LogRecord> {
        let mut lines: Vec<LogRecord> = self.iter().rev().take(count).cloned().collect();
        lines.reverse();
        lines
    }
}

/// What the kernel says in one step: its first and its newest lines.
#[derive(Clone, Debug, Default)]
pub struct Said {
    first: Vec<LogRecord>,
    last: VecDeque<LogRecord>,
    left_out: u64,
}

/// So many of a step's first lines are shown where it failed.
const FIRST: usize = 5;
/// So many of its last.
const LAST: usize = 10;

impl Said {
    /// Takes a line.
    pub fn push(&mut self, record: &LogRecord) {
        if self.first.len() < FIRST {
            self.first.push(record.clone());
            return;
        }
        if self.last.len() == LAST {
            self.last.pop_front();
            self.left_out += 1;
        }
        self.last.push_back(record.clone());
    }

    /// The lines, and how many between the first [`FIRST`] and the others are left out.
    pub fn lines(self) -> (Vec<LogRecord>, u64) {
        (self.first.into_iter().chain(self.last).collect(), self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_leaves_the_first_and_the_newest_lines() {
        let mut log = BoundedLog::default();
        for seq in (0..100_000).map(|seq| if seq < 50_000 { seq } else { seq + 7 }) {
            let text = "x".repeat(3000);
            log.push(&LogRecord { seq, time: Duration::ZERO, level: 6, user: false, caller: None, text });
        }
        assert_eq!(log.iter().count(), HEAD + TAIL);
        assert_eq!((log.dropped(), log.lost()), (95_000, 7));
        assert_eq!(log.iter().next().map(|line| line.seq), Some(0));
        assert_eq!(log.newest(2).iter().map(|line| line.seq).collect::<Vec<_>>(), [100_005, 100_006]);
        assert!(log.iter().all(|line| line.text.len() <= LINE));
        // Those that others left out are not lost.
        log.leave_out(10);
        let text = String::new();
        log.push(&LogRecord {
            seq: 100_017,
            time: Duration::ZERO,
            level: 6,
            user: false,
            caller: None,
            text,
        });
        assert_eq!((log.dropped(), log.lost()), (95_011, 7));
    }
}
