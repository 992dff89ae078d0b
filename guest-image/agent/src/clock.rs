//! The guest's monotonic clock.

use std::{
    arch::x86_64::{__cpuid, _rdtsc},
    fs,
    mem::MaybeUninit,
};

/// Reads the time without making calls that look like somebody else's, and without any where that can be had: each
/// call is seen from outside, which takes longer than most calls take.
///
/// The C library reads the clock in the vDSO, without a system call, provided that the kernel's clock
/// source is one that user space can read. If it is not, the vDSO makes the call itself: from an
/// address outside of the agent's text, and the hypervisor would count it as a program's.
#[derive(Clone, Copy)]
pub enum Clock {
    /// By the time stamp counter, which makes so many steps in a millisecond.
    Counter(u64),
    /// In the vDSO.
    Vdso,
    /// By a system call.
    Call,
}

impl Clock {
    /// Looks at the processor, and at the kernel's clock source, which needs /sys.
    pub fn detect() -> Self {
        if let Some(khz) = counter_khz() {
            return Self::Counter(khz.into());
        }
        // "tsc-early" in the first second, then "tsc". "kvm-clock" too can be read by user space, but not on every host,
        // and nothing says on which.
        let source = fs::read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
        if source.is_ok_and(|name| name.starts_with(b"tsc")) { Self::Vdso } else { Self::Call }
    }

    /// Nanoseconds since some moment before the agent started.
    pub fn now(self) -> u64 {
        let mut time = MaybeUninit::<libc::timespec>::zeroed();
        // SAFETY: any program may read the counter; the kernel fills in the structure, all of whose fields may be zero
        // otherwise.
        let time = unsafe {
            match self {
                Self::Counter(khz) => {
                    return (u128::from(_rdtsc()) * 1_000_000 / u128::from(khz)) as u64;
                }
                Self::Vdso => {
                    libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr());
                }
                Self::Call => {
                    libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, time.as_mut_ptr());
                }
            }
            time.assume_init()
        };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// How fast the time stamp counter counts, where the hypervisor says it: in the leaf that is told of in
/// `vmm/machine/src/cpuid.rs`.
fn counter_khz() -> Option<u32> {
    const HYPERVISOR: u32 = 0x4000_0000;
    const TIMING: u32 = 0x4000_0010;
    let first = __cpuid(HYPERVISOR);
    // "KVMKVMKVM" in EBX, ECX, EDX.
    let is_kvm = [first.ebx, first.ecx, first.edx] == [0x4b4d_564b, 0x564b_4d56, 0x4d];
    (is_kvm && first.eax >= TIMING).then(|| __cpuid(TIMING).eax).filter(|khz| *khz > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_by_the_kernel_read_the_same_clock() {
        let times = [Clock::Vdso, Clock::Call, Clock::Vdso, Clock::Call].map(Clock::now);
        assert!(times.is_sorted() && times[0] > 0, "{times:?}");
        assert!(times[3] - times[0] < 1_000_000_000, "{times:?}");
    }

    #[test]
    fn the_counters_steps_become_nanoseconds() {
        // By the same steps, more time passes for who takes them to be slower.
        let (slow, fast) = (Clock::Counter(1_000), Clock::Counter(1_000_000));
        let before = fast.now();
        let now = slow.now() / 1_000;
        assert!((before..=fast.now()).contains(&now), "{before} {now}");
    }
}
