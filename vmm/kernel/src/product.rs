//! What is kept of a kernel that was built.
//!
//! | in the entry | what |
//! |---|---|
//! | `vmlinux`, `System.map`, `config` | as built |
//! | `vmlinux.boot` | without symbols, where that is smaller |
//! | `syscalls.json` | the [`SyscallTable`] |
//! | `kernel.json` | the [`Manifest`] |
//! | `looked.json` | which files it was made from: [`Looked`]; only if that is known |
//! | `lib/modules/RELEASE` | its own modules, installed; only if it has any |
//! | `build`, `source` | what building a module takes: headers, makefiles, tools, Rust metadata |

use super::{KernelError, Looked, recipe::Ingredients, run, toolchain::Compiler};
use crate::syscall_table::SyscallTable;
use base::{
    cache::{self, CacheError},
    interrupt,
    text::escape,
};
use board::wire::Announce;
use jail::{
    Budget, Limits, Refused, Sandbox,
    intake::{self, Tally},
};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::unix::fs::symlink,
    panic,
    path::{Component, Path, PathBuf},
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

impl Manifest {
    /// Whether its words are what they are taken for: who built or exported the kernel chose them, and they become paths and lines on a
    /// terminal.
    ///
    /// # Errors
    /// Which is not.
    pub(super) fn check(&self) -> Result<(), String> {
        if !is_release(&self.release) {
            return Err(format!("`{}` is no kernel's release", escape(&self.release)));
        }
        if let Compiler::Llvm { suffix } = &self.facts.compiler
            && !suffix.chars().all(is_plain)
        {
            return Err(format!("`clang{}` is no compiler's name", escape(suffix)));
        }
        match self.early.iter().find(|name| !is_name(name)) {
            Some(name) => Err(format!("`{}` is no name of an early module", escape(name))),
            None => Ok(()),
        }
    }
}

/// Whether `uname -r` can say that of a kernel (`UTS_RELEASE` of the top Makefile): it begins with a number, and has at most 64 characters
/// (`__NEW_UTS_LEN` of include/uapi/linux/utsname.h).
pub(super) fn is_release(text: &str) -> bool {
    text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(is_plain)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._+~-".contains(c)
}

