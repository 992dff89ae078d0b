//! A scenario's modules: built or taken as they are, and held against the kernel before anything boots.

use crate::Abort;
use base::{cache::Cache, text};
use judge::Build;
use kernel::Kernel;
use module::preflight::{self, Candidate, Facts, Gravity, Problem, Way};
use plan::image::GuestModule;
use scenario::model::{ModuleKind, ModuleSource, Scenario};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Modules that the kernel will take.
pub(crate) struct Modules {
    /// For the image.
    pub modules: Vec<GuestModule>,
    /// Where they come from.
    pub builds: Vec<Build>,
    /// How long it took to look at them.
    pub preflight: Duration,
}

/// What the scenario needs of the kernel's configuration. Cheap, so it comes before anything is built.
pub(crate) fn needs(scenario: &Scenario, facts: &Facts) -> Result<(), Abort> {
    match plan::needs::lacking(scenario, facts) {
        None => Ok(()),
        Some(diagnostics) => Err(Abort::input(diagnostics.to_string())),
    }
}

/// What is wrong with files and folders whatever kernel they are for. Cheap, so it comes before a kernel is built.
pub(crate) fn look(sources: &[ModuleSource]) -> Result<(), Abort> {
    let of = |kind| sources.iter().filter(move |source| source.kind == kind).map(|source| &source.path);
    for folder in of(ModuleKind::Folder) {
        module::look(&text::path(folder)).map_err(|error| Abort::fault(&error, error.fault()))?;
    }
    let load = |path: &PathBuf| Candidate::load(path, path, Way::Given).err();
    refuse(&of(ModuleKind::Object).filter_map(load).collect::<Vec<_>>())
}

/// Builds or finds every module, and looks whether the kernel will take them, all together.
pub(crate) fn prepare(
    sources: &[ModuleSource],
    kernel: &Kernel,
    facts: &Facts,
    cache: &Cache,
) -> Result<Modules, Abort> {
    let mut files = Vec::new();
    let mut builds = Vec::new();
    // A folder may use what those before it export.
    let mut exports = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let path = &source.path;
        let mut build = Build {
            source: path.clone(),
            modules: Vec::new(),
            files: Vec::new(),
            cached: true,
            warnings: Vec::new(),
        };
        match source.kind {
            ModuleKind::Object => files.push((index, path.clone(), path.clone(), path.clone(), Way::Given)),
            ModuleKind::Folder => {
                let folder = text::path(path);
                let built = module::build(&folder, &exports, kernel, cache)
                    .map_err(|error| Abort::fault(&error, error.fault()))?;
                exports.extend(built.exports);
                let built = built.modules;
                build.cached = built.iter().all(|module| module.cached);
                build.warnings = built.first().map(|module| module.warnings.clone()).unwrap_or_default();
                for module in built {
                    let shown = folder.join(format!("{}.ko", module.name));
                    files.push((index, module.whole, module.ko, shown, Way::Built));
                }
            }
        }
        builds.push(build);
    }

    let start = Instant::now();
    let (mut candidates, mut problems) = (Vec::new(), Vec::new());
    for (_, _, path, shown, way) in &files {
        match Candidate::load(path, shown, *way) {
            Ok(candidate) => candidates.push(candidate),
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(preflight::check(&candidates, facts, cache));
    let preflight = start.elapsed();
    refuse(&problems)?;

    for ((index, whole, ..), candidate) in files.iter().zip(&candidates) {
        let build = &mut builds[*index];
        // Lines are read from it.
        build.files.push(whole.clone());
        build.modules.push(candidate.name.clone());
        let about = problems.iter().filter(|problem| problem.shown == candidate.shown);
        build.warnings.extend(about.map(Problem::to_string));
    }
    let module = |candidate: Candidate| GuestModule { name: candidate.name, bytes: candidate.bytes };
    Ok(Modules { modules: candidates.into_iter().map(module).collect(), builds, preflight })
}

/// All errors at once: who mends the first wants to know of the second. What was built and is no good is a
/// verdict; of files that were given, bad input.
fn refuse(problems: &[Problem]) -> Result<(), Abort> {
    let errors: Vec<&Problem> = problems.iter().filter(|problem| problem.gravity == Gravity::Error).collect();
    let Some(first) = errors.first() else { return Ok(()) };
    let text = errors.iter().map(|problem| problem.to_string()).collect::<Vec<_>>().join("\nerror: ");
    Err(Abort { verdict: first.fault.into(), why: text })
}
