//! What is known of a kernel before it boots: where its symbols are, and where its structures keep what.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::Range};

/// The kernel symbols that are made use of where they are there.
pub const SYMBOLS: &[&str] = &[
    "prb",
    "init_top_pgt",
    "do_syscall_64",
    "entry_SYSCALL32_ignore",
    "ignore_sysret",
    "current_task",
    "pcpu_hot",
    "init_task",
    "modules",
    "tainted_mask",
    // What the kernel counts of its own reports, and whether it logs.
    "warn_count",
    "oops_count",
    "panic_cpu",
    "suppress_printk",
    "finish_task_switch",
    "arch_install_hw_breakpoint",
    // The kernel's image, and where it patches it itself.
    "_text",
    "_etext",
    "_end",
    "__start_rodata",
    "__end_rodata",
    "__start___jump_table",
    "__stop___jump_table",
    "__start_static_call_sites",
    "__stop_static_call_sites",
    "__static_call_text_start",
    "__static_call_text_end",
    // Which of its warnings it gives but once.
    "__start___bug_table",
    "__stop___bug_table",
];

/// A kernel's landmarks; none of a kernel that came without symbols.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landmarks {
    /// Addresses of variables and functions, as linked: those of [`SYMBOLS`] that it has.
    pub symbols: BTreeMap<String, u64>,
    /// Where those of [`crate::SLEEPING_FUNCTIONS`] begin and end that it has. One name may be there several times, with what the
    /// compiler put behind it (`.constprop.0`).
    pub functions: Vec<Function>,
    /// Offsets of fields in bytes, as `struct.field`, and sizes of their own name (`THREAD_SIZE`).
    pub layout: BTreeMap<String, u64>,
}

/// A function's code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Its whole name.
    pub name: String,
    /// Its addresses.
    pub code: Range<u64>,
}

impl Landmarks {
    /// A symbol's address.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        self.symbols.get(name).copied()
    }

    /// The offset of a field, or a size.
    pub fn layout(&self, name: &str) -> Option<u64> {
        self.layout.get(name).copied()
    }
}
