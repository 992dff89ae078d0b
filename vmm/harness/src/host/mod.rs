//! Where machines run.

pub mod emulated;
