//! The transport's registers, from the side of a driver that keeps the rules, and of one that does not.

use crate::{
    Device, Stateful,
    driver::{BUFFERS, Driver, END, FEATURES, Ring, SIZE, WRITE, queue_at},
};
use machine::BusDevice;
use proptest::prelude::*;
use virtio_bindings::virtio_mmio::*;
use vm_memory::{Bytes, GuestAddress};

const ACKNOWLEDGE: u32 = 1;
const DRIVER: u32 = 2;
const FEATURES_OK: u32 = 8;
const NEEDS_RESET: u32 = 64;
const FAILED: u32 = 128;

#[test]
fn a_driver_finds_a_console_of_two_ports() {
    let mut driver = Driver::new();
    let identity = [0, 4, 8].map(|offset| driver.read(offset));
    assert_eq!(identity, [u32::from_le_bytes(*b"virt"), 2, 3]);
    let mut offered = [0, 1, 2].map(|page| {
        driver.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, page);
        driver.read(VIRTIO_MMIO_DEVICE_FEATURES)
    });
    assert_eq!(offered, [2, 1, 0]);
    offered = [0, 4, 8].map(|offset| driver.read(VIRTIO_MMIO_CONFIG + offset));
    assert_eq!(offered, [0, 2, 0]);
    let mut sizes = [0, 5, 6, u32::MAX].map(|queue| {
        driver.write(VIRTIO_MMIO_QUEUE_SEL, queue);
        driver.read(VIRTIO_MMIO_QUEUE_NUM_MAX)
    });
    assert_eq!(sizes, [16, 16, 0, 0]);
    driver.start();
    sizes = [0, 5, 6, u32::MAX].map(|queue| {
        driver.write(VIRTIO_MMIO_QUEUE_SEL, queue);
        driver.read(VIRTIO_MMIO_QUEUE_READY)
    });
    assert_eq!((sizes, driver.errors(), driver.interrupts()), ([1, 1, 0, 0], 0, 0));
}

#[test]
fn configuration_space_ends_where_it_ends() {
    let mut driver = Driver::new();
    let mut rest = |offset, length| {
        let mut bytes = vec![0x55; length];
        driver.device.read(u64::from(VIRTIO_MMIO_CONFIG) + offset, &mut bytes);
        bytes
    };
    assert_eq!(rest(4, 1), [2]);
    assert_eq!(rest(4, 8), [2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(rest(11, 2), [0, 0]);
    assert_eq!(rest(0xeff, 1), [0]);
    assert_eq!(driver.errors(), 0);
}

#[test]
fn status_bits_come_in_their_order_and_none_is_taken_back() {
    // What is written one after the other, how often that is an error, and where it ends.
    let ready = [ACKNOWLEDGE, 3, 11, 15];
    let cases: [(&[u32], u64, u32); 12] = [
        (&ready, 0, 15),
        (&[DRIVER], 1, 0),
        (&[ACKNOWLEDGE, 5], 1, ACKNOWLEDGE),
        (&[ACKNOWLEDGE, 3, 7], 1, 3),
        (&[ACKNOWLEDGE, 3, 15], 1, 3),
        (&[15], 1, 0),
        (&[1, 3, 11, 3], 1, 11),
        (&[1, 3, 1, 11, 15], 1, 15),
        (&[1, 3, 11 | FAILED], 0, 11 | FAILED),
        (&[1, 3, 0x10 | 3, 11], 1, 11),
        (&[1, 3, NEEDS_RESET | 3], 1, 3),
        (&[1, 3, 11, 0, 1], 0, 1),
    ];
    for (writes, errors, end) in cases {
        let mut driver = Driver::new();
        for status in writes {
            if *status & FEATURES_OK != 0 {
                // Earlier than that it would be too early.
                for (page, value) in [(0, 2), (1, 1)] {
                    if driver.read(VIRTIO_MMIO_STATUS) == 3 {
                        driver.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, page);
                        driver.write(VIRTIO_MMIO_DRIVER_FEATURES, value);
                    }
                }
            }
            driver.write(VIRTIO_MMIO_STATUS, *status);
        }
        assert_eq!((driver.errors(), driver.read(VIRTIO_MMIO_STATUS)), (errors, end), "{writes:?}");
    }
}

#[test]
fn features_are_the_offered_ones_with_version_1_or_there_are_none() {
    for (features, errors, status) in [
        (FEATURES, 0, 11),
        (1 << 32, 0, 11),
        (2, 1, 3),
        (FEATURES | 1, 1, 3),
        (FEATURES | 1 << 28, 1, 3),
        (FEATURES | 1 << 33, 1, 3),
    ] {
        let mut driver = Driver::new();
        driver.negotiate(features);
        assert_eq!((driver.errors(), driver.read(VIRTIO_MMIO_STATUS)), (errors, status), "{features:#x}");
    }
    let mut driver = Driver::new();
    // Too early, and too late.
    driver.write(VIRTIO_MMIO_DRIVER_FEATURES, 2);
    assert_eq!(driver.errors(), 1);
    driver.negotiate(FEATURES);
    driver.write(VIRTIO_MMIO_DRIVER_FEATURES, 0);
    assert_eq!(driver.errors(), 2);
    // Pages that hold nothing take nothing.
    driver.write(VIRTIO_MMIO_STATUS, 0);
    driver.write(VIRTIO_MMIO_STATUS, 1);
    driver.write(VIRTIO_MMIO_STATUS, 3);
    driver.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 2);
    driver.write(VIRTIO_MMIO_DRIVER_FEATURES, 0);
    assert_eq!(driver.errors(), 2);
    driver.write(VIRTIO_MMIO_DRIVER_FEATURES, 1);
    assert_eq!(driver.errors(), 3);
}

