//! The files by which modprobe finds a module, and what has to be loaded before it: made by kmod's `depmod`, as
//! everywhere else. It reads modules of others, so it runs in a box.

use crate::image::{GuestFile, GuestModule};
use base::cache::{CacheError, Fault};
use jail::{
    Budget, Limits, Sandbox,
    intake::{self, Tally},
};
use kernel::{run, toolchain};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What a build says about its built-in parts; depmod reads it if it is there.
const OF_THE_BUILD: [&str; 2] = ["modules.builtin", "modules.builtin.modinfo"];

/// Why there is no index.
#[derive(Debug, thiserror::Error)]
pub enum DepmodError {
    /// kmod is not installed.
    #[error("index the modules: there is no depmod; install the package kmod")]
    Missing,
    /// It runs, and says no.
    #[error("index the modules: depmod says: {0}")]
    Failed(String),
    /// A file can't be written or read, or it took more than it may.
    #[error("index the modules: failed to {0}")]
    Cache(#[from] CacheError),
}

impl DepmodError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing => Fault::Machine,
            // They depend on each other in a circle, or were made to harm who reads them.
            Self::Failed(_) => Fault::Build,
            Self::Cache(error) => error.fault(),
        }
    }
}

/// The files of /lib/modules/RELEASE for these modules, which lie in its folder `extra`. `work` is a folder
/// that may be filled; `build` is the kernel's.
///
/// # Errors
/// As [`DepmodError`] says; its messages continue "failed to".
pub fn index(
    modules: &[GuestModule],
    release: &str,
    build: &Path,
    work: &Path,
) -> Result<Vec<GuestFile>, DepmodError> {
    // A folder of its own: what else lies in `work` is none of its business.
    let root = work.join("depmod");
    let folder = root.join("lib/modules").join(release);
    let extra = folder.join("extra");
    fs::create_dir_all(&extra).map_err(CacheError::io("make the folder", &extra))?;
    for module in modules {
        let path = extra.join(format!("{}.ko", module.name));
        fs::write(&path, &module.bytes).map_err(CacheError::io("write", &path))?;
    }
    // Without it the order is that of the folder on the disk, and the same input would not give the same image.
    let order: String = modules.iter().map(|module| format!("extra/{}.ko\n", module.name)).collect();
    let path = folder.join("modules.order");
    fs::write(&path, order).map_err(CacheError::io("write", &path))?;
    for name in OF_THE_BUILD {
        let (from, to) = (build.join(name), folder.join(name));
        if from.is_file() {
            fs::copy(&from, &to).map_err(CacheError::io("copy", &from))?;
        }
    }
    // An ordinary user's PATH lacks the folders of the administrator's tools.
    let places = ["/usr/sbin/depmod", "/sbin/depmod"].map(PathBuf::from);
    let depmod = toolchain::find("depmod").or_else(|| places.into_iter().find(|path| path.is_file()));
    let depmod = depmod.ok_or(DepmodError::Missing)?;
    let sandbox = Sandbox::new(Budget::TOOL).map_err(CacheError::from)?.write(&root);
    let mut command = run::boxed(&sandbox, &depmod.to_string_lossy());
    command.arg("-b").arg(&root).arg(release).current_dir(&root);
    let ran = run::run_in(&sandbox, command, &work.join("depmod.log"), None, |_| ())?;
    if !ran.status.success() {
        return Err(DepmodError::Failed(ran.lines.join("; ")));
    }
    read_back(&root, release)
}

