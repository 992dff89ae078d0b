//! The sources that a student hands in: mended, and looked through for what they say of themselves.

#![no_main]

use fuzz::{Folder, Input, often};
use grade::{
    Assignment,
    fuzz::{Base, Files, prepare},
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// One of each kind.
static ASSIGNMENTS: LazyLock<Vec<Assignment>> = LazyLock::new(|| {
    let folder = Folder::new();
    folder.write("t.yaml", b"steps: [{sleep: 1 s}]\n");
    let kinds = [
        "kind: module",
        "kind: patch",
        "kind: kernel",
        "kind: syscall\ncalls: {csci_add: {number: 548}}\nold-style: wrapped",
    ];
    let load = |kind: &str| {
        let text =
            format!("{kind}\nlimits: {{files: 64, size: 1 MiB}}\ntests: [{{scenario: t.yaml, points: 1}}]\n");
        Assignment::load(&folder.write("a.yaml", text.as_bytes())).unwrap_or_else(|error| panic!("{error}"))
    };
    kinds.map(load).into()
});
static BASE: LazyLock<Base> = LazyLock::new(|| Base::with(&["read", "write"]));

const NAMES: [&str; 13] = [
    "hello.c",
    "Makefile",
    "Kbuild",
    "a/b.c",
    "a/b.h",
    "syscalls.h",
    "syscall_64.tbl",
    "linux/kernel/sys.c",
    "0001-x.patch",
    "all.diff",
    "series",
    "Hello World.C",
    "x.tar.gz",
];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let assignment = &ASSIGNMENTS[usize::from(input.u8()) % ASSIGNMENTS.len()];
    let mut files = Files::default();
    while !input.is_empty() {
        let name = NAMES[usize::from(input.u8()) % NAMES.len()];
        let length = usize::from(input.u16());
        files.files.insert(name.to_owned(), often(input.bytes(length)).into_owned());
    }
    prepare(assignment, &files, &BASE);
});
