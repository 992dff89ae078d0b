//! Building a kernel with its own build system, in a folder that stays.

use super::{
    Base, BuildFailed, KernelError, Prepared, apart, diagnose, patch, product,
    recipe::{Loaded, Recipe},
    run,
    sources::Sources,
    toolchain::Toolchain,
    tree::{self, Share, Tree},
    unlisted,
};
use base::{
    cache::{self, Cache, CacheError, Kind, Lock},
    progress::{Progress, Total, Unit, note},
};
use jail::{Budget, Limits, Sandbox, intake};
use std::{
    borrow::Cow,
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime},
};

/// What a build from `make tinyconfig` and our fragment has to do, for the first bar that a user sees.
const USUAL_STEPS: u64 = 1300;

/// The file beside `build` that is written after all that is in there.
const MARK: &str = "ended";

/// A build folder: `source`, patched, and `build`, make's `O=`.
pub(super) struct Slot<'a> {
    pub root: PathBuf,
    pub source: PathBuf,
    /// make's `O=`.
    pub build: PathBuf,
    pub log: PathBuf,
    pub lock: Lock,
    pub toolchain: &'a Toolchain,
    /// The source is read there, and `build` written.
    pub sandbox: Sandbox,
    /// See [`Recipe::apart`].
    apart: bool,
}

