//! Tables of what was counted. A guest that makes up numbers or processes makes none of them grow without
//! bound.

use crate::{door::Door, task::Process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rows that are told apart of numbers that no kernel's table has; further ones are counted as one.
pub const MOST_ROWS: usize = 4096;
/// Numbers below this have rows of their own, whatever others a guest makes up: tables have about half as many
/// (arch/x86/entry/syscalls/syscall_64.tbl), and scenarios name what is in them.
pub const IN_TABLES: u64 = 1024;
/// Errnos, results and processes that are told apart in a row; further ones are only in the row's count.
pub const MOST_IN_ROW: usize = 64;
/// The same in all rows together. A guest in its right mind has a few thousand.
const MOST_DETAILS: usize = 1 << 16;

/// Whose call it was, judged by where in user space it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// The agent made it because a step says so.
    Step,
    /// A program that a step started, or any other.
    Program,
    /// The agent's own housekeeping.
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
    /// Errnos seen at the return, the first few different ones.
    pub errors: BTreeMap<i32, u64>,
    /// Results seen at the return, the first few different ones; an errno is negative.
    pub results: BTreeMap<i64, u64>,
    /// Who called, where the kernel's layout is known; the first few different ones.
    pub processes: BTreeMap<Process, u64>,
    /// What did not find room in these.
    pub untold: Untold,
}

/// How much was seen beyond what is told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    /// Returns with an errno that is not among those of the row.
    pub errors: u64,
    /// Returns with a result that is not.
    pub results: u64,
    /// Calls by a process that is not.
    pub processes: u64,
}

/// Counts under a key while there is room for keys; else beside all keys.
fn bump<K: Ord>(map: &mut BTreeMap<K, u64>, key: K, by: u64, details: &mut usize, untold: &mut u64) {
    if let Some(count) = map.get_mut(&key) {
        *count = count.saturating_add(by);
    } else if map.len() < MOST_IN_ROW && *details < MOST_DETAILS {
        map.insert(key, by);
        *details += 1;
    } else {
        *untold = untold.saturating_add(by);
    }
}

/// All rows of a vCPU, or of all of them.
#[derive(Debug, Default)]
pub struct Tallies {
    rows: BTreeMap<Call, Tally>,
    /// Of numbers that no table has.
    made_up: usize,
    /// Keys in all rows together.
    details: usize,
}

impl Tallies {
    /// A call was seen at its entry.
    pub fn entered(&mut self, call: Call, process: Option<Process>) {
        let (row, details) = self.row(call);
        row.count = row.count.saturating_add(1);
        if let Some(process) = process {
            bump(&mut row.processes, process, 1, details, &mut row.untold.processes);
        }
    }

    /// Its result was.
    pub fn returned(&mut self, call: Call, result: i64) {
        let (row, details) = self.row(call);
        // Results in this range are errnos, negated (MAX_ERRNO of include/linux/err.h).
        if (-4095..0).contains(&result) {
            bump(&mut row.errors, -result as i32, 1, details, &mut row.untold.errors);
        }
        bump(&mut row.results, result, 1, details, &mut row.untold.results);
    }

    /// Adds what another vCPU counted.
    pub fn add(&mut self, other: &Self) {
        for (call, theirs) in &other.rows {
            let (row, details) = self.row(*call);
            let Untold { errors, results, processes } = &mut row.untold;
            row.count = row.count.saturating_add(theirs.count);
            for (errno, count) in &theirs.errors {
                bump(&mut row.errors, *errno, *count, details, errors);
            }
            for (result, count) in &theirs.results {
                bump(&mut row.results, *result, *count, details, results);
            }
            for (process, count) in &theirs.processes {
                bump(&mut row.processes, *process, *count, details, processes);
            }
            *errors = errors.saturating_add(theirs.untold.errors);
            *results = results.saturating_add(theirs.untold.results);
            *processes = processes.saturating_add(theirs.untold.processes);
        }
    }

    /// What was counted.
    pub fn rows(&self) -> &BTreeMap<Call, Tally> {
        &self.rows
    }

    fn row(&mut self, mut call: Call) -> (&mut Tally, &mut usize) {
        if call.nr >= IN_TABLES && call.nr != u64::MAX && !self.rows.contains_key(&call) {
            if self.made_up < MOST_ROWS {
                self.made_up += 1;
            } else {
                call.nr = u64::MAX;
            }
        }
        (self.rows.entry(call).or_default(), &mut self.details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(nr: u64) -> Call {
        Call { door: Door::Syscall64, nr, origin: Origin::Program }
    }

    #[test]
    fn made_up_numbers_results_and_processes_end_in_full_tables() {
        let mut tallies = Tallies::default();
        for nr in 0..100_000 {
            let process = Process { pid: nr as u32, name: [0xff; 16] };
            tallies.entered(call(nr), Some(process));
            tallies.returned(call(nr), -1 - (nr % 4095) as i64);
        }
        assert_eq!(tallies.rows().len(), MOST_ROWS + IN_TABLES as usize + 1);
        // One that a scenario names has its row, however late it comes.
        tallies.entered(Call { origin: Origin::Step, ..call(39) }, None);
        assert_eq!(tallies.rows()[&Call { origin: Origin::Step, ..call(39) }].count, 1);
        tallies.rows.remove(&Call { origin: Origin::Step, ..call(39) });
        assert_eq!(tallies.rows().values().map(|row| row.count).sum::<u64>(), 100_000);
        let mut row = Tallies::default();
        for number in 0..1000u32 {
            row.entered(call(1), Some(Process { pid: number, name: [0; 16] }));
            row.returned(call(1), -1 - i64::from(number));
        }
        let row = &row.rows()[&call(1)];
        assert_eq!((row.count, row.processes.len(), row.results.len(), row.errors.len()), (1000, 64, 64, 64));
        assert_eq!(row.untold, Untold { errors: 936, results: 936, processes: 936 });
    }

    #[test]
    fn details_of_all_rows_together_are_bounded_and_the_rest_is_counted() {
        let mut one = Tallies::default();
        for nr in 0..4000 {
            (0..64).for_each(|pid| one.entered(call(nr), Some(Process { pid, name: [0; 16] })));
        }
        let mut sum = Tallies::default();
        sum.add(&one);
        sum.add(&one);
        for (tallies, count) in [(&one, 256_000), (&sum, 512_000)] {
            let told: usize = tallies.rows().values().map(|row| row.processes.len()).sum();
            assert_eq!(told, MOST_DETAILS);
            let of_all = |row: &Tally| row.processes.values().sum::<u64>() + row.untold.processes;
            assert_eq!(tallies.rows().values().map(of_all).sum::<u64>(), count);
        }
    }

    #[test]
    fn what_two_vcpus_counted_is_added() {
        let mut one = Tallies::default();
        one.entered(call(3), None);
        one.returned(call(3), -14);
        let mut sum = Tallies::default();
        sum.add(&one);
        sum.add(&one);
        let sum = &sum.rows()[&call(3)];
        assert_eq!((sum.count, &sum.errors, &sum.results), (2, &[(14, 2)].into(), &[(-14, 2)].into()));
    }
}
