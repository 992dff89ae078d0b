//! What the engine carries out: what to boot, and what to ask the agent, in the agent's terms.

use board::wire::{About, Code, GuardOrder, Spec};
use protocol::Door;
use scenario::model::{Data, Int};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Everything that the engine needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The machine. Its `kernel` and `initramfs` are files where the engine runs.
    pub machine: Spec,
    /// What the scenario brings into the guest: a file of [`crate::luggage`], where the engine runs.
    pub luggage: PathBuf,
    /// What the programs are that steps run, by the names that they run them by; those of which it is known.
    pub programs: BTreeMap<String, Code>,
    /// How the machine may be had without its boot.
    pub warm: Option<Warm>,
    /// How long the agent may take until its hello.
    pub boot_timeout: Duration,
    /// What to do then, in this order.
    pub steps: Vec<PlanStep>,
    /// What to look at from before the first step on.
    pub watch: Watch,
}

/// A saved machine that a plan may start from; one that is not there is made on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warm {
    /// Where saved machines are, where the engine runs.
    pub folder: PathBuf,
    /// Its name there: another one for everything that it depends on.
    pub key: String,
    /// What it is, for people.
    pub about: About,
    /// Plans with the same number may be carried out by one machine process, one after the other.
    pub session: u64,
    /// The plan before went so well that its process may carry out this one.
    pub reset: bool,
    /// Another plan may follow.
    pub keep: bool,
    /// After going back, compare everything with what was saved.
    pub verify: bool,
}

/// What breakpoints are used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Watch {
    /// Nothing: there are none.
    Nothing,
    /// Counting system calls.
    Calls {
        /// See their results too.
        results: bool,
        /// Numbers of calls to tell one by one; an empty list is all of them.
        trace: Option<Vec<u64>>,
        /// What is done is compared with what is seen, and what has to stay as it is is watched over; `None` without.
        guard: Option<GuardOrder>,
    },
    /// Following the call of this number, which is a step's, through the kernel.
    Walk(u64),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Done in order. When a [`Role::Setup`] op fails, its result is the step's and only
    /// [`Role::Cleanup`] ops are still done.
    pub ops: Vec<Op>,
    /// For all ops together.
    pub timeout: Duration,
    /// Names that later steps use, and where their values come from.
    pub binds: Vec<Bind>,
}

/// One thing to ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Op {
    /// What its result is to the step.
    pub role: Role,
    /// What to ask for.
    pub what: What,
}

/// What an op's result means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Something that the main op needs (the open before a finit_module); its failure is the step's.
    Setup,
    /// Its result is the step's; exactly one per step.
    Main,
    /// Done after the main op; with an error number, only if the main op returned that error. What it reads is
    /// added to the step's data: one piece for each such op that reads, empty if that failed.
    Also(Option<i32>),
    /// Done in any case once the op that it undoes succeeded; its result is dropped.
    Cleanup,
}

/// The kinds of ops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// System calls.
    Calls {
        /// One after the other.
        calls: Vec<Call>,
        /// All of them so often, as [`protocol::Action::Calls`] has it.
        times: u32,
    },
    /// `read` (number 0) until the file's end or `limit` bytes; the result is one piece of data and its
    /// length as the value.
    ReadToEnd {
        /// The descriptor.
        fd: Operand,
        /// In bytes.
        limit: u32,
    },
    /// A program.
    Run {
        /// Program and arguments; `${name}` in them stands for a bound value.
        argv: Vec<String>,
        /// `NAME=value` each, with `${name}` as in the arguments.
        env: Vec<String>,
        /// Its standard input.
        stdin: Data,
        /// Whom it runs as; `None` is root.
        user: Option<u32>,
    },
    /// Nothing, for so long; the guest runs on.
    Sleep(Duration),
    /// Having another worker of the agent's make what calls come next: no module has had it in its hands.
    Renew,
    /// Looking at something else from now on; what was counted is forgotten.
    Watch(Watch),
}

/// A system call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Entry point.
    pub door: Door,
    /// Number.
    pub nr: u64,
    /// At most six.
    pub args: Vec<Operand>,
}

impl From<Call> for What {
    /// This call alone, once.
    fn from(call: Call) -> Self {
        Self::Calls { calls: vec![call], times: 1 }
    }
}

impl What {
    /// The first call that it makes, if it makes any.
    pub fn call(&self) -> Option<&Call> {
        match self {
            Self::Calls { calls, .. } => calls.first(),
            Self::ReadToEnd { .. } | Self::Run { .. } | Self::Sleep(_) | Self::Renew | Self::Watch(_) => None,
        }
    }

    /// What it takes from names and from earlier ops.
    pub fn operands(&self) -> impl Iterator<Item = &Operand> {
        let (calls, fd) = match self {
            Self::Calls { calls, .. } => (&calls[..], None),
            Self::ReadToEnd { fd, .. } => (&[][..], Some(fd)),
            Self::Run { .. } | Self::Sleep(_) | Self::Renew | Self::Watch(_) => (&[][..], None),
        };
        calls.iter().flat_map(|call| &call.args).chain(fd)
    }
}

/// An argument of a call, known now or once earlier ops are done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Operand {
    /// The number itself.
    Int(u64),
    /// The value of a bound name.
    Named(String),
    /// The value that op number so-and-so of this step returned (counted from 0).
    Op(usize),
    /// A NUL-terminated string; `${name}` in it stands for a bound value.
    Text(String),
    /// A pointer to bytes.
    In(Vec<u8>),
    /// A pointer to so many zeroed bytes that come back as data.
    Out(u32),
    /// A pointer to bytes that come back as data.
    InOut(Vec<u8>),
    /// A pointer to bytes in which the values of names stand.
    Data(Data),
    /// How many bytes that are.
    Length(Data),
    /// A pointer to a bound value, as so many little-endian bytes (1, 2, 4 or 8).
    NamedIn(String, u8),
    /// The same, which come back as data.
    NamedInOut(String, u8),
    /// A pointer to a `struct pollfd` of this descriptor and these events, which comes back as data.
    PollFd(Box<Operand>, u16),
    /// A device number of major and minor, as `mknod` takes it.
    Device(Box<Operand>, Box<Operand>),
}

/// A name for a value of this step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bind {
    /// The name, without `$`.
    pub name: String,
    /// The value.
    pub from: Source,
    /// It means something only in the process that makes the calls: a descriptor, an address.
    pub of_process: bool,
}

/// Where a bound value comes from. A step that failed binds nothing, and steps that use the name are
/// skipped with that reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Source {
    /// The main op's value.
    Value,
    /// Piece of data number so-and-so of the main op, read as an integer.
    Data {
        /// Counted from 0.
        index: usize,
        /// How the bytes are read.
        int: Int,
    },
    /// The first capture group of this regular expression, in the main op's data or in what the
    /// program printed, read as an integer (decimal or 0x).
    Match(String),
    /// The same in as much of the main op's data as its value says, as `read` fills the head of its buffer.
    Read(String),
}
