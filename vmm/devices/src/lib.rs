//! The devices: each is one file, sees only its own registers, its queues and an interrupt line.
//!
//! All of them are hostile territory: the guest chooses every register value and every descriptor.
//! What breaks the rules is dropped and counted, never trusted.

#![forbid(unsafe_code)]

mod cmos;
mod console;
#[cfg(test)]
mod console_test;
#[cfg(test)]
mod driver;
mod i8042;
mod mmio;
#[cfg(test)]
mod mmio_test;
mod queue;
#[cfg(test)]
mod queue_test;
mod serial;
mod state;
#[cfg(test)]
mod width_test;

pub use cmos::Cmos;
pub use console::{Console, ConsoleState, Sink};
pub use i8042::I8042;
pub use mmio::{VirtioDevice, VirtioMmio, VirtioState};
pub use queue::{Broken, Chain, Queues};
pub use serial::{SerialPort, SerialState};
pub use state::{BadState, Device, Stateful};

/// Raises one edge on a device's interrupt line.
pub type Interrupt = std::sync::Arc<dyn Fn() + Send + Sync>;
