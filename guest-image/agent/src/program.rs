//! A program that runs because the harness asked for it.

use crate::{
    clock::Clock,
    pipe::{self, AtEnd, Sink, Source},
    process::{self, End},
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollTimeout, poll},
    unistd::{self, Pid, dup2_stderr, dup2_stdin, dup2_stdout, execve},
};
use protocol::{FromAgent, Outcome, PATH, Reply, Stream};
use std::{
    ffi::CString,
    path::Path,
    time::{Duration, Instant},
};

/// So many pieces of 16 KiB are taken of each output at a time: as much as a pipe holds by default.
const PIECES: usize = 4;

/// Whoever was put into the background gives its output to somebody else within this time, if at all: a guest may be slow.
const GIVES_AWAY: Duration = Duration::from_millis(500);
/// Output that comes meanwhile is read so often.
const READS: usize = 16;

/// A program that was started and has not been reaped yet.
pub struct Program {
    id: u32,
    name: String,
    pid: Pid,
    clock: Clock,
    started: u64,
    stdin: Sink,
    stdout: Source,
    stderr: Source,
    /// The errno of an exec that failed; closed by one that did not.
    failure: Source,
    errno: Vec<u8>,
}

/// Whether what is printed can be passed on now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Yes.
    Free,
    /// No: who should take it is behind, so the program waits.
    None,
}

impl Program {
    /// Forks, and executes the program in the child. Whether that worked shows later, in [`Self::end`].
    ///
    /// # Errors
    /// A sentence for the harness.
    pub fn start(
        id: u32,
        argv: Vec<String>,
        env: Vec<String>,
        stdin: Vec<u8>,
        user: Option<u32>,
        clock: Clock,
    ) -> Result<Self, String> {
        let name = argv.first().ok_or("there is no program to start: argv is empty")?.clone();
        let no_string = |_| format!("can't start {name}: an argument or a variable contains a NUL byte");
        let candidates = candidates(&name).map_err(no_string)?;
        let argv = strings(argv).map_err(no_string)?;
        let mut env = strings(env).map_err(no_string)?;
        // In front of them: where a name stands twice, most programs take the last one, and a shell too.
        env.splice(..0, [CString::from(c"HOME=/"), path_variable()]);

        let cant = |errno: Errno| format!("can't start {name}: {}", errno.desc());
        let (in_theirs, in_ours) = pipe::new().map_err(cant)?;
        let (out_ours, out_theirs) = pipe::new().map_err(cant)?;
        let (err_ours, err_theirs) = pipe::new().map_err(cant)?;
        let (failure_ours, failure_theirs) = pipe::new().map_err(cant)?;
        let (stdout, stderr) = (Source::new(out_ours).map_err(cant)?, Source::new(err_ours).map_err(cant)?);
        let failure = Source::new(failure_ours).map_err(cant)?;
        let stdin = Sink::new(in_ours, stdin, AtEnd::Close).map_err(cant)?;

        let started = clock.now();
        let pid = process::spawn(|| {
            process::reset_sigpipe();
            let errno = dup2_stdin(in_theirs)
                .and_then(|()| dup2_stdout(out_theirs))
                .and_then(|()| dup2_stderr(err_theirs))
                .and_then(|()| user.map_or(Ok(()), process::become_user))
                .map_or_else(|errno| errno, |()| exec(&candidates, &argv, &env));
            let _ = unistd::write(&failure_theirs, &(errno as i32).to_le_bytes());
            127
        })
        .map_err(cant)?;
        Ok(Self { id, name, pid, clock, started, stdin, stdout, stderr, failure, errno: Vec::new() })
    }

