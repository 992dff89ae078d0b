//! Commits that can't matter to what is built.
//!
//! The kernel's build writes down which files each object was made from (`.foo.o.cmd`), and which Kconfig files were read
//! (`auto.conf.cmd`). A commit that changes none of them, nor what steers the build, gives the same kernel as its parent. What was seen
//! at both ends is taken together; a file that only commits between them build may slip through, which is why the answer is
//! proven on the culprit and its own parents, whatever was counted as one with another.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

/// What a build looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Files of the source, from its root.
    files: BTreeSet<String>,
    /// Folders that make went into.
    folders: BTreeSet<String>,
}

/// Documentation and the like, by the first part of a path or by its ending: no build reads it.
const NEVER: &[&str] =
    &["Documentation", "LICENSES", "MAINTAINERS", "CREDITS", "COPYING", "README", ".mailmap"];
const NEVER_ENDINGS: &[&str] = &[".rst", ".txt", ".md", ".gitignore"];
/// What the compiler notes the use of.
const NOTED: &[&str] = &[".c", ".h", ".S", ".rs"];
/// Here also what nothing was built in may steer the build.
const STEERING: &[&str] = &["scripts", "include", "arch/x86", "tools", "usr", "certs", "rust"];

impl Looked {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Takes in a build folder, which lies beside its `source`.
    pub fn add(&mut self, build: &Path) {
        let mut todo = vec![PathBuf::new()];
        while let Some(folder) = todo.pop() {
            for entry in fs::read_dir(build.join(&folder)).into_iter().flatten().flatten() {
                let (name, path) = (entry.file_name(), entry.path());
                let is_folder = entry.file_type().is_ok_and(|it| it.is_dir());
                if is_folder {
                    todo.push(folder.join(name));
                } else if path.extension().is_some_and(|it| it == "cmd") {
                    self.folders.insert(folder.display().to_string());
                    let text = fs::read(&path).unwrap_or_default();
                    self.command(&String::from_utf8_lossy(&text), &folder);
                }
            }
        }
    }

    /// A file of the build's own notes: `source_kernel/fork.o := ../source/kernel/fork.c`, or a line of a list.
    fn command(&mut self, text: &str, folder: &Path) {
        for line in text.lines() {
            let word = match line.strip_prefix("source_") {
                Some(rest) => rest.split_once(":= ").map_or("", |(_, path)| path),
                None if line.starts_with([' ', '\t']) => line,
                None => continue,
            };
            let word = word.trim().trim_end_matches('\\').trim();
            let path = match word.split_once("/source/") {
                Some((_, path)) => PathBuf::from(path),
                // Tools are built where they lie, and Kconfig files are named from the root.
                None if Path::new(word).is_relative() && !word.starts_with('$') => PathBuf::from(word),
                None => continue,
            };
            self.files.insert(plain(&path));
            if text.contains("objtool") || folder.starts_with("tools") {
                self.files.insert(plain(&folder.join(&path)));
            }
        }
    }

    /// Whether a commit that changes this file may give another kernel.
    pub fn matters(&self, file: &str) -> bool {
        let path = Path::new(file);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let folder = path.parent().unwrap_or(Path::new("")).display().to_string();
        let top = file.split('/').next().unwrap_or_default();
        let another = file.strip_prefix("arch/").and_then(|rest| rest.split_once('/'));
        if self.files.contains(file) {
            return true;
        }
        if NEVER.contains(&top)
            || NEVER_ENDINGS.iter().any(|ending| name.ends_with(ending))
            // The folder of another processor.
            || another.is_some_and(|(arch, _)| arch != "x86")
        {
            return false;
        }
        if name.starts_with("Kconfig") {
            return !self.files.contains("Kconfig");
        }
        if NOTED.iter().any(|ending| name.ends_with(ending)) {
            // Tools' own notes are less complete.
            return top == "scripts";
        }
        // Makefiles, tables, scripts: they matter where make goes.
        self.folders.contains(&folder) || STEERING.iter().any(|it| path.starts_with(it)) || folder.is_empty()
    }
}

/// Without `.` and `..`.
fn plain(path: &Path) -> String {
    let mut parts: Vec<&std::ffi::OsStr> = Vec::new();
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
    fn a_file_matters_if_the_build_looked_at_it_or_is_steered_by_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "kernel/.fork.o.cmd",
            "savedcmd_kernel/fork.o := gcc -c ../source/kernel/fork.c\n\nsource_kernel/fork.o := ../source/kernel/fork.c\n\ndeps_kernel/fork.o := \\\n    $(wildcard include/config/SMP) \\\n  ../source/include/linux/sched.h \\\n  /w/source/arch/x86/include/asm/page.h \\\n",
        );
        write("drivers/tty/.built-in.a.cmd", "savedcmd_drivers/tty/built-in.a := ar\n");
        write("include/config/auto.conf.cmd", "deps_config := \\\n\tKconfig \\\n\tinit/Kconfig \\\n");
        let mut looked = Looked::default();
        assert!(looked.is_empty());
        looked.add(folder.path());
        for file in [
            "kernel/fork.c",
            "include/linux/sched.h",
            "arch/x86/include/asm/page.h",
            "init/Kconfig",
            "kernel/Makefile",
            "drivers/tty/Makefile",
            "Makefile",
            "arch/x86/entry/syscalls/syscall_64.tbl",
            "scripts/link-vmlinux.sh",
            "scripts/mod/modpost.c",
        ] {
            assert!(looked.matters(file), "{file}");
        }
        for file in [
            "kernel/audit.c",
            "include/linux/audit.h",
            "arch/arm64/kernel/entry.S",
            "arch/arm/Makefile",
            "Documentation/admin-guide/conf.py",
            "MAINTAINERS",
            "drivers/gpu/Kconfig",
            "drivers/gpu/Makefile",
            "kernel/README.rst",
        ] {
            assert!(!looked.matters(file), "{file}");
        }
    }
}
