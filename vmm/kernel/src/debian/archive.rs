//! An archive of Debian's without apt, for machines whose apt knows none, or that have no apt: Ubuntu, Fedora. Its address is the user's to name.
//!
//! A suite's index has the checksum of each package, and its `Release` file that of the index. Whose archive it is, https alone says:
//! what comes is a source, and its makefiles run in a box.

use crate::{download, sources::SourceError, toolchain};
use base::{
    cache::{Cache, CacheError},
    progress,
    unpack::unpack_apart,
};
use std::{env, fs};

/// The variable in the environment that names an archive.
pub const VARIABLE: &str = "VMM_DEBIAN_MIRROR";
/// A suite's packages that are for every machine are in each architecture's index.
const INDEX: &str = "main/binary-amd64/Packages.xz";

/// What an archive has of a package.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    pub version: String,
    /// In hexadecimal digits.
    pub sha256: String,
    /// Of its file.
    pub address: String,
}

/// The archive that was named, if one was.
pub fn named() -> Option<String> {
    env::var(VARIABLE).ok().filter(|address| !address.is_empty())
}

/// Looks for a package in the archive's suites.
///
/// # Errors
/// [`SourceError::NoArchive`] if no suite can be read; or an index is not what its suite says.
pub fn find(
    cache: &Cache,
    archive: &str,
    suites: &[&str],
    package: &str,
    version: Option<&str>,
) -> Result<Option<Listed>, SourceError> {
    let archive = archive.trim_end_matches('/');
    // One download at a time: the names of files of several may be the same.
    let _lock = cache.lock("download", &format!("the package {package}"))?;
    let mut unread = None;
    let mut was_read = false;
    for suite in suites {
        progress::note(&format!("looking for {package} in {archive}, suite {suite}"));
        match index(cache, archive, suite) {
            Ok(index) => {
                was_read = true;
                if let Some(found) = listed(&index, archive, package, version) {
                    return Ok(Some(found));
                }
            }
            // A mirror need not have all of them.
            Err(error @ SourceError::Download { .. }) => unread = Some(error),
            Err(error) => return Err(error),
        }
    }
    match unread {
        Some(error) if !was_read => {
            Err(SourceError::NoArchive { package: package.to_owned(), why: format!("vmm failed to {error}") })
        }
        _ => Ok(None),
    }
}

/// What a suite has, as its `Packages` file has it.
fn index(cache: &Cache, archive: &str, suite: &str) -> Result<String, SourceError> {
    let folder = format!("{archive}/dists/{suite}");
    let read = |address: &str, sha256: Option<&str>| -> Result<Vec<u8>, SourceError> {
        let fetched = download::fetch(cache, address, sha256)?;
        Ok(fs::read(&fetched.path).map_err(CacheError::io("read", &fetched.path))?)
    };
    let broken = |address: &str, why: String| SourceError::Download { address: address.to_owned(), why };
    let release = format!("{folder}/Release");
    let text = read(&release, None)?;
    let sum = checksum(&String::from_utf8_lossy(&text), INDEX)
        .ok_or_else(|| broken(&release, format!("it has no SHA-256 of {INDEX}")))?;
    let address = format!("{folder}/{INDEX}");
    let packed = read(&address, Some(&sum))?;
    let packages = unpack_apart(packed).map_err(|error| broken(&address, error.to_string()))?;
    Ok(String::from_utf8_lossy(&packages).into_owned())
}

/// The checksum that a `Release` file has of a file: behind `SHA256:` lines of a blank, the sum, the size and the name.
fn checksum(release: &str, name: &str) -> Option<String> {
    let sums = release.lines().skip_while(|line| line.trim_end() != "SHA256:").skip(1);
    let mut sums = sums.take_while(|line| line.starts_with(' ')).map(|line| line.split_whitespace());
    sums.find_map(|mut words| {
        let sum = words.next()?;
        (words.nth(1) == Some(name) && is_sum(sum)).then(|| sum.to_lowercase())
    })
}

fn is_sum(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The newest of a package in an index: paragraphs of `Name: value` lines.
fn listed(index: &str, archive: &str, package: &str, version: Option<&str>) -> Option<Listed> {
    let field = |paragraph: &str, name: &str| {
        let line = paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(|value| value.trim().to_owned())
    };
    let all = index.split("\n\n").map(str::trim_start).filter_map(|paragraph| {
        if field(paragraph, "Package")? != package {
            return None;
        }
        let found = field(paragraph, "Version").filter(|it| version.is_none_or(|version| version == it))?;
        let sha256 = field(paragraph, "SHA256").filter(|sum| is_sum(sum))?.to_lowercase();
        let address = format!("{archive}/{}", field(paragraph, "Filename")?);
        Some(Listed { version: found, sha256, address })
    });
    // A suite may still have the version before.
    all.max_by_key(|listed| super::numbers(&listed.version))
}

/// A kernel's own tarball of the package's version, for who can't get the package.
pub fn tarball(package: &str) -> String {
    let series = package.strip_prefix("linux-source-").unwrap_or_default();
    let series = series.split('=').next().unwrap_or_default();
    let major = series.split('.').next().unwrap_or_default();
    format!("https://cdn.kernel.org/pub/linux/kernel/v{major}.x/linux-{series}.N.tar.xz#sha256=HEX")
}

/// From where a package of a source comes on this machine, in a few words.
///
/// # Errors
/// In a few words, why it can't be had.
pub fn origin(cache: &Cache, package: &str) -> Result<String, String> {
    let own = toolchain::find("apt-get").and_then(|_| super::suites::mirror().ok().flatten());
    match (named(), own) {
        (Some(archive), _) => Ok(format!("come from {archive} ({VARIABLE})")),
        (None, Some(mirror)) => Ok(format!("come from this machine's apt ({mirror})")),
        (None, None) if super::newest(cache, package, None).is_ok_and(|kept| kept.is_some()) => {
            Ok("are in the cache".to_owned())
        }
        (None, None) => {
            Err(format!("can't be had: apt knows no archive of Debian here, and {VARIABLE} names none"))
        }
    }
}

#[cfg(test)]
#[path = "archive_test.rs"]
mod tests;
