//! Benchmarks: what the speed of this program is compared with, side by side in one run.
//!
//! Machines are noisy. So nothing here passes or fails by a time: contenders take turns on the same host, and
//! what is printed are their smallest, middle and largest times and the ratio of the middle ones.

pub mod build;
pub mod calls;
mod measure;
mod spread;
mod table;

pub use measure::{measure_boot, measure_build, measure_calls};
pub use spread::Spread;
pub use table::{boot as boot_table, build as build_table, calls as calls_table};
