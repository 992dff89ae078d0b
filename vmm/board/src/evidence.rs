//! Puts together what the vCPUs counted.

use crate::{
    cpu::Remains,
    wire::{Door, Evidence, Origin, SyscallCount},
};
use std::{collections::BTreeMap, fs};

/// The sum over all vCPUs.
pub fn gather(remains: &[Remains], console_errors: u64) -> Evidence {
    let mut tallies: BTreeMap<trap::Call, trap::Tally> = BTreeMap::new();
    for (call, tally) in remains.iter().filter_map(|r| r.trap.as_ref()).flat_map(|trap| trap.tallies()) {
        let sum = tallies.entry(*call).or_default();
        sum.count += tally.count;
        for (errno, count) in &tally.errors {
            *sum.errors.entry(*errno).or_default() += count;
        }
    }
    let syscalls = tallies.into_iter().map(|(call, tally)| SyscallCount {
        door: Door::Syscall64,
        nr: call.nr,
        origin: match call.origin {
            trap::Origin::Step => Origin::Step,
            trap::Origin::Program => Origin::Program,
            trap::Origin::Agent => Origin::Agent,
        },
        count: tally.count,
        errors: tally.errors,
    });
    Evidence {
        syscalls: syscalls.collect(),
        exits_until_ready: sum(remains.iter().filter_map(|r| r.exits_until_ready.as_ref())),
        exits: sum(remains.iter().map(|r| &r.exits)),
        device_errors: [("console".to_string(), console_errors)].into_iter().filter(|e| e.1 > 0).collect(),
        own_memory_kib: own_memory(),
    }
}

fn sum<'a>(counts: impl Iterator<Item = &'a BTreeMap<&'static str, u64>>) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for (kind, count) in counts.flatten() {
        *sum.entry(kind.to_string()).or_insert(0) += count;
    }
    sum
}

/// What this process holds of its own: guest memory is a memfd, which Linux counts apart (RssShmem in
/// proc(5), /proc/pid/status).
fn own_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    field("RssAnon:").unwrap_or(0) + field("RssFile:").unwrap_or(0)
}
