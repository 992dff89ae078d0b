//! Patches against the assignment's kernel: which count, and in which order.

use super::diff;
use crate::{assignment::Assignment, intake::Files};
use std::collections::BTreeMap;

/// Patches by their names.
pub type Patches = BTreeMap<String, Vec<u8>>;

/// The patches of a submission, by the names under which they are written; and their order, as a `series` file has it.
///
/// # Errors
/// There is none, two have one name, or the submission's own `series` names one that is not there.
pub fn prepare(assignment: &Assignment, files: &Files) -> Result<(Patches, Vec<String>), String> {
    let (kept, _) = super::tidy(files, &assignment.files);
    let is_patch = |path: &str, text: &[u8]| {
        let surely = !path.to_ascii_lowercase().ends_with(".txt");
        diff::may_be_diff(path) && (surely || diff::is_diff(&String::from_utf8_lossy(text)))
    };
    let mut patches = Patches::new();
    for (path, text) in kept.iter().filter(|(path, text)| is_patch(path, text)) {
        if patches.insert(name(path), text.clone()).is_some_and(|other| other != *text) {
            return Err(format!("two patches are called {}; hand in the ones that count", name(path)));
        }
    }
    if patches.is_empty() {
        return Err("there is no patch in it; make one with `git diff` or `git format-patch`".to_owned());
    }
    let order = series(files);
    if order.is_empty() {
        // git format-patch numbers them.
        let mut order: Vec<String> = patches.keys().cloned().collect();
        order.sort_by(|a, b| diff::by_number(a, b));
        return Ok((patches, order));
    }
    match order.iter().find(|name| !patches.contains_key(*name)) {
        Some(missing) => Err(format!("its `series` names {missing}, which is not there")),
        None => Ok((patches, order)),
    }
}

/// The order of patches that a submission has in a file `series`; empty without one.
pub fn series(files: &Files) -> Vec<String> {
    let series = files.files.iter().find(|(path, _)| name(path) == "series");
    let text = series.map_or("".into(), |(_, series)| String::from_utf8_lossy(series));
    // As quilt does: options such as -p1 may follow the name.
    text.lines().filter_map(|line| line.split('#').next()?.split_whitespace().next()).map(name).collect()
}

fn name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn prepared(all: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("t.yaml"), "steps: [{sleep: 1 s}]").unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, "kind: patch\ntests: [{scenario: t.yaml, points: 1}]\n").unwrap();
        let files = all.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        prepare(&Assignment::load(&path).unwrap(), &Files { files, notes: Vec::new() })
            .map(|(_, order)| order)
    }

    #[test]
    fn patches_are_taken_by_their_series_or_by_their_names() {
        let two = [("s/0002-b.patch", "b"), ("s/0001-a.patch", "a"), ("s/notes.txt", "")];
        assert_eq!(prepared(&two).unwrap(), ["0001-a.patch", "0002-b.patch"]);
        let told = [two[0], two[1], ("s/series", "# first\n0002-b.patch\n0003-c.patch\n")];
        assert!(prepared(&told).unwrap_err().contains("names 0003-c.patch"));
        let told = [two[0], two[1], ("s/series", "0002-b.patch\n\n0001-a.patch -p1 # then\n")];
        assert_eq!(prepared(&told).unwrap(), ["0002-b.patch", "0001-a.patch"]);
        let text = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n";
        let named = [("10.patch", "b"), ("9.diff", "a"), ("11.txt", text), ("README.txt", "none")];
        assert_eq!(prepared(&named).unwrap(), ["9.diff", "10.patch", "11.txt"]);
        assert!(prepared(&[("a/x.patch", "1"), ("b/x.patch", "2")]).unwrap_err().contains("called x.patch"));
        assert!(prepared(&[("a.c", "int a;")]).unwrap_err().contains("git format-patch"));
    }
}
