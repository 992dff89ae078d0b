//! The worker: the process that makes the calls, so that what kills it does not kill PID 1.
//!
//! It lives across calls, and so do the descriptors that they open.

use crate::{
    buffers::Buffers,
    call,
    clock::Clock,
    pipe::{self, Source},
    process,
};
use nix::{
    poll::PollFd,
    sys::signal::{Signal, kill},
    unistd::{Pid, getpid},
};
use protocol::{Action, FrameError, Frames, Outcome, Reply, Request, encode};
use std::{
    fs::File,
    io::{self, Read, Write},
};

/// PID 1's side of the worker.
pub struct Worker {
    pid: Pid,
    requests: File,
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
        let replies = Source::new(replies)?;
        let pid = process::spawn(|| match process::keep_only([their_requests, their_replies]) {
            Ok([requests, replies]) => work(requests.into(), replies.into(), clock),
            Err(_) => 1,
        })?;
        Ok(Self { pid, requests: requests.into(), replies, frames: Frames::new() })
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Hands it a request. It takes it as soon as it has answered the one before.
    ///
    /// # Errors
    /// As write(2); EPIPE when the worker is no more, or has become another program.
    pub fn ask(&mut self, request: &Request) -> io::Result<()> {
        self.requests.write_all(&encode(request))
    }

    /// What to wait for.
    pub fn interest(&self) -> Option<PollFd<'_>> {
        self.replies.interest()
    }

    /// The next answer that has arrived.
    ///
    /// # Errors
    /// The worker sent what is no answer: something overwrote its memory.
    pub fn answer(&mut self) -> Result<Option<Reply>, FrameError> {
        self.replies.drain(|bytes| self.frames.push(bytes));
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
    let mut frames = Frames::new();
    let mut bytes = vec![0; 64 << 10];
    loop {
        match frames.next::<Request>() {
            Ok(Some(Request { id, action })) => {
                let (outcome, nanos) = perform(&action, clock);
                // After a fork there are two of us, and both got here. The answer is the parent's.
                if matches!(outcome, Outcome::Returned { value: 0, .. }) && getpid() != me {
                    return 0;
                }
                if replies.write_all(&encode(&Reply { id, outcome, nanos })).is_err() {
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

/// Makes the call, and says how many nanoseconds it took.
fn perform(action: &Action, clock: Clock) -> (Outcome, u64) {
    let refused = |why: String| (Outcome::Refused { why }, 0);
    let Action::Call { door, nr, args } = action else {
        return refused("the worker makes system calls only".into());
    };
    if args.len() > 6 {
        return refused(format!("{} arguments (a system call takes at most 6)", args.len()));
    }
    let buffers = match Buffers::new(*door, args) {
        Ok(buffers) => buffers,
        Err(why) => return refused(why),
    };
    let registers = buffers.registers(args);
    let before = clock.now();
    let value = call::raw(*door, *nr, &registers);
    let nanos = clock.now().saturating_sub(before);
    (Outcome::Returned { value, data: buffers.collect(args) }, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Arg, Door};

    fn call(nr: i64, args: &[Arg]) -> Outcome {
        let action = Action::Call { door: Door::Syscall64, nr: nr as u64, args: args.to_vec() };
        perform(&action, Clock::detect()).0
    }

    #[test]
    fn data_comes_back_from_out_buffers() {
        // The fields of uname are 65 bytes each; the first one is the system's name.
        let Outcome::Returned { value: 0, data } = call(libc::SYS_uname, &[Arg::Out(6 * 65)]) else {
            panic!("uname failed")
        };
        assert!(data[0].starts_with(b"Linux\0"));
    }

    #[test]
    fn a_bad_pointer_is_efault() {
        for pointer in [0, 1, 0xffff_8000_0000_0000] {
            let outcome = call(libc::SYS_uname, &[Arg::Int(pointer)]);
            let efault = -i64::from(libc::EFAULT);
            assert_eq!(outcome, Outcome::Returned { value: efault, data: vec![] }, "at {pointer:#x}");
        }
    }

    #[test]
    fn seven_arguments_are_refused() {
        let outcome = call(libc::SYS_getpid, &vec![Arg::Int(0); 7]);
        assert_eq!(outcome, Outcome::Refused { why: "7 arguments (a system call takes at most 6)".into() });
    }

    #[test]
    fn time_is_the_time_of_the_call() {
        // 20 ms, as struct timespec.
        let span = [0u64, 20_000_000].map(u64::to_le_bytes).concat();
        let args = vec![Arg::In(span), Arg::Int(0)];
        let action = Action::Call { door: Door::Syscall64, nr: libc::SYS_nanosleep as u64, args };
        let (outcome, nanos) = perform(&action, Clock::detect());
        assert_eq!(outcome, Outcome::Returned { value: 0, data: vec![] });
        assert!((20_000_000..10_000_000_000).contains(&nanos), "{nanos} ns");
    }
}
