//! The kernel's log in search of splats: as a whole, and line by line as a run has it.

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
});
