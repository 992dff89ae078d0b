//! Histories of the kernel, made for measuring and for tests: commits on top of the source that is at hand.
//!
//! No work tree is needed for that: `git fast-import` takes the changed files.

use crate::git::GitError;
use base::cache::{Cache, CacheError};
use kernel::{Source, sources::Sources};
use std::{
    collections::HashMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// When the first commit was made; each later one is a minute younger. It stands fast, so that the same commits have the same names.
const BEGIN: u64 = 1_767_225_600;

/// A bare repository with the kernel's source as its only commit, in the cache. Making it takes a minute or two.
///
/// # Errors
/// There is no source, or git fails.
pub fn base(cache: &Cache) -> Result<PathBuf, GitError> {
    let input = |error: kernel::sources::SourceError| GitError::Input(format!("failed to {error}"));
    let source = Source::Debian { package: "linux-source-6.12".to_owned(), version: None };
    let Sources { folder, identity, .. } = source.resolve(cache).map_err(input)?;
    let all = cache.root().join("bisect-bench");
    fs::create_dir_all(&all).map_err(CacheError::io("make the folder", &all))?;
    let key: String = identity.chars().filter(|c| !"~+".contains(*c)).collect();
    let place = all.join(format!("{key}.git"));
    let _lock = cache.lock("bisect-bench", "a repository of the kernel's source")?;
    if place.is_dir() {
        return Ok(place);
    }
    base::progress::note("putting the kernel's source into git, for a minute");
    let stage = cache.stage()?;
    let (git_dir, work_tree) =
        (format!("--git-dir={}", stage.path().display()), format!("--work-tree={}", folder.display()));
    git(stage.path(), &["init", "--quiet", "--bare", "."])?;
    let quick = ["-c", "core.bare=false", "-c", "core.looseCompression=1", "-c", "gc.auto=0"];
    git(&folder, &[&quick[..], &[&git_dir, &work_tree, "add", "--force", "--all", "."]].concat())?;
    let tree = git(&folder, &[&git_dir, "write-tree"])?;
    fs::write(stage.path().join("tree"), tree).map_err(CacheError::io("write", stage.path()))?;
    stage.commit(&place)?;
    Ok(place)
}

fn git(folder: &Path, words: &[&str]) -> Result<String, GitError> {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(words).env("LC_ALL", "C").stdin(Stdio::null());
    let output = git.output().map_err(CacheError::io("run", Path::new("git")))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(GitError::Input(format!(
            "failed to make a history: git {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr)
        ))),
    }
}

/// What a commit does to a file's text.
#[derive(Clone, Copy, Debug)]
pub enum Edit {
    /// A function comes to the end of a source file.
    Function,
    /// One comes into a header.
    Inline,
    /// A line comes to the end that means nothing.
    Comment,
    /// The first of these texts becomes the second.
    Replace(&'static str, &'static str),
}

/// A history in the making.
#[derive(Debug)]
pub struct Linux {
    /// The bare repository.
    pub place: PathBuf,
    /// The names of all commits, as they were made; the first is the source as it is.
    pub commits: Vec<String>,
    base: PathBuf,
    salt: u64,
    stream: Vec<u8>,
    /// Of each commit: the files that differ from the source.
    trees: Vec<HashMap<String, String>>,
}

impl Linux {
    /// A repository that begins with the source, in a folder that is not there yet. What commits bring has `salt` in it, so that with
    /// another one nothing was built before.
    ///
    /// # Errors
    /// git fails.
    pub fn new(place: &Path, base: &Path, salt: u64) -> Result<Self, GitError> {
        fs::create_dir_all(place).map_err(CacheError::io("make the folder", place))?;
        git(place, &["init", "--quiet", "--bare", "--initial-branch=main", "."])?;
        let alternates = place.join("objects/info/alternates");
        let objects = format!("{}\n", base.join("objects").display());
        fs::write(&alternates, objects).map_err(CacheError::io("write", &alternates))?;
        let read = |name: &str| {
            let file = base.join(name);
            fs::read_to_string(&file).map_err(CacheError::io("read", &file))
        };
        let mut linux = Self {
            place: place.to_owned(),
            commits: Vec::new(),
            base: base.to_owned(),
            salt,
            stream: Vec::new(),
            trees: Vec::new(),
        };
        linux.begin(None, &[], "Linux 6.12");
        linux.stream.extend(format!("M 040000 {} \n", read("tree")?.trim()).bytes());
        linux.trees.push(HashMap::new());
        Ok(linux)
    }

    fn begin(&mut self, from: Option<usize>, merged: &[usize], subject: &str) {
        let number = self.trees.len();
        let time = BEGIN + 60 * number as u64;
        let message = format!("{subject}\n");
        let mut text = format!("commit refs/heads/main\nmark :{}\n", number + 1);
        for who in ["author", "committer"] {
            text += &format!("{who} A U Thor <author@example.com> {time} +0000\n");
        }
        text += &format!("data {}\n{message}", message.len());
        text += &from.iter().map(|from| format!("from :{}\n", from + 1)).collect::<String>();
        text += &merged.iter().map(|it| format!("merge :{}\n", it + 1)).collect::<String>();
        self.stream.extend(text.bytes());
    }

    /// The newest commit's number.
    pub fn last(&self) -> usize {
        self.trees.len() - 1
    }

