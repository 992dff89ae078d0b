//! What the commands do: [`run`] takes a scenario from its file to its verdict, and [`bench`] compares what that costs
//! with what else there is.
//!
//! All the steps of the way are crates of their own; here they are put one behind the other, and nothing else.

#![forbid(unsafe_code)]

pub mod bench;
pub mod run;
