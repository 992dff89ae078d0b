//! Accesses of every width, whatever the bus makes of what the guest does.

use crate::{Cmos, I8042, SerialPort, driver::Driver};
use machine::{BusDevice, Effect};
use std::sync::Arc;

#[test]
fn every_device_takes_accesses_of_every_width_and_fills_what_is_read() {
    let mut driver = Driver::ready();
    let mut serial = SerialPort::new(Arc::new(|| {}), Box::new(|_| {}));
    let mut clock = Cmos::default();
    let devices: [&mut dyn BusDevice; 4] = [&mut driver.device, &mut serial, &mut clock, &mut I8042];
    for (index, device) in devices.into_iter().enumerate() {
        for (offset, width) in (0..8).flat_map(|offset| (0..=8).map(move |width| (offset, width))) {
            // Nothing that they say may be left out: what is there is another guest's, or ours.
            let read = [0x55, 0xaa].map(|before| {
                let mut data = [before; 8];
                device.read(offset, &mut data[..width]);
                data
            });
            let same = (0..width).filter(|at| read[0][*at] == read[1][*at]).count();
            // The serial port's registers may change by being read.
            assert!(same == width || index == 1, "device {index}, {width} bytes at {offset}: {read:02x?}");
            assert!(device.write(offset, &[0; 8][..width]) == Effect::None);
        }
    }
}
