//! Scenarios: YAML to a plan, or to messages with the lines that are wrong.

#![no_main]

use base::diagnostic::Source;
use fuzz::often;
use libfuzzer_sys::fuzz_target;
use plan::{fixture::Table, lower::lower};
use std::path::Path;

/// Beside the project's own, so that it finds their modules.
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/fuzzed.yaml");

fuzz_target!(|data: &[u8]| {
    let data = often(data);
    let Ok(text) = std::str::from_utf8(&data) else { return };
    let source = Source::new(Path::new(PATH), text);
    let shown = match scenario::parse(source) {
        Ok(scenario) => lower(&scenario, &Table).map_err(|errors| errors.to_string()).err(),
        Err(errors) => Some(errors.to_string()),
    };
    assert!(shown.is_none_or(|shown| !shown.is_empty()), "an error without a word");
});
