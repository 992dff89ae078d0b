//! Writes an initramfs: a cpio archive in the "newc" format, the same to the bit for the same content.
//!
//! Everything that could differ from one writing to the next is fixed: entries are sorted by path,
//! inode numbers are counted, times, owners and the device are 0. The archive is not compressed:
//! in a guest that is emulated, unpacking costs more than copying.
//!
//! The format is that of the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.

#![forbid(unsafe_code)]

mod archive;
mod entry;
mod newc;

pub use archive::{Error, Extra, Initramfs};
pub use entry::{Kind, NodeKind};
