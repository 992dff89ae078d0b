//! A git repository, read by the `git` program.
//!
//! Nothing in it is changed: no work tree, no index, no HEAD, no reference. Commands that would refresh the index on the way are told
//! not to, and what is checked out goes elsewhere, by an index of its own ([`Repository::check_out`]).

use crate::history::History;
use base::cache::CacheError;
use serde::Serialize;
use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use thiserror::Error;

/// What git said no to.
#[derive(Debug, Error)]
pub enum GitError {
    /// Not a repository, no such revision, and the like; and what is wrong.
    #[error("{0}")]
    Input(String),
    /// git could not be run, or files not be written.
    #[error(transparent)]
    Machine(#[from] CacheError),
}

/// A repository.
#[derive(Clone, Debug)]
pub struct Repository {
    /// The top of its work tree, or what the user named; absolute.
    place: PathBuf,
    /// Its own folder.
    git_dir: PathBuf,
    /// Its work tree, if it has one.
    pub top: Option<PathBuf>,
    /// Where objects of ours are, so that none of them comes into the user's repository.
    objects: Option<PathBuf>,
}

/// What is told of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// The whole hash.
    pub commit: String,
    /// Enough of it to name it.
    pub short: String,
    /// Name and address.
    pub author: String,
    /// When it was written.
    pub date: String,
    /// Its first line.
    pub subject: String,
    /// The files that it changes; of a merge, those against the first parent.
    pub files: Vec<String>,
}

fn bare_git() -> Command {
    let mut git = Command::new("git");
    for name in kernel::LED {
        git.env_remove(name);
    }
    git.env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0");
    git.stdin(Stdio::null());
    git
}

/// The submodules that git lists, by hash and path: `160000 HASH 0\tPATH` of an index, `160000 commit HASH\tPATH` of a tree.
fn gitlinks(listed: &[u8]) -> Vec<(String, String)> {
    let listed = String::from_utf8_lossy(listed);
    let links = listed.split('\0').filter_map(|entry| entry.strip_prefix("160000 ")?.split_once('\t'));
    let hash = |words: &str| words.split(' ').max_by_key(|word| word.len()).unwrap_or_default().to_owned();
    links.map(|(words, path)| (hash(words), path.to_owned())).collect()
}

fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let line = line.or(text.lines().next()).unwrap_or("git said nothing");
    line.trim_start_matches("fatal: ").trim_start_matches("error: ").to_owned()
}

impl Repository {
    /// The repository that a folder is in, or that it is.
    ///
    /// # Errors
    /// There is none.
    pub fn open(place: &Path) -> Result<Self, GitError> {
        let start = Self { place: place.to_owned(), git_dir: PathBuf::new(), top: None, objects: None };
        let none = |error| match error {
            GitError::Input(said) => {
                GitError::Input(format!("{} is no git repository: {said}", place.display()))
            }
            other => other,
        };
        let git_dir = start.text(&["rev-parse", "--absolute-git-dir"]).map_err(none)?;
        let top = start.text(&["rev-parse", "--show-toplevel"]).ok().map(PathBuf::from);
        // Whoever takes a path for relative to something else finds the same; and a folder in the work tree goes with a commit that lacks it.
        let place = match top.clone().filter(|top| top.join(".git").exists()) {
            Some(top) => top,
            None => std::path::absolute(place).map_err(CacheError::io("find", place))?,
        };
        Ok(Self { place, git_dir: git_dir.into(), top, ..start })
    }

    fn git(&self, words: &[&str]) -> Command {
        let mut git = bare_git();
        git.arg("-C").arg(&self.place).args(["-c", "core.quotePath=false"]).args(words);
        self.own_objects(&mut git);
        git
    }

    fn own_objects(&self, git: &mut Command) {
        if let Some(objects) = &self.objects {
            // A work tree of several has its objects where the first one has them.
            let common = fs::read_to_string(self.git_dir.join("commondir")).unwrap_or_default();
            let theirs = self.git_dir.join(common.trim()).join("objects");
            git.env("GIT_OBJECT_DIRECTORY", objects).env("GIT_ALTERNATE_OBJECT_DIRECTORIES", theirs);
        }
    }

