//! Puts together what the vCPUs counted.

use crate::{
    cpu::{Remains, Watch},
    wire::{Door, Evidence, Origin, SeenCall, SyscallCount},
};
use std::{collections::BTreeMap, fs, time::Instant};
use trap::SyscallTrap;

/// The sum over all vCPUs.
pub fn gather(remains: &[Remains], device_errors: BTreeMap<String, u64>) -> Evidence {
    let mut tallies: BTreeMap<trap::Call, trap::Tally> = BTreeMap::new();
    let counted = remains.iter().filter_map(|r| match &r.watch {
        Some(Watch::Trap(trap)) => Some(&**trap),
        Some(Watch::Walk(_)) | None => None,
    });
    for (call, tally) in counted.flat_map(SyscallTrap::tallies) {
        tallies.entry(*call).or_default().add(tally);
    }
    let syscalls = tallies.into_iter().map(|(call, tally)| SyscallCount {
        door: door(call.door),
        nr: call.nr,
        origin: origin(call.origin),
        count: tally.count,
        errors: tally.errors,
        results: tally.results,
        processes: tally.processes.iter().map(|(process, n)| (process.pid, process.name(), *n)).collect(),
    });
    Evidence {
        syscalls: syscalls.collect(),
        entry_writes: remains.iter().flat_map(|r| r.entry_writes.iter().cloned()).collect(),
        exits_until_ready: sum(remains.iter().filter_map(|r| r.exits_until_ready.as_ref())),
        exits: sum(remains.iter().map(|r| &r.exits)),
        device_errors,
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

/// A call for the harness.
pub fn seen(call: trap::Seen, started: Instant) -> SeenCall {
    SeenCall {
        door: door(call.door),
        nr: call.nr,
        origin: origin(call.origin),
        args: call.args,
        memory: call.memory,
        process: call.process.map(|process| (process.pid, process.name())),
        at: call.at.saturating_duration_since(started),
        result: call.result,
    }
}

fn door(door: trap::Door) -> Door {
    match door {
        trap::Door::Syscall64 => Door::Syscall64,
        trap::Door::Syscall32 => Door::Syscall32,
        trap::Door::Sysenter => Door::Sysenter,
        trap::Door::Int80 => Door::Int80,
    }
}

fn origin(origin: trap::Origin) -> Origin {
    match origin {
        trap::Origin::Step => Origin::Step,
        trap::Origin::Program => Origin::Program,
        trap::Origin::Agent => Origin::Agent,
    }
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
