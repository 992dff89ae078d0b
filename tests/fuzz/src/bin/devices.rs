//! The devices, driven by a guest that keeps no rule: registers of any width, rings and descriptors in guest memory,
//! notifications, resets, and bytes of the host in between; the state is taken out and put back now and then.

#![no_main]

use devices::{Cmos, Console, Device, I8042, SerialPort, Sink, Stateful, VirtioMmio};
use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use machine::{Bus, BusDevice, Memory, Space, create_memory};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};
use vm_memory::{Bytes, GuestAddress};

const WINDOW: u64 = 0xd000_0000;
/// Guest memory, in bytes.
const MEMORY: u64 = 1 << 20;
const QUEUES: u64 = 6;
/// Descriptors in each queue.
const SIZE: u64 = 16;
/// Registers of the virtio 1.3 specification, 4.2.2.
const DRIVER_FEATURES: u64 = 0x20;
const DRIVER_FEATURES_SEL: u64 = 0x24;
const QUEUE_SEL: u64 = 0x30;
const QUEUE_NUM: u64 = 0x38;
const QUEUE_READY: u64 = 0x44;
const NOTIFY: u64 = 0x50;
const STATUS: u64 = 0x70;
const DESCRIPTORS: u64 = 0x80;
const AVAILABLE: u64 = 0x90;
const USED: u64 = 0xa0;
/// The most that one notification may hand to the host: a whole queue of the longest chains.
const MOST: usize = 16 << 20;

struct Machine {
    memory: Memory,
    bus: Bus,
    console: Arc<Mutex<VirtioMmio<Console>>>,
    serial: Arc<Mutex<SerialPort>>,
    clock: Arc<Mutex<Cmos>>,
    /// Bytes that came out of it.
    out: Arc<AtomicUsize>,
}

impl Machine {
    fn new() -> Self {
        let memory = create_memory((MEMORY >> 20) as u32).expect("there is memory");
        let out = Arc::new(AtomicUsize::new(0));
        let sink = || -> Sink {
            let out = out.clone();
            Box::new(move |bytes| _ = out.fetch_add(bytes.len(), Ordering::Relaxed))
        };
        let console = Console::new("vmm.control", sink(), sink());
        let console = Arc::new(Mutex::new(VirtioMmio::new(console, memory.clone(), Arc::new(|| {}))));
        let serial = Arc::new(Mutex::new(SerialPort::new(Arc::new(|| {}), sink())));
        let clock = Arc::new(Mutex::new(Cmos::default()));
        let mut bus = Bus::new();
        bus.insert(Space::Memory, WINDOW, 0x1000, console.clone());
        bus.insert(Space::Port, 0x3f8, 8, serial.clone());
        bus.insert(Space::Port, 0x70, 2, clock.clone());
        bus.insert(Space::Port, 0x60, 5, Arc::new(Mutex::new(I8042)));
        Self { memory, bus, console, serial, clock, out }
    }

    fn register(&self, offset: u64, value: u32) {
        let _ = self.bus.write(Space::Memory, WINDOW + offset, &value.to_le_bytes());
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        let _ = self.memory.write_slice(bytes, GuestAddress(at % MEMORY));
    }

    /// All that an honest driver does first.
    fn start(&self) {
        for status in [0, 1, 3] {
            self.register(STATUS, status);
        }
        for (page, features) in [(1, 1), (0, 2)] {
            self.register(DRIVER_FEATURES_SEL, page);
            self.register(DRIVER_FEATURES, features);
        }
        self.register(STATUS, 11);
        for queue in 0..QUEUES {
            self.register(QUEUE_SEL, queue as u32);
            self.register(QUEUE_NUM, SIZE as u32);
            for (register, at) in [(DESCRIPTORS, 0), (AVAILABLE, 0x400), (USED, 0x800)] {
                self.register(register, (ring(queue) + at) as u32);
                self.register(register + 4, 0);
            }
            self.register(QUEUE_READY, 1);
        }
        self.register(STATUS, 15);
    }

    fn step(&self, input: &mut Input<'_>) {
        match input.u8() % 12 {
            0 => self.start(),
            1 => self.register(u64::from(input.u8()) * 4, input.u32()),
            2 => {
                let (space, at) = place(input);
                let length = usize::from(input.u8() % 9);
                let _ = self.bus.write(space, at, input.bytes(length));
            }
            3 => {
                let (space, at) = place(input);
                let mut bytes = [0; 8];
                self.bus.read(space, at, &mut bytes[..usize::from(input.u8() % 9)]);
            }
            4 => {
                let (at, length) = (u64::from(input.u16()) * 16, usize::from(input.u8()));
                self.put(at, input.bytes(length));
            }
            // A descriptor.
            5 => {
                let (queue, slot) = (u64::from(input.u8()) % QUEUES, u64::from(input.u8()) % SIZE);
                let (at, length) = (u64::from(input.u32()) << (input.u8() % 33), input.u32());
                let (flags, next) = (u16::from(input.u8() % 16), u16::from(input.u8() % 32));
                let mut bytes = at.to_le_bytes().to_vec();
                bytes.extend(length.to_le_bytes());
                bytes.extend(flags.to_le_bytes());
                bytes.extend(next.to_le_bytes());
                self.put(ring(queue) + slot * 16, &bytes);
            }
            // One more chain is available.
            6 => {
                let (queue, head) = (u64::from(input.u8()) % QUEUES, u16::from(input.u8() % 32));
                let index = ring(queue) + 0x402;
                let known: u16 = self.memory.read_obj(GuestAddress(index)).unwrap_or_default();
                self.put(index + 2 + u64::from(known) % SIZE * 2, &head.to_le_bytes());
                self.put(index, &known.wrapping_add(1).to_le_bytes());
            }
            7 => {
                let before = self.out.load(Ordering::Relaxed);
                self.register(NOTIFY, u32::from(input.u8()));
                assert!(self.out.load(Ordering::Relaxed) - before <= MOST, "a notification had no bound");
            }
            8 => {
                let bytes = vec![0x5a; usize::from(input.u16())];
                lock(&self.console).work(|console, queues| console.send(&bytes, queues));
            }
            9 => _ = lock(&self.console).work(|console, queues| console.pump(queues)),
            10 => {
                again(&mut *lock(&self.console));
                again(&mut *lock(&self.serial));
                again(&mut *lock(&self.clock));
            }
            _ => _ = self.bus.write(Space::Port, 0x3f8 + u64::from(input.u8() % 8), &[input.u8()]),
        }
    }
}

/// Where the rings of a queue are put.
fn ring(queue: u64) -> u64 {
    0x1000 * (queue + 1)
}

fn place(input: &mut Input<'_>) -> (Space, u64) {
    match input.u8() % 4 {
        0 => (Space::Port, 0x3f8 + u64::from(input.u8() % 10)),
        1 => (Space::Port, 0x60 + u64::from(input.u8() % 20)),
        _ => (Space::Memory, WINDOW + u64::from(input.u16() % 0x1004)),
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("a panic ends the process")
}

/// What a device gives out it also takes.
fn again<D: BusDevice + Stateful>(device: &mut D) {
    let state = Device::save(device);
    assert!(Device::restore(device, &state).is_ok(), "a device does not take its own state");
    assert!(Device::save(device) == state, "a device's state changed by being put back");
}

fuzz_target!(|data: &[u8]| {
    let machine = Machine::new();
    let mut input = Input::new(data);
    while !input.is_empty() {
        machine.step(&mut input);
    }
});
