//! A scenario as typed values. Whatever can be wrong with a file is found before one of these exists;
//! only the names of system calls wait for the kernel's table.

mod data;
mod expect;
mod place;

pub use data::Data;
pub use expect::{
    Allow, CallExpect, Check, Ending, EndingKind, Interval, LogWant, Pattern, RunExpect, TaintWant, Text,
    Want,
};
pub use place::{Place, When};

use super::params::Settings;
use base::{diagnostic::Source, wanted::Wanted};
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, ops::Range, path::PathBuf, time::Duration};

/// A place in the scenario's text, in bytes.
pub type Span = Range<usize>;

/// A scenario: what to boot, what to do, what should come of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its `name`, or the file's name without `.yaml`.
    pub name: String,
    /// The file, as the user named it.
    pub path: PathBuf,
    /// What it is chosen by, where many are run.
    pub tags: Vec<String>,
    /// The kernel that it wants; its paths are relative to the scenario's folder.
    pub kernel: Wanted,
    /// The kernels that it is for, where there are several; then it wants none.
    pub matrix: Vec<Wanted>,
    /// The machine.
    pub machine: Machine,
    /// Modules that must be in the guest as [`module_path()`] says.
    pub modules: Vec<ModuleSource>,
    /// Configuration symbols that the kernel must have.
    pub needs: Vec<ConfigNeed>,
    /// The kernel may load them by itself, by running /sbin/modprobe.
    pub autoload: bool,
    /// Files of this machine that must be in the guest.
    pub files: Vec<GuestFile>,
    /// How long the guest may take until the agent's hello.
    pub boot_timeout: Duration,
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// System calls are counted, which takes the processor's breakpoint registers.
    pub count: bool,
    /// How closely the guest is watched.
    pub evidence: Watchfulness,
    /// What the whole run should come to.
    pub expect: RunExpect,
    /// Splats that are no failure, in whatever step.
    pub allow: Vec<Allow>,
    /// Parameters whose values were drawn, and what came.
    pub drawn: Settings,
    /// What is not wrong with it, and not as its author may think.
    pub notes: Vec<String>,
    /// The text, for messages that come later.
    pub source: Source,
}

/// How closely the guest is watched, while its system calls are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watchfulness {
    /// What the agent says is compared with what is seen, and nobody changes the kernel's text.
    #[default]
    Full,
    /// The same, and the kernel may patch its own text.
    Kprobes,
    /// Calls are counted.
    Basic,
}

/// The machine to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// In MiB, 32 to 65536.
    pub memory_mib: u32,
    /// 1 to 32.
    pub vcpus: u8,
    /// Where the scenario says how many.
    pub vcpus_at: Span,
    /// The kernel checks its own memory as it goes, where it can and it costs little.
    pub checks: bool,
    /// Words at the end of the kernel's command line.
    pub command_line: Vec<String>,
    /// The kernel is to boot, whatever is saved.
    pub cold: bool,
}

/// A configuration symbol without which the scenario makes no sense.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigNeed {
    /// With CONFIG_.
    pub symbol: String,
    /// What it must be; `None` for `y` or `m`.
    pub value: Option<String>,
    /// Where the scenario asks for it.
    pub span: Span,
}

/// Where a module's object lies in the guest.
pub fn module_path(name: &str) -> String {
    format!("/lib/modules/{name}.ko")
}

/// A module folder or a built module. It exists.
#[derive(Clone, Debug, PartialEq)]
pub struct ModuleSource {
    /// Relative to the working directory, like the scenario's own path.
    pub path: PathBuf,
    /// What stands there.
    pub kind: ModuleKind,
    /// The modules that come of it, without `.ko`; empty where only building can tell.
    pub names: Vec<String>,
    /// Where the scenario names it, counted from 1.
    pub line: usize,
}

/// What a [`ModuleSource`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleKind {
    /// Sources with a Kbuild or Makefile.
    Folder,
    /// A `.ko` file.
    Object,
}

/// A file to put into the guest. It exists.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestFile {
    /// What it is.
    pub kind: GuestFileKind,
    /// Relative to the working directory.
    pub host: PathBuf,
    /// Absolute.
    pub guest: String,
    /// Where the scenario names it, counted from 1.
    pub line: usize,
}

