//! The whole state of a machine's processors and chips, as plain data that can be taken back.
//!
//! A machine's state is that of each vCPU ([`VcpuState`]), of what KVM has in the kernel beside them ([`VmState`]), its
//! memory, and what its devices hand out. All vCPUs have to be held and settled ([`crate::Processor::settle`]) before any
//! of it is taken, and no vCPU may run before all of it is back: chips first, then vCPUs, as a vCPU's local APIC may
//! hold an interrupt that the chips know of.
//!
//! Registers keep the form in which KVM has them: it is fixed by KVM's API, and nobody here computes with them.

mod tsc;
mod vcpu;
mod vm;

pub use vcpu::{Fpu, VcpuState};
pub(crate) use vcpu::{restore as restore_vcpu, save as save_vcpu};
pub use vm::VmState;

/// By their bytes: KVM's structures have unions in them.
fn same<T: serde::Serialize>(one: &T, other: &T) -> bool {
    postcard::to_allocvec(one) == postcard::to_allocvec(other)
}

#[cfg(test)]
mod tests;
