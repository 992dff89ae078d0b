//! Where the programs are that builds need: of a machine's folders those, and no others, are in a box.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// Where compilers and their libraries are; links among them lead to others.
pub(crate) const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// Where software is that came from elsewhere, each in a folder of its own: a compiler, and what is nobody's business.
const OTHERS: &str = "/opt";

/// Variables that name folders in which builds look for more.
const NAMED: [&str; 2] = ["LIBCLANG_PATH", "RUST_LIB_SRC"];

/// So many links lead to a file at most.
const MOST_LINKS: usize = 40;

/// How the names of programs begin that builds need.
const OF_BUILDS: [&str; 14] = [
    "gcc", "g++", "cc", "cpp", "clang", "ld", "lld", "llvm", "as", "make", "ccache", "rust", "bindgen",
    "pahole",
];

/// Where a program is, going by PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The folders in which programs are looked for, but for those of the system, what of other software they lead to, and the folders that
/// [`NAMED`] name.
pub(crate) fn programs() -> Vec<PathBuf> {
    static OTHER: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let path = env::var_os("PATH").unwrap_or_default();
    let named = NAMED.into_iter().filter_map(env::var_os).map(PathBuf::from);
    let mut folders = folders(env::split_paths(&path).chain(named), &home);
    folders.extend(OTHER.get_or_init(|| others(Path::new(OTHERS), &path)).iter().cloned());
    folders
}

/// The folders of these places that are not the system's. One that holds somebody's home or more is none; a file stands for what is beside it.
fn folders(places: impl Iterator<Item = PathBuf>, home: &Path) -> Vec<PathBuf> {
    let folder = |place: PathBuf| match place.parent() {
        Some(folder) if place.is_file() => folder.to_owned(),
        _ => place,
    };
    let mut folders: Vec<PathBuf> = places
        .map(folder)
        .filter(|folder| folder.is_absolute() && folder.is_dir())
        .filter(|folder| !home.starts_with(folder) && !SYSTEM.iter().any(|system| folder.starts_with(system)))
        .collect();
    folders.dedup();
    folders
}

/// What is needed of `others`: the trees of those programs that PATH, or a link in one of its folders, leads to, by each name that they have
/// on the way: a compiler finds what is its own by the name that it was started by.
fn others(others: &Path, path: &OsStr) -> Vec<PathBuf> {
    let Ok(real) = fs::canonicalize(others) else { return Vec::new() };
    let folders: Vec<PathBuf> = env::split_paths(path).filter(|folder| folder.is_absolute()).collect();
    let links = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let of_builds = |name: &OsStr| {
        let name = name.to_string_lossy();
        OF_BUILDS.iter().any(|beginning| name.starts_with(beginning))
    };
    let links =
        links.filter(|it| it.file_type().is_ok_and(|kind| kind.is_symlink()) && of_builds(&it.file_name()));
    let is_parent = |folder: &Path| folder == others || folder == real;
    let tree = |folder: &Path| {
        let is_one_of_many = folder.ends_with("bin") || folder.ends_with("sbin");
        let above = folder.parent().filter(|above| is_one_of_many && !is_parent(above));
        above.unwrap_or(folder).to_owned()
    };
    let own = |folder: &PathBuf| {
        (folder.starts_with(others) || folder.starts_with(&real)) && !is_parent(folder) && folder.is_dir()
    };
    let programs = links.flat_map(|it| names(&it.path()));
    let programs = programs.filter_map(|name| Some(name.parent()?.to_owned()));
    let mut trees: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| names(folder))
        .chain(programs)
        .filter(own)
        .map(|folder| tree(&folder))
        .collect();
    trees.sort();
    trees.dedup();
    trees
}

/// The names that an absolute path has on its way through links, as far as it leads: the last one has no link in it.
fn names(path: &Path) -> Vec<PathBuf> {
    let (mut names, mut links) = (Vec::new(), 0);
    let mut at = PathBuf::from("/");
    let parts = |path: &Path| path.components().rev().map(|it| it.as_os_str().to_owned()).collect();
    // What is still to be walked, its end first.
    let mut rest: Vec<OsString> = parts(path);
    while let Some(part) = rest.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match fs::read_link(&next) {
            // The kernel follows no more either (path_resolution(7)).
            Ok(_) if links == MOST_LINKS => return Vec::new(),
            Ok(target) => {
                links += 1;
                // Where a way goes up again behind a link, only the kernel knows what that means.
                if !rest.contains(&"..".into()) {
                    names.push(next.join(rest.iter().rev().collect::<PathBuf>()));
                }
                rest.extend::<Vec<OsString>>(parts(&target));
            }
            Err(_) => at = next,
        }
    }
    names.push(at);
    names
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

    /// `/opt/llvm` is a link to the newest, or the whole folder is one to another disk.
    #[test]
    fn a_compiler_is_there_by_each_name_that_leads_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| fs::canonicalize(folder.path()).unwrap().join(name);
        fs::create_dir_all(at("disk/llvm-19/bin")).unwrap();
        fs::create_dir_all(at("bin")).unwrap();
        fs::write(at("disk/llvm-19/bin/clang-19"), "").unwrap();
        symlink("disk", at("opt")).unwrap();
        symlink("llvm-19", at("disk/llvm")).unwrap();
        symlink("clang-19", at("disk/llvm-19/bin/clang")).unwrap();
        symlink("../opt/llvm/bin/clang", at("bin/clang")).unwrap();
        let trees = ["disk/llvm", "disk/llvm-19", "opt/llvm"].map(at);
        for path in ["bin", "opt/llvm/bin"] {
            assert_eq!(others(&at("opt"), at(path).as_os_str()), trees, "{path}");
        }
        symlink("circle", at("circle")).unwrap();
        assert!(names(&at("circle/x")).is_empty());
        assert_eq!(names(&at("bin/../none")), [at("none")]);
    }

    #[test]
    fn what_variables_name_is_in_a_box() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("llvm/lib")).unwrap();
        fs::write(at("llvm/lib/libclang.so"), "").unwrap();
        let of = |place: &str| folders([at(place)].into_iter(), &at("llvm/home"));
        assert_eq!(of("llvm/lib"), [at("llvm/lib")]);
        assert_eq!(of("llvm/lib/libclang.so"), [at("llvm/lib")]);
        assert!(of("none").is_empty() && of("llvm").is_empty(), "that is somebody's home");
        assert!(folders(["/usr/lib".into(), "lib".into()].into_iter(), Path::new("/home/x")).is_empty());
    }
}
