//! What has to be there before a machine can boot: kernel, modules, image, and the plan.

use super::{
    checks,
    home::Home,
    known::Known,
    modules::{self, Modules},
    warm,
};
use crate::{Abort, kernel::meant};
use base::{
    cache::{Cache, CacheError, Fault, Stage},
    wanted::Wanted,
};
use board::wire::{Code, FUNCTIONS, GuardOrder, Key, Landmarks, SYMBOLS, Spec};
use judge::{Build, Names};
use kernel::{Fit, Kernel, lines::Lines, symbols::Symbols, syscall_table::SyscallTable};
use module::preflight::Facts;
use plan::{
    Plan, PlanStep, Warm, Watch, depmod,
    image::{self, Assembled, GuestFile, GuestModule, Image, ImageError},
    lower::{self, SyscallNames},
    programs::{self, Programs},
};
use protocol::Door;
use scenario::model::{Action, GuestFileKind, ModuleKind, Place, Scenario, Step, Watchfulness};
use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Everything for one run.
pub(crate) struct Prepared {
    pub plan: Plan,
    pub kernel: judge::Kernel,
    pub names: Box<dyn Names>,
    /// Where the modules come from.
    pub builds: Vec<Build>,
    /// How long it took to look at them.
    pub preflight: Duration,
    /// The saved machine that the plan could start from.
    pub warm: Warm,
    /// Holds the initramfs that the plan names; dropped, it is gone.
    pub stage: Stage,
}

/// A kernel, and how long it took.
pub(crate) struct Built {
    kernel: Kernel,
    took: Duration,
}

impl Built {
    /// Where modules are built for it; `source` in it leads to its source.
    pub fn build(&self) -> &Path {
        &self.kernel.build
    }
}

/// Builds or finds the kernel that a scenario asks for; what the command line says goes before.
pub(crate) fn kernel(scenario: &Scenario, options: &Wanted, cache: &Cache) -> Result<Built, Abort> {
    modules::look(&scenario.modules)?;
    built(scenario, options, cache)
}

/// The same, where modules need not be looked at.
pub(crate) fn built(scenario: &Scenario, options: &Wanted, cache: &Cache) -> Result<Built, Abort> {
    let start = Instant::now();
    let kernel = kernel_wanted(&wanted(scenario, options), &scenario.path, cache)?;
    Ok(Built { kernel, took: start.elapsed() })
}

/// What a scenario asks for; what the command line says goes before.
pub(crate) fn wanted(scenario: &Scenario, options: &Wanted) -> Wanted {
    let folder = scenario.path.parent().unwrap_or(Path::new(""));
    options.clone().or(&scenario.kernel.clone().relative_to(folder))
}

/// The kernel of this series, hash or file; by default, the one that scenarios run on. `near` is a file or folder
/// of the project.
pub(crate) fn kernel_named(asked: Option<&str>, near: &Path, cache: &Cache) -> Result<Kernel, Abort> {
    let wanted = asked.map_or_else(Wanted::default, Wanted::series);
    kernel_wanted(&wanted, near, cache)
}

/// The kernel that is asked for. `near` is a file or folder of the project.
pub(crate) fn kernel_wanted(wanted: &Wanted, near: &Path, cache: &Cache) -> Result<Kernel, Abort> {
    Ok(kernel::get(&meant(wanted, Some(near), cache)?, cache)?)
}

/// What a kernel makes of a scenario, before anything is built for that.
pub(crate) struct Lowered {
    facts: Facts,
    /// Words of the command line.
    checks: Vec<String>,
    calls: Calls,
    steps: Vec<PlanStep>,
    /// The numbers of the calls that are to be told.
    trace: Option<Vec<u64>>,
}

