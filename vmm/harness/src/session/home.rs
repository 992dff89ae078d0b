//! Paths in the kernel's log, as the user knows them.
//!
//! A module is built in a copy of its folder, and the compiler puts the copy's path into it: WARN and BUG
//! print that. A module of the cache may even come from the copy of another folder with the same content.

use base::text;
use std::path::{Path, PathBuf};

/// In the build's folder, where the copy of the user's folder is.
const COPY: &str = "/source/";

/// Knows where modules come from.
pub(super) struct Home {
    /// How the path of every folder begins in which modules are built, the longest first.
    works: Vec<String>,
    /// The user's folders, from the current one where they are in it.
    folders: Vec<PathBuf>,
}

impl Home {
    /// `build` is where the compiler runs: with debug info, ccache makes paths relative to it.
    pub(super) fn new(work: &Path, build: &Path, folders: Vec<PathBuf>) -> Self {
        let build = std::fs::canonicalize(build).unwrap_or_else(|_| build.to_owned());
        let works = [relative(&build, work), work.to_owned()].map(|path| path.display().to_string());
        Self { works: works.into(), folders: folders.iter().map(|folder| text::path(folder)).collect() }
    }

    /// A line of the log with the user's paths, if there are others in it. Where it can't be told which of
    /// several folders is meant, the path begins inside of the folder.
    pub(super) fn line(&self, line: &str) -> Option<String> {
        let mut shown = String::new();
        let mut rest = line;
        while let Some(at) = self.works.iter().filter_map(|work| rest.find(work)).min() {
            let (before, path) = rest.split_at(at);
            let Some(copy) = path.find(COPY).filter(|copy| !path[..*copy].contains(' ')) else { break };
            let inside = &path[copy + COPY.len()..];
            shown.push_str(before);
            let file = &inside[..inside.find([' ', ':', '!', ',', ')']).unwrap_or(inside.len())];
            let mut having = self.folders.iter().filter(|folder| folder.join(file).is_file());
            if let (Some(folder), None) = (having.next(), having.next()) {
                shown.push_str(&format!("{}/", folder.display()));
            }
            rest = inside;
        }
        (rest.len() < line.len()).then(|| shown + rest)
    }
}

/// The way from one folder to another place.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let same = from.components().zip(to.components()).take_while(|(from, to)| from == to).count();
    let up = from.components().skip(same).map(|_| "..");
    up.collect::<PathBuf>().join(to.components().skip(same).collect::<PathBuf>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_copies_become_the_users() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = std::fs::canonicalize(temporary.path()).unwrap();
        let (one, other) = (folder.join("one"), folder.join("other"));
        for (folder, file) in [(&one, "foo.c"), (&one, "both.c"), (&other, "both.c")] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join(file), "").unwrap();
        }
        let home = Home::new(
            Path::new("/c/module-"),
            Path::new("/c/kernels/0a/build"),
            vec![other.join("../one"), other],
        );
        let shown = |line: &str| home.line(line);
        let warning = "WARNING: CPU: 0 PID: 1 at /c/module-0a1b/source/foo.c:9 f+0x1/0x2 [foo]";
        let users = format!("WARNING: CPU: 0 PID: 1 at {}/foo.c:9 f+0x1/0x2 [foo]", one.display());
        assert_eq!(shown(warning), Some(users));
        let relative = shown("WARNING: at ../../../module-0a1b/source/foo.c:9 f+0x1/0x2 [foo]");
        let users = format!("WARNING: at {}/foo.c:9 f+0x1/0x2 [foo]", one.display());
        assert_eq!(relative, Some(users));
        let bug = shown("kernel BUG at /c/module-0a1b/source/both.c:7!");
        assert_eq!(bug.as_deref(), Some("kernel BUG at both.c:7!"), "two folders have it");
        for other in ["no path", "/c/module-", "/c/module-0a1b/else/x.c", "at /c/module-1 /source/x.c"] {
            assert_eq!(shown(other), None);
        }
    }
}
