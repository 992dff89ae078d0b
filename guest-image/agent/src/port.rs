//! The control port: the virtio-console port that carries the frames.

use crate::setup::say;
use nix::sched::sched_yield;
use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

const NAME: &[u8] = b"vmm.control";

/// Where the kernel shows the ports (drivers/char/virtio_console.c).
const PORTS: &str = "/sys/class/virtio-ports";

/// Waits until the control port is there, and opens it.
///
/// It comes a few milliseconds after PID 1 has started: host and driver agree on it by messages. Boot
/// time is what users feel, so this first looks again and again, giving way to the kernel's threads in
/// between; a sleep would last a tick of the timer, up to 10 ms.
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
    let port = find(Path::new(PORTS)).ok()??;
    OpenOptions::new().read(true).write(true).open(port).ok()
}

/// The device node of the port with our name.
fn find(ports: &Path) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(ports)? {
        let entry = entry?;
        if fs::read(entry.path().join("name")).is_ok_and(|name| name.trim_ascii_end() == NAME) {
            return Ok(Some(Path::new("/dev").join(entry.file_name())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_by_its_name() {
        let ports = std::env::temp_dir().join(format!("vmm-agent-ports-{}", std::process::id()));
        for (port, name) in [("vport0p0", "console\n"), ("vport0p1", ""), ("vport1p3", "vmm.control\n")] {
            fs::create_dir_all(ports.join(port)).unwrap();
            fs::write(ports.join(port).join("name"), name).unwrap();
        }
        fs::create_dir_all(ports.join("vport0p2")).unwrap();
        let found = find(&ports).unwrap();
        fs::write(ports.join("vport1p3/name"), "vmm.controller\n").unwrap();
        let other = find(&ports).unwrap();
        fs::remove_dir_all(&ports).unwrap();
        assert_eq!(found, Some(PathBuf::from("/dev/vport1p3")));
        assert_eq!(other, None);
    }
}
