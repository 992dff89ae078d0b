//! Where a symbol that a kernel lacks would come from: its source is searched for the export, and the makefiles
//! beside that for the configuration symbol. Takes seconds, so it is for modules that can't be loaded anyway.

use memchr::memmem;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use walkdir::WalkDir;

/// Who would export a symbol.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The file, relative to the source.
    pub file: PathBuf,
    /// The configuration symbols on the way to it, the nearest first, with CONFIG_. Empty where the file is
    /// always built or the makefiles don't tell.
    pub config: Vec<String>,
}

/// The kernel's full source, where it can be found: below one of these folders, of this release.
pub fn source(candidates: &[PathBuf], release: &str) -> Option<PathBuf> {
    let whole = |folder: &&PathBuf| {
        // A folder that only has what building a module takes lacks these.
        let version = kernel::sources::kernel_version(folder);
        folder.join("mm").is_dir() && version.is_ok_and(|version| release.starts_with(&version))
    };
    candidates.iter().find(whole).cloned()
}

/// Looks for all of the names at once.
pub fn search(source: &Path, names: &BTreeSet<&str>) -> BTreeMap<String, Origin> {
    const ARCHITECTURES: &str = "arch";
    let elsewhere = ["Documentation", "tools", "samples", "scripts"].map(|name| source.join(name));
    let arch = source.join(ARCHITECTURES);
    let wanted = |path: &Path| {
        !elsewhere.iter().any(|folder| path == folder)
            && (path.parent() != Some(&arch) || path.ends_with("x86"))
    };
    let mut found = BTreeMap::new();
    let finder = memmem::Finder::new("EXPORT_SYMBOL");
    for entry in WalkDir::new(source).into_iter().filter_entry(|entry| wanted(entry.path())).flatten() {
        let code = entry.path().extension().is_some_and(|ending| ending == "c" || ending == "S");
        let Some(text) = code.then(|| fs::read(entry.path()).ok()).flatten() else { continue };
        for at in finder.find_iter(&text) {
            let Some(name) = exported(&text[at..]).filter(|name| names.contains(name)) else { continue };
            let file = entry.path().strip_prefix(source).unwrap_or(entry.path()).to_owned();
            let config = config(source, &file);
            found.entry(name.to_owned()).or_insert(Origin { file, config });
        }
        if found.len() == names.len() {
            break;
        }
    }
    found
}

/// `name` of `EXPORT_SYMBOL(name)`, `EXPORT_SYMBOL_GPL(name)`, `EXPORT_SYMBOL_NS(name, ...)`.
fn exported(text: &[u8]) -> Option<&str> {
    let head = std::str::from_utf8(&text[..text.len().min(160)]).ok()?;
    let (_, rest) = head.split_once('(')?;
    let name = rest.trim_start().split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
    (!name.is_empty()).then_some(name)
}

/// The symbols in the `obj-$(CONFIG_X) += file.o` lines that lead to a file, from its folder upwards
/// (Documentation/kbuild/makefiles.rst, 3).
fn config(source: &Path, file: &Path) -> Vec<String> {
    let mut symbols = Vec::new();
    let mut folder = file.parent();
    let mut goal = file.with_extension("o").file_name().map(|name| name.to_string_lossy().into_owned());
    while let (Some(here), Some(name)) = (folder, &goal) {
        let makefile = ["Kbuild", "Makefile"]
            .iter()
            .find_map(|name| fs::read_to_string(source.join(here).join(name)).ok());
        if let Some(symbol) = makefile.and_then(|text| condition(&text, name, 4))
            && !symbols.contains(&symbol)
        {
            symbols.push(symbol);
        }
        goal = here.file_name().map(|name| format!("{}/", name.to_string_lossy()));
        folder = here.parent();
    }
    symbols
}

/// The configuration symbol under which a makefile builds an object. One that is part of a composite object
/// (`name-y := part.o`) is built with that one, `depth` levels deep at most.
fn condition(makefile: &str, object: &str, depth: u8) -> Option<String> {
    let joined = makefile.replace("\\\n", " ");
    for line in joined.lines() {
        let Some((left, right)) = line.split_once('=') else { continue };
        if !right.split_whitespace().any(|word| word == object) {
            continue;
        }
        let target = left.trim_end_matches([':', '+', '?', ' ', '\t']).trim();
        if let Some((_, rest)) = target.split_once("$(CONFIG_") {
            return Some(format!("CONFIG_{}", rest.trim_end_matches(')')));
        }
        let composite = ["-y", "-objs"].iter().find_map(|suffix| target.strip_suffix(suffix));
        match composite {
            Some("obj" | "lib") | None => {}
            Some(_) if depth == 0 => return None,
            Some(name) => return condition(makefile, &format!("{name}.o"), depth - 1),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            kernel::fixture::write(&folder.path().join(name), text);
        }
        folder
    }

    #[test]
    fn the_makefile_names_the_configuration_symbol() {
        let tree = tree(&[
            ("lib/Makefile", "obj-$(CONFIG_CRC7) += crc7.o\nobj-y += zlib/ always.o\n"),
            ("lib/crc7.c", "u8 crc7(void)\n{\n}\nEXPORT_SYMBOL(crc7);\n"),
            ("lib/always.c", "EXPORT_SYMBOL_GPL(always);\n"),
            ("net/Makefile", "obj-$(CONFIG_NET) += sock/\n"),
            ("net/sock/Makefile", "obj-$(CONFIG_SOCK) += sock.o\nsock-y := a.o \\\n  b.o\n"),
            ("net/sock/b.c", "EXPORT_SYMBOL_NS_GPL(sock_b, SOCK);\n"),
            ("arch/arm/a.c", "EXPORT_SYMBOL(elsewhere);\n"),
        ]);
        let names = ["crc7", "always", "sock_b", "elsewhere", "nowhere"].into();
        let found = search(tree.path(), &names);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found["crc7"].config, ["CONFIG_CRC7"]);
        assert_eq!(found["crc7"].file, Path::new("lib/crc7.c"));
        assert!(found["always"].config.is_empty());
        assert_eq!(found["sock_b"].config, ["CONFIG_SOCK", "CONFIG_NET"]);
    }

    #[test]
    fn a_makefile_that_goes_in_circles_ends() {
        assert_eq!(condition("a-y := b.o\nb-y := a.o\n", "a.o", 4), None);
    }
}
