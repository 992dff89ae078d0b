//! Kernels: made from a recipe once, found in the cache afterwards.
//!
//! [`ensure`] is all that most callers need. The parts: a [`Source`] is brought into the cache, a
//! [`patch::Series`] is put on a private copy of it, [`config`] fragments are put on a base, make builds,
//! and what is worth keeping becomes a cache entry.

mod base_config;
mod build;
pub mod check;
pub mod config;
mod configure;
mod debian;
pub mod diagnose;
mod fit;
mod foreign;
mod git;
mod kallsyms;
pub mod menuconfig;
mod offsets;
pub mod patch;
mod product;
mod recipe;
pub mod run;
pub mod source;
pub mod store;
pub mod toolchain;
pub mod tree;
pub mod wanted;

use crate::{
    symbols::{Symbols, SymbolsError},
    syscall_table::{SyscallTable, TableError},
};
use base::cache::{Cache, CacheError, Fault, Kind};
pub use base_config::Base;
use board::wire::Announce;
pub(crate) use build::jobs;
pub use fit::Fit;
pub use foreign::ForeignError;
pub use product::{Facts, Manifest};
use recipe::Loaded;
pub use recipe::{Ingredients, Patches, Recipe};
pub use source::Source;
use source::Sources;
use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};
use thiserror::Error;
pub use toolchain::Compiler;
use toolchain::{Missing, Toolchain};

/// Why there is no kernel.
///
/// [`KernelError::fault`] tells those that the kernel's author has to mend from the others.
#[derive(Debug, Error)]
pub enum KernelError {
    /// No source.
    #[error(transparent)]
    Source(#[from] source::SourceError),
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
    /// The source's system call table makes no sense.
    #[error(transparent)]
    Table(#[from] TableError),
    /// No entry, or several, have such a hash.
    #[error("find the kernel {0}: no hash, or more than one, begins like this; `vmm kernel list` shows them")]
    NoSuch(String),
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

pub use config::ConfigError;

impl KernelError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        use source::SourceError;
        match self {
            Self::Source(SourceError::Cache(error))
            | Self::Cache(error)
            | Self::Patch(patch::PatchError::Cache(error)) => error.fault(),
            Self::OtherBase { .. } => Fault::Build,
            Self::Foreign(_) | Self::Wanted(_) | Self::NoSuch(_) | Self::NoProject(_) => Fault::Input,
            Self::Source(
                SourceError::NotAKernel { .. } | SourceError::Tool { .. } | SourceError::NotClean(_),
            ) => Fault::Input,
            Self::Source(SourceError::NoPackage { .. } | SourceError::Missing(_)) => Fault::Machine,
            Self::Patch(patch::PatchError::Unreadable { .. } | patch::PatchError::Outside { .. }) => {
                Fault::Input
            }
            Self::Patch(_) | Self::Config(ConfigError::Lost(_)) | Self::Build(_) | Self::Table(_) => {
                Fault::Build
            }
            Self::Config(_) => Fault::Input,
            Self::Missing(_) | Self::Damaged { .. } | Self::Menu | Self::Save { .. } => Fault::Machine,
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
    pub(crate) fn new(
        what: impl Into<String>,
        ran: &run::Ran,
        places: &[(&Path, &Path)],
        log: &Path,
    ) -> Self {
        let first = diagnose::first_error(&ran.lines, places).or_else(|| {
            let lines = vec![ran.lines.last()?.clone()];
            Some(diagnose::FirstError { lines, advice: None })
        });
        Self { what: what.into(), first, log: log.to_owned() }
    }
}

impl fmt::Display for BuildFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.what)?;
        match &self.first {
            Some(first) => {
                for line in &first.lines {
                    write!(f, "\n  {line}")?;
                }
                if let Some(advice) = &first.advice {
                    write!(f, "\n  {advice}")?;
                }
            }
            None => write!(f, " make failed and said nothing")?,
        }
        write!(f, "\n  the whole output is in {}", self.log.display())
    }
}

/// A kernel that is ready to boot and to build modules for.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// `uname -r`, such as `6.12.117-vmm`.
    pub release: String,
    /// The recipe's hash: 16 hexadecimal digits.
    pub hash: String,
    /// The ELF file, with symbols.
    pub vmlinux: PathBuf,
    /// The same without symbols, for booting.
    pub boot: PathBuf,
    /// What `make -C` takes to build a module.
    pub build: PathBuf,
    /// The configuration.
    pub config: PathBuf,
    /// `System.map`.
    pub map: PathBuf,
    /// Its system calls.
    pub syscalls: SyscallTable,
    /// What modules have to be built with.
    pub compiler: Compiler,
    /// How it is told of devices.
    pub announce: Announce,
    /// Modules that the agent has to load before it can speak, in this order.
    pub early: Vec<PathBuf>,
    /// It was there already.
    pub cached: bool,
}

impl Kernel {
    /// Opens a cache entry.
    ///
    /// # Errors
    /// [`KernelError::Damaged`].
    pub fn open(entry: &Path, cached: bool) -> Result<Self, KernelError> {
        let damaged = |why: String| KernelError::Damaged { path: entry.to_owned(), why };
        let read =
            |name: &str| fs::read(entry.join(name)).map_err(|error| damaged(format!("{name}: {error}")));
        let manifest: Manifest = serde_json::from_slice(&read("kernel.json")?)
            .map_err(|error| damaged(format!("kernel.json: {error}")))?;
        let syscalls = serde_json::from_slice(&read("syscalls.json")?)
            .map_err(|error| damaged(format!("syscalls.json: {error}")))?;
        let file = |name: &str| match entry.join(name) {
            path if path.exists() => Ok(path),
            _ => Err(damaged(format!("{name} is missing"))),
        };
        let vmlinux = file("vmlinux")?;
        store::touch(entry);
        Ok(Self {
            release: manifest.release,
            hash: entry.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            boot: file("vmlinux.boot").unwrap_or_else(|_| vmlinux.clone()),
            vmlinux,
            early: manifest.early.iter().map(|name| entry.join("early").join(name)).collect(),
            announce: manifest.announce,
            // A kernel from elsewhere may do without, until a module is built for it.
            build: entry.join("build"),
            config: file("config")?,
            map: file("System.map")?,
            syscalls,
            compiler: manifest.facts.compiler,
            cached,
        })
    }

