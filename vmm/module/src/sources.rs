//! What a module is made of, for who has to know whether it is still the same.

use crate::{
    around::Around,
    build::{ModuleError, looked},
};
use std::path::{Path, PathBuf};

/// What tools keep beside a source, and no build reads (.gitignore of the kernel): lists of what is where.
const BY_THE_WAY: [&str; 7] =
    ["tags", "TAGS", "GTAGS", "GRTAGS", "GPATH", "cscope.out", "compile_commands.json"];

/// The files that a build of this folder reads: its own and those outside of it that these name, without what editors and other tools
/// keep beside them.
///
/// # Errors
/// As [`crate::look`].
pub fn sources(folder: &Path) -> Result<Vec<PathBuf>, ModuleError> {
    let (folder, _, tree) = looked(folder)?;
    let around = Around::find(&folder, &tree)?;
    let own = tree.paths().map(|path| folder.join(path));
    let all = own.chain(around.files.iter().map(|file| around.root.join(file)));
    Ok(all.filter(|file| !is_by_the_way(file)).collect())
}

/// Whether a file is one of those, or hidden, as the copy of one that is open in an editor.
fn is_by_the_way(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let bytes = name.as_encoded_bytes();
    bytes.starts_with(b".") || bytes.ends_with(b"~") || BY_THE_WAY.iter().any(|it| name == *it)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    #[test]
    fn what_tools_keep_beside_a_source_is_not_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let own = ["Makefile", "tags.c", "x.c"];
        let beside = [".x.c.swp", "x.c~", "tags", "compile_commands.json"];
        fs::write(folder.path().join("Makefile"), "obj-m := x.o\n").unwrap();
        own[1..].iter().chain(&beside).for_each(|name| fs::write(folder.path().join(name), "").unwrap());
        let files = super::sources(folder.path()).unwrap();
        let names: BTreeSet<&str> =
            files.iter().map(|it| it.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, BTreeSet::from(own));
    }
}
