//! What is new for a guest that is about to have its run: the time of day, and random numbers.
//!
//! It may have been saved at this moment, long ago, and be one of many that go on from there. Each would draw the random
//! numbers that the others draw.

use nix::{
    sys::time::{TimeSpec, TimeValLike},
    time::{ClockId, clock_settime},
};
use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsRawFd,
};

/// `RNDADDENTROPY` and `RNDRESEEDCRNG` of include/uapi/linux/random.h.
const ADD_ENTROPY: libc::Ioctl = 0x4008_5203;
const RESEED: libc::Ioctl = 0x5207;

/// `struct rand_pool_info` with so many bytes.
#[repr(C)]
struct Entropy {
    bits: i32,
    bytes: i32,
    seed: [u8; SEED],
}

const SEED: usize = 32;

/// Sets both; the error says what can't be set.
pub fn wake(now: u64, seed: &[u8]) -> Result<(), String> {
    let now = TimeSpec::nanoseconds(now.try_into().unwrap_or(i64::MAX));
    clock_settime(ClockId::CLOCK_REALTIME, now)
        .map_err(|error| format!("the clock can't be set: {error}"))?;
    reseed(seed).map_err(|error| format!("random numbers can't be made anew: {error}"))
}

fn reseed(seed: &[u8]) -> io::Result<()> {
    let seed = seed.try_into().map_err(|_| io::Error::other("the seed has another length"))?;
    let random = OpenOptions::new().write(true).open("/dev/urandom")?;
    let entropy = Entropy { bits: 8 * SEED as i32, bytes: SEED as i32, seed };
    // SAFETY: the kernel reads two numbers and as many bytes as the second says, which follow them.
    check(unsafe { libc::ioctl(random.as_raw_fd(), ADD_ENTROPY, &raw const entropy) })?;
    // What was drawn ahead, for each processor too, counts no more then. A kernel that had no random numbers yet has got
    // its first from the seed, and nothing to do over.
    let _ = reseed_now(&random);
    Ok(())
}

fn reseed_now(random: &File) -> io::Result<()> {
    // SAFETY: it takes no argument.
    check(unsafe { libc::ioctl(random.as_raw_fd(), RESEED) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_of_another_length_is_refused() {
        assert!(reseed(&[1; 31]).is_err() && reseed(&[]).is_err());
    }

    #[test]
    fn the_seed_follows_its_two_numbers() {
        assert_eq!(std::mem::offset_of!(Entropy, seed), 8);
        assert_eq!(size_of::<Entropy>(), 8 + SEED);
    }
}
