//! The worker: the process that makes the calls, so that what kills it does not kill PID 1.
//!
//! It lives across calls, and so do the descriptors that they open.

use crate::{
    buffers::Arena,
    clock::Clock,
    perform::perform,
    pipe::{self, AtEnd, Sink, Source},
    process,
};
use nix::{
    poll::PollFd,
    sys::{
        signal::{Signal, kill},
        stat::{Mode, umask},
    },
    unistd::{Pid, getpid},
};
use protocol::{FrameError, Frames, Outcome, Reply, Request, encode};
use std::{
    fs::File,
    io::{self, Read, Write},
};

/// PID 1's side of the worker.
pub struct Worker {
    pid: Pid,
    requests: Sink,
    replies: Source,
    frames: Frames,
}

impl Worker {
    /// Forks a worker.
    ///
    /// # Errors
    /// As pipe2(2) and fork(2).
    pub fn start(clock: Clock) -> nix::Result<Self> {
        let (their_requests, requests) = pipe::new()?;
        let (replies, their_replies) = pipe::new()?;
        let (requests, replies) = (Sink::new(requests, Vec::new(), AtEnd::Stay)?, Source::new(replies)?);
        let pid = process::spawn(|| match process::keep_only([their_requests, their_replies]) {
            Ok([requests, replies]) => work(requests.into(), replies.into(), clock),
            Err(_) => 1,
        })?;
        Ok(Self { pid, requests, replies, frames: Frames::new() })
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Hands it a request. It takes it as soon as it has answered the one before.
    pub fn ask(&mut self, request: &Request) {
        // It came in a frame, so it fits into one.
        if let Ok(request) = encode(request) {
            self.requests.push(&request);
        }
        self.pump();
    }

    fn pump(&mut self) {
        // Fails when the worker is no more, or has become another program: that is then the answer.
        let _ = self.requests.fill();
    }

    /// What to wait for.
    pub fn interests(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.replies.interest().into_iter().chain(self.requests.interest())
    }

    /// Goes on with handing over what it was asked, and takes what it has said.
    pub fn listen(&mut self) {
        self.pump();
        self.replies.drain(|bytes| self.frames.push(bytes));
    }

    /// The next answer that was taken.
    ///
    /// # Errors
    /// The worker sent what is no answer: something overwrote its memory.
    pub fn answer(&mut self) -> Result<Option<Reply>, FrameError> {
        self.frames.next()
    }

    /// Ends it, whatever it does.
    pub fn kill(&self) {
        let _ = kill(self.pid, Signal::SIGKILL);
    }
}

/// The worker's life. Returns its exit status.
fn work(mut requests: File, mut replies: File, clock: Clock) -> i32 {
    let me = getpid();
    // A call's mode is the one that its scenario gives; programs, which PID 1 starts, have the usual mask.
    umask(Mode::empty());
    let mut frames = Frames::new();
    let mut bytes = vec![0; 64 << 10];
    // Without memory for it, each call has its own.
    let mut arena = Arena::new().ok();
    loop {
        match frames.next::<Request>() {
            Ok(Some(Request { id, action })) => {
                let (outcome, nanos) = perform(&action, clock, arena.as_mut());
                // After a fork there are two of us, and both got here. The answer is the parent's.
                if matches!(outcome, Outcome::Returned { value: 0, .. }) && getpid() != me {
                    return 0;
                }
                let Ok(reply) = whole(&Reply { id, outcome, nanos }) else { return 1 };
                if replies.write_all(&reply).is_err() {
                    return 1;
                }
            }
            Ok(None) => match requests.read(&mut bytes) {
                Ok(0) => return 0,
                Ok(length) => frames.push(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return 1,
            },
            Err(_) => return 1,
        }
    }
}

/// A reply as a frame; if it is too long for one, another reply that says so.
fn whole(reply: &Reply) -> Result<Vec<u8>, FrameError> {
    encode(reply).or_else(|error| {
        let outcome = Outcome::Refused { why: format!("the answer makes {error}") };
        encode(&Reply { id: reply.id, outcome, nanos: reply.nanos })
    })
}
