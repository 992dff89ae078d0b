//! Kernel modules, built from a folder by the kernel's own build system (`obj-m`).
//!
//! The folder is copied first, so that it stays as it is, together with what its files name outside of it
//! ([`Around`]).

use crate::{
    around::Around,
    kept::{self, EXPORTS, FOLDER, Keeper, Manifest, WHOLE, open},
    makefile,
    preflight::{self, Facts},
};
use base::{
    cache::{self, Cache, CacheError, Fault, Kind},
    kbuild,
};
use jail::{Budget, Limits, Refused, Sandbox, intake};
use kernel::{
    BuildFailed, Kernel,
    diagnose::{self, Places},
    run,
    sources::hex,
    toolchain::{Missing, Toolchain},
    tree::{Share, Tree},
};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};
use thiserror::Error;

/// Part of every hash, as with kernels.
const FORMAT: &str = "module 6";
/// So often a folder is read that is written to meanwhile.
const TRIES: usize = 5;

/// Why there is no module.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// No folder.
    #[error("build the module in {}: {}", .0.display(), if .0.exists() { "it is not a folder" } else { "there is no such folder" })]
    NoFolder(PathBuf),
    /// Nothing tells the kernel's build system what to build.
    #[error(
        "build the module in {}: it has neither a Makefile nor a Kbuild; \
         a Makefile for hello.c holds the line: obj-m := hello.o",
        .0.display()
    )]
    NoMakefile(PathBuf),
    /// It is written to all the time.
    #[error(
        "build the module in {}: its files changed each time while they were copied; wait until nobody writes to them",
        .0.display()
    )]
    Changing(PathBuf),
    /// Rust, in a kernel that has none.
    #[error(
        "build the module in {}: it is in Rust, and kernel {release} was built without; install what that takes (`vmm doctor` \
         says what is missing), and the kernel is built anew with it",
        folder.display()
    )]
    NoRust {
        /// The folder.
        folder: PathBuf,
        /// The kernel.
        release: String,
    },
    /// There is one that only an outer make reads.
    #[error("build the module in {}: {}", folder.display(), kbuild::advice(folder, name))]
    OtherName {
        /// The folder.
        folder: PathBuf,
        /// `makefile` or `GNUmakefile`.
        name: &'static str,
    },
    /// The makefile names no module.
    #[error(
        "build the module in {}: {} names no module; \
         for hello.c it needs the line: obj-m := hello.o",
        folder.display(),
        makefile
    )]
    NoModule {
        /// The folder.
        folder: PathBuf,
        /// `Makefile` or `Kbuild`.
        makefile: &'static str,
    },
    /// make was content, yet there is nothing.
    #[error(
        "build the module in {}: make went well but made no .ko; see that obj-m in {makefile} is set \
         when the kernel's build system reads it; the whole output is in {}",
        folder.display(),
        log.display()
    )]
    NoProduct {
        /// The folder.
        folder: PathBuf,
        /// `Makefile` or `Kbuild`.
        makefile: &'static str,
        /// What make said.
        log: PathBuf,
    },
    /// What make made can't be taken.
    #[error("build the module in {}: what make made can't be kept: failed to {why}", folder.display())]
    Product {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        why: Refused,
    },
    /// A kernel from elsewhere, without what its modules are built by.
    #[error("build a module for {release}: {} is not there; install its headers (linux-headers-{release})", build.display())]
    NoHeaders {
        /// The kernel.
        release: String,
        /// Where they were looked for.
        build: PathBuf,
    },
    /// The compiler, or make, says no.
    #[error(transparent)]
    Build(#[from] BuildFailed),
    /// Programs are missing.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The file system, or Ctrl-C.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl ModuleError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoFolder(_) | Self::Changing(_) => Fault::Input,
            Self::NoMakefile(_)
            | Self::OtherName { .. }
            | Self::NoRust { .. }
            | Self::NoModule { .. }
            | Self::NoProduct { .. }
            | Self::Product { .. }
            | Self::Build(_) => Fault::Build,
            Self::Missing(_) | Self::NoHeaders { .. } => Fault::Machine,
            Self::Cache(error) => error.fault(),
        }
    }
}

/// A module that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The file's name without `.ko`. The kernel itself shows `-` as `_`.
    pub name: String,
    /// The file for a guest, without debug info, which is most of a module's bytes.
    pub ko: PathBuf,
    /// As it was built.
    pub whole: PathBuf,
    /// What the compiler warned of while the folder was built; the same for all modules of a folder.
    pub warnings: Vec<String>,
    /// It was there already.
    pub cached: bool,
}

