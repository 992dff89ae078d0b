//! What a kernel is made from.

use super::{
    config::{self, ConfigError, Request},
    patch::Series,
    source::{Source, Sources, hex},
    toolchain::Compiler,
};
use crate::kernel::KernelError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Part of every hash: a change of what an entry holds makes all old entries strangers.
const FORMAT: &str = "kernel 1";

/// The configuration that fragments are put on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// `make tinyconfig`: everything off.
    #[default]
    Tiny,
    /// `make defconfig`: what the kernel's own developers boot.
    Default,
}

impl Base {
    /// make's target.
    pub fn target(self) -> &'static str {
        match self {
            Self::Tiny => "tinyconfig",
            Self::Default => "defconfig",
        }
    }
}

/// All that a kernel is made from, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The source.
    pub source: Source,
    /// A folder with a `series` file; none for the source as it is.
    pub series: Option<PathBuf>,
    /// What the fragments are put on.
    pub base: Base,
    /// Configuration fragments; of two that name the same symbol the later one counts.
    pub fragments: Vec<PathBuf>,
    /// The compiler.
    pub compiler: Compiler,
}

impl Recipe {
    /// The kernel that runs where nothing else is asked for: Debian's 6.12 with the patches and the
    /// configuration of this project. `project` is the folder that has `kernel-patches`.
    pub fn standard(project: &Path) -> Self {
        let patches = project.join("kernel-patches");
        Self {
            source: Source::Debian { package: "linux-source-6.12".to_owned(), version: None },
            series: Some(patches.join("6.12")),
            base: Base::Tiny,
            fragments: vec![patches.join("config/base.config")],
            compiler: Compiler::Gcc,
        }
    }

    /// Reads patches and fragments.
    ///
    /// # Errors
    /// A file that can't be read or makes no sense.
    pub(super) fn load(&self) -> Result<Loaded, KernelError> {
        let series = self.series.as_deref().map(Series::load).transpose()?.unwrap_or_default();
        let mut requests = Vec::new();
        for path in &self.fragments {
            let text = fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
            requests.extend(config::parse(path, &text)?);
        }
        Ok(Loaded { series, requests })
    }

    /// The name of a folder in which recipes that differ in a patch or a symbol are built one after the
    /// other, so that each finds most of its objects there. `toolchain` is its identity.
    pub(super) fn slot(&self, sources: &Sources, toolchain: &str) -> String {
        let fragments: Vec<_> = self.fragments.iter().map(|path| path.file_stem()).collect();
        let all = format!("{FORMAT}\n{}\n{:?}\n{fragments:?}\n{toolchain}", sources.name, self.base);
        format!("kernel-{}-{}", sources.series(), &hex(Sha256::digest(all))[..8])
    }
}

/// A recipe's own files.
pub(super) struct Loaded {
    pub series: Series,
    pub requests: Vec<Request>,
}

impl Loaded {
    /// The hash of everything that shapes the kernel. Comments and the order of symbols don't.
    pub fn hash(&self, base: Base, sources: &Sources, toolchain: &str) -> String {
        let mut digest = Sha256::new();
        let mut add = |part: &[u8]| {
            // Lengths keep the parts apart: "ab" + "c" is not "a" + "bc".
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        };
        for part in [FORMAT, &sources.identity, &sources.version, base.target(), toolchain] {
            add(part.as_bytes());
        }
        for patch in &self.series.patches {
            add(&patch.text);
        }
        let mut symbols: Vec<_> =
            config::effective(&self.requests).into_iter().map(|it| (&it.symbol, &it.value)).collect();
        symbols.sort();
        add(format!("{symbols:?}").as_bytes());
        hex(digest.finalize())[..16].to_owned()
    }
}

#[cfg(test)]
#[path = "recipe_test.rs"]
mod tests;
