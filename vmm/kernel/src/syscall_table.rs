//! The system calls of one kernel, from its own tables.
//!
//! `arch/x86/entry/syscalls/syscall_64.tbl` and `syscall_32.tbl` have a call per line: number, ABI, name,
//! entry points. They come from the patched source, so that a call that a patch adds has its name too.

use jail::intake;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};
use thiserror::Error;

/// Whose numbers they are: a number means one call to 64-bit callers, and another to 32-bit ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// `syscall` from 64-bit code.
    X64,
    /// All other ways in.
    Ia32,
}

impl From<protocol::Door> for Abi {
    fn from(door: protocol::Door) -> Self {
        match door {
            protocol::Door::Syscall64 => Self::X64,
            protocol::Door::Int80 => Self::Ia32,
        }
    }
}

impl From<board::wire::Door> for Abi {
    fn from(door: board::wire::Door) -> Self {
        use board::wire::Door;
        match door {
            Door::Syscall64 => Self::X64,
            Door::Syscall32 | Door::Sysenter | Door::Int80 => Self::Ia32,
        }
    }
}

/// A line that is no system call.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("read {table}, line {line}: expected \"NUMBER ABI NAME [ENTRY]\", found \"{text}\"")]
pub struct TableError {
    /// Which file.
    pub table: &'static str,
    /// Counted from 1.
    pub line: usize,
    /// What stands there.
    pub text: String,
}

/// Numbers and names, for 64-bit and for 32-bit callers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyscallTable {
    /// ABI `common` and `64`. The x32 calls are another ABI, which our kernels don't have.
    wide: BTreeMap<u64, String>,
    /// ABI `i386`.
    narrow: BTreeMap<u64, String>,
}

impl SyscallTable {
    /// Reads the two tables' text.
    ///
    /// # Errors
    /// A line that is neither empty, a comment, nor a call.
    pub fn parse(table_64: &str, table_32: &str) -> Result<Self, TableError> {
        Ok(Self {
            wide: parse("syscall_64.tbl", table_64, &["common", "64"])?,
            narrow: parse("syscall_32.tbl", table_32, &["i386"])?,
        })
    }

    /// From the headers `unistd_64.h` and `unistd_32.h` that the kernel's build made of the tables.
    pub fn from_headers(text: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| {
            let text = text(name).unwrap_or_default();
            let lines = text.lines().filter_map(|line| line.strip_prefix("#define __NR_")?.split_once(' '));
            lines.filter_map(|(name, nr)| Some((nr.trim().parse().ok()?, name.to_owned()))).collect()
        };
        Self { wide: read("unistd_64.h"), narrow: read("unistd_32.h") }
    }

    /// The name of a number that came through a door.
    pub fn name(&self, abi: impl Into<Abi>, nr: u64) -> Option<&str> {
        self.table(abi).get(&nr).map(String::as_str)
    }

    /// The number to ask for at this door.
    pub fn number(&self, abi: impl Into<Abi>, name: &str) -> Option<u64> {
        self.table(abi).iter().find(|(_, it)| *it == name).map(|(nr, _)| *nr)
    }

    /// All names at this door, in the order of their numbers.
    pub fn names(&self, abi: impl Into<Abi>) -> impl Iterator<Item = &str> {
        self.table(abi).values().map(String::as_str)
    }

    fn table(&self, abi: impl Into<Abi>) -> &BTreeMap<u64, String> {
        match abi.into() {
            Abi::X64 => &self.wide,
            Abi::Ia32 => &self.narrow,
        }
    }
}

/// A line of one of a source's tables, right or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// `syscall_64.tbl` or `syscall_32.tbl`.
    pub table: &'static str,
    /// Counted from 1.
    pub line: usize,
    /// The call's number.
    pub nr: u64,
    /// Who may call it: `common`, `64`, `x32`, `i386`, or what else stands there.
    pub abi: String,
    /// The call's name.
    pub name: String,
    /// What stands behind its name: `sys_read`, `compat_sys_read`, `noreturn`.
    pub functions: Vec<String>,
}

impl Line {
    /// As compilers name places.
    pub fn place(&self) -> String {
        format!("{TABLES}/{}:{}", self.table, self.line)
    }

