//! Every rule of descriptor chains and rings (virtio 1.3, section 2.7), from the side of a driver that breaks it.

use crate::driver::{BUFFERS, Driver, END, INDIRECT, NEXT, Ring, SIZE, WRITE, queue_at};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use virtio_bindings::virtio_mmio::*;
use vm_memory::{Bytes, GuestAddress};

/// Transmit queue of the control port.
const OUTPUT: u32 = 5;
/// Its receive queue.
const INPUT: u32 = 4;

/// (address, length, flags, next) of the descriptors from slot 0 on.
type Table<'a> = &'a [(u64, u32, u16, u16)];

/// One chain that begins at `head` goes to the port: what it said, the errors, and what came back.
fn transmit(table: Table, head: u16) -> (String, u64, Vec<(u32, u32)>) {
    let mut driver = Driver::ready();
    let memory = driver.memory.clone();
    memory.write_slice(b"abcdefgh", GuestAddress(BUFFERS)).unwrap();
    memory.write_slice(b"yz", GuestAddress(END - 2)).unwrap();
    let mut ring = Ring::new(&memory, OUTPUT);
    for (slot, (at, length, flags, next)) in (0..).zip(table) {
        ring.put(slot, *at, *length, *flags, *next);
    }
    ring.offer(head);
    driver.notify(OUTPUT);
    // It is there for the next one, whatever became of this.
    let (said, errors, used) = (driver.said(1), driver.errors(), ring.used());
    ring.put(15, BUFFERS, 1, 0, 0);
    ring.offer(15);
    driver.notify(OUTPUT);
    assert_eq!((driver.said(1), driver.errors()), (said.clone() + "a", errors), "{table:?}");
    assert_eq!(ring.used(), [(15, 0)], "{table:?}");
    (said, errors, used)
}

#[test]
fn chains_that_keep_the_rules_arrive() {
    let back = |head| vec![(head, 0)];
    assert_eq!(transmit(&[(BUFFERS, 8, 0, 0)], 0), ("abcdefgh".into(), 0, back(0)));
    let three: Table = &[(BUFFERS, 1, 0, 9), (BUFFERS + 4, 2, NEXT, 2), (BUFFERS + 2, 2, NEXT, 0)];
    assert_eq!(transmit(three, 1), ("efcda".into(), 0, back(1)));
    assert_eq!(transmit(&[(END - 2, 2, 0, 0)], 0), ("yz".into(), 0, back(0)));
    // A length of 0 is no error, wherever it points.
    assert_eq!(transmit(&[(u64::MAX, 0, NEXT, 1), (BUFFERS, 3, 0, 0)], 0), ("abc".into(), 0, back(0)));
    // All descriptors in one chain.
    let whole: Vec<_> =
        (0..SIZE).map(|slot| (BUFFERS, 1, if slot == SIZE - 1 { 0 } else { NEXT }, slot + 1)).collect();
    assert_eq!(transmit(&whole, 0), ("a".repeat(16), 0, back(0)));
}

#[test]
fn chains_that_break_a_rule_are_dropped_whole_counted_once_and_given_back() {
    let good = (BUFFERS, 8, NEXT, 1);
    let bad: [(&str, Table); 13] = [
        ("a loop of one", &[(BUFFERS, 1, NEXT, 0)]),
        ("a loop of two", &[(BUFFERS, 1, NEXT, 1), (BUFFERS, 1, NEXT, 0)]),
        ("a next one outside of the table", &[(BUFFERS, 1, NEXT, SIZE)]),
        ("the farthest next one", &[(BUFFERS, 1, NEXT, u16::MAX)]),
        ("a buffer behind memory", &[good, (END, 1, 0, 0)]),
        ("a buffer across memory's end", &[good, (END - 1, 2, 0, 0)]),
        ("a buffer across the end of addresses", &[good, (u64::MAX, 2, 0, 0)]),
        ("the largest buffer", &[(BUFFERS, u32::MAX, 0, 0)]),
        ("an indirect table", &[(BUFFERS, 16, INDIRECT, 0)]),
        ("an indirect table in a chain", &[good, (BUFFERS, 16, INDIRECT, 0)]),
        ("a buffer to write in a transmit queue", &[(BUFFERS, 8, WRITE, 0)]),
        ("one to write behind one to read", &[good, (BUFFERS, 8, WRITE, 0)]),
        ("one to read behind one to write", &[(BUFFERS, 8, WRITE | NEXT, 1), (BUFFERS, 8, 0, 0)]),
    ];
    for (what, table) in bad {
        assert_eq!(transmit(table, 0), (String::new(), 1, vec![(0, 0)]), "{what}");
    }
    // Overlapping buffers of more than 1 MiB in all.
    let large: Vec<_> =
        (0..4).map(|slot| (BUFFERS, 0x5_0000, if slot == 3 { 0 } else { NEXT }, slot + 1)).collect();
    assert_eq!(transmit(&large, 0), (String::new(), 1, vec![(0, 0)]));
}

