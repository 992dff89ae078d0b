//! System calls that nothing which builds needs: they reach what walls of files don't hold, or take memory that nobody sees.
//!
//! Landlock knows TCP, and of sockets with names those in the abstract name space: a program's own socket in a folder can be connected to by
//! whoever may look up its path, and UDP is free. The filter leaves pairs of sockets that are connected to each other. A file in memory
//! (memfd_create(2)), or memory that is shared by a number (shmget(2)), is in nobody's resident set while nobody touches it.

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    process,
    sync::OnceLock,
};

/// Refused with EPERM, whatever their arguments are.
const REFUSED: [i64; 14] = [
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    // It makes sockets, and connects them, without these calls.
    libc::SYS_io_uring_setup,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_shmget,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
    // A descriptor on its way through a pair of sockets (unix(7), `SCM_RIGHTS`) is open in no process, and nobody sees its file.
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    X32_SENDMSG,
    X32_SENDMMSG,
];
/// Of some calls programs with 32-bit pointers have others in their place (arch/x86/entry/syscalls/syscall_64.tbl).
const X32_SENDMSG: i64 = 518;
const X32_SENDMMSG: i64 = 538;
/// The same calls as programs with 32-bit pointers make them (`__X32_SYSCALL_BIT` of arch/x86/include/uapi/asm/unistd.h).
const X32: i64 = 0x4000_0000;
/// The bits of a socket's type that are no flags (`SOCK_TYPE_MASK` of include/linux/net.h).
const TYPE: u64 = 0xf;

/// The filter. It ends a program of another architecture than this one, whose calls have other numbers.
fn program() -> io::Result<BpfProgram> {
    let when = |argument, how, value| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value);
        condition.and_then(|condition| SeccompRule::new(vec![condition])).map_err(io::Error::other)
    };
    // Of a pair whose ends have no connection each end can send to any path.
    let pairs = vec![
        when(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?,
        when(1, SeccompCmpOp::MaskedEq(TYPE), libc::SOCK_DGRAM as u64)?,
        when(1, SeccompCmpOp::MaskedEq(TYPE), libc::SOCK_RAW as u64)?,
    ];
    // Nobody would see what it has open (proc_pid_fd(5)).
    let undumpable = vec![when(0, SeccompCmpOp::Eq, libc::PR_SET_DUMPABLE as u64)?];
    let some = [(libc::SYS_socketpair, pairs), (libc::SYS_prctl, undumpable)];
    let all = REFUSED.map(|call| (call, Vec::new())).into_iter().chain(some);
    let rules: BTreeMap<i64, Vec<SeccompRule>> =
        all.flat_map(|(call, rules)| [(call, rules.clone()), (call | X32, rules)]).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, TargetArch::x86_64)
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}

/// Whether this kernel has filters.
pub(crate) fn is_there() -> bool {
    fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").is_ok_and(|text| text.contains("errno"))
}

/// From now on this thread, and all that it starts, makes none of these calls; where this kernel has filters.
///
/// # Errors
/// The kernel refuses the filter.
pub(crate) fn enter() -> io::Result<()> {
    match is_there() {
        true => apply_filter(&program()?).map_err(io::Error::other),
        false => Ok(()),
    }
}

/// Where bubblewrap finds it, as it takes it (bwrap(1), `--seccomp`): a file in this process's memory.
pub(crate) fn path() -> Option<String> {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    let make = || {
        let file = rustix::fs::memfd_create("filter", rustix::fs::MemfdFlags::CLOEXEC).ok()?;
        let mut file = File::from(file);
        for step in program().ok()? {
            let bytes = [&step.code.to_ne_bytes()[..], &[step.jt, step.jf], &step.k.to_ne_bytes()].concat();
            file.write_all(&bytes).ok()?;
        }
        Some(file)
    };
    let file = FILE.get_or_init(make).as_ref().filter(|_| is_there())?;
    use std::os::fd::AsRawFd;
    Some(format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        net::{TcpStream, UdpSocket},
        os::unix::net::{UnixDatagram, UnixListener, UnixStream},
        thread,
    };

    #[test]
    fn a_socket_in_a_folder_is_out_of_reach_and_a_pair_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        let refused = |result: io::Result<()>| result.unwrap_err().raw_os_error() == Some(libc::EPERM);
        // On a thread of its own: there is no way back.
        let tried = thread::spawn(move || {
            enter().unwrap();
            assert!(refused(UnixStream::connect(&path).map(drop)));
            assert!(refused(UnixListener::bind(path.with_extension("other")).map(drop)));
            assert!(refused(UdpSocket::bind("127.0.0.1:0").map(drop)));
            assert!(refused(TcpStream::connect("127.0.0.1:9").map(drop)));
            // Each end of which could send to the path.
            assert!(refused(UnixDatagram::pair().map(drop)));
            let (mut one, mut other) = UnixStream::pair().unwrap();
            one.write_all(b"x").unwrap();
            assert_eq!(io::Read::read(&mut other, &mut [0; 2]).unwrap(), 1);
        });
        tried.join().unwrap();
    }

    #[test]
    fn there_is_no_memory_that_is_in_nobodys_resident_set() {
        let tried = thread::spawn(|| {
            enter().unwrap();
            let file = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC);
            assert_eq!(file.unwrap_err(), rustix::io::Errno::PERM);
            assert!(nix::sys::prctl::set_dumpable(false).is_err());
        });
        tried.join().unwrap();
    }

    #[test]
    fn bubblewrap_reads_whole_instructions() {
        let bytes = fs::read(path().unwrap()).unwrap();
        assert_eq!(bytes.len(), 8 * program().unwrap().len());
        assert_eq!(bytes, fs::read(path().unwrap()).unwrap(), "a second time, too");
    }
}
