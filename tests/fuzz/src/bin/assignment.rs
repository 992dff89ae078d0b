//! A teacher's assignment, and the scenarios that it names.

#![no_main]

use fuzz::Folder;
use grade::Assignment;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::new();
    folder.write("t.yaml", b"params: {device: text}\nsteps: [{sleep: 1 s}]\n");
    folder.write("Makefile", b"obj-m := x.o\n");
    folder.write("good/x.c", b"int x;\n");
    folder
});

fuzz_target!(|data: &[u8]| {
    let path = FOLDER.write("assignment.yaml", data);
    match Assignment::load(&path) {
        Ok(assignment) => _ = assignment.points(),
        Err(errors) => assert!(!errors.to_string().is_empty(), "an error without a word"),
    }
});
