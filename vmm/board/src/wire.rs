//! The messages between the harness and a machine process, as frames of [`protocol`].
//!
//! The harness sends a [`Spec`] first, then [`Command`]s; the machine process sends [`Notice`]s, the
//! last of which is [`Notice::Ended`]. None is longer than a frame can be, whatever the guest does: tables have bounds,
//! and what may still be long comes in pieces. The harness may close the socket at any moment: the machine
//! process then ends at once.

mod end;

pub use crate::saved::Unfit;
pub use end::{Blame, EndReason, Evidence, MissingVcpu, SyscallCount, Uncounted};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
pub use trap::{
    ByteCounts, Caller, Child, Code, Difference, Digest, Door, Exit, Expected, Function, Key, Landmarks,
    LogRecord, Oddity, Origin, PAGE, Sight, Sighting, Sleeper, Still, Stop, Walk, digest, entry_name,
};

/// What machine to build and boot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// An ELF vmlinux.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// Guest memory in MiB, 32 to 65536.
    pub memory_mib: u32,
    /// 1 to 32.
    pub vcpus: u8,
    /// How the kernel learns of its devices.
    pub announce: Announce,
    /// Added at the end of the kernel's command line.
    pub command_line: Vec<String>,
    /// What is known of the kernel. Empty for one without symbols.
    pub landmarks: Landmarks,
    /// Where its life begins.
    pub start: Start,
    /// The processor may forget that it has stopped at a breakpoint, and stop there once more ([`trap::Order::forgets`]).
    pub forgets: bool,
}

/// Where the life of a machine begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// At the kernel's first instruction.
    #[default]
    Boot,
    /// The same, and [`Question::Save`] may follow: into files in this folder, which is there and empty.
    BootToSave(PathBuf),
    /// Where the machine in this folder was saved.
    Saved(PathBuf),
}

/// What a saved machine is, for people and for who starts from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The kernel's release.
    pub release: String,
    /// The kernel's hash.
    pub kernel: String,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// Its number of vCPUs.
    pub vcpus: u8,
    /// The words that were added to the kernel's command line.
    pub command_line: Vec<String>,
    /// How long the boot took that it stands for.
    pub cold: Duration,
    /// What the engine has to know of the guest, in its own form.
    pub greeting: Vec<u8>,
}

/// How a kernel learns of its virtio devices. Told in two ways it would take each device for two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Announce {
    /// By its command line (CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES).
    #[default]
    CommandLine,
    /// By ACPI tables.
    Acpi,
}

/// The symbols that a machine process makes use of.
pub const SYMBOLS: &[&str] = trap::SYMBOLS;

/// The functions whose beginning and end it makes use of.
pub const FUNCTIONS: &[&str] = trap::SLEEPING_FUNCTIONS;

/// Harness to machine process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Bytes for the guest's control port, at most [`CONTROL_PIECE`] of them.
    Control(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A question; its [`Notice::Answer`] has the same number. One that comes too late is recognized by it.
    Ask {
        /// The asker's choice.
        id: u32,
        /// What is asked for.
        question: Question,
    },
    /// The next calls of a step's should look like this, and what was seen before is forgotten; it goes before the
    /// [`Command::Control`] that asks for them.
    Expect {
        /// The calls, if it is about calls.
        calls: Option<Box<Expected>>,
        /// What the step is about is among it, of a chain the link of this index: the agent's code is looked at when it is done.
        main: Option<u16>,
        /// What the program is that the agent is to start, where that is known.
        program: Option<Box<Code>>,
    },
    /// End the machine; [`Notice::Ended`] follows behind the whole of the evidence.
    Stop,
    /// The same, but the machine stays, held, for [`Question::Reset`]. It ends all the same if it is in no state for that.
    Rest,
}

/// So many bytes for the control port fit into a command.
pub const CONTROL_PIECE: usize = 1 << 20;

/// A disk that takes longer than this to take a machine is none to save it on.
pub const SAVING: Duration = Duration::from_secs(60);

/// So many addresses are looked at for one question: what is said of each may be long.
pub const MOST_ADDRESSES: usize = 8192;

