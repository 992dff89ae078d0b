//! A driver of the console, for tests: it can break every rule.

use crate::{Console, VirtioMmio};
use machine::{BusDevice, Effect, Memory, create_memory};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};
use virtio_bindings::{
    virtio_mmio::*,
    virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE},
};
use virtio_queue::{
    desc::{RawDescriptor, split::Descriptor},
    mock::MockSplitQueue,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, bitmap::AtomicBitmap};

pub const NEXT: u16 = VRING_DESC_F_NEXT as u16;
pub const WRITE: u16 = VRING_DESC_F_WRITE as u16;
pub const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

/// Descriptors in each queue.
pub const SIZE: u16 = 16;
/// Version 1 and several ports.
pub const FEATURES: u64 = 1 << 32 | 2;
/// Buffers begin here in guest memory, in front of them are the queues.
pub const BUFFERS: u64 = 0x10_0000;
/// Guest memory ends here.
pub const END: u64 = 32 << 20;

/// The device, and all that can be seen of it.
pub struct Driver {
    pub device: VirtioMmio<Console>,
    pub memory: Memory,
    /// What the console and the control port have sent.
    pub said: [Arc<Mutex<Vec<u8>>>; 2],
    raised: Arc<AtomicU64>,
}

impl Driver {
    /// Before the driver's first access.
    pub fn new() -> Self {
        Self::with(create_memory((END >> 20) as u32).unwrap())
    }

    pub fn with(memory: Memory) -> Self {
        let said = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));
        let [console, control] = said
            .clone()
            .map(|said| Box::new(move |bytes: &[u8]| said.lock().unwrap().extend(bytes)) as crate::Sink);
        let raised = Arc::new(AtomicU64::new(0));
        let line = raised.clone();
        let interrupt = Arc::new(move || {
            line.fetch_add(1, Ordering::Relaxed);
        });
        let device =
            VirtioMmio::new(Console::new("vmm.control", console, control), memory.clone(), interrupt);
        Self { device, memory, said, raised }
    }

    /// With all queues, as Linux has it.
    pub fn ready() -> Self {
        let mut driver = Self::new();
        driver.start();
        driver
    }

    pub fn start(&mut self) {
        self.negotiate(FEATURES);
        for index in 0..6 {
            self.set_up(index, SIZE, queue_at(index));
        }
        self.write(VIRTIO_MMIO_STATUS, 15);
        assert_eq!(self.read(VIRTIO_MMIO_STATUS), 15);
    }

    /// As far as FEATURES_OK.
    pub fn negotiate(&mut self, features: u64) {
        for status in [0, 1, 3] {
            self.write(VIRTIO_MMIO_STATUS, status);
        }
        for (page, value) in [(1, features >> 32), (0, features)] {
            self.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, page);
            self.write(VIRTIO_MMIO_DRIVER_FEATURES, value as u32);
        }
        self.write(VIRTIO_MMIO_STATUS, 11);
    }

    /// The device's side of a queue; the mock has all of it at `at`.
    pub fn set_up(&mut self, index: u32, size: u16, at: GuestAddress) {
        let memory = self.memory.clone();
        let mock = MockSplitQueue::create(&*memory, at, size);
        self.write(VIRTIO_MMIO_QUEUE_SEL, index);
        self.write(VIRTIO_MMIO_QUEUE_NUM, u32::from(size));
        for (low, address) in [
            (VIRTIO_MMIO_QUEUE_DESC_LOW, mock.desc_table_addr()),
            (VIRTIO_MMIO_QUEUE_AVAIL_LOW, mock.avail_addr()),
            (VIRTIO_MMIO_QUEUE_USED_LOW, mock.used_addr()),
        ] {
            self.write(low, address.0 as u32);
            self.write(low + 4, (address.0 >> 32) as u32);
        }
        self.write(VIRTIO_MMIO_QUEUE_READY, 1);
    }

    pub fn read(&mut self, offset: u32) -> u32 {
        let mut word = [0x55; 4];
        self.device.read(u64::from(offset), &mut word);
        u32::from_le_bytes(word)
    }

    pub fn write(&mut self, offset: u32, value: u32) {
        assert_eq!(self.device.write(u64::from(offset), &value.to_le_bytes()), Effect::None);
    }

    pub fn notify(&mut self, index: u32) {
        self.write(VIRTIO_MMIO_QUEUE_NOTIFY, index);
    }

    /// The harness sends bytes to the control port.
    pub fn send(&mut self, bytes: &[u8]) {
        self.device.work(|console, queues| console.send(bytes, queues));
    }

    pub fn pump(&mut self) -> bool {
        self.device.work(|console, queues| console.pump(queues))
    }

    pub fn errors(&self) -> u64 {
        crate::Stateful::errors(&self.device)
    }

    /// How often the interrupt line was raised.
    pub fn interrupts(&self) -> u64 {
        self.raised.load(Ordering::Relaxed)
    }

    pub fn said(&self, port: usize) -> String {
        String::from_utf8_lossy(&self.said[port].lock().unwrap()).into_owned()
    }

    /// What lies in guest memory.
    pub fn bytes(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }
}

/// Where the mock has the queue of this number.
pub fn queue_at(index: u32) -> GuestAddress {
    GuestAddress(0x1_0000 * (u64::from(index) + 1))
}

/// The driver's side of one queue, as [`Driver::start`] has set it up.
pub struct Ring<'a> {
    pub mock: MockSplitQueue<'a, GuestMemoryMmap<AtomicBitmap>>,
    size: u16,
    offered: u16,
    taken: u16,
}

impl<'a> Ring<'a> {
    /// Empties it: to be made before the device has seen anything in it.
    pub fn new(memory: &'a Memory, index: u32) -> Self {
        Self {
            mock: MockSplitQueue::create(&**memory, queue_at(index), SIZE),
            size: SIZE,
            offered: 0,
            taken: 0,
        }
    }

    /// Where the used ring of this queue is, as the mock lays it out.
    pub fn used_at(index: u32) -> GuestAddress {
        let memory = create_memory(32).unwrap();
        MockSplitQueue::create(&*memory, queue_at(index), SIZE).used_addr()
    }

    /// Writes a descriptor.
    pub fn put(&self, slot: u16, at: u64, length: u32, flags: u16, next: u16) {
        let descriptor = Descriptor::new(at, length, flags, next);
        self.mock.desc_table().store(slot, RawDescriptor::from(descriptor)).unwrap();
    }

    /// Makes the chain that begins there available.
    pub fn offer(&mut self, head: u16) {
        self.mock.avail().ring().ref_at(usize::from(self.offered % self.size)).unwrap().store(head);
        self.offered = self.offered.wrapping_add(1);
        self.mock.avail().idx().store(self.offered);
    }

    /// What has come back since the last time: head and length.
    pub fn used(&mut self) -> Vec<(u32, u32)> {
        let index = self.mock.used().idx().load();
        let mut all = Vec::new();
        while self.taken != index {
            let element = self.mock.used().ring().ref_at(usize::from(self.taken % self.size)).unwrap().load();
            all.push((element.id(), element.len()));
            self.taken = self.taken.wrapping_add(1);
        }
        all
    }
}