    /// A repository that also has the tree of `commit` without what `culprit` brought, and that tree. `objects` is a folder for git's use.
    ///
    /// # Errors
    /// Later commits build on it.
    pub fn reverted(&self, commit: &str, culprit: &str, objects: &Path) -> Result<(Self, String), GitError> {
        fs::create_dir_all(objects).map_err(CacheError::io("make the folder", objects))?;
        let with = Self { objects: Some(objects.to_owned()), ..self.clone() };
        // A commit behind the culprit that takes it back: what both it and `commit` come from is the culprit itself. (Git knows
        // `--merge-base` only since 2.40.)
        let before = format!("{culprit}^1^{{tree}}");
        let identity = ["-c", "user.name=vmm", "-c", "user.email=vmm@localhost"];
        let back = [&identity[..], &["commit-tree", &before, "-p", culprit, "-m", "revert"]].concat();
        let merged = with.text(&back).and_then(|back| {
            let output = with.git(&["merge-tree", "--write-tree", commit, &back]).output();
            let output = output.map_err(CacheError::io("run", Path::new("git")))?;
            match output.status.code() {
                Some(0) => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
                Some(1) => Err(GitError::Input("later commits change the same lines".to_owned())),
                _ => Err(GitError::Input(format!(
                    "git merge-tree (git 2.38 or later): {}",
                    said(&output.stderr)
                ))),
            }
        });
        let tree = merged.map_err(|error| match error {
            GitError::Input(_) if CacheError::is_full(objects) => {
                CacheError::disk_full(objects.to_owned()).into()
            }
            other => other,
        })?;
        Ok((with, tree))
    }

