// SPDX-License-Identifier: GPL-2.0

//! What kernel series spell differently. The Makefile sets `since_6_16` by the version that it builds for.

#![forbid(unsafe_code)]

use kernel::{
    bindings,
    ffi::{c_long, c_uint, c_ulong},
    uaccess::UserSlice,
};

type Ioctl = unsafe extern "C" fn(*mut bindings::file, c_uint, c_ulong) -> c_long;

/// The operation for 32-bit programs whose ioctl arguments look like ours; none in a kernel that runs no such programs.
#[cfg(not(since_6_16))]
pub(crate) const COMPAT_PTR_IOCTL: Option<Ioctl> = Some(bindings::compat_ptr_ioctl);
#[cfg(since_6_16)]
pub(crate) const COMPAT_PTR_IOCTL: Option<Ioctl> = bindings::compat_ptr_ioctl;

/// This module, as the kernel knows it.
pub(crate) const fn this_module() -> *mut bindings::module {
    #[cfg(not(since_6_16))]
    return crate::THIS_MODULE.as_ptr();
    #[cfg(since_6_16)]
    return kernel::module::this_module::<crate::Chardev>().as_ptr();
}

/// A piece of the caller's memory. Its address was a plain number at first and is a type of its own since.
pub(crate) fn user_slice(address: usize, len: usize) -> UserSlice {
    #[cfg(since_6_16)]
    let address = kernel::uaccess::UserPtr::from_addr(address);
    UserSlice::new(address, len)
}

/// `module!` with one author, which it takes as `author: "name"` or as `authors: ["name"]`.
macro_rules! described_module {
    (type: $type:tt, name: $name:tt, author: $author:tt, $($rest:tt)*) => {
        #[cfg(not(since_6_16))]
        ::kernel::prelude::module! { type: $type, name: $name, author: $author, $($rest)* }
        #[cfg(since_6_16)]
        ::kernel::prelude::module! { type: $type, name: $name, authors: [$author], $($rest)* }
    };
}
pub(crate) use described_module;
