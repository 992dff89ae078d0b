//! Which files of a submission count.

use crate::assignment::Kind;
use base::diagnostic::Diagnostic;
use globset::Glob;
use scenario::{node::Node, reader::Reader};

/// `files`, or what is meant without it: patterns of names.
pub fn counted(reader: &mut Reader<'_>, node: Option<&Node>, kind: &Option<Kind>) -> Vec<String> {
    with_same(node.map_or_else(|| default(kind), |node| globs(reader, node)), kind)
}

/// By whichever name a patch comes; mailboxes as well.
const PATCHES: &[&str] = &["*.patch", "*.diff", "*.txt", "*.mbox", "*.eml"];

/// The files that count where nothing is said of it.
fn default(kind: &Option<Kind>) -> Vec<Glob> {
    let names: &[&str] = match kind {
        Some(Kind::Patch) => PATCHES,
        Some(Kind::Kernel) => &[
            "*.c",
            "*.h",
            "*.S",
            "*.rs",
            "*.inc",
            "*.tbl",
            "*.lds",
            "Makefile",
            "Makefile.*",
            "Kconfig",
            "Kconfig.*",
        ],
        Some(Kind::Syscall(..)) => &["*.c", "*.h", "*.tbl", "Makefile"],
        _ => &["*.c", "*.h", "*.S", "*.rs", "*.inc", "*.mk", "Makefile"],
    };
    let patches = if matches!(kind, Some(Kind::Syscall(..))) { PATCHES } else { &[] };
    names.iter().chain(patches).map(|name| Glob::new(name).expect("a constant that tests use")).collect()
}

fn globs(reader: &mut Reader<'_>, node: &Node) -> Vec<Glob> {
    let mut set = Vec::new();
    for item in reader.items(node, "names of files, like `[\"*.c\", Makefile]`").unwrap_or_default() {
        let Some(text) = reader.text(item, "a file's name, like `*.c`") else { continue };
        match Glob::new(&text) {
            Ok(glob) => set.push(glob),
            Err(error) => {
                let why = format!("`{text}` names no files: {}", error.kind());
                reader.error::<()>(Diagnostic::new(&item.span, why));
            }
        }
    }
    set
}

/// What these match, and what goes by another name for the same.
fn with_same(globs: Vec<Glob>, kind: &Option<Kind>) -> Vec<String> {
    let makefiles = globs.iter().any(|glob| glob.compile_matcher().is_match("Makefile"));
    let same: &[&str] = match kind {
        // In the kernel's own folders make would take another name's file before the kernel's.
        Some(Kind::Kernel) if makefiles => &["Kbuild"],
        Some(Kind::Kernel | Kind::Patch) | None => &[],
        Some(Kind::Module | Kind::Syscall(..)) if makefiles => &["Kbuild", "makefile", "GNUmakefile"],
        Some(Kind::Module | Kind::Syscall(..)) => &[],
    };
    // The order of patches.
    let series = matches!(kind, Some(Kind::Patch | Kind::Syscall(..))).then_some("series");
    let own = globs.iter().map(Glob::glob);
    own.chain(same.iter().copied()).chain(series).map(str::to_owned).collect()
}
