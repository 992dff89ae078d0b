//! A series of patches, and what it makes of a source.
//!
//! `git apply` and GNU `patch` apply them, not a crate: what one of them takes is what kernel developers mean by
//! "applies". git comes first where it is installed, for it takes hunks with less context behind than before, hunks
//! in any order, and binary files; patch is on every machine that builds kernels, and leaves the hunks that did not
//! fit. They work on a scratch folder with the few files that the series touches: a patch that fails leaves no trace,
//! and the build's tree changes only where the result differs from what is there.

mod headers;
mod reject;

use super::{git, handed::Handed, run, toolchain, tree};
use base::cache::CacheError;
use headers::files_of;
use jail::{Budget, Limits, Refused, Sandbox, intake};
pub use reject::Reject;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::{Component, Path, PathBuf},
    process::Command,
};
use thiserror::Error;
use walkdir::WalkDir;

/// Why a series can't be used.
#[derive(Debug, Error)]
pub enum PatchError {
    /// A file of the series can't be read.
    #[error("read {}: {source}{}", path.display(), named_in(.series))]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The `series` file and its line that names the patch.
        series: Option<(PathBuf, usize)>,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A line of the `series` file asks for what is not done here.
    #[error(
        "use the series {}: line {line} says `{option}` of {name}; only -p1 is known here, so make the patch with paths like a/FILE and \
         b/FILE, in the direction in which it is to apply",
        path.display()
    )]
    Option {
        /// The `series` file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The patch.
        name: String,
        /// What it says.
        option: String,
    },
    /// A path leads out of the source.
    #[error("use {}: it changes {}, which is outside of the source", patch.display(), file.display())]
    Outside {
        /// The patch.
        patch: PathBuf,
        /// What it would change.
        file: PathBuf,
    },
    /// A link of the source's lies on the way to a file.
    #[error(
        "use {}: it changes {}, and {} is a link in the source; name the file by the path where it is",
        patch.display(), file.display(), link.display()
    )]
    BehindLink {
        /// The patch.
        patch: PathBuf,
        /// What it would change.
        file: PathBuf,
        /// The link, below the source's root.
        link: PathBuf,
    },
    /// It made what no patch may make.
    #[error("use {}: it makes {}, {why}", patch.display(), file.display())]
    Made {
        /// The patch.
        patch: PathBuf,
        /// What it makes.
        file: PathBuf,
        /// What is wrong with that.
        why: &'static str,
    },
    /// A hunk does not fit.
    #[error("apply {}: {reject}", patch.display())]
    Rejected {
        /// The patch.
        patch: PathBuf,
        /// The first hunk that does not fit.
        reject: Reject,
    },
    /// `patch` failed in another way.
    #[error("apply {}: {said}", patch.display())]
    Failed {
        /// The patch.
        patch: PathBuf,
        /// In the tool's words.
        said: String,
    },
    /// Files can't be written, Ctrl-C, and the like.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn named_in(series: &Option<(PathBuf, usize)>) -> String {
    match series {
        Some((path, line)) => format!(" (named in {}, line {line})", path.display()),
        None => String::new(),
    }
}

/// One patch of a series.
#[derive(Clone, Debug)]
pub struct Patch {
    /// Its file.
    pub path: PathBuf,
    /// Its text; patches may hold bytes that are no UTF-8.
    pub text: Vec<u8>,
}

impl Patch {
    /// The files that its headers name, below the source's root.
    fn touched(&self) -> Result<BTreeSet<PathBuf>, PatchError> {
        let files = files_of(&String::from_utf8_lossy(&self.text));
        let is_inside = |file: &&PathBuf| file.components().all(|part| matches!(part, Component::Normal(_)));
        match files.iter().find(|file| !is_inside(file)) {
            Some(file) => Err(PatchError::Outside { patch: self.path.clone(), file: file.clone() }),
            None => Ok(files),
        }
    }

    /// Copies a file of the source to where the patch is applied, if it is there. A source that was handed in may have links to anywhere.
    fn bring(&self, file: &Path, source: &Path, scratch: &Path) -> Result<(), PatchError> {
        let is_link = |way: &&Path| fs::symlink_metadata(source.join(way)).is_ok_and(|it| it.is_symlink());
        let mut ways = file.ancestors().filter(|way| !way.as_os_str().is_empty());
        if let Some(link) = ways.find(is_link) {
            let (file, link) = (file.to_owned(), link.to_owned());
            return Err(PatchError::BehindLink { patch: self.path.clone(), file, link });
        }
        let (from, to) = (source.join(file), scratch.join(file));
        if from.is_file() {
            let parent = to.parent().unwrap_or(scratch);
            fs::create_dir_all(parent).map_err(CacheError::io("make the folder", parent))?;
            tree::copy(&from, &to)?;
        }
        Ok(())
    }