/// Brings a recipe's build folder to its state, configured; then does `work` there. `name` is the log's.
///
/// # Errors
/// See [`KernelError`]; a disk that ran full has been relieved of the build folder.
pub(super) fn in_slot<T>(
    recipe: &Recipe,
    prepared: &Prepared,
    name: &str,
    cache: &Cache,
    work: impl FnOnce(&Slot<'_>) -> Result<T, KernelError>,
) -> Result<T, KernelError> {
    let Prepared { loaded, sources, toolchain, slot, .. } = prepared;
    toolchain.check()?;
    if !toolchain.has_ccache() {
        note("ccache is not installed, so compiled objects are not kept from build to build");
    }
    let log = cache.log(name);
    fs::write(&log, "").map_err(CacheError::io("write the log", &log))?;
    let root = cache.work(slot);
    let tools = ["tools", "ccache"].map(|name| cache.root().join(name));
    fs::create_dir_all(&tools[1]).map_err(CacheError::io("make the folder", &tools[1]))?;
    let sandbox = Sandbox::new(Budget::KERNEL).map_err(CacheError::from)?.read(&root).read(&tools[0]);
    let sandbox = if recipe.apart { sandbox.read(&tools[1]) } else { sandbox.share(&tools[1]) };
    let slot = Slot {
        source: root.join("source"),
        sandbox: sandbox.write(root.join("build")),
        build: root.join("build"),
        lock: cache.lock(slot, &format!("a kernel in {}", root.display()))?,
        root,
        log,
        toolchain,
        apart: recipe.apart,
    };
    apart::put_back(&slot.root)?;
    let begin = || {
        slot.outlive_objects()?;
        fs::create_dir_all(&slot.build).map_err(CacheError::io("make the folder", &slot.build))?;
        if recipe.apart { apart::set_aside(&slot.root, &slot.lock, &slot.log) } else { Ok(()) }
    };
    let result = begin().map_err(KernelError::from).and_then(|()| {
        let tree = slot.source(loaded, sources, cache)?;
        slot.configure(recipe, prepared, &tree)?;
        work(&slot)
    });
    drop(slot.mark());
    apart::put_back(&slot.root)?;
    if let Err(KernelError::Cache(CacheError::DiskFull { .. })) = &result
        && !recipe.apart
    {
        // Objects may be cut off, and whoever has to free space should not have to look for ours.
        cache::remove(&slot.root)?;
    }
    result
}

/// Builds a kernel and makes it an entry.
///
/// # Errors
/// See [`KernelError`]. After an error the cache has no trace of the entry.
pub(super) fn build(recipe: &Recipe, prepared: &Prepared, cache: &Cache) -> Result<(), KernelError> {
    let Prepared { loaded, sources, slot: name, hash, .. } = prepared;
    in_slot(recipe, prepared, &format!("kernel-{hash}"), cache, |slot| {
        let started = Instant::now();
        let done = slot.make(recipe, prepared, cache)?;
        let facts = product::Facts {
            source: recipe.source.to_string(),
            version: sources.version.clone(),
            compiler: prepared.toolchain.compiler.clone(),
            steps: done,
            seconds: started.elapsed().as_secs(),
            ingredients: recipe.ingredients(loaded, name),
        };
        for call in unlisted::find(&loaded.series, &slot.source) {
            note(&call);
        }
        let stage = cache.stage()?;
        let place = cache.place(Kind::Kernel, hash);
        product::assemble(&slot.source, &slot.build, stage.path(), &place, &facts)?;
        let installed = cache.stage()?;
        if slot.install_modules(installed.path())? {
            product::keep_modules(installed.path(), stage.path())?;
        }
        Ok(stage.commit(&place)?)
    })
}

impl Slot<'_> {
    /// Writes a file after all that is in the build folder. Returns its time.
    fn mark(&self) -> Result<SystemTime, CacheError> {
        let mark = self.root.join(MARK);
        let time = fs::write(&mark, "\n").and_then(|()| fs::metadata(&mark)?.modified());
        time.map_err(CacheError::io("write", &mark))
    }

    /// Sees to it that all objects are older than what is written from now on, or make would take them for newer than whatever changes.
    fn outlive_objects(&self) -> Result<(), CacheError> {
        fs::create_dir_all(&self.root).map_err(CacheError::io("make the folder", &self.root))?;
        let last = fs::metadata(self.root.join(MARK)).and_then(|meta| meta.modified()).ok();
        let mut now = self.mark()?;
        // Some file systems count whole seconds.
        while last == Some(now) {
            thread::sleep(Duration::from_millis(5));
            now = self.mark()?;
        }
        // The clock was put back.
        if last.is_some_and(|last| now < last) {
            cache::remove(&self.build)?;
        }
        Ok(())
    }

    /// Brings `source` to the state of the recipe. Returns the files that patches were put on.
    fn source<'s>(
        &self,
        loaded: &Loaded,
        sources: &'s Sources,
        cache: &Cache,
    ) -> Result<Cow<'s, Tree>, KernelError> {
        let scratch = cache.stage()?;
        let touched = loaded.series.apply(&sources.folder, scratch.path(), &self.log).map_err(from_patch)?;
        let tree = match &sources.tree {
            Some(tree) => Cow::Borrowed(tree),
            None => Cow::Owned(Tree::scan(&sources.folder, Limits::KERNEL)?),
        };
        let share = if sources.ours { Share::Links } else { Share::Nothing };
        tree.mirror(&self.source, share, &touched, &self.root.join("source.json"))?;
        let longest = Limits::KERNEL.wanted().map_err(CacheError::from)?.file;
        let mut changed = BTreeSet::new();
        for file in &touched {
            let to = self.source.join(file);
            match (patch::file_below(scratch.path(), file)?, fs::read(&to)) {
                (Some(from), Ok(old)) if intake::read(&from, longest).map_err(CacheError::from)? == old => {
                    continue;
                }
                (Some(from), _) => {
                    let parent = to.parent().unwrap_or(&self.source);
                    fs::create_dir_all(parent).map_err(CacheError::io("make the folder", parent))?;
                    tree::copy(&from, &to)?;
                }
                (None, Ok(_)) => fs::remove_file(&to).map_err(CacheError::io("remove", &to))?,
                (None, Err(_)) => continue,
            }
            changed.insert(file.as_path());
        }
        self.forget_objects(&changed, &sources.folder)?;
        Ok(tree)
    }

    /// Removes what was built in folders that patches alone make, where one of these `changed`. What was patched in there before may be
    /// somebody else's, whose objects are not for the next one to read.
    fn forget_objects(&self, changed: &BTreeSet<&Path>, source: &Path) -> Result<(), CacheError> {
        let made = |file: &&Path| {
            // The outermost.
            let above = file.ancestors().skip(1).filter(|above| !source.join(above).is_dir());
            above.last().map(Path::to_owned)
        };
        let folders: BTreeSet<PathBuf> = changed.iter().filter_map(made).collect();
        for folder in folders {
            // Nothing outside of it goes, whatever a makefile has made of what lies on the way.
            if let Ok(objects) = intake::within(&self.build, &folder) {
                cache::remove(&objects)?;
            }
        }
        Ok(())
    }

    /// Builds. Returns how many steps that took.
    pub fn make(&self, recipe: &Recipe, prepared: &Prepared, cache: &Cache) -> Result<u64, KernelError> {
        let sources = &prepared.sources;
        let steps = &cache.work(&format!("{}.steps", prepared.slot));
        // A folder that was built before has an unknown, mostly small part to do again.
        let fresh = !self.build.join("vmlinux").exists();
        let usual = || fs::read_to_string(steps).ok().and_then(|text| text.trim().parse().ok());
        let usual = usual().or_else(|| (recipe.base == Base::Tiny).then_some(USUAL_STEPS));
        let total = usual.filter(|_| fresh).map_or(Total::Unknown, Total::About);
        let progress = Progress::start(&format!("building Linux {}", sources.version), Unit::Objects, total);
        let mut done = 0;
        let make = self.command(&["vmlinux", "modules"]);
        let ran = run::run_in(&self.sandbox, make, &self.log, Some(&self.lock), |line| {
            if is_step(line) {
                done += 1;
                progress.set(done);
            }
        })?;
        drop(progress);
        if !ran.status.success() {
            // People know their own tree; of a package, a path within the kernel says most.
            let folder = if sources.ours { Path::new("") } else { &sources.folder };
            return Err(self.failed("build the kernel", &ran, folder, &sources.version));
        }
        if fresh {
            fs::write(steps, done.to_string()).map_err(CacheError::io("write", steps))?;
        }
        Ok(done)
    }

    /// Installs the kernel's own modules below a folder that has nothing else in it; `false`: it has none.
    fn install_modules(&self, to: &Path) -> Result<bool, KernelError> {
        let order = match intake::read_within(&self.build, "modules.order") {
            Ok(order) => order,
            Err(error) if error.as_io().is_some_and(|it| it.kind() == io::ErrorKind::NotFound) => {
                return Ok(false);
            }
            Err(error) => return Err(CacheError::from(error).into()),
        };
        if order.trim().is_empty() {
            return Ok(false);
        }
        let sandbox = self.sandbox.clone().write(to);
        let to = format!("INSTALL_MOD_PATH={}", to.display());
        let make = self.command_in(&sandbox, &["modules_install", &to]);
        let ran = run::run_in(&sandbox, make, &self.log, Some(&self.lock), |_| ())?;
        match ran.status.success() {
            true => Ok(true),
            false => Err(self.failed("install the kernel's modules", &ran, Path::new(""), "")),
        }
    }

    /// `version` is the kernel's, and may be empty where no compiler ran.
    pub fn failed(&self, what: &'static str, ran: &run::Ran, folder: &Path, version: &str) -> KernelError {
        if diagnose::is_disk_full(&ran.lines) && CacheError::is_full(&self.build) {
            return CacheError::disk_full(self.build.clone()).into();
        }
        let headers = self.source.join("include");
        let context = diagnose::Context {
            places: diagnose::Places::of_kernel(&self.source, folder),
            release: version,
            headers: Some(&headers),
            source: Some(&self.source),
        };
        let unexported = |names: &[String]| {
            let line = |name: &String| {
                format!(
                    "{name}: if the kernel has it, put EXPORT_SYMBOL_GPL({name}); behind it; if not, mend the name"
                )
            };
            names.iter().map(line).collect()
        };
        BuildFailed::new(what, ran, &context, &self.log).explained(unexported).into()
    }

    /// make on the user's own terminal; not ended by Ctrl-C but by itself.
    pub fn plain_command(&self, targets: &[&str]) -> Command {
        let mut make = Command::new("make");
        self.arguments(&mut make);
        make.args(targets).current_dir(&self.root);
        make
    }

    fn arguments(&self, make: &mut Command) {
        make.arg("-C").arg(&self.source).arg(format!("O={}", self.build.display()));
        self.toolchain.apply(make);
    }

    pub fn command(&self, targets: &[&str]) -> Command {
        self.command_in(&self.sandbox, targets)
    }

    pub(super) fn command_in(&self, sandbox: &Sandbox, targets: &[&str]) -> Command {
        let mut make = run::boxed(sandbox, "make");
        self.arguments(&mut make);
        if self.apart {
            // It finds there what others compiled, and leaves nothing (ccache(1)).
            make.env("CCACHE_READONLY", "true").env("CCACHE_NOSTATS", "true");
            make.env("CCACHE_TEMPDIR", sandbox.temporary());
        }
        make.arg(format!("-j{}", sandbox.budget.jobs()))
            .args(run::together())
            .args(targets)
            .current_dir(&self.root);
        make
    }
}

/// kbuild's short lines: `  CC      kernel/fork.o`.
fn is_step(line: &str) -> bool {
    line.strip_prefix("  ").is_some_and(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
}

fn from_patch(error: patch::PatchError) -> KernelError {
    match error {
        patch::PatchError::Cache(error) => error.into(),
        error => error.into(),
    }
}
