//! The files by which modprobe finds a module, and what has to be loaded before it: made by kmod's `depmod`, as
//! everywhere else.

use crate::image::{GuestFile, GuestModule};
use kernel::toolchain;
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
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
    /// A file can't be written or read.
    #[error("index the modules: {path}: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
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
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| DepmodError::Io { path, source }
    };
    let folder = work.join("lib/modules").join(release);
    let extra = folder.join("extra");
    fs::create_dir_all(&extra).map_err(io(&extra))?;
    for module in modules {
        let path = extra.join(format!("{}.ko", module.name));
        fs::write(&path, &module.bytes).map_err(io(&path))?;
    }
    // Without it the order is that of the folder on the disk, and the same input would not give the same image.
    let order: String = modules.iter().map(|module| format!("extra/{}.ko\n", module.name)).collect();
    let path = folder.join("modules.order");
    fs::write(&path, order).map_err(io(&path))?;
    for name in OF_THE_BUILD {
        let (from, to) = (build.join(name), folder.join(name));
        if from.is_file() {
            fs::copy(&from, &to).map_err(io(&from))?;
        }
    }
    // An ordinary user's PATH lacks the folders of the administrator's tools.
    let places = ["/usr/sbin/depmod", "/sbin/depmod"].map(PathBuf::from);
    let depmod = toolchain::find("depmod").or_else(|| places.into_iter().find(|path| path.is_file()));
    let mut command = Command::new(depmod.ok_or(DepmodError::Missing)?);
    let output = command.arg("-b").arg(work).arg(release).output().map_err(io(Path::new("depmod")))?;
    if !output.status.success() {
        return Err(DepmodError::Failed(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")));
    }
    let mut names: Vec<_> = fs::read_dir(&folder).map_err(io(&folder))?.flatten().collect();
    names.sort_by_key(fs::DirEntry::file_name);
    let files = names.into_iter().filter(|entry| entry.path().is_file());
    files
        .map(|entry| {
            let bytes = fs::read(entry.path()).map_err(io(&entry.path()))?;
            let path = format!("/lib/modules/{release}/{}", entry.file_name().to_string_lossy());
            Ok(GuestFile::new(path, 0o644, bytes))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Content;

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
}
