//! What a kernel runs when it boots, before anybody watches: its tables of functions that it calls by then, and whether one has more than another.

use crate::symbols::Symbols;

/// Marks of the linker script (include/asm-generic/vmlinux.lds.h, arch/x86/kernel/vmlinux.lds.S), which no file of the kernel can move, and what puts
/// something between them.
const TABLES: [(&str, &str, &str); 9] = [
    ("__initcall_start", "__initcall_end", "an initcall, as `module_init()` and `late_initcall()` make it"),
    ("__con_initcall_start", "__con_initcall_end", "a `console_initcall()`"),
    (
        "__setup_start",
        "__setup_end",
        "a parameter of the command line, as `__setup()` and `early_param()` make it",
    ),
    ("__start___param", "__stop___param", "a `module_param()`"),
    ("__ctors_start", "__ctors_end", "a constructor"),
    ("__x86_cpu_dev_start", "__x86_cpu_dev_end", "a `cpu_dev_register()`"),
    ("__apicdrivers", "__apicdrivers_end", "an `apic_driver()`"),
    ("__start_lsm_info", "__end_lsm_info", "a `DEFINE_LSM()`"),
    ("__start_early_lsm_info", "__end_early_lsm_info", "a `DEFINE_EARLY_LSM()`"),
];

/// By what a kernel runs more at its boot than another one that it was made of; in words.
pub fn more(than: &Symbols, of: &Symbols) -> Option<&'static str> {
    let length = |of: &Symbols, (start, end): (&str, &str)| of.address(end)?.checked_sub(of.address(start)?);
    let differ =
        |(start, end, _): &&(&str, &str, &str)| length(of, (start, end)) != length(than, (start, end));
    TABLES.iter().find(differ).map(|(_, _, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_to_a_kernels_boot_is_told_and_what_moved_is_not() {
        let kernel = |at: u64, calls: u64, parameters: u64| {
            let all = [
                ("__initcall_start", at),
                ("__initcall_end", at + 8 * calls),
                ("__start___param", at + 0x1000),
                ("__stop___param", at + 0x1000 + 40 * parameters),
            ];
            let lines = all.map(|(name, at)| format!("{at:016x} D {name}\n"));
            Symbols::from_map(&lines.concat()).unwrap()
        };
        let base = kernel(0x1000, 5, 3);
        assert_eq!(more(&base, &kernel(0x2000, 5, 3)), None);
        assert!(more(&base, &kernel(0x2000, 6, 3)).unwrap().contains("late_initcall"));
        assert!(more(&base, &kernel(0x1000, 5, 4)).unwrap().contains("module_param"));
        // A table that is gone is another one, too.
        let without = Symbols::from_map("0000000000001000 D __initcall_start\n").unwrap();
        assert!(more(&base, &without).is_some());
    }
}