/// What depmod wrote. Where a module had a hand in it, there may be links: to a file, or in place of a folder.
fn read_back(root: &Path, release: &str) -> Result<Vec<GuestFile>, DepmodError> {
    let folder = root.join("lib/modules").join(release);
    intake::in_place(root, &folder).map_err(CacheError::from)?;
    let mut names: Vec<_> =
        fs::read_dir(&folder).map_err(CacheError::io("read", &folder))?.flatten().collect();
    names.sort_by_key(fs::DirEntry::file_name);
    let limits = Limits::TEXT.wanted().map_err(CacheError::from)?;
    let mut tally = Tally::new(&folder, limits);
    let mut files = Vec::new();
    for entry in names {
        let path = entry.path();
        let meta = entry.metadata().map_err(CacheError::io("read", &path))?;
        if meta.is_file() {
            tally.add(&path, &meta).map_err(CacheError::from)?;
            let bytes = intake::read(&path, limits.file).map_err(CacheError::from)?;
            let path = format!("/lib/modules/{release}/{}", entry.file_name().to_string_lossy());
            files.push(GuestFile::new(path, 0o644, bytes));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Content;
    use std::process::Command;

    /// A module by its `.modinfo` alone: an alias, and what it depends on is told by its symbols.
    fn module(name: &str, code: &str) -> GuestModule {
        let folder = tempfile::tempdir().unwrap();
        let (source, ko) = (folder.path().join("m.c"), folder.path().join("m.ko"));
        fs::write(&source, code).unwrap();
        let status = Command::new("gcc").args(["-c", "-w", "-o"]).args([&ko, &source]).status().unwrap();
        assert!(status.success());
        GuestModule { name: name.into(), bytes: fs::read(ko).unwrap() }
    }

    #[test]
    fn dependencies_and_aliases_are_indexed() {
        let ksymtab = "int __ksymtab_of_a __attribute__((section(\"__ksymtab\")));\
                       char strings[] __attribute__((section(\"__ksymtab_strings\"))) = \"of_a\";";
        let needs = "extern int of_a(void); int (*use)(void) = of_a;\
                     const char info[] __attribute__((section(\".modinfo\"))) = \"alias=fs-b\\0depends=a\";";
        let work = tempfile::tempdir().unwrap();
        let modules = [module("a", ksymtab), module("b", needs)];
        let files = index(&modules, "6.12.1-x", Path::new("/nonexistent"), work.path()).unwrap();
        let text = |name: &str| {
            let path = format!("/lib/modules/6.12.1-x/{name}");
            let file = files.iter().find(|file| file.path == path);
            match file.map(|file| &file.content) {
                Some(Content::Bytes(bytes)) => String::from_utf8(bytes.clone()).unwrap(),
                other => panic!("{path} is {other:?}"),
            }
        };
        assert_eq!(text("modules.dep"), "extra/a.ko:\nextra/b.ko: extra/a.ko\n");
        assert!(text("modules.alias").contains("alias fs-b b"));
        assert!(text("modules.symbols").contains("of_a"));
        assert!(!files.iter().any(|file| file.path.ends_with(".ko")));
    }

    #[test]
    fn what_lies_behind_a_link_is_not_depmods() {
        let folder = tempfile::tempdir().unwrap();
        let (root, other) = (folder.path().join("depmod"), folder.path().join("other"));
        for path in [root.join("lib/modules/6"), other.join("6")] {
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("modules.dep"), "").unwrap();
        }
        assert_eq!(read_back(&root, "6").unwrap().len(), 1);
        fs::remove_dir_all(root.join("lib/modules")).unwrap();
        std::os::unix::fs::symlink(&other, root.join("lib/modules")).unwrap();
        assert!(read_back(&root, "6").is_err());
    }

    #[test]
    fn what_depmod_says_no_to_is_the_modules_fault_and_it_runs_in_a_box() {
        let code = |needs: &str, has: &str| {
            format!(
                "extern int {needs}(void); int (*use)(void) = {needs};\
                 int __ksymtab_{has} __attribute__((section(\"__ksymtab\")));\
                 char strings[] __attribute__((section(\"__ksymtab_strings\"))) = \"{has}\";"
            )
        };
        let work = tempfile::tempdir().unwrap();
        let modules = [module("a", &code("of_b", "of_a")), module("b", &code("of_a", "of_b"))];
        let error = index(&modules, "6.12.1-x", Path::new("/nonexistent"), work.path()).unwrap_err();
        assert_eq!(error.fault(), Fault::Build);
        assert!(error.to_string().contains("Cycle"), "{error}");
        let log = fs::read_to_string(work.path().join("depmod.log")).unwrap();
        assert!(log.contains("Cycle"), "what runs in a box says so in its log: {log}");
    }
}
