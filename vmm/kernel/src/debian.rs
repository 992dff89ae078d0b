//! Kernel sources that Debian packages.
//!
//! The machine's own apt is asked first. Newer kernels are in suites that most machines don't list, so apt is then
//! asked again with lists of ours: nothing about the machine's configuration changes, and no root is needed. Where apt knows no
//! Debian, its archive is asked without it.

mod archive;
mod suites;

pub use archive::origin;
pub(super) use archive::tarball;

use super::{
    diagnose, download, run,
    sources::{SourceError, compression, kernel_version, top, unpack},
    toolchain,
};
use archive::Listed;
use base::{
    cache::{Cache, CacheError, Kind},
    progress::{Progress, Total, Unit},
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};
use suites::{Apt, Found};

/// How a package is to be had.
enum Way {
    Apt(Apt, Found),
    Archive(Listed),
}

/// The newest version of a package that the cache has.
pub(super) fn newest(
    cache: &Cache,
    package: &str,
    version: Option<&str>,
) -> Result<Option<String>, CacheError> {
    if let Some(version) = version {
        return Ok(Some(key(package, version)).filter(|key| cache.find(Kind::Source, key).is_some()));
    }
    let of_package = |key: &String| key.strip_prefix(package).is_some_and(|rest| rest.starts_with('_'));
    let of_key = |key: &String| numbers(&key[package.len()..]);
    Ok(cache.keys(Kind::Source)?.into_iter().filter(of_package).max_by_key(of_key))
}

/// What versions of a kernel's package are sorted by.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|it| it.parse().ok()).collect()
}

/// The name of a package's entry: no colons, which the kernel's makefiles can't cope with.
pub(super) fn key(package: &str, version: &str) -> String {
    format!("{package}_{}", version.replace(':', "_"))
}

/// Programs without which no package becomes a source, and the packages that have them.
pub(super) const NEEDS: [(&str, &str); 3] = [("dpkg-deb", "dpkg"), ("tar", "tar"), ("xz", "xz-utils")];

/// Downloads a package and unpacks the source in it.
pub(super) fn fetch(cache: &Cache, package: &str, version: Option<&str>) -> Result<String, SourceError> {
    let missing = NEEDS.iter().filter(|(program, _)| toolchain::find(program).is_none());
    let missing: Vec<_> =
        missing.map(|(program, package)| ((*program).to_owned(), (*package).to_owned())).collect();
    if !missing.is_empty() {
        return Err(toolchain::Missing(missing).into());
    }
    let asked = version.map_or(package.to_owned(), |version| format!("{package}={version}"));
    let lists = cache.stage()?;
    let has_apt = toolchain::find("apt-get").is_some();
    if has_apt && let Some((apt, found)) = suites::find(&asked, lists.path(), &cache.log("apt"))? {
        return keep(cache, package, Way::Apt(apt, found));
    }
    match archive::named() {
        Some(named) => match archive::find(cache, &named, suites::SUITES, package, version)? {
            Some(listed) => keep(cache, package, Way::Archive(listed)),
            None => Err(SourceError::NoPackage { package: asked }),
        },
        None if has_apt && suites::mirror()?.is_some() => Err(SourceError::NoPackage { package: asked }),
        None => {
            Err(SourceError::NoArchive { package: asked, why: "VMM_DEBIAN_MIRROR names none".to_owned() })
        }
    }
}

/// Brings a package's source into the cache, and returns its key.
fn keep(cache: &Cache, package: &str, way: Way) -> Result<String, SourceError> {
    let version = match &way {
        Way::Apt(_, found) => &found.version,
        Way::Archive(listed) => &listed.version,
    };
    let key = key(package, version);
    let _lock = cache.lock(&key, &format!("the source {package}"))?;
    if cache.find(Kind::Source, &key).is_some() {
        return Ok(key);
    }
    let download = cache.stage()?;
    let inner = match &way {
        Way::Apt(apt, Found { version, size }) => {
            let asked = format!("{package}={version}");
            let what = format!("downloading {package} {version}");
            let progress = Progress::start(&what, Unit::Bytes, Total::Known(*size));
            let file = download_package(apt, &asked, download.path(), &cache.log("apt"), &progress)?;
            drop(progress);
            extract(&file, download.path())?
        }
        Way::Archive(listed) => {
            let _lock = cache.lock("download", &format!("the package {package}"))?;
            let fetched = download::fetch(cache, &listed.address, Some(&listed.sha256))?;
            extract(&fetched.path, download.path())?
        }
    };
    let stage = cache.stage()?;
    let bytes = fs::metadata(&inner).map_or(0, |meta| meta.len());
    let input = File::open(&inner).map_err(CacheError::io("open", &inner))?;
    unpack(input, compression(&inner), bytes, stage.path(), &format!("{package} {version}"))?;
    kernel_version(&top(stage.path())?)?;
    stage.commit(&cache.place(Kind::Source, &key))?;
    Ok(key)
}

/// `apt-get download`, which checks the package's digest by itself.
fn download_package(
    apt: &Apt,
    asked: &str,
    folder: &Path,
    log: &Path,
    progress: &Progress,
) -> Result<PathBuf, SourceError> {
    let mut command = run::tied("apt-get");
    command.args(apt.options()).args(["download", "-q", asked]).current_dir(folder);
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
    if diagnose::is_disk_full(&ran.lines) {
        return Err(CacheError::disk_full(folder.to_owned()).into());
    }
    let package = in_folder().find(|path| path.extension().is_some_and(|it| it == "deb"));
    package.filter(|_| ran.status.success()).ok_or_else(|| SourceError::Fetch {
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
        if diagnose::is_disk_full(&ran.lines) {
            return Err(CacheError::disk_full(to).into());
        }
        let what = format!("unpack {}", package.display());
        // What came is what the archive's checksum says, so it is no fault of who asked for it.
        return Err(SourceError::Fetch { what, said: ran.lines.last().cloned().unwrap_or_default() });
    }
    // The package is no longer needed, and disks are finite.
    fs::remove_file(package).map_err(CacheError::io("remove", package))?;
    let inside = to.join("usr/src");
    let files = fs::read_dir(&inside).into_iter().flatten().flatten().map(|entry| entry.path());
    files.into_iter().find(|path| path.is_file() && compression(path).is_some()).ok_or_else(|| {
        SourceError::NotAKernel { path: package.to_owned(), why: "no tarball is in its usr/src".to_owned() }
    })
}
