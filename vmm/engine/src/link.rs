//! A stream of frames over a file descriptor that never blocks for longer than it is told.

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use protocol::{FrameError, Frames};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

/// The longest message: an event with both outputs of a program, as much as is kept of them.
const LONGEST: usize = 64 << 20;

/// Why nothing more comes over a link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The other side has gone.
    #[error("the connection was closed by the other side")]
    Closed,
    /// The other side sends what is no message.
    #[error("the other side sent {0}")]
    Frame(FrameError),
    /// What was to be sent does not fit into a frame: the other side will wait for it in vain.
    #[error("a message could not be sent: {0}")]
    Unsendable(FrameError),
    /// The descriptor itself fails.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// One side of a connection.
pub struct Link {
    stream: File,
    frames: Frames,
    /// What came outside of any frame and was given back.
    unread: Vec<u8>,
    outgoing: Vec<u8>,
    /// So many bytes of `outgoing` are on their way already.
    sent: usize,
    /// Why a message was not sent.
    unsendable: Option<FrameError>,
    buffer: Box<[u8]>,
}

impl Link {
    /// Takes the descriptor over and makes it non-blocking.
    pub fn new(descriptor: impl Into<OwnedFd>) -> io::Result<Self> {
        let stream = File::from(descriptor.into());
        let flags = OFlag::from_bits_retain(fcntl(&stream, FcntlArg::F_GETFL)?);
        fcntl(&stream, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        let buffer = vec![0; 256 << 10].into_boxed_slice();
        Ok(Self {
            stream,
            frames: Frames::up_to(LONGEST),
            unread: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            unsendable: None,
            buffer,
        })
    }

    /// Puts a message on its way; it leaves while [`Link::receive`] or [`Link::flush`] waits. One that is too long is
    /// the connection's end: they say so.
    pub fn send<T: Serialize>(&mut self, message: &T) {
        match protocol::encode_up_to(LONGEST, message) {
            Ok(frame) => self.send_raw(&frame),
            Err(error) => self.unsendable = Some(error),
        }
    }

    /// Puts bytes on their way as they are, outside of any frame.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        if self.sent == self.outgoing.len() {
            self.outgoing.clear();
            self.sent = 0;
        }
        self.outgoing.extend_from_slice(bytes);
    }

    /// The next message, or `None` when the deadline is there first.
    pub fn receive<T: DeserializeOwned>(&mut self, deadline: Instant) -> Result<Option<T>, LinkError> {
        self.frames.push(&std::mem::take(&mut self.unread));
        loop {
            if let Some(message) = self.frames.next().map_err(LinkError::Frame)? {
                return Ok(Some(message));
            }
            let length = self.read(deadline)?;
            self.frames.push(&self.buffer[..length]);
            if Instant::now() >= deadline {
                return self.frames.next().map_err(LinkError::Frame);
            }
        }
    }

    /// Some bytes outside of any frame; none when the deadline is there first. The other side must have
    /// sent no more frames than were received.
    pub fn receive_raw(&mut self, deadline: Instant) -> Result<Vec<u8>, LinkError> {
        if !self.unread.is_empty() {
            return Ok(std::mem::take(&mut self.unread));
        }
        let length = self.read(deadline)?;
        Ok(self.buffer[..length].to_vec())
    }

    /// Gives back the end of what [`Link::receive_raw`] brought.
    pub fn unread(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Waits until everything is sent; says whether it is, when the deadline has come.
    pub fn flush(&mut self, deadline: Instant) -> Result<bool, LinkError> {
        loop {
            self.write()?;
            if self.sent == self.outgoing.len() {
                return Ok(true);
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(false);
            }
            self.poll(PollFlags::POLLOUT, deadline - now)?;
        }
    }

    /// Whether the other side has gone; what it said before may still be there to be read.
    pub fn is_closed(&self) -> bool {
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
        self.poll(PollFlags::empty(), Duration::ZERO).is_ok_and(|events| events.intersects(gone))
    }

    /// Whether there is something to be read now.
    pub fn has_input(&self) -> bool {
        self.poll(PollFlags::POLLIN, Duration::ZERO).is_ok_and(|events| events.contains(PollFlags::POLLIN))
    }

    /// Waits once, and reads once what is there: 0 bytes when there was nothing.
    fn read(&mut self, deadline: Instant) -> Result<usize, LinkError> {
        self.write()?;
        let mut events = PollFlags::POLLIN;
        if self.sent < self.outgoing.len() {
            events |= PollFlags::POLLOUT;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if !self.poll(events, left)?.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            return Ok(0);
        }
        match self.stream.read(&mut self.buffer) {
            Ok(0) => Err(LinkError::Closed),
            Ok(length) => Ok(length),
            Err(error) if is_passing(&error) => Ok(0),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(LinkError::Closed),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&mut self) -> Result<(), LinkError> {
        if let Some(error) = self.unsendable {
            return Err(LinkError::Unsendable(error));
        }
        while self.sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_passing(&error) => break,
                // What the other side said before it went is still to be read: reading finds the end.
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                    self.sent = self.outgoing.len();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn poll(&self, events: PollFlags, longest: Duration) -> io::Result<PollFlags> {
        // Rounded up: a wait of 0 ms for the last part of a millisecond would spin.
        let milliseconds = i32::try_from(longest.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(self.stream.as_fd(), events)];
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {
                Ok(descriptors[0].revents().unwrap_or(PollFlags::empty()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn pair() -> (Link, Link) {
        let (a, b) = UnixStream::pair().unwrap();
        (Link::new(a).unwrap(), Link::new(b).unwrap())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn bytes_that_are_given_back_come_again_before_frames() {
        let (mut a, mut b) = pair();
        a.send_raw(b"rawtwo");
        a.send(&7u32);
        assert!(a.flush(soon()).unwrap());
        let got = b.receive_raw(soon()).unwrap();
        b.unread(&got[3..]);
        let got = b.receive_raw(soon()).unwrap();
        assert_eq!(&got[..3], b"two");
        b.unread(&got[3..]);
        assert_eq!(b.receive::<u32>(soon()).unwrap(), Some(7));
    }

    #[test]
    fn neither_side_blocks_when_both_send_more_than_the_socket_holds() {
        let (mut a, mut b) = pair();
        let much = vec![1u8; 1 << 20];
        a.send(&much);
        b.send(&much);
        let exchange = |link: &mut Link| {
            let got = link.receive::<Vec<u8>>(soon()).unwrap();
            assert_eq!(got.map(|bytes| bytes.len()), Some(much.len()));
            assert!(link.flush(soon()).unwrap());
        };
        std::thread::scope(|scope| {
            scope.spawn(|| exchange(&mut b));
            exchange(&mut a);
        });
    }

    #[test]
    fn what_was_said_before_the_end_is_still_heard() {
        let (mut a, mut b) = pair();
        a.send(&1u8);
        a.flush(soon()).unwrap();
        drop(a);
        // The other side has gone: this write fails, and must not hide what is there to be read.
        b.send(&vec![0u8; 1 << 20]);
        assert_eq!(b.receive::<u8>(soon()).unwrap(), Some(1));
        assert!(b.is_closed());
        assert!(matches!(b.receive::<u8>(soon()), Err(LinkError::Closed)));
    }

    #[test]
    fn a_message_that_is_too_long_is_told_where_its_answer_is_waited_for() {
        let (mut a, _b) = pair();
        a.send(&vec![0u8; LONGEST]);
        let unsendable = |error| matches!(error, Err(LinkError::Unsendable(FrameError::TooLong(_))));
        assert!(unsendable(a.receive::<u8>(soon()).map(drop)));
        assert!(unsendable(a.flush(soon()).map(drop)));
    }

    #[test]
    fn a_deadline_is_kept_while_bytes_trickle() {
        let (mut a, mut b) = pair();
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                a.send_raw(&[0, 0, 1, 0]);
                while start.elapsed() < Duration::from_millis(600) {
                    a.send_raw(&[0]);
                    a.flush(soon()).unwrap();
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            assert!(b.receive::<u8>(start + Duration::from_millis(100)).unwrap().is_none());
            assert!(start.elapsed() < Duration::from_millis(400));
        });
    }
}
