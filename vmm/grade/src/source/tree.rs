//! Files of the kernel's source as a student changed them: what differs from the assignment's kernel becomes a patch.

use crate::{assignment::Rules, intake::Files};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The source may lie so many folders deep in what was handed in.
const DEEP: usize = 4;

/// What was handed in, and where its top may be.
pub struct Tree {
    files: BTreeMap<String, String>,
    /// Folders that may be the top of the source: empty, or with a `/` at the end.
    tops: Vec<String>,
    /// The files' places in the source, whichever the top is.
    asked: Vec<String>,
    /// What was mended or left out.
    pub notes: Vec<String>,
}

/// What a student changed.
#[derive(Deserialize, Serialize)]
pub struct Changed {
    /// From the assignment's kernel to the student's.
    pub patch: String,
    /// All that differs, as text.
    pub text: String,
    /// What was left out.
    pub notes: Vec<String>,
}

impl Tree {
    /// The files of a submission that count.
    pub fn of(rules: &Rules, files: &Files) -> Self {
        let (kept, notes) = super::tidy(files, &rules.files);
        let text = |(path, bytes): (String, Vec<u8>)| (path, String::from_utf8_lossy(&bytes).into_owned());
        let files: BTreeMap<String, String> = kept.into_iter().map(text).collect();
        let mut tops = BTreeSet::from([String::new()]);
        for path in files.keys() {
            let ends = path.match_indices('/').map(|(at, _)| at + 1).take(DEEP);
            tops.extend(ends.map(|end| path[..end].to_owned()));
        }
        let asked: BTreeSet<&str> = tops
            .iter()
            .flat_map(|top| files.keys().filter_map(move |path| path.strip_prefix(&**top)))
            .collect();
        let asked = asked.into_iter().map(str::to_owned).collect();
        Self { tops: tops.into_iter().collect(), asked, files, notes }
    }

    /// The places in the source that have to be looked at.
    pub fn asked(&self) -> &[String] {
        &self.asked
    }

    /// What differs from the source, of which these are the files that were asked for.
    ///
    /// # Errors
    /// For the student: nothing of it is the kernel's, or nothing differs.
    pub fn changed(&self, originals: &[Option<String>]) -> Result<Changed, String> {
        let originals: BTreeMap<&str, &str> = self
            .asked
            .iter()
            .zip(originals)
            .filter_map(|(path, text)| Some((&**path, text.as_deref()?)))
            .collect();
        let below = |top: &str| {
            let inside = self.files.keys().filter_map(|path| path.strip_prefix(top));
            // A Makefile without a folder is anybody's.
            inside.filter(|path| path.contains('/') && originals.contains_key(path)).count()
        };
        // The one under which most files are the kernel's; of equals the shortest, which has most files.
        let top = self.tops.iter().max_by_key(|top| (below(top), usize::MAX - top.len()));
        let top = top.filter(|top| below(top) > 0).ok_or_else(|| {
            let names: Vec<&str> = self.files.keys().take(5).map(String::as_str).collect();
            format!(
                "none of its files is one of the kernel's; hand them in at their places in the source, like kernel/sys.c{}{}",
                if names.is_empty() { "" } else { "; there is " },
                names.join(", ")
            )
        })?;
        let mut changed = Changed { patch: String::new(), text: String::new(), notes: Vec::new() };
        let mut outside = Vec::new();
        for (path, text) in &self.files {
            let Some(place) = path.strip_prefix(&**top) else {
                outside.push(path.as_str());
                continue;
            };
            match originals.get(place) {
                Some(original) if original == text => continue,
                // Of a program that tries it out.
                Some(_) if place == "Makefile" && !text.contains("VERSION =") => {
                    changed.notes.push(format!("{path} is left out: it is not the kernel's own"));
                    continue;
                }
                Some(original) => changed.patch += &replaced(place, original, text),
                None => changed.patch += &new_file(place, text),
            }
            changed.text += text;
        }
        if changed.patch.is_empty() {
            return Err("nothing in it differs from the assignment's kernel".to_owned());
        }
        if !outside.is_empty() {
            changed
                .notes
                .push(format!("left out, since the kernel's source is in {top}: {}", outside.join(", ")));
        }
        Ok(changed)
    }
}

/// A patch that makes a file.
pub fn new_file(path: &str, text: &str) -> String {
    // An empty file is none to a patch.
    let lines: Vec<&str> = if text.is_empty() { vec![""] } else { text.lines().collect() };
    let body: String = lines.iter().map(|line| format!("+{line}\n")).collect();
    format!("--- /dev/null\n+++ b/{path}\n@@ -0,0 +1,{} @@\n{body}", lines.len())
}

