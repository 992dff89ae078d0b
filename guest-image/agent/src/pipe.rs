//! Pipes, from the end that must never wait.

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
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self(Some(fd)))
    }

    /// What to wait for; `None` once the end of the stream was seen.
    pub fn interest(&self) -> Option<PollFd<'_>> {
        self.0.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
    }

    /// Hands over all that is in the pipe now.
    ///
    /// Reads at most 4 MiB in a go: a program that writes without end must not keep PID 1 here.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        let mut bytes = [0; 16 << 10];
        for _ in 0..256 {
            let Some(fd) = &self.0 else { return };
            match unistd::read(fd, &mut bytes) {
                Ok(0) => self.0 = None,
                Ok(length) => take(&bytes[..length]),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.0 = None,
            }
        }
    }
}

/// The writing end of a pipe, and what is to go into it.
pub struct Sink {
    fd: Option<OwnedFd>,
    bytes: Vec<u8>,
    written: usize,
}

impl Sink {
    /// Takes over the writing end; it is closed once all bytes are written.
    ///
    /// # Errors
    /// As fcntl(2).
    pub fn new(fd: OwnedFd, bytes: Vec<u8>) -> nix::Result<Self> {
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let fd = (!bytes.is_empty()).then_some(fd);
        Ok(Self { fd, bytes, written: 0 })
    }

    /// What to wait for; `None` once everything is written, or nobody reads any more.
    pub fn interest(&self) -> Option<PollFd<'_>> {
        self.fd.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLOUT))
    }

    /// Writes what the pipe has room for.
    pub fn fill(&mut self) {
        while let Some(fd) = &self.fd {
            match unistd::write(fd, &self.bytes[self.written..]) {
                Ok(length) => self.written += length,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.fd = None,
            }
            if self.written == self.bytes.len() {
                self.fd = None;
            }
        }
    }
}
