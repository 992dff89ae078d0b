//! The rate of this machine's time stamp counter.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long the counter is watched.
const WATCH: Duration = Duration::from_millis(10);
/// Of so many looks the best counts.
const LOOKS: usize = 9;

/// In kHz, measured against the system's clock. However busy the machine is, it is off by a few parts in ten thousand at most.
pub fn rate_khz() -> u64 {
    let (begun, first) = moment();
    thread::sleep(WATCH);
    let (ended, last) = moment();
    let nanos = ended.duration_since(begun).as_nanos().max(1);
    u64::try_from(u128::from(last.wrapping_sub(first)) * 1_000_000 / nanos).unwrap_or(u64::MAX)
}

/// The clock and the counter at one moment: of several looks the one that took least, in which nobody had the processor in
/// between.
fn moment() -> (Instant, u64) {
    let look = |_| {
        let before = counter();
        let now = Instant::now();
        let took = counter().wrapping_sub(before);
        (took, now, before.wrapping_add(took / 2))
    };
    let best = (0..LOOKS).map(look).min_by_key(|(took, ..)| *took).expect("there is a look");
    (best.1, best.2)
}

fn counter() -> u64 {
    // SAFETY: RDTSC reads a counter, and touches no memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_same_each_time_also_on_a_busy_machine() {
        let end = Instant::now() + Duration::from_millis(500);
        let busy: Vec<_> = (0..8).map(|_| thread::spawn(move || while Instant::now() < end {})).collect();
        let rates: Vec<u64> = (0..8).map(|_| rate_khz()).collect();
        busy.into_iter().for_each(|it| it.join().unwrap());
        let (least, most) = (rates.iter().min().unwrap(), rates.iter().max().unwrap());
        assert!(*least > 100_000 && most - least < least / 100, "{rates:?}");
    }
}
