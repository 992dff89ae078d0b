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

/// What this process has in memory, in KiB, but for guest memory: the sum over all mappings (proc(5),
/// /proc/pid/smaps) whose file is not the guest's memfd. The status file's sums would not do: where the
/// program itself lies in memory, they count it as they count the guest.
fn own_memory() -> u64 {
    resident(&fs::read_to_string("/proc/self/smaps").unwrap_or_default())
}

fn resident(smaps: &str) -> u64 {
    let mut is_guest = false;
    let mut sum = 0;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Rss:") if !is_guest => {
                sum += words.next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
            }
            // A mapping begins with its addresses, and its file is the sixth word.
            Some(word) if !word.ends_with(':') => {
                is_guest = words.nth(4).is_some_and(|file| file.starts_with("/memfd:"));
            }
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_memory_is_left_out() {
        let smaps = "\
55d0c0000000-55d0c0400000 r-xp 00000000 00:02 7    /init
Rss:                 300 kB
Pss:                 100 kB
7f0000000000-7f0008000000 rw-s 00000000 00:01 1026 /memfd:guest (deleted)
Rss:               90000 kB
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0    [stack]
Rss:                  12 kB
VmFlags: rd wr mr
";
        assert_eq!(resident(smaps), 312);
        assert!(own_memory() > 0);
    }
}