    /// Looks at what is there once it was applied. What a header names is read by it in other places than here: git takes lines between
    /// headers, and text before them, so that files come into being that nobody has looked at; and it makes links.
    fn look_at(&self, scratch: &Path, touched: &BTreeSet<PathBuf>) -> Result<(), PatchError> {
        for entry in WalkDir::new(scratch) {
            let entry = entry.map_err(|error| CacheError::io("read", scratch)(error.into()))?;
            let file = entry.path().strip_prefix(scratch).unwrap_or(entry.path());
            let leads_out = || matches!(intake::within(scratch, file), Err(Refused::LeadsOut { .. }));
            let why = match entry.file_type().is_dir() {
                true => continue,
                false if entry.path_is_symlink() && leads_out() => {
                    "a link that leads out of the source; put the file itself there"
                }
                false if !touched.contains(file) => {
                    "which none of its headers names; make the patch with `git diff` or `diff -u`"
                }
                false => continue,
            };
            return Err(PatchError::Made { patch: self.path.clone(), file: file.to_owned(), why });
        }
        Ok(())
    }
}

/// A file below a folder in which patches may have made links, or what was handed in has some; `None` if it is not there, or is a folder.
///
/// # Errors
/// A link leads out of the folder.
pub(super) fn file_below(folder: &Path, name: &Path) -> Result<Option<PathBuf>, CacheError> {
    match intake::within(folder, name) {
        Ok(path) => Ok(Some(path).filter(|path| path.is_file())),
        Err(Refused::Io { .. }) => Ok(None),
        Err(refused) => Err(refused.into()),
    }
}

/// Patches, in the order in which they apply.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// The patches.
    pub patches: Vec<Patch>,
    /// What its folder says of how a kernel is built with it: the text of [`RECIPE`].
    pub recipe: Option<Vec<u8>>,
}

/// The file beside the patches that names a compiler, if one of them needs another than gcc.
pub const RECIPE: &str = "recipe.yaml";

impl Series {
    /// Reads `folder/series` as [`names`] does, the patches it names, and its recipe.
    ///
    /// # Errors
    /// [`PatchError::Unreadable`], [`PatchError::Option`].
    pub fn load(folder: &Path) -> Result<Self, PatchError> {
        let list = folder.join("series");
        let mut patches = Vec::new();
        for (line, name) in names(folder)? {
            let path = folder.join(name);
            let text = read(&path, Some((list.clone(), line)))?;
            patches.push(Patch { path, text });
        }
        Ok(Self { patches, recipe: recipe(folder)? })
    }

    /// The files that the series changes, makes or removes, below the source's root.
    ///
    /// # Errors
    /// [`PatchError::Outside`].
    pub fn touched(&self) -> Result<BTreeSet<PathBuf>, PatchError> {
        let mut files = BTreeSet::new();
        for patch in &self.patches {
            files.extend(patch.touched()?);
        }
        Ok(files)
    }

    /// Applies the series to copies of the touched files of `source` in the empty folder `scratch`.
    ///
    /// # Errors
    /// The first patch that does not apply.
    pub fn apply(&self, source: &Path, scratch: &Path, log: &Path) -> Result<BTreeSet<PathBuf>, PatchError> {
        match self.try_on(source, scratch, log)? {
            (_, Some(error)) => Err(error),
            (_, None) => self.touched(),
        }
    }

    /// As [`Series::apply`], but says how many patches applied, and why the next one did not.
    ///
    /// # Errors
    /// What has nothing to do with whether they fit.
    pub fn try_on(
        &self,
        source: &Path,
        scratch: &Path,
        log: &Path,
    ) -> Result<(usize, Option<PatchError>), PatchError> {
        let mut touched = BTreeSet::new();
        for patch in &self.patches {
            for file in patch.touched()? {
                patch.bring(&file, source, scratch)?;
                touched.insert(file);
            }
        }
        let folder = Sandbox::new(Budget::TOOL).map_err(CacheError::from)?.write(scratch);
        for (index, patch) in self.patches.iter().enumerate() {
            let file = Handed::new(&patch.text, &patch.path, scratch)?;
            let sandbox = &folder.clone().read(&file.path);
            // All of a patch or nothing: what git refuses finds the files as they were.
            if toolchain::find("git").is_some()
                && run::run_in(sandbox, git_apply(&file.path, scratch, sandbox), log, None, |_| ())?
                    .status
                    .success()
            {
                patch.look_at(scratch, &touched)?;
                continue;
            }
            let mut command = run::boxed(sandbox, "patch");
            command.args([
                "-p1",
                "--batch",
                "--forward",
                "--no-backup-if-mismatch",
                "--reject-format=unified",
                // A hunk may have moved, but what is around it has to be what its author saw: with fuzz,
                // lines that are only inserted fit anywhere.
                "--fuzz=0",
            ]);
            command.arg("-d").arg(scratch).arg("-i").arg(&file.path);
            let ran = run::run_in(sandbox, command, log, None, |_| ())?;
            if !ran.status.success() {
                if crate::diagnose::is_disk_full(&ran.lines) {
                    return Err(CacheError::disk_full(scratch.to_owned()).into());
                }
                return Ok((index, Some(reject::explain(patch, source, scratch, &ran.lines))));
            }
            patch.look_at(scratch, &touched)?;
        }
        Ok((self.patches.len(), None))
    }
}

