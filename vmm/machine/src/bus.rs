//! The bus: finds the device that a port or a memory address belongs to.

use std::sync::{Arc, Mutex, PoisonError};

/// The two address spaces of a PC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// I/O ports, 0 to 0xffff.
    Port,
    /// Physical memory that is no RAM.
    Memory,
}

/// What a write made of the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Nothing.
    None,
    /// The guest asked for a reset.
    Reset,
}

/// A device as the bus sees it.
pub trait BusDevice: Send {
    /// The guest reads `data.len()` bytes at `offset` from the start of the device's range. The device
    /// fills `data`, whatever its length.
    fn read(&mut self, offset: u64, data: &mut [u8]);
    /// The guest writes `data` at `offset`.
    fn write(&mut self, offset: u64, data: &[u8]) -> Effect;
}

struct Range {
    space: Space,
    start: u64,
    length: u64,
    device: Arc<Mutex<dyn BusDevice>>,
}

/// All devices of a machine.
#[derive(Default)]
pub struct Bus {
    /// They don't overlap.
    ranges: Vec<Range>,
}

impl Bus {
    /// A bus with nothing on it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a device at `length` addresses from `start` on.
    ///
    /// # Panics
    /// When the range overlaps another one: the machine is laid out by us, so that is a bug.
    pub fn insert(&mut self, space: Space, start: u64, length: u64, device: Arc<Mutex<dyn BusDevice>>) {
        let overlaps = |r: &Range| r.space == space && start < r.start + r.length && r.start < start + length;
        assert!(!self.ranges.iter().any(overlaps), "two devices at {space:?} {start:#x}");
        self.ranges.push(Range { space, start, length, device });
    }

    /// The guest reads. Where no device is, all bits read as one, as on a real bus.
    pub fn read(&self, space: Space, address: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some((device, offset)) = self.find(space, address) {
            device.lock().unwrap_or_else(PoisonError::into_inner).read(offset, data);
        }
    }

    /// The guest writes. Where no device is, nothing happens.
    pub fn write(&self, space: Space, address: u64, data: &[u8]) -> Effect {
        match self.find(space, address) {
            Some((device, offset)) => {
                device.lock().unwrap_or_else(PoisonError::into_inner).write(offset, data)
            }
            None => Effect::None,
        }
    }

    fn find(&self, space: Space, address: u64) -> Option<(&Mutex<dyn BusDevice>, u64)> {
        let range = self
            .ranges
            .iter()
            .find(|r| r.space == space && address.checked_sub(r.start).is_some_and(|o| o < r.length))?;
        Some((&range.device, address - range.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo(u8);

    impl BusDevice for Echo {
        fn read(&mut self, offset: u64, data: &mut [u8]) {
            data.fill(self.0 + offset as u8);
        }
        fn write(&mut self, _: u64, data: &[u8]) -> Effect {
            self.0 = data[0];
            Effect::Reset
        }
    }

    #[test]
    fn a_device_sees_offsets_from_its_own_start() {
        let mut bus = Bus::new();
        bus.insert(Space::Port, 0x3f8, 8, Arc::new(Mutex::new(Echo(0))));
        let mut byte = [0];
        bus.read(Space::Port, 0x3fd, &mut byte);
        assert_eq!(byte, [5]);
    }

    #[test]
    fn absent_devices_read_as_ones_and_swallow_writes() {
        let mut bus = Bus::new();
        bus.insert(Space::Port, 0x60, 1, Arc::new(Mutex::new(Echo(0))));
        let mut word = [0; 2];
        for (space, address) in [(Space::Port, 0x61), (Space::Memory, 0x60), (Space::Port, 0x5f)] {
            bus.read(space, address, &mut word);
            assert_eq!(word, [0xff; 2], "{space:?} {address:#x}");
            assert_eq!(bus.write(space, address, &word), Effect::None);
        }
        assert_eq!(bus.write(Space::Port, 0x60, &[1]), Effect::Reset);
    }

    #[test]
    #[should_panic(expected = "two devices")]
    fn overlapping_ranges_are_a_bug() {
        let mut bus = Bus::new();
        bus.insert(Space::Port, 0x60, 5, Arc::new(Mutex::new(Echo(0))));
        bus.insert(Space::Port, 0x64, 1, Arc::new(Mutex::new(Echo(0))));
    }
}
