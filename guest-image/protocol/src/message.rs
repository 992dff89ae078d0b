//! The messages themselves.

use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// Raised with every change to a message; the agent names it in its [`Hello`].
pub const VERSION: u32 = 8;

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
        /// The contents of that call's `Out` and `InOut` arguments, in their order.
        data: Vec<Vec<u8>>,
    },
    /// A program ended.
    Exited {
        /// Its exit status; 128 plus the signal's number where a signal ended it, as in a shell.
        code: i32,
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
