//! What is kept of a kernel that was built.
//!
//! | in the entry | what |
//! |---|---|
//! | `vmlinux`, `System.map`, `config` | as built |
//! | `vmlinux.boot` | without symbols, where that is smaller |
//! | `syscalls.json` | the [`SyscallTable`] |
//! | `kernel.json` | the [`Manifest`] |
//! | `looked.json` | which files it was made from: [`Looked`] |
//! | `lib/modules/RELEASE` | its own modules, installed; only if it has any |
//! | `build`, `source` | what building a module takes: headers, makefiles, tools, Rust metadata |

use super::{KernelError, Looked, recipe::Ingredients, run, toolchain::Compiler};
use crate::syscall_table::SyscallTable;
use base::cache::CacheError;
use board::wire::Announce;
use jail::{Budget, Sandbox, intake};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::unix::fs::symlink,
    panic,
    path::{Path, PathBuf},
    thread,
};
use walkdir::WalkDir;

/// What is known of a build before its product is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// As the user named it.
    pub source: String,
    /// `6.12.117`.
    pub version: String,
    /// Modules have to be built with the same.
    pub compiler: Compiler,
    /// Objects built, and the like; few when an earlier build had most of them.
    pub steps: u64,
    /// How long make took.
    pub seconds: u64,
    /// What else it was made from.
    #[serde(default)]
    pub ingredients: Ingredients,
}

/// `kernel.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// `uname -r`.
    pub release: String,
    /// How it was made.
    pub facts: Facts,
    /// How it is told of devices.
    #[serde(default)]
    pub announce: Announce,
    /// Files in the entry's `early`: modules that are loaded before the agent says hello, in this order.
    #[serde(default)]
    pub early: Vec<String>,
}

/// Fills `stage` with what becomes the entry `place`.
///
/// # Errors
/// The file system, or a build that lacks what every kernel has.
pub(super) fn assemble(
    source: &Path,
    build: &Path,
    stage: &Path,
    place: &Path,
    facts: &Facts,
) -> Result<(), KernelError> {
    let text = |path: PathBuf| fs::read_to_string(&path).map_err(CacheError::io("read", &path));
    // A build can make of anything a link, or a pipe.
    let built = |name: &str| intake::read_within(build, name).map_err(CacheError::from);
    for (name, kept) in [("vmlinux", "vmlinux"), ("System.map", "System.map"), (".config", "config")] {
        let from = intake::within(build, name).and_then(|path| intake::open(&path, u64::MAX));
        let (mut from, to) = (from.map_err(CacheError::from)?, stage.join(kept));
        fs::File::create(&to)
            .and_then(|mut to| io::copy(&mut from, &mut to))
            .map_err(CacheError::io("write", &to))?;
    }

    let tables = source.join("arch/x86/entry/syscalls");
    let table =
        SyscallTable::parse(&text(tables.join("syscall_64.tbl"))?, &text(tables.join("syscall_32.tbl"))?)?;
    save(&stage.join("syscalls.json"), &table)?;
    let release = built("include/config/kernel.release")?.trim().to_owned();
    save(
        &stage.join("kernel.json"),
        &Manifest { release, facts: facts.clone(), announce: Announce::CommandLine, early: Vec::new() },
    )?;

    Looked::of(build, source).save(stage)?;
    let headers = || {
        // Files of the mirrored source are replaced, never written to, so the entry can share them.
        let keep = |from: &Path, to: &Path| fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop));
        let mut parts = ["Makefile", "include", "scripts", "arch/x86"].into_iter();
        parts.try_for_each(|part| keep_tree(source, part, &stage.join("source"), wanted_source, keep))
    };
    let objects =
        || keep_tree(build, "", &stage.join("build"), wanted_build, |from, to| fs::copy(from, to).map(drop));
    // Each takes a part of a second, of which a short build has but few.
    thread::scope(|scope| {
        let (headers, built) = (scope.spawn(headers), scope.spawn(objects));
        strip(stage)?;
        let ended =
            |it: thread::Result<Result<(), CacheError>>| it.unwrap_or_else(|it| panic::resume_unwind(it));
        ended(headers.join())?;
        ended(built.join()).map_err(KernelError::from)
    })?;
    let link = |target: &str, name: &str| {
        let path = stage.join("build").join(name);
        symlink(target, &path).map_err(CacheError::io("make the link", &path))
    };
    link("../vmlinux", "vmlinux")?;
    link("../source", "source")?;
    // The makefile in a build folder leads to the source by its path, which was the slot's.
    let makefile = built("Makefile")?
        .replace(&source.display().to_string(), &place.join("source").display().to_string())
        .replace(&build.display().to_string(), &place.join("build").display().to_string());
    let path = stage.join("build/Makefile");
    Ok(fs::write(&path, makefile).map_err(CacheError::io("write", &path))?)
}