    /// Who can make the call; `None` where the ABI is none that our kernels have.
    pub fn callers(&self) -> Option<Abi> {
        match (self.table, &*self.abi) {
            ("syscall_64.tbl", "common" | "64") => Some(Abi::X64),
            ("syscall_32.tbl", "i386") => Some(Abi::Ia32),
            _ => None,
        }
    }
}

/// Where a source has its tables.
pub(crate) const TABLES: &str = "arch/x86/entry/syscalls";

/// The lines of a source's tables.
pub(crate) fn lines(source: &Path) -> Vec<Line> {
    let mut all = Vec::new();
    for table in ["syscall_64.tbl", "syscall_32.tbl"] {
        let text = intake::read_within(source, Path::new(TABLES).join(table)).unwrap_or_default();
        all.extend(text.lines().enumerate().filter_map(|(index, line)| {
            let mut fields = line.split('#').next()?.split_whitespace().map(str::to_owned);
            let (nr, abi, name) = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?);
            Some(Line { table, line: index + 1, nr, abi, name, functions: fields.collect() })
        }));
    }
    all
}

fn parse(table: &'static str, text: &str, abis: &[&str]) -> Result<BTreeMap<u64, String>, TableError> {
    let mut calls = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let code = line.split('#').next().unwrap_or_default();
        let mut fields = code.split_whitespace();
        let Some(nr) = fields.next() else { continue };
        match (nr.parse(), fields.next(), fields.next()) {
            (Ok(nr), Some(abi), Some(name)) => {
                if abis.contains(&abi) {
                    calls.insert(nr, name.to_owned());
                }
            }
            _ => return Err(TableError { table, line: index + 1, text: line.to_owned() }),
        }
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use board::wire::Door;

    const TABLE_64: &str = "# 64-bit\n\n0\tcommon\tread\t\t\tsys_read\n13\t64\trt_sigaction\t\tsys_rt_sigaction\n\
        134\t64\tuselib\n60\tcommon\texit\t\t\tsys_exit\t\t\t-\t\t\tnoreturn\n\
        512\tx32\trt_sigaction\t\tcompat_sys_rt_sigaction\n548\tcommon\tcsci_add\t\tsys_csci_add # ours\n";
    const TABLE_32: &str = "3\ti386\tread\t\t\tsys_read\n";

    fn table() -> SyscallTable {
        SyscallTable::parse(TABLE_64, TABLE_32).unwrap()
    }

    #[test]
    fn names_depend_on_the_door() {
        assert_eq!(table().name(Door::Syscall64, 0), Some("read"));
        assert_eq!(table().name(Door::Int80, 3), Some("read"));
        assert_eq!(table().name(Door::Syscall64, 3), None);
        assert_eq!(table().number(Door::Sysenter, "read"), Some(3));
    }

    #[test]
    fn a_call_that_a_patch_added_has_its_name() {
        assert_eq!(table().number(Door::Syscall64, "csci_add"), Some(548));
    }

    #[test]
    fn headers_say_the_same_as_tables() {
        let text = |name: &str| match name {
            "unistd_64.h" => Some("#ifndef X\n#define __NR_read 0\n#define __NR_syscalls 451\n".to_owned()),
            _ => None,
        };
        let table = SyscallTable::from_headers(text);
        assert_eq!((table.name(Door::Syscall64, 0), table.name(Door::Int80, 3)), (Some("read"), None));
    }

    #[test]
    fn x32_calls_are_left_out() {
        assert_eq!(table().name(Door::Syscall64, 512), None);
        assert_eq!(table().number(Door::Syscall64, "rt_sigaction"), Some(13));
    }

    #[test]
    fn calls_without_entry_point_have_names() {
        assert_eq!(table().name(Door::Syscall64, 134), Some("uselib"));
        assert_eq!(table().names(Door::Syscall64).count(), 5);
    }

    #[test]
    fn a_broken_line_is_shown() {
        let error = SyscallTable::parse("0 common read\nfoo\n", "").unwrap_err();
        assert_eq!(error, TableError { table: "syscall_64.tbl", line: 2, text: "foo".to_owned() });
    }
}
