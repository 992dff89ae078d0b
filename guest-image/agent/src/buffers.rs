//! The memory that a call's pointers point to.

use nix::{
    errno::Errno,
    sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap},
};
use protocol::{Arg, Door};
use std::{ffi::c_void, marker::PhantomData, num::NonZeroUsize, ptr::NonNull};

const PAGE: usize = 4096;

/// The largest buffer that comes back, in bytes. Six of them still fit into one frame.
pub const MAX_OUT: usize = 1 << 20;

/// Memory that is mapped once, for the buffers of calls that come one after the other: who maps and unmaps for each call makes three calls
/// of its own for it, which are seen from outside, and has its pages anew each time.
pub struct Arena {
    map: NonNull<c_void>,
}

impl Arena {
    /// There is one such room for each argument, with an unmapped page behind it.
    const ROOM: usize = 64 << 10;
    const SLOT: usize = Self::ROOM + PAGE;
    const SLOTS: usize = 6;

    /// Maps it.
    ///
    /// # Errors
    /// As mmap(2) and mprotect(2).
    pub fn new() -> nix::Result<Self> {
        let size = NonZeroUsize::new(Self::SLOTS * Self::SLOT).ok_or(Errno::EINVAL)?;
        // SAFETY: a new anonymous mapping at an address that the kernel chooses touches nothing of ours.
        let map = unsafe { mmap_anonymous(None, size, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE) }?;
        for slot in 0..Self::SLOTS {
            // SAFETY: whole pages of this mapping, which nobody else knows of yet.
            unsafe {
                let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
                mprotect(map.byte_add(slot * Self::SLOT), Self::ROOM, rights)?;
            }
        }
        Ok(Self { map })
    }

    /// Whether these arguments' buffers find room.
    fn holds(door: Door, args: &[Arg]) -> bool {
        // The 32-bit registers reach the low 2 GiB only.
        door == Door::Syscall64
            && args.len() <= Self::SLOTS
            && args.iter().filter_map(extent).all(|(length, _)| length <= Self::ROOM)
    }
}

/// The buffers of one call, laid out so that each ends where a page ends, with an unmapped page behind
/// it: whoever writes past a buffer's end gets a fault instead of a neighbour's memory.
///
/// A buffer therefore begins where its size says. A C object's size is a multiple of its alignment, so
/// an object that fills its buffer is aligned.
pub struct Buffers<'a> {
    /// Each argument's first byte, for the arguments that are buffers.
    places: Vec<Option<NonNull<u8>>>,
    /// Memory of its own, and its size; none where there are no buffers, or an arena has them.
    own: Option<(NonNull<c_void>, usize)>,
    /// The arena is taken for as long as they are there.
    _arena: PhantomData<&'a mut Arena>,
}

impl<'a> Buffers<'a> {
    /// Lays out and fills the buffers of these arguments, in the arena if there is one and it has the room. For
    /// [`Door::Int80`] they lie in the low 2 GiB, where a 32-bit register reaches.
    ///
    /// # Errors
    /// A sentence for the harness: too large, or no memory.
    pub fn new(door: Door, args: &[Arg], arena: Option<&'a mut Arena>) -> Result<Self, String> {
        for (index, arg) in args.iter().enumerate() {
            if let Some((length, true)) = extent(arg)
                && length > MAX_OUT
            {
                return Err(format!(
                    "argument {index} is a buffer of {length} bytes (at most {MAX_OUT} can come back)"
                ));
            }
        }
        let mut buffers = match arena.filter(|_| Arena::holds(door, args)) {
            Some(arena) => Self::inside(arena, args),
            None => Self::mapped(door, args)?,
        };
        buffers.fill(args);
        Ok(buffers)
    }

    /// Each at the end of its room.
    fn inside(arena: &'a mut Arena, args: &[Arg]) -> Self {
        let place = |(slot, arg): (usize, &Arg)| {
            let (length, _) = extent(arg)?;
            // SAFETY: it is inside of the arena's mapping, or the first byte behind a room, if it is empty.
            Some(unsafe { arena.map.byte_add(slot * Arena::SLOT + Arena::ROOM - length) }.cast())
        };
        Self { places: args.iter().enumerate().map(place).collect(), own: None, _arena: PhantomData }
    }

