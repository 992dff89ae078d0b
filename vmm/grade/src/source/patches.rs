//! Patches against the assignment's kernel: which count, and in which order.

use super::diff;
use crate::{assignment::Rules, intake::Files};
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::LazyLock};

/// What is wrong with a diff of that form; behind its name.
pub const CONTEXT: &str = "is no unified diff; make one with `git diff` or `diff -ru`";

/// Patches by their names.
pub type Patches = BTreeMap<String, Vec<u8>>;

/// What a submission's patches are.
#[derive(Debug, Deserialize, Serialize)]
pub struct Handed {
    /// By the names under which they are written.
    pub patches: Patches,
    /// The order in which they apply.
    pub order: Vec<String>,
    /// What was mended or left out.
    pub notes: Vec<String>,
}

/// The patches of a submission, in the order that its `series` file has, or their numbers.
///
/// # Errors
/// There is none, two have one name, or the submission's own `series` names one that is not there.
pub fn prepare(rules: &Rules, files: &Files) -> Result<Handed, String> {
    let (kept, notes) = super::tidy(files, &rules.files);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let Some(why) = kept.iter().find_map(|(path, bytes)| encoded(path, &text(bytes))) {
        return Err(why);
    }
    let is_named = |path: &str| !path.to_ascii_lowercase().ends_with(".txt");
    // A cover letter and a list of commits have a patch's name, and text may quote one.
    let mut all: Vec<(&String, &Vec<u8>)> =
        kept.iter().filter(|(path, bytes)| diff::may_be_diff(path) && diff::is_diff(&text(bytes))).collect();
    if all.iter().any(|(path, _)| is_named(path)) {
        all.retain(|(path, _)| is_named(path));
    }
    let mut patches = Patches::new();
    for (path, bytes) in all {
        let there = diff::as_from_git(&text(bytes)).into_bytes();
        if patches.insert(name(path), there.clone()).is_some_and(|other| other != there) {
            return Err(format!("two patches are called {}; hand in the ones that count", name(path)));
        }
    }
    if patches.is_empty() {
        let other =
            kept.iter().find(|(path, bytes)| diff::may_be_diff(path) && diff::is_context(&text(bytes)));
        return Err(match other {
            Some((path, _)) => format!("{path} {CONTEXT}"),
            None => "there is no patch in it; make one with `git diff` or `git format-patch`".to_owned(),
        });
    }
    let mut order = series(files);
    // What is no patch is in none.
    order.retain(|name| patches.contains_key(name) || !kept.keys().any(|path| self::name(path) == *name));
    if order.is_empty() {
        // git format-patch numbers them.
        let mut order: Vec<String> = patches.keys().cloned().collect();
        order.sort_by(|a, b| diff::by_number(a, b));
        return Ok(Handed { patches, order, notes });
    }
    match order.iter().find(|name| !patches.contains_key(*name)) {
        Some(missing) => Err(format!("its `series` names {missing}, which is not there")),
        None => Ok(Handed { patches, order, notes }),
    }
}

/// Why nobody can apply a mail's patch as it is, if its text is encoded.
pub fn encoded(path: &str, text: &str) -> Option<String> {
    // RFC 2045, 6.1.
    static HEADER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?im)^content-transfer-encoding:\s*(quoted-printable|base64)")
            .expect("a constant that tests use")
    });
    let is_mail = [".mbox", ".eml"].iter().any(|ending| path.to_ascii_lowercase().ends_with(ending));
    let found = HEADER.captures(text).filter(|_| is_mail)?;
    let how = found[1].to_ascii_lowercase();
    Some(format!(
        "{path} is a mail in which the patch is encoded ({how}); hand in what `git format-patch` wrote"
    ))
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
    use crate::assignment::Assignment;
    use std::fs;

    fn prepared(all: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("t.yaml"), "steps: [{sleep: 1 s}]").unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, "kind: patch\ntests: [{scenario: t.yaml, points: 1}]\n").unwrap();
        let files = all.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        prepare(&Assignment::load(&path).unwrap().rules(), &Files { files, notes: Vec::new() })
            .map(|handed| handed.order)
    }

    #[test]
    fn patches_are_taken_by_their_series_or_by_their_names() {
        let text = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n";
        let letter = "Subject: [PATCH 0/2] *** SUBJECT HERE ***\n\n x | 2 +-\n";
        let two = [
            ("s/0002-b.patch", text),
            ("s/0001-a.patch", text),
            ("s/notes.txt", text),
            ("s/0000-cover-letter.patch", letter),
        ];
        assert_eq!(prepared(&two).unwrap(), ["0001-a.patch", "0002-b.patch"]);
        let told = [
            two[0],
            two[1],
            two[3],
            ("s/series", "# first\n0000-cover-letter.patch\n0002-b.patch\n0003-c.patch\n"),
        ];
        assert!(prepared(&told).unwrap_err().contains("names 0003-c.patch"));
        let told = [two[0], two[1], ("s/series", "0002-b.patch\n\n0001-a.patch -p1 # then\n")];
        assert_eq!(prepared(&told).unwrap(), ["0002-b.patch", "0001-a.patch"]);
        let named = [("10.patch", text), ("9.diff", text), ("README.txt", "none")];
        assert_eq!(prepared(&named).unwrap(), ["9.diff", "10.patch"]);
        assert_eq!(prepared(&[("11.txt", text), ("README.txt", "none")]).unwrap(), ["11.txt"]);
        assert!(
            prepared(&[("a/x.patch", text), ("b/x.patch", &text.replace("+b", "+c"))])
                .unwrap_err()
                .contains("called x.patch")
        );
        assert!(prepared(&[("a.c", "int a;")]).unwrap_err().contains("git format-patch"));
        let mail = format!("From a@b Mon\nSubject: [PATCH] x\nContent-Transfer-Encoding: 8bit\n\n{text}");
        for name in ["x.mbox", "x.eml"] {
            assert_eq!(prepared(&[(name, &mail)]).unwrap(), [name]);
        }
        let encoded = mail.replace("8bit", "Quoted-Printable");
        assert!(prepared(&[("x.eml", &encoded)]).unwrap_err().contains("encoded (quoted-printable)"));
        let old = "*** sys.c.orig\n--- sys.c\n***************\n*** 1,2 ****\n";
        assert!(prepared(&[("x.patch", old)]).unwrap_err().contains("x.patch is no unified diff"));
    }
}
