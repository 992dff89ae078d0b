//! Kernels as commands need them: what is meant by a name; for grading, one for all, and one for each who changes it.

use crate::{Abort, session};
use base::{
    cache::{self, Cache, Kind},
    project,
    wanted::Wanted,
};
pub use kernel::patch::{NONE_AT_ALL, folder};
use kernel::{KernelError, wanted::Meant};
use std::path::{Path, PathBuf};

/// The hash of a kernel, which is built if it is not there yet; `near` is a file or folder of the project.
///
/// # Errors
/// It can't be built, there is none of this name, or this machine is at fault.
pub fn hash(wanted: &Wanted, near: &Path) -> Result<String, Abort> {
    Ok(session::kernel_wanted(wanted, near, &Cache::open()?)?.hash)
}

/// The name of the build folder of a kernel that is built here, in the cache's `work`.
///
/// # Errors
/// As [`hash`], but for what only building shows.
pub fn slot(wanted: &Wanted, near: &Path) -> Result<Option<String>, Abort> {
    let cache = Cache::open()?;
    Ok(kernel::slot(&meant(wanted, Some(near), &cache)?, &cache)?)
}

/// Where a kernel's series of patches is that goes by this name, or lies at this path.
///
/// # Errors
/// There is none.
pub fn series(name: &str, near: &Path) -> Result<PathBuf, Abort> {
    let project = project::find(Some(near)).map_err(KernelError::from)?;
    let found = kernel::wanted::series_folder(name, &project.join(project::PATCHES));
    Ok(found.map_err(KernelError::from)?)
}

/// What all kernels of a history get where nobody names patches: a series and a compiler ([`kernel::wanted::of_history`]). `versions` are those
/// of its ends, the newest last.
///
/// # Errors
/// What a series says of its compiler makes no sense.
pub fn of_history(versions: &[String], near: &Path) -> Result<(String, Option<String>), Abort> {
    let project = project::find(Some(near)).map_err(KernelError::from)?;
    let found = kernel::wanted::of_history(versions, &project.join(project::PATCHES));
    Ok(found.map_err(KernelError::from)?)
}

/// A digest of all that a kernel is made of; nothing is built.
///
/// # Errors
/// As [`hash`], but for what only building shows.
pub fn identity(wanted: &Wanted, near: &Path) -> Result<String, Abort> {
    let cache = Cache::open()?;
    Ok(kernel::hash(&meant(wanted, Some(near), &cache)?, &cache)?)
}

/// The same without its source.
///
/// # Errors
/// As [`identity`].
pub fn additions(wanted: &Wanted, near: &Path) -> Result<String, Abort> {
    let cache = Cache::open()?;
    match meant(wanted, Some(near), &cache)? {
        Meant::Recipe(recipe) => Ok(recipe.additions()?),
        meant => Ok(kernel::hash(&meant, &cache)?),
    }
}

/// What is meant by what was asked for; `near` is a file or folder of the project.
pub(crate) fn meant(wanted: &Wanted, near: Option<&Path>, cache: &Cache) -> Result<Meant, Abort> {
    let project = project::find(near).map_err(KernelError::from)?;
    Ok(kernel::wanted::meant(wanted, &project, &cache.place(Kind::Kernel, "")).map_err(KernelError::from)?)
}

/// A patch's file name, and its text.
pub type Patch = (String, Vec<u8>);

/// What a kernel is made of, for who adds to it.
pub struct Sources {
    /// The patches that are put on its source, in order.
    pub patches: Vec<Patch>,
    /// What the folder of these says of how it is built.
    pub recipe: Option<Vec<u8>>,
    /// The files that were asked for, as the patches leave them; `None` for one that is not there.
    pub files: Vec<Option<String>>,
}

/// A kernel's patches, and these files of its source.
///
/// # Errors
/// It is no kernel that is built here.
pub fn sources(wanted: &Wanted, near: &Path, files: &[&str]) -> Result<Sources, Abort> {
    let cache = Cache::open()?;
    let Meant::Recipe(recipe) = meant(wanted, Some(near), &cache)? else {
        return Err(Abort::input(
            "a kernel that others built can't be changed: name a source, or a series like `6.12`",
        ));
    };
    let (series, files) = kernel::patched(&recipe, &cache, files)?;
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let patches = series.patches.into_iter().map(|patch| (name(&patch.path), patch.text)).collect();
    let text = |file: Vec<u8>| String::from_utf8_lossy(&file).into_owned();
    let files = files.into_iter().map(|file| file.map(text)).collect();
    Ok(Sources { patches, recipe: series.recipe, files })
}

/// Brings the build folder of a kernel to its state, so that one that differs little is soon built there. One that is not built here
/// has none.
///
/// # Errors
/// As [`hash`].
pub fn ready(wanted: &Wanted, near: &Path) -> Result<(), Abort> {
    let cache = Cache::open()?;
    match meant(wanted, Some(near), &cache)? {
        Meant::Recipe(recipe) => Ok(kernel::ready(&recipe, &cache)?),
        Meant::Built(_) | Meant::Foreign { .. } => Ok(()),
    }
}

/// By what one kernel of the cache runs more at its boot than another, in words: both by their hashes.
///
/// # Errors
/// One of them is not there, or damaged.
pub fn more_at_boot(than: &str, of: &str, near: &Path) -> Result<Option<&'static str>, Abort> {
    let cache = Cache::open()?;
    let symbols = |hash: &str| {
        let wanted = Wanted { kernel: Some(hash.to_owned()), ..Wanted::default() };
        Ok::<_, Abort>(session::kernel_wanted(&wanted, near, &cache)?.symbols()?)
    };
    Ok(kernel::at_boot::more(&symbols(than)?, &symbols(of)?))
}

/// Takes a kernel out of the cache: nobody will ask for it again, and hundreds of them fill a disk.
///
/// # Errors
/// It can't be removed.
pub fn forget(hash: &str) -> Result<(), Abort> {
    Ok(cache::remove(&Cache::open()?.place(Kind::Kernel, hash))?)
}
