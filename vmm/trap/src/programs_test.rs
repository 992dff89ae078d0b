use super::*;
use machine::{Memory, create_memory};
use vm_memory::{Bytes, GuestAddress};

const BUFFER: u64 = 0x5000;

/// A page of user memory at [`BUFFER`].
fn memory() -> Memory {
    let memory = create_memory(2).unwrap();
    for (at, entry) in [(0x1000, 0x2007_u64), (0x2000, 0x3007), (0x3000, 0x4007), (0x4028, 0x8007)] {
        memory.write_obj(entry, GuestAddress(at)).unwrap();
    }
    memory
}

fn counts(bytes: &[u8]) -> ByteCounts {
    let mut counts = ByteCounts::default();
    counts.add(bytes);
    counts
}

#[test]
fn programs_that_may_send_signals_are_known() {
    let seen = |door, nr, args| {
        let mut seen = Sighting::default();
        Programs::default().call(&mut seen, Who::default(), (door, nr, &args), || None, |_| false);
        seen.signals
    };
    assert!(seen(Door::Syscall64, 62, [0; 6]) && seen(Door::Int80, 20, [0; 6]));
    assert!(seen(Door::Syscall64, 56, [CLONE_THREAD, 0, 0, 0, 0, 0]));
    let threads = |door, nr, flags| makes_thread(door, nr, &[flags, 0, 0, 0, 0, 0]);
    assert!(threads(Door::Syscall64, 435, 0) && threads(Door::Int80, 120, CLONE_THREAD));
    assert!(!threads(Door::Syscall64, 120, CLONE_THREAD) && !threads(Door::Int80, 120, 0));
    assert!(!seen(Door::Syscall64, 56, [0x1200011, 0, 0, 0, 0, 0]) && !seen(Door::Syscall64, 1, [0; 6]));
}

#[test]
fn what_programs_write_is_looked_at() {
    let memory = memory();
    memory.write_slice(b"hello there", GuestAddress(0x8000)).unwrap();
    // Two pieces, of 3 and of 4 bytes, the second of which is not in memory.
    let pieces = [BUFFER, 3, 0x10_0000, 4].map(u64::to_le_bytes).concat();
    memory.write_slice(&pieces, GuestAddress(0x8100)).unwrap();
    let (mut programs, mut seen) = (Programs::default(), Sighting::default());
    let who = Who { task: Some(1), pid: Some(7) };
    let mut does = |seen: &mut Sighting, nr, args, result: Option<i64>| {
        let user = || Some(AddressSpace::new(memory.clone(), 0x1000, 0));
        programs.call(seen, who, (Door::Syscall64, nr, &args), user, |_| false);
        if let Some(result) = result {
            programs.returned(seen, Some(1), result);
        }
    };
    does(&mut seen, 1, [1, BUFFER, 11, 0, 0, 0], Some(11));
    does(&mut seen, 0, [1, BUFFER, 10, 0, 0, 0], Some(10));
    assert_eq!((&seen.written, seen.unread, seen.unbounded), (&counts(b"hello there"), 0, false));
    does(&mut seen, 20, [1, BUFFER + 0x100, 2, 0, 0, 0], None);
    assert_eq!((&seen.written, seen.unread), (&counts(b"hello therehel"), 4));
    // What was wanted, and what came of it.
    does(&mut seen, 40, [1, 3, 0, 1 << 30, 0, 0], Some(100));
    does(&mut seen, 1, [1, 0x10_0000, u64::MAX, 0, 0, 0], Some(-14));
    assert_eq!((seen.unread, seen.unbounded), (104, false));
    does(&mut seen, 20, [1, 0x10_0000, 2, 0, 0, 0], None);
    assert!(seen.unbounded, "its pieces are not in memory");
    for otherwise in [209, 275, 426] {
        let mut seen = Sighting::default();
        does(&mut seen, otherwise, [0; 6], None);
        assert!(seen.unbounded, "{otherwise}");
    }
}

