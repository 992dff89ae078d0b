//! The virtio-mmio transport: registers on one side, a device with queues on the other.
//!
//! Source: virtio 1.3, section 4.2 (registers: 4.2.2).

use machine::{BusDevice, Effect, InterruptLine, Memory};
use serde::{Deserialize, Serialize};
use virtio_bindings::{
    virtio_config::{
        VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
        VIRTIO_F_VERSION_1,
    },
    virtio_mmio::{
        VIRTIO_MMIO_CONFIG, VIRTIO_MMIO_CONFIG_GENERATION, VIRTIO_MMIO_DEVICE_FEATURES,
        VIRTIO_MMIO_DEVICE_FEATURES_SEL, VIRTIO_MMIO_DEVICE_ID, VIRTIO_MMIO_DRIVER_FEATURES,
        VIRTIO_MMIO_DRIVER_FEATURES_SEL, VIRTIO_MMIO_INT_VRING, VIRTIO_MMIO_INTERRUPT_ACK,
        VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_MAGIC_VALUE, VIRTIO_MMIO_QUEUE_AVAIL_HIGH,
        VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_DESC_HIGH, VIRTIO_MMIO_QUEUE_DESC_LOW,
        VIRTIO_MMIO_QUEUE_NOTIFY, VIRTIO_MMIO_QUEUE_NUM, VIRTIO_MMIO_QUEUE_NUM_MAX, VIRTIO_MMIO_QUEUE_READY,
        VIRTIO_MMIO_QUEUE_SEL, VIRTIO_MMIO_QUEUE_USED_HIGH, VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_MMIO_STATUS,
        VIRTIO_MMIO_VENDOR_ID, VIRTIO_MMIO_VERSION,
    },
};
use virtio_queue::{Queue, QueueT};

/// What a virtio device is besides its registers.
pub trait VirtioDevice: Send {
    /// Device ID (virtio 1.3, section 5).
    fn id(&self) -> u32;
    /// Feature bits that it offers, without VIRTIO_F_VERSION_1, which every device here has.
    fn features(&self) -> u64;
    /// How many queues it has.
    fn queues(&self) -> usize;
    /// Its configuration space.
    fn config(&self) -> Vec<u8>;
    /// The driver says that there is something new in queue `index`. True when the driver is to be
    /// interrupted.
    fn notify(&mut self, index: usize, queues: &mut [Queue], memory: &Memory) -> bool;
    /// The driver starts over.
    fn reset(&mut self);
}

/// The largest queue, in descriptors. Linux fills the receive queues at once and notifies for every single
/// buffer, an exit each: small queues make a quick start, and hold 64 KiB all the same.
const QUEUE_SIZE: u16 = 16;

/// A device behind the register window.
pub struct VirtioMmio<D> {
    /// The device itself.
    pub device: D,
    memory: Memory,
    line: InterruptLine,
    queues: Vec<Queue>,
    state: MmioState,
}

/// The registers that are no queue's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MmioState {
    status: u32,
    interrupt: u32,
    queue: u32,
    device_features_page: u32,
    driver_features_page: u32,
    driver_features: u64,
}

impl<D: VirtioDevice> VirtioMmio<D> {
    /// A device before its reset.
    pub fn new(device: D, memory: Memory, line: InterruptLine) -> Self {
        let queues = (0..device.queues()).map(|_| Queue::new(QUEUE_SIZE).expect("a power of two")).collect();
        Self { device, memory, line, queues, state: MmioState::default() }
    }

    /// The registers as plain data.
    pub fn state(&self) -> MmioState {
        self.state
    }

    /// Lets the device work on its queues from outside of the guest's accesses, once the driver is ready.
    pub fn with_queues(&mut self, work: impl FnOnce(&mut D, &mut [Queue], &Memory) -> bool) {
        if self.state.status & VIRTIO_CONFIG_S_DRIVER_OK != 0
            && work(&mut self.device, &mut self.queues, &self.memory)
        {
            self.interrupt();
        }
    }

    fn interrupt(&mut self) {
        self.state.interrupt |= VIRTIO_MMIO_INT_VRING;
        self.line.raise();
    }

    fn offered(&self) -> u64 {
        self.device.features() | 1 << VIRTIO_F_VERSION_1
    }