/// The modules of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Sorted by name.
    pub modules: Vec<Module>,
    /// The table of the symbols that they export (`Module.symvers`), if they export any.
    pub exports: Option<PathBuf>,
}

/// What is wrong with a folder whatever kernel it is for: so that nobody waits for a kernel to hear of it.
///
/// # Errors
/// See [`ModuleError`].
pub fn look(folder: &Path) -> Result<(), ModuleError> {
    looked(folder).map(drop)
}

pub(crate) fn looked(shown: &Path) -> Result<(PathBuf, &'static str, Tree), ModuleError> {
    let folder = fs::canonicalize(shown).ok().filter(|it| it.is_dir());
    let folder = folder.ok_or_else(|| ModuleError::NoFolder(shown.into()))?;
    let makefile = makefile(shown)?;
    let tree = Tree::scan(&folder, Limits::MODULE)?;
    Ok((folder, makefile, tree))
}

/// Finds the modules of a folder in the cache, or builds them for this kernel. They may use symbols of `others`, which are
/// tables of exports ([`Built::exports`]).
///
/// # Errors
/// See [`ModuleError`]; no error leaves an entry, or part of one.
pub fn build(
    folder: &Path,
    others: &[PathBuf],
    kernel: &Kernel,
    cache: &Cache,
) -> Result<Built, ModuleError> {
    for _ in 0..TRIES {
        if let Some(built) = try_to_build(folder, others, kernel, cache)? {
            return Ok(built);
        }
    }
    Err(ModuleError::Changing(folder.to_owned()))
}

/// `None`: somebody wrote to the folder since its files were read, and what was copied is something else.
fn try_to_build(
    shown: &Path,
    others: &[PathBuf],
    kernel: &Kernel,
    cache: &Cache,
) -> Result<Option<Built>, ModuleError> {
    let (folder, makefile, tree) = looked(shown)?;
    let folder = &folder;
    let around = Around::find(folder, &tree)?;
    let outside = |file: &Path| around.root.join(file);
    let hash =
        content_hash(&Content { folder, tree: &tree, around: &around, outside: &outside }, others, kernel)?;
    if let Some(entry) = cache.find(Kind::Module, &hash)
        && let Some(built) = open(&entry, shown, true)
    {
        return Ok(Some(built));
    }
    let name = work_name(folder, kernel);
    let lock = cache.lock(&name, &format!("the modules in {}", shown.display()))?;
    if let Some(entry) = cache.find(Kind::Module, &hash) {
        match open(&entry, shown, true) {
            Some(built) => return Ok(Some(built)),
            // Somebody has been at the entry; it is only a copy.
            None => cache::remove(&entry)?,
        }
    }
    let work = cache.work(&name);
    let result = Work {
        root: &work,
        folder: shown,
        around: &around,
        inside: around.inside(folder),
        makefile,
        others,
        cache,
        hash: &hash,
    }
    .build(&tree, kernel, &lock);
    // The next build begins from nothing, and what a hostile makefile wrote may be a gigabyte.
    let removed = cache::remove(&work);
    let is_what_was_read = result?;
    removed?;
    if !is_what_was_read {
        return Ok(None);
    }
    let entry = cache.place(Kind::Module, &hash);
    let built = open(&entry, shown, false).ok_or_else(|| {
        CacheError::io("read", &entry)(std::io::Error::other("the modules just built are gone"))
    })?;
    Ok(Some(built))
}

/// One build.
struct Work<'a> {
    root: &'a Path,
    /// As the user gave it.
    folder: &'a Path,
    around: &'a Around,
    /// The folder's place in its surroundings.
    inside: PathBuf,
    makefile: &'static str,
    others: &'a [PathBuf],
    cache: &'a Cache,
    hash: &'a str,
}

