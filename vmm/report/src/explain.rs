//! One system call, explained: what the hypervisor saw of its way, for a person to read.
//!
//! [`board::wire::Walk`] has the places; [`tree`] makes the calls of functions from them, [`signature`] knows what
//! the arguments are called, [`text`] writes it down.

pub mod signature;
pub mod text;
pub mod tree;

#[cfg(test)]
mod tests;
