//! Kernels that somebody else built: a distribution's `vmlinuz` with its modules, Debian's package of both, or what `make` left in
//! a kernel's build folder.
//!
//! What there is of one becomes an entry of the cache as if it had been built here: the uncompressed kernel (which boots
//! sooner than one that unpacks itself), its symbols (from the tables that it carries, for `System.map` is in no
//! package), its system calls, and the modules without which nothing in it could be spoken with.

mod image;
mod modules;

use super::{
    Kernel, KernelError, Manifest,
    handed::Handed,
    product::{self, Facts},
    run,
    sources::{hex, unpacking},
    toolchain::{self, Compiler, Missing},
};
use crate::syscall_table::SyscallTable;
use base::{
    cache::{Cache, CacheError, Kind},
    unpack::UnpackError,
};
use board::wire::Announce;
pub use image::{READER, unpack_bzimage};
use image::{Said, release_of};
use jail::{Limits, Refused, Sandbox, intake, reader::Unread};
use modules::{Loaded, Modules};
use sha2::{Digest, Sha256};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use thiserror::Error;
use walkdir::WalkDir;

/// Part of every hash.
const FORMAT: &str = "foreign 2";

/// What a build folder says of its own release.
const RELEASE: &str = "include/config/kernel.release";

/// What a guest can't be spoken with without.
const NEEDED: &[&str] = &["virtio_mmio", "virtio_console"];

/// A kernel that can't be used.
#[derive(Debug, Error)]
pub enum ForeignError {
    /// A file can't be read.
    #[error("read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It is no file that is taken.
    #[error(transparent)]
    Refused(Refused),
    /// It is something else.
    #[error("use {} as a kernel: {why}", path.display())]
    NotAKernel {
        /// Which.
        path: PathBuf,
        /// What it is, or is not.
        why: String,
    },
    /// The kernel has no driver for what the agent speaks through.
    #[error(
        "use {}: it has {module} neither built in nor as a module in {folder}; name its modules by --modules, such as \
         /lib/modules/RELEASE",
        path.display()
    )]
    NoDriver {
        /// The kernel.
        path: PathBuf,
        /// The driver.
        module: String,
        /// Where it was looked for.
        folder: String,
    },
    /// The same, of a kernel in the folder that it was built in.
    #[error(
        "use {}: the configuration in {} is without {}, and no module there has it; set {} to y there and build it again \
         (docs/kernels.md lists what a kernel needs), or have vmm build it: --source",
        path.display(),
        tree.display(),
        symbols.join(", "),
        if symbols.len() == 1 { "it" } else { "them" }
    )]
    NotConfigured {
        /// The kernel.
        path: PathBuf,
        /// Its build folder.
        tree: PathBuf,
        /// What it should have.
        symbols: Vec<String>,
    },
    /// A module is damaged.
    #[error("unpack {}: {source}", path.display())]
    Compressed {
        /// Which.
        path: PathBuf,
        /// Why.
        source: UnpackError,
    },
}

/// The files that belong to one kernel.
struct Parts {
    /// What people know it by.
    named: PathBuf,
    /// `vmlinuz`, or an uncompressed `vmlinux`.
    image: PathBuf,
    /// `/lib/modules/RELEASE`.
    modules: Option<PathBuf>,
    /// Where its `config-RELEASE` may be.
    boot: PathBuf,
    /// The folder that it was built in, if it still lies there.
    tree: Option<PathBuf>,
    /// Whether all of that comes from a package, whose makers are not to choose folders of this machine.
    packed: Packed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packed {
    Yes,
    No,
}

/// What belongs to an image of files that may become others while it stays as it is.
struct Around {
    /// The folder that it was built in, unless something else was built there since.
    tree: Option<PathBuf>,
    /// Its modules.
    folder: Option<PathBuf>,
    /// Its configuration; empty if there is none.
    config: String,
}

impl Parts {
    /// Of a `vmlinuz` or `vmlinux`.
    fn of_image(image: &Path, modules: Option<&Path>) -> Self {
        let boot = image.parent().unwrap_or(Path::new("")).to_owned();
        let (named, image, tree) = (image.to_owned(), image.to_owned(), tree_of(image));
        let modules = modules.map(Path::to_owned);
        Self { named, image, modules, boot, tree, packed: Packed::No }
    }