impl Work<'_> {
    /// `false`: what was copied is not what the hash is of, and nothing is built.
    fn build(&self, tree: &Tree, kernel: &Kernel, lock: &cache::Lock) -> Result<bool, ModuleError> {
        // From nothing: a compiler warns of what it compiles, and the report is to have the warnings of all files.
        // ccache keeps that short.
        cache::remove(self.root)?;
        let surroundings = self.root.join("source");
        // No slash at the end where it is the same folder.
        let copy: PathBuf = surroundings.join(&self.inside).components().collect();
        fs::create_dir_all(&copy).map_err(CacheError::io("make the folder", &copy))?;
        tree.mirror(&copy, Share::Nothing, &BTreeSet::new(), &self.root.join("source.json"))?;
        self.around.copy(&surroundings)?;
        let outside = |file: &Path| Around::copied(&surroundings, file);
        let copied = Content { folder: &copy, tree, around: self.around, outside: &outside };
        if content_hash(&copied, self.others, kernel)? != self.hash {
            return Ok(false);
        }
        if !kernel.build.join("Makefile").exists() {
            let build = fs::read_link(&kernel.build).unwrap_or_else(|_| kernel.build.clone());
            return Err(ModuleError::NoHeaders { release: kernel.release.clone(), build });
        }
        let log = self.cache.log(&format!("module-{}", self.hash));
        fs::write(&log, "").map_err(CacheError::io("write the log", &log))?;
        let toolchain = Toolchain::find(&kernel.compiler, self.cache).without_ccache();
        toolchain.check()?;
        let sandbox = self.sandbox(kernel)?;
        let mut make = run::boxed(&sandbox, "make");
        // Where it really is: a distribution's has links beside it, which lead nowhere from where it is only shown.
        let home = fs::canonicalize(&kernel.build).unwrap_or_else(|_| kernel.build.clone());
        make.arg("-C").arg(home).arg(format!("M={}", copy.display()));
        toolchain.apply(&mut make);
        if !self.others.is_empty() {
            // Documentation/kbuild/modules.rst, section 6.3. The cache's paths have no blanks, but for its own.
            let tables: Vec<_> = self.others.iter().map(|table| table.display().to_string()).collect();
            make.arg(format!("KBUILD_EXTRA_SYMBOLS={}", tables.join(" ")));
        }
        make.args(makefile::with_debug_info(makefile::outer_variables(&copy, self.root, &sandbox, &log)?));
        // Makefiles ask PWD where they are: what an author's own make was started in.
        make.arg(format!("-j{}", sandbox.budget.jobs())).args(run::together()).arg("modules");
        make.current_dir(&copy).env("PWD", &copy);
        let ran = run::run_in(&sandbox, make, &log, Some(lock), |_| ())?;
        let source = kernel.build.with_file_name("source");
        let headers = source.join("include");
        let above = above(self.folder, &self.inside, &self.around.root);
        let context = |folder: &Path| diagnose::Context {
            places: Places::of_module(&copy, folder)
                .and_own(&surroundings, &above)
                .and(&source, Path::new("")),
            release: &kernel.release,
            headers: Some(&headers),
            source: None,
        };
        if !ran.status.success() {
            if diagnose::is_disk_full(&ran.lines) && CacheError::is_full(&copy) {
                return Err(CacheError::disk_full(copy).into());
            }
            let what = format!("build the module in {}", self.folder.display());
            let failed = BuildFailed::new(what, &ran, &context(self.folder), &log);
            let first = failed.first.as_ref().and_then(|first| first.lines.first());
            if ended_at_rust(tree, &ran.lines, first) && !has_rust(kernel) {
                let (folder, release) = (self.folder.to_owned(), kernel.release.clone());
                return Err(ModuleError::NoRust { folder, release });
            }
            return Err(failed
                .explained(|names| preflight::undefined(names, &copy, tree, &Facts::of(kernel), self.cache))
                .advised(makefile::old_flags(&copy, self.folder, &kernel.release))
                .into());
        }
        let keeper = Keeper { shown: self.folder, root: self.root, copy: &copy, disk: sandbox.budget.disk };
        let built = keeper.modules()?;
        if built.is_empty() {
            let (folder, makefile) = (self.folder.to_owned(), self.makefile);
            let names_one = intake::read_text(&copy.join(makefile)).is_ok_and(|text| text.contains("obj-"));
            return Err(match names_one {
                true => ModuleError::NoProduct { folder, makefile, log },
                false => ModuleError::NoModule { folder, makefile },
            });
        }
        let stage = self.cache.stage()?;
        let whole = stage.path().join(WHOLE);
        fs::create_dir(&whole).map_err(CacheError::io("make the folder", &whole))?;
        keeper.keep(&built, &whole)?;
        // Who has no strip has large modules.
        let mut strip = run::boxed(&sandbox, "strip");
        strip.arg("--strip-debug").args(&built).current_dir(&copy);
        run::run_in(&sandbox, strip, &log, Some(lock), |_| ())?;
        keeper.keep(&built, stage.path())?;
        let mut modules: Vec<String> = built.iter().map(|ko| kept::name(ko)).collect();
        modules.sort();
        let exports = copy.join(EXPORTS);
        // A link would be the author's, not modpost's.
        if fs::symlink_metadata(&exports).is_ok_and(|meta| meta.is_file()) {
            keeper.keep(&[exports], stage.path())?;
        }
        let mut warnings = diagnose::warnings(&ran.lines, &context(Path::new(FOLDER)));
        warnings.extend(makefile::old_flags(&copy, Path::new(FOLDER), &kernel.release));
        let path = stage.path().join("modules.json");
        let text = serde_json::to_vec(&Manifest { modules, warnings })
            .map_err(|error| CacheError::io("write", &path)(error.into()))?;
        fs::write(&path, text).map_err(CacheError::io("write", &path))?;
        stage.commit(&self.cache.place(Kind::Module, self.hash))?;
        Ok(true)
    }
}

