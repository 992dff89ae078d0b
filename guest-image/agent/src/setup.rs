//! What PID 1 finds missing in a fresh guest, and brings about.

use nix::{
    mount::{MsFlags, mount},
    sys::stat::{fstat, makedev},
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout},
};
use rustix::{
    fs::{Mode, OFlags, open},
    io::fcntl_dupfd_cloexec,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};
use std::{fs::OpenOptions, io::Write, os::fd::IntoRawFd};

/// What the control port is found with.
pub fn mount_dev() {
    mount_kind("devtmpfs", "/dev");
}

/// What scenarios expect to be there.
pub fn mount_the_rest() {
    mount_kind("sysfs", "/sys");
    mount_kind("proc", "/proc");
    mount_kind("tmpfs", "/tmp");
    own_view("proc", "/proc", protocol::OWN_PROC);
    own_view("devtmpfs", "/dev", protocol::OWN_DEV);
    // The serial port has no driver by default. Instead of in a file of its name, what is written there ends on the
    // console. Where it has one, its node is there already.
    let _ = std::os::unix::fs::symlink("hvc0", "/dev/ttyS0");
}

/// A kernel without that file system, or one that is mounted already, is no reason to stop: whoever
/// needs it sees that it is not there.
fn mount_kind(kind: &str, target: &str) {
    let _ = mount(Some(kind), target, Some(kind), MsFlags::empty(), None::<&str>);
}

/// Keeps a descriptor of a file system as it is, whatever is mounted over it later: of a mount of its own that lies nowhere
/// (fsopen(2), since Linux 5.2), or else of what is at `target` now.
fn own_view(kind: &str, target: &str, descriptor: i32) {
    let own = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).and_then(|context| {
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    });
    let view =
        own.or_else(|_| open(target, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()));
    // The first that is free from there on: this one. Who wants it sees if it is not there.
    if let Ok(kept) = view.and_then(|view| fcntl_dupfd_cloexec(&view, descriptor)) {
        let _ = kept.into_raw_fd();
    }
}

/// The kernel opens /dev/console for PID 1 if the initramfs has it and a console is registered. If not,
/// takes the one that devtmpfs has.
pub fn open_console() {
    let is_console = |status: nix::sys::stat::FileStat| status.st_rdev == makedev(5, 1);
    if fstat(std::io::stdout()).is_ok_and(is_console) {
        return;
    }
    let Ok(console) = OpenOptions::new().read(true).write(true).open("/dev/console") else { return };
    let _ = dup2_stdin(&console).and_then(|()| dup2_stdout(&console)).and_then(|()| dup2_stderr(&console));
}

/// Tells whoever looks at the guest: in the kernel's log, which is read out even where there is no
/// console, or on standard error.
pub fn say(what: &str) {
    let line = format!("<4>vmm-agent: {what}\n");
    let log = OpenOptions::new().write(true).open("/dev/kmsg");
    if log.and_then(|mut log| log.write_all(line.as_bytes())).is_err() {
        let _ = std::io::stderr().write_all(&line.as_bytes()[3..]);
    }
}
