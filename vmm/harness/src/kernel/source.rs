//! Where kernel sources come from, and how they get into the cache.

use super::{run, toolchain, tree::Tree};
use crate::{
    cache::{Cache, CacheError, Kind},
    progress::{Progress, Total, Unit},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use thiserror::Error;

/// Why there is no source.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The machine's apt doesn't know the package.
    #[error("find the Debian package {package}: apt does not know it; run `apt-get update` as root{suite}")]
    NoPackage {
        /// Its name.
        package: String,
        /// What else may help.
        suite: &'static str,
    },
    /// apt, dpkg-deb, tar or git failed.
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
    /// The file system, or Ctrl-C.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Where to take a source from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A Debian package of the `linux-source-*` kind. Without a version: the newest that the cache has, or
    /// else the one that apt would install.
    Debian {
        /// Its name.
        package: String,
        /// In full, as `apt-cache show` has it.
        version: Option<String>,
    },
    /// A folder. It is never written to.
    Folder(PathBuf),
    /// A file that tar can unpack.
    Tarball(PathBuf),
    /// A git repository at a revision.
    Git {
        /// Its work tree or bare repository.
        repository: PathBuf,
        /// Anything that `git rev-parse` takes.
        revision: String,
    },
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Debian { package, version: None } => write!(f, "{package}"),
            Self::Debian { package, version: Some(version) } => write!(f, "{package} {version}"),
            Self::Folder(path) | Self::Tarball(path) => write!(f, "{}", path.display()),
            Self::Git { repository, revision } => write!(f, "{} at {revision}", repository.display()),
        }
    }
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

impl Source {
    /// Finds the source, or gets it into the cache.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn resolve(&self, cache: &Cache) -> Result<Sources, SourceError> {
        match self {
            Self::Debian { package, version } => {
                let key = match newest(cache, package, version.as_deref())? {
                    Some(key) => key,
                    None => fetch(cache, package, version.as_deref())?,
                };
                Sources::kept(cache, &key, package)
            }
            Self::Folder(folder) => {
                let folder = std::path::absolute(folder).map_err(CacheError::io("find", folder))?;
                let version = kernel_version(&folder)?;
                let tree = Tree::scan(&folder)?;
                let identity = hex(Sha256::digest(tree.state()));
                let name = folder.display().to_string();
                Ok(Sources { folder, identity, name, ours: false, version, tree: Some(tree) })
            }
            Self::Tarball(file) => {
                let key = format!("tarball-{}", &digest(file)?[..16]);
                if cache.find(Kind::Source, &key).is_none() {
                    let _lock = cache.lock(&key, &format!("the source {}", file.display()))?;
                    if cache.find(Kind::Source, &key).is_none() {
                        let stage = cache.stage()?;
                        let bytes = fs::metadata(file).map_or(0, |meta| meta.len());
                        let input = File::open(file).map_err(CacheError::io("open", file))?;
                        unpack(input, compression(file), bytes, stage.path(), &file.display().to_string())?;
                        kernel_version(&top(stage.path())?).map_err(|error| renamed(error, file))?;
                        stage.commit(&cache.place(Kind::Source, &key))?;
                    }
                }
                Sources::kept(cache, &key, &file.display().to_string())
            }
            Self::Git { repository, revision } => git(cache, repository, revision),
        }
    }
}

impl Sources {
    fn kept(cache: &Cache, key: &str, name: &str) -> Result<Self, SourceError> {
        let folder = top(&cache.place(Kind::Source, key))?;
        let version = kernel_version(&folder)?;
        let (identity, name) = (key.to_owned(), name.to_owned());
        Ok(Self { folder, identity, name, ours: true, version, tree: None })
    }

    /// `6.12` of `6.12.117`: what series folders are called.
    pub fn series(&self) -> String {
        self.version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
    }
}

