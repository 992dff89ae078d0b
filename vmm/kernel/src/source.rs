//! Where kernel sources come from, and how they get into the cache.

use super::{
    debian, download, git,
    sources::{SourceError, Sources, compression, hex, kernel_version, renamed, top, unpack},
    tree::Tree,
};
use base::cache::{Cache, CacheError, Kind};
use jail::Limits;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

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
    /// A tarball somewhere else.
    Download {
        /// Where.
        address: String,
        /// Its digest, in hexadecimal digits; without one whatever comes is taken.
        sha256: Option<String>,
    },
    /// A git repository at a revision.
    Git {
        /// Its work tree or bare repository.
        repository: PathBuf,
        /// Anything that `git rev-parse` takes; the tree's hash, if there is a checkout.
        revision: String,
        /// Where it is checked out. Files there are replaced when another revision is, and never written to.
        checkout: Option<PathBuf>,
    },
    /// A git repository somewhere else.
    Remote {
        /// What `git fetch` takes.
        address: String,
        /// A branch, a tag, or a commit that the server hands out.
        revision: String,
    },
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Debian { package, version: None } => write!(f, "{package}"),
            Self::Debian { package, version: Some(version) } => write!(f, "{package} {version}"),
            Self::Folder(path) | Self::Tarball(path) => write!(f, "{}", path.display()),
            Self::Download { address, .. } => write!(f, "{address}"),
            Self::Remote { address, revision } => write!(f, "{address} at {revision}"),
            Self::Git { repository, revision, .. } => write!(f, "{} at {revision}", repository.display()),
        }
    }
}

impl Source {
    /// Whether it can be read as it is: [`Self::resolve`] would neither fetch nor unpack anything.
    ///
    /// # Errors
    /// The cache can't be read, or there is no such file or revision.
    pub fn is_here(&self, cache: &Cache) -> Result<bool, SourceError> {
        let is_kept = |key: &str| cache.find(Kind::Source, key).is_some();
        Ok(match self {
            Self::Debian { package, version } => {
                debian::newest(cache, package, version.as_deref())?.is_some()
            }
            Self::Folder(_) | Self::Git { checkout: Some(_), .. } => true,
            Self::Download { sha256, .. } => sha256.as_deref().is_some_and(|sum| is_kept(&of_tarball(sum))),
            Self::Tarball(file) => is_kept(&of_tarball(&digest(file)?)),
            Self::Git { repository, revision, checkout: None } => {
                is_kept(&git::key(&git::tree(repository, revision)?))
            }
            // What a branch is there, only the server knows.
            Self::Remote { .. } => false,
        })
    }

    /// Finds the source, or gets it into the cache.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn resolve(&self, cache: &Cache) -> Result<Sources, SourceError> {
        match self {
            Self::Debian { package, version } => {
                let key = match debian::newest(cache, package, version.as_deref())? {
                    Some(key) => key,
                    None => debian::fetch(cache, package, version.as_deref())?,
                };
                Sources::kept(cache, &key, package)
            }
            Self::Folder(folder) => {
                let folder = std::path::absolute(folder).map_err(CacheError::io("find", folder))?;
                let version = kernel_version(&folder)?;
                // What the kernel's own makefile looks for (its target outputmakefile).
                let built = [".config", "include/config", "arch/x86/include/generated"];
                if built.iter().any(|name| folder.join(name).exists()) {
                    return Err(SourceError::NotClean(folder));
                }
                let tree = Tree::scan(&folder, Limits::KERNEL)?;
                let identity = hex(tree.state());
                let name = folder.display().to_string();
                Ok(Sources { folder, identity, name, ours: false, version, tree: Some(tree) })
            }
            Self::Download { address, sha256 } => {
                // The same key as if the file were here.
                if let Some(sum) = sha256
                    && cache.find(Kind::Source, &of_tarball(sum)).is_some()
                {
                    return Sources::kept(cache, &of_tarball(sum), address);
                }
                let _lock = cache.lock("download", &format!("the source {address}"))?;
                let fetched = download::fetch(cache, address, sha256.as_deref())?;
                let sources = Self::Tarball(fetched.path.clone()).resolve(cache);
                let named = |error| renamed(error, Path::new(address));
                Ok(Sources { name: address.clone(), ..sources.map_err(named)? })
            }
            Self::Tarball(file) => {
                let key = of_tarball(&digest(file)?);
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
            Self::Git { repository, revision, checkout: None } => git::local(cache, repository, revision),
            Self::Git { repository, revision, checkout: Some(tree) } => {
                git::checked_out(repository, revision, tree)
            }
            Self::Remote { address, revision } => git::remote(cache, address, revision),
        }
    }
}

/// The cache's key of a tarball's source, by the file's digest.
fn of_tarball(sum: &str) -> String {
    format!("tarball-{}", &sum[..16])
}

pub(super) fn digest(file: &Path) -> Result<String, CacheError> {
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

#[cfg(test)]
#[path = "source_test.rs"]
mod tests;
