//! How much may be handed in, and how much what is built of it may take. All of it can be raised.
//!
//! `VMM_LIMITS` has one number for all kinds of things, and people have modules in mind when they write it. So what is more than a module may
//! have raises what is smaller, and lowers nothing: 50,000 files are no reason to refuse a kernel's 93,000. What is less lowers all limits
//! but a kernel's.

use crate::{Refused, memory};
use nix::sys::resource::{Resource, getrlimit};
use std::{env, fmt, thread, time::Duration};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What a job of make's may take before the whole build is too much: a compiler with its preprocessor, assembler and shells.
const JOBS_MEMORY: u64 = 256 * MIB;
const JOBS_PROCESSES: u64 = 8;

/// How much may be handed in at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One file's size, in bytes, as `ls` shows it: holes count.
    pub file: u64,
    /// All files together, in bytes.
    pub total: u64,
    /// Their number, with folders and links.
    pub files: usize,
    /// Folders in folders.
    pub depth: usize,
}

impl Limits {
    /// A module's folder, or a submission.
    pub const MODULE: Self = Self { file: 64 * MIB, total: 256 * MIB, files: 10_000, depth: 64 };
    /// What a scenario puts into a guest, and single files such as a `.ko`.
    pub const FILES: Self = Self { file: 512 * MIB, total: 2 * GIB, files: 50_000, depth: 64 };
    /// A kernel's source, or its package: Linux 7.3 has 93,000 files of 1.6 GiB.
    pub const KERNEL: Self = Self { file: GIB, total: 16 * GIB, files: 500_000, depth: 128 };
    /// Text that a person wrote: a patch, a makefile, a fragment.
    pub const TEXT: Self = Self { file: 64 * MIB, total: 256 * MIB, files: 10_000, depth: 64 };

    /// These, where the environment (`VMM_LIMITS`) says nothing else.
    ///
    /// # Errors
    /// The variable makes no sense.
    pub fn wanted(self) -> Result<Self, Refused> {
        self.with(&env::var(VARIABLE).unwrap_or_default())
    }

    /// These, but for what `text` says.
    fn with(mut self, text: &str) -> Result<Self, Refused> {
        let (module, kernel) = (Self::MODULE, Self::KERNEL);
        for (name, number) in amounts(text)? {
            let count = usize::try_from(number).unwrap_or(usize::MAX);
            match name {
                "file" => set(&mut self.file, number, module.file, kernel.file),
                "total" => set(&mut self.total, number, module.total, kernel.total),
                "files" => set(&mut self.files, count, module.files, kernel.files),
                "depth" => set(&mut self.depth, count, module.depth, kernel.depth),
                _ => {}
            }
        }
        Ok(self)
    }
}

/// What a build may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// From its start to its end.
    pub time: Duration,
    /// At once, with their threads.
    pub processes: u64,
    /// That one process has open at once. What lies in a pipe or a pair of sockets is the kernel's memory, and in no process's.
    pub open: u64,
    /// Of all its processes together, in bytes.
    pub memory: u64,
    /// What this machine has of that for one, in bytes. It may be less.
    pub machine: u64,
    /// What it prints, in bytes.
    pub output: u64,
    /// What it writes into the folders that are its own, in bytes.
    pub disk: u64,
}

impl Budget {
    /// A module.
    pub const MODULE: Self = Self {
        time: Duration::from_secs(120),
        processes: 512,
        open: 256,
        memory: 4 * GIB,
        machine: u64::MAX,
        output: 64 * MIB,
        disk: GIB,
    };
    /// A kernel with all its modules.
    pub const KERNEL: Self = Self {
        time: Duration::from_secs(4 * 3600),
        processes: 4096,
        open: 4096,
        memory: 32 * GIB,
        machine: u64::MAX,
        output: 512 * MIB,
        disk: 64 * GIB,
    };
    /// Patches, archives, single files: no build at all.
    pub const TOOL: Self = Self {
        time: Duration::from_secs(600),
        // xz has a thread for each processor.
        processes: 512,
        open: 256,
        memory: 4 * GIB,
        machine: u64::MAX,
        output: 64 * MIB,
        disk: 16 * GIB,
    };

