//! Files outside of a module's folder that its build reads: `../common.h`, a folder `../include`.
//!
//! What is built is a copy, and paths that lead out of the folder have to lead to the same in the copy. So the copy is
//! of the folder's surroundings, as far up as such paths go, with nothing in them but what is named.

use base::{cache::CacheError, stage::Stage};
use jail::{
    Limits,
    intake::{self, Tally},
};
use kernel::tree::{self, Tree};
use regex::Regex;
use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
    sync::LazyLock,
};

/// A folder with more files than this is no part of a module's source, but a kernel's tree or somebody's home.
const MANY: usize = 2000;
/// So deep headers are looked for in a folder that holds the module's own.
const DEPTH: usize = 3;

/// The surroundings of a folder.
#[derive(Debug, Default)]
pub struct Around {
    /// The folder that holds everything that is named; the module's own if nothing outside is.
    pub root: PathBuf,
    /// Files outside of the module's folder, below `root`.
    pub files: BTreeSet<PathBuf>,
}

impl Around {
    /// Looks for what the files of `tree`, which is of `folder`, name outside of it. `folder` is canonical. Of a folder that was
    /// handed in, and lies in a stage of its own, nothing outside of that is looked at: there lies what others handed in, or
    /// the solution.
    ///
    /// # Errors
    /// A folder that is named can't be read.
    pub fn find(folder: &Path, tree: &Tree) -> Result<Self, CacheError> {
        let mut found: BTreeSet<PathBuf> = BTreeSet::new();
        let mut todo: Vec<PathBuf> = tree.paths().map(|path| folder.join(path)).collect();
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        let own = Stage::around(folder);
        while let Some(file) = todo.pop() {
            for named in named_outside(&file, folder) {
                let is_own = own.is_none_or(|own| named.starts_with(own));
                let is_taken = is_own && (named.is_dir() || is_written_by_hand(&named));
                if !is_taken {
                    continue;
                }
                let new = match named.is_dir() {
                    true if folders.insert(named.clone()) => files_below(&named, folder)?,
                    true => Vec::new(),
                    // What lies beside a file may be included by it without a path.
                    false => [vec![named.clone()], headers_beside(&named)].concat(),
                };
                todo.extend(
                    new.into_iter().filter(|path| !path.starts_with(folder) && found.insert(path.clone())),
                );
            }
        }
        let mut tally = Tally::new(folder, Limits::MODULE.wanted()?);
        for file in &found {
            tally.add(file, &fs::symlink_metadata(file).map_err(CacheError::io("read", file))?)?;
        }
        let root = found.iter().fold(folder.to_owned(), |root, file| common(&root, file));
        let files = found.iter().filter_map(|file| Some(file.strip_prefix(&root).ok()?.to_owned())).collect();
        Ok(Self { root, files })
    }

    /// Copies them below `to`.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn copy(&self, to: &Path) -> Result<(), CacheError> {
        for file in &self.files {
            let copy = Self::copied(to, file);
            let parent = copy.parent().unwrap_or(to);
            fs::create_dir_all(parent).map_err(CacheError::io("make the folder", parent))?;
            tree::copy(&self.root.join(file), &copy)?;
        }
        Ok(())
    }

    /// Where [`Self::copy`] puts one of `files`.
    pub fn copied(to: &Path, file: &Path) -> PathBuf {
        to.join(plain(file))
    }

    /// Where the module's folder is below `root`, in the copy.
    pub fn inside(&self, folder: &Path) -> PathBuf {
        plain(folder.strip_prefix(&self.root).unwrap_or(Path::new("")))
    }
}

/// A path without what the kernel's makefiles can't cope with; as deep as before.
fn plain(path: &Path) -> PathBuf {
    let part = |part: Component| part.as_os_str().to_string_lossy().replace([' ', '\t', ':'], "_");
    path.components().map(part).collect()
}

fn common(a: &Path, b: &Path) -> PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(part, _)| part).collect()
}

