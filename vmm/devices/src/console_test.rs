//! The console's ports and its conversation with a driver (virtio 1.3, section 5.3).

use crate::driver::{BUFFERS, Driver, Ring, SIZE, WRITE, queue_at};
use virtio_bindings::virtio_mmio::VIRTIO_MMIO_STATUS;
use vm_memory::{Bytes, GuestAddress};

/// The control queues, as the driver sees them.
const MESSAGES: u32 = 2;
const CONTROL: u32 = 3;

fn message(port: u32, event: u16, value: u16) -> Vec<u8> {
    [&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes()].concat()
}

/// A driver's control queues.
struct Talk<'a> {
    driver: Driver,
    control: Ring<'a>,
    messages: Ring<'a>,
}

impl Talk<'_> {
    fn say(&mut self, bytes: &[u8]) {
        self.driver.memory.write_slice(bytes, GuestAddress(BUFFERS)).unwrap();
        self.control.put(0, BUFFERS, bytes.len() as u32, 0, 0);
        self.control.offer(0);
        self.driver.notify(CONTROL);
        assert_eq!(self.control.used(), [(0, 0)]);
    }

    /// Takes messages with one buffer after the other, until none comes.
    fn hear(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            self.messages.put(0, BUFFERS, 64, WRITE, 0);
            self.messages.offer(0);
            self.driver.notify(MESSAGES);
            match self.messages.used()[..] {
                [(0, length)] => all.push(self.driver.bytes(BUFFERS, length as usize)),
                _ => return all,
            }
        }
    }
}

fn talk(test: impl FnOnce(Talk)) {
    let driver = Driver::ready();
    let memory = driver.memory.clone();
    test(Talk { control: Ring::new(&memory, CONTROL), messages: Ring::new(&memory, MESSAGES), driver });
}

#[test]
fn ports_are_told_named_and_opened_at_once() {
    talk(|mut talk| {
        talk.say(&message(u32::MAX, 0, 1));
        let name = [&message(1, 7, 1)[..], b"vmm.control"].concat();
        let all = [message(0, 1, 0), message(1, 1, 0), message(1, 6, 1), message(0, 4, 1), name];
        assert_eq!(talk.hear(), all);
        for said in [message(0, 3, 1), message(1, 3, 0), message(0, 6, 1), message(1, 6, 0)] {
            talk.say(&said);
        }
        assert_eq!((talk.hear(), talk.driver.errors()), (vec![], 0));
    });
}

#[test]
fn control_messages_that_are_none_are_counted() {
    talk(|mut talk| {
        let mut wrong =
            vec![message(2, 3, 1), message(u32::MAX, 6, 1), message(0, 1, 0), message(0, u16::MAX, 0)];
        wrong.push(message(0, 3, 1)[..7].to_vec());
        wrong.push([message(0, 3, 1), vec![0]].concat());
        wrong.push(vec![]);
        for (errors, bytes) in (1..).zip(&wrong) {
            talk.say(bytes);
            assert_eq!(talk.driver.errors(), errors, "{bytes:?}");
        }
        assert_eq!(talk.hear(), Vec::<Vec<u8>>::new());
    });
}

#[test]
fn a_driver_that_takes_no_answers_gets_no_more_of_them() {
    talk(|mut talk| {
        (0..1000).for_each(|_| talk.say(&message(0, 0, 1)));
        // Five of them each are kept up to 256; each later question is an error.
        assert_eq!(talk.driver.errors(), 1000 - 51);
    });
}

#[test]
fn a_message_waits_for_a_buffer_that_is_large_enough() {
    talk(|mut talk| {
        talk.say(&message(0, 0, 1));
        talk.messages.put(1, BUFFERS, 7, WRITE, 0);
        talk.messages.offer(1);
        talk.driver.notify(MESSAGES);
        assert_eq!((talk.messages.used(), talk.driver.errors()), (vec![(1, 0)], 1));
        assert_eq!(talk.hear()[0], message(0, 1, 0));
    });
}

#[test]
fn both_ports_speak_each_for_itself() {
    let mut driver = Driver::ready();
    let memory = driver.memory.clone();
    for (queue, text) in [(1, b"console"), (5, b"control")] {
        memory.write_slice(text, GuestAddress(BUFFERS)).unwrap();
        let mut ring = Ring::new(&memory, queue);
        ring.put(0, BUFFERS, 7, 0, 0);
        ring.offer(0);
        driver.notify(queue);
    }
    // More than one piece.
    let long = "0123456789abcdef".repeat(8000);
    memory.write_slice(long.as_bytes(), GuestAddress(BUFFERS)).unwrap();
    let mut ring = Ring::new(&memory, 1);
    ring.put(0, BUFFERS, long.len() as u32, 0, 0);
    (0..2).for_each(|_| ring.offer(0));
    driver.notify(1);
    assert_eq!((driver.said(0), driver.said(1)), (format!("console{long}"), "control".to_owned()));
    assert_eq!(driver.errors(), 0);
}

#[test]
fn a_driver_that_knows_of_no_ports_has_a_console() {
    let mut driver = Driver::new();
    driver.negotiate(1 << 32);
    (0..6).for_each(|queue| driver.set_up(queue, SIZE, queue_at(queue)));
    driver.write(VIRTIO_MMIO_STATUS, 15);
    let memory = driver.memory.clone();
    let mut ring = Ring::new(&memory, 1);
    memory.write_slice(b"old", GuestAddress(BUFFERS)).unwrap();
    ring.put(0, BUFFERS, 3, 0, 0);
    ring.offer(0);
    driver.notify(1);
    driver.notify(0);
    assert_eq!((driver.said(0), driver.errors()), ("old".to_owned(), 0));
    driver.send(b"x");
    (2..6).for_each(|queue| driver.notify(queue));
    assert_eq!(driver.errors(), 4);
}

#[test]
fn what_the_harness_says_before_there_is_a_driver_waits_for_it() {
    let mut driver = Driver::new();
    driver.send(b"early");
    driver.start();
    let memory = driver.memory.clone();
    let mut ring = Ring::new(&memory, 4);
    ring.put(0, BUFFERS, 64, WRITE, 0);
    ring.offer(0);
    driver.notify(4);
    assert_eq!((ring.used(), driver.bytes(BUFFERS, 5)), (vec![(0, 5)], b"early".to_vec()));
}
