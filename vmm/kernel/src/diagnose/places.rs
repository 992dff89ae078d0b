//! Paths of a build, as people know them: they know their own folder, not the copy that is built.

use std::path::{Path, PathBuf};

/// Whose files a build reads, and what they are called.
#[derive(Clone, Debug)]
pub struct Places {
    /// The author's files, in the copy.
    own: PathBuf,
    /// More folders of the author's.
    more: Vec<PathBuf>,
    /// A folder's name that makes a file somebody else's, wherever below `own` it is.
    others: Option<&'static str>,
    /// Paths below the first of each pair are shown below the second; the special ones stand before the general.
    names: Vec<(PathBuf, PathBuf)>,
}

impl Places {
    /// Of a module that is built in `copy` and whose folder people know as `shown`.
    pub fn of_module(copy: &Path, shown: &Path) -> Self {
        Self {
            own: copy.to_owned(),
            more: Vec::new(),
            others: None,
            names: vec![(copy.to_owned(), shown.to_owned())],
        }
    }

    /// Of a kernel that is built from `source`. Of a file that is compiled, the headers are somebody else's.
    pub fn of_kernel(source: &Path, shown: &Path) -> Self {
        let names = vec![(source.to_owned(), shown.to_owned())];
        Self { own: source.to_owned(), more: Vec::new(), others: Some("include"), names }
    }

    /// Also shows what is below `from` as below `to`; an empty `to` leaves a relative path.
    pub fn and(mut self, from: &Path, to: &Path) -> Self {
        self.names.push((from.to_owned(), to.to_owned()));
        self
    }

    /// As [`Places::and`], of a folder that is the author's, too.
    pub fn and_own(mut self, from: &Path, to: &Path) -> Self {
        self.more.push(from.to_owned());
        self.and(from, to)
    }

    /// A compiler's path, whole: the kernel's build system has compilers of newer kernels run in the author's folder.
    pub(super) fn whole(&self, file: &str) -> PathBuf {
        self.own.join(file)
    }

    /// Whether the author wrote a file that a compiler names.
    pub(super) fn is_own(&self, file: &str) -> bool {
        let whole = self.whole(file);
        let inside =
            std::iter::once(&self.own).chain(&self.more).find_map(|own| whole.strip_prefix(own).ok());
        inside.is_some_and(|inside| {
            let others = self.others.is_some_and(|name| inside.components().any(|it| it.as_os_str() == name));
            !others && (Path::new(file).is_absolute() || whole.is_file())
        })
    }

    /// A line with its paths as people know them.
    pub(super) fn rename(&self, line: &str) -> String {
        let whole = self.complete(line).unwrap_or_else(|| line.to_owned());
        self.names.iter().fold(whole, |line, (from, to)| {
            // `join` adds the slash, but not to an empty path.
            let (from, to) = (from.join(""), to.join(""));
            line.replace(&*from.to_string_lossy(), &to.to_string_lossy())
        })
    }

    /// A line that begins with a relative path of the author's, or shows one as rustc does.
    fn complete(&self, line: &str) -> Option<String> {
        let path = line.trim_start().strip_prefix("--> ").unwrap_or(line);
        let file = path.split(':').next().filter(|file| !file.is_empty() && path.len() > file.len())?;
        if Path::new(file).is_absolute() || file.starts_with(' ') || !self.is_own(file) {
            return None;
        }
        let at = line.len() - path.len();
        Some(format!("{}{}", &line[..at], self.own.join(path).display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_of_the_author_are_shown_as_all_others() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.c"), "").unwrap();
        let places = Places::of_module(folder.path(), Path::new("mods/hello"));
        assert_eq!(places.rename("a.c:1:2: error: x"), "mods/hello/a.c:1:2: error: x");
        assert_eq!(places.rename("  --> a.c:1:2"), "  --> mods/hello/a.c:1:2");
        for other in ["b.c:1:2: error: x", "    1 | a.c:1:2", "a.c", "ld: a.c:1: x"] {
            assert_eq!(places.rename(other), other);
        }
    }

    #[test]
    fn headers_of_a_kernel_are_not_the_authors() {
        let places = Places::of_kernel(Path::new("/slot/source"), Path::new(""));
        assert!(places.is_own("/slot/source/kernel/fork.c"));
        assert!(!places.is_own("/slot/source/include/linux/printk.h"));
        assert!(!places.is_own("/slot/build/include/generated/x.h"));
        assert_eq!(places.rename("/slot/source/kernel/fork.c:1:1: error: x"), "kernel/fork.c:1:1: error: x");
        let places = Places::of_module(Path::new("/copy"), Path::new("."));
        assert!(places.is_own("/copy/include/mine.h") && !places.is_own("/kernel/include/linux/printk.h"));
    }
}
