//! Puts together what the vCPUs counted.

use crate::{
    cpu::{Remains, Watch},
    wire::{Evidence, MissingVcpu, SeenCall, SyscallCount, Uncounted},
};
use machine::Memory;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{Read, Seek},
    ops::Range,
    sync::{Mutex, OnceLock, PoisonError},
    time::Instant,
};
use trap::{Place, SyscallTrap, Tallies};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap};

/// The sum over all vCPUs: rows of system calls, and the rest.
pub fn gather(
    remains: &[Remains],
    missing_vcpus: Vec<MissingVcpu>,
    device_errors: BTreeMap<String, u64>,
    memory: &Memory,
) -> (Vec<SyscallCount>, Evidence) {
    let traps = || {
        remains.iter().filter_map(|r| match &r.watch {
            Some(Watch::Trap(trap)) => Some(&**trap),
            Some(Watch::Walk(_)) | None => None,
        })
    };
    let mut sum = Tallies::default();
    traps().map(SyscallTrap::tallies).for_each(|tallies| sum.add(tallies));
    let lost = remains.iter().any(|r| r.guest_breakpoint_lost).then_some(Uncounted::GuestBreakpoint);
    let uncounted: BTreeSet<Uncounted> =
        traps().flat_map(SyscallTrap::uncounted).map(uncounted).chain(lost).collect();
    let (own_memory_kib, guest_memory_kib) = own_memory(memory);
    let evidence = Evidence {
        entry_writes: remains.iter().flat_map(|r| r.entry_writes.iter().cloned()).collect(),
        uncounted: uncounted.into_iter().collect(),
        unguarded: None,
        changed: 0,
        missing_vcpus,
        exits_until_ready: add(remains.iter().filter_map(|r| r.exits_until_ready.as_ref())),
        exits: add(remains.iter().map(|r| &r.exits)),
        device_errors,
        own_memory_kib,
        guest_memory_kib,
    };
    (rows(&sum), evidence)
}

fn rows(tallies: &Tallies) -> Vec<SyscallCount> {
    let row = |(call, tally): (&trap::Call, &trap::Tally)| SyscallCount {
        door: call.door,
        nr: call.nr,
        origin: call.origin,
        count: tally.count,
        errors: tally.errors.clone(),
        results: tally.results.clone(),
        processes: tally.processes.iter().map(|(process, n)| (process.pid, process.name(), *n)).collect(),
        untold_errors: tally.untold.errors,
        untold_results: tally.untold.results,
        untold_processes: tally.untold.processes,
    };
    tallies.rows().iter().map(row).collect()
}

fn uncounted(place: Place) -> Uncounted {
    match place {
        Place::Entry(at) => Uncounted::Calls(at),
        Place::Results => Uncounted::Results,
    }
}

fn add<'a>(counts: impl Iterator<Item = &'a BTreeMap<&'static str, u64>>) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for (kind, count) in counts.flatten() {
        let sum = sum.entry(kind.to_string()).or_insert(0_u64);
        *sum = sum.saturating_add(*count);
    }
    sum
}

/// A call for the harness.
pub fn seen(call: trap::Seen, started: Instant) -> SeenCall {
    SeenCall {
        door: call.door,
        nr: call.nr,
        origin: call.origin,
        args: call.args,
        memory: call.memory,
        process: call.process.map(|process| (process.pid, process.name())),
        at: call.at.saturating_duration_since(started),
        result: call.result,
    }
}

/// What this process has in memory, in KiB: beside guest memory, and of that what is its own alone: pages that it was the first
/// to need, or has a copy of. Pages of a saved machine's file that it only reads are no memory of its own, though the kernel calls
/// those private that no other process reads just now. The sums are over mappings (proc(5), /proc/pid/smaps). The status file's would not do: where the program itself lies in memory, they count it as
/// they count the guest.
fn own_memory(memory: &Memory) -> (u64, u64) {
    let place = |region: &GuestRegionMmap<_>| {
        let start = region.as_ptr() as u64;
        start..start + region.len()
    };
    let guest: Vec<Range<u64>> = memory.iter().map(place).collect();
    let Some(file) = MAPPINGS.get() else { return (0, 0) };
    let mut text = String::new();
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    // The kernel writes it when it is read: each time from its beginning.
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    read.map_or((0, 0), |_| resident(&text, &guest))
}

static MAPPINGS: OnceLock<Mutex<File>> = OnceLock::new();

/// Opens what no longer can be opened when it is needed.
pub fn prepare() {
    if let Ok(file) = File::open("/proc/self/smaps") {
        let _ = MAPPINGS.set(Mutex::new(file));
    }
}