    fn text(&self, words: &[&str]) -> Result<String, GitError> {
        let output = self.git(words).output().map_err(CacheError::io("run", Path::new("git")))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
            false => Err(GitError::Input(said(&output.stderr))),
        }
    }

    /// The whole hash of a commit.
    ///
    /// # Errors
    /// There is no such commit.
    pub fn resolve(&self, revision: &str) -> Result<String, GitError> {
        let asked = format!("{revision}^{{commit}}");
        self.text(&["rev-parse", "--verify", "--quiet", "--end-of-options", &asked]).map_err(|error| {
            match error {
                GitError::Input(_) => GitError::Input(format!(
                    "there is no commit `{revision}` in {}{}",
                    self.place.display(),
                    self.shallow()
                )),
                other => other,
            }
        })
    }

    /// What to add to a message about something that is missing, if it was never fetched.
    pub(crate) fn shallow(&self) -> String {
        match self.text(&["rev-parse", "--is-shallow-repository"]).as_deref() {
            Ok("true") => {
                "; it is a shallow clone, which has no older commits: run `git fetch --unshallow` there"
                    .to_owned()
            }
            _ => String::new(),
        }
    }

    /// Where two lines of commits were one last: the old end itself, if the new one comes from it.
    ///
    /// # Errors
    /// They have nothing in common.
    pub fn common(&self, old: &str, new: &str) -> Result<Vec<String>, GitError> {
        let found = self.text(&["merge-base", "--all", old, new]).unwrap_or_default();
        match found.is_empty() {
            false => Ok(found.lines().map(str::to_owned).collect()),
            true => Err(GitError::Input(format!(
                "{} and {} have no commit in common{}",
                &old[..12.min(old.len())],
                &new[..12.min(new.len())],
                self.shallow()
            ))),
        }
    }

    /// The commits at which a shallow clone ends: git says that they have no parents, and what these did may be what is looked for.
    pub fn cut_off(&self) -> HashSet<String> {
        let common = fs::read_to_string(self.git_dir.join("commondir")).unwrap_or_default();
        let list = fs::read_to_string(self.git_dir.join(common.trim()).join("shallow"));
        list.unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The parents that a commit names, whether they were fetched or not.
    fn named_parents(&self, commit: &str) -> Vec<String> {
        let text = self.text(&["cat-file", "commit", commit]).unwrap_or_default();
        let header = text.lines().take_while(|line| !line.is_empty());
        header.filter_map(|line| line.strip_prefix("parent ")).map(str::to_owned).collect()
    }

    /// The commits that `new` has and `old` has not, with `end` as the old end: it is `old`, or where they parted. They are never none.
    ///
    /// # Errors
    /// There are none.
    pub fn history(&self, old: &str, new: &str, end: &str) -> Result<History, GitError> {
        let not = format!("^{old}");
        let list = self.text(&["rev-list", "--topo-order", "--reverse", "--parents", new, &not])?;
        let cut_off = self.cut_off();
        let commits: Vec<(String, Vec<String>)> = list
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ').map(str::to_owned);
                let id = words.next()?;
                // Without them it would be proven that a commit did it whose parents nobody has run.
                let parents = if cut_off.contains(&id) { self.named_parents(&id) } else { words.collect() };
                Some((id, parents))
            })
            .collect();
        match commits.last() {
            Some((id, _)) if id == new => Ok(History::new(end, commits)),
            _ => Err(GitError::Input(format!("there is no commit between {old} and {new}"))),
        }
    }

    /// First parents of a commit at distances 1, 2, 4 and so on, back to the first of all; where there are releases (tags with a
    /// digit) it is those, at such distances.
    ///
    /// # Errors
    /// git fails.
    pub fn back(&self, from: &str) -> Result<Vec<String>, GitError> {
        let merged = format!("--merged={from}");
        let format = "--format=%(objectname) %(*objectname) %(refname:short)";
        let tags = self.text(&["for-each-ref", &merged, "--sort=-creatordate", format, "refs/tags"])?;
        let is_release = |name: &&str| name.contains(|c: char| c.is_ascii_digit()) && !name.contains("-rc");
        let releases = tags.lines().filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            is_release(words.last()?)
                .then(|| if words[1].is_empty() { words[0] } else { words[1] }.to_owned())
        });
        let mut all: Vec<String> = releases.filter(|it| it != from).collect();
        let listed = self.text(&["rev-list", "--first-parent", from])?;
        let line: Vec<String> = listed.lines().skip(1).map(str::to_owned).collect();
        if all.is_empty() {
            all = line.clone();
        }
        let (mut at, mut found) = (1, Vec::new());
        while at <= all.len() {
            found.push(all[at - 1].clone());
            at *= 2;
        }
        // Behind the last release there may be more.
        found.extend(line.last().cloned());
        found.dedup();
        Ok(found)
    }

    /// The files that each commit changes against its parent, for commits with one parent. All of the history's are there.
    ///
    /// # Errors
    /// git fails, or ends before it has told of all.
    pub fn changes(&self, history: &History) -> Result<HashMap<String, Vec<String>>, GitError> {
        let run = CacheError::io("run", Path::new("git"));
        let words = ["diff-tree", "--stdin", "--always", "-r", "--root", "--no-renames", "--name-only"];
        let mut git = self.git(&words);
        let mut child =
            git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(run)?;
        let ids: String = (1..history.len()).map(|place| history.commit(place).id.clone() + "\n").collect();
        let mut input = child.stdin.take();
        let writer = std::thread::spawn(move || input.as_mut().map(|input| input.write_all(ids.as_bytes())));
        let output = child.wait_with_output().map_err(CacheError::io("wait for", Path::new("git")))?;
        let _ = writer.join();
        let mut changes: HashMap<String, Vec<String>> = HashMap::new();
        let mut current = None;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match history.knows(line) {
                true => {
                    changes.entry(line.to_owned()).or_default();
                    current = Some(line.to_owned());
                }
                false => {
                    let files = current.clone().map(|it| changes.entry(it).or_default());
                    files.into_iter().for_each(|files| files.push(line.to_owned()));
                }
            }
        }
        // What was cut off would be commits that change nothing.
        let left_out =
            (1..history.len()).map(|place| &history.commit(place).id).find(|id| !changes.contains_key(*id));
        match left_out {
            None if output.status.success() => Ok(changes),
            Some(id) if output.status.success() => {
                Err(GitError::Input(format!("git diff-tree said nothing of {id}")))
            }
            _ => Err(GitError::Input(format!("git diff-tree: {}", said(&output.stderr)))),
        }
    }

    /// The files that differ between two commits.
    pub fn differing(&self, from: &str, to: &str) -> Vec<String> {
        let names = self.text(&["diff-tree", "-r", "--no-renames", "--name-only", from, to]);
        names.unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The hash of a commit's tree.
    ///
    /// # Errors
    /// There is no such commit.
    pub fn tree(&self, commit: &str) -> Result<String, GitError> {
        self.text(&["rev-parse", "--verify", "--end-of-options", &format!("{commit}^{{tree}}")])
    }

    /// A file as a commit has it.
    pub fn file(&self, commit: &str, path: &str) -> Option<String> {
        self.text(&["cat-file", "blob", &format!("{commit}:{path}")]).ok()
    }

    /// A folder in it, by which it is known.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// What is told of a commit; as little as is known, if git knows nothing.
    pub fn about(&self, commit: &str) -> About {
        let format = "--format=%H%n%h%n%an <%ae>%n%ad%n%s";
        let words = ["log", "-1", "--abbrev=12", "--date=iso-strict", format, "--no-show-signature", commit];
        let text = self.text(&words).unwrap_or_default();
        let mut lines = text.lines().map(str::to_owned);
        let mut next = || lines.next().unwrap_or_default();
        let (whole, short, author, date, subject) = (next(), next(), next(), next(), next());
        let parent = self.text(&["rev-parse", "--verify", "--quiet", &format!("{commit}^1")]);
        let files = match &parent {
            Ok(parent) => self.text(&["diff-tree", "-r", "--no-renames", "--name-only", parent, commit]),
            Err(_) => self.text(&["ls-tree", "-r", "--name-only", commit]),
        };
        let files = files.unwrap_or_default().lines().map(str::to_owned).collect();
        About { commit: whole, short, author, date, subject, files }
    }

    /// Whether the work tree has changes that are not in any commit.
    pub fn is_dirty(&self) -> bool {
        let changed = self.text(&["status", "--porcelain", "--untracked-files=no"]);
        self.top.is_some() && changed.is_ok_and(|text| !text.is_empty())
    }

    /// Brings `folder` to the state of a commit, changing only the files that differ from what is there. `index` is a file for git's
    /// use. Submodules are checked out as well where the user's work tree has them; the paths of the others are returned.
    ///
    /// # Errors
    /// There is no such commit. That one which is there can't be checked out is this machine's fault: files can't be written, or objects not
    /// be fetched.
    pub fn check_out(&self, commit: &str, folder: &Path, index: &Path) -> Result<Vec<PathBuf>, GitError> {
        fs::create_dir_all(folder).map_err(CacheError::io("make the folder", folder))?;
        let git = |words: &[&str]| {
            let mut git = bare_git();
            git.env("GIT_DIR", &self.git_dir).env("GIT_WORK_TREE", folder).env("GIT_INDEX_FILE", index);
            self.own_objects(&mut git);
            // None of these may leave something in the user's repository, or hide files.
            let settings = [
                "core.splitIndex=false",
                "core.fsmonitor=false",
                "core.sparseCheckout=false",
                "core.hooksPath=/dev/null",
                // Builds take what is checked out by links, and a new link is no change.
                "core.trustCtime=false",
                // As many as there are processors.
                "checkout.workers=0",
            ];
            for setting in settings {
                git.args(["-c", setting]);
            }
            git.current_dir(folder).args(["-c", "core.bare=false"]).args(words);
            git.output().map_err(CacheError::io("run", Path::new("git")))
        };
        let listed = |words: &[&str]| {
            let output = git(words)?;
            let failed =
                || CacheError::io("list submodules in", folder)(io::Error::other(said(&output.stderr)));
            output.status.success().then(|| gitlinks(&output.stdout)).ok_or_else(failed)
        };
        let inner = |path: &str| {
            let mut inner = index.as_os_str().to_owned();
            inner.push(format!("-{}", path.replace('/', "-")));
            PathBuf::from(inner)
        };
        let empty = |path: &str| {
            drop(fs::remove_file(inner(path)));
            base::cache::remove(&folder.join(path))
        };
        // git leaves a submodule's folder alone, and what is in it would be taken for this commit's.
        let before = listed(&["ls-files", "--stage", "-z"]).unwrap_or_default();
        if !before.is_empty() {
            let paths: Vec<&str> = before.iter().map(|(_, path)| path.as_str()).collect();
            let stay = listed(&[&["ls-tree", "-z", commit, "--"], &paths[..]].concat()).unwrap_or_default();
            let goes = |path: &&str| stay.iter().all(|(_, it)| it != path);
            paths.into_iter().filter(goes).try_for_each(empty)?;
        }
        let read = || git(&["read-tree", "--reset", "-u", commit]);
        let mut output = read()?;
        if !output.status.success() {
            // Whatever ended the last one in its middle left a lock, or an index that is not what is there.
            let lock = index.with_extension("lock");
            [index, &lock].into_iter().for_each(|file| drop(fs::remove_file(file)));
            base::cache::remove(folder)?;
            fs::create_dir_all(folder).map_err(CacheError::io("make the folder", folder))?;
            output = read()?;
        }
        if !output.status.success() {
            let said = said(&output.stderr);
            // What git says of a full disk is mostly something else.
            return match CacheError::is_full(folder) || said.contains("No space left on device") {
                true => Err(CacheError::disk_full(folder.to_owned()).into()),
                false if self.text(&["cat-file", "-e", commit]).is_ok() => {
                    let said = io::Error::other(format!("git says of {commit}: {said}"));
                    Err(CacheError::io("check out a commit in", folder)(said).into())
                }
                false => Err(GitError::Input(format!("failed to check out {commit}: {said}"))),
            };
        }
        let mut missing = Vec::new();
        for (hash, path) in listed(&["ls-files", "--stage", "-z"])? {
            match self.submodule(&path) {
                Some(module) if module.resolve(&hash).is_ok() => {
                    let deeper = module.check_out(&hash, &folder.join(&path), &inner(&path))?;
                    missing.extend(deeper.into_iter().map(|it| Path::new(&path).join(it)));
                }
                _ => {
                    empty(&path)?;
                    missing.push(path.into());
                }
            }
        }
        Ok(missing)
    }

    fn submodule(&self, path: &str) -> Option<Self> {
        let place = self.top.as_ref()?.join(path);
        // A folder without a .git would be taken for a part of what is around it.
        place.join(".git").exists().then(|| Self::open(&place).ok()).flatten()
    }
}

#[cfg(test)]
#[path = "git_test.rs"]
pub(crate) mod tests;
