//! Whether series of patches apply to sources.

use super::{
    KernelError,
    patch::{PatchError, Series},
    wanted::{Meant, meant, of_series, series_of},
};
use base::{
    cache::{Cache, Fault},
    project::PATCHES,
    wanted::Wanted,
};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// What came of one series.
#[derive(Debug)]
pub struct Outcome {
    /// Its folder.
    pub series: PathBuf,
    /// What it was tried on, in words, or why this machine could not get it.
    pub source: Result<String, KernelError>,
    /// The patches, in order: `Ok`, why one does not apply, or nothing of those behind that.
    pub patches: Vec<(PathBuf, Option<Result<(), PatchError>>)>,
}

impl Outcome {
    /// A patch does not apply.
    pub fn is_bad(&self) -> bool {
        self.patches.iter().any(|(_, result)| matches!(result, Some(Err(_))))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            Ok(source) => source,
            Err(error) => return writeln!(f, "{}: not tried: failed to {error}", self.series.display()),
        };
        writeln!(f, "{} on {source}", self.series.display())?;
        for (path, result) in &self.patches {
            let name = path.file_name().unwrap_or_default().display();
            match result {
                Some(Ok(())) => writeln!(f, "  applies         {name}")?,
                Some(Err(error)) => writeln!(f, "  does not apply  {name}\n  failed to {error}")?,
                None => writeln!(f, "  not tried       {name}")?,
            }
        }
        Ok(())
    }
}

/// Tries the series that are named, or all of the project, on what `wanted` names as a source, or each on its own, which is fetched if it
/// is not in the cache.
///
/// # Errors
/// A source or a series can't be read. That a patch does not apply is no error here, nor that one series' own source can't be had.
pub fn check(
    wanted: &Wanted,
    names: &[String],
    project: &Path,
    kernels: &Path,
    cache: &Cache,
) -> Result<Vec<Outcome>, KernelError> {
    let all = if names.is_empty() { series_of(&project.join(PATCHES)) } else { names.to_vec() };
    let mut outcomes = Vec::new();
    for name in all {
        let folder = of_series(&project.join(PATCHES), &name).unwrap_or_else(|| PathBuf::from(&name));
        let own = wanted.source.is_none();
        let wanted = match wanted.source {
            Some(_) => Wanted { series: Some(name), ..wanted.clone() },
            None => Wanted { kernel: Some(name), ..Wanted::default() },
        };
        let series = Series::load(&folder)?;
        let Meant::Recipe(recipe) = meant(&wanted, project, kernels)? else {
            return Err(super::wanted::WantedError::NoSeries {
                path: folder,
                why: "it is not one of the project's, so name a source: --source".to_owned(),
            }
            .into());
        };
        let sources = match recipe.source.resolve(cache).map_err(KernelError::from) {
            Ok(sources) => sources,
            // Others may be here, and who mends them wants to know.
            Err(error) if own && error.fault() == Fault::Machine => {
                outcomes.push(Outcome { series: folder, source: Err(error), patches: Vec::new() });
                continue;
            }
            Err(error) => return Err(error),
        };
        let scratch = cache.stage()?;
        let (good, error) = series.try_on(&sources.folder, scratch.path(), &cache.log("patch-check"))?;
        let mut error = error;
        let result = |index: usize| match index.cmp(&good) {
            std::cmp::Ordering::Less => Some(Ok(())),
            std::cmp::Ordering::Equal => error.take().map(Err),
            std::cmp::Ordering::Greater => None,
        };
        let results: Vec<_> = (0..series.patches.len()).map(result).collect();
        let patches = series.patches.iter().map(|patch| patch.path.clone()).zip(results).collect();
        let source = Ok(format!("{} ({})", recipe.source, sources.version));
        outcomes.push(Outcome { series: folder, source, patches });
    }
    Ok(outcomes)
}
