// SPDX-License-Identifier: GPL-2.0

//! A character device with a few minors, each a small buffer of its own.
//!
//! - this file: what happens at insmod and rmmod
//! - `buffer.rs`: the driver, what each operation does; no unsafe code
//! - `cdev.rs`: the safe wrapper around the kernel's C interface for drivers
//! - `param.rs`: the module's parameter
//! - `series.rs`: what is not the same in all kernels that this builds for
//!
//! `README.md` beside this file says how it looks from user space.

use kernel::{c_str, prelude::*};

mod buffer;
mod cdev;
mod param;
mod series;

use buffer::Buffer;

series::described_module! {
    type: Chardev,
    name: "chardev",
    author: "the vmm authors",
    description: "Character device with a buffer for each minor",
    license: "GPL",
}

/// Number of devices: minors 0 to 3.
const MINORS: usize = 4;

/// The module while it is loaded.
struct Chardev {
    devices: cdev::Registration<Buffer>,
}

impl kernel::Module for Chardev {
    /// Runs at insmod. Whatever fails, what was made before is undone by its drop.
    fn init(module: &'static ThisModule) -> Result<Self> {
        let mut buffers = KVec::with_capacity(MINORS, GFP_KERNEL)?;
        for _ in 0..MINORS {
            buffers.push(KBox::pin_init(Buffer::new(), GFP_KERNEL)?, GFP_KERNEL)?;
        }

        let wanted = param::MAJOR.get();
        // Last of all: from here on programs can open the devices, even before this returns.
        let devices = cdev::Registration::new(c_str!("chardev"), module, wanted, buffers)
            .inspect_err(|e| pr_err!("can't register major {} (0: any): {:?}\n", wanted, e))?;

        pr_info!("registered major {}, {} minors\n", devices.major(), MINORS);
        Ok(Chardev { devices })
    }
}

impl Drop for Chardev {
    /// Runs at rmmod, and only when no device is open: each open file holds a reference to the module.
    fn drop(&mut self) {
        pr_info!("unregistered major {}\n", self.devices.major());
    }
}