    /// Adds a commit behind the one of this number.
    ///
    /// # Errors
    /// There is no such file, or not such a text in it.
    pub fn commit(&mut self, from: usize, subject: &str, file: &str, edit: Edit) -> Result<usize, GitError> {
        let text = match self.trees[from].get(file) {
            Some(text) => text.clone(),
            None => self.original(file)?,
        };
        let number = self.trees.len();
        let text = edited(&text, edit, &format!("{number}_{}", self.salt))
            .ok_or_else(|| GitError::Input(format!("failed to make a history: {file} is not as expected")))?;
        self.begin(Some(from), &[], subject);
        self.stream.extend(format!("M 100644 inline {file}\ndata {}\n{text}\n", text.len()).bytes());
        let mut tree = self.trees[from].clone();
        tree.insert(file.to_owned(), text);
        self.trees.push(tree);
        Ok(number)
    }

    /// Adds a merge: what the second one has, and the first one has not, is taken.
    pub fn merge(&mut self, first: usize, second: usize, subject: &str) -> usize {
        self.begin(Some(first), &[second], subject);
        let mut tree = self.trees[first].clone();
        for (file, text) in &self.trees[second] {
            if !tree.contains_key(file) {
                let data = format!("M 100644 inline {file}\ndata {}\n{text}\n", text.len());
                self.stream.extend(data.bytes());
                tree.insert(file.clone(), text.clone());
            }
        }
        self.trees.push(tree);
        self.last()
    }

    /// Hands all commits to git, and learns their names.
    ///
    /// # Errors
    /// git fails.
    pub fn finish(mut self) -> Result<Self, GitError> {
        let marks = self.place.join("marks");
        let mut import = Command::new("git");
        import.arg("-C").arg(&self.place).args(["fast-import", "--quiet", "--force"]);
        import.arg(format!("--export-marks={}", marks.display())).stdin(Stdio::piped());
        let run = || CacheError::io("run", Path::new("git"));
        let mut child = import.spawn().map_err(run())?;
        let input = child.stdin.take();
        input.into_iter().try_for_each(|mut input| input.write_all(&self.stream)).map_err(run())?;
        if !child.wait().map_err(run())?.success() {
            return Err(GitError::Input("failed to make a history: git fast-import failed".to_owned()));
        }
        let text = fs::read_to_string(&marks).map_err(CacheError::io("read", &marks))?;
        // ":MARK HASH"
        let mut names: Vec<(usize, String)> = text
            .lines()
            .filter_map(|line| line.strip_prefix(':')?.split_once(' '))
            .filter_map(|(mark, name)| Some((mark.parse().ok()?, name.to_owned())))
            .collect();
        names.sort_unstable();
        self.commits = names.into_iter().map(|(_, name)| name).collect();
        self.stream = Vec::new();
        fs::remove_file(&marks).map_err(CacheError::io("remove", &marks))?;
        Ok(self)
    }

    fn original(&self, file: &str) -> Result<String, GitError> {
        let tree = fs::read_to_string(self.base.join("tree")).map_err(CacheError::io("read", &self.base))?;
        Ok(git(&self.base, &["cat-file", "-p", &format!("{}:{file}", tree.trim())])? + "\n")
    }
}

fn edited(text: &str, edit: Edit, number: &str) -> Option<String> {
    let text = text.trim_end();
    Some(match edit {
        Edit::Function => format!(
            "{text}\n\nstatic int __maybe_unused scaled_{number}(int value)\n{{\n\treturn value * 3;\n}}\n"
        ),
        Edit::Inline => {
            // Before the guard's end.
            let at = text.rfind("#endif")?;
            let function =
                format!("static inline int scaled_{number}(int value)\n{{\n\treturn value * 3;\n}}\n\n");
            format!("{}{function}{}\n", &text[..at], &text[at..])
        }
        Edit::Comment => format!("{text}\n# Looked through, {number}\n"),
        Edit::Replace(before, after) => {
            if !text.contains(before) {
                return None;
            }
            text.replacen(before, after, 1) + "\n"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_are_made_without_a_work_tree() {
        let folder = tempfile::tempdir().unwrap();
        let (base, source) = (folder.path().join("base.git"), folder.path().join("source"));
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("a.h"), "#ifndef A\n#define A\n#endif\n").unwrap();
        fs::write(source.join("b.c"), "int b = 1;\n").unwrap();
        git(folder.path(), &["init", "--quiet", "--bare", "base.git"]).unwrap();
        let git_dir = format!("--git-dir={}", base.display());
        git(&source, &[&git_dir, "--work-tree=.", "-c", "core.bare=false", "add", "."]).unwrap();
        fs::write(base.join("tree"), git(&source, &[&git_dir, "write-tree"]).unwrap()).unwrap();

        let mut linux = Linux::new(&folder.path().join("linux.git"), &base, 7).unwrap();
        let one = linux.commit(0, "b: two", "b.c", Edit::Replace("= 1", "= 2")).unwrap();
        let side = linux.commit(0, "a: more", "a.h", Edit::Inline).unwrap();
        let merge = linux.merge(one, side, "Merge the side");
        assert!(linux.commit(merge, "no", "b.c", Edit::Replace("= 7", "= 2")).is_err());
        let linux = linux.finish().unwrap();
        let show = |what: &str| git(&linux.place, &["cat-file", "-p", what]).unwrap();
        assert_eq!(show("main:b.c"), "int b = 2;");
        assert!(show("main:a.h").contains("scaled_2_7"), "{}", show("main:a.h"));
        assert_eq!(linux.commits.len(), 4);
        assert_eq!(git(&linux.place, &["rev-parse", "main^2"]).unwrap(), linux.commits[side]);
        assert_eq!(git(&linux.place, &["rev-parse", "main"]).unwrap(), linux.commits[merge]);
    }
}
