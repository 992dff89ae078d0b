//! System calls of a run: what was counted, against what its scenario expects.

use super::Judge;
use crate::check::{holds, show_interval};
use crate::judged::{Failure, SyscallRow};
use crate::unknown::Unknown;
use board::wire::{Door, Origin};
use scenario::errno::Errno;
use scenario::model::{CallExpect, CallName, Interval};
use std::collections::BTreeMap;

impl Judge {
    /// What each system call came to; those that the scenario names first, then by count.
    pub(super) fn rows(&self) -> Vec<SyscallRow> {
        let mut rows: BTreeMap<(Door, u64), SyscallRow> = BTreeMap::new();
        for seen in &self.counted {
            let row = rows.entry((seen.door, seen.nr)).or_insert_with(|| SyscallRow {
                door: seen.door,
                nr: seen.nr,
                name: self.call_name(seen.door, seen.nr),
                step: 0,
                program: 0,
                agent: 0,
                errors: BTreeMap::new(),
                results: BTreeMap::new(),
                processes: Vec::new(),
                untold_errors: 0,
                untold_results: 0,
            });
            let count = match seen.origin {
                Origin::Step => &mut row.step,
                Origin::Program => &mut row.program,
                Origin::Agent => &mut row.agent,
            };
            *count = count.saturating_add(seen.count);
            if seen.origin != Origin::Agent {
                for (result, count) in &seen.results {
                    *row.results.entry(*result).or_default() += count;
                }
                row.processes.extend(seen.processes.iter().cloned());
                row.untold_errors = row.untold_errors.saturating_add(seen.untold_errors);
                row.untold_results = row.untold_results.saturating_add(seen.untold_results);
                for (errno, count) in &seen.errors {
                    let sum = row.errors.entry(Errno(*errno).to_string()).or_default();
                    *sum = sum.saturating_add(*count);
                }
            }
        }
        let mut rows: Vec<SyscallRow> = rows.into_values().collect();
        let named = |row: &SyscallRow| {
            let wanted = &self.scenario.expect.syscalls;
            wanted.iter().position(|expect| concerns(&expect.call, row)).unwrap_or(wanted.len())
        };
        rows.sort_by_cached_key(|row| (named(row), std::cmp::Reverse(row.count()), row.name.clone()));
        rows
    }

    pub(super) fn call_name(&self, door: Door, nr: u64) -> String {
        self.names.syscall(door, nr).unwrap_or_else(|| match door {
            Door::Syscall64 => format!("syscall_{nr}"),
            Door::Syscall32 | Door::Sysenter | Door::Int80 => format!("syscall32_{nr}"),
        })
    }

    pub(super) fn call_failures(
        &self,
        expect: &CallExpect,
        rows: &[SyscallRow],
        unknown: &Unknown,
        failures: &mut Vec<Failure>,
    ) {
        let rows = || rows.iter().filter(|row| concerns(&expect.call, row));
        let name = match &expect.call {
            CallName::Name(name, _) => name.clone(),
            CallName::Nr(nr) => format!("system call {nr}"),
        };
        // Through other doors than that of 64-bit programs no result is seen.
        let elsewhere = rows().filter(|row| row.door != Door::Syscall64);
        let elsewhere = elsewhere.fold(0_u64, |sum, row| sum.saturating_add(row.count()));
        let mut returned = Vec::new();
        // What was not seen can only make a number larger: it matters where there is an upper bound.
        let mut compare =
            |what: String, (range, line): (&Interval, usize), number: u64, unseen: Option<String>| {
                let held = holds(range, number.into(), &self.values);
                let unseen = unseen.filter(|_| !held || range.high.is_some());
                if !held || unseen.is_some() {
                    let more = unseen.map_or(String::new(), |why| format!(" or more: {why}"));
                    let (expected, got) = (show_interval(range, &self.values), format!("{number}{more}"));
                    failures.push(Failure { what, expected, got, line });
                }
            };
        if let Some(range) = &expect.count {
            let count = rows().fold(0_u64, |sum, row| sum.saturating_add(row.count()));
            compare(format!("calls of {name}"), (range, expect.line), count, unknown.calls());
        }
        if let Some((wanted, line)) = &expect.returns {
            let mut seen: BTreeMap<i64, u64> = BTreeMap::new();
            for (result, count) in rows().flat_map(|row| &row.results) {
                *seen.entry(*result).or_default() += count;
            }
            let mut sorted: BTreeMap<i64, u64> = BTreeMap::new();
            wanted.iter().for_each(|value| *sorted.entry(*value).or_default() += 1);
            let untold = rows().fold(elsewhere, |sum, row| sum.saturating_add(row.untold_results));
            let unseen = unknown.results(untold);
            if seen != sorted || unseen.is_some() {
                let more = unseen.map_or(String::new(), |why| format!(" or more: {why}"));
                let got = format!("{}{more}", results(&seen));
                returned.push((format!("results of {name}"), results(&sorted), got, *line));
            }
        }
        for (errno, range, line) in &expect.errors {
            let key = errno.to_string();
            let count =
                rows().fold(0_u64, |sum, row| sum.saturating_add(row.errors.get(&key).copied().unwrap_or(0)));
            let untold = rows().fold(elsewhere, |sum, row| sum.saturating_add(row.untold_errors));
            compare(format!("calls of {name} with {errno}"), (range, *line), count, unknown.results(untold));
        }
        failures.extend(returned.into_iter().map(|(what, expected, got, line)| Failure {
            what,
            expected,
            got,
            line,
        }));
    }
}

fn concerns(call: &CallName, row: &SyscallRow) -> bool {
    match call {
        CallName::Name(name, _) => row.name == *name,
        CallName::Nr(nr) => row.nr == *nr && row.door == Door::Syscall64,
    }
}

/// Results and how often each came, as a scenario writes them: `0, 0, EFAULT`, or `1000 times 1`.
fn results(counts: &BTreeMap<i64, u64>) -> String {
    let one = |(value, count): (&i64, &u64)| {
        let value = Errno::of(*value).map_or(value.to_string(), |errno| errno.to_string());
        if *count > 3 { format!("{count} times {value}") } else { vec![value; *count as usize].join(", ") }
    };
    // Errors are negative and come last, as people write them.
    let good = counts.range(0..).map(one);
    let bad = counts.range(..0).rev().map(one);
    let all: Vec<String> = good.chain(bad).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