#[test]
fn a_head_outside_of_the_table_is_counted_and_can_not_be_given_back() {
    for head in [SIZE, u16::MAX] {
        assert_eq!(transmit(&[], head), (String::new(), 1, vec![]), "{head}");
    }
}

#[test]
fn an_index_too_far_ahead_is_counted_at_each_notification_and_nothing_is_taken() {
    for ahead in [SIZE + 1, 0x8000, u16::MAX] {
        let mut driver = Driver::ready();
        let memory = driver.memory.clone();
        let mut ring = Ring::new(&memory, OUTPUT);
        memory.write_slice(b"a", GuestAddress(BUFFERS)).unwrap();
        (0..SIZE).for_each(|slot| ring.put(slot, BUFFERS, 1, 0, 0));
        ring.mock.avail().idx().store(ahead);
        for errors in 1..=3 {
            driver.notify(OUTPUT);
            assert_eq!((driver.errors(), driver.said(1)), (errors, String::new()), "{ahead}");
        }
        assert_eq!((ring.used(), driver.interrupts()), (vec![], 0));
        // A whole ring is not too far.
        ring.mock.avail().idx().store(SIZE);
        driver.notify(OUTPUT);
        assert_eq!((driver.errors(), driver.said(1).len(), ring.used().len()), (3, 16, 16));
        // Back is very far ahead.
        ring.mock.avail().idx().store(SIZE - 1);
        driver.notify(OUTPUT);
        assert_eq!(driver.errors(), 4);
    }
}

#[test]
fn the_index_goes_around() {
    let mut driver = Driver::ready();
    let memory = driver.memory.clone();
    let mut ring = Ring::new(&memory, OUTPUT);
    ring.put(3, BUFFERS, 1, 0, 0);
    for _ in 0..0x1_0010 {
        ring.offer(3);
        driver.notify(OUTPUT);
    }
    assert_eq!((driver.errors(), driver.said(1).len(), driver.interrupts()), (0, 0x1_0010, 0x1_0010));
}

#[test]
fn rings_outside_of_memory_are_counted_and_never_touched() {
    for (register, address) in [
        (VIRTIO_MMIO_QUEUE_DESC_LOW, END - 16),
        (VIRTIO_MMIO_QUEUE_AVAIL_LOW, END - 2),
        (VIRTIO_MMIO_QUEUE_USED_LOW, END - 4),
        (VIRTIO_MMIO_QUEUE_DESC_LOW, !15),
        (VIRTIO_MMIO_QUEUE_AVAIL_LOW, !1),
        (VIRTIO_MMIO_QUEUE_USED_LOW, !3),
    ] {
        let mut driver = Driver::new();
        driver.negotiate(crate::driver::FEATURES);
        driver.set_up(OUTPUT, SIZE, queue_at(OUTPUT));
        driver.write(VIRTIO_MMIO_QUEUE_READY, 0);
        driver.write(register, address as u32);
        driver.write(register + 4, (address >> 32) as u32);
        driver.write(VIRTIO_MMIO_QUEUE_READY, 1);
        driver.write(VIRTIO_MMIO_STATUS, 15);
        let memory = driver.memory.clone();
        Ring::new(&memory, OUTPUT).offer(0);
        assert_eq!(driver.errors(), 0);
        driver.notify(OUTPUT);
        assert_eq!((driver.errors(), driver.interrupts()), (1, 0), "{register:#x} {address:#x}");
    }
}

