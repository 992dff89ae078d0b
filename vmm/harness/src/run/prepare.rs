//! What has to be there before a machine can boot: kernel, modules, image, and the plan.

use super::{
    Abort,
    home::Home,
    modules::{self, Modules},
};
use crate::{
    cache::{Cache, CacheError, Kind, Stage},
    depmod,
    image::{self, GuestFile, GuestModule, Image, ImageError},
    judge::{self, Build, Names},
    kernel::{self, Fault, Kernel, Recipe},
    lower::{self, SyscallNames},
    plan::Plan,
    preflight::Facts,
    scenario::model::{Action, ModuleKind, Scenario, Step},
    symbols::Symbols,
    syscall_table::SyscallTable,
};
use board::wire::{LANDMARKS, Spec};
use protocol::Door;
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The series that `vmm run` builds.
const SERIES: &str = "6.12";

/// The folder that makes a project one.
const PATCHES: &str = "kernel-patches";

/// Everything for one run.
pub(super) struct Prepared {
    pub plan: Plan,
    pub kernel: judge::Kernel,
    pub names: Names,
    /// Where the modules come from.
    pub builds: Vec<Build>,
    /// How long it took to look at them.
    pub preflight: Duration,
    /// Holds the initramfs that the plan names; dropped, it is gone.
    pub stage: Stage,
}

/// A kernel, and how long it took.
pub(super) struct Built {
    kernel: Kernel,
    took: Duration,
}

/// Builds or finds the kernel that a scenario asks for.
pub(super) fn kernel(scenario: &Scenario, cache: &Cache) -> Result<Built, Abort> {
    if let Some(asked) = &scenario.kernel
        && asked != SERIES
    {
        return Err(Abort::Input(format!(
            "{}: there is no kernel `{asked}` to run it on (known: {SERIES})",
            scenario.path.display()
        )));
    }
    let start = Instant::now();
    let recipe = Recipe::standard(&project(&scenario.path)?);
    let kernel = kernel::ensure(&recipe, cache).map_err(|error| Abort::fault(&error, error.fault()))?;
    Ok(Built { kernel, took: start.elapsed() })
}

/// The kernel of this series, or of the cache's entry whose hash begins so; by default, the one that scenarios
/// run on. `near` is a file or folder of the project.
pub(super) fn kernel_named(asked: Option<&str>, near: &Path, cache: &Cache) -> Result<Kernel, Abort> {
    let fault = |error: kernel::KernelError| Abort::fault(&error, error.fault());
    if let Some(asked) = asked.filter(|asked| *asked != SERIES) {
        let keys = cache.keys(Kind::Kernel)?;
        let found = keys.iter().filter(|key| key.starts_with(asked)).collect::<Vec<_>>();
        return match found[..] {
            [key] => Kernel::open(&cache.place(Kind::Kernel, key), true).map_err(fault),
            _ => Err(Abort::Input(format!(
                "there is no kernel `{asked}`; known are the series {SERIES} and these kernels of the cache, by \
                 their hash or its beginning: {}",
                if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
            ))),
        };
    }
    let recipe = Recipe::standard(&project(near)?);
    kernel::ensure(&recipe, cache).map_err(fault)
}

/// The project that a scenario belongs to: the nearest folder above it that holds `kernel-patches`, or else
/// above the current folder, or above this program.
fn project(scenario: &Path) -> Result<PathBuf, Abort> {
    let places = [fs::canonicalize(scenario).ok(), env::current_dir().ok(), env::current_exe().ok()];
    let above =
        |place: &PathBuf| place.ancestors().find(|path| path.join(PATCHES).is_dir()).map(Path::to_owned);
    places.iter().flatten().find_map(above).ok_or_else(|| {
        Abort::Input(format!(
            "{}: there is no folder `{PATCHES}` in any folder above it or above the current one; run vmm in a \
             checkout of the project",
            scenario.display()
        ))
    })
}

/// Modules, image and plan.
pub(super) fn the_rest(
    scenario: &Scenario,
    built: Built,
    trace: Option<&[String]>,
    cache: &Cache,
) -> Result<Prepared, Abort> {
    let Built { kernel, took } = built;
    let calls = Calls(kernel.syscalls.clone());
    // Bad names are found before anything else is built.
    let steps =
        lower::lower(scenario, &calls).map_err(|diagnostics| Abort::Input(diagnostics.to_string()))?;
    let trace = trace.map(|names| numbers(names, &calls)).transpose()?;
    let facts = Facts::of(&kernel);
    modules::needs(scenario, &facts)?;
    let start = Instant::now();
    let Modules { modules, builds, preflight } = modules::prepare(&scenario.modules, &kernel, &facts, cache)?;
    let took = took + start.elapsed();
    let (stage, initramfs) = initramfs(scenario, modules, &kernel, cache)?;
    let symbols = kernel.symbols().map_err(|error| Abort::fault(&error, error.fault()))?;
    fits(scenario, &symbols, &initramfs)?;
    let mut landmarks = symbols.landmarks(LANDMARKS);
    landmarks.extend(kernel.offsets(cache));
    let machine = Spec {
        kernel: kernel.boot.clone(),
        initramfs,
        memory_mib: scenario.machine.memory_mib,
        vcpus: scenario.machine.vcpus,
        command_line: Vec::new(),
        landmarks,
    };
    let folders = scenario.modules.iter().filter(|source| source.kind == ModuleKind::Folder);
    let home = Home::new(&cache.work("module-"), folders.map(|source| source.path.clone()).collect());
    let names = Names {
        syscall: Box::new(move |nr| calls.name(nr).map(str::to_owned)),
        symbol: Box::new(move |address| {
            symbols.function(address).map(|(name, offset)| format!("{name}+{offset:#x}"))
        }),
        at_home: Box::new(move |line| home.line(line)),
    };
    Ok(Prepared {
        plan: Plan { machine, boot_timeout: scenario.boot_timeout, steps, trap: true, trace },
        kernel: judge::Kernel {
            release: Some(kernel.release),
            hash: kernel.hash,
            cached: kernel.cached,
            build: took,
        },
        names,
        builds,
        preflight,
        stage,
    })
}

