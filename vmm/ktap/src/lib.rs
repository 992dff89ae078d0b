//! Test results as kernel tests print them: KTAP (the kernel's Documentation/dev-tools/ktap.rst), the TAP that it comes
//! from, and what kselftest's and KUnit's runners make of both.
//!
//! A [`Parser`] takes a program's output or a kernel's log line by line, with whatever else stands between the results, and gives a
//! [`Summary`]: every test with its name, and what is wrong with the whole. Whoever prints may be anybody, so names, depth and number of
//! results are bounded.
//!
//! It judges no run, and knows nothing of where the lines come from.

#![forbid(unsafe_code)]

mod line;
mod numbers;
mod parser;
mod result;
mod stamp;
mod totals;

#[cfg(test)]
mod tests;

pub use parser::Parser;
pub use result::{Outcome, Summary, Test};
