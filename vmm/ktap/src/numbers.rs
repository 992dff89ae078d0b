//! The numbers of results: from 1 on, each once, in any order.

use std::collections::BTreeSet;

/// So many may come before one that is missing.
const MAX_AHEAD: usize = 10_000;

/// The numbers that were seen.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// All from 1 to this.
    complete: u64,
    ahead: BTreeSet<u64>,
    highest: u64,
    twice: Option<u64>,
    without: u64,
    /// The last one said SKIP.
    ends_skipped: bool,
}

impl Numbers {
    /// Takes the next one.
    pub fn take(&mut self, number: Option<u64>, skipped: bool) {
        self.ends_skipped = skipped && number.is_some_and(|number| number > self.highest);
        let Some(number) = number else {
            self.without = self.without.saturating_add(1);
            return;
        };
        self.highest = self.highest.max(number);
        if number != 0 && (number <= self.complete || self.ahead.contains(&number)) {
            self.twice.get_or_insert(number);
        } else if number != 0 && self.ahead.len() < MAX_AHEAD {
            self.ahead.insert(number);
        }
        while self.ahead.remove(&self.complete.saturating_add(1)) {
            self.complete = self.complete.saturating_add(1);
        }
    }

    /// The highest, if there are more numbers left out than results without one.
    pub fn left_out(&self) -> Option<u64> {
        let there = self.complete.saturating_add(self.ahead.len() as u64);
        let missing = self.highest.saturating_sub(there);
        // kselftest.h's ksft_exit_skip() counts its own result before it adds one: `ok 2 # SKIP` is the first.
        let forgiven = self.without.saturating_add(u64::from(self.ends_skipped));
        (missing > forgiven).then_some(self.highest)
    }

    /// One that came more than once.
    pub fn twice(&self) -> Option<u64> {
        self.twice
    }
}