/// The numbers of the calls that `--trace` names.
fn numbers(names: &[String], calls: &Calls) -> Result<Vec<u64>, Abort> {
    let number = |name: &String| {
        calls.number(name).or_else(|| name.parse().ok()).ok_or_else(|| {
            let nearest = suggestion(name, calls);
            Abort::Input(format!("--trace: this kernel has no system call named `{name}`{nearest}"))
        })
    };
    names.iter().map(number).collect()
}

fn suggestion(name: &str, calls: &Calls) -> String {
    let nearest = crate::diagnostic::nearest(name, calls.all());
    nearest.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"))
}

fn initramfs(
    scenario: &Scenario,
    modules: Vec<GuestModule>,
    kernel: &Kernel,
    cache: &Cache,
) -> Result<(Stage, PathBuf), Abort> {
    let mut files = Vec::new();
    for file in &scenario.files {
        let cant_read = |error| {
            let (scenario, line) = (scenario.path.display(), file.line);
            Abort::Input(format!("{scenario}:{line}: failed to read {}: {error}", file.host.display()))
        };
        let bytes = fs::read(&file.host).map_err(cant_read)?;
        let mode = fs::metadata(&file.host).map_err(cant_read)?.permissions().mode() & 0o7777;
        files.push(GuestFile { path: file.guest.clone(), mode, bytes });
    }
    // In the cache: what a killed process leaves there is swept.
    let stage = cache.stage()?;
    // Two megabytes that a guest without programs need not unpack.
    let autoload = scenario.autoload;
    let program = |step: &Step| {
        matches!(step.action, Action::Run { .. } | Action::Modprobe { .. } | Action::Modinfo { .. })
    };
    let busybox = autoload || scenario.steps.iter().any(program);
    let mut release = None;
    if busybox && !modules.is_empty() {
        let index = depmod::index(&modules, &kernel.release, &kernel.build, stage.path())
            .map_err(|error| Abort::fault(&error, Fault::Machine))?;
        // A scenario's own file goes first.
        let own: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        files.extend(index.into_iter().filter(|file| !own.contains(&file.path)));
        release = Some(kernel.release.clone());
    }
    let image = Image { modules, files, busybox, release, autoload };
    let bytes = image::assemble(&image).map_err(|error| match error {
        // Only what a scenario brings can be there twice, or have no proper path.
        ImageError::Archive(error) => Abort::Input(format!(
            "{}: `files` and `modules` can't be put into the guest: {error}",
            scenario.path.display()
        )),
        error => Abort::fault(&error, Fault::Machine),
    })?;
    let path = stage.path().join("initramfs");
    fs::write(&path, bytes).map_err(CacheError::io("write", &path))?;
    Ok((stage, path))
}

/// Whether the guest can unpack its image: it holds it twice for a moment, behind the kernel.
fn fits(scenario: &Scenario, symbols: &Symbols, initramfs: &Path) -> Result<(), Abort> {
    const MIB: u64 = 1 << 20;
    /// The kernel's text and data begin at physical address 0 as far as their symbols are concerned.
    const START: u64 = 0xffff_ffff_8000_0000;
    let kernel = symbols.address("_end").and_then(|end| end.checked_sub(START)).unwrap_or(32 * MIB);
    let image = fs::metadata(initramfs).map_err(CacheError::io("read", initramfs))?.len();
    // The kernel's own data structures need some, too.
    let needed = (kernel + 2 * image).div_ceil(MIB) + 8;
    let has = u64::from(scenario.machine.memory_mib);
    if needed <= has {
        return Ok(());
    }
    Err(Abort::Input(format!(
        "{}: a machine with {has} MiB of memory is too small: the kernel, and modules and files of {} MiB which it unpacks, \
         need {needed} MiB; write `machine: {{memory: {needed} MiB}}` or more",
        scenario.path.display(),
        image.div_ceil(MIB)
    )))
}

/// The kernel's own table, as the language asks for it.
struct Calls(SyscallTable);

impl SyscallNames for Calls {
    fn number(&self, name: &str) -> Option<u64> {
        self.0.number(Door::Syscall64, name)
    }

    fn name(&self, nr: u64) -> Option<&str> {
        self.0.name(Door::Syscall64, nr)
    }

    fn all(&self) -> Vec<&str> {
        self.0.names(Door::Syscall64).collect()
    }
}
