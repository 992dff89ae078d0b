//! The memory that a call's pointers point to.

use nix::{
    errno::Errno,
    sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap},
};
use protocol::{Arg, Door};
use std::{ffi::c_void, num::NonZeroUsize, ptr::NonNull};

const PAGE: usize = 4096;

/// The largest buffer that comes back, in bytes. Six of them still fit into one frame.
pub const MAX_OUT: usize = 1 << 20;

/// The buffers of one call, laid out so that each ends where a page ends, with an unmapped page behind
/// it: whoever writes past a buffer's end gets a fault instead of a neighbour's memory.
///
/// A buffer therefore begins where its size says. A C object's size is a multiple of its alignment, so
/// an object that fills its buffer is aligned.
pub struct Buffers {
    /// Of no meaning where there are none.
    map: NonNull<c_void>,
    size: usize,
    /// Offset of each argument's first byte, for the arguments that are buffers.
    offsets: Vec<Option<usize>>,
}

impl Buffers {
    /// Maps and fills the buffers of these arguments. For [`Door::Int80`] they lie in the low 2 GiB,
    /// where a 32-bit register reaches.
    ///
    /// # Errors
    /// A sentence for the harness: too large, or no memory.
    pub fn new(door: Door, args: &[Arg]) -> Result<Self, String> {
        let mut offsets = Vec::with_capacity(args.len());
        let mut size = 0usize;
        for (index, arg) in args.iter().enumerate() {
            let Some((length, comes_back)) = extent(arg) else {
                offsets.push(None);
                continue;
            };
            if comes_back && length > MAX_OUT {
                return Err(format!(
                    "argument {index} is a buffer of {length} bytes (at most {MAX_OUT} can come back)"
                ));
            }
            let room = length.next_multiple_of(PAGE);
            offsets.push(Some(size + room - length));
            size += room + PAGE;
        }
        let Some(length) = NonZeroUsize::new(size) else {
            return Ok(Self { map: NonNull::dangling(), size, offsets });
        };
        let mut flags = MapFlags::MAP_PRIVATE;
        if door == Door::Int80 {
            flags |= MapFlags::MAP_32BIT;
        }
        let no_memory = |errno: Errno| format!("no memory for the call's buffers: {}", errno.desc());
        // SAFETY: a new anonymous mapping at an address that the kernel chooses touches nothing of ours.
        let map = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_NONE, flags) }.map_err(no_memory)?;
        let buffers = Self { map, size, offsets };
        for (index, arg) in args.iter().enumerate() {
            let (Some(offset), Some((length @ 1.., _))) = (buffers.offsets[index], extent(arg)) else {
                continue;
            };
            let start = offset / PAGE * PAGE;
            // SAFETY: from `start` to the buffer's end are whole pages of this mapping, which nobody
            // else knows of yet.
            unsafe {
                let page = buffers.map.byte_add(start);
                mprotect(page, offset + length - start, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
                    .map_err(no_memory)?;
            }
            if let Arg::In(bytes) | Arg::InOut(bytes) = arg {
                // SAFETY: `bytes.len()` bytes from `offset` on were made writable just now.
                unsafe {
                    let to = buffers.map.byte_add(offset).cast::<u8>();
                    to.copy_from_nonoverlapping(NonNull::from(&bytes[..]).cast(), bytes.len());
                }
            }
        }
        Ok(buffers)
    }

    /// What goes into the registers; at most six arguments are looked at.
    pub fn registers(&self, args: &[Arg]) -> [u64; 6] {
        let mut registers = [0; 6];
        for ((register, arg), offset) in registers.iter_mut().zip(args).zip(&self.offsets) {
            *register = match (arg, offset) {
                (Arg::Int(value), _) => *value,
                (_, Some(offset)) => self.map.as_ptr() as u64 + *offset as u64,
                (_, None) => 0,
            };
        }
        registers
    }

    /// The contents of the buffers that come back, in their order.
    pub fn collect(&self, args: &[Arg]) -> Vec<Vec<u8>> {
        let mut data = Vec::new();
        for (arg, offset) in args.iter().zip(&self.offsets) {
            let (Some((length, true)), Some(offset)) = (extent(arg), offset) else { continue };
            let mut bytes = vec![0; length];
            // SAFETY: `length` bytes from `offset` on are readable unless the call took them away;
            // then this process, the worker, dies here, and PID 1 reports that.
            unsafe {
                let from = self.map.byte_add(*offset).cast::<u8>();
                from.copy_to_nonoverlapping(NonNull::from(&mut bytes[..]).cast(), length);
            }
            data.push(bytes);
        }
        data
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.size == 0 {
            return;
        }
        // SAFETY: the mapping is ours and ends with `self`. If the call has unmapped it already, this
        // unmaps nothing: no other thread could have mapped something there in the meantime.
        let _ = unsafe { munmap(self.map, self.size) };
    }
}