#[test]
fn what_32_bit_programs_write_is_looked_at_too() {
    let memory = memory();
    memory.write_slice(b"hello there", GuestAddress(0x8000)).unwrap();
    let seen = |door, nr, args: [u64; 6]| {
        let mut seen = Sighting::default();
        let user = || Some(AddressSpace::new(memory.clone(), 0x1000, 0));
        let who = Who { task: Some(1), pid: Some(7) };
        Programs::default().call(&mut seen, who, (door, nr, &args), user, |_| false);
        seen
    };
    let high = 0xffff_ffff_0000_0000;
    for door in [Door::Int80, Door::Syscall32, Door::Sysenter] {
        let wrote = seen(door, 4 | high, [1, BUFFER | high, 5 | high, 0, 0, 0]);
        assert_eq!((&wrote.written, wrote.unread, wrote.unbounded), (&counts(b"hello"), 0, false));
        // Of the other table this is an exit, and that its open.
        assert_eq!(seen(door, 1, [1, BUFFER, 5, 0, 0, 0]).written, ByteCounts::default());
        let sent = seen(door, 187, [1, 3, 0, 100, 0, 0]);
        assert_eq!((sent.unread, sent.unbounded), (100, false));
        assert!(seen(door, 146, [1, BUFFER, 1, 0, 0, 0]).unbounded);
        assert!(seen(door, 248, [0; 6]).unbounded && seen(door, 313, [0; 6]).unbounded);
        assert!(!seen(door, 20, [0; 6]).unbounded);
    }
}

#[test]
fn whom_a_call_reaches_into_is_known() {
    let memory = memory();
    memory.write_slice(b"/proc/17/mem\0/proc/x/mem\0/proc/18/maps\0", GuestAddress(0x8000)).unwrap();
    // At the end of the page, behind which nothing is.
    memory.write_slice(b"/proc/9/mem\0", GuestAddress(0x9000 - 12)).unwrap();
    let of = |nr, args| reaches(nr, &args, || Some(AddressSpace::new(memory.clone(), 0x1000, 0)));
    let open = |offset: u64, flags| of(257, [0, BUFFER + offset, flags, 0, 0, 0]);
    assert_eq!([open(0, 2), open(0, 0), open(13, 1), open(25, 1)], [Some(17), None, None, None]);
    assert_eq!((open(0x1000 - 12, 1), of(2, [BUFFER, 1, 0, 0, 0, 0])), (Some(9), Some(17)));
    assert_eq!([of(101, [16, 5, 0, 0, 0, 0]), of(101, [0, 5, 0, 0, 0, 0])], [Some(5), None]);
    assert_eq!([of(311, [6, 0, 0, 0, 0, 0]), of(310, [6, 0, 0, 0, 0, 0])], [Some(6), None]);
}

#[test]
fn so_much_is_looked_at_and_no_more() {
    let (mut programs, mut seen) = (Programs::default(), Sighting::default());
    let memory = memory();
    memory.write_slice(&[7; 4096], GuestAddress(0x8000)).unwrap();
    let who = Who::default();
    for _ in 0..300 {
        let user = || Some(AddressSpace::new(memory.clone(), 0x1000, 0));
        programs.call(&mut seen, who, (Door::Syscall64, 1, &[1, BUFFER, 4096, 0, 0, 0]), user, |_| false);
    }
    assert_eq!((seen.written.length(), seen.unread), (MOST_IN_STEP, (300 << 12) - MOST_IN_STEP));
}

#[test]
fn ends_of_programs_are_kept_up_to_a_number() {
    let (mut programs, mut seen) = (Programs::default(), Sighting::default());
    let exit = |pid, status| Exit { pid: Some(pid), status, took: Duration::ZERO, group: true, main: true };
    programs.exit(&mut seen, exit(9, 5), |pid| pid == 9);
    (0..300).for_each(|status| programs.exit(&mut seen, exit(7, status), |pid| pid == 9));
    let last = seen.exits.back().map(|exit| (exit.pid, exit.status));
    assert_eq!((seen.exits.len(), last, seen.more_exits), (256, Some((Some(7), 299)), true));
    assert_eq!(seen.exits[0].status, 5, "PID 1 waits for it");
}

/// A guest's clock is believed only between what was seen: of a step's program its beginning is known, whoever began before it.
#[test]
fn a_program_that_is_waited_for_has_a_beginning_among_any_number_of_others() {
    let (mut programs, mut seen) = (Programs::default(), Sighting::default());
    let mut calls = |programs: &mut Programs, pid| {
        let who = Who { task: None, pid: Some(pid) };
        programs.call(&mut seen, who, (Door::Syscall64, 39, &[0; 6]), || None, |pid| pid == 9 || pid == 5);
    };
    calls(&mut programs, 5);
    (100..300).for_each(|pid| calls(&mut programs, pid));
    calls(&mut programs, 9);
    (300..500).for_each(|pid| calls(&mut programs, pid));
    assert_eq!(programs.began.len(), MOST_PROGRAMS);
    assert!([5, 9].iter().all(|pid| programs.began.contains_key(pid)));
}