    fn around(&self, release: &str) -> Around {
        // A tree in which something else was built since says nothing of this kernel.
        let is_its = |tree: &&PathBuf| text(&tree.join(RELEASE)).is_some_and(|text| text.trim() == release);
        let tree = self.tree.as_ref().filter(is_its).cloned();
        let installed = PathBuf::from("/lib/modules").join(release);
        let installed = Some(installed).filter(|path| path.is_dir());
        let folder = self.modules.clone().or(tree.clone()).or(installed);
        let configs = [
            tree.as_ref().map(|it| it.join(".config")),
            Some(self.boot.join(format!("config-{release}"))),
            folder.as_ref().map(|it| it.join("config")),
        ];
        let config = configs.into_iter().flatten().find_map(|path| text(&path));
        Around { tree, folder, config: config.unwrap_or_default() }
    }
}

/// The key of a kernel: what is in the image, and what an entry has from around it.
fn key(bytes: &[u8], image: &Path, modules: Option<&Path>) -> String {
    let mut digest = Sha256::new();
    digest.update(FORMAT);
    digest.update(bytes);
    digest.update(modules.map_or(&[][..], |path| path.as_os_str().as_encoded_bytes()));
    let around = match release_of(bytes) {
        Some(release) => Parts::of_image(image, modules).around(&release),
        // A package has the rest in it, but for modules from elsewhere.
        None => Around { tree: None, folder: modules.map(Path::to_owned), config: String::new() },
    };
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    };
    add(around.config.as_bytes());
    // What can't be had is told when the entry is made.
    for (name, module) in needed(image, &around.config, around.folder.as_deref()).unwrap_or_default() {
        add(name.as_bytes());
        add(&module);
    }
    hex(digest.finalize())[..16].to_owned()
}

/// Makes an entry of a kernel's files, or finds it.
///
/// # Errors
/// See [`ForeignError`].
pub(super) fn import(image: &Path, modules: Option<&Path>, cache: &Cache) -> Result<Kernel, KernelError> {
    let bytes = read(image)?;
    let hash = key(&bytes, image, modules);
    let place = cache.place(Kind::Kernel, &hash);
    if let Some(entry) = cache.find(Kind::Kernel, &hash) {
        return Kernel::open(&entry, true);
    }
    let _lock = cache.lock(&format!("kernel-{hash}"), &image.display().to_string())?;
    if let Some(entry) = cache.find(Kind::Kernel, &hash) {
        return Kernel::open(&entry, true);
    }
    let unpacked = cache.stage()?;
    let parts = if bytes.starts_with(b"!<arch>\n") {
        let parts = package(&bytes, image, unpacked.path())?;
        match modules {
            Some(folder) => Parts { modules: Some(folder.to_owned()), packed: Packed::No, ..parts },
            None => parts,
        }
    } else {
        Parts::of_image(image, modules)
    };
    let stage = cache.stage()?;
    assemble(parts, stage.path())?;
    stage.commit(&place)?;
    Kernel::open(&place, false)
}

fn read(path: &Path) -> Result<Vec<u8>, ForeignError> {
    let read = Limits::KERNEL.wanted().and_then(|limits| intake::read(path, limits.file));
    read.map_err(|error| match error {
        Refused::Io { path, source } => ForeignError::Unreadable { path, source },
        other => ForeignError::Refused(other),
    })
}

