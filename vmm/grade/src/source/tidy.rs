//! Files as the kernel's build system wants them: names without blanks, text with Unix line ends, nothing stale.

use crate::intake::{Files, again};
use globset::{Glob, GlobSet, GlobSetBuilder};
use regex::Regex;
use std::{collections::BTreeMap, sync::LazyLock};

/// What a build leaves, for some other kernel.
const STALE: &[&str] = &[".o", ".ko", ".mod", ".mod.c", ".cmd", ".a", ".order", ".symvers"];

/// So many names of files that do not count are told.
const SHOWN: usize = 20;

/// The files that count, mended; and what was done.
pub fn tidy(files: &Files, counts: &[String]) -> (BTreeMap<String, Vec<u8>>, Vec<String>) {
    let (patterns, counts) = (counts, any_of(counts));
    let mut notes = files.notes.clone();
    let mut renamed = false;
    let (mut kept, mut stale, mut ends, mut others) = (BTreeMap::new(), 0, Vec::new(), Vec::new());
    for (path, bytes) in &files.files {
        let name = path.rsplit('/').next().unwrap_or(path);
        if STALE.iter().any(|ending| name.ends_with(ending)) || name == "Module.symvers" {
            stale += 1;
            continue;
        }
        // Who has to be called Makefile may be called Makefile-1 here, which is mended below.
        let came_again =
            || again(name).is_some_and(|(stem, ending)| counts.is_match(format!("{stem}{ending}")));
        if !counts.is_match(name) && !came_again() {
            others.push(path.as_str());
            continue;
        }
        let plain = super::plain(path);
        if plain != *path {
            renamed = true;
            notes.push(format!(
                "{path} is taken as {plain}: the kernel's build system can't cope with such names"
            ));
        }
        // As PowerShell writes what a program prints.
        let decoded = utf16(bytes);
        if decoded.is_some() {
            notes.push(format!("{path} is UTF-16, and taken as UTF-8"));
        }
        let bytes = decoded.as_ref().unwrap_or(bytes);
        let content = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
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
    if !others.is_empty() {
        let more = others.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        others.truncate(SHOWN);
        notes.push(format!(
            "left out, since only {} count: {}{more}",
            patterns.join(", "),
            others.join(", ")
        ));
    }
    if !ends.is_empty() {
        notes.push(format!("Windows line ends are taken out of {}", ends.join(", ")));
    }
    numbered(&mut kept, &mut notes);
    if renamed {
        named_plainly(&mut kept, &mut notes);
    }
    (kept, notes)
}

/// What one of these patterns matches, each of which was looked at when the assignment was read.
pub fn any_of(patterns: &[String]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    patterns.iter().filter_map(|pattern| Glob::new(pattern).ok()).for_each(|glob| _ = set.add(glob));
    set.build().unwrap_or_else(|_| GlobSet::empty())
}

/// Has makefiles and sources name files as they are called now.
fn named_plainly(kept: &mut BTreeMap<String, Vec<u8>>, notes: &mut Vec<String>) {
    static INCLUDE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"(?m)^([ \t]*#[ \t]*include[ \t]*")([^"\n]+)"#).expect("a constant that tests use")
    });
    for (path, bytes) in kept.iter_mut() {
        let Ok(text) = std::str::from_utf8(bytes) else { continue };
        let name = path.rsplit('/').next().unwrap_or(path);
        let is_makefile = name.to_ascii_lowercase().contains("makefile")
            || name == "Kbuild"
            || name.rsplit_once('.').is_some_and(|(_, ending)| ending == "mk");
        let renamed = match is_makefile {
            // A blank parts names there.
            true => super::only(text, |c| c.is_ascii()),
            false => {
                let include =
                    |found: &regex::Captures<'_>| format!("{}{}", &found[1], super::plain(&found[2]));
                INCLUDE.replace_all(text, include).into_owned()
            }
        };
        if renamed != text {
            notes.push(format!("the names of files in {path} are changed likewise"));
            *bytes = renamed.into_bytes();
        }
    }
}

/// Text in UTF-16, which its first two bytes tell, as UTF-8.
fn utf16(bytes: &[u8]) -> Option<Vec<u8>> {
    let unit: fn([u8; 2]) -> u16 = match bytes.get(..2)? {
        b"\xff\xfe" => u16::from_le_bytes,
        b"\xfe\xff" => u16::from_be_bytes,
        _ => return None,
    };
    let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    String::from_utf16(&units).ok().map(String::into_bytes)
}

/// Names that the build system knows, in which nobody puts a number by himself.
const KNOWN: [&str; 4] = ["Makefile", "Kbuild", "syscall_64.tbl", "syscalls.h"];

