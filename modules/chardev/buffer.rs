// SPDX-License-Identifier: GPL-2.0

//! The driver: one minor, a buffer of up to [`CAPACITY`] bytes and a value beside it.

#![forbid(unsafe_code)]

use crate::{
    cdev::{CharDevice, Position},
    series::user_slice,
};
use kernel::{
    ioctl::{_IO, _IOR, _IOW},
    new_mutex,
    prelude::*,
    sync::Mutex,
    uaccess::{UserSliceReader, UserSliceWriter},
};

/// What a minor can hold, in bytes. Writing past it is ENOSPC, seeking past it EINVAL.
const CAPACITY: usize = 4096;

/// The letter of our ioctl numbers, one that the kernel's own list leaves free.
const MAGIC: u32 = 0xC5;
/// Returns how many bytes the buffer holds.
const SIZE: u32 = _IO(MAGIC, 0);
/// Empties the buffer. Positions of open files stay, so a read there finds the end.
const CLEAR: u32 = _IO(MAGIC, 1);
/// Writes the value to where the argument points.
const GET_VALUE: u32 = _IOR::<i64>(MAGIC, 2);
/// Takes a new value from where the argument points.
const SET_VALUE: u32 = _IOW::<i64>(MAGIC, 3);

struct Contents {
    bytes: KVec<u8>,
    value: i64,
}

/// One minor. Its contents outlive the files that are open on it; they go with the module.
#[pin_data]
pub(crate) struct Buffer {
    // Never held while user memory is touched: a page fault there may take for ever.
    #[pin]
    contents: Mutex<Contents>,
}

impl Buffer {
    /// An empty buffer with the value 0.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            contents <- new_mutex!(Contents { bytes: KVec::new(), value: 0 }),
        })
    }
}

impl CharDevice for Buffer {
    const SEEK_LIMIT: usize = CAPACITY;

    fn end(&self) -> usize {
        self.contents.lock().bytes.len()
    }

    fn read(&self, at: usize, out: &mut UserSliceWriter) -> Result<usize> {
        let mut copy = KVec::new();
        {
            let contents = self.contents.lock();
            let rest = contents.bytes.get(at..).unwrap_or_default();
            let n = rest.len().min(out.len());
            copy.extend_from_slice(&rest[..n], GFP_KERNEL)?;
        }
        out.write_slice(&copy)?;
        Ok(copy.len())
    }

    fn write(&self, at: Position, data: &mut UserSliceReader) -> Result<(usize, usize)> {
        // All user memory is read before anything changes, so that a bad pointer changes nothing.
        let mut copy = KVec::new();
        copy.extend_with(data.len().min(CAPACITY), 0, GFP_KERNEL)?;
        data.read_slice(&mut copy)?;

        let mut contents = self.contents.lock();
        let start = match at {
            Position::At(at) => at,
            Position::End => contents.bytes.len(),
        };
        if copy.is_empty() {
            return Ok((0, start));
        }
        let n = copy.len().min(CAPACITY.saturating_sub(start));
        if n == 0 {
            return Err(ENOSPC);
        }
        let end = start + n;
        if contents.bytes.len() < end {
            let missing = end - contents.bytes.len();
            // What lies between the old end and the position reads as zeroes.
            contents.bytes.extend_with(missing, 0, GFP_KERNEL)?;
        }
        contents.bytes[start..end].copy_from_slice(&copy[..n]);
        Ok((n, end))
    }

    fn ioctl(&self, command: u32, argument: usize) -> Result<usize> {
        let user = || user_slice(argument, core::mem::size_of::<i64>());
        match command {
            SIZE => Ok(self.end()),
            CLEAR => {
                self.contents.lock().bytes = KVec::new();
                Ok(0)
            }
            GET_VALUE => {
                let value = self.contents.lock().value;
                user().writer().write(&value)?;
                Ok(0)
            }
            SET_VALUE => {
                let value = user().reader().read()?;
                self.contents.lock().value = value;
                Ok(0)
            }
            _ => Err(ENOTTY),
        }
    }
}
