//! The devices: each is one file, sees only its own registers, its queues and an interrupt line.
//!
//! All of them are hostile territory: the guest chooses every register value and every descriptor.
//! What breaks the rules is dropped and counted, never trusted.

#![forbid(unsafe_code)]

mod cmos;
mod console;
mod i8042;
mod mmio;
mod serial;

pub use cmos::Cmos;
pub use console::{Console, ConsoleState, Sink};
pub use i8042::I8042;
pub use mmio::{MmioState, VirtioDevice, VirtioMmio};
pub use serial::SerialPort;
