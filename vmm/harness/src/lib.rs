//! From a scenario in YAML to a verdict and its reports.
//!
//! Data flows one way: [`scenario`] reads YAML, [`lower`] makes a [`plan`] of it, which is what a machine
//! is to do; [`event`] is what happened; [`judge`] compares the two and [`report`] shows it. The engine
//! alone talks to a machine; reporters only read events.

#![forbid(unsafe_code)]

pub mod bench;
mod explain;
#[cfg(test)]
mod fixture;
pub mod judge;
pub mod report;
pub mod run;
