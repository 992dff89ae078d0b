//! A [`Plan`]: what to boot and what to ask the agent, in the agent's terms.
//!
//! [`lower`] turns a scenario's steps into system calls and programs, [`image`] makes the guest's initramfs ([`depmod`]
//! and [`ldd`] find what has to go into it), [`needs`] looks whether the kernel is one that the scenario can use.
//!
//! A plan is complete: the engine that executes it knows nothing of scenarios or kernels, so it can run here or inside
//! an emulated host. Expectations are not part of it: they are judged afterwards, from the events.

#![forbid(unsafe_code)]

pub mod code;
pub mod depmod;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod image;
pub mod ldd;
pub mod lower;
pub mod luggage;
pub mod needs;
mod plan;
pub mod programs;

pub use plan::{Bind, Call, Op, Operand, Plan, PlanStep, Role, Source, Warm, Watch, What};
pub use scenario::model::{Data, Int};
pub use scenario::result;
