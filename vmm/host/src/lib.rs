//! Where machines run: on this machine's KVM where it is sound, else on an emulated one.
//!
//! Both carry out the same plans and tell the same events. Which one it is, and why, is always said.
//! [`boot_bench`] measures a guest's boot on either.

#![forbid(unsafe_code)]

pub mod boot_bench;
mod choose;
pub mod emulated;
pub mod emulated_intel;
pub mod kvm;

pub use choose::{Choice, Chosen, Host, HostError, SERVED, choose};
