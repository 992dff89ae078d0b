//! From a scenario in YAML to a verdict and its reports.
//!
//! Data flows one way: [`scenario`] reads YAML, [`plan`] is what a machine is to do, [`event`] is what
//! happened. The engine alone talks to a machine; reporters only read events.

#![forbid(unsafe_code)]

pub mod cache;
pub mod event;
pub mod interrupt;
pub mod kernel;
pub mod module;
pub mod plan;
pub mod progress;
pub mod symbols;
pub mod syscall_table;
