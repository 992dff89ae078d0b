//! System calls that a patch defines and no table lists: the kernel builds, and nobody can call them.

use crate::{patch::Series, syscall_table};
use regex::Regex;
use std::{collections::BTreeSet, path::Path, sync::LazyLock};

/// A line for each. `source` has the patches on it.
pub fn find(series: &Series, source: &Path) -> Vec<String> {
    static ADDED: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?m)^\+\s*SYSCALL_DEFINE\d\s*\(\s*(\w+)").expect("a constant that tests use")
    });
    let listed: BTreeSet<String> =
        syscall_table::lines(source).into_iter().flat_map(|line| line.functions).collect();
    let mut all = Vec::new();
    for patch in &series.patches {
        let text = String::from_utf8_lossy(&patch.text);
        for name in ADDED.captures_iter(&text).map(|found| found[1].to_owned()) {
            if !listed.contains(&format!("sys_{name}")) {
                all.push(format!(
                    "{} defines the system call {name}, but no table has it, so nobody can call it; a line for \
                     arch/x86/entry/syscalls/syscall_64.tbl: 548 64 {name} sys_{name} (with a number that is free)",
                    patch.path.display()
                ));
            }
        }
    }
    all
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
}