    /// This, where the environment (`VMM_LIMITS`) says nothing else, and no more memory than this machine can give.
    ///
    /// # Errors
    /// The variable makes no sense.
    pub fn wanted(self) -> Result<Self, Refused> {
        self.on(memory::there_is(), &env::var(VARIABLE).unwrap_or_default())
    }

    /// This on a machine with so much memory, but for what `text` says.
    fn on(self, memory: u64, text: &str) -> Result<Self, Refused> {
        let wanted = self.with(text)?;
        // Who takes all of it has the kernel end somebody, and is told as a machine that is too small.
        let share = memory / 4 * 3;
        let asked = amounts(text)?.into_iter().filter(|(name, _)| *name == "memory");
        let most = asked.map(|(_, bytes)| bytes).fold(share, u64::max);
        Ok(Self { machine: most, ..wanted })
    }

    /// What it gets of memory, in bytes.
    pub(crate) fn given(&self) -> u64 {
        self.memory.min(self.machine)
    }

    /// So many of a make's jobs fit into it on this machine.
    pub fn jobs(&self) -> u64 {
        self.jobs_of(thread::available_parallelism().map_or(1, |count| count.get() as u64))
    }

    fn jobs_of(&self, processors: u64) -> u64 {
        processors.min(self.given() / JOBS_MEMORY).min(self.processes / JOBS_PROCESSES).max(1)
    }

    fn with(mut self, text: &str) -> Result<Self, Refused> {
        let (module, kernel) = (Self::MODULE, Self::KERNEL);
        for (name, number) in amounts(text)? {
            let time = Duration::from_secs(number);
            match name {
                "time" => set(&mut self.time, time, module.time, kernel.time),
                "processes" => set(&mut self.processes, number, module.processes, kernel.processes),
                "memory" => set(&mut self.memory, number, module.memory, kernel.memory),
                "output" => set(&mut self.output, number, module.output, kernel.output),
                "disk" => set(&mut self.disk, number, module.disk, kernel.disk),
                _ => {}
            }
        }
        Ok(self)
    }
}

/// Sets a limit to what was asked for, where that is meant for it: see above.
fn set<T: Ord + Copy>(limit: &mut T, asked: T, module: T, kernel: T) {
    let lowers = asked < module && *limit < kernel;
    *limit = if lowers { asked } else { asked.max(*limit) };
}

/// The variable in the environment that raises (or lowers) limits: `files=50000,total=4GiB`.
const VARIABLE: &str = "VMM_LIMITS";

/// The environment's variable, and what has to stand in it for a program that is started: there each build may take so long, and of all else
/// what it may take here.
pub fn with_time(time: Duration) -> (&'static str, String) {
    let own = env::var(VARIABLE).unwrap_or_default();
    (VARIABLE, format!("{own},time={}s", time.as_secs().max(1)))
}

/// What can stand in it.
const NAMES: [&str; 9] = ["file", "total", "files", "depth", "time", "processes", "memory", "output", "disk"];

/// Names and values.
fn amounts(text: &str) -> Result<Vec<(&str, u64)>, Refused> {
    let bad = || Refused::Variable { text: text.to_owned() };
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let amount = |part| {
        let (name, value): (&str, &str) = str::split_once(part, '=').ok_or_else(bad)?;
        if !NAMES.contains(&name) {
            return Err(bad());
        }
        // Who may take nothing is no build.
        Ok((name, size(value).filter(|amount| *amount > 0).ok_or_else(bad)?))
    };
    parts.map(amount).collect()
}

/// `4096`, `64MiB`, `2GiB`; seconds may have their unit.
fn size(text: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", MIB), ("GiB", GIB), ("s", 1)];
    let (digits, unit) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1));
    digits.trim().parse::<u64>().ok()?.checked_mul(unit)
}

/// What this program needs of addresses at least, in bytes: each of its threads takes some, and a guest's memory.
const ADDRESSES: u64 = GIB;

/// Why this process has no room for threads, if it has none: to start one would be its end.
pub fn short_of_addresses() -> Option<String> {
    let (limit, _) = getrlimit(Resource::RLIMIT_AS).ok()?;
    (limit < ADDRESSES).then(|| {
        format!(
            "this process may use {} of addresses (`ulimit -v`), and needs {} and its guests' memory: raise that limit",
            Bytes(limit),
            Bytes(ADDRESSES)
        )
    })
}