/// An LMS or a browser calls a file that comes again `driver-1.c`: it gets its name back where that is a known one, or where the
/// makefile asks for it.
fn numbered(kept: &mut BTreeMap<String, Vec<u8>>, notes: &mut Vec<String>) {
    let makefiles = |kept: &BTreeMap<String, Vec<u8>>| {
        let all = kept.iter().filter(|(path, _)| path.to_ascii_lowercase().contains("makefile"));
        all.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect::<String>()
    };
    let asked = makefiles(kept);
    let asks = |object: &str| asked.split(|c: char| c.is_whitespace() || c == '=').any(|word| word == object);
    let paths: Vec<String> = kept.keys().cloned().collect();
    for path in paths {
        let (folder, name) = path.rsplit_once('/').map_or(("", &*path), |(folder, name)| (folder, name));
        let Some((stem, ending)) = again(name) else { continue };
        let plain = format!("{stem}{ending}");
        let own = format!("{}.o", super::stem(name));
        let is_asked = [".c", ".rs"].contains(&ending) && asks(&format!("{stem}.o")) && !asks(&own);
        let to = if folder.is_empty() { plain.clone() } else { format!("{folder}/{plain}") };
        if (KNOWN.contains(&&*plain) || is_asked)
            && !kept.contains_key(&to)
            && let Some(bytes) = kept.remove(&path)
        {
            notes.push(format!("{path} is taken as {to}"));
            kept.insert(to, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[(&str, &str)]) -> Vec<String> {
        let files = all.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        let any = ["*".to_owned()];
        tidy(&Files { files, notes: Vec::new() }, &any).0.into_keys().collect()
    }

    #[test]
    fn utf_16_is_text() {
        let text = "int a; // ä\r\nint b;\r\n";
        let little: Vec<u8> =
            [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> =
            [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
        let any = ["*".to_owned()];
        for bytes in [little, big] {
            let files = [("x.diff".to_owned(), bytes)].into();
            let (kept, notes) = tidy(&Files { files, notes: Vec::new() }, &any);
            assert_eq!(kept["x.diff"], "int a; // ä\nint b;\n".as_bytes());
            assert_eq!(notes[0], "x.diff is UTF-16, and taken as UTF-8");
        }
        assert_eq!([utf16(b"\xff\xfe\x00\xd8"), utf16(b"\xff"), utf16(b"int")], [None, None, None]);
    }

    #[test]
    fn what_is_renamed_is_named_so_everywhere() {
        // As Linux and Windows write an umlaut, and as a Mac does.
        for umlaut in ["ä", "a\u{308}"] {
            let source = format!("#include <linux/x.h>\n#include \"my ger{umlaut}t.h\"\n// ger{umlaut}t\n");
            let makefile = "obj-m := gerät.o\ngerät-y := main.o\n";
            let all = [
                (format!("ger{umlaut}t.c"), source.as_str()),
                (format!("my ger{umlaut}t.h"), ""),
                ("Makefile".to_owned(), makefile),
            ];
            let files = all.map(|(path, text)| (path, text.as_bytes().to_vec())).into();
            let any = ["*".to_owned()];
            let (kept, notes) = tidy(&Files { files, notes: Vec::new() }, &any);
            assert_eq!(kept.keys().collect::<Vec<_>>(), ["Makefile", "ger_t.c", "my_ger_t.h"]);
            assert_eq!(kept["Makefile"], b"obj-m := ger_t.o\nger_t-y := main.o\n");
            let source = source.replace("my ger", "my_ger").replacen(umlaut, "_", 1);
            assert_eq!(String::from_utf8_lossy(&kept["ger_t.c"]), source);
            assert!(notes.iter().any(|note| note.contains("in Makefile are changed")), "{notes:?}");
        }
        // Where nothing is renamed, nothing is changed.
        let makefile = "# für drv\nobj-m := drv.o\n";
        let files = [("Makefile".to_owned(), makefile.as_bytes().to_vec())].into();
        let any = ["*".to_owned()];
        assert_eq!(tidy(&Files { files, notes: Vec::new() }, &any).0["Makefile"], makefile.as_bytes());
    }

    #[test]
    fn what_does_not_count_is_told() {
        let files = (0..25).map(|number| (format!("n{number:02}.txt"), Vec::new()));
        let files =
            Files { files: files.chain([("a.c".to_owned(), Vec::new())]).collect(), notes: Vec::new() };
        let some = ["*.c".to_owned()];
        let (kept, notes) = tidy(&files, &some);
        assert_eq!((kept.len(), notes.len()), (1, 1));
        assert!(notes[0].contains("since only *.c count: n00.txt, n01.txt,"), "{}", notes[0]);
        assert!(notes[0].ends_with("n19.txt and 5 more"), "{}", notes[0]);
    }

    #[test]
    fn what_came_again_gets_its_name_back() {
        assert_eq!(
            names(&[("a/drv-1.c", ""), ("a/Makefile-2", "obj-m := drv.o other-1.o\n"), ("a/other-1.c", "")]),
            ["a/Makefile", "a/drv.c", "a/other-1.c"]
        );
        // Whatever is asked for by its own name alone.
        let made = [("drv.c", ""), ("Makefile-1", "obj-m := drv.o\n"), ("notes-1.txt", "")];
        let files = made.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        let asked = ["*.c", "Makefile"].map(str::to_owned);
        let kept = tidy(&Files { files, notes: Vec::new() }, &asked).0;
        assert_eq!(kept.into_keys().collect::<Vec<_>>(), ["Makefile", "drv.c"]);
        assert_eq!(names(&[("drv (1).c", ""), ("Makefile", "obj-m:=drv.o\n")]), ["Makefile", "drv.c"]);
        assert_eq!(
            names(&[("syscall_64 (2).tbl", ""), ("syscalls-1.h", "")]),
            ["syscall_64.tbl", "syscalls.h"]
        );
        // Nobody asks for another name, or somebody has it.
        assert_eq!(names(&[("lab-1.c", ""), ("Makefile", "obj-m += lab-1.o\n")]), ["Makefile", "lab-1.c"]);
        assert_eq!(names(&[("drv-1.c", ""), ("drv.c", ""), ("Makefile", "obj-m += drv.o")]).len(), 3);
    }
}
