//! A kernel that is ready, and the way to it: found in the cache, or built.

use crate::{
    Compiler, Fit, KernelError, Manifest, Patches, Recipe, build, fit, foreign, offsets, patch,
    recipe::Loaded,
    sources::Sources,
    store,
    symbols::{Symbols, SymbolsError},
    syscall_table::SyscallTable,
    toolchain::Toolchain,
    wanted,
};
use base::cache::{Cache, CacheError, Kind};
use board::wire::Announce;
use jail::{Budget, Limits, Sandbox, intake};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

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
    /// A box in which something is built for this kernel, below `folder`.
    ///
    /// # Errors
    /// As [`Sandbox::new`].
    pub fn sandbox(&self, folder: &Path, budget: Budget, cache: &Cache) -> Result<Sandbox, CacheError> {
        // By its name, and by where that leads: its makefiles name its source by an absolute path.
        let names = std::iter::once(self.build.clone()).chain(fs::canonicalize(&self.build).ok());
        let kernels = names.flat_map(|build| [build.with_file_name("source"), build]);
        let all = kernels.chain([cache.root().join("tools")]);
        Ok(all.fold(Sandbox::new(budget)?.write(folder), Sandbox::read))
    }

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
        manifest.check().map_err(|why| damaged(format!("kernel.json: {why}")))?;
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

/// The cache's key of the kernel that was asked for, without building it. A source that is not here is fetched.
///
/// # Errors
/// See [`KernelError`].
pub fn hash(meant: &wanted::Meant, cache: &Cache) -> Result<String, KernelError> {
    match meant {
        wanted::Meant::Recipe(recipe) => Ok(prepare(recipe, cache)?.hash),
        wanted::Meant::Built(entry) => {
            Ok(entry.file_name().unwrap_or_default().to_string_lossy().into_owned())
        }
        wanted::Meant::Foreign { image, modules } => {
            Ok(foreign::import(image, modules.as_deref(), cache)?.hash)
        }
    }
}

/// What is here of a kernel that was asked for.
#[derive(Clone, Debug)]
pub enum Found {
    /// All of it.
    Kernel(Box<Kernel>),
    /// It was not built yet, or not of what its source is now.
    NotBuilt,
    /// Its source is not here, without which nobody knows whether it was built.
    NoSource,
}

/// Looks for the kernel that was asked for in the cache, or among the files of others'; no source is fetched or unpacked, and nothing is built.
///
/// # Errors
/// See [`KernelError`].
pub fn found(meant: &wanted::Meant, cache: &Cache) -> Result<Found, KernelError> {
    let here = |kernel| Found::Kernel(Box::new(kernel));
    let wanted::Meant::Recipe(recipe) = meant else { return get(meant, cache).map(here) };
    recipe.load()?;
    if !recipe.source.is_here(cache)? {
        return Ok(Found::NoSource);
    }
    match cache.find(Kind::Kernel, &prepare(recipe, cache)?.hash) {
        Some(entry) => Kernel::open(&entry, true).map(here),
        None => Ok(Found::NotBuilt),
    }
}

/// The name of the build folder in which the kernel that was asked for is built, in the cache's `work`; `None` for one that is not built
/// here.
///
/// # Errors
/// See [`KernelError`].
pub fn slot(meant: &wanted::Meant, cache: &Cache) -> Result<Option<String>, KernelError> {
    match meant {
        wanted::Meant::Recipe(recipe) => Ok(Some(prepare(recipe, cache)?.slot)),
        wanted::Meant::Built(_) | wanted::Meant::Foreign { .. } => Ok(None),
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

/// The folder of a recipe's source, brought into the cache if it is not here: without patches.
///
/// # Errors
/// It can't be had.
pub fn source(recipe: &Recipe, cache: &Cache) -> Result<PathBuf, KernelError> {
    Ok(recipe.source.resolve(cache)?.folder)
}

/// A file of a source; `None` if it is not there.
pub type Original = Option<Vec<u8>>;

/// The series of a recipe, and files of its source as its patches leave them.
///
/// # Errors
/// As a build's, as far as one gets without building.
pub fn patched(
    recipe: &Recipe,
    cache: &Cache,
    files: &[&str],
) -> Result<(patch::Series, Vec<Original>), KernelError> {
    let Prepared { loaded, sources, .. } = prepare(recipe, cache)?;
    let scratch = cache.stage()?;
    let log = cache.log("patched");
    let touched = loaded.series.apply(&sources.folder, scratch.path(), &log)?;
    let longest = Limits::KERNEL.wanted().map_err(CacheError::from)?.file;
    let read = |file: &&str| {
        let folder = if touched.contains(Path::new(file)) { scratch.path() } else { &sources.folder };
        let path = patch::file_below(folder, Path::new(file))?;
        Ok(path.map(|path| intake::read(&path, longest)).transpose().map_err(CacheError::from)?)
    };
    let files = files.iter().map(read).collect::<Result<_, KernelError>>()?;
    Ok((loaded.series, files))
}

/// Brings a recipe's build folder to its state, lets `change` change something in the source there, and says how long
/// make alone then takes. Makes no entry.
///
/// # Errors
/// As a build's.
pub fn time_make(
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

/// Brings a recipe's build folder to its state, so that a build of something close to it is short. Makes no entry.
///
/// # Errors
/// As a build's.
pub fn ready(recipe: &Recipe, cache: &Cache) -> Result<(), KernelError> {
    time_make(recipe, cache, |_| Ok(())).map(drop)
}

/// A recipe with its files read and its source at hand.
pub(crate) struct Prepared {
    pub loaded: Loaded,
    pub toolchain: Toolchain,
    /// The versions of its programs.
    pub identity: String,
    pub sources: Sources,
    /// Of everything that shapes the kernel.
    pub hash: String,
    /// The build folder's name.
    pub slot: String,
}

/// Reads a recipe and brings its source.
pub(crate) fn prepare(recipe: &Recipe, cache: &Cache) -> Result<Prepared, KernelError> {
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
    let (toolchain, identity) = match by_series(recipe, &sources)? {
        Some(compiler) => {
            let toolchain = Toolchain::find(&compiler, cache);
            let identity = toolchain.identity();
            (toolchain, identity)
        }
        None => (toolchain, identity),
    };
    loaded.complete(recipe, &sources)?;
    let hash = loaded.hash(&sources, &identity);
    let slot = recipe.slot(&sources, &identity);
    Ok(Prepared { loaded, toolchain, identity, sources, hash, slot })
}

/// The compiler that the series of the source's version asks for, if it is another one than the recipe's. Nobody asks for gcc: it is what there
/// is where nothing was said.
fn by_series(recipe: &Recipe, sources: &Sources) -> Result<Option<Compiler>, KernelError> {
    let (Patches::Matching(all), Compiler::Gcc) = (&recipe.series, &recipe.compiler) else { return Ok(None) };
    let Some(folder) = wanted::of_series(all, &sources.series()) else { return Ok(None) };
    Ok(Some(wanted::compiler_of(&folder)?).filter(|compiler| *compiler != recipe.compiler))
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
