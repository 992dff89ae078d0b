//! The way to the harness: notices as frames, long ones in pieces.

use crate::wire::{LogRecord, Notice, SyscallCount};
use std::{
    io::Write,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A piece of something long, in bytes as far as they are known before: a frame holds many times as much.
const PIECE: usize = 256 << 10;

/// So much of what was told is remembered, in bytes: a boot tells some ten KiB.
const MEMORY: usize = 4 << 20;

/// A harness that is gone is noticed where commands are read.
#[derive(Clone)]
pub struct Outbox(Arc<Mutex<Out>>);

struct Out {
    socket: UnixStream,
    /// What the guest has said and shown so far, for who starts from the saved machine later: `None` where nobody will.
    told: Option<Vec<Notice>>,
    told_bytes: usize,
}

impl Outbox {
    /// Everything goes over this socket.
    pub fn new(socket: UnixStream) -> Self {
        Self(Arc::new(Mutex::new(Out { socket, told: None, told_bytes: 0 })))
    }

    /// Remembers from now on what it tells of the guest.
    pub fn remember(&self) {
        self.lock().told = Some(Vec::new());
    }

    /// What it told since then, and remembers no more; `None` if that was too much to be remembered.
    pub fn told(&self) -> Option<Vec<Notice>> {
        self.lock().told.take()
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the harness something. What no frame holds is told to be missing.
    pub fn send(&self, notice: &Notice) {
        let frame =
            protocol::encode(notice).or_else(|error| protocol::encode(&Notice::Untold(error.to_string())));
        let mut out = self.lock();
        out.note(notice, frame.as_ref().map_or(0, Vec::len));
        let _ = frame.map(|frame| out.socket.write_all(&frame));
    }

    /// Lines of the log.
    pub fn log(&self, records: Vec<LogRecord>) {
        in_pieces(records, |record| record.text.len() + 32, |piece| self.send(&Notice::Log(piece)));
    }

    /// What was counted.
    pub fn counted(&self, rows: Vec<SyscallCount>) {
        let names = |row: &SyscallCount| row.processes.iter().map(|(_, name, _)| name.len()).sum::<usize>();
        // No number takes more than ten bytes (postcard's wire format).
        let size = |row: &SyscallCount| {
            let numbers = 2 * (row.errors.len() + row.results.len() + row.processes.len()) + 16;
            names(row) + 10 * numbers
        };
        in_pieces(rows, size, |piece| self.send(&Notice::Counted(piece)));
    }
}

impl Out {
    fn note(&mut self, notice: &Notice, length: usize) {
        let Some(told) = &mut self.told else { return };
        if let Notice::Console(_)
        | Notice::Log(_)
        | Notice::Taint(_)
        | Notice::Reports(_)
        | Notice::Symbols(_) = notice
        {
            told.push(notice.clone());
            self.told_bytes += length;
        }
        if self.told_bytes > MEMORY {
            self.told = None;
        }
    }
}

fn in_pieces<T>(all: Vec<T>, size: impl Fn(&T) -> usize, mut send: impl FnMut(Vec<T>)) {
    let (mut piece, mut length) = (Vec::new(), 0);
    for one in all {
        let own = size(&one);
        if length + own > PIECE && !piece.is_empty() {
            send(std::mem::take(&mut piece));
            length = 0;
        }
        length += own;
        piece.push(one);
    }
    if !piece.is_empty() {
        send(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Frames;
    use std::{io::Read, thread, time::Duration};

    /// What a harness gets of what is sent.
    fn received(send: impl FnOnce(&Outbox) + Send) -> Vec<Notice> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let outbox = Outbox::new(ours);
        thread::scope(|scope| {
            scope.spawn(move || send(&outbox));
            let (mut frames, mut notices) = (Frames::new(), Vec::new());
            let mut bytes = vec![0; 64 << 10];
            while let Ok(length @ 1..) = theirs.read(&mut bytes) {
                frames.push(&bytes[..length]);
                while let Some(notice) = frames.next().expect("a whole frame") {
                    notices.push(notice);
                }
            }
            notices
        })
    }

    #[test]
    fn the_longest_log_arrives_whole_and_in_order() {
        let line = |seq| LogRecord {
            seq,
            time: Duration::MAX,
            level: 7,
            user: false,
            caller: None,
            text: "\u{fffd}".repeat(4096),
        };
        let got = received(|outbox| outbox.log((0..8192).map(line).collect()));
        let lines = got.into_iter().flat_map(|notice| match notice {
            Notice::Log(records) => records,
            other => panic!("{other:?}"),
        });
        assert!(lines.map(|record| record.seq).eq(0..8192));
    }

    #[test]
    fn what_is_told_of_the_guest_is_remembered_unless_it_is_too_much() {
        let outbox = Outbox::new(UnixStream::pair().unwrap().0);
        outbox.send(&Notice::Taint(1));
        outbox.remember();
        let said = [Notice::Console(b"a".to_vec()), Notice::Taint(4096)];
        outbox.send(&Notice::Started);
        said.iter().for_each(|notice| outbox.send(notice));
        assert_eq!(outbox.told(), Some(said.to_vec()));
        assert_eq!(outbox.told(), None);
        outbox.remember();
        (0..5).for_each(|_| outbox.send(&Notice::Console(vec![0; 1 << 20])));
        assert_eq!(outbox.told(), None);
    }

    #[test]
    fn what_no_frame_holds_is_told_to_be_missing() {
        let got = received(|outbox| outbox.send(&Notice::Console(vec![0; protocol::MAX_FRAME])));
        assert!(matches!(&got[..], [Notice::Untold(why)] if why.contains("8388")), "{got:?}");
    }
}
