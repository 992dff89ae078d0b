//! What is meant by the kernel that people name.

use super::{
    base_config::Base,
    patch::{self, RECIPE},
    recipe::{Patches, Recipe},
    source::Source,
    toolchain::Compiler,
};
use base::{
    project::{PATCHES, all_patches, of_patches},
    wanted::Wanted,
};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// What is built where nothing is asked for.
pub const DEFAULT_SERIES: &str = "6.12";

/// What can't be meant.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum WantedError {
    /// No such series, hash, or file.
    #[error(
        "find the kernel `{name}`: it is no series (known: {known}), no hash that `vmm kernel list` shows, and no \
         file"
    )]
    NoKernel {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Neither a path nor a package.
    #[error(
        "find the source `{0}`: there is no such file or folder, it is no git address (with #REVISION), and no \
         package called linux-source-VERSION"
    )]
    NoSource(String),
    /// A revision of something that has none.
    #[error("use `{0}` at a revision: only git repositories have revisions")]
    NoRepository(String),
    /// An address without a revision.
    #[error("fetch {0}: say which revision, as in {0}#v6.12")]
    NoRevision(String),
    /// A tarball's address without a checksum.
    #[error("get {0}: say what it must be, as in {0}#sha256=HEX; or {0}#insecure to take whatever comes")]
    NoChecksum(String),
    /// A checksum that is none.
    #[error("get {0}: a SHA-256 has 64 hexadecimal digits, and `{1}` is none")]
    BadChecksum(String, String),
    /// No `series` file.
    #[error("use the series {}: {why}", path.display())]
    NoSeries {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No such base configuration.
    #[error(
        "use the configuration `{0}`: there is no such file (besides files: tiny, defconfig, localmodconfig:FILE \
         with what lsmod printed)"
    )]
    NoConfig(String),
    /// localmodconfig without a configuration to thin out.
    #[error(
        "use localmodconfig:{}: it thins out a configuration, and this machine shows none of its own in \
         /boot/config-RELEASE; name one: localmodconfig:{}:CONFIG", .0.display(), .0.display()
    )]
    NoOwnConfig(PathBuf),
    /// No such fragment.
    #[error(
        "use the fragment `{name}`: there is no such file, and no ready-made one of this name{nearest} (ready-made: {known})"
    )]
    NoFragment {
        /// What was asked for.
        name: String,
        /// A question, or nothing.
        nearest: String,
        /// What there is.
        known: String,
    },
    /// Two things that exclude each other.
    #[error("use {0} together with {1}: {2}")]
    Conflict(&'static str, &'static str, &'static str),
    /// No clang.
    #[error("build with clang{0}: there is no clang{0} with its ld.lld{0}; install clang-19 lld-19 llvm-19")]
    NoClang(String),
    /// A series' own defaults can't be read, as its reader says.
    #[error("{0}")]
    Unread(String),
    /// A series' own defaults make no sense.
    #[error("read {}: {why}", path.display())]
    Defaults {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// What was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// Build it, or find it built.
    Recipe(Recipe),
    /// An entry of the cache.
    Built(PathBuf),
    /// Somebody else's kernel: a `vmlinuz` or a package.
    Foreign {
        /// The file.
        image: PathBuf,
        /// Its modules, if they were named.
        modules: Option<PathBuf>,
    },
}

/// What a series' recipe says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    /// `gcc` (the default) or `llvm`.
    #[serde(default)]
    compiler: CompilerName,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CompilerName {
    #[default]
    Gcc,
    Llvm,
}

/// Finds out what is meant. `project` has the folder `kernel-patches`, `kernels` the built ones.
///
/// # Errors
/// See [`WantedError`].
pub fn meant(wanted: &Wanted, project: &Path, kernels: &Path) -> Result<Meant, WantedError> {
    let patches = project.join(PATCHES);
    if let (Some(_), Some(_)) = (&wanted.kernel, &wanted.source) {
        return Err(WantedError::Conflict("a kernel", "a source", "either names what is to run"));
    }
    let series = wanted.kernel.as_deref().unwrap_or(DEFAULT_SERIES);
    let named = of_series(&patches, series);
    if wanted.source.is_none() && named.is_none() {
        return ready(wanted, series, &patches, kernels);
    }
    if wanted.modules.is_some() {
        return Err(WantedError::Conflict("modules", "a kernel that is built here", "it brings its own"));
    }
    let (source, all) = match &wanted.source {
        Some(source) => (named_source(wanted, source)?, Patches::Matching(patches.clone())),
        None if wanted.revision.is_some() => {
            return Err(WantedError::NoRepository(format!("linux-source-{series}")));
        }
        None => {
            let source = Source::Debian { package: format!("linux-source-{series}"), version: None };
            (source, Patches::Folder(named.unwrap_or_else(|| patches.join(series))))
        }
    };
    let all = named_series(wanted, &patches)?.unwrap_or(all);
    let compiler = match (&wanted.llvm, &all) {
        (Some(version), _) => llvm(version)?,
        (None, Patches::Folder(folder)) => compiler_of(folder)?,
        // Of a series that goes by the source's version, once that is known.
        (None, Patches::None | Patches::Matching(_)) => Compiler::Gcc,
    };
    let base = named_base(wanted)?;
    let own = if base == Base::Tiny { "base" } else { "guest" };
    let mut fragments = vec![of_patches(&patches, &format!("config/{own}.config"))];
    for name in &wanted.fragments {
        fragments.push(fragment(name, &patches)?);
    }
    Ok(Meant::Recipe(Recipe { source, series: all, base, fragments, compiler, apart: false }))
}

/// A kernel that needs no building.
fn ready(wanted: &Wanted, name: &str, patches: &Path, kernels: &Path) -> Result<Meant, WantedError> {
    let building = [
        (wanted.revision.is_some(), "a revision"),
        (wanted.series.is_some(), "a series of patches"),
        (wanted.config.is_some(), "a configuration"),
        (!wanted.fragments.is_empty(), "a fragment"),
        (wanted.llvm.is_some(), "a compiler"),
    ];
    let building = building.iter().find(|(asked, _)| *asked).map(|(_, what)| *what);
    let meant =
        if Path::new(name).is_file() {
            Meant::Foreign { image: name.into(), modules: wanted.modules.clone() }
        } else {
            Meant::Built(built(name, kernels).ok_or_else(|| WantedError::NoKernel {
                name: name.to_owned(),
                known: known_series(patches),
            })?)
        };
    match building {
        Some(what) => Err(WantedError::Conflict(what, "a finished kernel", "nothing is built then")),
        None => Ok(meant),
    }
}

fn named_source(wanted: &Wanted, text: &str) -> Result<Source, WantedError> {
    // A folder may have a # in its name.
    let (place, revision) = match text.rsplit_once('#') {
        Some((place, revision)) if !Path::new(text).exists() => (place, Some(revision.to_owned())),
        _ => (text, None),
    };
    let revision = wanted.revision.clone().or(revision);
    let path = PathBuf::from(place);
    let address = place.contains("://") || place.starts_with("git@");
    if place.starts_with("https://") || place.starts_with("http://") {
        let packed = [".tar", ".tar.xz", ".tar.gz", ".tar.bz2", ".tar.zst", ".tgz", ".txz"];
        if packed.iter().any(|ending| place.ends_with(ending)) {
            return downloaded(place, revision.as_deref());
        }
    }
    match revision {
        Some(revision) if path.is_dir() => {
            Ok(Source::Git { repository: path, revision, checkout: wanted.checkout.clone() })
        }
        Some(revision) if address => Ok(Source::Remote { address: place.to_owned(), revision }),
        Some(_) if path.exists() => Err(WantedError::NoRepository(place.to_owned())),
        None if path.is_dir() => Ok(Source::Folder(path)),
        None if path.is_file() => Ok(Source::Tarball(path)),
        None if address => Err(WantedError::NoRevision(place.to_owned())),
        revision => match package(place) {
            Some(_) if revision.is_some() => Err(WantedError::NoRepository(place.to_owned())),
            Some(source) => Ok(source),
            None => Err(WantedError::NoSource(place.to_owned())),
        },
    }
}

/// A tarball of the web: what stands behind the `#` says what it must be.
fn downloaded(address: &str, check: Option<&str>) -> Result<Source, WantedError> {
    let sha256 = match check {
        None => return Err(WantedError::NoChecksum(address.to_owned())),
        Some("insecure") => None,
        Some(check) => {
            let sum = check.strip_prefix("sha256=").unwrap_or(check).to_lowercase();
            if sum.len() != 64 || !sum.chars().all(|c| c.is_ascii_hexdigit()) {
                return Err(WantedError::BadChecksum(address.to_owned(), check.to_owned()));
            }
            Some(sum)
        }
    };
    Ok(Source::Download { address: address.to_owned(), sha256 })
}

fn named_series(wanted: &Wanted, patches: &Path) -> Result<Option<Patches>, WantedError> {
    let Some(name) = &wanted.series else { return Ok(None) };
    if name == "none" {
        return Ok(Some(Patches::None));
    }
    Ok(Some(Patches::Folder(series_folder(name, patches)?)))
}

/// The folder of a series: one of the project's by its name, or any by its path. `patches` is where the project's are.
///
/// # Errors
/// [`WantedError::NoSeries`].
pub fn series_folder(name: &str, patches: &Path) -> Result<PathBuf, WantedError> {
    let path = of_series(patches, name).unwrap_or_else(|| PathBuf::from(name));
    let why = match path.join("series") {
        file if file.is_file() => return Ok(path),
        _ if path.is_dir() => "it has no file `series`, which lists the patches in their order".to_owned(),
        _ => format!("there is no such folder (known: {}; or none)", known_series(patches)),
    };
    Err(WantedError::NoSeries { path, why })
}

fn named_base(wanted: &Wanted) -> Result<Base, WantedError> {
    match wanted.config.as_deref() {
        None | Some("tiny" | "tinyconfig") => Ok(Base::Tiny),
        Some("defconfig") => Ok(Base::Default),
        Some(text) => match text.strip_prefix("localmodconfig:") {
            Some(rest) => local(rest),
            None if Path::new(text).is_file() => Ok(Base::File(text.into())),
            None => Err(WantedError::NoConfig(text.to_owned())),
        },
    }
}

fn local(text: &str) -> Result<Base, WantedError> {
    let (lsmod, config) = match text.split_once(':') {
        Some((lsmod, config)) => (PathBuf::from(lsmod), Some(PathBuf::from(config))),
        None => (PathBuf::from(text), None),
    };
    let config = match config {
        Some(config) => config,
        None => {
            let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            let own = PathBuf::from(format!("/boot/config-{}", release.trim()));
            if !own.is_file() {
                return Err(WantedError::NoOwnConfig(lsmod));
            }
            own
        }
    };
    for file in [&lsmod, &config] {
        if !file.is_file() {
            return Err(WantedError::NoConfig(file.display().to_string()));
        }
    }
    Ok(Base::Local { lsmod, config })
}

/// `linux-source-6.12` or `linux-source-6.12=6.12.100-1`.
fn package(text: &str) -> Option<Source> {
    let (package, version) = match text.split_once('=') {
        Some((package, version)) => (package, Some(version.to_owned())),
        None => (text, None),
    };
    // Debian policy, 5.6.1.
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    (package.starts_with("linux-source-") && package.chars().all(good))
        .then(|| Source::Debian { package: package.to_owned(), version })
}

/// `1` means the newest that is installed.
fn llvm(version: &str) -> Result<Compiler, WantedError> {
    let suffix = match version {
        "1" => return Compiler::newest_llvm().ok_or_else(|| WantedError::NoClang(String::new())),
        version => format!("-{}", version.trim_start_matches('-')),
    };
    let compiler = Compiler::Llvm { suffix: suffix.clone() };
    if compiler.is_there() { Ok(compiler) } else { Err(WantedError::NoClang(suffix)) }
}

fn fragment(name: &str, patches: &Path) -> Result<PathBuf, WantedError> {
    let ready = of_patches(patches, &format!("config/{name}.config"));
    if !name.contains('/') && ready.is_file() {
        return Ok(ready);
    }
    if Path::new(name).is_file() {
        return Ok(name.into());
    }
    let stem = |path: &Path| {
        let stem = path.file_name()?.to_str()?.strip_suffix(".config")?;
        (!matches!(stem, "base" | "guest")).then(|| stem.to_owned())
    };
    let folders = all_patches(patches).into_iter();
    let known: BTreeSet<String> = folders.flat_map(|it| names(&it.join("config"), stem)).collect();
    let known: Vec<String> = known.into_iter().collect();
    let nearest = known.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
    let nearest = nearest.filter(|it| strsim::jaro(it, name) > 0.8);
    Err(WantedError::NoFragment {
        name: name.to_owned(),
        nearest: nearest.map_or(String::new(), |it| format!("; did you mean `{it}`?")),
        known: known.join(", "),
    })
}

/// A series' folder, by its name: the project's own, or one that the program brings.
pub fn of_series(patches: &Path, name: &str) -> Option<PathBuf> {
    let list = of_patches(patches, &format!("{name}/series"));
    list.is_file().then(|| list.with_file_name("")).map(|folder| folder.components().collect())
}

/// All of them, for people.
fn known_series(patches: &Path) -> String {
    let all: BTreeSet<String> = all_patches(patches).iter().flat_map(|folder| series_of(folder)).collect();
    all.into_iter().collect::<Vec<_>>().join(", ")
}

/// The series that a project has.
pub fn series_of(patches: &Path) -> Vec<String> {
    names(patches, |path| {
        path.join("series")
            .is_file()
            .then(|| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
    })
}

fn names(folder: &Path, name: impl Fn(&Path) -> Option<String>) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| name(&entry.path())).collect();
    names.sort();
    names
}

