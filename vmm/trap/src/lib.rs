//! Evidence: what the hypervisor sees of a guest, whatever the guest says.
//!
//! [`SyscallTrap`] counts system calls at the kernel's entry points; [`KernelLog`] reads the printk ring
//! buffer out of guest memory. Both read the guest and never trust it.

#![forbid(unsafe_code)]

mod agent_text;
mod bytes;
mod chain;
mod code;
mod door;
mod kernel;
mod landmarks;
mod oddity;
mod own;
mod pairs;
mod printk;
mod programs;
mod seen;
mod syscall;
mod tally;
mod task;
mod walk;
mod witness;

pub use agent_text::AgentText;
pub use bytes::ByteCounts;
pub use code::{Code, Digest, Key, PAGE, digest};
pub use door::{Door, ENTRY_MSRS, Place, entry_name};
pub use kernel::{Child, KernelState, SLEEPING_FUNCTIONS, SeenModules, Sleeper, Still};
pub use landmarks::{Function, Landmarks, SYMBOLS};
pub use oddity::Oddity;
pub use own::{OwnBreakpoints, hand_on};
pub use pairs::Pairs;
pub use printk::{Caller, KernelLog, LogPosition, LogRecord};
pub use programs::Exit;
pub use seen::Seen;
pub use syscall::{Agent, Order, SyscallTrap, TrapError};
pub use tally::{Call, MOST_IN_ROW, MOST_ROWS, Origin, Tallies, Tally, Untold};
pub use task::Process;
pub use walk::{Stop, Walk, WalkOrder, Walker};
pub use witness::{Difference, Expected, Sight, Sighting, Witness};