#[test]
fn a_queue_is_set_up_between_features_and_start_while_it_is_not_ready() {
    let mut driver = Driver::new();
    driver.write(VIRTIO_MMIO_QUEUE_NUM, 8);
    driver.write(VIRTIO_MMIO_QUEUE_READY, 1);
    assert_eq!((driver.errors(), driver.read(VIRTIO_MMIO_QUEUE_READY)), (2, 0));
    driver.negotiate(FEATURES);
    for (size, errors) in [(8, 0), (16, 0), (0, 1), (3, 1), (32, 1), (0x1_0008, 1), (u32::MAX, 1)] {
        let before = driver.errors();
        driver.write(VIRTIO_MMIO_QUEUE_NUM, size);
        assert_eq!(driver.errors() - before, errors, "{size}");
    }
    let before = driver.errors();
    for (register, value) in [
        (VIRTIO_MMIO_QUEUE_DESC_LOW, 8),
        (VIRTIO_MMIO_QUEUE_AVAIL_LOW, 1),
        (VIRTIO_MMIO_QUEUE_USED_LOW, 2),
        (VIRTIO_MMIO_QUEUE_READY, 2),
        (VIRTIO_MMIO_MAGIC_VALUE, 0),
        (0xfc, 0),
        (VIRTIO_MMIO_CONFIG, 0),
    ] {
        driver.write(register, value);
    }
    assert_eq!(driver.errors() - before, 7);
    driver.set_up(0, SIZE, queue_at(0));
    let before = driver.errors();
    driver.write(VIRTIO_MMIO_QUEUE_NUM, 8);
    driver.write(VIRTIO_MMIO_QUEUE_DESC_HIGH, 1);
    driver.write(VIRTIO_MMIO_QUEUE_READY, 1);
    assert_eq!(driver.errors() - before, 3);
    driver.write(VIRTIO_MMIO_QUEUE_READY, 0);
    driver.write(VIRTIO_MMIO_STATUS, 15);
    let before = driver.errors();
    driver.write(VIRTIO_MMIO_QUEUE_READY, 1);
    driver.write(VIRTIO_MMIO_QUEUE_SEL, 6);
    driver.write(VIRTIO_MMIO_QUEUE_READY, 0);
    assert_eq!(driver.errors() - before, 2);
}

#[test]
fn registers_are_four_bytes_wide() {
    let mut driver = Driver::new();
    for length in [1, 2, 8] {
        let mut bytes = vec![0x55; length];
        driver.device.read(0, &mut bytes);
        assert_eq!(bytes, vec![0; length]);
        let _ = driver.device.write(u64::from(VIRTIO_MMIO_STATUS), &vec![1; length]);
    }
    assert_eq!((driver.errors(), driver.read(VIRTIO_MMIO_STATUS)), (6, 0));
}

