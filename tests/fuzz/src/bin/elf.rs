//! Modules and kernels as files: what a loader would see, symbols, and file and line by their debug info.

#![no_main]

use base::cache::Cache;
use fuzz::Folder;
use kernel::{
    lines::{Code, Lines, Stands},
    symbols::Symbols,
};
use libfuzzer_sys::fuzz_target;
use module::preflight::{Candidate, Facts, Way, check};
use std::sync::LazyLock;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);
static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::at(&FOLDER.path("cache")).expect("there is room"));
static FACTS: LazyLock<Facts> = LazyLock::new(|| Facts {
    release: "6.12.117-vmm".to_owned(),
    exports: Some(Default::default()),
    map: FOLDER.path("System.map"),
    ..Facts::default()
});

fuzz_target!(|data: &[u8]| {
    let path = FOLDER.write("fuzzed.ko", data);
    if let Ok(candidate) = Candidate::load(&path, &path, Way::Given) {
        check(&[candidate], &FACTS, &CACHE).problems.iter().for_each(|problem| drop(problem.to_string()));
    }
    let Ok(symbols) = Symbols::from_elf(data) else { return };
    let names = ["init_module", "start_kernel", "cleanup_module"];
    symbols.bounds(&names);
    let lines = Lines::new(Some(path.clone()), [("fuzzed".to_owned(), path)], &[FOLDER.path("")]);
    for module in [None, Some("fuzzed".to_owned())] {
        for function in names.map(str::to_owned) {
            let code = Code::Named { function, offset: 4, size: None, module: module.clone() };
            lines.find(&code, Stands::BehindCall);
        }
    }
    for address in [0, 4, 1 << 20, u64::MAX] {
        if let Some((function, offset)) = symbols.function(address) {
            let function = splat::base_name(function).to_owned();
            lines.find(&Code::Named { function, offset, size: Some(16), module: None }, Stands::Here);
        }
        lines.find(&Code::Linked(address), Stands::Here);
    }
});
