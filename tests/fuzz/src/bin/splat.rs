//! The kernel's log in search of splats: as a whole, line by line, and record by record as a run has it.

#![no_main]

use fuzz::often;
use libfuzzer_sys::fuzz_target;
use splat::{Scanner, render, scan};

fuzz_target!(|data: &[u8]| {
    let data = &*often(data);
    let findings = scan(data);
    let text = render(&findings);
    assert!(
        text.len() <= (data.len() * 64).max(1 << 20),
        "{} bytes of log became {}",
        data.len(),
        text.len()
    );
    let mut scanner = Scanner::new();
    for line in data.split(|byte| *byte == b'\n') {
        scanner.line(line);
        scanner.settled();
    }
    scanner.unsettled();
    scanner.finish();
    let mut scanner = Scanner::new();
    for record in String::from_utf8_lossy(data).split('\0') {
        scanner.record(record, None);
        scanner.settled();
    }
    scanner.unsettled();
    scanner.finish();
});
