//! What a build prints, which is whatever a makefile of somebody's wants: its first error, warnings, and what to do.

#![no_main]

use fuzz::{Folder, often};
use kernel::diagnose::{Context, Places, first_error, is_disk_full, warnings};
use libfuzzer_sys::fuzz_target;
use std::{path::Path, sync::LazyLock};

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

fuzz_target!(|data: &[u8]| {
    let data = often(data);
    let text = String::from_utf8_lossy(&data);
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let source = FOLDER.path("source");
    for places in [
        Places::of_module(Path::new("/tmp/copy"), Path::new("modules/hello")),
        Places::of_kernel(&source, Path::new("linux")),
    ] {
        let context = Context { places, release: "6.12.117", headers: None, source: Some(&source) };
        first_error(&lines, &context);
        warnings(&lines, &context);
    }
    is_disk_full(&lines);
});