/// Length, and whether the content comes back.
fn extent(arg: &Arg) -> Option<(usize, bool)> {
    match arg {
        Arg::Int(_) => None,
        Arg::In(bytes) => Some((bytes.len(), false)),
        Arg::Out(length) => Some((*length as usize, true)),
        Arg::InOut(bytes) => Some((bytes.len(), true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call;

    fn read_zeros(to: u64, length: u64) -> i64 {
        let zeros = std::fs::File::open("/dev/zero").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&zeros) as u64;
        // SAFETY: reads into a buffer that nobody else knows of, or where the kernel refuses to write.
        unsafe { call::raw(Door::Syscall64, libc::SYS_read as u64, &[fd, to, length, 0, 0, 0]) }
    }

    #[test]
    fn contents_go_in_and_come_back() {
        let args = [Arg::InOut(b"abc".to_vec()), Arg::In(b"in".to_vec()), Arg::Int(9), Arg::Out(5000)];
        let buffers = Buffers::new(Door::Syscall64, &args).unwrap();
        assert_eq!(buffers.registers(&args)[2], 9);
        assert_eq!(buffers.collect(&args), [b"abc".to_vec(), vec![0; 5000]]);
    }

    #[test]
    fn a_buffer_ends_at_a_page_that_nobody_can_write() {
        for length in [1u32, 8, 12, 4095, 4096, 4097] {
            let args = [Arg::Out(length), Arg::In(vec![1; 8])];
            let buffers = Buffers::new(Door::Syscall64, &args).unwrap();
            let start = buffers.registers(&args)[0];
            let length = u64::from(length);
            assert_eq!(read_zeros(start, length), length as i64);
            assert_eq!(read_zeros(start + length, 1), -i64::from(libc::EFAULT), "after {length} bytes");
        }
    }

    #[test]
    fn an_empty_buffer_has_an_address_and_no_room() {
        let args = [Arg::Out(0)];
        let buffers = Buffers::new(Door::Syscall64, &args).unwrap();
        let start = buffers.registers(&args)[0];
        assert_ne!(start, 0);
        assert_eq!(read_zeros(start, 1), -i64::from(libc::EFAULT));
        assert_eq!(buffers.collect(&args), [Vec::<u8>::new()]);
    }

    #[test]
    fn objects_are_aligned_as_c_wants_them() {
        for (size, align) in [(4u32, 4u64), (8, 8), (16, 16), (24, 8), (4096, 4096)] {
            let args = [Arg::Out(size)];
            let buffers = Buffers::new(Door::Syscall64, &args).unwrap();
            assert_eq!(buffers.registers(&args)[0] % align, 0);
        }
    }

    #[test]
    fn buffers_for_int80_are_where_32_bits_reach() {
        let args = [Arg::In(vec![0; 100_000]), Arg::Out(100_000)];
        let buffers = Buffers::new(Door::Int80, &args).unwrap();
        assert!(buffers.registers(&args).iter().all(|r| *r < 1 << 32));
    }

    #[test]
    fn a_buffer_over_the_limit_is_refused() {
        let limit = MAX_OUT as u32;
        assert!(Buffers::new(Door::Syscall64, &[Arg::Out(limit)]).is_ok());
        let why = Buffers::new(Door::Syscall64, &[Arg::Int(0), Arg::Out(limit + 1)]).err().unwrap();
        assert_eq!(why, "argument 1 is a buffer of 1048577 bytes (at most 1048576 can come back)");
    }
}
