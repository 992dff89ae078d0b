//! The messages themselves.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// Raised with every change to a message; the agent names it in its [`Hello`].
pub const VERSION: u32 = 12;

/// The agent's descriptor of proc, for openat(2): nobody can mount anything over it. It lies above those of the worker's pipes.
pub const OWN_PROC: i32 = 1010;

/// The same of devtmpfs.
pub const OWN_DEV: i32 = 1011;

/// Where the agent looks for a program that is named without a folder; and so does who wants to know which that is.
pub const PATH: [&str; 4] = ["/bin", "/sbin", "/usr/bin", "/usr/sbin"];

/// Harness to agent: do this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back in the [`Reply`].
    pub id: u32,
    /// What to do.
    pub action: Action,
}

/// What the agent can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// System calls, made by the worker process, so that what kills it does not kill PID 1.
    Calls {
        /// One after the other; at least one.
        calls: Vec<Call>,
        /// All of them so often, at least once. It is over with the first call that fails, but for a call that is alone:
        /// with the first whose errno is another one than the first time's.
        times: u32,
    },
    /// System calls, made by the worker as well, of which later ones take what earlier ones returned: what would be several
    /// requests is one. None of them makes processes.
    Chain(Vec<Link>),
    /// Have another worker make the calls from now on, which comes from PID 1 as the first one did: no call that was made so far had
    /// a hand in its descriptors, credentials or memory. The one before keeps what it has open.
    Renew,
    /// Start a program as a child of PID 1, bring back what it prints as it does ([`FromAgent::Printed`]), wait until it
    /// ends.
    Run {
        /// The program's path and its arguments; never empty.
        argv: Vec<String>,
        /// `NAME=value` each, in addition to PATH and HOME.
        env: Vec<String>,
        /// What the program reads on its standard input.
        stdin: Vec<u8>,
        /// Whom it runs as: this user, of no other group than the one of the same number, without capabilities, and without a way to
        /// get any. `None` is root.
        user: Option<u32>,
    },
    /// Take the time of day, and new random numbers: for a guest that is about to have its run. It may have been saved long
    /// ago, and be one of many that go on from there.
    Wake {
        /// Since 1970-01-01 UTC, in nanoseconds.
        now: u64,
        /// Nobody else has these.
        seed: Vec<u8>,
    },
    /// Put files into their places, in this order.
    Place(Vec<Placed>),
    /// End what is done for an earlier request: its program with all that this has started, or the worker in its call.
    /// The earlier request has its answer then; this one has none. Nothing happens where the earlier one has been
    /// answered.
    End {
        /// The earlier request.
        request: u32,
    },
}

/// A system call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Which entry point of the kernel to go through.
    pub door: Door,
    /// The number, as the door's table counts.
    pub nr: u64,
    /// At most six.
    pub args: Vec<Arg>,
}

impl From<Call> for Action {
    /// This call alone, once.
    fn from(call: Call) -> Self {
        Self::Calls { calls: alloc::vec![call], times: 1 }
    }
}

/// A call of an [`Action::Chain`]. It is left out where a call failed, or was left out, whose result it takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The call.
    pub call: Call,
    /// It is made only where the link of this index, counted from 0, returned exactly this.
    pub only: Option<(u16, i64)>,
    /// It is made again as long as it returns more than 0, until that comes to so much. What its buffers have beyond
    /// what it returned does not come back.
    pub until: Option<u32>,
}

impl Call {
    /// What came back of its buffers, with the zeroes that were left out. What is longer than its buffer is cut.
    pub fn whole(&self, data: &mut [Vec<u8>]) {
        let lengths = self.args.iter().filter_map(|arg| match arg {
            Arg::Out(length) => Some(*length as usize),
            Arg::InOut(bytes) => Some(bytes.len()),
            Arg::Int(_) | Arg::In(_) | Arg::Of(_) => None,
        });
        data.iter_mut().zip(lengths).for_each(|(bytes, length)| bytes.resize(length, 0));
    }
}

impl Link {
    /// The call as it is to be made where the links before it returned `results`, `None` for those that were left out;
    /// `None` if this one is left out.
    pub fn resolved(&self, results: &[Option<i64>]) -> Option<Call> {
        let result = |of: u16| results.get(usize::from(of)).copied().flatten();
        if self.only.is_some_and(|(of, value)| result(of) != Some(value)) {
            return None;
        }
        let resolve = |arg: &Arg| match arg {
            Arg::Of(of) => result(*of).filter(|value| errno(*value) == 0).map(|value| Arg::Int(value as u64)),
            arg => Some(arg.clone()),
        };
        let args = self.call.args.iter().map(resolve).collect::<Option<_>>()?;
        Some(Call { args, ..self.call })
    }

