//! The virtio-mmio transport: registers on one side, a device with queues on the other.
//!
//! Source: virtio 1.3, section 4.2 (registers: 4.2.2). The driver's writes count as errors where the specification
//! forbids them, and have no effect then.

use crate::{BadState, Broken, Interrupt, Queues, Stateful, queue::QueueState};
use machine::{BusDevice, Effect, Memory};
use serde::{Deserialize, Serialize};
use virtio_bindings::{
    virtio_config::{
        VIRTIO_CONFIG_S_ACKNOWLEDGE as ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER as DRIVER,
        VIRTIO_CONFIG_S_DRIVER_OK as DRIVER_OK, VIRTIO_CONFIG_S_FAILED as FAILED,
        VIRTIO_CONFIG_S_FEATURES_OK as FEATURES_OK, VIRTIO_F_VERSION_1,
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
pub trait VirtioDevice: Stateful + Send {
    /// Device ID (virtio 1.3, section 5).
    fn id(&self) -> u32;
    /// Feature bits that it offers, without VIRTIO_F_VERSION_1, which every device here has.
    fn features(&self) -> u64;
    /// The size of each of its queues, in descriptors: a power of two.
    fn queue_sizes(&self) -> &'static [u16];
    /// Its configuration space.
    fn config(&self) -> Vec<u8>;
    /// The driver is ready, and has taken these features.
    fn activate(&mut self, features: u64, queues: &mut Queues);
    /// The driver says that there is something new in queue `index`, which is ready.
    fn notify(&mut self, index: usize, queues: &mut Queues);
    /// The driver starts over.
    fn reset(&mut self);
}

/// A device behind the register window.
pub struct VirtioMmio<D> {
    device: D,
    memory: Memory,
    interrupt: Interrupt,
    queues: Vec<Queue>,
    registers: Registers,
    errors: u64,
}

/// The registers that are no queue's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Registers {
    status: u32,
    interrupt: u32,
    queue: u32,
    device_features_page: u32,
    driver_features_page: u32,
    driver_features: u64,
}

/// Transport, queues and device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioState<S> {
    registers: Registers,
    queues: Vec<QueueState>,
    device: S,
    errors: u64,
}

impl<D: VirtioDevice> VirtioMmio<D> {
    /// A device before its reset.
    pub fn new(device: D, memory: Memory, interrupt: Interrupt) -> Self {
        let queue = |size: &u16| Queue::new(*size).expect("a power of two");
        let queues = device.queue_sizes().iter().map(queue).collect();
        Self { device, memory, interrupt, queues, registers: Registers::default(), errors: 0 }
    }

    /// Lets the device work from outside of the guest's accesses. It gets its queues if the driver is ready.
    pub fn work<T>(&mut self, work: impl FnOnce(&mut D, Option<&mut Queues>) -> T) -> T {
        let ready = self.registers.status & DRIVER_OK != 0;
        let mut queues =
            Queues { queues: &mut self.queues, memory: &self.memory, errors: &mut self.errors, used: false };
        let result = work(&mut self.device, ready.then_some(&mut queues));
        if queues.used {
            self.registers.interrupt |= VIRTIO_MMIO_INT_VRING;
            (self.interrupt)();
        }
        result
    }

    fn offered(&self) -> u64 {
        self.device.features() | 1 << VIRTIO_F_VERSION_1
    }

    fn register(&self, offset: u32) -> u32 {
        let queue = self.queues.get(self.registers.queue as usize);
        match offset {
            VIRTIO_MMIO_MAGIC_VALUE => u32::from_le_bytes(*b"virt"),
            VIRTIO_MMIO_VERSION => 2,
            VIRTIO_MMIO_DEVICE_ID => self.device.id(),
            VIRTIO_MMIO_VENDOR_ID => 0,
            VIRTIO_MMIO_DEVICE_FEATURES => match self.registers.device_features_page {
                0 => self.offered() as u32,
                1 => (self.offered() >> 32) as u32,
                _ => 0,
            },
            VIRTIO_MMIO_QUEUE_NUM_MAX => queue.map_or(0, |q| u32::from(q.max_size())),
            VIRTIO_MMIO_QUEUE_READY => queue.map_or(0, |q| u32::from(q.ready())),
            VIRTIO_MMIO_INTERRUPT_STATUS => self.registers.interrupt,
            VIRTIO_MMIO_STATUS => self.registers.status,
            VIRTIO_MMIO_CONFIG_GENERATION => 0,
            _ => 0,
        }
    }

    fn set_register(&mut self, offset: u32, value: u32) -> Result<(), Broken> {
        match offset {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.registers.device_features_page = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.registers.driver_features_page = value,
            VIRTIO_MMIO_DRIVER_FEATURES => return self.take_features(value),
            VIRTIO_MMIO_QUEUE_SEL => self.registers.queue = value,
            VIRTIO_MMIO_QUEUE_NOTIFY => return self.notify(value as usize),
            VIRTIO_MMIO_INTERRUPT_ACK => self.registers.interrupt &= !value,
            VIRTIO_MMIO_STATUS => return self.set_status(value),
            _ => return self.set_queue_register(offset, value),
        }
        Ok(())
    }

    fn take_features(&mut self, value: u32) -> Result<(), Broken> {
        let Registers { status, driver_features_page: page, .. } = self.registers;
        if status & DRIVER == 0 || status & FEATURES_OK != 0 {
            return Err(Broken);
        }
        let features = &mut self.registers.driver_features;
        match page {
            0 => *features = *features & !0xffff_ffff | u64::from(value),
            1 => *features = *features & 0xffff_ffff | u64::from(value) << 32,
            // What lies beyond was not offered.
            _ if value != 0 => return Err(Broken),
            _ => {}
        }
        Ok(())
    }

