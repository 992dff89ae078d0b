//! A source as it lies on the disk: unpacked, or the user's own.

use super::{
    debian,
    run::{self, Fed},
    toolchain,
    tree::Tree,
};
use base::{
    cache::{Cache, CacheError, Kind},
    progress::{Progress, Total, Unit},
};
use jail::{Budget, Sandbox, intake};
use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Stdio,
};
use thiserror::Error;

/// In the message of [`SourceError::NotClean`], for who knows only that.
pub const NOT_CLEAN: &str = "it holds a build of its own";

/// Why there is no source.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The machine's apt doesn't know the package.
    #[error(
        "find the Debian package {package}: neither this machine's apt nor Debian's backports and sid know it; is the \
         name right, and does `apt-get update` work? --source {} takes a kernel from elsewhere",
        debian::tarball(package)
    )]
    NoPackage {
        /// Its name, perhaps with `=VERSION`.
        package: String,
    },
    /// Debian's archive can't be read.
    #[error(
        "find the Debian package {package}: this machine's apt names no archive of Debian, and {why}; \
         VMM_DEBIAN_MIRROR=https://MIRROR/debian names one, and --source {} takes a kernel from elsewhere",
        debian::tarball(package)
    )]
    NoArchive {
        /// Its name.
        package: String,
        /// What went wrong.
        why: String,
    },
    /// apt or git did not get what is there.
    #[error("{what}: {said}")]
    Fetch {
        /// The attempt, as a verb.
        what: String,
        /// In the tool's words.
        said: String,
    },
    /// dpkg-deb, tar or git failed.
    #[error("{what}: {said}")]
    Tool {
        /// The attempt, as a verb.
        what: String,
        /// In the tool's words.
        said: String,
    },
    /// A program is missing.
    #[error(transparent)]
    Missing(#[from] toolchain::Missing),
    /// It is something else.
    #[error("use {} as a kernel source: {why}", path.display())]
    NotAKernel {
        /// The folder or file.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
    /// Somebody ran make in it.
    #[error(
        "build {} in a folder of its own: {NOT_CLEAN}, whose files would be taken for parts of \
         the source; {}keep its .config if you need it, then run `make mrproper` there",
        .0.display(),
        committed(.0)
    )]
    NotClean(PathBuf),
    /// The server, or the way to it.
    #[error("get {address}: {why}")]
    Download {
        /// From where.
        address: String,
        /// What went wrong.
        why: String,
    },
    /// It is not what was asked for.
    #[error("use {address}: its SHA-256 is {found}, and {wanted} was asked for; what came was not kept")]
    Checksum {
        /// From where.
        address: String,
        /// The one that was asked for.
        wanted: String,
        /// The one that it has.
        found: String,
    },
    /// The file system, or Ctrl-C.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// A source on disk.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The folder that has the kernel's top Makefile.
    pub folder: PathBuf,
    /// Changes whenever the content does.
    pub identity: String,
    /// The same for all versions of one source, so that they can share a build folder.
    pub name: String,
    /// The cache keeps it; it never changes.
    pub ours: bool,
    /// `6.12.117`.
    pub version: String,
    /// The files, where they had to be looked at.
    pub tree: Option<Tree>,
}

impl Sources {
    pub(super) fn kept(cache: &Cache, key: &str, name: &str) -> Result<Self, SourceError> {
        let folder = top(&cache.place(Kind::Source, key))?;
        let version = kernel_version(&folder)?;
        let (identity, name) = (key.to_owned(), name.to_owned());
        Ok(Self { folder, identity, name, ours: true, version, tree: None })
    }

    /// `6.12` of `6.12.117`: what series folders are called.
    pub fn series(&self) -> String {
        series_of(&self.version)
    }
}

fn series_of(version: &str) -> String {
    version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
}

/// What a series folder for a kernel with this top Makefile is called.
pub fn series_in(makefile: &str) -> Option<String> {
    version_in(makefile).map(|version| series_of(&version))
}

/// The version that a kernel's top Makefile states.
fn version_in(makefile: &str) -> Option<String> {
    let value = |name: &str| {
        let line =
            |line: &'_ str| Some(line.strip_prefix(name)?.trim_start().strip_prefix('=')?.trim().to_owned());
        makefile.lines().find_map(line)
    };
    Some(format!("{}.{}.{}", value("VERSION")?, value("PATCHLEVEL")?, value("SUBLEVEL")?))
}

/// The easy way out of a folder that `make` was run in.
fn committed(folder: &Path) -> String {
    match folder.join(".git").exists() {
        true => format!(
            "`--source {}#HEAD` takes what is committed, and leaves the folder as it is; or ",
            folder.display()
        ),
        false => String::new(),
    }
}

/// Says what the user gave, not what it was unpacked to.
pub(super) fn renamed(error: SourceError, file: &Path) -> SourceError {
    match error {
        SourceError::NotAKernel { why, .. } => SourceError::NotAKernel { path: file.to_owned(), why },
        other => other,
    }
}

