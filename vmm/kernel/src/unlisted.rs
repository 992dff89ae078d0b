//! System calls that a patch defines and no table lists: the kernel builds, and nobody can call them.

use crate::{
    patch::Series,
    syscall_table::{self, Abi, Line, TABLES},
};
use regex::Regex;
use std::{path::Path, sync::LazyLock};

/// A line for each. `source` has the patches on it.
pub fn find(series: &Series, source: &Path) -> Vec<String> {
    static ADDED: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?m)^\+\s*SYSCALL_DEFINE\d\s*\(\s*(\w+)").expect("a constant that tests use")
    });
    let lines = syscall_table::lines(source);
    let mut all = Vec::new();
    for patch in &series.patches {
        let text = String::from_utf8_lossy(&patch.text);
        for name in ADDED.captures_iter(&text).map(|found| found[1].to_owned()) {
            all.extend(
                why_not(&name, &lines)
                    .map(|why| format!("{} defines the system call {name}, but {why}", patch.path.display())),
            );
        }
    }
    all
}

/// Why 64-bit programs can't make a call, if they can't.
fn why_not(name: &str, lines: &[Line]) -> Option<String> {
    let function = format!("sys_{name}");
    let own = |line: &Line| line.name == name || line.functions.contains(&function);
    let wide: Vec<&Line> = lines.iter().filter(|line| own(line) && line.table == "syscall_64.tbl").collect();
    if wide.iter().any(|line| line.callers() == Some(Abi::X64) && line.functions.first() == Some(&function)) {
        return None;
    }
    if let Some(line) = wide.first() {
        let what = match (line.callers(), line.functions.first()) {
            (None, _) => {
                format!("is for the ABI `{}`, which these kernels don't have; write 64 or common", line.abi)
            }
            (_, Some(other)) => format!("leads to {other}; the fourth column is {function}"),
            (_, None) => format!("names no function; the fourth column is {function}"),
        };
        return Some(format!("nobody can call it: {} {what}", line.place()));
    }
    let who = match lines.iter().find(|line| own(line)) {
        Some(line) if line.callers().is_some() => {
            format!("{} alone has it, so only 32-bit programs can call it", line.place())
        }
        _ => "no table has it, so nobody can call it".to_owned(),
    };
    Some(format!(
        "{who}; a line for {TABLES}/syscall_64.tbl: 548 64 {name} {function} (with a number that is free)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture::write, patch::Patch};

    #[test]
    fn a_call_that_is_defined_and_not_listed_is_told() {
        let text = b"+SYSCALL_DEFINE2(mine, int, a, int, b)\n+SYSCALL_DEFINE0(renamed)\n-SYSCALL_DEFINE0(gone)\n+SYSCALL_DEFINE1(yours, int, a)\n".to_vec();
        let series = Series { patches: vec![Patch { path: "1.patch".into(), text }], recipe: None };
        let source = tempfile::tempdir().unwrap();
        let table = "548\t64\tmine\tsys_mine\n549\t64\tother\tsys_renamed # sys_yours\n";
        write(&source.path().join("arch/x86/entry/syscalls/syscall_64.tbl"), table);
        let found = find(&series, source.path());
        let [line] = &found[..] else { panic!("{found:?}") };
        assert!(line.starts_with("1.patch defines the system call yours, but no table has it"), "{line}");
        // Whoever copies it from a terminal gets no tabs.
        assert!(line.contains(": 548 64 yours sys_yours (") && base::text::escape(line) == *line, "{line}");
    }

    #[test]
    fn a_line_that_makes_no_call_is_told_with_what_to_write_there() {
        let of = |wide: &str, narrow: &str| {
            let source = tempfile::tempdir().unwrap();
            write(
                &source.path().join(TABLES).join("syscall_64.tbl"),
                &format!("0 common read sys_read\n{wide}\n"),
            );
            write(&source.path().join(TABLES).join("syscall_32.tbl"), narrow);
            why_not("hello", &syscall_table::lines(source.path()))
        };
        assert_eq!(of("548 common hello sys_hello", ""), None);
        assert_eq!(of("548 64 other sys_hello - noreturn", ""), None);
        for (wide, narrow, wanted) in [
            (
                "548 x64 hello sys_hello",
                "",
                "syscall_64.tbl:2 is for the ABI `x64`, which these kernels don't have; write 64",
            ),
            ("548 common hello", "", "syscall_64.tbl:2 names no function; the fourth column is sys_hello"),
            (
                "548 64 hello sys_read",
                "",
                "syscall_64.tbl:2 leads to sys_read; the fourth column is sys_hello",
            ),
            (
                "",
                "472 i386 hello sys_hello",
                "syscall_32.tbl:1 alone has it, so only 32-bit programs can call it; a line for",
            ),
        ] {
            let why = of(wide, narrow).unwrap();
            assert!(why.contains(wanted), "{why}");
        }
    }
}