/// What a [`GuestFile`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestFileKind {
    /// A regular file, or a link to one that a scenario names itself.
    File,
    /// A folder; what is in it has entries of its own.
    Folder,
    /// A symbolic link in a folder. It leads where it leads in the guest.
    Link,
    /// A program, of which this is the source, in C.
    Program,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// What the author calls it.
    pub name: Option<String>,
    /// The line where it begins, counted from 1.
    pub line: usize,
    /// What to do.
    pub action: Action,
    /// What should come of it; never empty.
    pub checks: Vec<Check>,
    /// The end of the guest that this step should bring about.
    pub ending: Option<Ending>,
    /// Splats that are no failure in this step.
    pub allow: Vec<Allow>,
    /// Names for its results.
    pub binds: Vec<Binding>,
    /// For the whole of it.
    pub timeout: Duration,
    /// So many times, 1 to 10,000,000; all must return the errno that the first one returns.
    pub repeat: u32,
    /// What becomes of test results in what it prints, and in what the kernel logs meanwhile.
    pub ktap: Ktap,
}

/// What becomes of test results in KTAP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ktap {
    /// Those that are there are judged.
    #[default]
    Judged,
    /// There must be some, too.
    Required,
    /// They are text like any other.
    Ignored,
}

/// A number that is known now, or once an earlier step is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Num {
    /// Known now; from -2^63 to 2^64-1.
    Int(i128),
    /// The value of a name.
    Name(String),
}

/// A module's parameters by their names; one without a value is a switch that is on.
pub type Params = Vec<(String, Option<String>)>;

/// The kinds of steps.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of the language reference, docs/scenarios.md")]
pub enum Action {
    Insmod {
        module: String,
        params: Params,
    },
    Rmmod {
        module: String,
    },
    Reload {
        module: String,
        params: Params,
    },
    Modprobe {
        module: String,
        params: Params,
        remove: bool,
    },
    Modinfo {
        module: String,
    },
    Lsmod,
    Look {
        at: Vec<Place>,
        when: When,
    },
    Syscall {
        call: CallName,
        door: protocol::Door,
        args: Vec<Argument>,
    },
    Mknod {
        path: String,
        kind: Node,
        mode: u32,
    },
    Open {
        path: String,
        flags: u32,
        mode: u32,
    },
    Read {
        fd: Num,
        count: u32,
    },
    Write {
        fd: Num,
        data: Data,
    },
    Lseek {
        fd: Num,
        offset: Num,
        whence: u32,
    },
    Ioctl {
        fd: Num,
        request: u64,
        arg: Argument,
    },
    Close {
        fd: Num,
    },
    Poll {
        fd: Num,
        events: u16,
        time: Duration,
    },
    /// `user` is `None` where nothing is said of it.
    Run {
        argv: Vec<String>,
        env: Vec<String>,
        stdin: Data,
        user: Option<u32>,
    },
    ReadFile {
        path: String,
    },
    WriteFile {
        path: String,
        data: Data,
        append: bool,
    },
    Sleep {
        time: Duration,
    },
    Mount {
        target: String,
        source: String,
        fs: String,
        flags: u64,
        options: String,
    },
    Umount {
        target: String,
    },
    Mkdir {
        path: String,
        mode: u32,
    },
    Rmdir {
        path: String,
    },
    Unlink {
        path: String,
    },
}

/// Users by their numbers.
pub const ROOT: u32 = 0;
/// `nobody`, whom systems know by the largest number of 16 bits but one.
pub const NOBODY: u32 = 65534;

/// How a script is run: read whole, so that what it starts can't read the rest of it; it ends with the first command that fails.
pub const SCRIPT: [&str; 4] = ["/bin/sh", "-e", "-c", "SCRIPT=$(cat); exec </dev/null; eval \"$SCRIPT\""];