/// The patches that `folder/series` names, in order, and the lines at which it does: a file name a line, as quilt has it. Behind it options
/// may follow, and a comment.
///
/// # Errors
/// [`PatchError::Unreadable`]; [`PatchError::Option`] for one that would change what the patch does.
pub fn names(folder: &Path) -> Result<Vec<(usize, String)>, PatchError> {
    let path = folder.join("series");
    let text = read(&path, None)?;
    let mut names = Vec::new();
    for (index, line) in String::from_utf8_lossy(&text).lines().enumerate() {
        // Within a word it is a part of a name.
        let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        let Some(name) = words.next() else { continue };
        if let Some(option) = words.find(|word| *word != "-p1") {
            let (name, option) = (name.to_owned(), option.to_owned());
            return Err(PatchError::Option { path, line: index + 1, name, option });
        }
        names.push((index + 1, name.to_owned()));
    }
    Ok(names)
}

/// The text of the recipe in a series' folder, if it has one.
///
/// # Errors
/// [`PatchError::Unreadable`].
pub fn recipe(folder: &Path) -> Result<Option<Vec<u8>>, PatchError> {
    match read(&folder.join(RECIPE), None) {
        // A link that leads nowhere is none that may be overlooked.
        Err(PatchError::Unreadable { path, source, .. })
            if source.kind() == ErrorKind::NotFound && !path.is_symlink() =>
        {
            Ok(None)
        }
        text => text.map(Some),
    }
}

/// The files of a folder that is a series of these patches, names and texts in their order, for kernels that are built as a recipe says.
pub fn folder(patches: Vec<(String, Vec<u8>)>, recipe: Option<Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let names: String = patches.iter().map(|(name, _)| format!("{name}\n")).collect();
    let others = [("series", Some(names.into_bytes())), (RECIPE, recipe)];
    let others = others.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?)));
    patches.into_iter().chain(others).collect()
}

/// Of whom the files are that a link in this folder may lead to: its repository's, or else the folder's own. Who names a series on his machine
/// has several share what is in the one; what lies elsewhere is no part of what was handed in.
fn home(folder: &Path) -> PathBuf {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let real = fs::canonicalize(folder).unwrap_or_default();
    let repository = real.ancestors().find(|folder| folder.join(".git").exists());
    repository.map_or_else(|| folder.to_owned(), Path::to_owned)
}

/// `series` is where the file is named.
fn read(path: &Path, series: Option<(PathBuf, usize)>) -> Result<Vec<u8>, PatchError> {
    let home = home(path.parent().unwrap_or(path));
    let read = Limits::TEXT.wanted().and_then(|limits| intake::read_named_in(&home, path, limits.file));
    read.map_err(|error| match error {
        Refused::Io { path, source } => PatchError::Unreadable { path, series, source },
        other => CacheError::from(other).into(),
    })
}

fn git_apply(patch: &Path, scratch: &Path, sandbox: &Sandbox) -> Command {
    let mut command = run::boxed(sandbox, "git");
    command.args(["apply", "--whitespace=nowarn", "-p1"]).arg(patch).current_dir(scratch);
    // Within somebody's repository, git would leave out what is not below its own folder.
    let ceiling = fs::canonicalize(scratch).ok().and_then(|path| path.parent().map(Path::to_owned));
    command.env("GIT_CEILING_DIRECTORIES", ceiling.unwrap_or_default());
    git::not_led(command)
}

/// Ends what is said of a patch that is in the source already. It helps who chooses the series, and nobody else.
pub const NONE_AT_ALL: &str = "; --series none leaves the source as it is";

#[cfg(test)]
#[path = "patch_test.rs"]
mod tests;
