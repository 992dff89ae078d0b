//! Patches against the assignment's kernel: which count, and in which order.

use crate::{assignment::Assignment, intake::Files};
use std::collections::BTreeMap;

/// Texts by their names.
type Texts = BTreeMap<String, Vec<u8>>;

/// The patches of a submission, by the names under which they are written; and their order, as a `series` file has it.
///
/// # Errors
/// There is none, or the submission's own `series` names one that is not there.
pub fn prepare(assignment: &Assignment, files: &Files) -> Result<(Texts, Vec<String>), String> {
    let (kept, _) = super::tidy(files, &assignment.files);
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let is_patch = |path: &&String| path.ends_with(".patch") || path.ends_with(".diff");
    let patches: Texts = kept
        .iter()
        .filter(|(path, _)| is_patch(path))
        .map(|(path, text)| (name(path), text.clone()))
        .collect();
    if patches.is_empty() {
        return Err(
            "there is no .patch or .diff in it; make one with `git diff` or `git format-patch`".to_owned()
        );
    }
    let series = files.files.iter().find(|(path, _)| name(path) == "series");
    // Without one, by name: git format-patch numbers them.
    let Some((_, series)) = series else { return Ok((patches.clone(), patches.into_keys().collect())) };
    let text = String::from_utf8_lossy(series);
    // As quilt does: options such as -p1 may follow the name.
    let words = text.lines().filter_map(|line| line.split('#').next()?.split_whitespace().next());
    let order: Vec<String> = words.map(name).collect();
    match order.iter().find(|name| !patches.contains_key(*name)) {
        Some(missing) => Err(format!("its `series` names {missing}, which is not there")),
        None => Ok((patches, order)),
    }
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
        assert!(prepared(&[("a.c", "int a;")]).unwrap_err().contains("git format-patch"));
    }
}