    /// The request that asked for it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// What to wait for.
    pub fn interests(&self, room: Room) -> impl Iterator<Item = PollFd<'_>> {
        let outputs = [&self.stdout, &self.stderr].into_iter().filter(move |_| room == Room::Free);
        outputs.chain([&self.failure]).filter_map(Source::interest).chain(self.stdin.interest())
    }

    /// Moves on what its pipes have or want, and says what was printed.
    pub fn pump(&mut self, room: Room, say: impl FnMut(&FromAgent)) {
        self.pass(if room == Room::Free { PIECES } else { 0 }, say);
    }

    fn pass(&mut self, pieces: usize, mut say: impl FnMut(&FromAgent)) {
        // A program need not read its input.
        let _ = self.stdin.fill();
        self.failure.drain(|bytes| self.errno.extend_from_slice(bytes));
        let id = self.id;
        let outputs = [(&mut self.stdout, Stream::Stdout), (&mut self.stderr, Stream::Stderr)];
        for (source, stream) in outputs {
            source.take(pieces, |bytes| say(&FromAgent::Printed { id, stream, bytes: bytes.to_vec() }));
        }
    }

    /// The answer, once the process has ended. What is still in its pipes is said before; what its own children print
    /// later is lost, and the answer says that they may.
    pub fn end(mut self, end: End, mut say: impl FnMut(&FromAgent)) -> Reply {
        // A pipe may have been made larger than it is by default (pipe(7): 1 MiB, for who is not root).
        let nanos = self.clock.now().saturating_sub(self.started);
        self.pass(16 * PIECES, &mut say);
        self.wait_for_the_end(say);
        let outcome = match <[u8; 4]>::try_from(&self.errno[..]) {
            Ok(errno) => Outcome::Refused { why: self.explain(Errno::from_raw(i32::from_le_bytes(errno))) },
            Err(_) => Outcome::Exited {
                code: match end {
                    End::Exited(code) => code,
                    End::Killed(signal) => 128 + signal,
                },
                open: self.open(),
            },
        };
        Reply { id: self.id, outcome, nanos }
    }

    /// A moment for whoever was started in the background and gives its output away only then, or is about to end.
    fn wait_for_the_end(&mut self, mut say: impl FnMut(&FromAgent)) {
        let last = Instant::now() + GIVES_AWAY;
        for _ in 0..READS {
            // The end of a stream is seen behind its last bytes.
            self.pass(1, &mut say);
            let mut fds: Vec<PollFd<'_>> =
                [&self.stdout, &self.stderr].into_iter().filter_map(Source::interest).collect();
            let left = PollTimeout::try_from(last.saturating_duration_since(Instant::now()))
                .unwrap_or(PollTimeout::ZERO);
            if fds.is_empty() || left == PollTimeout::ZERO || poll(&mut fds, left) == Ok(0) {
                return;
            }
        }
    }

    /// Where somebody may still print.
    fn open(&self) -> Vec<Stream> {
        let outputs = [(&self.stdout, Stream::Stdout), (&self.stderr, Stream::Stderr)];
        outputs.into_iter().filter(|(source, _)| source.is_open()).map(|(_, stream)| stream).collect()
    }

    fn explain(&self, errno: Errno) -> String {
        let name = &self.name;
        if errno == Errno::ENOENT && name.contains('/') && Path::new(name).exists() {
            return format!(
                "can't start {name}: the file is there, but the interpreter or dynamic loader that it \
                 asks for is not in the guest"
            );
        }
        format!("can't start {name}: {}", errno.desc())
    }
}

/// Becomes the first of these programs that can be executed; if none can, says why.
fn exec(candidates: &[CString], argv: &[CString], env: &[CString]) -> Errno {
    let mut why = Errno::ENOENT;
    for candidate in candidates {
        let Err(errno) = execve(candidate, argv, env);
        if errno != Errno::ENOENT {
            why = errno;
        }
    }
    why
}

/// Where the program may be.
fn candidates(name: &str) -> Result<Vec<CString>, std::ffi::NulError> {
    if name.contains('/') {
        return Ok(vec![CString::new(name)?]);
    }
    PATH.iter().map(|folder| CString::new(format!("{folder}/{name}"))).collect()
}

fn path_variable() -> CString {
    CString::new(format!("PATH={}", PATH.join(":"))).unwrap_or_default()
}

fn strings(from: Vec<String>) -> Result<Vec<CString>, std::ffi::NulError> {
    from.into_iter().map(CString::new).collect()
}
