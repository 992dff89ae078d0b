//! The symbols that a kernel carries, searched in an image.

#![no_main]

use kernel::{fuzz, symbols::Symbols};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(symbols) = fuzz::kallsyms(data) else { return };
    // A name that a System.map can't hold is an error there, and nothing else.
    let _ = Symbols::from_map(&fuzz::system_map(symbols));
});