/// A size for people.
pub(crate) struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= MIB => write!(f, "{} MiB", bytes / MIB),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_can_be_raised_and_nonsense_is_told() {
        let text = "files=50000, total=4GiB,time=300s,memory=8GiB";
        let limits = Limits::MODULE.with(text).unwrap();
        assert_eq!((limits.files, limits.total, limits.file), (50_000, 4 << 30, Limits::MODULE.file));
        let budget = Budget::MODULE.with(text).unwrap();
        assert_eq!((budget.time.as_secs(), budget.memory, budget.disk), (300, 8 << 30, Budget::MODULE.disk));
        // A kernel and its packages have more already.
        let (kernel, files) = (Limits::KERNEL.with(text).unwrap(), Limits::FILES.with(text).unwrap());
        assert_eq!(kernel, Limits::KERNEL);
        assert_eq!((files.files, files.total), (50_000, 4 << 30));
        assert_eq!(Budget::KERNEL.with("time=600s,memory=8GiB,disk=2GiB").unwrap(), Budget::KERNEL);
        assert_eq!(Budget::TOOL.with("time=300s,disk=2GiB").unwrap(), Budget::TOOL);
        assert_eq!(Limits::KERNEL.with("files=600000").unwrap().files, 600_000);
        // Less is meant for modules and single files.
        let little = "time=3s,memory=128MiB,disk=64MiB";
        let budget = Budget { memory: 6 << 30, ..Budget::TOOL }.with(little).unwrap();
        assert_eq!((budget.time.as_secs(), budget.memory, budget.disk), (3, 128 << 20, 64 << 20));
        assert_eq!(Budget::KERNEL.with(little).unwrap(), Budget::KERNEL);
        assert_eq!(Limits::MODULE.with("files=10").unwrap().files, 10);
        for text in ["files", "files=many", "nonsense=1", "total=99999999999GiB", "file=-1", "files=0"] {
            let said = Limits::MODULE.with(text).unwrap_err().to_string();
            assert!(said.contains("expected names and values"), "{said}");
            assert!(Budget::MODULE.with(text).is_err());
        }
    }

    #[test]
    fn a_program_that_is_started_can_be_given_other_time() {
        let (name, text) = with_time(Duration::from_secs(1500));
        assert!(name == VARIABLE && text.ends_with(",time=1500s"));
        for own in ["", "time=200s", "time=3s", "memory=1GiB"] {
            let text = format!("{own}{text}");
            let time = |budget: Budget| budget.with(&text).unwrap().time.as_secs();
            assert_eq!((time(Budget::MODULE), time(Budget::KERNEL)), (1500, 4 * 3600), "{text}");
        }
    }

    /// Else the kernel would end others, and nobody would know whose fault it was.
    #[test]
    fn nobody_may_take_all_memory_of_the_machine_unless_told_so() {
        let of = |budget: Budget, machine: u64, text| budget.on(machine * GIB, text).unwrap().given() / GIB;
        assert_eq!((of(Budget::KERNEL, 16, ""), of(Budget::KERNEL, 64, "")), (12, 32));
        assert_eq!((of(Budget::MODULE, 16, ""), of(Budget::MODULE, 4, "")), (4, 3));
        assert_eq!((of(Budget::KERNEL, 4, "memory=8GiB"), of(Budget::MODULE, 4, "memory=8GiB")), (8, 8));
        // Less is meant for modules.
        assert_eq!((of(Budget::KERNEL, 4, "memory=1GiB"), of(Budget::MODULE, 4, "memory=1GiB")), (3, 1));
        assert!(Budget::KERNEL.on(GIB, "nonsense=1").is_err());
    }

    /// A machine with many processors must not have a build fail that goes well on a small one.
    #[test]
    fn jobs_fit_into_the_budget() {
        assert_eq!((Budget::MODULE.jobs_of(2), Budget::MODULE.jobs_of(256)), (2, 16));
        assert_eq!(Budget::KERNEL.jobs_of(256), 128);
        let few = Budget { processes: 20, ..Budget::KERNEL };
        assert_eq!((few.jobs_of(256), few.jobs_of(1)), (2, 1));
        assert_eq!(Budget { memory: MIB, ..Budget::MODULE }.jobs_of(8), 1);
        assert_eq!(Budget { machine: GIB, ..Budget::KERNEL }.jobs_of(8), 4);
        assert!(Budget::MODULE.jobs() >= 1);
    }
}