/// What a file names by a path with `..` and what is there, outside of `folder`.
fn named_outside(file: &Path, folder: &Path) -> Vec<PathBuf> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let ending = file.extension().unwrap_or_default().to_string_lossy();
    let is_makefile =
        matches!(&*name, "Kbuild" | "Makefile" | "makefile" | "GNUmakefile") || name.starts_with("Makefile.");
    let in_text = match &*ending {
        "c" | "h" | "S" | "inc" => in_source as fn(&str) -> BTreeSet<(String, Use)>,
        "mk" => in_makefile,
        _ if is_makefile => in_makefile,
        _ => return Vec::new(),
    };
    let Ok(text) = intake::read_text(file) else { return Vec::new() };
    let beside = file.parent().unwrap_or(folder);
    let real = |(path, used): &(String, Use)| {
        // A makefile's paths may begin at the module's folder as well.
        let at = [beside, folder].into_iter().find_map(|from| fs::canonicalize(from.join(path)).ok())?;
        // `cd ..` wants nothing of that folder.
        let is_wanted = *used == Use::Headers || !folder.starts_with(&at);
        (is_wanted && !at.starts_with(folder) && at.parent().is_some()).then_some(at)
    };
    in_text(&text).iter().filter_map(real).collect()
}

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// The compiler looks for headers there.
    Headers,
    Other,
}

fn in_source(text: &str) -> BTreeSet<(String, Use)> {
    static INCLUDE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"(?m)^\s*#\s*include\s+["<]([^">]*\.\.[^">]*)[">]"#).expect("a constant that tests use")
    });
    INCLUDE.captures_iter(text).map(|found| (found[1].to_owned(), Use::Other)).collect()
}

/// `-I$(src)/../include`, `include ../common.mk`, `LDDINC=$(PWD)/../include`: the part from the first `..` on.
fn in_makefile(text: &str) -> BTreeSet<(String, Use)> {
    static UP: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"(?:^|[=/I)"'])(\.\.(?:/[^:;,)"']*)?)(?:[:;,)"']|$)"#)
            .expect("a constant that tests use")
    });
    let words = text.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let path = |word: &str| {
        let used = if word.contains("-I") { Use::Headers } else { Use::Other };
        Some((UP.captures(word)?[1].to_owned(), used))
    };
    words.filter_map(path).collect()
}

/// The files of a folder that is named; only headers of one that holds the module's own.
fn files_below(named: &Path, folder: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let is_kernel = named.join("Kconfig").is_file() && named.join("scripts").is_dir();
    if is_kernel {
        return Ok(Vec::new());
    }
    let holds = folder.starts_with(named);
    let mut files = Vec::new();
    let mut todo = vec![(named.to_owned(), 0)];
    let mut seen = 0;
    while let Some((at, depth)) = todo.pop() {
        for entry in fs::read_dir(&at).map_err(CacheError::io("read", &at))?.flatten() {
            seen += 1;
            if seen > MANY {
                return Ok(Vec::new());
            }
            let path = entry.path();
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !hidden && path != folder && (!holds || depth < DEPTH) => {
                    todo.push((path, depth + 1));
                }
                Ok(kind)
                    if kind.is_file()
                        && tree::is_source(&entry.file_name())
                        && is_written_by_hand(&path)
                        && (!holds || is_header(&path)) =>
                {
                    files.push(path);
                }
                _ => {}
            }
        }
    }
    Ok(files)
}

/// Whether a file outside of the folder can be meant by its sources. A compiler shows the first line of whatever it is told
/// to include: somebody's key is none of it.
fn is_written_by_hand(path: &Path) -> bool {
    const ENDINGS: [&str; 11] = ["h", "c", "S", "inc", "mk", "rs", "lds", "def", "tbl", "include", "in"];
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    let is_makefile = matches!(&*name, "Kbuild" | "Makefile" | "makefile" | "GNUmakefile" | "Kconfig")
        || name.starts_with("Makefile.");
    is_makefile || ENDINGS.contains(&&*ending)
}

fn is_header(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "h")
}

