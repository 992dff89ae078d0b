//! Evidence: what the hypervisor sees of a guest, whatever the guest says.
//!
//! [`SyscallTrap`] counts system calls at the kernel's entry point; [`KernelLog`] reads the printk ring
//! buffer out of guest memory. Both read the guest and never trust it.

#![forbid(unsafe_code)]

mod printk;
mod syscall;

pub use printk::{KernelLog, Record};
pub use syscall::{Agent, Call, Origin, SyscallTrap, Tally, TrapError};
