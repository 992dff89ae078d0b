//! What has to be there before a machine can boot: kernel, modules, image, and the plan.

use super::Abort;
use crate::{
    cache::{Cache, CacheError, Kind, Stage},
    image::{self, GuestFile, Image},
    judge::{self, Names},
    kernel::{self, Fault, Kernel, KernelError, wanted::Wanted},
    lower::{self, SyscallNames},
    module,
    plan::Plan,
    project,
    scenario::model::{Action, ModuleKind, Scenario},
    syscall_table::SyscallTable,
};
use board::wire::{LANDMARKS, Spec};
use protocol::Door;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Everything for one run.
pub(super) struct Prepared {
    pub plan: Plan,
    pub kernel: judge::Kernel,
    pub names: Names,
    /// Holds the initramfs that the plan names; dropped, it is gone.
    pub stage: Stage,
}

/// A kernel, and how long it took.
pub(super) struct Built {
    kernel: Kernel,
    took: Duration,
}

/// Builds or finds the kernel that a scenario asks for; what the command line says goes before.
pub(super) fn kernel(scenario: &Scenario, options: &Wanted, cache: &Cache) -> Result<Built, Abort> {
    let start = Instant::now();
    let folder = scenario.path.parent().unwrap_or(Path::new(""));
    let wanted = options.clone().or(&scenario.kernel.clone().relative_to(folder));
    let kernel = project::find(Some(&scenario.path))
        .map_err(KernelError::from)
        .and_then(|project| Ok(wanted.meant(&project, &cache.place(Kind::Kernel, ""))?))
        .and_then(|meant| kernel::get(&meant, cache))
        .map_err(|error| Abort::fault(&error, error.fault()))?;
    Ok(Built { kernel, took: start.elapsed() })
}

/// Modules, image and plan.
pub(super) fn the_rest(scenario: &Scenario, built: Built, cache: &Cache) -> Result<Prepared, Abort> {
    let Built { kernel, took } = built;
    let calls = Calls(kernel.syscalls.clone());
    // Bad names are found before anything else is built.
    let steps =
        lower::lower(scenario, &calls).map_err(|diagnostics| Abort::Input(diagnostics.to_string()))?;
    let start = Instant::now();
    let modules = modules(scenario, &kernel, cache)?;
    let took = took + start.elapsed();
    let (stage, initramfs) = initramfs(scenario, modules, kernel.early.clone(), cache)?;
    let symbols = kernel.symbols().map_err(|error| Abort::fault(&error, error.fault()))?;
    let machine = Spec {
        kernel: kernel.boot.clone(),
        initramfs,
        memory_mib: scenario.machine.memory_mib,
        vcpus: scenario.machine.vcpus,
        command_line: Vec::new(),
        announce: kernel.announce,
        landmarks: symbols.landmarks(LANDMARKS),
    };
    let names = Names {
        syscall: Box::new(move |nr| calls.name(nr).map(str::to_owned)),
        symbol: Box::new(move |address| {
            symbols.function(address).map(|(name, offset)| format!("{name}+{offset:#x}"))
        }),
    };
    Ok(Prepared {
        plan: Plan { machine, boot_timeout: scenario.boot_timeout, steps, trap: true },
        kernel: judge::Kernel {
            release: Some(kernel.release),
            hash: kernel.hash,
            cached: kernel.cached,
            build: took,
        },
        names,
        stage,
    })
}

/// Every module of the scenario, by name.
fn modules(scenario: &Scenario, kernel: &Kernel, cache: &Cache) -> Result<Vec<(String, PathBuf)>, Abort> {
    let mut modules = Vec::new();
    for source in &scenario.modules {
        match source.kind {
            ModuleKind::Object => {
                let name = source.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                modules.push((name, source.path.clone()));
            }
            ModuleKind::Folder => {
                let built = module::build(&source.path, kernel, cache)
                    .map_err(|error| Abort::fault(&error, error.fault()))?;
                for warning in built.first().iter().flat_map(|module| &module.warnings) {
                    crate::progress::note(warning);
                }
                modules.extend(built.into_iter().map(|module| (module.name, module.ko)));
            }
        }
    }
    Ok(modules)
}

fn initramfs(
    scenario: &Scenario,
    modules: Vec<(String, PathBuf)>,
    early: Vec<PathBuf>,
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
    // Two megabytes that a guest without programs need not unpack.
    let busybox = scenario.steps.iter().any(|step| matches!(step.action, Action::Run { .. }));
    let bytes = image::assemble(&Image { modules, early, files, busybox })
        .map_err(|error| Abort::fault(&error, Fault::Machine))?;
    // In the cache: what a killed process leaves there is swept.
    let stage = cache.stage()?;
    let path = stage.path().join("initramfs");
    fs::write(&path, bytes).map_err(CacheError::io("write", &path))?;
    Ok((stage, path))
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