fn headers_beside(file: &Path) -> Vec<PathBuf> {
    let entries = file.parent().and_then(|folder| fs::read_dir(folder).ok());
    // A link may lead to anybody's file.
    let files = entries.into_iter().flatten().flatten();
    let files = files.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.map(|entry| entry.path()).filter(|path| is_header(path)).take(MANY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::fixture::write;

    fn around(files: &[(&str, &str)]) -> (Vec<String>, String) {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        for (name, text) in files {
            write(&top.join(name), text);
        }
        let own = top.join("course/mod");
        let around = Around::find(&own, &Tree::scan(&own, Limits::MODULE).unwrap()).unwrap();
        around.copy(&top.join("copy")).unwrap();
        let names = around.files.iter().map(|file| file.display().to_string()).collect();
        assert!(around.files.iter().all(|file| top.join("copy").join(file).is_file()));
        (names, around.inside(&own).display().to_string())
    }

    #[test]
    fn what_lies_outside_of_a_stage_is_nobodys_to_take() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        let stage = Stage::new(&top).unwrap();
        let own = stage.path().join("course/mod");
        write(&own.join("a.c"), "#include \"../a.h\"\n#include \"../../../other/b.h\"\n");
        write(&own.join("Makefile"), "ccflags-y += -I$(src)/../../../other\n");
        write(&stage.path().join("course/a.h"), "#include \"../../other/c.h\"\n");
        for name in ["b.h", "c.h"] {
            write(&top.join("other").join(name), "");
        }
        let around = Around::find(&own, &Tree::scan(&own, Limits::MODULE).unwrap()).unwrap();
        assert_eq!(around.files.iter().collect::<Vec<_>>(), [Path::new("a.h")]);
        assert_eq!(around.root, stage.path().join("course"));
        assert_eq!(Stage::around(&top.join("other")), None);
    }

    #[test]
    fn headers_that_sources_include_by_their_path_are_found_with_what_they_include() {
        let (files, inside) = around(&[
            ("course/mod/a.c", "#include \"../common/a.h\"\n"),
            ("course/common/a.h", "#include \"b.h\"\n  #  include \"../../up.h\"\n"),
            ("course/common/b.h", ""),
            ("course/common/other.c", ""),
            ("up.h", ""),
        ]);
        assert_eq!(files, ["course/common/a.h", "course/common/b.h", "up.h"]);
        assert_eq!(inside, "course/mod");
    }

    #[test]
    fn folders_and_files_that_makefiles_name_are_found() {
        let (files, inside) = around(&[
            (
                "course/mod/Makefile",
                "include ../rules.mk\nccflags-y := -I$(src)/../include -DX=1\nobj-m := a.o\n",
            ),
            ("course/mod/a.c", ""),
            ("course/rules.mk", ""),
            ("course/include/x/y.h", ""),
            ("course/include/.git/z.h", ""),
            ("course/elsewhere/x.h", ""),
        ]);
        assert_eq!(files, ["include/x/y.h", "rules.mk"]);
        assert_eq!(inside, "mod");
    }

    #[test]
    fn of_a_folder_that_holds_the_modules_own_only_headers_are_taken() {
        let (files, _) = around(&[
            ("course/mod/Makefile", "ccflags-y := -I$(PWD)/..\n"),
            ("course/mod/own.h", ""),
            ("course/x.h", ""),
            ("course/x.c", ""),
            ("course/sub/y.h", ""),
        ]);
        assert_eq!(files, ["sub/y.h", "x.h"]);
    }

    #[test]
    fn what_nobody_writes_for_a_compiler_is_not_taken_by_whatever_name() {
        let (files, _) = around(&[
            (
                "course/mod/a.c",
                "#include \"../secret/id_rsa\"\n#include \"../../../../../../etc/passwd\"\n#include \"../b.h\"\n",
            ),
            ("course/mod/Makefile", "ccflags-y := -I$(src)/../secret\n"),
            ("course/secret/id_rsa", "key"),
            ("course/secret/fine.h", ""),
            ("course/b.h", ""),
        ]);
        assert_eq!(files, ["b.h", "secret/fine.h"]);
    }

    #[test]
    fn a_link_beside_what_is_named_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        let own = top.join("course/mod");
        write(&own.join("a.c"), "#include \"../common/a.h\"\n#include \"../common/link.h\"\n");
        write(&top.join("course/common/a.h"), "");
        write(&top.join("home/.token"), "secret");
        for name in ["key.h", "link.h"] {
            std::os::unix::fs::symlink(top.join("home/.token"), top.join("course/common").join(name))
                .unwrap();
        }
        let around = Around::find(&own, &Tree::scan(&own, Limits::MODULE).unwrap()).unwrap();
        assert_eq!(around.files.iter().collect::<Vec<_>>(), [Path::new("common/a.h")]);
    }

    #[test]
    fn a_folder_that_names_nothing_outside_stands_alone() {
        let (files, inside) = around(&[
            (
                "course/mod/Makefile",
                "KDIR := ../../linux\nobj-m := a.o # .. and more ...\nup:\n\tcd .. && ls ...\n",
            ),
            ("course/mod/a.c", "#include \"sub/../own.h\"\n#include \"../nowhere.h\"\n"),
            ("course/mod/own.h", ""),
            ("course/other.h", ""),
            ("linux/Kconfig", ""),
            ("linux/scripts/x", ""),
        ]);
        assert_eq!((files.len(), &*inside), (0, ""), "{files:?}");
    }
}
