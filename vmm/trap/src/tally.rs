//! Tables of what was counted. A guest that makes up numbers or processes makes none of them grow without
//! bound.

use crate::{door::Door, task::Process};
use std::collections::BTreeMap;

/// Rows that are told apart; further numbers are counted as one.
const MOST_ROWS: usize = 4096;
/// Results and processes that are told apart in a row; further ones are only in the row's count.
const MOST_IN_ROW: usize = 64;

/// Whose call it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A step's.
    Step,
    /// Any other program's.
    Program,
    /// The agent's own.
    Agent,
}

/// What calls are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// Through which door.
    pub door: Door,
    /// The number; `u64::MAX` stands for all numbers beyond the first few thousand different ones.
    pub nr: u64,
    /// Whose.
    pub origin: Origin,
}

/// What was counted of one kind of call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Seen at the entry.
    pub count: u64,
    /// Errnos seen at the return.
    pub errors: BTreeMap<i32, u64>,
    /// Results seen at the return, the first few different ones; an errno is negative.
    pub results: BTreeMap<i64, u64>,
    /// Who called, where the kernel's layout is known; the first few different ones.
    pub processes: BTreeMap<Process, u64>,
}

impl Tally {
    /// Adds what another vCPU counted.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        for (errno, count) in &other.errors {
            *self.errors.entry(*errno).or_default() += count;
        }
        for (result, count) in &other.results {
            bump(&mut self.results, *result, *count);
        }
        for (process, count) in &other.processes {
            bump(&mut self.processes, *process, *count);
        }
    }

    pub(crate) fn entered(&mut self, process: Option<Process>) {
        self.count += 1;
        if let Some(process) = process {
            bump(&mut self.processes, process, 1);
        }
    }

    pub(crate) fn returned(&mut self, result: i64) {
        // Results in this range are errnos, negated (MAX_ERRNO of include/linux/err.h).
        if (-4095..0).contains(&result) {
            *self.errors.entry(-result as i32).or_default() += 1;
        }
        bump(&mut self.results, result, 1);
    }
}

fn bump<K: Ord>(map: &mut BTreeMap<K, u64>, key: K, by: u64) {
    if map.len() < MOST_IN_ROW || map.contains_key(&key) {
        *map.entry(key).or_default() += by;
    }
}

/// All rows of a vCPU.
#[derive(Debug, Default)]
pub(crate) struct Tallies(BTreeMap<Call, Tally>);

impl Tallies {
    pub fn row(&mut self, mut call: Call) -> &mut Tally {
        if self.0.len() >= MOST_ROWS && !self.0.contains_key(&call) {
            call.nr = u64::MAX;
        }
        self.0.entry(call).or_default()
    }

    pub fn rows(&self) -> &BTreeMap<Call, Tally> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_numbers_results_and_processes_end_in_full_tables() {
        let mut tallies = Tallies::default();
        for nr in 0..100_000 {
            let row = tallies.row(Call { door: Door::Syscall64, nr, origin: Origin::Program });
            row.entered(None);
        }
        assert!(tallies.rows().len() <= MOST_ROWS + 1);
        assert_eq!(tallies.rows().values().map(|row| row.count).sum::<u64>(), 100_000);
        let mut row = Tally::default();
        for number in 0..1000u32 {
            row.entered(Some(Process { pid: number, name: [0; 16] }));
            row.returned(number.into());
        }
        assert_eq!((row.count, row.processes.len(), row.results.len()), (1000, MOST_IN_ROW, MOST_IN_ROW));
    }

    #[test]
    fn what_two_vcpus_counted_is_added() {
        let mut one = Tally::default();
        one.entered(None);
        one.returned(-14);
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!((sum.count, &sum.errors, &sum.results), (2, &[(14, 2)].into(), &[(-14, 2)].into()));
    }
}
