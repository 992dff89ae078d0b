//! The keyboard controller, of which a kernel without keyboard uses one thing: the reset line.

use machine::{BusDevice, Effect};

/// Ports 0x60 to 0x64, with neither keyboard nor mouse.
#[derive(Default)]
pub struct I8042;

/// "Pulse output lines", bit 0 low: the line to the processor's RESET pin.
const PULSE_RESET: u8 = 0xfe;

impl BusDevice for I8042 {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        // Status (offset 4): output and input buffer are empty. Without this the kernel polls on.
        data.fill(if matches!(offset, 0 | 4) { 0 } else { 0xff });
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        if offset == 4 && data[0] == PULSE_RESET { Effect::Reset } else { Effect::None }
    }
}