    /// Whether it is made again, when it has returned `value` now and `total` in all.
    pub fn goes_on(&self, value: i64, total: i64) -> bool {
        self.until.is_some_and(|limit| value > 0 && total < i64::from(limit))
    }
}

/// The errno that a call's result stands for, 0 for none (MAX_ERRNO of include/linux/err.h).
pub fn errno(value: i64) -> i64 {
    if (-4095..0).contains(&value) { -value } else { 0 }
}

/// A call of an [`Action::Chain`] that was made, once or more often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Which link.
    pub link: u16,
    /// What it returned last.
    pub value: i64,
    /// As in [`Outcome::Returned`]; of a link with `until`, what each time brought, behind each other.
    pub data: Vec<Vec<u8>>,
    /// How long it took by the guest's clock, in all.
    pub nanos: u64,
}

/// A file, and where it belongs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    /// Absolute.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// What it is.
    pub content: Content,
}

/// What is at a place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// A file with these bytes; another one of that name goes.
    File(#[serde(with = "serde_bytes")] Vec<u8>),
    /// These bytes more, at the end of the file of that name.
    More(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A folder. One that is there keeps what is in it, and gets these permissions.
    Folder,
    /// The same, but one that is there stays as it is.
    Parent,
    /// A symbolic link to there; another one of that name goes.
    Link(String),
}

/// An entry point for system calls, as user space chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Door {
    /// The `syscall` instruction in 64-bit mode.
    Syscall64,
    /// `int $0x80`, with the 32-bit table.
    Int80,
}

/// One argument of a system call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Arg {
    /// The value itself; pointers of every kind (null, into the kernel, unmapped) too.
    Int(u64),
    /// A pointer to these bytes. For a string the sender appends the NUL.
    In(Vec<u8>),
    /// A pointer to so many zeroed bytes, whose content comes back.
    Out(u32),
    /// A pointer to these bytes, whose content comes back.
    InOut(Vec<u8>),
    /// What this link of an [`Action::Chain`] returned, one before this, counted from 0.
    Of(u16),
}

/// Agent to harness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromAgent {
    /// The first message after boot.
    Hello(Hello),
    /// The answer to a [`Request`].
    Reply(Reply),
    /// What the program of a [`Request`] has printed since the last of these; all of them come before its reply. A program
    /// waits while nobody takes them.
    Printed {
        /// As in the request.
        id: u32,
        /// Where to.
        stream: Stream,
        /// Some of it.
        bytes: Vec<u8>,
    },
    /// The worker ended while it was in no call, or was ended for an answer that was none, and its descriptors are lost. Replies that come behind this are of calls that another
    /// one has made.
    WorkerEnded,
}

/// An output of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The agent introduces itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the agent.
    pub version: u32,
    /// `uname -r` of the running kernel.
    pub release: String,
    /// Addresses that the instructions of [`Action::Calls`] return to, one for each [`Door`]: tell a step's own
    /// calls from the agent's housekeeping.
    pub call_returns: Vec<u64>,
    /// First and last-plus-one address of the agent's own code.
    pub text: (u64, u64),
}

/// The answer to the [`Request`] of the same id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// As in the request.
    pub id: u32,
    /// What happened.
    pub outcome: Outcome,
    /// How long it took as the guest's clock saw it, in nanoseconds.
    pub nanos: u64,
}

/// What came of an [`Action`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Calls returned.
    Returned {
        /// RAX as the kernel left it after the last call that was made: an errno stands here negated.
        value: i64,
        /// The contents of that call's `Out` and `InOut` arguments, in their order. Of a call that is
        /// asked for alone they are without the zeroes at their ends.
        data: Vec<Vec<u8>>,
    },
    /// Of an [`Action::Chain`], the calls that were made, in order.
    Chained(Vec<Made>),
    /// A program ended.
    Exited {
        /// Its exit status; 128 plus the signal's number where a signal ended it, as in a shell.
        code: i32,
        /// A process that it left behind may still print here.
        open: Vec<Stream>,
    },
    /// That was done: [`Action::Wake`] or [`Action::Place`].
    Done,
    /// The worker died in the call (an oops kills the calling process); a new one stands ready.
    Died {
        /// The signal that ended it.
        signal: i32,
    },
    /// The agent could not do it: a program that does not start, a request that is not well formed.
    Refused {
        /// Why.
        why: String,
    },
}
