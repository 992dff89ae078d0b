//! A kernel as one file, from another machine: it comes into the cache whole, or nothing of it does, and nothing comes anywhere else.

#![no_main]

use base::cache::{Cache, Kind};
use fuzz::{Folder, Input};
use kernel::parcel::import;
use libfuzzer_sys::fuzz_target;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{fs, sync::LazyLock};
use tar::{Builder, EntryType, Header};

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);
static CACHE: LazyLock<Cache> =
    LazyLock::new(|| Cache::at(&FOLDER.path("cache")).unwrap_or_else(|error| panic!("{error}")));

const HASH: &str = "0123456789abcdef";
const NAMES: [&str; 14] = [
    "kernel.json",
    "vmlinux",
    "config",
    "System.map",
    "build/Makefile",
    "build/source",
    "a",
    "a/b",
    "..",
    "../a",
    "/a",
    "a/../../b",
    "a/./b",
    "",
];
const KINDS: [EntryType; 6] = [
    EntryType::Regular,
    EntryType::Symlink,
    EntryType::Link,
    EntryType::Directory,
    EntryType::Fifo,
    EntryType::Char,
];
/// What makes a kernel of an entry.
const ABOUT: &str = r#"{"release": "6.12.3", "announce": "CommandLine", "early": [], "facts": {"source": "a", "version": "6.12.3",
    "compiler": "Gcc", "steps": 1, "seconds": 1, "ingredients": {"patches": [], "base": "tinyconfig", "fragments": [], "slot": "s"}}}"#;

/// One of the names, or what the input has for one.
fn name(input: &mut Input) -> String {
    let choice = usize::from(input.u8());
    NAMES
        .get(choice)
        .map_or_else(|| String::from_utf8_lossy(input.bytes(choice % 32)).into_owned(), |it| (*it).to_owned())
}

fn append(tar: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, link: &str, size: u64, bytes: &[u8]) {
    let mut header = Header::new_gnu();
    let fields = header.as_gnu_mut().expect("it is one");
    // As they are: who makes such a file keeps to no rule.
    for (field, text) in [(&mut fields.name, path), (&mut fields.linkname, link)] {
        let length = text.len().min(field.len());
        field[..length].copy_from_slice(&text.as_bytes()[..length]);
    }
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append(&header, bytes).expect("into memory");
}

/// An archive of which most is as it should be.
fn archive(input: &mut Input) -> Vec<u8> {
    let (mut files, mut entries) = (Map::new(), Vec::new());
    while !input.is_empty() && entries.len() < 16 {
        let (name, how) = (name(input), input.u8());
        let kind = KINDS[usize::from(how & 7) % KINDS.len()];
        let link = if kind == EntryType::Regular { String::new() } else { self::name(input) };
        let content = match (kind, how >> 3 & 3) {
            (EntryType::Regular, 0) => ABOUT.as_bytes().to_vec(),
            (EntryType::Regular, _) => input.bytes(usize::from(how)).to_vec(),
            _ => Vec::new(),
        };
        let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        let item = match kind {
            EntryType::Regular => json!({"file": {"sha256": digest, "program": how >> 7 == 1}}),
            _ => json!({"link": link}),
        };
        if how >> 5 & 3 != 3 {
            files.insert(name.clone(), item);
        }
        entries.push((name, kind, link, content));
    }
    let manifest =
        json!({"format": 1, "hash": HASH, "release": "6.12.3", "files": Value::Object(files)}).to_string();
    let mut tar = Builder::new(Vec::new());
    append(&mut tar, "manifest.json", EntryType::Regular, "", manifest.len() as u64, manifest.as_bytes());
    for (name, kind, link, content) in &entries {
        append(&mut tar, &format!("entry/{name}"), *kind, link, content.len() as u64, content);
    }
    tar.into_inner().expect("into memory")
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let bytes = match input.u8() % 8 {
        0 => input.rest().to_vec(),
        1 => compress_to_vec(input.rest(), CompressionLevel::Fastest),
        _ => compress_to_vec(&archive(&mut input)[..], CompressionLevel::Fastest),
    };
    let file = FOLDER.write("kernel.tar.zst", &bytes);
    let place = CACHE.place(Kind::Kernel, HASH);
    match import(&CACHE, &file, None) {
        Ok(parcel) => {
            assert!(parcel.hash != HASH || place.is_dir(), "it is said to be there");
            for key in CACHE.keys(Kind::Kernel).unwrap_or_default() {
                fs::remove_dir_all(CACHE.place(Kind::Kernel, &key)).expect("it is ours");
            }
        }
        Err(why) => {
            assert!(
                !why.to_string().is_empty() && CACHE.keys(Kind::Kernel).is_ok_and(|keys| keys.is_empty()),
                "{why}"
            );
        }
    }
    let names = |folder: &str| fs::read_dir(FOLDER.path(folder)).expect("it is there").count();
    assert_eq!((names(""), names("cache/tmp")), (2, 0), "something is left, or lies outside");
});
