//! Benchmarks: what the speed of this program is compared with, side by side in one run.
//!
//! Machines are noisy. So nothing here passes or fails by a time: contenders take turns on the same host, and
//! what is printed are their smallest, middle and largest times and the ratio of the middle ones. Only [`exact`] counts
//! instructions, and can compare them with a table.

pub mod build;
pub mod calls;
pub mod exact;
mod measure;
mod spread;
mod table;
pub mod warm;

pub use exact::{Table, measure as measure_exact};
pub use measure::{measure_boot, measure_build, measure_calls, measure_warm};
pub use spread::Spread;
pub use table::{boot as boot_table, build as build_table, calls as calls_table};