    fn set_queue_register(&mut self, offset: u32, value: u32) -> Result<(), Broken> {
        // Queues are set up between these two (3.1.1).
        let set_up = self.registers.status & (FEATURES_OK | DRIVER_OK) == FEATURES_OK;
        let queue = self.queues.get_mut(self.registers.queue as usize).ok_or(Broken)?;
        match (offset, value) {
            // This much a driver may always do.
            (VIRTIO_MMIO_QUEUE_READY, 0) => queue.set_ready(false),
            _ if !set_up || queue.ready() => return Err(Broken),
            (VIRTIO_MMIO_QUEUE_READY, 1) => queue.set_ready(true),
            (VIRTIO_MMIO_QUEUE_NUM, _) => {
                let size = u16::try_from(value).map_err(|_| Broken)?;
                queue.try_set_size(size).map_err(|_| Broken)?;
            }
            // An address that is not aligned has no effect.
            (VIRTIO_MMIO_QUEUE_DESC_LOW, _) if value & 15 != 0 => return Err(Broken),
            (VIRTIO_MMIO_QUEUE_AVAIL_LOW, _) if value & 1 != 0 => return Err(Broken),
            (VIRTIO_MMIO_QUEUE_USED_LOW, _) if value & 3 != 0 => return Err(Broken),
            (VIRTIO_MMIO_QUEUE_DESC_LOW, _) => queue.set_desc_table_address(Some(value), None),
            (VIRTIO_MMIO_QUEUE_DESC_HIGH, _) => queue.set_desc_table_address(None, Some(value)),
            (VIRTIO_MMIO_QUEUE_AVAIL_LOW, _) => queue.set_avail_ring_address(Some(value), None),
            (VIRTIO_MMIO_QUEUE_AVAIL_HIGH, _) => queue.set_avail_ring_address(None, Some(value)),
            (VIRTIO_MMIO_QUEUE_USED_LOW, _) => queue.set_used_ring_address(Some(value), None),
            (VIRTIO_MMIO_QUEUE_USED_HIGH, _) => queue.set_used_ring_address(None, Some(value)),
            _ => return Err(Broken),
        }
        Ok(())
    }

    fn notify(&mut self, index: usize) -> Result<(), Broken> {
        if self.registers.status & DRIVER_OK == 0 || !self.queues.get(index).is_some_and(Queue::ready) {
            return Err(Broken);
        }
        self.work(|device, queues| queues.into_iter().for_each(|queues| device.notify(index, queues)));
        Ok(())
    }

    fn set_status(&mut self, value: u32) -> Result<(), Broken> {
        if value == 0 {
            self.registers = Registers::default();
            self.queues.iter_mut().for_each(Queue::reset);
            self.device.reset();
            return Ok(());
        }
        let old = self.registers.status;
        // A driver adds one bit after the other, in their order (3.1.1), and takes none back (2.1.1).
        let before = |bit| match bit {
            DRIVER => ACKNOWLEDGE,
            FEATURES_OK => DRIVER,
            DRIVER_OK => FEATURES_OK,
            _ => 0,
        };
        let known = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK | FAILED;
        let added = value & !old;
        let in_order = [DRIVER, FEATURES_OK, DRIVER_OK]
            .iter()
            .all(|bit| added & bit == 0 || old & before(*bit) == before(*bit));
        if old & !value != 0 || value & !known != 0 || !in_order {
            return Err(Broken);
        }
        // A driver that takes what was not offered, or leaves out version 1, finds FEATURES_OK unset (2.2, 6.1).
        let taken = self.registers.driver_features;
        if added & FEATURES_OK != 0 && (taken & !self.offered() != 0 || taken & 1 << VIRTIO_F_VERSION_1 == 0)
        {
            self.registers.status = value & !FEATURES_OK;
            return Err(Broken);
        }
        self.registers.status = value;
        if added & DRIVER_OK != 0 {
            self.work(|device, queues| queues.into_iter().for_each(|queues| device.activate(taken, queues)));
        }
        Ok(())
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
        } else {
            self.errors += 1;
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        // Registers are four bytes wide. Configuration space, too, ends up in no register: our devices have nothing
        // there that can be written.
        let done = match data.try_into() {
            Ok(word) => self.set_register(offset as u32, u32::from_le_bytes(word)),
            Err(_) => Err(Broken),
        };
        self.errors += u64::from(done.is_err());
        Effect::None
    }
}

impl<D: VirtioDevice> Stateful for VirtioMmio<D> {
    type State = VirtioState<D::State>;

    fn state(&self) -> Self::State {
        VirtioState {
            registers: self.registers,
            queues: self.queues.iter().map(QueueState::of).collect(),
            device: self.device.state(),
            errors: self.errors,
        }
    }

    fn set_state(&mut self, state: Self::State) -> Result<(), BadState> {
        let sizes = self.device.queue_sizes();
        if state.queues.len() != sizes.len() {
            return Err(BadState);
        }
        let queues = state.queues.into_iter().zip(sizes).map(|(queue, max_size)| queue.queue(*max_size));
        let queues = queues.collect::<Result<Vec<_>, _>>().map_err(|_| BadState)?;
        self.device.set_state(state.device)?;
        self.queues = queues;
        self.registers = state.registers;
        self.errors = state.errors;
        Ok(())
    }

    fn errors(&self) -> u64 {
        self.errors
    }
}
