//! The control port: the virtio-console port that carries the frames.

use crate::setup::say;
use nix::sched::sched_yield;
use std::{
    fs::{File, OpenOptions},
    thread::sleep,
    time::Duration,
};

/// Its node: the machine has one console device, and the port is number 1 of it (add_port() in
/// drivers/char/virtio_console.c). The port's name would be in /sys, which takes much longer to look at.
const NODE: &str = "/dev/vport0p1";

/// Waits until the control port is there, and opens it.
///
/// It comes a few milliseconds before PID 1 or after it. Boot time is what users feel, so this first looks again and
/// again, giving way to the kernel's threads in between; a sleep would last a tick of the timer, up to 10 ms.
pub fn open() -> File {
    for _ in 0..20_000 {
        if let Some(port) = try_open() {
            return port;
        }
        let _ = sched_yield();
    }
    say(
        "no control port yet: does this kernel have CONFIG_VIRTIO_CONSOLE, and a driver for the bus it is on?",
    );
    loop {
        if let Some(port) = try_open() {
            return port;
        }
        sleep(Duration::from_millis(10));
    }
}

fn try_open() -> Option<File> {
    OpenOptions::new().read(true).write(true).open(NODE).ok()
}
