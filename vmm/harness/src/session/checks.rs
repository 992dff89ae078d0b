//! What a kernel is asked to check of itself while it runs.

use module::preflight::Facts;
use scenario::model::Machine;

/// A write behind memory from kmalloc, or in front of it, is found when it is freed, and one to memory that was freed when that is
/// taken again (Documentation/mm/slab.rst): the checks themselves, red zones, poison, and who took and freed it, by which the
/// kernel also knows how much of a cache's object was asked for. The name is the one that all kernels know; newer ones say `slab_debug`.
const SLABS: &str = "slub_debug=FZPU,kmalloc-*";

/// Words for the kernel's command line. None for a kernel that can't, nor for one with KASAN, which finds the same and more;
/// nor where the scenario has words of its own for that.
pub(super) fn words(machine: &Machine, facts: &Facts) -> Vec<String> {
    let able = facts.has("SLUB_DEBUG") && !facts.has("KASAN");
    let asked = |word: &String| word.starts_with("slub_debug") || word.starts_with("slab_debug");
    let wanted = machine.checks && able && !machine.command_line.iter().any(asked);
    wanted.then(|| SLABS.to_owned()).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(config: &[&str], checks: bool, own: &str) -> bool {
        let config = config.iter().map(|symbol| ((*symbol).to_owned(), "y".to_owned())).collect();
        let facts = Facts {
            release: "6.12".into(),
            vermagic: None,
            exports: None,
            config: Some(config),
            map: "System.map".into(),
        };
        let command_line = own.split_whitespace().map(str::to_owned).collect();
        let machine = Machine { checks, command_line, ..Machine::default() };
        !words(&machine, &facts).is_empty()
    }

    #[test]
    fn a_kernel_checks_itself_where_it_can_and_nobody_says_otherwise() {
        assert!(asked(&["SLUB_DEBUG"], true, "loglevel=7"));
        assert!(!asked(&["SLUB_DEBUG"], false, ""));
        assert!(!asked(&["SLUB_DEBUG"], true, "slab_debug=P"));
        assert!(!asked(&["SLUB_DEBUG", "KASAN"], true, ""));
        assert!(!asked(&[], true, ""));
    }
}