/// What is wrong with a scenario on this kernel as far as that is known without its modules.
pub(crate) fn look(scenario: &Scenario, kernel: &Kernel, trace: Option<&[String]>) -> Result<Lowered, Abort> {
    let facts = Facts::of(kernel);
    let checks = checks::words(&scenario.machine, &facts);
    let calls = Calls {
        table: kernel.syscalls.clone(),
        frees_at_once: !facts.has("KASAN"),
        checks_slabs: !checks.is_empty(),
        // The file is certain in what was looked at: 6.12 and later.
        waits_for_rcu: facts.has("TREE_RCU") && series(&facts.release) >= (6, 12),
    };
    let steps = lowered(scenario, &calls)?;
    let trace = trace.map(|names| numbers(names, &calls)).transpose()?;
    modules::needs(scenario, &facts)?;
    Ok(Lowered { facts, checks, calls, steps, trace })
}

fn lowered(scenario: &Scenario, calls: &Calls) -> Result<Vec<PlanStep>, Abort> {
    lower::lower(scenario, calls).map_err(|diagnostics| Abort::input(diagnostics.to_string()))
}

/// Modules, image and plan.
pub(crate) fn the_rest(
    scenario: &Scenario,
    built: Built,
    trace: Option<&[String]>,
    cache: &Cache,
) -> Result<Prepared, Abort> {
    let Built { kernel, took } = built;
    // Bad names are found before anything else is built.
    let Lowered { facts, checks, calls, steps, trace } = look(scenario, &kernel, trace)?;
    let start = Instant::now();
    let Modules { modules, builds, parameters, preflight } =
        modules::prepare(&scenario.modules, &modules::unwanted(scenario), &kernel, &facts, cache)?;
    modules::named(scenario, &modules)?;
    let by_files = modules::by_file_names(scenario, &modules);
    let steps = by_files.as_ref().map_or(Ok(steps), |scenario| lowered(scenario, &calls))?;
    let took = took + start.elapsed();
    // Who lets the kernel be patched may have probes put into programs as well.
    let watched = guard(scenario.evidence) == Some(GuardOrder { patches: false }) && scenario.count;
    let programs = if watched { programs::run_by(&scenario.steps, &steps) } else { Programs::new() };
    let Files { stage, base, initramfs, luggage, programs } =
        initramfs(scenario, modules, &programs, &kernel, cache)?;
    let Fit { symbols, has_vmlinux, mut notes } =
        kernel.fit().map_err(|error| Abort::fault(&error, error.fault()))?;
    notes.extend(memory_unseen(scenario, &facts));
    fits(scenario, &symbols, &[&initramfs, &luggage])?;
    if scenario.count && guard(scenario.evidence).is_some() {
        known_for_certain(&symbols)?;
    }
    let landmarks = Landmarks {
        symbols: symbols.landmarks(SYMBOLS),
        functions: symbols.bounds(FUNCTIONS),
        layout: kernel.offsets(cache),
    };
    let machine = Spec {
        kernel: kernel.boot.clone(),
        initramfs,
        memory_mib: scenario.machine.memory_mib,
        vcpus: scenario.machine.vcpus,
        command_line: [checks, scenario.machine.command_line.clone()].concat(),
        announce: kernel.announce,
        landmarks,
        start: Default::default(),
        forgets: false,
    };
    let folders = scenario.modules.iter().filter(|source| source.kind == ModuleKind::Folder);
    let home =
        Home::new(&cache.work("module-"), &kernel.build, folders.map(|source| source.path.clone()).collect());
    let lines = lines(&kernel, has_vmlinux, &builds);
    let names = Box::new(Known { calls: calls.table, symbols, home, lines, parameters });
    let described = judge::Kernel {
        release: Some(kernel.release),
        hash: kernel.hash,
        cached: kernel.cached,
        build: took,
        warnings: notes,
    };
    let warm = warm::fitting(&machine, &described, &base, cache)?;
    Ok(Prepared {
        plan: Plan {
            machine,
            luggage,
            programs,
            warm: None,
            boot_timeout: scenario.boot_timeout,
            steps,
            // Who asks for a trace on the command line wants calls to be seen.
            watch: match scenario.count || trace.is_some() {
                true => Watch::Calls { results: true, trace, guard: guard(scenario.evidence) },
                false => Watch::Nothing,
            },
        },
        kernel: described,
        names,
        builds,
        preflight,
        warm,
        stage,
    })
}

