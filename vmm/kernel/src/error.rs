//! Why there is no kernel, and whose fault that is.

use crate::{
    config::ConfigError, diagnose, foreign::ForeignError, patch, run, sources, syscall_table::TableError,
    toolchain::Missing, wanted,
};
use base::{
    cache::{CacheError, Fault},
    unpack::UnpackError,
};
use std::{
    fmt,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// What [`KernelError::NoRust`] says: whoever builds many revisions takes it for a fault of that one, which may want a compiler that this
/// machine has not.
pub const NO_RUST: &str = "`make rustavailable` says";

/// Why there is no kernel.
///
/// [`KernelError::fault`] tells those that the kernel's author has to mend from the others.
#[derive(Debug, Error)]
pub enum KernelError {
    /// No source.
    #[error(transparent)]
    Source(#[from] sources::SourceError),
    /// No series, or one that does not apply.
    #[error(transparent)]
    Patch(#[from] patch::PatchError),
    /// A series for another version.
    #[error(
        "{error}\n  this series is made for {made_for}, the source is {version}: name another by --series, or none"
    )]
    OtherBase {
        /// What went wrong.
        error: Box<patch::PatchError>,
        /// The version that the series' folder is called by.
        made_for: String,
        /// The source's.
        version: String,
    },
    /// Fragments that make no sense, or symbols that got lost.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The compiler, or make, says no.
    #[error(transparent)]
    Build(#[from] BuildFailed),
    /// Programs are missing.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Rust was asked for, and something that it needs is not here.
    #[error("build Rust into the kernel: {NO_RUST}: {0}; ./setup installs what that needs")]
    NoRust(String),
    /// The source's system call table makes no sense.
    #[error(transparent)]
    Table(#[from] TableError),
    /// What was built is no kernel that can be kept.
    #[error("keep what was built: {0}")]
    Made(String),
    /// No entry has such a hash.
    #[error(
        "find the kernel {0}: none of this hash was built (`vmm kernel list` shows those that were; four digits are enough); \
         `vmm kernel build` builds one"
    )]
    NoSuch(String),
    /// Several entries have such a hash.
    #[error(
        "find the kernel {0}: the hashes of several begin like this; name more digits (`vmm kernel list` shows them)"
    )]
    Several(String),
    /// `make menuconfig` said why.
    #[error("show the menus: make said why; if it can't find ncurses, install libncurses-dev and pkg-config")]
    Menu,
    /// A file that was asked for can't be written.
    #[error("write {}: {source}", path.display())]
    Save {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// There are no patches and fragments.
    #[error(transparent)]
    NoProject(#[from] base::project::NoProject),
    /// A kernel that was not built here.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// A file that can't be imported.
    #[error(transparent)]
    Parcel(#[from] crate::parcel::ParcelError),
    /// What was asked for can't be meant.
    #[error(transparent)]
    Wanted(#[from] wanted::WantedError),
    /// An entry of the cache is damaged.
    #[error("use the kernel in {}: {why}; remove that folder, and it is built again", path.display())]
    Damaged {
        /// The entry.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file system (a full one is among them), or Ctrl-C.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl KernelError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        use sources::SourceError;
        match self {
            Self::Source(SourceError::Cache(error))
            | Self::Cache(error)
            | Self::Patch(patch::PatchError::Cache(error)) => error.fault(),
            Self::OtherBase { .. } => Fault::Build,
            Self::Foreign(ForeignError::Compressed { source: UnpackError::Machine(_), .. })
            | Self::Config(ConfigError::Compressed { source: UnpackError::Machine(_), .. }) => Fault::Machine,
            Self::Foreign(_) | Self::Wanted(_) | Self::NoSuch(_) | Self::Several(_) | Self::NoProject(_) => {
                Fault::Input
            }
            Self::Source(
                SourceError::NotAKernel { .. } | SourceError::Tool { .. } | SourceError::NotClean(_),
            ) => Fault::Input,
            Self::Source(SourceError::Checksum { .. }) | Self::Parcel(_) => Fault::Input,
            Self::Source(
                SourceError::NoPackage { .. }
                | SourceError::NoArchive { .. }
                | SourceError::Fetch { .. }
                | SourceError::Missing(_)
                | SourceError::Download { .. },
            ) => Fault::Machine,
            Self::Patch(patch::PatchError::Unreadable { .. } | patch::PatchError::Option { .. }) => {
                Fault::Input
            }
            // What a patch does out of the source is as much its author's fault as one that does not apply.
            Self::Patch(_)
            | Self::Config(ConfigError::Lost(_))
            | Self::Build(_)
            | Self::Made(_)
            | Self::Table(_) => Fault::Build,
            Self::Config(_) => Fault::Input,
            Self::Missing(_) | Self::NoRust(_) | Self::Damaged { .. } | Self::Menu | Self::Save { .. } => {
                Fault::Machine
            }
        }
    }
}

/// A build that failed, in the words of whoever said it first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildFailed {
    what: String,
    /// The compiler's first error; `None` when the output names none.
    pub first: Option<diagnose::FirstError>,
    /// Everything that was said.
    pub log: PathBuf,
}

impl std::error::Error for BuildFailed {}

impl BuildFailed {
    /// `what` failed; `context` is what its output is read with.
    pub fn new(what: impl Into<String>, ran: &run::Ran, context: &diagnose::Context, log: &Path) -> Self {
        let first = diagnose::first_error(&ran.lines, context).or_else(|| {
            let lines = vec![ran.lines.last()?.clone()];
            Some(diagnose::FirstError { lines, ..diagnose::FirstError::default() })
        });
        let mut failed = Self { what: what.into(), first, log: log.to_owned() };
        // As the shell has it that leads the build.
        if let Some(signal) = ran.status.code().and_then(|code| code.checked_sub(128)).filter(|it| *it > 0) {
            let line = format!("make was ended by signal {signal}");
            failed.first.get_or_insert_default().advice.push(line);
        }
        failed
    }

    /// Adds what else may be why.
    #[must_use]
    pub fn advised(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        if let Some(first) = &mut self.first {
            first.advice.extend(lines);
        }
        self
    }

    /// Adds what is known of the symbols that nobody exports.
    #[must_use]
    pub fn explained(mut self, explain: impl FnOnce(&[String]) -> Vec<String>) -> Self {
        if let Some(first) = self.first.as_mut().filter(|first| !first.undefined.is_empty()) {
            first.advice.extend(explain(&first.undefined));
        }
        self
    }
}

impl fmt::Display for BuildFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.what)?;
        match &self.first {
            Some(first) => {
                for line in first.lines.iter().chain(&first.advice) {
                    write!(f, "\n  {line}")?;
                }
            }
            None => write!(f, " make failed and said nothing")?,
        }
        write!(f, "\n  the whole output is in {}", self.log.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_could_not_unpack_is_its_own_fault() {
        let path = || PathBuf::from("/boot/config");
        let faults = |source: fn() -> UnpackError| {
            let module = ForeignError::Compressed { path: path(), source: source() };
            let config = ConfigError::Compressed { path: path(), source: source() };
            [KernelError::from(module), config.into()].map(|error| error.fault())
        };
        assert_eq!(faults(|| UnpackError::Machine(String::new())), [Fault::Machine; 2]);
        assert_eq!(faults(|| UnpackError::Large), [Fault::Input; 2]);
    }
}
