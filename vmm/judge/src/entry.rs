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
        match self.msr {
            0xc000_0080 => f.write_str("MSR_EFER")?,
            0xc000_0081 => f.write_str("MSR_STAR")?,
            0xc000_0082 => f.write_str("MSR_LSTAR")?,
            0xc000_0083 => f.write_str("MSR_CSTAR")?,
            0xc000_0084 => f.write_str("MSR_SYSCALL_MASK")?,
            0x174 => f.write_str("MSR_IA32_SYSENTER_CS")?,
            0x175 => f.write_str("MSR_IA32_SYSENTER_ESP")?,
            0x176 => f.write_str("MSR_IA32_SYSENTER_EIP")?,
            other => write!(f, "MSR {other:#x}")?,
        }
        let Self { vcpu, from, to, by, .. } = self;
        write!(f, " of vCPU {vcpu} from {from} to {to}, by the instruction at {by}")
    }
}