/// Says what the user gave, not what it was unpacked to.
fn renamed(error: SourceError, file: &Path) -> SourceError {
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
    let makefile = fs::read(folder.join("Makefile")).map_err(|_| not("it has no Makefile"))?;
    let makefile = String::from_utf8_lossy(&makefile);
    let value = |name: &str| {
        makefile
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='))
            .map(str::trim)
    };
    let (Some(version), Some(patch_level), Some(sub_level)) =
        (value("VERSION"), value("PATCHLEVEL"), value("SUBLEVEL"))
    else {
        return Err(not("its Makefile states no kernel version"));
    };
    for needed in ["Kconfig", "Kbuild", "arch/x86", "scripts"] {
        if !folder.join(needed).exists() {
            return Err(not(&format!("its Makefile is a kernel's, but there is no {needed}")));
        }
    }
    Ok(format!("{version}.{patch_level}.{sub_level}"))
}

/// The one folder in a source's entry.
fn top(entry: &Path) -> Result<PathBuf, SourceError> {
    let folders = fs::read_dir(entry).map_err(CacheError::io("read", entry))?.flatten();
    let mut folders = folders.map(|entry| entry.path()).filter(|path| path.is_dir());
    match (folders.next(), folders.next()) {
        (Some(folder), None) if !entry.join("Makefile").exists() => Ok(folder),
        _ => Ok(entry.to_owned()),
    }
}

/// The newest version of a package that the cache has.
fn newest(cache: &Cache, package: &str, version: Option<&str>) -> Result<Option<String>, CacheError> {
    if let Some(version) = version {
        return Ok(Some(key(package, version)).filter(|key| cache.find(Kind::Source, key).is_some()));
    }
    let of_package = |key: &String| key.strip_prefix(package).is_some_and(|rest| rest.starts_with('_'));
    let numbers = |key: &String| -> Vec<u64> {
        key[package.len()..].split(|c: char| !c.is_ascii_digit()).filter_map(|it| it.parse().ok()).collect()
    };
    Ok(cache.keys(Kind::Source)?.into_iter().filter(of_package).max_by_key(numbers))
}

/// The name of a package's entry: no colons, which the kernel's makefiles can't cope with.
fn key(package: &str, version: &str) -> String {
    format!("{package}_{}", version.replace(':', "_"))
}

/// Downloads a package with the machine's own apt and unpacks the source in it.
fn fetch(cache: &Cache, package: &str, version: Option<&str>) -> Result<String, SourceError> {
    let need = |program: &str, package: &str| match toolchain::find(program) {
        Some(_) => Ok(()),
        None => Err(toolchain::Missing(vec![(program.to_owned(), package.to_owned())])),
    };
    for (program, package) in [("apt-get", "apt"), ("dpkg-deb", "dpkg"), ("tar", "tar"), ("xz", "xz-utils")] {
        need(program, package)?;
    }
    let asked = version.map_or(package.to_owned(), |version| format!("{package}={version}"));
    let output = Command::new("apt-cache")
        .args(["--no-all-versions", "show", &asked])
        .env("LC_ALL", "C")
        .output()
        .map_err(CacheError::io("run", Path::new("apt-cache")))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let (Some(version), Some(size)) = (field("Version"), field("Size").and_then(|size| size.parse().ok()))
    else {
        let suite = if package.starts_with("linux-source-") {
            ", and see that its suite (perhaps a backports suite) is in the machine's apt sources"
        } else {
            ""
        };
        return Err(SourceError::NoPackage { package: asked, suite });
    };
    let key = key(package, version);
    let _lock = cache.lock(&key, &format!("the source {package}"))?;
    if cache.find(Kind::Source, &key).is_some() {
        return Ok(key);
    }
    let download = cache.stage()?;
    let package_file = {
        let progress =
            Progress::start(&format!("downloading {package} {version}"), Unit::Bytes, Total::Known(size));
        download_package(&format!("{package}={version}"), download.path(), &cache.log("apt"), &progress)?
    };
    let stage = cache.stage()?;
    let inner = extract(&package_file, download.path())?;
    let bytes = fs::metadata(&inner).map_or(0, |meta| meta.len());
    let input = File::open(&inner).map_err(CacheError::io("open", &inner))?;
    unpack(input, compression(&inner), bytes, stage.path(), &format!("{package} {version}"))?;
    kernel_version(&top(stage.path())?)?;
    stage.commit(&cache.place(Kind::Source, &key))?;
    Ok(key)
}

