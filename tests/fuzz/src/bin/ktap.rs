//! Test results in what a program prints or the kernel logs.

#![no_main]

use fuzz::often;
use ktap::Parser;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let data = often(data);
    let text = String::from_utf8_lossy(&data);
    let mut parser = Parser::new();
    text.lines().for_each(|line| parser.line(line));
    let summary = parser.finish();
    assert!(summary.tests.len() <= text.lines().count(), "there are more results than lines");
});
