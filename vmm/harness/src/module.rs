//! `vmm module build` and `vmm module check`: what a run does with modules before it boots, alone.

use crate::{
    Abort,
    session::{self, Modules},
};
use base::{
    cache::Cache,
    text::{escape, time},
};
use judge::Build;
pub use kernel::diagnose::count_of_warnings;
use module::preflight::Facts;
use plan::image::GuestModule;
use scenario::model::{ModuleKind, ModuleSource, Scenario};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Builds the modules of folders and looks whether the kernel will take them; says where they are. With `out`, they are
/// copied there.
///
/// # Errors
/// One does not build or would be refused, bad input, or this machine is at fault.
pub fn build(folders: &[PathBuf], kernel: Option<&str>, out: Option<&Path>) -> Result<String, Abort> {
    let source = |path: &PathBuf| source(path, ModuleKind::Folder);
    let (release, built) = gather(folders.iter().map(source).collect(), &BTreeSet::new(), kernel)?;
    if let Some(out) = out {
        keep(&built.modules, out)?;
    }
    Ok(shown(&release, &built))
}

/// Looks whether the kernel will take these modules, all of them together: `.ko` files, plain or compressed.
///
/// # Errors
/// As [`build`].
pub fn check(files: &[PathBuf], kernel: Option<&str>) -> Result<String, Abort> {
    let source = |path: &PathBuf| source(path, ModuleKind::Object);
    let (release, checked) = gather(files.iter().map(source).collect(), &BTreeSet::new(), kernel)?;
    Ok(shown(&release, &checked))
}

/// What the compiler warned of in the modules of the last of these folders, which are built if they are not yet; each warning with its lines.
///
/// # Errors
/// As [`build`].
pub fn warnings(folders: &[PathBuf], kernel: &str) -> Result<Vec<String>, Abort> {
    let source = |path: &PathBuf| source(path, ModuleKind::Folder);
    let (_, mut built) = gather(folders.iter().map(source).collect(), &BTreeSet::new(), Some(kernel))?;
    Ok(built.builds.pop().map(|build| build.warnings).unwrap_or_default())
}

/// The name of a module that a scenario's steps want and that does not come of its `modules`, which are built if they are not yet.
///
/// # Errors
/// As [`build`].
pub fn missing(scenario: &Scenario, kernel: &str) -> Result<Option<String>, Abort> {
    let built = first(scenario, scenario.modules.len(), kernel)?;
    Ok(session::missing_module(scenario, &built.modules).map(|(_, name)| name.to_owned()))
}

/// Whether so many of a scenario's modules can be had, the first of them, whatever comes of the others.
///
/// # Errors
/// As [`build`].
pub fn are_had(scenario: &Scenario, many: usize, kernel: &str) -> Result<(), Abort> {
    first(scenario, many, kernel).map(drop)
}

/// What a run of the scenario would have of so many of its modules.
fn first(scenario: &Scenario, many: usize, kernel: &str) -> Result<Modules, Abort> {
    let sources = scenario.modules.iter().take(many).cloned().collect();
    Ok(gather(sources, &session::unwanted_modules(scenario), Some(kernel))?.1)
}

fn source(path: &Path, kind: ModuleKind) -> ModuleSource {
    ModuleSource { path: path.to_owned(), kind, names: Vec::new(), line: 0 }
}

fn gather(
    sources: Vec<ModuleSource>,
    unwanted: &BTreeSet<String>,
    kernel: Option<&str>,
) -> Result<(String, Modules), Abort> {
    let cache = Cache::open()?;
    session::look_at_modules(&sources)?;
    let near = sources.first().map_or(Path::new("."), |source| &source.path).to_owned();
    let kernel = session::kernel_named(kernel, &near, &cache)?;
    let modules = session::prepare_modules(&sources, unwanted, &kernel, &Facts::of(&kernel), &cache)?;
    Ok((format!("{} {}", kernel.release, &kernel.hash[..kernel.hash.len().min(7)]), modules))
}

fn keep(modules: &[GuestModule], out: &Path) -> Result<(), Abort> {
    let cannot = |path: &Path, error: std::io::Error| {
        let why = base::text::plain(&error);
        Abort::input(format!("can't write {}: {why}; name a folder that can be written", path.display()))
    };
    fs::create_dir_all(out).map_err(|error| cannot(out, error))?;
    for module in modules {
        let path = out.join(format!("{}.ko", module.name));
        fs::write(&path, &module.bytes).map_err(|error| cannot(&path, error))?;
    }
    Ok(())
}

fn shown(kernel: &str, modules: &Modules) -> String {
    let mut text = format!("kernel    {kernel}\n");
    for Build { source, modules, files, cached, warnings } in &modules.builds {
        for warning in warnings {
            for line in warning.lines() {
                text += &format!("warning   {}\n", escape(line));
            }
        }
        for (name, file) in modules.iter().zip(files) {
            let how = match (file == source, cached) {
                (true, _) => "",
                (false, true) => " (built before)",
                (false, false) => " (built)",
            };
            text += &format!("PASS  {name}{how}  {}\n", escape(&file.display().to_string()));
        }
    }
    text += &format!("the kernel takes all of them (looked for {})\n", time(modules.preflight));
    text
}
