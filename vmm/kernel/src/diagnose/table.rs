//! Lines in the tables of system calls that the kernel's build takes for something else than was meant.

use crate::syscall_table::{self, Line};
use std::path::Path;

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

/// Of a table that is not sorted (scripts/syscalltbl.sh), which line is at fault. `source` is the kernel's whole source.
pub fn of_disorder(said: &str, source: &Path) -> Option<String> {
    let (path, _) = said.split_once(": syscall table is not sorted or duplicates")?;
    let name = Path::new(path).file_name()?;
    let all: Vec<Line> = syscall_table::lines(source).into_iter().filter(|line| name == line.table).collect();
    let ours: Vec<&Line> = all.iter().filter(|line| line.callers().is_some()).collect();
    let [before, line] = ours.windows(2).find(|pair| pair[1].nr <= pair[0].nr)? else { return None };
    let (place, nr) = (line.place(), line.nr);
    Some(match ours.iter().find(|it| it.nr == nr && it.line < line.line) {
        Some(same) => {
            let free = (nr..).find(|nr| all.iter().all(|it| it.nr != *nr))?;
            format!(
                "{place}: number {nr} stands in line {} already ({}); the next free one is {free}, and lines stand in the order of their \
                 numbers",
                same.line, same.name
            )
        }
        None => format!(
            "{place}: number {nr} stands behind {} of line {}; lines stand in the order of their numbers",
            before.nr, before.line
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::write;

    fn disorder(table: &str) -> Option<String> {
        let source = tempfile::tempdir().unwrap();
        write(&source.path().join(syscall_table::TABLES).join("syscall_64.tbl"), table);
        let said = "/k/arch/x86/entry/syscalls/syscall_64.tbl: syscall table is not sorted or duplicates the same syscall number";
        of_disorder(said, source.path())
    }

    #[test]
    fn a_number_that_is_taken_or_out_of_order_is_told_with_its_line() {
        let begun = "461 common a sys_a\n462 common  mseal sys_mseal\n463 64 b sys_b\n\n512 x32 c sys_c\n";
        let taken = disorder(&format!("{begun}462 common hello sys_hello\n")).unwrap();
        assert!(
            taken.contains(
                "syscall_64.tbl:6: number 462 stands in line 2 already (mseal); the next free one is 464"
            ),
            "{taken}"
        );
        let late = disorder(&format!("{begun}548 64 d sys_d\n470 64 hello sys_hello\n")).unwrap();
        assert!(late.contains("syscall_64.tbl:7: number 470 stands behind 548 of line 6;"), "{late}");
        // x32 calls are another table.
        assert_eq!(disorder(&format!("{begun}470 64 hello sys_hello\n")), None);
    }
}