fn resident(smaps: &str, guest: &[Range<u64>]) -> (u64, u64) {
    let (mut is_guest, mut is_shared) = (false, false);
    let (mut own, mut of_guest) = (0, 0);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next();
        let mut number = || words.next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
        match first {
            Some("Rss:") if !is_guest => own += number(),
            // A booted guest's memory is a file of this process's; a restored one's has copies of what is written to.
            Some("Rss:") if is_shared => of_guest += number(),
            Some("Anonymous:") if is_guest && !is_shared => of_guest += number(),
            // A mapping begins with its addresses. Only a part of the guest's may be one: the kernel joins neighbours
            // and takes them apart.
            Some(word) if !word.ends_with(':') => {
                let start = word.split('-').next().and_then(|start| u64::from_str_radix(start, 16).ok());
                is_guest = start.is_some_and(|start| guest.iter().any(|range| range.contains(&start)));
                is_shared = is_guest && words.next().is_some_and(|rights| rights.ends_with('s'));
            }
            _ => {}
        }
    }
    (own, of_guest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{outbox::Outbox, wire::Notice};
    use protocol::Frames;
    use std::{io::Read, os::unix::net::UnixStream, thread};
    use trap::{Call, MOST_IN_ROW, MOST_ROWS, Process};
    use vm_memory::{Bytes, GuestAddress};

    /// All that a hostile guest can have counted: numbers, results and processes without end.
    fn full() -> Tallies {
        let mut tallies = Tallies::default();
        for nr in 0..2 * MOST_ROWS as u64 {
            let call = Call { door: trap::Door::Int80, nr: u64::MAX - 1 - nr, origin: trap::Origin::Program };
            for number in 0..3 {
                let pid = u32::MAX - number;
                // What is no UTF-8 takes three times the room.
                tallies.entered(call, Some(Process { pid, name: [0xff; 16] }));
                tallies.returned(call, -4095 + i64::from(number));
            }
        }
        let call = Call { door: trap::Door::Syscall64, nr: 0, origin: trap::Origin::Step };
        for number in 0..2 * MOST_IN_ROW as u32 {
            tallies.entered(call, Some(Process { pid: number, name: [0xff; 16] }));
            tallies.returned(call, i64::MIN + i64::from(number));
        }
        tallies
    }

    #[test]
    fn full_tables_arrive_whole() {
        let rows = rows(&full());
        // Beyond the first so many, one row a door.
        assert_eq!(rows.len(), MOST_ROWS + 2);
        let calls: u64 = rows.iter().map(|row| row.count).sum();
        assert_eq!(calls, 3 * 2 * MOST_ROWS as u64 + 2 * MOST_IN_ROW as u64);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let sent = rows.clone();
        let sender = thread::spawn(move || Outbox::new(ours).counted(sent));
        let (mut frames, mut got, mut bytes) = (Frames::new(), Vec::new(), vec![0; 64 << 10]);
        while let Ok(length @ 1..) = theirs.read(&mut bytes) {
            frames.push(&bytes[..length]);
            while let Some(notice) = frames.next::<Notice>().expect("a whole frame") {
                let Notice::Counted(rows) = notice else { panic!("{notice:?}") };
                got.extend(rows);
            }
        }
        sender.join().unwrap();
        assert_eq!(got, rows);
    }

    #[test]
    fn the_rest_of_the_evidence_fits_into_one_frame_however_full_it_is() {
        let write =
            crate::wire::EntryWrite { vcpu: 255, msr: u32::MAX, from: u64::MAX, to: u64::MAX, rip: u64::MAX };
        let remains = |_| Remains {
            end: crate::wire::EndReason::Stopped,
            exits: [("pio-read", u64::MAX)].into(),
            exits_until_ready: None,
            watch: None,
            entry_writes: vec![write.clone(); crate::cpu::MOST_ENTRY_WRITES],
            guest_breakpoint_lost: true,
        };
        let memory = machine::create_memory(32).unwrap();
        let missing = (0..32).map(|index| MissingVcpu { index, why: "x".repeat(1000) }).collect();
        let (_, evidence) =
            gather(&(0..32).map(remains).collect::<Vec<_>>(), missing, BTreeMap::new(), &memory);
        assert_eq!((evidence.entry_writes.len(), evidence.missing_vcpus.len()), (2048, 32));
        assert_eq!(evidence.uncounted, [Uncounted::GuestBreakpoint]);
        let ended = Notice::Ended { reason: crate::wire::EndReason::Stopped, evidence: Box::new(evidence) };
        let mut frames = Frames::new();
        frames.push(&protocol::encode(&ended).unwrap());
        assert_eq!(frames.next(), Ok(Some(ended)));
    }

    #[test]
    fn guest_memory_is_left_out() {
        let smaps = "\
55d0c0000000-55d0c0400000 r-xp 00000000 00:02 7    /init
Rss:                 300 kB
Pss:                 100 kB
7f0000000000-7f0008000000 rw-p 00000000 00:01 1026 /saved/memory
Rss:               90000 kB
Private_Dirty:     80000 kB
Anonymous:         70000 kB
7f1000000000-7f1008000000 rw-s 00000000 00:01 1026 /memfd:guest (deleted)
Rss:                5000 kB
Anonymous:             0 kB
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0    [stack]
Rss:                  12 kB
VmFlags: rd wr mr
";
        let guest = 0x7f00_0000_0000..0x7f00_0800_0000;
        let booted = 0x7f10_0000_0000..0x7f10_0800_0000;
        assert_eq!(resident(smaps, &[guest, booted]), (312, 75_000));
        let memory = machine::create_memory(32).unwrap();
        prepare();
        let before = own_memory(&memory);
        memory.write_slice(&vec![1; 16 << 20], GuestAddress(0)).unwrap();
        let after = own_memory(&memory);
        assert!(
            after.0.abs_diff(before.0) < 8 << 10 && before.1 == 0 && after.1 >= 16 << 10,
            "{before:?} {after:?}"
        );
    }
}
