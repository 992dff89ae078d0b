//! Which files of its source a build looked at.
//!
//! The kernel's build writes that down itself: which files each object was made from (`.foo.o.cmd`), and which Kconfig files were
//! read (`auto.conf.cmd`). It is kept with the kernel, whose build folder goes on to other revisions. Makefiles of others can write such
//! files, too.

use base::cache::CacheError;
use jail::{
    Limits,
    intake::{self, Tally},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    ffi::OsStr,
    fs,
    path::{Component, Path, PathBuf},
};

/// The file's name in an entry.
const NAME: &str = "looked.json";
/// The notes of any build: the largest are of some 100 KiB, and of tens of thousands of objects some 1 GiB together.
const MOST: Limits = Limits { file: 1 << 20, total: 4 << 30, files: 500_000, depth: 128 };
/// What names may take, in bytes: a kernel's whole source has some 100,000 of them.
const ROOM: usize = 64 << 20;
/// What a name takes beside its letters, about.
const EACH: usize = 64;

/// Room for names.
struct Room(usize);

impl Room {
    /// For one more of this length; none if there is no more.
    fn take(&mut self, length: usize) -> Option<()> {
        self.0 = self.0.checked_sub(length + EACH)?;
        Some(())
    }
}

/// What a build looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// Files of the source, from its root, and how many objects were made from each.
    pub files: BTreeMap<String, u32>,
    /// Folders that make went into.
    pub folders: BTreeSet<String>,
}

impl Looked {
    /// Reads a build folder's notes. `source` is where the source was. Nothing if they are more than those of any build, or can't be
    /// read: then it is not known what that looked at.
    pub fn of(build: &Path, source: &Path) -> Option<Self> {
        let mut looked = Self::default();
        let (mut tally, mut room) = (Tally::new(build, MOST), Room(ROOM));
        let mut todo = vec![PathBuf::new()];
        while let Some(folder) = todo.pop() {
            for entry in fs::read_dir(build.join(&folder)).into_iter().flatten().flatten() {
                let (name, path) = (entry.file_name(), entry.path());
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() {
                    let folder = folder.join(name);
                    tally.count(&path).ok()?;
                    room.take(folder.as_os_str().len())?;
                    todo.push(folder);
                } else if kind.is_file() && path.extension().is_some_and(|it| it == "cmd") {
                    tally.add(&path, &entry.metadata().ok()?).ok()?;
                    let text = intake::read(&path, MOST.file).ok()?;
                    looked.folders.insert(folder.display().to_string());
                    for file in named(&String::from_utf8_lossy(&text), &folder, source)? {
                        match looked.files.entry(file) {
                            Entry::Occupied(mut known) => *known.get_mut() += 1,
                            Entry::Vacant(new) => {
                                room.take(new.key().len())?;
                                new.insert(1);
                            }
                        }
                    }
                }
            }
        }
        Some(looked)
    }

    /// Those of a kernel in the cache; nothing for one that was made before this was kept, or elsewhere.
    pub fn of_kernel(entry: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(entry.join(NAME)).ok()?).ok()
    }

    /// Keeps it in an entry.
    pub(super) fn save(&self, entry: &Path) -> Result<(), CacheError> {
        crate::product::save(&entry.join(NAME), self)
    }

    /// The same with all that another build looked at.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (file, objects) in other.files {
            let known = self.files.entry(file).or_default();
            *known = objects.max(*known);
        }
        self.folders.extend(other.folders);
        self
    }
}

/// What a file of the build's own notes names: `source_kernel/fork.o := ../source/kernel/fork.c`, or the lines of a list. Nothing if
/// that is more than there is room for.
fn named(text: &str, folder: &Path, source: &Path) -> Option<BTreeSet<String>> {
    let (mut files, mut room) = (BTreeSet::new(), Room(ROOM));
    let mut add = |path: &Path| {
        let name = plain(path);
        room.take(name.len())?;
        files.insert(name);
        Some(())
    };
    for line in text.lines() {
        let word = match line.strip_prefix("source_") {
            Some(rest) => rest.split_once(":= ").map_or("", |(_, path)| path),
            None if line.starts_with([' ', '\t']) => line,
            None => continue,
        };
        let word = word.trim().trim_end_matches('\\').trim();
        if word.starts_with('$') {
            continue;
        }
        let path = Path::new(word);
        let inside = path.strip_prefix(source).or_else(|_| path.strip_prefix("../source"));
        match inside {
            Ok(path) => add(path)?,
            // Kconfig files are named from the root, tools also from where they are built.
            Err(_) if path.is_relative() => {
                add(path)?;
                add(&folder.join(path))?;
            }
            Err(_) => {}
        }
    }
    Some(files)
}

/// Without `.` and `..`.
fn plain(path: &Path) -> String {
    let mut parts: Vec<&OsStr> = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(part) => parts.push(part),
            _ => {}
        }
    }
    parts.iter().collect::<PathBuf>().display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builds_own_notes_say_what_it_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "kernel/.fork.o.cmd",
            "savedcmd_kernel/fork.o := gcc -c /s/source/kernel/fork.c\n\nsource_kernel/fork.o := /s/source/kernel/fork.c\n\ndeps_kernel/fork.o := \\\n    $(wildcard include/config/SMP) \\\n  /s/source/include/linux/sched.h \\\n  ../source/arch/x86/include/../include/asm/page.h \\\n  /usr/include/else.h \\\n",
        );
        write("drivers/tty/.built-in.a.cmd", "savedcmd_drivers/tty/built-in.a := ar\n");
        write("include/config/auto.conf.cmd", "deps_config := \\\n\tKconfig \\\n\tinit/Kconfig \\\n");
        let looked = Looked::of(folder.path(), Path::new("/s/source")).unwrap();
        for file in [
            "kernel/fork.c",
            "include/linux/sched.h",
            "arch/x86/include/asm/page.h",
            "Kconfig",
            "init/Kconfig",
        ] {
            assert_eq!(looked.files.get(file), Some(&1), "{file}: {looked:?}");
        }
        assert!(!looked.files.keys().any(|file| file.contains("SMP") || file.contains("else")), "{looked:?}");
        let folders: Vec<&str> = looked.folders.iter().map(String::as_str).collect();
        assert_eq!(folders, ["drivers/tty", "include/config", "kernel"]);
        assert_eq!(Looked::of_kernel(folder.path()), None);
        looked.save(folder.path()).unwrap();
        assert_eq!(Looked::of_kernel(folder.path()), Some(looked));
    }

    #[test]
    fn notes_that_no_build_makes_are_not_read_to_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let looked = || Looked::of(folder.path(), Path::new("/s/source"));
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/large.cmd"), "").unwrap();
        assert!(looked().is_some());
        fs::File::options().write(true).open(at("d/large.cmd")).unwrap().set_len(4 << 30).unwrap();
        assert_eq!(looked(), None);
        fs::remove_file(at("d/large.cmd")).unwrap();
        // Each is small, and all together name more than a source has.
        for part in 0..6 {
            let lines: String = (0..100_000).map(|line| format!(" {part}{line:x}\n")).collect();
            fs::write(at(&format!("d/{part}.cmd")), lines).unwrap();
        }
        assert_eq!(looked(), None);
        fs::remove_file(at("d/5.cmd")).unwrap();
        fs::remove_file(at("d/4.cmd")).unwrap();
        fs::remove_file(at("d/3.cmd")).unwrap();
        assert_eq!(looked().unwrap().files.len(), 600_000);
    }
}
