// SPDX-License-Identifier: GPL-2.0

//! The parameter `major`.
//!
//! `module!` of this kernel series knows no parameters, so this file makes by hand what C's
//! `module_param(major, uint, 0444)` makes (include/linux/moduleparam.h): a record in the section that the
//! module loader searches for parameters, and two lines for modinfo.
//!
//! `#[used(compiler)]`, because plain `#[used]` marks a section to be retained by the linker: that makes it a second
//! section of the same name, and the loader looks at the first only.

use core::sync::atomic::{AtomicU32, Ordering};
use kernel::{bindings, ffi::c_void};

/// A number that insmod may set.
pub(crate) struct UintParam(AtomicU32);

impl UintParam {
    /// What insmod set, or the default.
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The major number to register; 0, the default, lets the kernel choose a free one.
pub(crate) static MAJOR: UintParam = UintParam(AtomicU32::new(0));

/// A record for the module loader.
#[repr(transparent)]
struct Record(bindings::kernel_param);

// SAFETY: The record is only read, and what it points to is either constant or (`arg`) atomic on our side; the
// loader writes there before init only, since the file in sysfs (mode 0444) can't be written.
unsafe impl Sync for Record {}

#[link_section = "__param"]
#[used(compiler)]
static MAJOR_RECORD: Record = Record(bindings::kernel_param {
    name: c"major".as_ptr().cast(),
    mod_: crate::series::this_module(),
    ops: &raw const bindings::param_ops_uint,
    perm: 0o444,
    // Not an initcall level: this parameter is nobody else's.
    level: -1,
    flags: 0,
    __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
        arg: MAJOR.0.as_ptr().cast::<c_void>(),
    },
});

#[link_section = ".modinfo"]
#[used(compiler)]
static MAJOR_TYPE: [u8; 20] = *b"parmtype=major:uint\0";

#[link_section = ".modinfo"]
#[used(compiler)]
static MAJOR_HELP: [u8; 54] = *b"parm=major:major number, 0 lets the kernel choose (0)\0";