/// Unpacks a Debian package, which was read from `file`, and finds the kernel in it.
fn package(bytes: &[u8], file: &Path, to: &Path) -> Result<Parts, KernelError> {
    if toolchain::find("dpkg-deb").is_none() {
        return Err(Missing(vec![("dpkg-deb".to_owned(), "dpkg".to_owned())]).into());
    }
    let not = |why: String| ForeignError::NotAKernel { path: file.to_owned(), why };
    let package = Handed::new(bytes, file, to)?;
    let budget = unpacking(bytes.len() as u64);
    let sandbox = Sandbox::new(budget).map_err(CacheError::from)?.read(&package.path).write(to);
    let mut command = run::boxed(&sandbox, "dpkg-deb");
    command.arg("-x").arg(&package.path).arg(to).current_dir(to);
    let log = to.join("unpack.log");
    let ran = run::run_in(&sandbox, command, &log, None, |_| ())?;
    if !ran.status.success() {
        if super::diagnose::is_disk_full(&ran.lines) {
            return Err(CacheError::disk_full(to.to_owned()).into());
        }
        return Err(not(ran.lines.last().cloned().unwrap_or_else(|| "dpkg-deb failed".to_owned())).into());
    }
    keep_own(to)?;
    let boot = to.join("boot");
    let first = |folder: &Path, prefix: &str| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
    };
    let image = first(&boot, "vmlinuz-").ok_or_else(|| {
        not("no boot/vmlinuz-* is in this package; a linux-image-RELEASE package (not a meta package) has it".into())
    })?;
    // Newer packages have them below usr.
    let modules = first(&to.join("lib/modules"), "").or_else(|| first(&to.join("usr/lib/modules"), ""));
    Ok(Parts { named: file.to_owned(), image, modules, boot, tree: None, packed: Packed::Yes })
}

/// Removes from an unpacked package what is neither a file, nor a folder, nor a link to one of these in it: a link to a file of this machine
/// would be taken for a part of the kernel, and a pipe be waited for.
fn keep_own(folder: &Path) -> Result<(), CacheError> {
    let home = fs::canonicalize(folder).map_err(CacheError::io("read", folder))?;
    for entry in WalkDir::new(folder) {
        let entry = entry.map_err(|error| CacheError::io("read", folder)(error.into()))?;
        let (kind, path) = (entry.file_type(), entry.path());
        let stays = kind.is_file() || kind.is_dir();
        // Where a link leads whose way goes through another that is removed, there is nothing any more.
        let leads_inside =
            || kind.is_symlink() && fs::canonicalize(path).is_ok_and(|it| it.starts_with(&home));
        if !stays && !leads_inside() {
            fs::remove_file(path).map_err(CacheError::io("remove", path))?;
        }
    }
    Ok(())
}

/// The text of a file that may be somebody else's; empty where there is none.
fn text(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&intake::read(path, Limits::TEXT.file).ok()?).into_owned())
}

/// The build folder in which an image lies: `vmlinux` at its top, `bzImage` in `arch/x86/boot`.
fn tree_of(image: &Path) -> Option<PathBuf> {
    let image = fs::canonicalize(image).ok()?;
    let is_tree = |folder: &&Path| folder.join(".config").is_file() && folder.join(RELEASE).is_file();
    image.ancestors().skip(1).take(4).find(is_tree).map(Path::to_owned)
}

/// Fills an entry.
fn assemble(parts: Parts, stage: &Path) -> Result<(), KernelError> {
    let bytes = read(&parts.image)?;
    let not = |why: String| ForeignError::NotAKernel { path: parts.named.clone(), why };
    let (said, elf) = READER.ask::<(), Result<Said, String>>(&(), &bytes).map_err(|error| match error {
        Unread::Machine(error) => CacheError::io("read", &parts.image)(error).into(),
        ended @ Unread::Ended(_) => KernelError::from(not(ended.to_string())),
    })?;
    let Said { release, map } = said.map_err(not)?;
    // It becomes a part of paths, and what read the image may be what the image made of it.
    if !product::is_release(&release) {
        return Err(not("it names no version".to_owned()).into());
    }
    let write = |name: &str, bytes: &[u8]| {
        let path = stage.join(name);
        fs::write(&path, bytes).map_err(CacheError::io("write", &path))
    };
    write("vmlinux", &elf)?;
    write("System.map", map.as_bytes())?;

    let Around { tree, folder, config } = parts.around(&release);
    write("config", config.as_bytes())?;
    let own = folder.as_deref().filter(|_| parts.packed == Packed::No);
    let build = tree.unwrap_or_else(|| build_folder(own, &release));
    symlink(&build, stage.join("build")).map_err(CacheError::io("make the link", &stage.join("build")))?;
    let calls = SyscallTable::from_headers(|name| header(&build, name));
    product::save(&stage.join("syscalls.json"), &calls)?;

    let early = early(&parts.named, &config, folder.as_deref(), stage)?;
    let commands = config.lines().any(|line| line == "CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y");
    let facts = Facts {
        source: parts.named.display().to_string(),
        version: release.split('-').next().unwrap_or_default().to_owned(),
        compiler: Compiler::Gcc,
        steps: 0,
        seconds: 0,
        ingredients: super::Ingredients { base: "(not built here)".to_owned(), ..Default::default() },
    };
    let announce = if commands { Announce::CommandLine } else { Announce::Acpi };
    Ok(product::save(&stage.join("kernel.json"), &Manifest { release, facts, announce, early })?)
}