impl Work<'_> {
    /// What the build sees: the kernel, and the tables of others; what it may write: its copy, which begins from nothing
    /// each time.
    fn sandbox(&self, kernel: &Kernel) -> Result<Sandbox, CacheError> {
        let sandbox = kernel.sandbox(self.root, Budget::MODULE, self.cache)?;
        Ok(self.others.iter().fold(sandbox, Sandbox::read))
    }
}

/// Whether a build ended at a file in Rust: make names the object that it could not make, and the first error is none in a line of another
/// file, `a.c:1:2: error: ...`. What keeps rustc from compiling for a kernel has no place.
fn ended_at_rust(tree: &Tree, said: &[String], first: Option<&String>) -> bool {
    let line_number = first.and_then(|first| first.split(':').nth(1));
    let ends = || said.iter().filter(|line| line.starts_with("make") && line.contains("***"));
    let is_named = |object: PathBuf| {
        let name = object.file_name().unwrap_or_default();
        ends().any(|line| line.split([' ', '/', '\'', ']']).any(|word| name == word))
    };
    line_number.is_none_or(|number| number.parse::<u32>().is_err())
        && tree
            .paths()
            .any(|it| it.extension().is_some_and(|it| it == "rs") && is_named(it.with_extension("o")))
}

/// Whether a kernel was built with Rust, as far as its configuration tells.
fn has_rust(kernel: &Kernel) -> bool {
    let config = fs::read_to_string(&kernel.config).unwrap_or_default();
    kernel::config::values(&config).get("RUST") == Some(&"y")
}

/// A folder's surroundings, as people know the folder.
fn above(shown: &Path, inside: &Path, root: &Path) -> PathBuf {
    let up = inside.components().count();
    let named = shown.components().all(|part| matches!(part, Component::Normal(_)));
    match shown.ancestors().nth(up) {
        Some(above) if named && shown.components().count() >= up => above.to_owned(),
        _ => root.to_owned(),
    }
}

fn makefile(folder: &Path) -> Result<&'static str, ModuleError> {
    kbuild::READ.into_iter().find(|name| folder.join(name).is_file()).ok_or_else(|| {
        match kbuild::misnamed(folder) {
            Some(name) => ModuleError::OtherName { folder: folder.to_owned(), name },
            None => ModuleError::NoMakefile(folder.to_owned()),
        }
    })
}

/// What is built, where it is or where it was copied to.
struct Content<'a> {
    folder: &'a Path,
    tree: &'a Tree,
    around: &'a Around,
    /// Where a file outside of the folder is.
    outside: &'a dyn Fn(&Path) -> PathBuf,
}

/// Modules are small: their content is read, so that a touched file is not a change.
fn content_hash(content: &Content<'_>, others: &[PathBuf], kernel: &Kernel) -> Result<String, CacheError> {
    let limits = Limits::MODULE.wanted()?;
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    };
    add(FORMAT.as_bytes());
    add(kernel.hash.as_bytes());
    for (path, link) in content.tree.files() {
        let name = path.as_os_str().as_encoded_bytes();
        match link {
            // What it leads to is there by its own name, or, as a product of builds, not at all. No path holds such a byte.
            Some(target) => {
                add(&[name, b"\0"].concat());
                add(target.as_os_str().as_encoded_bytes());
            }
            None => {
                add(name);
                add(&intake::read(&content.folder.join(path), limits.file)?);
            }
        }
    }
    for path in &content.around.files {
        add(path.as_os_str().as_encoded_bytes());
        add(&intake::read(&(content.outside)(path), limits.file)?);
    }
    for table in others {
        add(&fs::read(table).map_err(CacheError::io("read", table))?);
    }
    Ok(hex(digest.finalize())[..16].to_owned())
}

/// One work folder for a folder and a kernel: ccache knows files by their paths below `work`.
fn work_name(folder: &Path, kernel: &Kernel) -> String {
    let all = format!("{}\n{}", folder.display(), kernel.hash);
    format!("module-{}", &hex(Sha256::digest(all))[..12])
}

#[cfg(test)]
#[path = "build_test.rs"]
mod tests;