impl Action {
    /// The text, if it is a script.
    pub fn script(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Run { argv, stdin, .. } if *argv == SCRIPT => Some(stdin.written()),
            _ => None,
        }
    }

    /// Has a program of which nothing else is said run as this user.
    pub fn run_as(&mut self, default: u32) {
        if let Self::Run { user: user @ None, .. } = self {
            *user = Some(default);
        }
    }

    /// Whom its program runs as, if not root.
    pub fn user(&self) -> Option<u32> {
        match self {
            Self::Run { user, .. } => user.filter(|user| *user != ROOT),
            _ => None,
        }
    }
}

/// Which system call.
#[derive(Clone, Debug, PartialEq)]
pub enum CallName {
    /// By its name in the kernel's table.
    Name(String, Span),
    /// By its number.
    Nr(u64),
}

/// What `mknod` makes.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A character device of major and minor.
    Char(Num, Num),
    /// A block device of major and minor.
    Block(Num, Num),
    /// A named pipe.
    Fifo,
}

/// An argument of a system call.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// A number.
    Num(Num),
    /// A pointer to a NUL-terminated string; `${name}` in it stands for a value.
    Text(String),
    /// A pointer to exactly these bytes.
    In(Vec<u8>),
    /// A pointer to a number in memory.
    InNumber(Num, Type),
    /// A pointer to memory that the kernel fills.
    Out(Layout),
    /// A pointer to these bytes, which the kernel may change.
    InOut(Vec<u8>, Layout),
    /// A pointer to a number in memory, which the kernel may change.
    InOutNumber(Num, Type),
    /// A pointer that leads nowhere good.
    Pointer(Pointer),
}

/// A pointer for negative tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointer {
    /// 0.
    Null,
    /// Into user space, where nothing is mapped.
    Bad,
    /// Into the kernel's half.
    Kernel,
}

impl Pointer {
    /// The address.
    pub fn address(self) -> u64 {
        match self {
            Self::Null => 0,
            // 16 TiB: above any fixed executable and its heap, below where x86-64 Linux places
            // position-independent ones (0x55...) and maps memory (0x7f...).
            Self::Bad => 0x1000_0000_0000,
            // Where the kernel's image is mapped (Documentation/arch/x86/x86_64/mm.rst).
            Self::Kernel => 0xffff_ffff_8100_0000,
        }
    }
}

/// How bytes that come back are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// So many bytes.
    Bytes(u32),
    /// A number.
    Number(Type),
}

impl Layout {
    /// In bytes.
    pub fn size(self) -> u32 {
        match self {
            Self::Bytes(size) => size,
            Self::Number(int) => int.size.into(),
        }
    }

    /// As scenarios write it: a type, or a size in bytes.
    pub fn name(self) -> String {
        match self {
            Self::Bytes(size) => size.to_string(),
            Self::Number(int) => crate::value::type_name(int).to_owned(),
        }
    }
}

/// An integer in memory, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Int {
    /// 1, 2, 4 or 8 bytes.
    pub size: u8,
    /// Two's complement.
    pub signed: bool,
}

impl Int {
    /// The least and the largest number that it can be.
    pub fn bounds(self) -> (i128, i128) {
        let bits = u32::from(self.size) * 8;
        if self.signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
    }

    /// The integer that bytes begin with; `None` if there are too few of them, or no integer is so long.
    pub fn decode(self, bytes: &[u8]) -> Option<i128> {
        let size = usize::from(self.size);
        if !matches!(size, 1 | 2 | 4 | 8) {
            return None;
        }
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(bytes.get(..size)?);
        let value = u64::from_le_bytes(wide);
        let unused = 64 - 8 * u32::from(self.size);
        Some(if self.signed { i128::from((value << unused) as i64 >> unused) } else { i128::from(value) })
    }
}

/// An integer type.
pub type Type = Int;

/// A name for a result of a step.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Without `$`.
    pub name: String,
    /// Where the scenario gives it.
    pub span: Span,
    /// What it names.
    pub from: Origin,
}

/// What a [`Binding`] names.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The returned value.
    Value,
    /// Buffer number so-and-so that comes back, counted from 0.
    Data(usize, Layout),
    /// The first capture group in what was read or printed.
    Match(Regex),
}