/// Whether it names something in a folder, and nothing elsewhere.
pub(super) fn is_name(text: &str) -> bool {
    let mut parts = Path::new(text).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == text)
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
    let built = |name: &str| intake::read_within(build, name).map_err(of_build);
    // Each byte of a hole is one of the cache's disk.
    let limits = Limits::KERNEL.wanted().map_err(CacheError::from)?;
    for (name, kept) in [("vmlinux", "vmlinux"), ("System.map", "System.map"), (".config", "config")] {
        let from = intake::within(build, name).and_then(|path| intake::open(&path, limits.total));
        let (mut from, to) = (from.map_err(of_build)?, stage.join(kept));
        fs::File::create(&to)
            .and_then(|mut to| io::copy(&mut from, &mut to))
            .map_err(CacheError::io("write", &to))?;
    }

    let tables = source.join("arch/x86/entry/syscalls");
    let table =
        SyscallTable::parse(&text(tables.join("syscall_64.tbl"))?, &text(tables.join("syscall_32.tbl"))?)?;
    save(&stage.join("syscalls.json"), &table)?;
    let release = built("include/config/kernel.release")?.trim().to_owned();
    let manifest =
        Manifest { release, facts: facts.clone(), announce: Announce::CommandLine, early: Vec::new() };
    manifest.check().map_err(KernelError::Made)?;
    save(&stage.join("kernel.json"), &manifest)?;

    if let Some(looked) = Looked::of(build, source) {
        looked.save(stage)?;
    }
    let headers = || {
        // Files of the mirrored source are replaced, never written to, so the entry can share them.
        let keep = |from: &Path, to: &Path| fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop));
        let parts = ["Makefile", "include", "scripts", "arch/x86"];
        keep_tree(source, &parts, &stage.join("source"), wanted_source, keep)
    };
    let objects = || {
        keep_tree(build, &[""], &stage.join("build"), wanted_build, |from, to| fs::copy(from, to).map(drop))
    };
    // Each takes a part of a second, of which a short build has but few.
    thread::scope(|scope| {
        let (headers, built) = (scope.spawn(headers), scope.spawn(objects));
        strip(stage)?;
        let ended =
            |it: thread::Result<Result<(), KernelError>>| it.unwrap_or_else(|it| panic::resume_unwind(it));
        ended(headers.join())?;
        ended(built.join())
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

/// Of a file that a build should have made: what is wrong with it is the build's fault.
fn of_build(why: Refused) -> KernelError {
    match why.blames_files() {
        true => KernelError::Made(why.to_string()),
        false => CacheError::from(why).into(),
    }
}

pub(super) fn save(path: &Path, value: &impl Serialize) -> Result<(), CacheError> {
    let text = serde_json::to_vec(value).map_err(|error| CacheError::io("write", path)(error.into()))?;
    fs::write(path, text).map_err(CacheError::io("write", path))
}

/// Makes `vmlinux.boot`. It travels into emulated hosts over slow ports, so every byte counts.
fn strip(stage: &Path) -> Result<(), KernelError> {
    // Who made the file may have made it for strip: of the entry it writes nothing.
    let (vmlinux, apart) = (stage.join("vmlinux"), stage.join(".stripped"));
    fs::create_dir(&apart).map_err(CacheError::io("make the folder", &apart))?;
    let sandbox = Sandbox::new(Budget::TOOL).map_err(CacheError::from)?.read(&vmlinux).write(&apart);
    let mut command = run::boxed(&sandbox, "strip");
    command.arg("--strip-all").arg("-o").arg(apart.join("vmlinux")).arg(&vmlinux).current_dir(&apart);
    let log = stage.join("strip.log");
    let ran = run::run_in(&sandbox, command, &log, None, |_| ())?;
    fs::remove_file(&log).map_err(CacheError::io("remove", &log))?;
    let boot = stage.join("vmlinux.boot");
    if super::diagnose::is_disk_full(&ran.lines) {
        return Err(CacheError::disk_full(boot).into());
    }
    // What strip can't read boots all the same.
    let stripped = apart.join("vmlinux");
    if ran.status.success() && fs::symlink_metadata(&stripped).is_ok_and(|meta| meta.is_file()) {
        fs::rename(&stripped, &boot).map_err(CacheError::io("keep", &stripped))?;
    }
    Ok(cache::remove(&apart)?)
}

/// Moves a kernel's modules into its entry `stage`, from where its own makefiles installed them: of what lies there, the folder of this
/// kernel, and in that files, folders and links that stay in it.
pub(super) fn keep_modules(installed: &Path, stage: &Path) -> Result<(), KernelError> {
    let path = stage.join("kernel.json");
    let text = fs::read(&path).map_err(CacheError::io("read", &path))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| CacheError::io("read", &path)(error.into()))?;
    let modules = Path::new("lib/modules").join(manifest.release);
    let Ok(from) = intake::within(installed, &modules) else { return Ok(()) };
    let to = stage.join(&modules);
    keep_tree(
        &from,
        &[""],
        &to,
        |path| !path.starts_with("build") && !path.starts_with("source"),
        |from, to| fs::rename(from, to),
    )?;
    // make leads to where it built.
    for name in ["build", "source"] {
        let link = to.join(name);
        symlink(Path::new("../../..").join(name), &link).map_err(CacheError::io("make the link", &link))?;
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

/// Keeps what is `wanted` of these `parts` of `from`: all of it, if it is not more than a kernel's source may have, or nothing.
fn keep_tree(
    from: &Path,
    parts: &[&str],
    to: &Path,
    wanted: fn(&Path) -> bool,
    keep: fn(&Path, &Path) -> io::Result<()>,
) -> Result<(), KernelError> {
    fs::create_dir_all(to).map_err(CacheError::io("make the folder", to))?;
    let walked = |error: walkdir::Error| CacheError::io("read", from)(error.into());
    let mut tally = Tally::new(from, Limits::KERNEL.wanted().map_err(CacheError::from)?);
    let mut all = Vec::new();
    for entry in parts.iter().flat_map(|part| WalkDir::new(from.join(part))) {
        let entry = entry.map_err(walked)?;
        let kind = entry.file_type();
        // A pipe, or a device, is no part of a kernel.
        let is_kept = kind.is_symlink() || kind.is_file();
        let name = entry.path().strip_prefix(from).ok().filter(|name| is_kept && wanted(name));
        if let Some(name) = name.map(Path::to_owned) {
            tally.add(entry.path(), &entry.metadata().map_err(walked)?).map_err(of_build)?;
            all.push((name, kind.is_symlink()));
        }
    }
    let mut folder = PathBuf::new();
    for (name, is_link) in all {
        if interrupt::requested() {
            return Err(CacheError::Interrupted.into());
        }
        let (from_here, target) = (from.join(&name), to.join(&name));
        if let Some(parent) = target.parent().filter(|parent| *parent != folder) {
            parent.clone_into(&mut folder);
            fs::create_dir_all(parent).map_err(CacheError::io("make the folder", parent))?;
        }
        if is_link {
            // One that leads out of it is no part of a kernel either.
            if intake::within(from, &name).is_err() {
                continue;
            }
            let link = fs::read_link(&from_here).map_err(CacheError::io("read", &from_here))?;
            symlink(link, &target).map_err(CacheError::io("make the link", &target))?;
        } else {
            keep(&from_here, &target).map_err(CacheError::io("keep", &from_here))?;
        }
    }
    Ok(())
}