/// A patch that puts one text in a file in the other's place, as a whole.
fn replaced(path: &str, old: &str, new: &str) -> String {
    let side = |text: &str, sign: char| {
        let mut lines: String = text.split_inclusive('\n').map(|line| format!("{sign}{line}")).collect();
        if !text.is_empty() && !text.ends_with('\n') {
            lines += "\n\\ No newline at end of file\n";
        }
        (text.split_inclusive('\n').count(), lines)
    };
    let ((removed, old), (added, new)) = (side(old, '-'), side(new, '+'));
    let (from, to) = (usize::from(removed > 0), usize::from(added > 0));
    format!("--- a/{path}\n+++ b/{path}\n@@ -{from},{removed} +{to},{added} @@\n{old}{new}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assignment::Assignment;
    use std::{fs, process::Command};

    fn tree(all: &[(&str, &str)]) -> Tree {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("t.yaml"), "steps: [{sleep: 1 s}]").unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, "kind: kernel\ntests: [{scenario: t.yaml, points: 1}]\n").unwrap();
        let files = all.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        Tree::of(&Assignment::load(&path).unwrap().rules(), &Files { files, notes: Vec::new() })
    }

    /// What becomes of the kernel's source by it.
    fn applied(
        handed_in: &[(&str, &str)],
        kernel: &[(&str, &str)],
    ) -> Result<(Vec<String>, Vec<String>), String> {
        let tree = tree(handed_in);
        let original =
            |path: &String| kernel.iter().find(|(name, _)| name == path).map(|(_, text)| (*text).to_owned());
        let changed = tree.changed(&tree.asked().iter().map(original).collect::<Vec<_>>())?;
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in kernel {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::write(folder.path().join("a.patch"), &changed.patch).unwrap();
        let patch =
            Command::new("patch").args(["-p1", "-s", "-i", "a.patch"]).current_dir(&folder).output().unwrap();
        assert!(patch.status.success(), "{}{}", String::from_utf8_lossy(&patch.stdout), changed.patch);
        let mut left = Vec::new();
        for name in ["kernel/sys.c", "kernel/Makefile", "kernel/new.c"] {
            left.extend(fs::read_to_string(folder.path().join(name)).ok());
        }
        Ok((left, changed.notes))
    }

    const KERNEL: &[(&str, &str)] =
        &[("kernel/sys.c", "a\nb\nc\n"), ("kernel/Makefile", "obj-y := sys.o"), ("Kbuild", "")];

    #[test]
    fn what_differs_replaces_the_kernels_files_wherever_the_top_lies() {
        for top in ["", "linux/", "my work/linux-6.12/", "kernel/"] {
            let [sys, makefile, new] =
                ["sys.c", "Makefile", "new.c"].map(|name| format!("{top}kernel/{name}"));
            let handed_in = [
                (&*sys, "a\r\nB\r\nc\r\n"),
                (&*makefile, "obj-y := sys.o new.o"),
                (&*new, "int new;\n"),
                ("notes.txt", ""),
            ];
            let (left, _) = applied(&handed_in, KERNEL).unwrap();
            assert_eq!(left, ["a\nB\nc\n", "obj-y := sys.o new.o", "int new;\n"], "{top}");
        }
    }

    #[test]
    fn what_lies_elsewhere_is_left_out_and_said() {
        let (left, notes) =
            applied(&[("linux/kernel/sys.c", "a\n"), ("test/test.c", "int main;")], KERNEL).unwrap();
        assert_eq!(left[0], "a\n");
        assert!(notes[0].contains("test/test.c"), "{notes:?}");
    }

    #[test]
    fn a_makefile_of_a_test_program_is_not_the_kernels() {
        let own = "VERSION = 6\nall:\n";
        let kernel = [KERNEL[0], ("Makefile", own)];
        for top in ["linux/", ""] {
            let sys = format!("{top}kernel/sys.c");
            let all = [(&*sys, "a\n"), ("test.c", "int main;"), ("Makefile", "test: test.c\n")];
            let folder = tree(&all);
            let original = |path: &String| {
                kernel.iter().find(|(name, _)| name == path).map(|(_, text)| (*text).to_owned())
            };
            let changed = folder.changed(&folder.asked().iter().map(original).collect::<Vec<_>>()).unwrap();
            assert!(
                changed.patch.contains("+++ b/kernel/sys.c") && !changed.patch.contains("Makefile"),
                "{}",
                changed.patch
            );
            assert!(changed.notes.iter().any(|note| note.contains("Makefile")), "{:?}", changed.notes);
        }
    }

    #[test]
    fn what_is_no_change_of_the_kernel_is_told() {
        assert!(applied(&[("hello.c", "int a;")], KERNEL).unwrap_err().contains("there is hello.c"));
        assert!(applied(&[], KERNEL).unwrap_err().contains("like kernel/sys.c"));
        assert!(
            applied(&[("l/kernel/sys.c", "a\nb\nc\n")], KERNEL)
                .unwrap_err()
                .contains("nothing in it differs")
        );
    }

    #[test]
    fn a_file_may_end_without_a_newline_or_be_empty() {
        let (left, _) = applied(&[("kernel/new.c", ""), ("kernel/sys.c", "a\n")], KERNEL).unwrap();
        assert_eq!(left[2], "\n");
        for text in ["", "x", "x\n", "x\ny"] {
            let (left, _) = applied(&[("kernel/Makefile", text), ("kernel/sys.c", "a\n")], KERNEL).unwrap();
            // patch(1) removes a file that becomes empty.
            assert_eq!(left.get(1).map_or("", String::as_str), text);
        }
    }
}
