//! Which of a kernel's makefiles does not lead to a file: the kernel's build goes down from the root, folder by folder (obj-y += folder/).

use base::kbuild;
use jail::intake;
use std::path::{Path, PathBuf};

/// Folders that are built whatever makefiles say, or by names that these put together: `arch/$(SRCARCH)/`.
const ROOTS: [&str; 2] = ["", "arch/x86"];

/// The makefile that should lead to a file and does not, and what it should name; `None` if all do. `file` is below `source`.
pub fn lacking(source: &Path, file: &Path) -> Option<(PathBuf, String)> {
    let mut goal = file.with_extension("o");
    let mut end = "";
    while let Some(near) = goal.parent() {
        let word =
            |folder: &Path| goal.strip_prefix(folder).map(|way| format!("{}{end}", way.display())).ok();
        let names = |folder: &&Path| word(folder).is_some_and(|word| is_named(source, folder, &word));
        let Some(found) = near.ancestors().find(names) else {
            // An object's makefile lies beside it. Between folders there may be some that have none.
            let has_one = |folder: &&Path| end.is_empty() || makefile(source, folder).is_some();
            let folder = near.ancestors().find(has_one).unwrap_or(near);
            let makefile = makefile(source, folder).unwrap_or_else(|| folder.join("Makefile"));
            return Some((makefile, word(folder)?));
        };
        if ROOTS.iter().any(|root| found == Path::new(root)) {
            return None;
        }
        goal = found.to_owned();
        end = "/";
    }
    None
}

fn makefile(source: &Path, folder: &Path) -> Option<PathBuf> {
    kbuild::READ.into_iter().map(|name| folder.join(name)).find(|path| source.join(path).is_file())
}

/// Whether a folder's makefiles have a word. At roots both are read: the Makefile of older ones lists the folders.
fn is_named(source: &Path, folder: &Path, word: &str) -> bool {
    kbuild::READ.into_iter().any(|name| {
        let text = intake::read_within(source, folder.join(name)).unwrap_or_default().replace("\\\n", " ");
        let codes = text.lines().filter_map(|line| line.split('#').next());
        codes.flat_map(|code| code.split(|c: char| c == '=' || c.is_whitespace())).any(|it| it == word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::write;

    #[test]
    fn the_first_makefile_that_does_not_lead_on_is_found() {
        let of = |file: &str, files: &[(&str, &str)]| {
            let source = tempfile::tempdir().unwrap();
            for (name, text) in files {
                write(&source.path().join(name), text);
            }
            lacking(source.path(), Path::new(file))
                .map(|(makefile, word)| (makefile.display().to_string(), word))
        };
        let lacks = |makefile: &str, word: &str| Some((makefile.to_owned(), word.to_owned()));
        let top = ("Kbuild", "obj-y += kernel/ \\\n drivers/\n# obj-y += hello/\n");
        let own = ("hello/Makefile", "obj-y+=hello.o\n");
        assert_eq!(of("hello/hello.c", &[top, own]), lacks("Kbuild", "hello/"));
        assert_eq!(of("hello/hello.c", &[top]), lacks("hello/Makefile", "hello.o"));
        assert_eq!(of("hello/hello.c", &[("Kbuild", "obj-y += hello/\n"), own]), None);
        assert_eq!(of("hello/hello.c", &[("Makefile", "core-y := hello/\n"), ("Kbuild", ""), own]), None);
        // By way of a folder that has no makefile.
        let deep = ("drivers/a/b/Makefile", "obj-y += c.o\n");
        let named = ("drivers/Makefile", "obj-y += a/b/\n");
        assert_eq!(of("drivers/a/b/c.c", &[top, named, deep]), None);
        assert_eq!(
            of("drivers/a/b/c.c", &[top, ("drivers/Makefile", ""), deep]),
            lacks("drivers/Makefile", "a/b/")
        );
        let x86 = [("arch/x86/Kbuild", "obj-y += entry/\n"), ("arch/x86/entry/Makefile", "obj-y := a.o\n")];
        assert_eq!(of("arch/x86/entry/a.c", &x86), None);
    }
}
