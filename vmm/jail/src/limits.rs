//! How much may be handed in, and how much what is built of it may take. All of it can be raised.

use crate::Refused;
use nix::sys::resource::{Resource, getrlimit};
use std::{env, fmt, time::Duration};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

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
        for (name, number) in amounts(text)? {
            let count = usize::try_from(number).unwrap_or(usize::MAX);
            match name {
                "file" => self.file = number,
                "total" => self.total = number,
                "files" => self.files = count,
                "depth" => self.depth = count,
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
    /// At once.
    pub processes: u64,
    /// Of all its processes together, in bytes.
    pub memory: u64,
    /// What it prints, in bytes.
    pub output: u64,
    /// What it writes into the folders that are its own, in bytes.
    pub disk: u64,
}

impl Budget {
    /// A module.
    pub const MODULE: Self =
        Self { time: Duration::from_secs(120), processes: 512, memory: 4 * GIB, output: 64 * MIB, disk: GIB };
    /// A kernel with all its modules.
    pub const KERNEL: Self = Self {
        time: Duration::from_secs(4 * 3600),
        processes: 4096,
        memory: 32 * GIB,
        output: 512 * MIB,
        disk: 64 * GIB,
    };
    /// Patches, archives, single files: no build at all.
    pub const TOOL: Self = Self {
        time: Duration::from_secs(600),
        processes: 64,
        memory: 4 * GIB,
        output: 64 * MIB,
        disk: 16 * GIB,
    };

    /// This, where the environment (`VMM_LIMITS`) says nothing else.
    ///
    /// # Errors
    /// The variable makes no sense.
    pub fn wanted(self) -> Result<Self, Refused> {
        self.with(&env::var(VARIABLE).unwrap_or_default())
    }

    fn with(mut self, text: &str) -> Result<Self, Refused> {
        for (name, number) in amounts(text)? {
            match name {
                "time" => self.time = Duration::from_secs(number),
                "processes" => self.processes = number,
                "memory" => self.memory = number,
                "output" => self.output = number,
                "disk" => self.disk = number,
                _ => {}
            }
        }
        Ok(self)
    }
}

/// The variable in the environment that raises (or lowers) limits: `files=50000,total=4GiB`.
const VARIABLE: &str = "VMM_LIMITS";
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
        for text in ["files", "files=many", "nonsense=1", "total=99999999999GiB", "file=-1", "files=0"] {
            let said = Limits::MODULE.with(text).unwrap_err().to_string();
            assert!(said.contains("expected names and values"), "{said}");
            assert!(Budget::MODULE.with(text).is_err());
        }
    }
}
