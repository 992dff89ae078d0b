//! Numbers of the system calls that steps are made of, as x86-64 Linux counts them
//! (arch/x86/entry/syscalls/syscall_64.tbl). They are part of the kernel's promise to user space and
//! never change, so plans need no kernel to be made.

#![allow(missing_docs, reason = "each is the number of the call of its name")]

pub const READ: u64 = 0;
pub const WRITE: u64 = 1;
pub const CLOSE: u64 = 3;
pub const POLL: u64 = 7;
pub const GETPID: u64 = 39;
pub const GETDENTS64: u64 = 217;
pub const LSEEK: u64 = 8;
pub const IOCTL: u64 = 16;
pub const MOUNT: u64 = 165;
pub const UMOUNT2: u64 = 166;
pub const DELETE_MODULE: u64 = 176;
pub const OPENAT: u64 = 257;
pub const MKDIRAT: u64 = 258;
pub const MKNODAT: u64 = 259;
pub const UNLINKAT: u64 = 263;
pub const FINIT_MODULE: u64 = 313;

/// `AT_FDCWD` (include/uapi/linux/fcntl.h): paths are relative to the working directory.
pub const AT_FDCWD: u64 = -100_i64 as u64;
/// `AT_REMOVEDIR` (include/uapi/linux/fcntl.h): unlinkat removes a folder.
pub const AT_REMOVEDIR: u64 = 0x200;
/// `S_IFIFO`, `S_IFCHR`, `S_IFBLK` (include/uapi/linux/stat.h).
pub const S_IFIFO: u64 = 0o010_000;
pub const S_IFCHR: u64 = 0o020_000;
pub const S_IFBLK: u64 = 0o060_000;
