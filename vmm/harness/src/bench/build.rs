//! What this program adds to `make`: a kernel of which one file changed, built by it and by hand.
//!
//! Both do the same work in the same build folder: the same file changes in the same way, and make gets the same
//! arguments and the same priority. This program also finds out what changed, and makes an entry of the cache.

use base::cache::{Cache, CacheError};
use kernel::{KernelError, Patches, Recipe, patch::Series, sources::Sources, store};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A file that every configuration builds, and that nothing includes.
const FILE: &str = "kernel/sys.c";

/// What was timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// This program, from the recipe to the entry.
    Vmm,
    /// make alone.
    Make,
    /// This program, when nothing changed.
    Unchanged,
}

/// Times each so many times, in turns. The build folder is the recipe's own; entries that are made are removed.
///
/// # Errors
/// As a build's.
pub fn measure(recipe: &Recipe, cache: &Cache, rounds: u32) -> Result<Vec<(What, Duration)>, KernelError> {
    let stage = cache.stage()?;
    let sources = recipe.source.resolve(cache)?;
    let known = store::list(cache)?;
    let measured = rounds_of(recipe, &sources, cache, stage.path(), rounds);
    let made = store::list(cache)?.into_iter().filter(|it| known.iter().all(|old| old.hash != it.hash));
    let marked = |it: &store::Stored| {
        let facts = it.facts.as_ref();
        facts.is_some_and(|facts| facts.ingredients.patches.iter().any(|it| it.starts_with(stage.path())))
    };
    store::remove(cache, &store::Freed { kernels: made.filter(marked).collect(), folders: Vec::new() })?;
    measured
}

fn rounds_of(
    recipe: &Recipe,
    sources: &Sources,
    cache: &Cache,
    folder: &Path,
    rounds: u32,
) -> Result<Vec<(What, Duration)>, KernelError> {
    let mut samples = Vec::new();
    for round in 0..=rounds {
        let changed = with_change(recipe, sources, folder)?;
        let start = Instant::now();
        kernel::ensure(&changed, cache)?;
        let vmm = start.elapsed();
        let start = Instant::now();
        kernel::ensure(&changed, cache)?;
        let unchanged = start.elapsed();
        let make = kernel::time_make(&changed, cache, |source| {
            let path = source.join(FILE);
            let text = fs::read_to_string(&path).map_err(CacheError::io("read", &path))?;
            // The file may be a hard link to a source that must not change.
            let new = folder.join("changed.c");
            fs::write(&new, format!("{}{text}", change())).map_err(CacheError::io("write", &new))?;
            kernel::tree::copy(&new, &path)
        })?;
        // The first round builds whatever the folder lacked.
        if round > 0 {
            samples.extend([(What::Vmm, vmm), (What::Unchanged, unchanged), (What::Make, make)]);
        }
    }
    Ok(samples)
}

/// A line that was never there before, so that no compiler cache knows it, and that changes no object.
fn change() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("_Static_assert({now}, \"a change\");\n")
}

/// The recipe with one more patch, in `folder`, which changes [`FILE`].
fn with_change(recipe: &Recipe, sources: &Sources, folder: &Path) -> Result<Recipe, KernelError> {
    let old = match &recipe.series {
        Patches::Folder(folder) => Series::load(folder)?,
        Patches::None | Patches::Matching(_) => Series::default(),
    };
    let mut series = String::new();
    for patch in &old.patches {
        let path = std::path::absolute(&patch.path).map_err(CacheError::io("find", &patch.path))?;
        series += &format!("{}\n", path.display());
    }
    let path = sources.folder.join(FILE);
    let text = fs::read_to_string(&path).map_err(CacheError::io("read", &path))?;
    let around: String = text.lines().take(3).map(|line| format!(" {line}\n")).collect();
    let patch = format!("--- a/{FILE}\n+++ b/{FILE}\n@@ -1,3 +1,4 @@\n+{}{around}", change());
    for (name, text) in [("change.patch", patch), ("series", series + "change.patch\n")] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(CacheError::io("write", &path))?;
    }
    Ok(Recipe { series: Patches::Folder(folder.to_owned()), ..recipe.clone() })
}