/// The guest goes on offering buffers of no length, and keeps its index as far ahead as it may.
#[test]
fn a_driver_that_is_always_ahead_holds_nobody() {
    let mut driver = Driver::ready();
    let memory = driver.memory.clone();
    let stop = AtomicBool::new(false);
    let used =
        |queue| -> u16 { memory.load(GuestAddress(Ring::used_at(queue).0 + 2), Ordering::Relaxed).unwrap() };
    let keep_ahead = |queue| {
        let ring = Ring::new(&memory, queue);
        (0..SIZE).for_each(|slot| ring.put(slot, BUFFERS, 0, if queue == INPUT { WRITE } else { 0 }, 0));
        while !stop.load(Ordering::Relaxed) {
            let taken = ring.mock.used().idx().load();
            ring.mock.avail().idx().store(taken.wrapping_add(SIZE));
        }
    };
    /// A failure must end the others, or the scope waits for them for ever.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| keep_ahead(OUTPUT));
        scope.spawn(|| keep_ahead(INPUT));
        for queue in [OUTPUT, INPUT] {
            while used(queue) == 0 {
                driver.send(b"x");
                driver.notify(OUTPUT);
            }
            for _ in 0..100 {
                let before = used(queue);
                if queue == INPUT {
                    driver.send(b"x")
                } else {
                    driver.notify(queue)
                }
                // A queue to the driver is looked at a second time once it has asked to be told of more.
                let most = if queue == INPUT { 2 * SIZE } else { SIZE };
                let after = used(queue);
                assert!(after.wrapping_sub(before) <= most, "queue {queue}: from {before} to {after}");
            }
        }
    });
    // Buffers without room for a single byte break a rule. What was to go into them is still there.
    assert!(driver.errors() > 0);
    assert_eq!(driver.said(1), "");
}

#[test]
fn input_fills_buffers_of_any_size_and_waits_for_more() {
    let mut driver = Driver::ready();
    let memory = driver.memory.clone();
    let mut ring = Ring::new(&memory, INPUT);
    driver.send(b"abcdefghij");
    assert_eq!((ring.used(), driver.interrupts()), (vec![], 0));
    ring.put(0, BUFFERS, 3, WRITE | NEXT, 1);
    ring.put(1, BUFFERS + 0x100, 1, WRITE, 0);
    ring.put(2, BUFFERS + 0x200, 2, WRITE, 0);
    ring.put(3, BUFFERS + 0x300, 99, WRITE, 0);
    ring.offer(0);
    driver.notify(INPUT);
    ring.offer(2);
    ring.offer(3);
    ring.offer(3);
    driver.notify(INPUT);
    assert_eq!(ring.used(), [(0, 4), (2, 2), (3, 4)]);
    let there = [(0, 3), (0x100, 1), (0x200, 2), (0x300, 4)];
    let there = there.map(|(at, length)| driver.bytes(BUFFERS + at, length));
    assert_eq!(there, [&b"abc"[..], b"d", b"ef", b"ghij"]);
    // The last buffer was left for what comes later.
    driver.send(b"k");
    assert_eq!((ring.used(), driver.errors()), (vec![(3, 1)], 0));
    assert_eq!(driver.interrupts(), 3);
}

