//! The project's folder: where series of patches and ready-made fragments are.

use std::{
    env, fs,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// The folder, in a project, that has the series and the fragments.
pub const PATCHES: &str = "kernel-patches";

/// There is none.
#[derive(Debug, Error)]
#[error(
    "find the project: there is no folder `{PATCHES}` in the current folder or in any above it; run vmm in a \
     checkout of the project"
)]
pub struct NoProject;

/// The nearest folder that holds `kernel-patches`: above `near` (a file), or else above the current folder, or above
/// this program.
///
/// # Errors
/// There is none.
pub fn find(near: Option<&Path>) -> Result<PathBuf, NoProject> {
    let near = near.and_then(|path| fs::canonicalize(path).ok());
    let places = [near, env::current_dir().ok(), env::current_exe().ok()];
    let above =
        |place: &PathBuf| place.ancestors().find(|path| path.join(PATCHES).is_dir()).map(Path::to_owned);
    places.iter().flatten().find_map(above).ok_or(NoProject)
}