    fn register(&self, offset: u32) -> u32 {
        let queue = self.queues.get(self.state.queue as usize);
        match offset {
            VIRTIO_MMIO_MAGIC_VALUE => u32::from_le_bytes(*b"virt"),
            VIRTIO_MMIO_VERSION => 2,
            VIRTIO_MMIO_DEVICE_ID => self.device.id(),
            VIRTIO_MMIO_VENDOR_ID => 0,
            VIRTIO_MMIO_DEVICE_FEATURES => match self.state.device_features_page {
                0 => self.offered() as u32,
                1 => (self.offered() >> 32) as u32,
                _ => 0,
            },
            VIRTIO_MMIO_QUEUE_NUM_MAX => queue.map_or(0, |q| u32::from(q.max_size())),
            VIRTIO_MMIO_QUEUE_READY => queue.map_or(0, |q| u32::from(q.ready())),
            VIRTIO_MMIO_INTERRUPT_STATUS => self.state.interrupt,
            VIRTIO_MMIO_STATUS => self.state.status,
            VIRTIO_MMIO_CONFIG_GENERATION => 0,
            _ => 0,
        }
    }

    fn set_register(&mut self, offset: u32, value: u32) {
        match offset {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.state.device_features_page = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.state.driver_features_page = value,
            VIRTIO_MMIO_DRIVER_FEATURES if self.state.status & VIRTIO_CONFIG_S_FEATURES_OK == 0 => {
                let value = u64::from(value);
                match self.state.driver_features_page {
                    0 => self.state.driver_features = self.state.driver_features & !0xffff_ffff | value,
                    1 => self.state.driver_features = self.state.driver_features & 0xffff_ffff | value << 32,
                    _ => {}
                }
            }
            VIRTIO_MMIO_QUEUE_SEL => self.state.queue = value,
            VIRTIO_MMIO_QUEUE_NOTIFY => self.notify(value as usize),
            VIRTIO_MMIO_INTERRUPT_ACK => self.state.interrupt &= !value,
            VIRTIO_MMIO_STATUS => self.set_status(value),
            _ => self.set_queue_register(offset, value),
        }
    }

    fn set_queue_register(&mut self, offset: u32, value: u32) {
        let Some(queue) = self.queues.get_mut(self.state.queue as usize) else { return };
        if queue.ready() && offset != VIRTIO_MMIO_QUEUE_READY {
            return;
        }
        match offset {
            // A size that is no power of two or too large is ignored; a queue that is then not valid is
            // never worked on.
            VIRTIO_MMIO_QUEUE_NUM => queue.set_size(value as u16),
            VIRTIO_MMIO_QUEUE_READY => queue.set_ready(value == 1),
            VIRTIO_MMIO_QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => queue.set_avail_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => queue.set_avail_ring_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_USED_LOW => queue.set_used_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_USED_HIGH => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }

    fn notify(&mut self, index: usize) {
        if self.state.status & VIRTIO_CONFIG_S_DRIVER_OK == 0 || index >= self.queues.len() {
            return;
        }
        if self.device.notify(index, &mut self.queues, &self.memory) {
            self.interrupt();
        }
    }

    fn set_status(&mut self, value: u32) {
        if value == 0 {
            self.state = MmioState::default();
            self.queues.iter_mut().for_each(Queue::reset);
            self.device.reset();
            return;
        }
        let mut value = value & !VIRTIO_CONFIG_S_NEEDS_RESET;
        // A driver that takes what was not offered, or leaves out version 1, finds FEATURES_OK unset.
        let taken = self.state.driver_features;
        if taken & !self.offered() != 0 || taken & 1 << VIRTIO_F_VERSION_1 == 0 {
            value &= !VIRTIO_CONFIG_S_FEATURES_OK;
        }
        self.state.status = value;
    }
}

impl<D: VirtioDevice> BusDevice for VirtioMmio<D> {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let offset = offset as u32;
        data.fill(0);
        if offset >= VIRTIO_MMIO_CONFIG {
            let config = self.device.config();
            let rest = config.get((offset - VIRTIO_MMIO_CONFIG) as usize..).unwrap_or_default();
            let length = rest.len().min(data.len());
            data[..length].copy_from_slice(&rest[..length]);
        } else if data.len() == 4 {
            data.copy_from_slice(&self.register(offset).to_le_bytes());
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        // Registers are four bytes wide; configuration space is read-only in our devices.
        if let Ok(word) = data.try_into() {
            self.set_register(offset as u32, u32::from_le_bytes(word));
        }
        Effect::None
    }
}
