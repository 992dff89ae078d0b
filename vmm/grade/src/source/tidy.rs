//! Files as the kernel's build system wants them: names without blanks, text with Unix line ends, nothing stale.

use crate::intake::Files;
use globset::GlobSet;
use std::collections::BTreeMap;

/// What a build leaves, for some other kernel.
const STALE: &[&str] = &[".o", ".ko", ".mod", ".mod.c", ".cmd", ".a", ".order", ".symvers"];

/// The files that count, mended; and what was done.
pub fn tidy(files: &Files, counts: &GlobSet) -> (BTreeMap<String, Vec<u8>>, Vec<String>) {
    let mut notes = files.notes.clone();
    let (mut kept, mut stale, mut ends) = (BTreeMap::new(), 0, Vec::new());
    for (path, bytes) in &files.files {
        let name = path.rsplit('/').next().unwrap_or(path);
        if STALE.iter().any(|ending| name.ends_with(ending)) || name == "Module.symvers" {
            stale += 1;
            continue;
        }
        if !counts.is_match(name) {
            continue;
        }
        let plain: String = path.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        if plain != *path {
            notes.push(format!(
                "{path} is taken as {plain}: the kernel's build system can't cope with such names"
            ));
        }
        let content = match bytes.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) => rest,
            None => bytes,
        };
        let content = if content.windows(2).any(|pair| pair == b"\r\n") {
            ends.push(path.as_str());
            let mut unix = Vec::with_capacity(content.len());
            for (index, byte) in content.iter().enumerate() {
                if *byte != b'\r' || content.get(index + 1) != Some(&b'\n') {
                    unix.push(*byte);
                }
            }
            unix
        } else {
            content.to_vec()
        };
        if kept.insert(plain.clone(), content).is_some() {
            notes.push(format!("two files are taken as {plain}; the later one counts"));
        }
    }
    if stale > 0 {
        notes.push(format!("{stale} files that a build leaves (.o, .ko and the like) are left out"));
    }
    if !ends.is_empty() {
        notes.push(format!("Windows line ends are taken out of {}", ends.join(", ")));
    }
    (kept, notes)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/._-+".contains(c)
}
