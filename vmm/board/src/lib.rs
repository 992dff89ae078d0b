//! One machine process: machine, devices and traps put together, driven over a socket.
//!
//! The harness starts `vmm machine serve` as a process of its own for every guest and speaks [`wire`] with
//! it; it never sees an ioctl. What the guest sends is passed on unread.

#![forbid(unsafe_code)]

pub mod command_line;
mod cpu;
mod evidence;
mod guard;
mod log;
mod outbox;
pub mod process;
pub mod saved;
mod serial_log;
pub mod slots;
mod vcpus;
pub mod wire;

#[cfg(feature = "fuzz")]
pub use serial_log::SerialLog;
