//! Modules that were seen, so that code of one that is gone still has a name.
//!
//! A kernel that runs into code of a module which was unloaded can say no more than its address. What was there is known to
//! whoever looked while the module was loaded.

use super::{KernelState, Module};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// So many modules are remembered, the latest.
const MOST_SEEN: usize = 256;
/// Functions remembered of each.
const MOST_FUNCTIONS: u64 = 4096;
/// Names that are made of one part of the log.
const MOST_NAMED: usize = 64;
/// `MODULES_VADDR` of a kernel without KASLR up to `MODULES_END` (Linux Documentation/arch/x86/x86_64/mm.rst).
const MODULES: std::ops::Range<u64> = 0xffff_ffff_a000_0000..0xffff_ffff_ff00_0000;
/// How the kernel prints an address that it has no name for.
const ADDRESS: &str = "0xffffffff";

/// What is remembered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SeenModules(Vec<Seen>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seen {
    name: String,
    regions: [(u64, u64); 2],
    /// Start and name, in the order of addresses.
    functions: Vec<(u64, String)>,
}

impl SeenModules {
    /// Looks which modules are loaded now.
    pub fn look(&mut self, state: &KernelState) {
        for module in state.modules().unwrap_or_default() {
            self.remember(&module, || state.functions(&module, MOST_FUNCTIONS).unwrap_or_default());
        }
    }

    fn remember(&mut self, module: &Module, functions: impl FnOnce() -> Vec<(u64, String)>) {
        let known =
            self.0.iter().rposition(|seen| seen.name == module.name && seen.regions[0] == module.regions[0]);
        let Some(index) = known else {
            if self.0.len() >= MOST_SEEN {
                self.0.remove(0);
            }
            let (name, regions) = (module.name.clone(), module.regions);
            return self.0.push(Seen { name, regions, functions: functions() });
        };
        // It is in the kernel's list for a while before it has its symbols.
        if self.0[index].functions.is_empty() {
            self.0[index].functions = functions();
        }
        // A later module may have been where this one is now.
        if self.0[index + 1..].iter().any(|it| overlap(it, module)) {
            let seen = self.0.remove(index);
            self.0.push(seen);
        }
    }

    /// `function+0x12/0x34 [module]` of the addresses in a text of the kernel's that lie in one of them.
    pub fn names_in<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> BTreeMap<u64, String> {
        let mut names = BTreeMap::new();
        if self.0.is_empty() {
            return names;
        }
        for text in texts {
            for (at, _) in text.match_indices(ADDRESS) {
                let digits = text.get(at + 2..at + 18);
                let Some(address) = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()) else {
                    continue;
                };
                if names.len() < MOST_NAMED
                    && MODULES.contains(&address)
                    && let Some(name) = self.name(address)
                {
                    names.insert(address, name);
                }
            }
        }
        names
    }

    /// The same of one address.
    pub fn name(&self, address: u64) -> Option<String> {
        let inside = |(start, size): &(u64, u64)| (*start..start.saturating_add(*size)).contains(&address);
        let (seen, (start, size)) = self
            .0
            .iter()
            .rev()
            .find_map(|seen| Some((seen, *seen.regions.iter().find(|region| inside(region))?)))?;
        let after = seen.functions.partition_point(|(begin, _)| *begin <= address);
        let end = start.saturating_add(size);
        let (begin, name) = match after.checked_sub(1).map(|last| &seen.functions[last]) {
            Some((begin, name)) if *begin >= start => (*begin, name.as_str()),
            // Its init's names go with it.
            _ => (start, "unknown"),
        };
        let end = seen.functions.get(after).map_or(end, |(next, _)| (*next).min(end));
        Some(format!("{name}+{:#x}/{:#x} [{}]", address - begin, end - begin, seen.name))
    }
}

fn overlap(seen: &Seen, module: &Module) -> bool {
    let ((one, size), (other, length)) = (seen.regions[0], module.regions[0]);
    one < other.saturating_add(length) && other < one.saturating_add(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, start: u64, functions: &[(u64, &str)]) -> Seen {
        let functions = functions.iter().map(|(at, name)| (start + at, (*name).to_owned())).collect();
        Seen { name: name.to_owned(), regions: [(start, 0x100), (start + 0x1000, 0x80)], functions }
    }

    fn modules() -> SeenModules {
        SeenModules(vec![
            seen("old", 0xffff_ffff_a020_0000, &[(0, "old_read"), (0x40, "old_write")]),
            seen("other", 0xffff_ffff_a030_0000, &[(0, "other_open")]),
        ])
    }

    #[test]
    fn an_address_in_a_module_that_was_seen_has_a_name() {
        let names =
            modules().names_in(["RIP: 0010:0xffffffffa0200052", " 0xffffffffa0300004", "0xffffffffa0201008"]);
        let expected = [
            (0xffff_ffff_a020_0052, "old_write+0x12/0xc0 [old]"),
            (0xffff_ffff_a020_1008, "unknown+0x8/0x80 [old]"),
            (0xffff_ffff_a030_0004, "other_open+0x4/0x100 [other]"),
        ];
        assert_eq!(names, expected.map(|(at, name)| (at, name.to_owned())).into());
    }

    #[test]
    fn a_module_that_was_seen_before_it_had_symbols_is_looked_at_again() {
        let start = 0xffff_ffff_a020_0000;
        let module = Module { name: "late".to_owned(), regions: [(start, 0x100), (0, 0)], kallsyms: None };
        let mut modules = SeenModules::default();
        modules.remember(&module, Vec::new);
        assert_eq!(modules.name(start).unwrap(), "unknown+0x0/0x100 [late]");
        modules.remember(&module, || vec![(start, "late_read".to_owned())]);
        modules.remember(&module, || panic!("they are known"));
        assert_eq!(modules.name(start).unwrap(), "late_read+0x0/0x100 [late]");
        assert_eq!(modules.0.len(), 1);
    }

    #[test]
    fn the_module_that_came_later_to_a_place_is_meant() {
        let mut modules = modules();
        modules.0.push(seen("new", 0xffff_ffff_a020_0000, &[(0, "new_read")]));
        let names = modules.names_in(["0xffffffffa0200052"]);
        assert_eq!(names[&0xffff_ffff_a020_0052], "new_read+0x52/0x100 [new]");
    }

    #[test]
    fn what_is_no_module_s_address_has_no_name() {
        for text in [
            "0xffffffff81000000",
            "0xffffffffa0",
            "0xffffffffa02000zz",
            "0xffffffffa0400000",
            "0xffffffff\u{e4}aaaaaaaa",
        ] {
            assert!(modules().names_in([text]).is_empty(), "{text}");
        }
    }
}