/// An entry by its hash, or by enough of its first digits.
pub fn built(hash: &str, kernels: &Path) -> Option<PathBuf> {
    if hash.len() < 4 || !hash.chars().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let found = names(kernels, |path| {
        let name = path.file_name()?.to_str()?;
        name.starts_with(hash).then(|| name.to_owned())
    });
    match &found[..] {
        [one] => Some(kernels.join(one)),
        _ => None,
    }
}

/// The compiler that the defaults in a series' folder name.
pub(crate) fn compiler_of(series: &Path) -> Result<Compiler, WantedError> {
    match defaults(series)?.compiler {
        CompilerName::Gcc => Ok(Compiler::Gcc),
        CompilerName::Llvm => llvm("1"),
    }
}

/// What all kernels of a history get where nobody names patches, so that commits differ by nothing else: a series and a compiler, as people
/// name them. `versions` are those of its ends, such as `6.12`, the newest last. Where they are one, it is its series; else none is put on
/// any commit, and the compiler is the one that the newest end's series asks for.
///
/// # Errors
/// What that series says of its compiler makes no sense.
pub fn of_history(versions: &[String], patches: &Path) -> Result<(String, Option<String>), WantedError> {
    let none = ("none".to_owned(), None);
    let Some(newest) = versions.last() else { return Ok(none) };
    let Some(folder) = of_series(patches, newest) else { return Ok(none) };
    if versions.iter().all(|version| version == newest) {
        return Ok((newest.clone(), None));
    }
    let llvm = matches!(defaults(&folder)?.compiler, CompilerName::Llvm).then(|| "1".to_owned());
    Ok((none.0, llvm))
}

fn defaults(series: &Path) -> Result<Defaults, WantedError> {
    let Some(text) = patch::recipe(series).map_err(|error| WantedError::Unread(error.to_string()))? else {
        return Ok(Defaults::default());
    };
    serde_yaml::from_slice(&text).map_err(|error| WantedError::Defaults {
        path: series.join(RECIPE),
        why: error.without_snippet().to_string(),
    })
}

#[cfg(test)]
#[path = "wanted_test.rs"]
mod tests;