/// What a harness can ask of a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// Trap system calls from now on: [`Answer::Done`]. Its error says why they can't be trapped.
    Trap {
        /// As the agent's hello says: separates the agent's own calls from the scenario's.
        call_returns: Vec<u64>,
        /// The agent's own code.
        agent_text: (u64, u64),
        /// Watch results, not only entries.
        results: bool,
        /// Numbers of calls to send one by one as [`Notice::Call`]; an empty list is all of them.
        trace: Option<Vec<u64>>,
        /// Watch over what no test has a reason to change.
        guard: Option<GuardOrder>,
    },
    /// Trap none from now on, and forget what was counted: [`Answer::Done`].
    Untrap,
    /// Follow the call of this number that a step makes, from its `syscall` until it is back: [`Answer::Done`], and then
    /// [`Notice::Walked`]. For machines of one vCPU, instead of [`Question::Trap`].
    Follow {
        /// Where the step's calls return to.
        returns_to: u64,
        /// The number.
        nr: u64,
    },
    /// Send the kernel log that came since the last time, as [`Notice::Log`]; then [`Answer::LogRead`]. If the kernel's
    /// taint is another one than last told, [`Notice::Taint`] comes before it.
    ReadLog {
        /// With a last line that has no end yet; more of it comes as a line of its own, with the same number.
        unfinished: bool,
    },
    /// Where does every vCPU stand? [`Answer::Standing`].
    Sample,
    /// What do the kernel's tasks wait for, and what is at these addresses? [`Answer::Inspected`].
    Inspect {
        /// Addresses of code, at most [`MOST_ADDRESSES`].
        addresses: Vec<u64>,
    },
    /// What was seen of the step's call? [`Answer::Witnessed`].
    Witness,
    /// Is everything as it was that has to stay? What is not is told as [`Notice::Tampered`] before [`Answer::Done`].
    Guard,
    /// Hold all vCPUs, each between two instructions: [`Answer::Done`].
    Pause,
    /// Let them run on: [`Answer::Done`].
    Resume,
    /// Save the machine, which is this, as it is now: [`Answer::Done`]. The guest is held meanwhile, so it is given up where
    /// writing takes longer than [`SAVING`].
    Save(Box<About>),
    /// Go back to where the saved machine was that this one started from: [`Answer::Reset`]. For one that rests; it runs
    /// then. What had been told by then is told again.
    Reset {
        /// Compare everything with what was saved.
        verify: bool,
    },
}

/// What going back took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// Pages that were copied.
    pub pages: u64,
    /// Finding out which they are.
    pub looking: Duration,
    /// Copying them.
    pub copying: Duration,
    /// Processors, chips and devices.
    pub state: Duration,
    /// Copying as many pages that lie side by side; where everything is compared.
    pub plain: Duration,
}

/// Machine process to harness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Notice {
    /// KVM is set up, the kernel is loaded, the first vCPU is about to run.
    Started,
    /// The same, for a machine that starts from a saved one.
    Restored(Box<About>),
    /// The saved machine can't be started from, for this reason. The process ends.
    Unusable(Unfit),
    /// The guest's first byte on its control port follows; so many exits to user space it took, on all vCPUs.
    Ready {
        /// Of all kinds.
        exits: u64,
    },
    /// Bytes that the guest wrote to its control port.
    Control(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Bytes that the guest wrote to the serial port or to its console, in the order they came.
    Console(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A traced system call.
    Call(Box<SeenCall>),
    /// The call that was to be followed is back, or the machine ended before.
    Walked(Box<Walk>),
    /// The next lines of the kernel's log, some hundred KiB of them at the most.
    Log(Vec<LogRecord>),
    /// The kernel's taint, as it stands in its memory: one bit a reason
    /// (Documentation/admin-guide/tainted-kernels.rst). Told when first known, and when it has changed.
    Taint(u64),
    /// What the kernel has counted of its own reports. Told when first known, and when it has changed.
    Reports(Reports),
    /// `function+0x12/0x34 [module]` for addresses that the log names next, in modules that are or were loaded. The kernel
    /// itself can't name those of a module that is gone.
    Symbols(BTreeMap<u64, String>),
    /// The answer to [`Command::Ask`].
    Answer {
        /// The question's number.
        id: u32,
        /// Its answer.
        answer: Answer,
    },
    /// The guest changed what has to stay as it is.
    Tampered(Tampering),
    /// A part of the evidence: some rows of what was counted.
    Counted(Vec<SyscallCount>),
    /// There was something to be told that no frame can hold; this says what was wrong with it.
    Untold(String),
    /// The machine is no more.
    Ended {
        /// Why.
        reason: EndReason,
        /// What was counted, system calls apart: they came before.
        evidence: Box<Evidence>,
    },
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done, or why it can't be.
    Done(Result<(), String>),
    /// The lines that there were have been sent.
    LogRead {
        /// A record that is not finished, and keeps others back that are.
        keeps_back: Option<u64>,
    },
    /// Of each vCPU that answered in time.
    Standing(Vec<VcpuStanding>),
    /// As far as it was found out in a bounded time.
    Inspected(Box<Explanation>),
    /// It is back, or why it can't go back; it is of no more use then.
    Reset(Result<Reset, String>),
    /// What was seen of the step's call since [`Command::Expect`].
    Witnessed(Box<Sighting>),
}

/// What is watched over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardOrder {
    /// The kernel may patch its own text, as for kprobes and tracing.
    pub patches: bool,
}