    /// In a mapping of its own.
    fn mapped(door: Door, args: &[Arg]) -> Result<Self, String> {
        let mut size = 0;
        let mut offsets = Vec::with_capacity(args.len());
        for arg in args {
            offsets.push(extent(arg).map(|(length, _)| {
                let start = size;
                size += length.next_multiple_of(PAGE) + PAGE;
                (start, length)
            }));
        }
        let mut buffers = Self { places: vec![None; args.len()], own: None, _arena: PhantomData };
        let Some(whole) = NonZeroUsize::new(size) else { return Ok(buffers) };
        let mut flags = MapFlags::MAP_PRIVATE;
        if door == Door::Int80 {
            flags |= MapFlags::MAP_32BIT;
        }
        let no_memory = |errno: Errno| format!("no memory for the call's buffers: {}", errno.desc());
        // SAFETY: a new anonymous mapping at an address that the kernel chooses touches nothing of ours.
        let map = unsafe { mmap_anonymous(None, whole, ProtFlags::PROT_NONE, flags) }.map_err(no_memory)?;
        buffers.own = Some((map, size));
        for (place, offset) in buffers.places.iter_mut().zip(&offsets) {
            let Some((start, length)) = *offset else { continue };
            let room = length.next_multiple_of(PAGE);
            // SAFETY: these are whole pages of this mapping, which nobody else knows of yet.
            unsafe {
                if room > 0 {
                    let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
                    mprotect(map.byte_add(start), room, rights).map_err(no_memory)?;
                }
                *place = Some(map.byte_add(start + room - length).cast());
            }
        }
        Ok(buffers)
    }

    /// What goes in, and zeroes.
    fn fill(&mut self, args: &[Arg]) {
        for (arg, place) in args.iter().zip(&self.places) {
            let Some(place) = *place else { continue };
            match arg {
                Arg::Int(_) | Arg::Of(_) => {}
                // SAFETY: as many bytes from there on are writable, and nobody else's.
                Arg::In(bytes) | Arg::InOut(bytes) => unsafe {
                    place.copy_from_nonoverlapping(NonNull::from(&bytes[..]).cast(), bytes.len());
                },
                // A mapping of its own has zeroes.
                Arg::Out(_) if self.own.is_some() => {}
                // SAFETY: the same.
                Arg::Out(length) => unsafe { place.write_bytes(0, *length as usize) },
            }
        }
    }

    /// What goes into the registers; at most six arguments are looked at.
    pub fn registers(&self, args: &[Arg]) -> [u64; 6] {
        let mut registers = [0; 6];
        for ((register, arg), place) in registers.iter_mut().zip(args).zip(&self.places) {
            *register = match (arg, place) {
                (Arg::Int(value), _) => *value,
                (_, Some(place)) => place.as_ptr() as u64,
                (_, None) => 0,
            };
        }
        registers
    }

    /// The contents of the buffers that come back, in their order.
    pub fn collect(&self, args: &[Arg]) -> Vec<Vec<u8>> {
        let mut data = Vec::new();
        for (arg, place) in args.iter().zip(&self.places) {
            let (Some((length, true)), Some(place)) = (extent(arg), place) else { continue };
            let mut bytes = vec![0; length];
            // SAFETY: `length` bytes from there on are readable unless the call took them away;
            // then this process, the worker, dies here, and PID 1 reports that.
            unsafe { place.copy_to_nonoverlapping(NonNull::from(&mut bytes[..]).cast(), length) };
            data.push(bytes);
        }
        data
    }
}

impl Drop for Buffers<'_> {
    fn drop(&mut self) {
        if let Some((map, size)) = self.own {
            // SAFETY: the mapping is ours and ends with `self`. If the call has unmapped it already, this
            // unmaps nothing: no other thread could have mapped something there in the meantime.
            let _ = unsafe { munmap(map, size) };
        }
    }
}

