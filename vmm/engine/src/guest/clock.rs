//! The time that counts for a guest, in which all deadlines are: what goes by while this process is stopped, or waits for
//! whoever reads its output, is not the guest's.

use super::STOP_EVERY;
use nix::time::{ClockId, clock_gettime};
use std::{
    ops::Add,
    time::{Duration, Instant},
};

/// Nothing here waits for longer than [`STOP_EVERY`] at once. Who looks at the clock no more often than this was kept from it.
const KEPT: Duration = Duration::from_secs(1);

/// A moment on a [`Clock`]; the default is its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

impl Moment {
    /// What went by since an earlier one.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

pub(super) struct Clock {
    looked: Instant,
    /// What this thread had worked by then.
    worked: Duration,
    passed: Duration,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { looked: Instant::now(), worked: worked(), passed: Duration::ZERO }
    }

    pub(super) fn now(&mut self) -> Moment {
        self.at(Instant::now(), worked())
    }

    fn at(&mut self, now: Instant, worked: Duration) -> Moment {
        let gap = now.saturating_duration_since(self.looked);
        self.passed += if gap < KEPT {
            gap
        } else {
            // A guest can stop nobody, but it can give this thread a lot to do: that counts. And something has to pass at each
            // look, or there might be no end.
            worked.saturating_sub(self.worked).clamp(STOP_EVERY, gap)
        };
        (self.looked, self.worked) = (now, worked);
        Moment(self.passed)
    }
}

/// Who can't be asked has worked for nobody.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_this_process_did_nothing_does_not_count_and_time_in_which_it_worked_does() {
        let mut clock = Clock::new();
        let (begun, idle) = (clock.looked, clock.worked);
        let seconds = Duration::from_secs_f64;
        let mut passed = |at: f64, worked: f64| clock.at(begun + seconds(at), idle + seconds(worked));
        assert_eq!(passed(0.05, 0.0), Moment(seconds(0.05)));
        // A short one may well be the guest's doing.
        assert_eq!(passed(0.95, 0.1), Moment(seconds(0.95)));
        // Stopped for an hour.
        assert_eq!(passed(3600.95, 0.1), Moment(seconds(0.95) + STOP_EVERY));
        // A flood of which each piece takes two seconds to be read and judged.
        assert_eq!(passed(3602.95, 2.1), Moment(seconds(2.95) + STOP_EVERY));
        assert_eq!(passed(3604.95, 4.1), Moment(seconds(4.95) + STOP_EVERY));
        assert_eq!(passed(3605.0, 4.1), Moment(seconds(5.0) + STOP_EVERY));
    }

    #[test]
    fn what_a_thread_works_is_known() {
        let before = worked();
        let end = Instant::now() + Duration::from_secs(10);
        while worked() < before + Duration::from_millis(20) {
            assert!(Instant::now() < end, "{:?}", worked());
        }
    }
}
