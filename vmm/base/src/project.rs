//! The project's folder: where series of patches and ready-made fragments are.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};
use thiserror::Error;

/// The folder, in a project, that has the series and the fragments.
pub const PATCHES: &str = "kernel-patches";

/// There is none.
#[derive(Debug, Error)]
pub enum NoProject {
    /// The one that was named is none.
    #[error("use the project {}: it has no folder `{PATCHES}`", .0.display())]
    Named(PathBuf),
    /// None was found, and what the program brings can't be written down.
    #[error("find the project: there is no folder `{PATCHES}` in the current folder or in any above it{0}")]
    Nowhere(String),
}

/// The one that the user named.
static NAMED: OnceLock<PathBuf> = OnceLock::new();
/// Gives the one that the program brings.
static BROUGHT: OnceLock<fn() -> Result<PathBuf, String>> = OnceLock::new();

/// From now on it is this one.
pub fn name(folder: PathBuf) {
    let _ = NAMED.set(folder);
}

/// What is taken where there is no other.
pub fn fall_back_to(brought: fn() -> Result<PathBuf, String>) {
    let _ = BROUGHT.set(brought);
}

/// A file of `kernel-patches`, by its path below that: the project's own, else what the program brings. A project need have only what
/// it wants otherwise.
pub fn of_patches(patches: &Path, name: &str) -> PathBuf {
    let own = patches.join(name);
    let other =
        || all_patches(patches).into_iter().map(|folder| folder.join(name)).find(|path| path.exists());
    if own.exists() { own } else { other().unwrap_or(own) }
}

/// The project's folder `kernel-patches`, and the one that the program brings.
pub fn all_patches(patches: &Path) -> Vec<PathBuf> {
    let brought = BROUGHT.get().and_then(|brought| brought().ok()).map(|project| project.join(PATCHES));
    std::iter::once(patches.to_owned()).chain(brought).collect()
}

/// The one that was named, or the nearest folder that holds `kernel-patches`: above `near` (a file), or else above the
/// current folder, or above this program; or the one that the program brings.
///
/// # Errors
/// There is none.
pub fn find(near: Option<&Path>) -> Result<PathBuf, NoProject> {
    if let Some(named) = NAMED.get() {
        return if named.join(PATCHES).is_dir() {
            Ok(named.clone())
        } else {
            Err(NoProject::Named(named.clone()))
        };
    }
    let near = near.and_then(|path| fs::canonicalize(path).ok());
    let places = [near, env::current_dir().ok(), env::current_exe().ok()];
    let above =
        |place: &PathBuf| place.ancestors().find(|path| path.join(PATCHES).is_dir()).map(Path::to_owned);
    if let Some(found) = places.iter().flatten().find_map(above) {
        return Ok(found);
    }
    match BROUGHT.get() {
        Some(brought) => brought().map_err(|why| NoProject::Nowhere(format!(", and {why}"))),
        None => Err(NoProject::Nowhere("; run vmm in a checkout of the project".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_project_has_not_is_brought() {
        let folder = tempfile::tempdir().unwrap().keep();
        let write = |name: &str| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        write("mine/kernel-patches/6.12/series");
        let patches = folder.join("mine").join(PATCHES);
        let of = |name: &str| of_patches(&patches, name).strip_prefix(&folder).unwrap().display().to_string();
        // As it is looked for, so that a message names a place to write it to.
        assert_eq!(of("config/base.config"), "mine/kernel-patches/config/base.config");
        static OURS: OnceLock<PathBuf> = OnceLock::new();
        OURS.set(folder.join("ours")).unwrap();
        fall_back_to(|| Ok(OURS.get().unwrap().clone()));
        write("ours/kernel-patches/6.12/series");
        write("ours/kernel-patches/config/base.config");
        assert_eq!(of("6.12/series"), "mine/kernel-patches/6.12/series");
        assert_eq!(of("config/base.config"), "ours/kernel-patches/config/base.config");
        assert_eq!(of("none"), "mine/kernel-patches/none");
        fs::remove_dir_all(folder).unwrap();
    }
}