pub(super) fn save(path: &Path, value: &impl Serialize) -> Result<(), CacheError> {
    let text = serde_json::to_vec(value).map_err(|error| CacheError::io("write", path)(error.into()))?;
    fs::write(path, text).map_err(CacheError::io("write", path))
}

/// Makes `vmlinux.boot`. It travels into emulated hosts over slow ports, so every byte counts.
fn strip(stage: &Path) -> Result<(), KernelError> {
    let sandbox = Sandbox::new(Budget::TOOL).map_err(CacheError::from)?.write(stage);
    let mut command = run::boxed(&sandbox, "strip");
    command.arg("--strip-all").arg("-o").arg(stage.join("vmlinux.boot")).arg(stage.join("vmlinux"));
    let log = stage.join("strip.log");
    let ran = run::run_in(&sandbox, command, &log, None, |_| ())?;
    fs::remove_file(&log).map_err(CacheError::io("remove", &log))?;
    if super::diagnose::is_disk_full(&ran.lines) {
        return Err(CacheError::disk_full(stage.join("vmlinux.boot")).into());
    }
    if !ran.status.success() {
        // What strip can't read boots all the same.
        let _ = fs::remove_file(stage.join("vmlinux.boot"));
    }
    Ok(())
}

/// The part of a source that module builds read, much as in distributions' headers packages.
fn wanted_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if path == Path::new("Makefile") || path.starts_with("include") || path.starts_with("scripts") {
        return true;
    }
    let Ok(inside) = path.strip_prefix("arch/x86") else { return false };
    inside.starts_with("include")
        || name.starts_with("Makefile")
        || name == "Kbuild"
        || inside.starts_with("entry/syscalls")
}

/// The part of a build folder that module builds read: no objects, no programs but the tools'.
fn wanted_build(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Ok(inside) = path.strip_prefix("tools") {
        return inside == Path::new("objtool/objtool")
            || inside == Path::new("bpf/resolve_btfids/resolve_btfids");
    }
    let left_out = [".o", ".ko", ".a", ".cmd", ".d", ".tmp", ".lst", ".bin"];
    !left_out.iter().any(|ending| name.ends_with(ending))
        && !name.starts_with(".tmp_")
        && !name.starts_with("vmlinux")
        && !matches!(&*name, "source" | "bzImage" | "System.map")
        && path != Path::new("Makefile")
}

/// Keeps what is `wanted` of `from`, or of one `part` of it.
fn keep_tree(
    from: &Path,
    part: &str,
    to: &Path,
    wanted: fn(&Path) -> bool,
    keep: fn(&Path, &Path) -> io::Result<()>,
) -> Result<(), CacheError> {
    fs::create_dir_all(to).map_err(CacheError::io("make the folder", to))?;
    let mut folder = PathBuf::new();
    for entry in WalkDir::new(from.join(part)) {
        let entry = entry.map_err(|error| CacheError::io("read", from)(error.into()))?;
        let Ok(name) = entry.path().strip_prefix(from) else { continue };
        if entry.file_type().is_dir() || !wanted(name) {
            continue;
        }
        let target = to.join(name);
        if let Some(parent) = target.parent().filter(|parent| *parent != folder) {
            parent.clone_into(&mut folder);
            fs::create_dir_all(parent).map_err(CacheError::io("make the folder", parent))?;
        }
        if entry.path_is_symlink() {
            // One that leads out of it is no part of a kernel.
            if name.to_str().is_none_or(|name| intake::within(from, name).is_err()) {
                continue;
            }
            let link = fs::read_link(entry.path()).map_err(CacheError::io("read", entry.path()))?;
            symlink(link, &target).map_err(CacheError::io("make the link", &target))?;
        } else if entry.file_type().is_file() {
            keep(entry.path(), &target).map_err(CacheError::io("keep", entry.path()))?;
        }
    }
    Ok(())
}
