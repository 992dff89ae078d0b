//! What is kept of a build: an entry of the cache.

use crate::build::{Built, Module, ModuleError};
use base::{cache::CacheError, interrupt};
use jail::{
    Limits, Refused,
    intake::{self, Tally},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// The table of exported symbols that a build leaves (Documentation/kbuild/modules.rst, section 6.1).
pub(crate) const EXPORTS: &str = "Module.symvers";
/// The folder of modules as they were built, with their debug info.
pub(crate) const WHOLE: &str = "whole";
/// Stands for the user's folder in warnings that are kept.
pub(crate) const FOLDER: &str = "{folder}";
/// A folder has no more modules than this; `VMM_LIMITS=files=...` says otherwise.
const MODULES: usize = 256;

/// What is kept beside the modules of a folder.
#[derive(Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The names of their files, sorted.
    pub modules: Vec<String>,
    /// What the compiler warned of.
    pub warnings: Vec<String>,
}

/// Keeps files that a build has made.
pub(crate) struct Keeper<'a> {
    /// The folder that was built, as the user gave it.
    pub shown: &'a Path,
    /// What makefiles may write to.
    pub root: &'a Path,
    /// Where in it the folder was built.
    pub copy: &'a Path,
    /// The most of what is kept at once, in bytes.
    pub disk: u64,
}

impl Keeper<'_> {
    /// The modules below the copy. Where a build lets nobody look, there are none.
    pub fn modules(&self) -> Result<Vec<PathBuf>, ModuleError> {
        // Behind a link in its place lie others' modules.
        intake::in_place(self.root, self.copy).map_err(|why| self.refused(why))?;
        let all = WalkDir::new(self.copy).into_iter().flatten().filter(|entry| entry.file_type().is_file());
        let paths = all.map(walkdir::DirEntry::into_path);
        Ok(paths.filter(|path| path.extension().is_some_and(|it| it == "ko")).collect())
    }

    /// Copies files into a folder. What made them may have made a pipe of one, taken its rights away, or made thousands of nothing but holes,
    /// each of whose bytes a copy has.
    pub fn keep(&self, files: &[PathBuf], to: &Path) -> Result<(), ModuleError> {
        let limits = Limits { files: MODULES, total: self.disk, ..Limits::FILES };
        let limits = limits.wanted().map_err(CacheError::from)?;
        let mut tally = Tally::new(self.copy, limits);
        for file in files {
            intake::in_place(self.root, file).map_err(|why| self.refused(why))?;
            let meta = fs::symlink_metadata(file);
            let meta = meta.map_err(|source| Refused::Io { path: file.clone(), source });
            meta.and_then(|meta| tally.add(file, &meta)).map_err(|why| self.refused(why))?;
        }
        for file in files {
            if interrupt::requested() {
                return Err(CacheError::Interrupted.into());
            }
            let bytes = intake::read(file, limits.file).map_err(|why| self.refused(why))?;
            let to = to.join(name(file));
            fs::write(&to, bytes).map_err(CacheError::io("write", &to))?;
        }
        Ok(())
    }

    fn refused(&self, why: Refused) -> ModuleError {
        match why.blames_files() {
            true => ModuleError::Product { folder: self.shown.to_owned(), why },
            false => CacheError::from(why).into(),
        }
    }
}

/// A file's name, without its folder.
pub(crate) fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Reads an entry. `None` when it is damaged.
pub(crate) fn open(entry: &Path, folder: &Path, cached: bool) -> Option<Built> {
    let manifest: Manifest = serde_json::from_slice(&fs::read(entry.join("modules.json")).ok()?).ok()?;
    let here = folder.display().to_string();
    let warnings: Vec<String> = manifest.warnings.iter().map(|text| text.replace(FOLDER, &here)).collect();
    let module = |file: &String| {
        let there = |folder: &Path| Some(folder.join(file)).filter(|path| path.is_file());
        let (ko, whole) = (there(entry)?, there(&entry.join(WHOLE))?);
        let name = file.trim_end_matches(".ko").to_owned();
        Some(Module { name, ko, whole, warnings: warnings.clone(), cached })
    };
    let modules = manifest.modules.iter().map(module).collect::<Option<_>>()?;
    let exports = entry.join(EXPORTS);
    let exports = fs::metadata(&exports).is_ok_and(|file| file.len() > 0).then_some(exports);
    Some(Built { modules, exports })
}
