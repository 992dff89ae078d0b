//! Writes of the guest's to the registers that decide where system calls enter the kernel.

use crate::Names;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One such write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryWrite {
    /// Which vCPU's.
    pub vcpu: u8,
    /// Which register.
    pub msr: u32,
    /// What it held.
    pub from: Named,
    /// What it holds since.
    pub to: Named,
    /// The instruction that did it.
    pub by: Named,
}

/// An address, and its name where it has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The address.
    pub address: u64,
    /// `function+0x1f`
    pub name: Option<String>,
}

impl EntryWrite {
    pub(crate) fn of(write: &board::wire::EntryWrite, names: &dyn Names) -> Self {
        let named = |address| Named { address, name: names.symbol(address) };
        let (from, to, by) = (named(write.from), named(write.to), named(write.rip));
        Self { vcpu: write.vcpu, msr: write.msr, from, to, by }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            None => write!(f, "{:#x}", self.address),
            Some(name) => write!(f, "{:#x} ({name})", self.address),
        }
    }
}

impl fmt::Display for EntryWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match board::wire::entry_name(self.msr) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "MSR {:#x}", self.msr)?,
        }
        let Self { vcpu, from, to, by, .. } = self;
        write!(f, " of vCPU {vcpu} from {from} to {to}, by the instruction at {by}")
    }
}
