//! `vmm module build` and `vmm module check`: what a run does with modules before it boots, alone.

use super::{
    Abort, exit_code,
    modules::{self, Modules},
    prepare, println_or_not,
};
use base::{
    cache::Cache,
    text::{escape, time},
};
use judge::Build;
use module::preflight::Facts;
use plan::image::GuestModule;
use scenario::model::{ModuleKind, ModuleSource};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Builds the modules of folders and looks whether the kernel will take them; prints where they are. With
/// `out`, they are copied there. Returns the exit code: 0, 1 if one does not build or would be refused, 2 for
/// bad input, 3 where this machine is at fault, 130 after Ctrl-C.
pub fn build_modules(folders: &[PathBuf], kernel: Option<&str>, out: Option<&Path>) -> u8 {
    let source = |path: &PathBuf| source(path, ModuleKind::Folder);
    exit_code(gather(folders.iter().map(source).collect(), kernel).and_then(|built| {
        if let Some(out) = out {
            keep(&built.modules, out)?;
        }
        show(&built);
        Ok(())
    }))
}

/// Looks whether the kernel will take these modules, all of them together: `.ko` files, plain or compressed.
/// Returns the exit code, as [`build_modules`] does.
pub fn check_modules(files: &[PathBuf], kernel: Option<&str>) -> u8 {
    let source = |path: &PathBuf| source(path, ModuleKind::Object);
    exit_code(gather(files.iter().map(source).collect(), kernel).map(|checked| show(&checked)))
}

fn source(path: &Path, kind: ModuleKind) -> ModuleSource {
    ModuleSource { path: path.to_owned(), kind, names: Vec::new(), line: 0 }
}

fn gather(sources: Vec<ModuleSource>, kernel: Option<&str>) -> Result<Modules, Abort> {
    let cache = Cache::open()?;
    let near = sources.first().map_or(Path::new("."), |source| &source.path).to_owned();
    let kernel = prepare::kernel_named(kernel, &near, &cache)?;
    println_or_not(&format!("kernel    {} {}", kernel.release, &kernel.hash[..kernel.hash.len().min(7)]));
    modules::prepare(&sources, &kernel, &Facts::of(&kernel), &cache)
}

fn keep(modules: &[GuestModule], out: &Path) -> Result<(), Abort> {
    let cannot = |path: &Path, error: std::io::Error| {
        let why = base::text::plain(&error);
        Abort::Input(format!("can't write {}: {why}; name a folder that can be written", path.display()))
    };
    fs::create_dir_all(out).map_err(|error| cannot(out, error))?;
    for module in modules {
        let path = out.join(format!("{}.ko", module.name));
        fs::write(&path, &module.bytes).map_err(|error| cannot(&path, error))?;
    }
    Ok(())
}

fn show(modules: &Modules) {
    for Build { source, modules, files, cached, warnings } in &modules.builds {
        for warning in warnings {
            for line in warning.lines() {
                println_or_not(&format!("warning   {}", escape(line)));
            }
        }
        for (name, file) in modules.iter().zip(files) {
            let how = match (file == source, cached) {
                (true, _) => "",
                (false, true) => " (built before)",
                (false, false) => " (built)",
            };
            println_or_not(&format!("PASS  {name}{how}  {}", escape(&file.display().to_string())));
        }
    }
    println_or_not(&format!("the kernel takes all of them (looked for {})", time(modules.preflight)));
}