#[test]
fn notifications_count_for_queues_that_are_there_and_ready() {
    let mut driver = Driver::new();
    driver.negotiate(FEATURES);
    driver.set_up(5, SIZE, queue_at(5));
    let memory = driver.memory.clone();
    let mut ring = Ring::new(&memory, 5);
    ring.put(0, BUFFERS, 1, 0, 0);
    ring.offer(0);
    driver.notify(5);
    assert_eq!((driver.errors(), ring.used().len()), (1, 0));
    driver.write(VIRTIO_MMIO_STATUS, 15);
    for queue in [0, 6, u32::MAX] {
        driver.notify(queue);
    }
    assert_eq!(driver.errors(), 4);
    driver.notify(5);
    assert_eq!((driver.errors(), ring.used().len(), driver.interrupts()), (4, 1, 1));
    assert_eq!(driver.read(VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    driver.write(VIRTIO_MMIO_INTERRUPT_ACK, 1);
    assert_eq!((driver.read(VIRTIO_MMIO_INTERRUPT_STATUS), driver.errors()), (0, 4));
}

#[test]
fn a_reset_in_mid_flight_forgets_queues_and_control_messages_and_keeps_what_the_host_said() {
    let mut driver = Driver::ready();
    let memory = driver.memory.clone();
    let mut control = Ring::new(&memory, 3);
    memory.write_slice(&[0; 8], GuestAddress(BUFFERS)).unwrap();
    control.put(0, BUFFERS, 8, 0, 0);
    control.offer(0);
    driver.notify(3);
    driver.send(b"hello");
    driver.write(VIRTIO_MMIO_STATUS, 0);
    assert_eq!([VIRTIO_MMIO_STATUS, VIRTIO_MMIO_INTERRUPT_STATUS].map(|at| driver.read(at)), [0, 0]);
    driver.notify(3);
    assert_eq!(driver.errors(), 1);
    driver.start();
    // The old index would be far ahead now. The two messages of before don't come.
    let mut messages = Ring::new(&memory, 2);
    messages.put(0, BUFFERS, 64, WRITE, 0);
    messages.offer(0);
    driver.notify(2);
    assert_eq!(messages.used(), []);
    let mut input = Ring::new(&memory, 4);
    input.put(0, BUFFERS, 64, WRITE, 0);
    input.offer(0);
    driver.notify(4);
    assert_eq!((input.used(), driver.bytes(BUFFERS, 5)), (vec![(0, 5)], b"hello".to_vec()));
    assert_eq!(driver.errors(), 1);
}

#[test]
fn a_device_goes_on_elsewhere_in_mid_flight() {
    let mut one = Driver::ready();
    let memory = one.memory.clone();
    let (mut control, mut output) = (Ring::new(&memory, 3), Ring::new(&memory, 5));
    memory.write_slice(&[0; 8], GuestAddress(BUFFERS)).unwrap();
    memory.write_slice(b"out", GuestAddress(BUFFERS + 0x100)).unwrap();
    control.put(0, BUFFERS, 8, 0, 0);
    control.offer(0);
    one.notify(3);
    output.put(7, BUFFERS + 0x100, 3, 0, 0);
    output.offer(7);
    one.notify(5);
    one.notify(9);
    one.send(b"hello");
    let saved = one.device.save();

    // The memory is the guest's, and goes with it.
    let mut two = Driver::with(memory.clone());
    two.device.restore(&saved).unwrap();
    assert_eq!(two.device.state(), one.device.state());
    assert_eq!(two.device.save(), saved);
    // The edge of an interrupt that is not acknowledged yet has come: the interrupt controllers know.
    assert_eq!((two.interrupts(), two.read(VIRTIO_MMIO_INTERRUPT_STATUS), two.errors()), (0, 1, 1));
    output.offer(7);
    two.notify(5);
    assert_eq!((two.said(1), output.used()), ("out".into(), vec![(7, 0), (7, 0)]));
    let (mut messages, mut input) = (Ring::new(&memory, 2), Ring::new(&memory, 4));
    for ring in [&mut messages, &mut input] {
        ring.put(0, BUFFERS, 64, WRITE, 0);
        ring.offer(0);
    }
    two.notify(2);
    assert_eq!((messages.used(), two.bytes(BUFFERS + 4, 2)), (vec![(0, 8)], vec![1, 0]));
    two.notify(4);
    assert_eq!((input.used(), two.bytes(BUFFERS, 5)), (vec![(0, 5)], b"hello".to_vec()));
}

#[test]
fn a_state_that_no_such_device_has_is_refused_and_changes_nothing() {
    let driver = Driver::ready();
    let saved = driver.device.save();
    let mut other = Driver::new();
    let before = other.device.save();
    for cut in 0..saved.len() {
        other.device.restore(&saved[..cut]).unwrap_err();
    }
    other.device.restore(&[&saved[..], &[0]].concat()).unwrap_err();
    assert_eq!(other.device.save(), before);
}

/// One thing that a hostile driver does.
#[derive(Clone, Debug)]
enum Deed {
    Write(u32, u32),
    Poke(u64, u32),
    Other(u64, Vec<u8>),
    Send(Vec<u8>),
}

fn deed() -> impl Strategy<Value = Deed> {
    let register = prop_oneof![
        3 => prop::sample::select(vec![
            VIRTIO_MMIO_QUEUE_SEL, VIRTIO_MMIO_QUEUE_NUM, VIRTIO_MMIO_QUEUE_READY, VIRTIO_MMIO_QUEUE_DESC_LOW,
            VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_MMIO_STATUS,
            VIRTIO_MMIO_DRIVER_FEATURES, VIRTIO_MMIO_DRIVER_FEATURES_SEL,
        ]),
        6 => Just(VIRTIO_MMIO_QUEUE_NOTIFY),
        1 => 0u32..0x1000,
    ];
    let value = prop_oneof![
        4 => 0u32..8,
        1 => prop::sample::select(vec![11, 15, 16, 0x1_0000, 0x5_0000, 0xffff_fff0]),
        1 => any::<u32>(),
    ];
    // Into the queues, mostly: descriptors, indexes, heads.
    let place = prop_oneof![
        8 => (0u64..6, 0u64..0x1c0).prop_map(|(queue, at)| queue_at(queue as u32).0 + at * 2),
        1 => 0..END - 4,
    ];
    prop_oneof![
        3 => (register, value.clone()).prop_map(|(register, value)| Deed::Write(register, value)),
        4 => (place, value).prop_map(|(at, value)| Deed::Poke(at, value)),
        1 => (0u64..0x1000, prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Deed::Other(at, bytes)),
        1 => prop::collection::vec(any::<u8>(), 0..100).prop_map(Deed::Send),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Whatever a driver does, the device answers, keeps no more than it may, and can be saved and put back.
    #[test]
    fn no_driver_panics_a_device_or_fills_the_host(deeds in prop::collection::vec(deed(), 1..200), start: bool) {
        let mut driver = if start { Driver::ready() } else { Driver::new() };
        let mut sent = 0;
        for deed in deeds {
            match deed {
                Deed::Write(register, value) => driver.write(register, value),
                Deed::Poke(at, value) => driver.memory.write_obj(value, GuestAddress(at)).unwrap(),
                Deed::Other(at, bytes) => {
                    let _ = driver.device.write(at, &bytes);
                    driver.device.read(at, &mut vec![0; bytes.len()]);
                }
                Deed::Send(bytes) => {
                    sent += bytes.len();
                    driver.send(&bytes);
                }
            }
        }
        let saved = driver.device.save();
        // 256 control messages of 20 bytes at the most, and what the host itself has sent.
        prop_assert!(saved.len() < 256 * 20 + sent + 500, "{} bytes", saved.len());
        let mut other = Driver::with(driver.memory.clone());
        other.device.restore(&saved).unwrap();
        prop_assert_eq!(other.device.save(), saved);
        // After a reset it serves an honest driver.
        driver.said[1].lock().unwrap().clear();
        driver.start();
        let memory = driver.memory.clone();
        memory.write_slice(b"honest", GuestAddress(BUFFERS)).unwrap();
        let mut ring = Ring::new(&memory, 5);
        ring.put(0, BUFFERS, 6, 0, 0);
        ring.offer(0);
        driver.notify(5);
        prop_assert_eq!((driver.said(1), ring.used()), ("honest".to_owned(), vec![(0, 0)]));
    }
}