/// The debug info of kernel, if its vmlinux is the one that runs, and modules. None of it is read here.
fn lines(kernel: &Kernel, has_vmlinux: bool, builds: &[Build]) -> Lines {
    let modules =
        builds.iter().flat_map(|build| build.modules.iter().cloned().zip(build.files.iter().cloned()));
    // A module's debug info names the kernel's headers by where they were when it was built.
    let mut roots: Vec<PathBuf> = ["source", "build"].map(|name| kernel.map.with_file_name(name)).into();
    roots.extend(fs::canonicalize(&kernel.build));
    Lines::new(has_vmlinux.then(|| kernel.vmlinux.clone()), modules, &roots)
}

/// Why `clean: [memory]` sees nothing, where that is so.
fn memory_unseen(scenario: &Scenario, facts: &Facts) -> Option<String> {
    let (places, _) = scenario.expect.clean.as_ref()?;
    let unseen = places.contains(&Place::Memory) && facts.has("KASAN") && !facts.has("DEBUG_KMEMLEAK");
    let why = "`clean` does not look for forgotten memory: KASAN keeps what is freed for a while, so that the caches' counts \
               say nothing; add --fragment kmemleak";
    unseen.then(|| why.to_owned())
}

/// The numbers of the calls that `--trace` names.
fn numbers(names: &[String], calls: &Calls) -> Result<Vec<u64>, Abort> {
    let number = |name: &String| {
        calls.number(name).or_else(|| name.parse().ok()).ok_or_else(|| {
            let nearest = suggestion(name, calls);
            Abort::input(format!("--trace: this kernel has no system call named `{name}`{nearest}"))
        })
    };
    names.iter().map(number).collect()
}

fn suggestion(name: &str, calls: &Calls) -> String {
    let nearest = base::diagnostic::nearest(name, calls.all());
    nearest.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"))
}

/// What goes into a guest.
struct Files {
    /// In which they are.
    stage: Stage,
    /// What it boots with.
    base: Vec<u8>,
    /// The same in a file.
    initramfs: PathBuf,
    /// What follows.
    luggage: PathBuf,
    /// What programs are.
    programs: BTreeMap<String, Code>,
}

fn initramfs(
    scenario: &Scenario,
    modules: Vec<GuestModule>,
    programs: &Programs<'_>,
    kernel: &Kernel,
    cache: &Cache,
) -> Result<Files, Abort> {
    let mut files = Vec::new();
    for file in &scenario.files {
        if file.kind == GuestFileKind::Program {
            let built =
                module::program(&file.host, cache).map_err(|error| Abort::fault(&error, error.fault()))?;
            let bytes = fs::read(&built).map_err(CacheError::io("read", &built))?;
            files.push(GuestFile::new(&file.guest, 0o755, bytes));
            continue;
        }
        let cant_read = |error| {
            let (scenario, line) = (scenario.path.display(), file.line);
            Abort::input(format!("{scenario}:{line}: failed to read {}: {error}", file.host.display()))
        };
        files.push(GuestFile::read(file).map_err(cant_read)?);
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
            .map_err(|error| Abort::fault(&error, error.fault()))?;
        // A scenario's own file goes first.
        let own: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        files.extend(index.into_iter().filter(|file| !own.contains(&file.path)));
        release = Some(kernel.release.clone());
    }
    let mut key = [0; 8];
    let drawn = fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut key));
    drawn.map_err(CacheError::io("read", Path::new("/dev/urandom")))?;
    let image = Image { modules, early: kernel.early.clone(), files, busybox, release, autoload };
    let Assembled { base, luggage, programs } = image::assemble(&image, (programs, Key::from_le_bytes(key)))
        .map_err(|error| match error {
            // Only what a scenario brings can be there twice, or have no proper path.
            ImageError::Archive(error) => Abort::input(format!(
                "{}: `files` and `modules` can't be put into the guest: {error}",
                scenario.path.display()
            )),
            error => Abort::fault(&error, Fault::Machine),
        })?;
    let write = |name, bytes: &[u8]| {
        let path = stage.path().join(name);
        fs::write(&path, bytes).map_err(CacheError::io("write", &path))?;
        Ok::<_, CacheError>(path)
    };
    let (initramfs, luggage) = (write("initramfs", &base)?, write("luggage", &luggage)?);
    Ok(Files { stage, base, initramfs, luggage, programs })
}

