//! Modules that a kernel needs before it can be spoken with: distributions have virtio as modules.

use crate::setup::say;
use nix::kmod::{ModuleInitFlags, finit_module};
use std::{
    fs::{self, File},
    path::Path,
};

/// Where the image has them; their names sort in the order in which they have to be loaded.
const FOLDER: &str = "/early-modules";

/// Loads them. One that fails is told to whoever looks at the guest's log; the harness notices the silence that
/// follows.
pub fn load() {
    let Ok(entries) = fs::read_dir(Path::new(FOLDER)) else { return };
    let mut modules: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    modules.sort();
    for path in modules {
        let loaded = File::open(&path).map_err(|error| error.to_string()).and_then(|file| {
            finit_module(&file, c"", ModuleInitFlags::empty()).map_err(|error| error.to_string())
        });
        if let Err(why) = loaded {
            say(&format!("can't load {}: {why}", path.display()));
        }
    }
}
