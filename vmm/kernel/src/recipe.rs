//! What a kernel is made from.

use super::{
    base_config::{Base, LoadedBase},
    config::{self, ConfigError, Request},
    patch::{Patch, Series},
    source::Source,
    sources::{Sources, hex},
    toolchain::Compiler,
    wanted::{of_series, series_of},
};
use crate::KernelError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fs, path::PathBuf};

/// Part of every hash: a change of what an entry holds makes all old entries strangers.
const FORMAT: &str = "kernel 1";

/// Which patches are put on a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patches {
    /// None: the source as it is.
    None,
    /// Those that the `series` file of a folder names.
    Folder(PathBuf),
    /// Those of the folder that is called like the source's version (`6.12`) and lies in this one; none
    /// if there is no such folder.
    Matching(PathBuf),
}

/// All that a kernel is made from, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The source.
    pub source: Source,
    /// What is put on it.
    pub series: Patches,
    /// What the fragments are put on.
    pub base: Base,
    /// Configuration fragments; of two that name the same symbol the later one counts.
    pub fragments: Vec<PathBuf>,
    /// The compiler.
    pub compiler: Compiler,
    /// Others wrote a part of it, and what they leave behind is for nobody: neither in the build folder nor in ccache. The kernel is
    /// the same.
    pub apart: bool,
}

/// What `show` tells of a recipe, as far as [`super::Facts`] has it not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingredients {
    /// The patches' files, in order.
    pub patches: Vec<PathBuf>,
    /// The base configuration, in words.
    pub base: String,
    /// The fragments' files, in order.
    pub fragments: Vec<PathBuf>,
    /// The build folder, below the cache's `work`.
    pub slot: String,
}

impl Recipe {
    /// Reads patches and fragments.
    ///
    /// # Errors
    /// A file that can't be read or makes no sense.
    pub(super) fn load(&self) -> Result<Loaded, KernelError> {
        let series = match &self.series {
            Patches::Folder(folder) => Series::load(folder)?,
            Patches::None | Patches::Matching(_) => Series::default(),
        };
        let mut requests = Vec::new();
        for path in &self.fragments {
            let text = fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
            requests.extend(config::parse(path, &text)?);
        }
        Ok(Loaded { series, requests, base: self.base.load()? })
    }

    /// A digest of what is done to the source, whichever that is: patches, configuration, compiler. Of series that go by the source's version,
    /// all are taken.
    ///
    /// # Errors
    /// A file that can't be read or makes no sense.
    pub fn additions(&self) -> Result<String, KernelError> {
        let mut loaded = self.load()?;
        if let Patches::Matching(all) = &self.series {
            for name in series_of(all) {
                match Series::load(&all.join(&name)) {
                    Ok(series) => loaded.series.patches.extend(series.patches),
                    // Whoever builds with it will be told.
                    Err(error) => {
                        let text = error.to_string().into_bytes();
                        loaded.series.patches.push(Patch { path: all.join(name), text });
                    }
                }
            }
        }
        let mut digest = Sha256::new();
        loaded.add(&[&loaded.base.identity, &format!("{:?}", self.compiler)], &mut digest);
        Ok(hex(digest.finalize())[..16].to_owned())
    }

    /// The name of a folder in which recipes that differ in a patch or a symbol are built one after the
    /// other, so that each finds most of its objects there. `toolchain` is its identity.
    pub(super) fn slot(&self, sources: &Sources, toolchain: &str) -> String {
        let fragments: Vec<_> = self.fragments.iter().map(|path| path.file_stem()).collect();
        // Debug's words are part of folder names that exist.
        let base = match &self.base {
            Base::Tiny => "Tiny".to_owned(),
            other => other.to_string(),
        };
        let all = format!("{FORMAT}\n{}\n{base}\n{fragments:?}\n{toolchain}", sources.name);
        format!("kernel-{}-{}", sources.series(), &hex(Sha256::digest(all))[..8])
    }

    /// What is kept for people to read.
    pub(super) fn ingredients(&self, loaded: &Loaded, slot: &str) -> Ingredients {
        Ingredients {
            patches: loaded.series.patches.iter().map(|patch| patch.path.clone()).collect(),
            base: self.base.to_string(),
            fragments: self.fragments.clone(),
            slot: slot.to_owned(),
        }
    }
}

/// A recipe's own files.
pub(super) struct Loaded {
    pub series: Series,
    pub requests: Vec<Request>,
    pub base: LoadedBase,
}

impl Loaded {
    /// Reads the patches that only the source's version decides on, and leaves out what is not for it.
    pub fn complete(&mut self, recipe: &Recipe, sources: &Sources) -> Result<(), KernelError> {
        if let Patches::Matching(folder) = &recipe.series
            && let Some(folder) = of_series(folder, &sources.series())
        {
            self.series = Series::load(&folder)?;
        }
        config::keep_for(&mut self.requests, &sources.version);
        Ok(())
    }

    /// The hash of everything that shapes the kernel. Comments and the order of symbols don't.
    pub fn hash(&self, sources: &Sources, toolchain: &str) -> String {
        let mut digest = Sha256::new();
        let first = [FORMAT, &sources.identity, &sources.version, &self.base.identity, toolchain];
        self.add(&first, &mut digest);
        hex(digest.finalize())[..16].to_owned()
    }

    /// Adds these parts, the patches and the symbols to a digest.
    fn add(&self, first: &[&str], digest: &mut Sha256) {
        let mut add = |part: &[u8]| {
            // Lengths keep the parts apart: "ab" + "c" is not "a" + "bc".
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        };
        for part in first {
            add(part.as_bytes());
        }
        for patch in &self.series.patches {
            add(&patch.text);
        }
        let mut symbols: Vec<_> =
            config::effective(&self.requests).into_iter().map(|it| (&it.symbol, &it.value)).collect();
        symbols.sort();
        add(format!("{symbols:?}").as_bytes());
    }
}

#[cfg(test)]
#[path = "recipe_test.rs"]
mod tests;
