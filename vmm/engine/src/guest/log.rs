//! The kernel's log, and a panicked kernel's last words.

use super::{
    Guest, Halt,
    questions::{ANSWER, silent},
};
use crate::event::{Event, Tampered};
use board::wire::{Command, LogRecord, Question};
use protocol::{Action, Request};
use std::time::Duration;

/// A panicked kernel still prints its last words after the line that says so.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// So often it is looked for more of them.
const OFTEN: Duration = Duration::from_millis(20);

/// A kernel writes a record in microseconds; the processor at it may have to wait for one of this machine's.
const WRITES: Duration = Duration::from_secs(2);

/// How soon it is looked at again meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Whoever lives answers within this time.
const LIFE: Duration = Duration::from_secs(1);

impl Guest<'_> {
    /// Brings the log up to date: on return, what the guest had printed before the call has been told, also if the
    /// kernel still waits for its newline.
    pub(crate) fn read_log(&mut self) -> Result<(), Halt> {
        // One that is under way may have been answered before the last lines were printed.
        for _ in 0..=u8::from(self.reading_log.is_some()) {
            self.request_log(true);
            self.answered(ANSWER, |guest| guest.reading_log.is_none().then_some(()))?
                .ok_or_else(|| silent("a request for the kernel's log"))?;
        }
        Ok(())
    }

    /// The same of a guest that is well: none of its records keeps others back for long, as one would that is never
    /// finished.
    pub(crate) fn read_whole_log(&mut self) -> Result<(), Halt> {
        let end = self.now() + WRITES;
        loop {
            self.read_log()?;
            match self.kept_back.filter(|id| self.told_of != Some(*id)) {
                None => return Ok(()),
                Some(id) if self.now() >= end => {
                    self.told_of = Some(id);
                    self.tell(Event::Tampered(Tampered::KeptBack));
                    return Ok(());
                }
                Some(_) => {
                    let again = self.now() + LOOK_AGAIN;
                    self.sleep(again)?;
                }
            }
        }
    }

    pub(super) fn request_log(&mut self, unfinished: bool) {
        if self.reading_log.is_none() && self.began.is_some() {
            self.log_read = self.now();
            self.reading_log = Some(self.send_question(Question::ReadLog { unfinished }));
        }
    }

    /// Reads on until the panic's report is complete, or the machine is gone.
    pub(super) fn last_words(&mut self) {
        self.last_words_read = true;
        let end = self.now() + LAST_WORDS;
        while self.now() < end && self.ended.is_none() {
            if self.now() >= self.log_read + OFTEN {
                self.request_log(false);
            }
            if self.turn(OFTEN).is_err() {
                break;
            }
        }
    }

    /// No program of a kernel that has panicked runs any more: if the agent answers, the log's line was made up.
    pub(super) fn look_whether_it_lives(&mut self) {
        if self.ended.is_some() || self.hello.is_none() {
            return;
        }
        self.next_id += 1;
        let id = self.next_id;
        // A few bytes, which make a frame; it puts nothing anywhere.
        let nothing = Request { id, action: Action::Place(Vec::new()) };
        self.send(&Command::Control(protocol::encode(&nothing).unwrap_or_default()));
        let end = self.now() + LIFE;
        while let Ok(Some(reply)) = self.until(end, |guest| guest.replies.pop()) {
            if reply.id == id {
                return self.tell(Event::Tampered(Tampered::Panic));
            }
        }
    }
}

/// `panic()` in kernel/panic.c prints this, at the highest level, whatever the reason.
pub(super) fn is_panic(record: &LogRecord) -> bool {
    record.level == 0 && !record.user && record.text.starts_with("Kernel panic - not syncing")
}

/// Whether it has the level of a report's lines: that of warnings (KERN_WARNING), which is the usual one, or a graver one.
pub(super) fn is_grave(record: &LogRecord) -> bool {
    record.level <= 4 && !record.user
}

/// Whether a report may begin there that the kernel counts, or taints itself for. Which it is is for others to say.
pub(super) fn may_begin_report(record: &LogRecord) -> bool {
    // The last one is of an oops, whose count stands there.
    is_grave(record)
        && ["[ cut here ]", "WARNING: ", "BUG", " [#"].iter().any(|word| record.text.contains(word))
}

/// `kernel_power_off()` and `kernel_halt()` in kernel/reboot.c print this when all that is left to do is to stop.
pub(super) fn is_farewell(record: &LogRecord) -> bool {
    let stopped = |text: &str| text == "Power down" || text.contains("System halted");
    record.level == 0 && !record.user && record.text.strip_prefix("reboot: ").is_some_and(stopped)
}