/// The version that a kernel's top Makefile states.
///
/// # Errors
/// [`SourceError::NotAKernel`].
pub fn kernel_version(folder: &Path) -> Result<String, SourceError> {
    let not = |why: &str| SourceError::NotAKernel { path: folder.to_owned(), why: why.to_owned() };
    if !folder.is_dir() {
        return Err(not(if folder.exists() { "it is not a folder" } else { "there is no such folder" }));
    }
    let makefile = intake::read_within(folder, "Makefile").map_err(|error| match error.as_io() {
        Some(_) => not("it has no Makefile"),
        // A pipe, or a link to elsewhere.
        None => CacheError::from(error).into(),
    })?;
    let version = version_in(&makefile).ok_or_else(|| not("its Makefile states no kernel version"))?;
    for needed in ["Kconfig", "Kbuild", "arch/x86", "scripts"] {
        if !folder.join(needed).exists() {
            return Err(not(&format!("its Makefile is a kernel's, but there is no {needed}")));
        }
    }
    Ok(version)
}

/// The one folder in a source's entry.
pub(super) fn top(entry: &Path) -> Result<PathBuf, SourceError> {
    let folders = fs::read_dir(entry).map_err(CacheError::io("read", entry))?.flatten();
    // A link that came with a tarball leads to what is no part of it.
    let folders = folders.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut folders = folders.map(|entry| entry.path());
    match (folders.next(), folders.next()) {
        (Some(folder), None) if !entry.join("Makefile").exists() => Ok(folder),
        _ => Ok(entry.to_owned()),
    }
}

/// tar's option for a file's ending.
pub(super) fn compression(file: &Path) -> Option<&'static str> {
    match file.extension()?.to_str()? {
        "xz" | "txz" => Some("--xz"),
        "gz" | "tgz" => Some("--gzip"),
        "bz2" => Some("--bzip2"),
        "zst" => Some("--zstd"),
        _ => None,
    }
}

/// So many times its size may come out of an archive, but for a small one.
const RATIO: u64 = 100;
const LEAST: u64 = 256 << 20;
/// Of what tar says, the first reason is shown.
const MOST_WORDS: u64 = 64 << 10;

/// What may come out of an archive of this size, in bytes. No kernel packs down to a hundredth: what does is made to fill disks.
pub(super) fn most_unpacked(bytes: u64) -> u64 {
    bytes.saturating_mul(RATIO).max(LEAST)
}

/// What a tool may take that unpacks an archive of this size; 0 where that is not known.
pub(super) fn unpacking(bytes: u64) -> Budget {
    let disk = if bytes > 0 { Budget::TOOL.disk.min(most_unpacked(bytes)) } else { Budget::TOOL.disk };
    Budget { disk, ..Budget::TOOL }
}

/// Feeds a tarball to tar, so that we can count. It runs in a box: there it makes no device, and writes nowhere else.
pub(super) fn unpack(
    mut input: impl Read,
    compression: Option<&str>,
    bytes: u64,
    to: &Path,
    what: &str,
) -> Result<(), SourceError> {
    let total = if bytes == 0 { Total::Unknown } else { Total::Known(bytes) };
    let progress = Progress::start(&format!("unpacking {what}"), Unit::Bytes, total);
    let start = CacheError::io("start", Path::new("tar"));
    let sandbox = Sandbox::new(unpacking(bytes)).map_err(CacheError::from)?.write(to);
    let mut command = run::boxed_and_fed(&sandbox, "tar");
    command.args(["--extract", "--file=-", "--no-same-owner", "--no-same-permissions"]).args(compression);
    // What it says is little: a name and a reason, and it ends.
    command.arg("-C").arg(to).stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut tar = Fed::start(command, &sandbox).map_err(start)?;
    let mut pipe = tar.child().stdin.take();
    let said = tar.child().stderr.take().map(|stderr| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.take(MOST_WORDS).read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    });
    let mut buffer = vec![0; 1 << 18];
    let mut done = 0;
    // On an error tar closes the pipe, and then says why.
    while let Some(out) = &mut pipe {
        if base::interrupt::requested() {
            return Err(CacheError::Interrupted.into());
        }
        tar.look().map_err(CacheError::from)?;
        let n = input.read(&mut buffer).map_err(CacheError::io("read", Path::new(what)))?;
        if n == 0 || out.write_all(&buffer[..n]).is_err() {
            pipe = None;
        }
        done += n as u64;
        progress.set(done);
    }
    let status = loop {
        match tar.child().try_wait().map_err(CacheError::io("wait for", Path::new("tar")))? {
            Some(status) => break status,
            None => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
        if base::interrupt::requested() {
            return Err(CacheError::Interrupted.into());
        }
        tar.look().map_err(CacheError::from)?;
    };
    tar.ended().map_err(CacheError::from)?;
    if status.success() {
        return Ok(());
    }
    sandbox.wrote_too_much(status).map_err(CacheError::from)?;
    let said = said.and_then(|said| said.join().ok()).unwrap_or_default();
    if super::diagnose::is_disk_full(std::slice::from_ref(&said)) {
        return Err(CacheError::disk_full(to.to_owned()).into());
    }
    let said = said.lines().next().unwrap_or("tar said nothing").to_owned();
    Err(SourceError::Tool { what: format!("unpack {what}"), said })
}

/// Lower-case hexadecimal.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