/// What a guest changed that has to stay as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tampering {
    /// Bytes of the kernel's text, or of its read-only data.
    Code {
        /// Where, as linked.
        address: u64,
        /// What stood there.
        from: Vec<u8>,
        /// What was written.
        to: Vec<u8>,
        /// The instruction that wrote.
        rip: u64,
        /// Its name in a module, `function+0x12 [module]`.
        by: Option<String>,
    },
    /// Another page is where the kernel's image was.
    Mapping {
        /// Where, as linked.
        address: u64,
        /// The page that was there, its physical address.
        from: Option<u64>,
        /// The one that is there now.
        to: Option<u64>,
    },
    /// A register that decides what code may do.
    Register {
        /// Which vCPU's.
        vcpu: u8,
        /// Its name and, where single bits matter, theirs.
        name: String,
        /// What it held.
        from: u64,
        /// What it holds now.
        to: u64,
    },
    /// A gate in the interrupt descriptor table.
    Gate {
        /// Which vCPU's table.
        vcpu: u8,
        /// Of this interrupt or exception.
        vector: u8,
    },
    /// The kernel's taint only grows.
    Taint {
        /// What it was.
        from: u64,
        /// What it is.
        to: u64,
        /// The instruction that did it, where that was seen.
        rip: Option<u64>,
        /// As in [`Tampering::Code`].
        by: Option<String>,
    },
    /// A call that did not come back as what it entered as.
    Odd(Oddity),
    /// A variable of the kernel's that nothing changes so in a living kernel.
    Variable {
        /// Its name.
        name: String,
        /// What it held.
        from: u64,
        /// What it holds now.
        to: u64,
        /// The instruction that did it, where that was seen.
        rip: Option<u64>,
        /// As in [`Tampering::Code`].
        by: Option<String>,
    },
    /// A device was made to write where nobody may write.
    Device {
        /// Into the page at this address, as linked.
        address: u64,
    },
    /// A record of the log that was changed after it had been read.
    Record {
        /// Its number.
        seq: u64,
    },
    /// The agent's code.
    Agent {
        /// Where.
        address: u64,
    },
}

/// Where a vCPU is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VcpuStanding {
    /// Counted from 0.
    pub index: u8,
    /// The address that it executes next.
    pub rip: u64,
    /// 0 for the kernel, 3 for user space.
    pub cpl: u8,
    /// It waits in HLT for an interrupt.
    pub halted: bool,
    /// Interrupts are on (RFLAGS.IF).
    pub interrupts: bool,
}

/// What the kernel's own structures say of a guest in which nothing goes on. The guest may have made it up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Tasks of programs that sleep in the kernel; those that nothing can interrupt come first.
    pub sleepers: Vec<Sleeper>,
    /// `function+0x12 [module]` for addresses in loaded modules, those asked for and those of sleepers.
    pub symbols: BTreeMap<u64, String>,
    /// The children of PID 1: the agent's worker, programs that steps started, and what those left behind.
    pub children: Vec<Child>,
}

/// One system call, as it was seen at the door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenCall {
    /// Through which entry point.
    pub door: Door,
    /// The number in the door's table.
    pub nr: u64,
    /// Whose call it was.
    pub origin: Origin,
    /// The arguments' registers, in the order of the door's calling convention.
    pub args: [u64; 6],
    /// What those that point into user memory pointed to at the entry: number and up to 64 bytes.
    pub memory: Vec<(u8, Vec<u8>)>,
    /// Who called, where that is known: pid and name.
    pub process: Option<(u32, String)>,
    /// From the start of the machine process to the entry.
    pub at: Duration,
    /// The result as in RAX, and how long the call took; `None` for one that did not come back.
    pub result: Option<(i64, Duration)>,
}

/// A write to one of the registers that decide where system calls enter the kernel, after trapping began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntryWrite {
    /// Which vCPU.
    pub vcpu: u8,
    /// The register.
    pub msr: u32,
    /// What it held.
    pub from: u64,
    /// What it holds now.
    pub to: u64,
    /// The instruction that wrote.
    pub rip: u64,
}

/// How many reports a kernel has counted since its boot; `None` where it has no such counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    /// Warnings, and what it treats as such (`check_panic_on_warn()` of kernel/panic.c).
    pub warnings: Option<u32>,
    /// Tasks that died of an oops (`make_task_dead()` of kernel/exit.c).
    pub oopses: Option<u32>,
    /// A processor has panicked (`panic_cpu` of kernel/panic.c).
    pub panicked: Option<bool>,
}
