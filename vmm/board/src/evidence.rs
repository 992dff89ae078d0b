//! Puts together what the vCPUs counted.

use crate::{
    cpu::{Remains, Watch},
    wire::{Evidence, MissingVcpu, SeenCall, SyscallCount, Uncounted},
};
use machine::Memory;
use nix::libc;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{Read, Seek},
    os::unix::fs::FileExt,
    sync::{Mutex, OnceLock, PoisonError},
    time::Instant,
};
use trap::{Place, SyscallTrap, Tallies};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

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
/// to need, or has a copy of. Pages of a saved machine's file that it only reads are no memory of its own.
///
/// The kernel counts the whole (proc(5), /proc/pid/status), and tells of each page of the guest's whether it is there
/// (Documentation/admin-guide/mm/pagemap.rst). It would add all of it up in smaps, and take ten times as long: it looks for each page that is
/// not there.
fn own_memory(memory: &Memory) -> (u64, u64) {
    let Some(files) = FILES.get() else { return (0, 0) };
    let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
    let Files { status, pages } = &mut *files;
    let mut text = String::new();
    // The kernel writes it when it is read: each time from its beginning.
    let Ok(whole) = status.rewind().and_then(|()| status.read_to_string(&mut text)).map(|_| whole(&text))
    else {
        return (0, 0);
    };
    let (mut there, mut own) = (0, 0);
    let mut entries = vec![0; PIECE];
    for region in memory.iter() {
        let shared = region.flags() & libc::MAP_SHARED != 0;
        let (start, end) =
            (region.as_ptr() as u64 / PAGE * 8, (region.as_ptr() as u64 + region.len()) / PAGE * 8);
        for at in (start..end).step_by(PIECE) {
            let piece = &mut entries[..(end - at).min(PIECE as u64) as usize];
            if pages.read_exact_at(piece, at).is_err() {
                return (0, 0);
            }
            let (all, copies) = present(piece);
            there += all;
            // A booted guest's memory is a file of this process's; a restored one's has copies of what is written to.
            own += if shared { all } else { copies };
        }
    }
    let kib = |pages: u64| pages * (PAGE >> 10);
    (whole.saturating_sub(kib(there)), kib(own))
}

const PAGE: u64 = 4096;

/// So many bytes about pages are read at once.
const PIECE: usize = 64 << 10;

struct Files {
    status: File,
    pages: File,
}

static FILES: OnceLock<Mutex<Files>> = OnceLock::new();

/// Opens what no longer can be opened when it is needed.
pub fn prepare() {
    if let (Ok(status), Ok(pages)) = (File::open("/proc/self/status"), File::open("/proc/self/pagemap")) {
        let _ = FILES.set(Mutex::new(Files { status, pages }));
    }
}

/// What the status file says is in memory, in KiB.
fn whole(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// How many pages are there, and how many of them are no file's, by their entries.
fn present(entries: &[u8]) -> (u64, u64) {
    let (entries, _) = entries.as_chunks::<8>();
    entries.iter().map(|entry| u64::from_le_bytes(*entry)).fold((0, 0), |(there, copies), entry| {
        let here = entry >> 63;
        (there + here, copies + (here & !(entry >> 61)))
    })
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
        assert_eq!(whole("Name:\tvmm\nVmHWM:\t    9000 kB\nVmRSS:\t    6524 kB\n"), 6524);
        assert_eq!(whole("VmRSS:"), 0);
        // There as a file's, there as its own, swapped out, not there.
        let entries = [1 << 63 | 1 << 61, 1 << 63 | 99, 1 << 62, 0_u64].map(u64::to_le_bytes).concat();
        assert_eq!(present(&entries), (2, 1));
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