/// Where modules are built for it: a headers package, mostly. It need not be there until one is.
fn build_folder(modules: Option<&Path>, release: &str) -> PathBuf {
    let own = modules.map(|folder| folder.join("build"));
    let installed = PathBuf::from(format!("/lib/modules/{release}/build"));
    let headers = PathBuf::from(format!("/usr/src/linux-headers-{release}"));
    let places = [own, Some(installed), Some(headers.clone())];
    let found = places.into_iter().flatten().find(|path| path.join("Makefile").is_file());
    let found = found.unwrap_or(headers);
    fs::canonicalize(&found).unwrap_or(found)
}

/// A kernel's own list of its calls, or that of this machine's C library: numbers never change their meaning.
fn header(build: &Path, name: &str) -> Option<String> {
    let own = build.join("arch/x86/include/generated/uapi/asm").join(name);
    let system =
        ["/usr/include/x86_64-linux-gnu/asm", "/usr/include/asm"].map(|folder| Path::new(folder).join(name));
    [own].into_iter().chain(system).find_map(|path| fs::read_to_string(path).ok())
}

/// The modules that have to be loaded first, unpacked, in order.
fn needed(kernel: &Path, config: &str, folder: Option<&Path>) -> Result<Vec<Loaded>, KernelError> {
    let symbol = |name: &str| format!("CONFIG_{}", name.to_uppercase());
    let is_open = |name: &&&str| {
        let line = symbol(name) + "=y";
        !config.lines().any(|it| it == line)
    };
    let open: Vec<&&str> = NEEDED.iter().filter(is_open).collect();
    let mut order = Vec::new();
    if open.is_empty() {
        // Nobody waits for a look at all files of a kernel's tree.
        return Ok(order);
    }
    let modules = folder.map(Modules::read).unwrap_or_default();
    let open: Vec<&&str> = open.into_iter().filter(|name| !modules.is_built_in(name)).collect();
    for name in &open {
        if modules.load(name, &mut order)? {
            continue;
        }
        let path = kernel.to_owned();
        if let Some(tree) = folder.filter(|folder| folder.join(".config").is_file()) {
            let lacking = open.iter().filter(|name| !modules.has(name));
            let symbols = lacking.map(|name| symbol(name)).collect();
            return Err(ForeignError::NotConfigured { path, tree: tree.to_owned(), symbols }.into());
        }
        let folder = folder.map_or("its package".to_owned(), |folder| folder.display().to_string());
        return Err(ForeignError::NoDriver { path, module: (**name).to_owned(), folder }.into());
    }
    Ok(order)
}

/// Puts what has to be loaded first into the entry; gives the files' names, in order.
fn early(
    kernel: &Path,
    config: &str,
    folder: Option<&Path>,
    stage: &Path,
) -> Result<Vec<String>, KernelError> {
    let to = stage.join("early");
    fs::create_dir_all(&to).map_err(CacheError::io("make the folder", &to))?;
    let mut names = Vec::new();
    for (name, bytes) in needed(kernel, config, folder)? {
        let file = format!("{name}.ko");
        let path = to.join(&file);
        fs::write(&path, bytes).map_err(CacheError::io("write", &path))?;
        names.push(file);
    }
    Ok(names)
}

#[cfg(test)]
#[path = "foreign_test.rs"]
mod tests;
