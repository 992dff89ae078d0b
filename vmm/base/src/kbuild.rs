//! Which makefiles the kernel's build system reads in a module's folder.

use std::path::Path;

/// In its order: a Kbuild goes before a Makefile (scripts/Kbuild.include, `kbuild-file`).
pub const READ: [&str; 2] = ["Kbuild", "Makefile"];

/// A makefile there that only an outer make reads, where there is none that is read.
pub fn misnamed(folder: &Path) -> Option<&'static str> {
    let is_there = |name: &&str| folder.join(name).is_file();
    if READ.iter().any(is_there) { None } else { ["makefile", "GNUmakefile"].into_iter().find(is_there) }
}

/// What to do about a [`misnamed`] one.
pub fn advice(folder: &Path, name: &str) -> String {
    let to = folder.join("Makefile");
    format!(
        "the kernel's build system reads a Kbuild or a Makefile and no {name}; rename it: mv {} {}",
        folder.join(name).display(),
        to.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_makefile_of_another_name_counts_only_where_none_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(misnamed(folder.path()), None);
        std::fs::write(folder.path().join("makefile"), "").unwrap();
        assert_eq!(misnamed(folder.path()), Some("makefile"));
        std::fs::write(folder.path().join("Kbuild"), "").unwrap();
        assert_eq!(misnamed(folder.path()), None);
    }
}
