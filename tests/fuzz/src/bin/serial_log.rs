//! The kernel's log as it comes out of the serial port.

#![no_main]

use board::SerialLog;
use fuzz::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut log = SerialLog::default();
    while !input.is_empty() {
        let length = usize::from(input.u8());
        log.push(input.bytes(length));
        assert!(log.backlog() <= 1.0);
        if length % 8 == 0 {
            log.take();
        }
    }
    log.take_last();
});