/// `apt-get download`, which checks the package's digest by itself.
fn download_package(
    asked: &str,
    folder: &Path,
    log: &Path,
    progress: &Progress,
) -> Result<PathBuf, SourceError> {
    let mut command = run::tied("apt-get");
    command.args(["download", "-q", asked]).current_dir(folder);
    if nix::unistd::geteuid().is_root() {
        // The user _apt, to which apt would change, can't write to our folder.
        command.args(["-o", "APT::Sandbox::User=root"]);
    }
    let in_folder = || fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let (finished, finish) = std::sync::mpsc::channel::<()>();
    let ran = std::thread::scope(|scope| {
        // apt tells its progress only to terminals; the file that grows tells it as well.
        let log = log.to_owned();
        let running = scope.spawn(move || {
            let _finished = finished;
            run::run(command, &log, None, |_| ())
        });
        while finish.recv_timeout(std::time::Duration::from_millis(200))
            == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            progress.set(in_folder().filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum());
        }
        running.join()
    });
    let ran = ran.unwrap_or(Err(CacheError::Interrupted))?;
    if super::diagnose::is_disk_full(&ran.lines) {
        return Err(CacheError::disk_full(folder.to_owned()).into());
    }
    let package = in_folder().find(|path| path.extension().is_some_and(|it| it == "deb"));
    package.filter(|_| ran.status.success()).ok_or_else(|| SourceError::Tool {
        what: format!("download the Debian package {asked}"),
        said: ran.lines.iter().rev().find(|line| line.starts_with("E:")).or(ran.lines.last()).map_or_else(
            || "apt-get said nothing".to_owned(),
            |line| format!("{} (`apt-get update` as root may help)", line.trim_start_matches("E: ")),
        ),
    })
}

/// Unpacks a package and finds the tarball in it.
fn extract(package: &Path, folder: &Path) -> Result<PathBuf, SourceError> {
    let to = folder.join("package");
    let mut command = run::tied("dpkg-deb");
    command.arg("-x").arg(package).arg(&to);
    let ran = run::run(command, &folder.join("log"), None, |_| ())?;
    if !ran.status.success() {
        if super::diagnose::is_disk_full(&ran.lines) {
            return Err(CacheError::disk_full(to).into());
        }
        let what = format!("unpack {}", package.display());
        return Err(SourceError::Tool { what, said: ran.lines.last().cloned().unwrap_or_default() });
    }
    // The package is no longer needed, and disks are finite.
    fs::remove_file(package).map_err(CacheError::io("remove", package))?;
    let inside = to.join("usr/src");
    let files = fs::read_dir(&inside).into_iter().flatten().flatten().map(|entry| entry.path());
    files.into_iter().find(|path| path.is_file() && compression(path).is_some()).ok_or_else(|| {
        SourceError::NotAKernel { path: package.to_owned(), why: "no tarball is in its usr/src".to_owned() }
    })
}

/// tar's option for a file's ending.
fn compression(file: &Path) -> Option<&'static str> {
    match file.extension()?.to_str()? {
        "xz" | "txz" => Some("--xz"),
        "gz" | "tgz" => Some("--gzip"),
        "bz2" => Some("--bzip2"),
        "zst" => Some("--zstd"),
        _ => None,
    }
}

