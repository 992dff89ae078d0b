//! Where the programs are that builds need: of a machine's folders those, and no others, are in a box.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// Where compilers and their libraries are; links among them lead to others.
pub(crate) const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// Where software is that came from elsewhere, each in a folder of its own: a compiler, and what is nobody's business.
const OTHERS: &str = "/opt";

/// How the names of programs begin that builds need.
const OF_BUILDS: [&str; 14] = [
    "gcc", "g++", "cc", "cpp", "clang", "ld", "lld", "llvm", "as", "make", "ccache", "rust", "bindgen",
    "pahole",
];

/// Where a program is, going by PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The folders in which programs are looked for, but for those of the system, and what of other software they lead to. One that
/// holds somebody's home or more is none.
pub(crate) fn programs() -> Vec<PathBuf> {
    static OTHER: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path)
        .filter(|folder| folder.is_absolute() && folder.is_dir())
        .filter(|folder| !home.starts_with(folder) && !SYSTEM.iter().any(|system| folder.starts_with(system)))
        .collect();
    folders.dedup();
    folders.extend(OTHER.get_or_init(|| others(Path::new(OTHERS), &path)).iter().cloned());
    folders
}

/// What is needed of `others`: the trees of those programs that PATH, or a link in one of its folders, leads to.
fn others(others: &Path, path: &OsStr) -> Vec<PathBuf> {
    let Ok(others) = fs::canonicalize(others) else { return Vec::new() };
    let folders: Vec<PathBuf> =
        env::split_paths(path).filter_map(|folder| fs::canonicalize(folder).ok()).collect();
    let links = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let of_builds = |name: &OsStr| {
        let name = name.to_string_lossy();
        OF_BUILDS.iter().any(|beginning| name.starts_with(beginning))
    };
    let links =
        links.filter(|it| it.file_type().is_ok_and(|kind| kind.is_symlink()) && of_builds(&it.file_name()));
    let programs = links.filter_map(|it| Some(fs::canonicalize(it.path()).ok()?.parent()?.to_owned()));
    let tree = |folder: &Path| {
        let is_one_of_many = folder.ends_with("bin") || folder.ends_with("sbin");
        let above = folder.parent().filter(|above| is_one_of_many && *above != others);
        above.unwrap_or(folder).to_owned()
    };
    let own = |folder: &PathBuf| folder.starts_with(&others) && *folder != others;
    let mut trees: Vec<PathBuf> =
        folders.iter().cloned().chain(programs).filter(own).map(|folder| tree(&folder)).collect();
    trees.sort();
    trees.dedup();
    trees
}

/// Where rustup keeps its compilers, with the variable that says so.
pub(crate) fn rust() -> Option<(&'static str, PathBuf)> {
    let own = env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".rustup"));
    let path = own.or_else(home).filter(|path| path.is_dir())?;
    Some(("RUSTUP_HOME", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn of_other_software_only_what_builds_are_led_to_is_in_a_box() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| fs::canonicalize(folder.path()).unwrap().join(name);
        for name in [
            "opt/llvm/bin/clang",
            "opt/llvm/lib/x.so",
            "opt/gnu/bin/gcc",
            "opt/wallet/bin/wallet",
            "opt/bin/make",
        ] {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), "").unwrap();
        }
        fs::create_dir(at("bin")).unwrap();
        for (to, name) in [
            (at("bin/clang"), "clang-19"),
            (at("opt/llvm/bin/clang"), "clang"),
            (at("opt/wallet/bin/wallet"), "wallet"),
        ] {
            symlink(to, at("bin").join(name)).unwrap();
        }
        let of = |path: &[&str]| {
            let path = env::join_paths(path.iter().map(|name| at(name))).unwrap();
            others(&at("opt"), &path)
        };
        assert_eq!(of(&["bin"]), [at("opt/llvm")]);
        assert_eq!(of(&["bin", "opt/gnu/bin", "none"]), [at("opt/gnu"), at("opt/llvm")]);
        // There lies what belongs to no one of them, and all the others above it.
        assert_eq!(of(&["opt/bin"]), [at("opt/bin")]);
        assert!(of(&["opt"]).is_empty());
        assert!(others(&at("none"), OsStr::new("/usr/bin")).is_empty());
    }
}
