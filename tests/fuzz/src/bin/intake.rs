//! What a student hands in as a file: archives, and archives in archives.

#![no_main]

use fuzz::Folder;
use grade::{Assignment, fuzz::intake};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const LIMIT: usize = 1 << 20;
static ASSIGNMENT: LazyLock<Assignment> = LazyLock::new(|| {
    let folder = Folder::new();
    folder.write("t.yaml", b"steps: [{sleep: 1 s}]\n");
    let text = b"kind: module\nlimits: {files: 64, size: 1 MiB}\ntests: [{scenario: t.yaml, points: 1}]\n";
    Assignment::load(&folder.write("a.yaml", text)).unwrap_or_else(|error| panic!("{error}"))
});

/// Makes a tar's checksums right (POSIX ustar: 8 bytes at 148, which count as blanks), so that what is changed in it is looked at.
fn checked(mut bytes: Vec<u8>) -> Vec<u8> {
    for header in bytes.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
    bytes
}

fuzz_target!(|data: &[u8]| {
    match intake("work.tar", checked(data.to_vec()), &ASSIGNMENT) {
        Ok(files) => {
            let all: usize = files.files.values().map(Vec::len).sum();
            assert!(all <= LIMIT, "more was taken in than the limit allows");
            let leads_out = |path: &String| path.starts_with('/') || path.split('/').any(|part| part == "..");
            assert!(!files.files.keys().any(leads_out), "a path leads out");
        }
        Err(why) => assert!(!why.is_empty(), "refused without a word"),
    }
});
