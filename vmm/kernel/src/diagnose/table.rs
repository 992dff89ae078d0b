//! Lines in the tables of system calls that the kernel's build takes for something else than was meant.

use crate::syscall_table::Line;

/// Of a function that nothing defines and a table names: an entry is `__x64_` or `__ia32_` and what the table's line says
/// (arch/x86/entry/syscall_64.c), which has to begin with `sys_` or `compat_sys_`.
pub fn of_function(symbol: &str, lines: &[Line]) -> Option<String> {
    let wide = symbol.strip_prefix("__x64_").map(|function| (function, "syscall_64.tbl"));
    let (function, table) = wide.or_else(|| Some((symbol.strip_prefix("__ia32_")?, "syscall_32.tbl")))?;
    let (line, at) = lines
        .iter()
        .filter(|line| line.table == table)
        .find_map(|line| Some((line, line.functions.iter().position(|it| it == function)?)))?;
    let (column, keyword, beginning) = match at {
        0 => ("fourth", "SYSCALL_DEFINE", "sys_"),
        _ => ("fifth", "COMPAT_SYSCALL_DEFINE", "compat_sys_"),
    };
    let (place, name) = (line.place(), &line.name);
    Some(format!(
        "{place} names {function} as the function of {name}; the {column} column is {beginning}{name}, which {keyword}2({name}, ...) makes"
    ))
}
