//! What a program needs beside itself.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::Command,
};

/// The shared objects that a program is loaded with, and where they go in a guest that has nothing else: by
/// absolute path there, as ldd(1) finds them here; none for a static program. `folders` are searched first.
pub fn libraries(program: &Path, folders: &[PathBuf]) -> io::Result<BTreeMap<String, PathBuf>> {
    let search = std::env::join_paths(folders).map_err(io::Error::other)?;
    let output = Command::new("ldd").arg(program).env("LD_LIBRARY_PATH", search).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `name => /path (address)`, or `/path (address)`; the vDSO has no path.
    let paths = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.filter_map(|path| Some((place(Path::new(path))?, PathBuf::from(path)))).collect())
}

/// Where the dynamic loader looks without being told, and where programs look for the loader itself.
fn place(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let folder = if name.starts_with("ld-linux") { "/lib64" } else { "/lib" };
    Some(format!("{folder}/{name}"))
}
