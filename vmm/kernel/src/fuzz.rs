//! For `tests/fuzz`: readers of files that others made, which no other crate calls by themselves.

use std::collections::{BTreeMap, BTreeSet};

pub use crate::kallsyms::{find as kallsyms, system_map};

/// What a Kconfig file says of these symbols: why each is not `n`, `m` and `y` where the configuration has these values.
pub fn kconfig(text: &str, symbols: &BTreeSet<&str>, values: &BTreeMap<&str, &str>) -> Vec<String> {
    let mut entries = BTreeMap::new();
    crate::kconfig::read_file(text, symbols, &mut entries);
    entries.values().flat_map(|entry| ["n", "m", "y"].map(|wanted| entry.why(wanted, values))).collect()
}
