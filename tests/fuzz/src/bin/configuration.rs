//! What says how a kernel is built: fragments, a `.config`, Kconfig files, tables of system calls, series of patches.

#![no_main]

use fuzz::{Folder, often};
use kernel::{config, patch::Series, symbols::Symbols, syscall_table::SyscallTable};
use libfuzzer_sys::fuzz_target;
use std::{collections::BTreeSet, path::Path, sync::LazyLock};

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

fuzz_target!(|data: &[u8]| {
    let data = often(data);
    let text = String::from_utf8_lossy(&data);
    // What stands before the line is one file, what stands behind it another one.
    let (first, second) = text.split_once("\n====\n").unwrap_or((&text, &text));
    if let Ok(requests) = config::parse(Path::new("x.config"), first) {
        let merged = config::merge(second, &requests);
        config::lost(&requests, &merged, &FOLDER.path("source"));
        config::difference(second, &merged);
    }
    let values = config::values(first);
    let symbols: BTreeSet<&str> = ["A", "B", "FOO", "SMP", "RUST"].into();
    kernel::fuzz::kconfig(second, &symbols, &values);
    if let Ok(table) = SyscallTable::parse(first, second) {
        table.names(kernel::syscall_table::Abi::X64).count();
    }
    let _ = Symbols::from_map(first);
    FOLDER.write("series/a.patch", second.as_bytes());
    FOLDER.write("series/series", b"a.patch\n");
    if let Ok(files) = Series::load(&FOLDER.path("series")).expect("it is there").touched() {
        let inside =
            |path: &Path| path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        assert!(files.iter().all(|path| inside(path)), "a patch leads out: {files:?}");
    }
});
