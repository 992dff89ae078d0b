//! The kernel's log as it comes out of the serial port, for kernels in whose memory it can't be found.
//!
//! The kernel prints `<6>[    1.234567] text` (console_msg_format=syslog, Documentation/admin-guide/kernel-parameters.txt).
//! Lines are kept until somebody takes them, the newest of them if nobody does.

use crate::wire::{Caller, LogRecord};
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, time::Duration};

/// So many lines are kept. A gap in the sequence numbers tells of those that were not.
const LINES: usize = 8192;
/// What is longer is cut into lines of so many bytes; the kernel's own are not (PRINTK_MESSAGE_MAX is 2048).
const LENGTH: usize = 4096;
/// Of a line without a level: that of most.
const INFO: u32 = 6;

/// Makes records of what is printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SerialLog {
    line: Vec<u8>,
    records: VecDeque<LogRecord>,
    next_seq: u64,
    /// Of the last line that had one.
    time: Duration,
}

impl SerialLog {
    /// Takes what was printed.
    pub fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                b'\r' => {}
                byte => {
                    self.line.push(*byte);
                    if self.line.len() >= LENGTH {
                        self.end_line();
                    }
                }
            }
        }
    }

    /// How much of the place for lines is taken, from 0 to 1.
    pub fn backlog(&self) -> f64 {
        self.records.len() as f64 / LINES as f64
    }

    /// The whole lines that came since the last time.
    pub fn take(&mut self) -> Vec<LogRecord> {
        self.records.drain(..).collect()
    }

    /// The same with a last line that has no end.
    pub fn take_last(&mut self) -> Vec<LogRecord> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.take()
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let (number, rest) = number(&line).unwrap_or((INFO, &line));
        let (time, caller, text) = time(rest).unwrap_or((self.time, None, rest));
        self.time = time;
        if self.records.len() == LINES {
            self.records.pop_front();
        }
        self.records.push_back(LogRecord {
            seq: self.next_seq,
            time,
            level: (number & 7) as u8,
            user: number >> 3 != 0,
            caller,
            text: text.to_owned(),
        });
        self.next_seq += 1;
    }
}

/// `<6>` and the rest. Above the level's three bits the number has the facility, which is another one than the kernel's, 0, for what a
/// program wrote.
fn number(line: &str) -> Option<(u32, &str)> {
    let (number, rest) = line.strip_prefix('<')?.split_once('>')?;
    Some((number.parse().ok()?, rest))
}

/// `[    1.234567] ` and the rest, perhaps with who printed it: `[    1.234567][   T12] `.
fn time(line: &str) -> Option<(Duration, Option<Caller>, &str)> {
    let (number, rest) = line.strip_prefix('[')?.split_once(']')?;
    let (seconds, micros) = number.trim_start().split_once('.')?;
    let micros = micros.parse().ok().filter(|micros| *micros < 1_000_000)?;
    let time = Duration::from_secs(seconds.parse().ok()?) + Duration::from_micros(micros);
    let (caller, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) => (caller(name.trim()), rest),
        None => (None, rest),
    };
    Some((time, caller, rest.strip_prefix(' ')?))
}

/// As CONFIG_PRINTK_CALLER has it.
fn caller(name: &str) -> Option<Caller> {
    let id = |digits: &str| digits.parse().ok();
    match name.split_at_checked(1)? {
        ("T", digits) => id(digits).map(Caller::Task),
        ("C", digits) => id(digits).map(Caller::Cpu),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: u64, micros: u64, level: u8, text: &str) -> LogRecord {
        LogRecord {
            seq,
            time: Duration::from_micros(micros),
            level,
            user: false,
            caller: None,
            text: text.to_owned(),
        }
    }

    #[test]
    fn lines_have_level_and_time_however_they_arrive() {
        let text = b"<5>[    0.000000] Linux version 6.12\r\n<4>[   12.345678]  [brackets] stay\r\nno head\n<0>[   13.000001] cut";
        let mut log = SerialLog::default();
        let mut found = Vec::new();
        for byte in text {
            log.push(&[*byte]);
            found.extend(log.take());
        }
        let whole = [
            record(0, 0, 5, "Linux version 6.12"),
            record(1, 12_345_678, 4, " [brackets] stay"),
            record(2, 12_345_678, 6, "no head"),
        ];
        assert_eq!(found, whole);
        assert_eq!(log.take_last(), [record(3, 13_000_001, 0, "cut")]);
        assert_eq!(log.take_last(), []);
    }

    #[test]
    fn who_wrote_a_line_is_told() {
        let mut log = SerialLog::default();
        log.push(b"<4>[    1.000000] BUG: x\n<12>[    1.000000] BUG: x\n<4>[    1.000000][   T12] x\n<4>[    1.000000][    C3] [x]\n");
        let taken = log.take();
        let who: Vec<_> = taken.iter().map(|record| (record.user, record.level, record.caller)).collect();
        let caller = |caller| (false, 4, caller);
        assert_eq!(
            who,
            [caller(None), (true, 4, None), caller(Some(Caller::Task(12))), caller(Some(Caller::Cpu(3)))]
        );
        let texts: Vec<&str> = taken.iter().map(|record| record.text.as_str()).collect();
        assert_eq!(texts, ["BUG: x", "BUG: x", "x", "[x]"]);
    }

    #[test]
    fn rubbish_becomes_lines_and_a_flood_leaves_the_newest() {
        let mut log = SerialLog::default();
        log.push(b"<999999999999>[x] \xff\n<>[\n[99999999999999999999.1] a\n[1.9999999] b\n");
        assert_eq!(log.take().len(), 4);
        log.push(&[b'x'; 3 * LENGTH]);
        assert_eq!(log.take().len(), 3);
        assert_eq!(log.backlog(), 0.0);
        let before = log.next_seq;
        (0..LINES + 10).for_each(|_| log.push(b"flood\n"));
        assert_eq!(log.backlog(), 1.0);
        let kept = log.take();
        assert_eq!((kept.len(), kept[0].seq), (LINES, before + 10));
    }
}