/// Length, and whether the content comes back.
fn extent(arg: &Arg) -> Option<(usize, bool)> {
    match arg {
        Arg::Int(_) | Arg::Of(_) => None,
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
        let mut arena = Arena::new().unwrap();
        for arena in [None, Some(&mut arena)] {
            let buffers = Buffers::new(Door::Syscall64, &args, arena).unwrap();
            assert_eq!(buffers.registers(&args)[2], 9);
            assert_eq!(buffers.collect(&args), [b"abc".to_vec(), vec![0; 5000]]);
        }
    }

    #[test]
    fn a_buffer_ends_at_a_page_that_nobody_can_write() {
        let mut arena = Arena::new().unwrap();
        for length in [1u32, 8, 12, 4095, 4096, 4097, 64 << 10, 1 << 20] {
            let args = [Arg::Out(length), Arg::In(vec![1; 8])];
            for arena in [None, Some(&mut arena)] {
                let buffers = Buffers::new(Door::Syscall64, &args, arena).unwrap();
                let registers = buffers.registers(&args);
                for (start, length) in [(registers[0], u64::from(length)), (registers[1], 8)] {
                    assert_eq!(read_zeros(start, length), length as i64);
                    assert_eq!(
                        read_zeros(start + length, 1),
                        -i64::from(libc::EFAULT),
                        "after {length} bytes"
                    );
                }
            }
        }
    }

    #[test]
    fn nothing_of_an_earlier_call_is_in_a_buffer() {
        let mut arena = Arena::new().unwrap();
        let filled = [Arg::In(vec![7; 64 << 10])];
        let first = Buffers::new(Door::Syscall64, &filled, Some(&mut arena)).unwrap().registers(&filled)[0];
        let args = [Arg::Out(64 << 10)];
        let buffers = Buffers::new(Door::Syscall64, &args, Some(&mut arena)).unwrap();
        assert_eq!(buffers.registers(&args)[0], first, "the same memory");
        assert_eq!(buffers.collect(&args), [vec![0; 64 << 10]]);
    }

    #[test]
    fn an_empty_buffer_has_an_address_and_no_room() {
        let args = [Arg::Out(0)];
        let mut arena = Arena::new().unwrap();
        for arena in [None, Some(&mut arena)] {
            let buffers = Buffers::new(Door::Syscall64, &args, arena).unwrap();
            let start = buffers.registers(&args)[0];
            assert_ne!(start, 0);
            assert_eq!(read_zeros(start, 1), -i64::from(libc::EFAULT));
            assert_eq!(buffers.collect(&args), [Vec::<u8>::new()]);
        }
    }

    #[test]
    fn objects_are_aligned_as_c_wants_them() {
        for (size, align) in [(4u32, 4u64), (8, 8), (16, 16), (24, 8), (4096, 4096)] {
            let args = [Arg::Out(size)];
            let buffers = Buffers::new(Door::Syscall64, &args, None).unwrap();
            assert_eq!(buffers.registers(&args)[0] % align, 0);
        }
    }

    #[test]
    fn buffers_for_int80_are_where_32_bits_reach() {
        let args = [Arg::In(vec![0; 100_000]), Arg::Out(100_000)];
        let mut arena = Arena::new().unwrap();
        let buffers = Buffers::new(Door::Int80, &args, Some(&mut arena)).unwrap();
        assert!(buffers.registers(&args).iter().all(|r| *r < 1 << 32));
    }

    #[test]
    fn a_buffer_over_the_limit_is_refused() {
        let limit = MAX_OUT as u32;
        assert!(Buffers::new(Door::Syscall64, &[Arg::Out(limit)], None).is_ok());
        let why = Buffers::new(Door::Syscall64, &[Arg::Int(0), Arg::Out(limit + 1)], None).err().unwrap();
        assert_eq!(why, "argument 1 is a buffer of 1048577 bytes (at most 1048576 can come back)");
    }
}