#[test]
fn input_goes_into_no_buffer_that_breaks_a_rule() {
    let bad: [(&str, Table); 5] = [
        ("no room", &[(BUFFERS, 0, WRITE, 0)]),
        ("one to read", &[(BUFFERS, 8, 0, 0)]),
        ("one to read first", &[(BUFFERS, 8, NEXT, 1), (BUFFERS, 8, WRITE, 0)]),
        ("outside of memory", &[(END, 8, WRITE, 0)]),
        ("a loop", &[(BUFFERS, 8, WRITE | NEXT, 0)]),
    ];
    for (what, table) in bad {
        let mut driver = Driver::ready();
        let memory = driver.memory.clone();
        let mut ring = Ring::new(&memory, INPUT);
        for (slot, (at, length, flags, next)) in (0..).zip(table) {
            ring.put(slot, *at, *length, *flags, *next);
        }
        ring.offer(0);
        ring.put(9, BUFFERS + 0x100, 8, WRITE, 0);
        ring.offer(9);
        driver.send(b"abc");
        assert_eq!((ring.used(), driver.errors()), (vec![(0, 0), (9, 3)], 1), "{what}");
        assert_eq!(driver.bytes(BUFFERS, 3), [0; 3], "{what}");
        assert_eq!(driver.bytes(BUFFERS + 0x100, 3), b"abc", "{what}");
    }
}

/// Each notification is an exit, and Linux would make one for every buffer that it offers to be filled.
#[test]
fn receive_queues_ask_for_notifications_only_while_something_waits() {
    let mut driver = Driver::ready();
    let memory = driver.memory.clone();
    // VIRTQ_USED_F_NO_NOTIFY (2.7.10).
    let quiet = |queue| -> u16 { memory.read_obj(Ring::used_at(queue)).unwrap() };
    assert_eq!([0, 1, 2, 3, 4, 5].map(quiet), [1, 0, 1, 0, 1, 0]);
    driver.send(b"abc");
    assert_eq!(quiet(INPUT), 0);
    let mut ring = Ring::new(&memory, INPUT);
    (0..2).for_each(|slot| ring.put(slot, BUFFERS, 2, WRITE, 0));
    ring.offer(0);
    driver.notify(INPUT);
    assert_eq!((ring.used(), quiet(INPUT)), (vec![(0, 2)], 0));
    ring.offer(1);
    driver.notify(INPUT);
    assert_eq!((ring.used(), quiet(INPUT)), (vec![(1, 1)], 1));
    // What is offered in silence is found when something comes.
    ring.offer(0);
    driver.send(b"d");
    assert_eq!((ring.used(), quiet(INPUT), driver.errors()), (vec![(0, 1)], 1, 0));
}

#[test]
fn a_driver_that_wants_no_interrupt_gets_none() {
    let mut driver = Driver::ready();
    let memory = driver.memory.clone();
    let mut ring = Ring::new(&memory, OUTPUT);
    ring.put(0, BUFFERS, 1, 0, 0);
    for (flags, interrupts) in [(1u16, 0), (0, 1), (1, 1)] {
        memory.write_obj(flags, ring.mock.avail_addr()).unwrap();
        ring.offer(0);
        driver.notify(OUTPUT);
        assert_eq!((ring.used().len(), driver.interrupts()), (1, interrupts));
    }
}

/// What is much is handed on by who looks again soon, and the driver makes no exit for each buffer.
#[test]
fn much_is_pumped_without_a_notification() {
    let mut driver = Driver::ready();
    let memory = driver.memory.clone();
    let mut ring = Ring::new(&memory, INPUT);
    let quiet = || -> u16 { memory.read_obj(Ring::used_at(INPUT)).unwrap() };
    driver.send(&[7; 40 << 10]);
    assert_eq!(quiet(), 1);
    // A buffer of 4 KiB at a time: 36 KiB are still much, 32 are not.
    for (chain, much) in [(0, true), (1, false)] {
        ring.put(chain, BUFFERS, 4096, WRITE, 0);
        ring.offer(chain);
        assert_eq!(driver.pump(), much, "{chain}");
    }
    assert_eq!((ring.used(), quiet()), (vec![(0, 4096), (1, 4096)], 0));
    // From here on a notification is waited for.
    ring.put(2, BUFFERS, 4096, WRITE, 0);
    ring.offer(2);
    assert!(!driver.pump());
    assert_eq!(ring.used(), []);
    driver.notify(INPUT);
    assert_eq!((ring.used(), driver.errors()), (vec![(2, 4096)], 0));
}
