//! Which files a patch names.

use std::{collections::BTreeSet, path::PathBuf};

/// The files in a patch's headers, without their first component (`a/`, `b/`).
pub(super) fn files_of(text: &str) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let lines: Vec<&str> = text.lines().collect();
    let mut add = |name: &str| {
        let name = unquote(name.split('\t').next().unwrap_or_default().trim());
        if name != "/dev/null" {
            files.insert(name.split_once('/').map_or(&*name, |(_, rest)| rest).into());
        }
    };
    // A removed line "-- x" looks like a header too; a header is a pair before a hunk.
    for window in lines.windows(3) {
        if let (Some(old), Some(new)) = (window[0].strip_prefix("--- "), window[1].strip_prefix("+++ "))
            && window[2].starts_with("@@ ")
        {
            add(old);
            add(new);
        }
    }
    for line in &lines {
        if let Some((old, new)) = line.strip_prefix("diff --git ").and_then(both_names) {
            add(old);
            add(new);
        }
        // These have no `a/` and `b/`, which is what `add` takes away.
        let moved = ["rename from ", "rename to ", "copy from ", "copy to "];
        if let Some(name) = moved.iter().find_map(|beginning| line.strip_prefix(beginning)) {
            add(&format!("a/{}", unquote(name)));
        }
    }
    files
}

/// Of `a/x b/x`, as it stands before an empty file, a binary one, or a change of permissions. Where the names differ,
/// other lines have them, and this one can't be taken apart: names may hold blanks.
fn both_names(rest: &str) -> Option<(&str, &str)> {
    if rest.starts_with('"') {
        return rest.split_once("\" ");
    }
    let (old, new) = rest.split_at_checked(rest.len() / 2)?;
    let new = new.strip_prefix(' ')?;
    (old.split_once('/')?.1 == new.split_once('/')?.1).then_some((old, new))
}

/// A name as C would write it, `"a/\303\244"`, as git does with letters that are not ASCII.
fn unquote(name: &str) -> String {
    let Some(inner) = name.strip_prefix('"') else { return name.to_owned() };
    let mut bytes = Vec::new();
    let mut rest = inner.strip_suffix('"').unwrap_or(inner).bytes();
    while let Some(byte) = rest.next() {
        let escaped = if byte == b'\\' { rest.next() } else { None };
        bytes.push(match escaped {
            None => byte,
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(first @ b'0'..=b'3') => {
                let digits = [Some(first), rest.next(), rest.next()].into_iter().flatten();
                digits.fold(0u8, |value, digit| value.wrapping_shl(3) | (digit & 7))
            }
            Some(other) => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
