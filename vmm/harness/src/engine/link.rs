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

/// Why nothing more comes over a link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The other side has gone.
    #[error("the connection was closed by the other side")]
    Closed,
    /// The other side sends what is no message.
    #[error("the other side sent {0}")]
    Frame(FrameError),
    /// The descriptor itself fails.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// One side of a connection.
pub struct Link {
    stream: File,
    frames: Frames,
    outgoing: Vec<u8>,
    /// So many bytes of `outgoing` are on their way already.
    sent: usize,
    buffer: Box<[u8]>,
}

impl Link {
    /// Takes the descriptor over and makes it non-blocking.
    pub fn new(descriptor: impl Into<OwnedFd>) -> io::Result<Self> {
        let stream = File::from(descriptor.into());
        let flags = OFlag::from_bits_retain(fcntl(&stream, FcntlArg::F_GETFL)?);
        fcntl(&stream, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        let buffer = vec![0; 256 << 10].into_boxed_slice();
        Ok(Self { stream, frames: Frames::new(), outgoing: Vec::new(), sent: 0, buffer })
    }

    /// Puts a message on its way; it leaves while [`Link::receive`] or [`Link::flush`] waits.
    pub fn send<T: Serialize>(&mut self, message: &T) {
        self.send_raw(&protocol::encode(message));
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
        loop {
            if let Some(message) = self.frames.next().map_err(LinkError::Frame)? {
                return Ok(Some(message));
            }
            match self.read(deadline)? {
                0 if Instant::now() >= deadline => return Ok(None),
                length => self.frames.push(&self.buffer[..length]),
            }
        }
    }

    /// Some bytes outside of any frame, or an empty slice when the deadline is there first. Only for the
    /// time before the first frame.
    pub fn receive_raw(&mut self, deadline: Instant) -> Result<&[u8], LinkError> {
        let length = self.read(deadline)?;
        Ok(&self.buffer[..length])
    }

    /// Gives back bytes of [`Link::receive_raw`] that belong to frames after all.
    pub fn unread(&mut self, bytes: &[u8]) {
        self.frames.push(bytes);
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
