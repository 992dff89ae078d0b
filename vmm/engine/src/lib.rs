//! The engine: boots a plan's machine, asks the agent step by step, and tells what happened ([`event`]).
//!
//! It is the only part that talks to a machine process, and it judges nothing. Whatever the guest or
//! the machine process does, a run ends within the plan's time limits (and some seconds for the last
//! questions to the machine process). Time in which this process was stopped, or held by whoever reads what it tells, is no part of that.

#![forbid(unsafe_code)]

mod begin;
pub mod event;
mod execute;
mod guest;
pub mod link;
mod machines;
mod operand;
pub mod output;
mod process;
mod step;
mod witness;

pub use execute::{EngineError, execute};
pub use machines::Machines;
