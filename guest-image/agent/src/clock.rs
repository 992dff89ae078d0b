//! The guest's monotonic clock.

use std::{fs, mem::MaybeUninit};

/// Reads CLOCK_MONOTONIC without making calls that look like somebody else's.
///
/// The C library reads the clock in the vDSO, without a system call, provided that the kernel's clock
/// source is one that user space can read. If it is not, the vDSO makes the call itself: from an
/// address outside of the agent's text, and the hypervisor would count it as a program's.
#[derive(Clone, Copy)]
pub struct Clock {
    by_call: bool,
}

impl Clock {
    /// Looks at the kernel's clock source; needs /sys.
    pub fn detect() -> Self {
        // "tsc-early" in the first second, then "tsc". "kvm-clock" too can be read by user space, but not on every host, and nothing says on which.
        let source = fs::read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
        Self { by_call: !source.is_ok_and(|name| name.starts_with(b"tsc")) }
    }

    /// Nanoseconds since some moment before the agent started.
    pub fn now(self) -> u64 {
        let mut time = MaybeUninit::<libc::timespec>::zeroed();
        // SAFETY: the kernel fills in the structure, all of whose fields may be zero otherwise.
        let time = unsafe {
            if self.by_call {
                libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, time.as_mut_ptr());
            } else {
                libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr());
            }
            time.assume_init()
        };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_read_the_same_clock() {
        let (vdso, call) = (Clock { by_call: false }, Clock { by_call: true });
        let times = [vdso.now(), call.now(), vdso.now(), call.now()];
        assert!(times.is_sorted() && times[0] > 0, "{times:?}");
        assert!(times[3] - times[0] < 1_000_000_000, "{times:?}");
    }
}