/// Whether the guest can take its image: it holds it twice for a moment, behind the kernel.
fn fits(scenario: &Scenario, symbols: &Symbols, parts: &[&Path]) -> Result<(), Abort> {
    const MIB: u64 = 1 << 20;
    /// The kernel's text and data begin at physical address 0 as far as their symbols are concerned.
    const START: u64 = 0xffff_ffff_8000_0000;
    let kernel = symbols.address("_end").and_then(|end| end.checked_sub(START)).unwrap_or(32 * MIB);
    let length = |part: &&Path| Ok(fs::metadata(part).map_err(CacheError::io("read", part))?.len());
    let image = parts.iter().map(length).sum::<Result<u64, CacheError>>()?;
    // The kernel's own data structures need some, too.
    let needed = (kernel + 2 * image).div_ceil(MIB) + 8;
    let has = u64::from(scenario.machine.memory_mib);
    if needed <= has {
        return Ok(());
    }
    Err(Abort::input(format!(
        "{}: a machine with {has} MiB of memory is too small: the kernel, and modules and files of {} MiB which it unpacks, \
         need {needed} MiB; write `machine: {{memory: {needed} MiB}}` or more",
        scenario.path.display(),
        image.div_ceil(MIB)
    )))
}

/// Whether it is certain where in memory the kernel's own reports are: who adds a file to a kernel could have another variable looked at.
fn known_for_certain(symbols: &Symbols) -> Result<(), Abort> {
    let Some((name, at)) = symbols.doubtful(SYMBOLS) else { return Ok(()) };
    let at: Vec<String> = at.iter().map(|at| format!("{at:#x}")).collect();
    let why = format!(
        "tell where `{name}` is, by which vmm watches the kernel: it has more than one symbol of that name, at {}; rename the one that is \
         not the kernel's own, or write `evidence: basic` into the scenario",
        at.join(" and ")
    );
    Err(Abort::fault(&why, Fault::Build))
}

/// The kernel, as the language asks for it.
struct Calls {
    table: SyscallTable,
    frees_at_once: bool,
    checks_slabs: bool,
    waits_for_rcu: bool,
}

impl SyscallNames for Calls {
    fn number(&self, name: &str) -> Option<u64> {
        self.table.number(Door::Syscall64, name)
    }

    fn name(&self, nr: u64) -> Option<&str> {
        self.table.name(Door::Syscall64, nr)
    }

    fn all(&self) -> Vec<&str> {
        self.table.names(Door::Syscall64).collect()
    }

    fn frees_at_once(&self) -> bool {
        self.frees_at_once
    }

    fn checks_slabs(&self) -> bool {
        self.checks_slabs
    }

    fn waits_for_rcu(&self) -> bool {
        self.waits_for_rcu
    }
}

/// The series that a release is of: 6 and 12 of `6.12.117-vmm`.
fn series(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// What is watched over.
pub(crate) fn guard(evidence: Watchfulness) -> Option<GuardOrder> {
    match evidence {
        Watchfulness::Full => Some(GuardOrder { patches: false }),
        Watchfulness::Kprobes => Some(GuardOrder { patches: true }),
        Watchfulness::Basic => None,
    }
}