/// Feeds a tarball to tar, so that we can count.
fn unpack(
    mut input: impl Read,
    compression: Option<&str>,
    bytes: u64,
    to: &Path,
    what: &str,
) -> Result<(), SourceError> {
    let total = if bytes == 0 { Total::Unknown } else { Total::Known(bytes) };
    let progress = Progress::start(&format!("unpacking {what}"), Unit::Bytes, total);
    let start = CacheError::io("start", Path::new("tar"));
    let mut tar = Command::new("tar")
        .args(["--extract", "--file=-", "--no-same-owner"])
        .args(compression)
        .arg("-C")
        .arg(to)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let mut pipe = tar.stdin.take();
    let mut buffer = vec![0; 1 << 18];
    let mut done = 0;
    // On an error tar closes the pipe, and then says why.
    while let Some(out) = &mut pipe {
        if crate::interrupt::requested() {
            let _ = tar.kill();
            let _ = tar.wait();
            return Err(CacheError::Interrupted.into());
        }
        let n = input.read(&mut buffer).map_err(CacheError::io("read", Path::new(what)))?;
        if n == 0 || out.write_all(&buffer[..n]).is_err() {
            pipe = None;
        }
        done += n as u64;
        progress.set(done);
    }
    let output = tar.wait_with_output().map_err(CacheError::io("wait for", Path::new("tar")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if super::diagnose::is_disk_full(std::slice::from_ref(&said)) {
        return Err(CacheError::disk_full(to.to_owned()).into());
    }
    let said = said.lines().next().unwrap_or("tar said nothing").to_owned();
    Err(SourceError::Tool { what: format!("unpack {what}"), said })
}

/// A revision's tree, exported: the work tree may hold anything, and is nobody's business.
fn git(cache: &Cache, repository: &Path, revision: &str) -> Result<Sources, SourceError> {
    if toolchain::find("git").is_none() {
        return Err(toolchain::Missing(vec![("git".to_owned(), "git".to_owned())]).into());
    }
    let git = || {
        let mut command = Command::new("git");
        command.arg("-C").arg(repository).env("LC_ALL", "C");
        command
    };
    let asked = format!("{revision}^{{tree}}");
    let output = git()
        .args(["rev-parse", "--verify", "--end-of-options", &asked])
        .output()
        .map_err(CacheError::io("run", Path::new("git")))?;
    if !output.status.success() {
        let said = match String::from_utf8_lossy(&output.stderr).lines().next() {
            None | Some("fatal: Needed a single revision") => "there is no such revision".to_owned(),
            Some(line) => line.trim_start_matches("fatal: ").to_owned(),
        };
        let what = format!("find the revision {revision} in {}", repository.display());
        return Err(SourceError::Tool { what, said });
    }
    let hash = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let key = format!("git-{}", hash.get(..16).unwrap_or(&hash));
    let name = repository.display().to_string();
    if cache.find(Kind::Source, &key).is_none() {
        let _lock = cache.lock(&key, &format!("the source {name} at {revision}"))?;
        let stage = cache.stage()?;
        let mut archive = git()
            .args(["archive", "--format=tar", &hash])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(CacheError::io("run", Path::new("git")))?;
        if let Some(output) = archive.stdout.take() {
            unpack(output, None, 0, stage.path(), &format!("{name} at {revision}"))?;
        }
        if !archive.wait().is_ok_and(|status| status.success()) {
            let what = format!("export {revision} of {name}");
            return Err(SourceError::Tool { what, said: "git archive failed".to_owned() });
        }
        kernel_version(stage.path()).map_err(|error| renamed(error, repository))?;
        stage.commit(&cache.place(Kind::Source, &key))?;
    }
    Sources::kept(cache, &key, &name)
}

fn digest(file: &Path) -> Result<String, CacheError> {
    let mut reader = File::open(file).map_err(CacheError::io("open", file))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match reader.read(&mut buffer).map_err(CacheError::io("read", file))? {
            0 => return Ok(hex(digest.finalize())),
            n => digest.update(&buffer[..n]),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "source_test.rs"]
mod tests;