    /// Offsets of fields of its structures, in bytes, by `struct.field`; empty where they can't be found.
    pub fn offsets(&self, cache: &Cache) -> BTreeMap<String, u64> {
        offsets::find(self, cache)
    }

    /// Whether its files are of one build, and what is lost because they are not.
    ///
    /// # Errors
    /// The `System.map` is damaged.
    pub fn fit(&self) -> Result<Fit, KernelError> {
        Ok(fit::check(self, self.symbols()?))
    }

    /// Names and addresses of its functions and variables.
    ///
    /// # Errors
    /// The `System.map` is damaged.
    pub fn symbols(&self) -> Result<Symbols, KernelError> {
        let damaged = |why: String| KernelError::Damaged { path: self.map.clone(), why };
        let text = fs::read_to_string(&self.map).map_err(|error| damaged(error.to_string()))?;
        Symbols::from_map(&text).map_err(|error: SymbolsError| damaged(error.to_string()))
    }
}

/// The kernel that was asked for, built if it has to be.
///
/// # Errors
/// See [`KernelError`].
pub fn get(meant: &wanted::Meant, cache: &Cache) -> Result<Kernel, KernelError> {
    match meant {
        wanted::Meant::Recipe(recipe) => ensure(recipe, cache),
        wanted::Meant::Built(entry) => Kernel::open(entry, true),
        wanted::Meant::Foreign { image, modules } => foreign::import(image, modules.as_deref(), cache),
    }
}

/// Finds the kernel of a recipe in the cache, or builds it.
///
/// # Errors
/// See [`KernelError`]; no error leaves an entry, or part of one.
pub fn ensure(recipe: &Recipe, cache: &Cache) -> Result<Kernel, KernelError> {
    let prepared = prepare(recipe, cache)?;
    let hash = &prepared.hash;
    if let Some(entry) = cache.find(Kind::Kernel, hash) {
        return Kernel::open(&entry, true);
    }
    let _lock = cache.lock(&format!("kernel-{hash}"), &format!("kernel {}", &hash[..7]))?;
    // Whoever we waited for has built it, as like as not.
    if let Some(entry) = cache.find(Kind::Kernel, hash) {
        return Kernel::open(&entry, true);
    }
    build::build(recipe, &prepared, cache).map_err(|error| other_base(error, recipe, &prepared.sources))?;
    Kernel::open(&cache.place(Kind::Kernel, hash), false)
}

/// Brings a recipe's build folder to its state, lets `change` change something in the source there, and says how long
/// make alone then takes. Makes no entry.
///
/// # Errors
/// As a build's.
pub(crate) fn time_make(
    recipe: &Recipe,
    cache: &Cache,
    change: impl FnOnce(&Path) -> Result<(), CacheError>,
) -> Result<Duration, KernelError> {
    let prepared = prepare(recipe, cache)?;
    build::in_slot(recipe, &prepared, "bench", cache, |slot| {
        change(&slot.source)?;
        let start = Instant::now();
        slot.make(recipe, &prepared, cache)?;
        Ok(start.elapsed())
    })
}

/// A recipe with its files read and its source at hand.
struct Prepared {
    loaded: Loaded,
    toolchain: Toolchain,
    /// The versions of its programs.
    identity: String,
    sources: Sources,
    /// Of everything that shapes the kernel.
    hash: String,
    /// The build folder's name.
    slot: String,
}

fn prepare(recipe: &Recipe, cache: &Cache) -> Result<Prepared, KernelError> {
    // What is cheap to find wrong comes first: nobody should wait for a download to learn of a typo.
    let mut loaded = recipe.load()?;
    let toolchain = Toolchain::find(&recipe.compiler, cache);
    // Programs take their time to start; the source's files are looked at meanwhile.
    let (identity, sources) = thread::scope(|scope| {
        let identity = scope.spawn(|| toolchain.identity());
        let sources = recipe.source.resolve(cache);
        (identity.join().unwrap_or_default(), sources)
    });
    let sources = sources?;
    loaded.complete(recipe, &sources)?;
    let hash = loaded.hash(&sources, &identity);
    let slot = recipe.slot(&sources, &identity);
    Ok(Prepared { loaded, toolchain, identity, sources, hash, slot })
}

/// A series that is made for another version is most often why it does not apply.
fn other_base(error: KernelError, recipe: &Recipe, sources: &Sources) -> KernelError {
    let KernelError::Patch(error @ patch::PatchError::Rejected { .. }) = error else { return error };
    let Patches::Folder(folder) = &recipe.series else { return error.into() };
    let made_for = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_version = made_for.split('.').all(|part| part.parse::<u32>().is_ok());
    if !is_version || made_for == sources.series() {
        return error.into();
    }
    KernelError::OtherBase { error: Box::new(error), made_for, version: sources.version.clone() }
}

#[cfg(test)]
#[path = "kernel_test.rs"]
pub(crate) mod tests;
