//! Commits that can't matter to what is built.
//!
//! A commit that changes none of the files that a build looked at ([`kernel::Looked`]), nor what steers the build, gives the same kernel as
//! its parent. What was looked at at both ends is taken together; a file that only commits between them build may slip through, which is
//! why the answer is proven on the culprit and its own parents, whatever was counted as one with another.

use kernel::Looked;
use std::path::{Path, PathBuf};

/// Documentation and the like, by the first part of a path or by its ending: no build reads it.
const NEVER: &[&str] =
    &["Documentation", "LICENSES", "MAINTAINERS", "CREDITS", "COPYING", "README", ".mailmap"];
const NEVER_ENDINGS: &[&str] = &[".rst", ".txt", ".md", ".gitignore"];
/// But here scripts make code of texts, as of arch/x86/lib/x86-opcode-map.txt.
const TEXTS: &[&str] = &["arch", "tools", "scripts"];
/// What the compiler notes the use of.
const NOTED: &[&str] = &[".c", ".h", ".S", ".rs"];
/// Here also what nothing was built in may steer the build. `make tinyconfig` and the like read kernel/configs.
const STEERING: &[&str] = &["scripts", "include", "arch/x86", "usr", "certs", "rust", "kernel/configs"];
/// Of the tools in `tools`, those that are built for a kernel; their own notes are less complete.
const TOOLS: &[&str] = &["build", "include", "lib", "objtool", "bpf/resolve_btfids", "scripts", "arch/x86"];

/// Whether a commit that changes this file may give another kernel.
pub(crate) fn matters(looked: &Looked, file: &str) -> bool {
    let path = Path::new(file);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().unwrap_or(Path::new("")).display().to_string();
    let top = file.split('/').next().unwrap_or_default();
    let another = file.strip_prefix("arch/").and_then(|rest| rest.split_once('/'));
    if looked.files.contains_key(file) {
        return true;
    }
    if NEVER.contains(&top)
        || !TEXTS.contains(&top) && NEVER_ENDINGS.iter().any(|ending| name.ends_with(ending))
        // The folder of another processor.
        || another.is_some_and(|(arch, _)| arch != "x86")
    {
        return false;
    }
    if let Ok(tool) = path.strip_prefix("tools") {
        return TOOLS.iter().any(|it| tool.starts_with(it));
    }
    if name.starts_with("Kconfig") {
        return !looked.files.contains_key("Kconfig");
    }
    if NOTED.iter().any(|ending| name.ends_with(ending)) {
        return top == "scripts";
    }
    // Makefiles, tables, scripts: they matter where make goes.
    looked.folders.contains(&folder) || STEERING.iter().any(|it| path.starts_with(it)) || folder.is_empty()
}

/// Whether a commit that changes this path may give another module: it is in the folder of one, or it is a submodule that such a folder
/// is in.
pub(crate) fn matters_to_modules(folders: &[PathBuf], path: &str) -> bool {
    folders.iter().any(|folder| Path::new(path).starts_with(folder) || folder.starts_with(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_goes_by_its_folder_and_by_the_submodule_that_this_is_in() {
        let folders = ["driver", "deps/lib/mod"].map(PathBuf::from);
        for path in ["driver/a.c", "driver/sub/b.c", "deps/lib", "deps/lib/mod/c.c"] {
            assert!(matters_to_modules(&folders, path), "{path}");
        }
        for path in ["drivers/a.c", "deps/li", "deps/lib/other.c", "README"] {
            assert!(!matters_to_modules(&folders, path), "{path}");
        }
        assert!(matters_to_modules(&[PathBuf::new()], "anything"), "the repository is the module");
    }

    #[test]
    fn a_file_matters_if_the_build_looked_at_it_or_is_steered_by_it() {
        let files = ["kernel/fork.c", "include/linux/sched.h", "Kconfig", "init/Kconfig"];
        let looked = Looked {
            files: files.map(|file| (file.to_owned(), 1)).into(),
            folders: ["kernel", "drivers/tty"].map(str::to_owned).into(),
        };
        for file in [
            "kernel/fork.c",
            "include/linux/sched.h",
            "init/Kconfig",
            "kernel/Makefile",
            "drivers/tty/Makefile",
            "Makefile",
            "arch/x86/entry/syscalls/syscall_64.tbl",
            "kernel/configs/tiny.config",
            "kernel/configs/kvm_guest.config",
            "scripts/link-vmlinux.sh",
            "scripts/mod/modpost.c",
            "arch/x86/lib/x86-opcode-map.txt",
            "tools/arch/x86/lib/x86-opcode-map.txt",
            "scripts/const_structs.txt",
            "tools/objtool/check.c",
            "tools/lib/subcmd/parse-options.c",
        ] {
            assert!(matters(&looked, file), "{file}");
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
            "drivers/notes.txt",
            "arch/arm/tools/mach-types.txt",
            "tools/perf/notes.txt",
            "tools/perf/Makefile",
            "tools/testing/selftests/kvm/Makefile",
        ] {
            assert!(!matters(&looked, file), "{file}");
        }
    }
}
