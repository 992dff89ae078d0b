//! What others left open when they started this process.

use nix::{errno::Errno, libc};

/// Has no program that this process starts find a descriptor that was left open for it, beside the three of standard input and
/// output (close_range(2), `CLOSE_RANGE_CLOEXEC`, since Linux 5.11).
///
/// # Errors
/// As close_range(2).
pub fn pass_none_on() -> nix::Result<()> {
    // SAFETY: a plain system call, which closes nothing here.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(done).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, os::fd::AsRawFd, process::Command};

    #[test]
    fn no_program_finds_what_was_left_open() {
        let open = File::open("/dev/null").unwrap();
        let left = nix::unistd::dup(&open).unwrap();
        let path = format!("/proc/self/fd/{}", left.as_raw_fd());
        let finds = || Command::new("test").args(["-e", &path]).status().unwrap().success();
        assert!(finds(), "dup(2) leaves it open");
        pass_none_on().unwrap();
        assert!(!finds());
        assert!(File::open(&path).is_ok(), "here it is open still");
    }
}
