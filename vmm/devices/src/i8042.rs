//! The keyboard controller, of which there is one thing: the reset line.
//!
//! A driver (drivers/input/serio/i8042.c) asks whether there is more by emptying the output buffer. This one never
//! becomes empty, so it gives up after some thirty reads. Of a controller that is silent it would wait half a second
//! for an answer, in ten thousand reads.

use crate::{BadState, Stateful};
use machine::{BusDevice, Effect};

/// Ports 0x60 to 0x64, with neither keyboard nor mouse.
#[derive(Default)]
pub struct I8042;

/// Status: the output buffer is full, the input buffer (bit 1) empty. For the latter a kernel waits that wants to reset.
const OUTPUT_FULL: u8 = 1;

/// "Pulse output lines", bit 0 low: the line to the processor's RESET pin.
const PULSE_RESET: u8 = 0xfe;

impl BusDevice for I8042 {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(match offset {
            0 => 0,
            4 => OUTPUT_FULL,
            _ => 0xff,
        });
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        if offset == 4 && data.first() == Some(&PULSE_RESET) { Effect::Reset } else { Effect::None }
    }
}

/// It remembers nothing.
impl Stateful for I8042 {
    type State = ();

    fn state(&self) {}

    fn set_state(&mut self, (): ()) -> Result<(), BadState> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_absent_but_resets() {
        let mut controller = I8042;
        let mut read = |offset| {
            let mut data = [0x55];
            controller.read(offset, &mut data);
            data[0]
        };
        // Bits 0 and 1 of the status, as the driver and the kernel's reset want them, however often they look.
        (0..100).for_each(|_| assert_eq!((read(4) & 3, read(0)), (1, 0)));
        assert_eq!(read(1), 0xff);
        assert_eq!(controller.write(4, &[PULSE_RESET]), Effect::Reset);
        assert_eq!(controller.write(4, &[0x20]), Effect::None);
        assert_eq!(controller.write(0, &[PULSE_RESET]), Effect::None);
    }
}
