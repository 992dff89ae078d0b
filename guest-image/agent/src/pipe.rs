//! Pipes and what is like them, from the end that must never wait.

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags},
    unistd,
};
use std::os::fd::{AsFd, OwnedFd};

/// A new pipe (reading end, writing end); programs don't inherit it.
///
/// # Errors
/// As pipe2(2).
pub fn new() -> nix::Result<(OwnedFd, OwnedFd)> {
    unistd::pipe2(OFlag::O_CLOEXEC)
}

/// The reading end of a pipe whose writer is a process that we do not trust to be quick.
pub struct Source(Option<OwnedFd>);

impl Source {
    /// Takes over the reading end.
    ///
    /// # Errors
    /// As fcntl(2).
    pub fn new(fd: OwnedFd) -> nix::Result<Self> {
        set_nonblocking(&fd)?;
        Ok(Self(Some(fd)))
    }

    /// What to wait for; `None` once the end of the stream was seen.
    pub fn interest(&self) -> Option<PollFd<'_>> {
        self.0.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
    }

    /// Whether somebody may still write, as far as was read.
    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Hands over all that is in the pipe now.
    ///
    /// Reads at most 4 MiB in a go: a program that writes without end must not keep PID 1 here.
    pub fn drain(&mut self, take: impl FnMut(&[u8])) {
        self.take(256, take);
    }

    /// Hands over what is in the pipe now, in so many pieces of at most 16 KiB.
    pub fn take(&mut self, pieces: usize, mut take: impl FnMut(&[u8])) {
        let mut bytes = [0; 16 << 10];
        for _ in 0..pieces {
            let Some(fd) = &self.0 else { return };
            match unistd::read(fd, &mut bytes) {
                Ok(0) => self.0 = None,
                Ok(length) => {
                    take(&bytes[..length]);
                    // A pipe gives all that it has.
                    if length < bytes.len() {
                        return;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.0 = None,
            }
        }
    }
}

/// The writing end of a pipe, a port or a socket, and what is to go into it: a reader may be slow, or stop reading.
pub struct Sink {
    fd: Option<OwnedFd>,
    bytes: Vec<u8>,
    written: usize,
    at_end: AtEnd,
}

/// What becomes of a sink whose bytes are all written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AtEnd {
    /// It is closed: the reader sees the end of its input.
    Close,
    /// It waits for more.
    Stay,
}

impl Sink {
    /// Takes over the writing end.
    ///
    /// # Errors
    /// As fcntl(2).
    pub fn new(fd: OwnedFd, bytes: Vec<u8>, at_end: AtEnd) -> nix::Result<Self> {
        set_nonblocking(&fd)?;
        let fd = (!bytes.is_empty() || at_end == AtEnd::Stay).then_some(fd);
        Ok(Self { fd, bytes, written: 0, at_end })
    }

    /// Adds bytes at the end; they go out with [`Self::fill`].
    pub fn push(&mut self, bytes: &[u8]) {
        if self.fd.is_some() {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// So many bytes wait for the reader.
    pub fn backlog(&self) -> usize {
        if self.fd.is_some() { self.bytes.len() - self.written } else { 0 }
    }

    /// Whether bytes wait for the reader.
    pub fn is_behind(&self) -> bool {
        self.backlog() > 0
    }

    /// What to wait for; `None` while nothing is to be written, or where nobody reads any more.
    pub fn interest(&self) -> Option<PollFd<'_>> {
        let fd = self.fd.as_ref().filter(|_| self.is_behind())?;
        Some(PollFd::new(fd.as_fd(), PollFlags::POLLOUT))
    }

    /// Writes what there is room for.
    ///
    /// # Errors
    /// As write(2), once: nobody reads any more.
    pub fn fill(&mut self) -> nix::Result<()> {
        while let Some(fd) = self.fd.as_ref().filter(|_| self.is_behind()) {
            match unistd::write(fd, &self.bytes[self.written..]) {
                Ok(length) => self.written += length,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => {
                    self.fd = None;
                    return Err(errno);
                }
            }
        }
        self.bytes = Vec::new();
        self.written = 0;
        if self.at_end == AtEnd::Close {
            self.fd = None;
        }
        Ok(())
    }
}

/// Makes reads and writes return rather than wait.
///
/// # Errors
/// As fcntl(2).
pub fn set_nonblocking(fd: impl AsFd) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}
