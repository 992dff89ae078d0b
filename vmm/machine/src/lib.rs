//! A KVM virtual machine: guest memory, vCPUs, interrupt lines, one bus.
//!
//! This crate is the microkernel of the project: it names no device, no system call and no scenario.
//! Devices hang on the [`Bus`] and pull an [`InterruptLine`]; who watches the guest does so through
//! [`Processor`] and [`AddressSpace`]. It is also the only crate of the host side with `unsafe` in it.
//!
//! Principles: the guest is hostile, so nothing that it does may panic, loop or allocate without bound;
//! KVM's unions are taken apart in one file (`vcpu.rs`), the processor's words
//! are in another (`x86.rs`); every address has a type.

#![warn(missing_docs)]

mod address_space;
pub mod boot;
mod breakpoints;
mod bus;
mod cpuid;
mod descriptors;
mod error;
mod exit;
mod interrupt;
mod kick;
pub mod layout;
mod memory;
mod probe;
mod processor;
pub mod saved;
pub mod state;
pub mod tsc;
mod vcpu;
mod vm;
pub mod x86;

pub use address_space::{AddressSpace, AtOnce, GuestVirtualAddress};
pub use breakpoints::{Breakpoint, Breakpoints, Condition, Need, SLOTS, Subscriber};
pub use bus::{Bus, BusDevice, Effect, Space};
pub use descriptors::pass_none_on;
pub use error::{Error, Result};
pub use exit::{Exit, Failure};
pub use interrupt::InterruptLine;
pub use kick::Kicker;
pub use memory::{Memory, create as create_memory, holds, load};
pub use probe::{Findings, probe};
pub use processor::{Controls, Processor, Standing};
pub use vcpu::Vcpu;
pub use vm::{Blank, Vm};
pub use x86::Registers;
