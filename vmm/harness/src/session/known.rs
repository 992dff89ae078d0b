//! What is known of the kernel of a run, for a person's eyes.

use super::home::Home;
use board::wire::Door;
use judge::Names;
use kernel::{
    lines::{Code, Lines, Place, Stands},
    symbols::Symbols,
    syscall_table::SyscallTable,
};
use std::collections::BTreeMap;

/// The kernel's symbols, calls and debug info, the modules' parameters, and the user's folders.
pub(super) struct Known {
    pub calls: SyscallTable,
    pub symbols: Symbols,
    pub home: Home,
    pub lines: Lines,
    /// The modules', by the names that the kernel gives them.
    pub parameters: BTreeMap<String, Vec<String>>,
}

impl Names for Known {
    fn syscall(&self, door: Door, nr: u64) -> Option<String> {
        self.calls.name(door, nr).map(str::to_owned)
    }

    fn symbol(&self, address: u64) -> Option<String> {
        self.symbols.function(address).map(|(name, offset)| format!("{name}+{offset:#x}"))
    }

    fn at_home(&self, line: &str) -> Option<String> {
        self.home.line(line)
    }

    fn source(&self, code: &Code, stands: Stands) -> Option<Place> {
        self.lines.find(code, stands)
    }

    fn parameters(&self, module: &str) -> Option<&[String]> {
        self.parameters.get(module).map(Vec::as_slice)
    }
}
