//! System calls that nothing which builds needs: they reach what walls of files don't hold, take memory that nobody sees, or are a superuser's.
//!
//! Landlock knows TCP, and of sockets with names those in the abstract name space: a program's own socket in a folder can be connected to by
//! whoever may look up its path, and UDP is free. The filter leaves pairs of sockets that are connected to each other. A file in memory
//! (memfd_create(2)), or memory that is shared by a number (shmget(2)), is in nobody's resident set while nobody touches it. Keys and keyrings are
//! their user's, whatever namespace asks for them (keyrings(7)). What is a superuser's is refused once more, to who has given up all rights.
//! Limits, priorities and processors of a process can be set by all that have its user (prlimit(2), sched(7)), and Landlock is not asked: here each
//! process sets its own.
//!
//! What an older kernel's Landlock does not hold either is refused there alone: to empty files, and to signal anybody. A filter sees numbers, and
//! which process has one, only the kernel knows: so a process signals not even itself or its children there. make is told to end by a signal to all
//! of its group, from outside, and what then can't end its children waits for their end.

use crate::landlocked::KNOWN;
use landlock::ABI;
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, sock_filter,
};
use std::{
    fs::{self, File},
    io::{self, Write},
    process,
    sync::OnceLock,
};

/// Refused with EPERM, whatever their arguments are.
const REFUSED: [i64; 62] = [
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
    // Who knows the number of somebody else's does not have to get it first (/proc/sysvipc shows all).
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_unlink,
    // A descriptor on its way through a pair of sockets (unix(7), `SCM_RIGHTS`) is open in no process, and nobody sees its file.
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    // Keys.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The kernel's code, and a look at it.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_syslog,
    // The machine as a whole.
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_vhangup,
    // Other views of files and processes: in a namespace of one's own one is a superuser again.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_unshare,
    libc::SYS_setns,
];
/// Not there (ENOSYS), whoever asks: what they are to do is in memory, which no filter reads. C libraries then do it by older calls, which have it in
/// their arguments.
const ABSENT: [i64; 2] = [libc::SYS_clone3, libc::SYS_openat2];
/// From here on are the calls of programs with 32-bit pointers (`__X32_SYSCALL_BIT` of arch/x86/include/uapi/asm/unistd.h): not there either.
const X32: i64 = 0x4000_0000;
/// The bits of a socket's type that are no flags (`SOCK_TYPE_MASK` of include/linux/net.h).
const TYPE: u64 = 0xf;
/// A program with one of these bits runs as its owner, or with its group, whoever starts it (inode(7)).
const SET_ID: [u64; 2] = [libc::S_ISUID as u64, libc::S_ISGID as u64];
/// Flags with which opening makes a file: then there is a mode. The latter is one bit of `O_TMPFILE` (include/uapi/asm-generic/fcntl.h).
const MAKES: [u64; 2] = [libc::O_CREAT as u64, (libc::O_TMPFILE & !libc::O_DIRECTORY) as u64];

/// With `O_TRUNC` these empty a file that is opened for no writing: for reading, and for neither (open(2), of 3).
const EMPTIES: [u64; 2] = [libc::O_RDONLY as u64, libc::O_ACCMODE as u64];

/// They signal whom they name.
const SIGNALS: [i64; 6] = [
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
];
/// By their second arguments these have the kernel signal whom they name, with any signal, once a file has something to say: `F_SETOWN` and
/// `F_SETOWN_EX` (include/uapi/asm-generic/fcntl.h), `FIOSETOWN` and `SIOCSPGRP` (include/uapi/asm-generic/sockios.h).
const OWNERS: [(i64, [u64; 2]); 2] = [(libc::SYS_fcntl, [8, 15]), (libc::SYS_ioctl, [0x8901, 0x8902])];

/// They set something of the process that is named first; of who asks, if that is zero.
const OF_PROCESSES: [i64; 5] = [
    libc::SYS_prlimit64,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setaffinity,
];
/// They set something of a process, a group or a user, by the number of what is a process (`IOPRIO_WHO_PROCESS` of
/// include/uapi/linux/ioprio.h); then as before.
const OF_MANY: [(i64, u64); 2] =
    [(libc::SYS_setpriority, libc::PRIO_PROCESS as u64), (libc::SYS_ioprio_set, 1)];

/// The filter, for who has Landlock in this form. It ends a program of another architecture than this one, whose calls have other numbers.
fn program(form: ABI) -> io::Result<BpfProgram> {
    let is = |argument, how, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value).map_err(io::Error::other)
    };
    let all = |conditions| SeccompRule::new(conditions).map_err(io::Error::other);
    let when = |argument, how, value| all(vec![is(argument, how, value)?]);
    let has = |argument, bit| is(argument, SeccompCmpOp::MaskedEq(bit), bit);
    // Of a pair whose ends have no connection each end can send to any path.
    let pairs = vec![
        when(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?,
        when(1, SeccompCmpOp::MaskedEq(TYPE), libc::SOCK_DGRAM as u64)?,
        when(1, SeccompCmpOp::MaskedEq(TYPE), libc::SOCK_RAW as u64)?,
    ];
    // Nobody would see what it has open (proc_pid_fd(5)).
    let undumpable = vec![when(0, SeccompCmpOp::Eq, libc::PR_SET_DUMPABLE as u64)?];
    let superuser = vec![all(vec![has(0, libc::CLONE_NEWUSER as u64)?])?];
    let mut some =
        vec![(libc::SYS_socketpair, pairs), (libc::SYS_prctl, undumpable), (libc::SYS_clone, superuser)];
    for call in OF_PROCESSES {
        some.push((call, vec![when(0, SeccompCmpOp::Ne, 0)?]));
    }
    for (call, process) in OF_MANY {
        some.push((call, vec![when(0, SeccompCmpOp::Ne, process)?, when(1, SeccompCmpOp::Ne, 0)?]));
    }
    // By the place of the mode among the arguments, and of the flags that say whether there is one.
    for (call, mode, flags) in [
        (libc::SYS_chmod, 1, None),
        (libc::SYS_fchmod, 1, None),
        (libc::SYS_fchmodat, 2, None),
        (libc::SYS_fchmodat2, 2, None),
        (libc::SYS_creat, 1, None),
        (libc::SYS_mknod, 1, None),
        (libc::SYS_mknodat, 2, None),
        (libc::SYS_open, 2, Some(1)),
        (libc::SYS_openat, 3, Some(2)),
    ] {
        let mut rules = Vec::new();
        for bit in SET_ID {
            match flags {
                None => rules.push(all(vec![has(mode, bit)?])?),
                Some(flags) => {
                    for makes in MAKES {
                        rules.push(all(vec![has(flags, makes)?, has(mode, bit)?])?);
                    }
                }
            }
        }
        // Before Linux 6.2 Landlock asks for what a file is opened, and not whether that empties it.
        if let Some(flags) = flags.filter(|_| form < ABI::V3) {
            for access in EMPTIES {
                let access = is(flags, SeccompCmpOp::MaskedEq(libc::O_ACCMODE as u64), access)?;
                rules.push(all(vec![has(flags, libc::O_TRUNC as u64)?, access])?);
            }
        }
        some.push((call, rules));
    }
    if form < ABI::V3 {
        some.push((libc::SYS_truncate, Vec::new()));
    }
    if form < ABI::V6 {
        some.extend(SIGNALS.map(|call| (call, Vec::new())));
        for (call, commands) in OWNERS {
            let named = commands.into_iter().map(|command| when(1, SeccompCmpOp::Eq, command));
            some.push((call, named.collect::<io::Result<_>>()?));
        }
    }
    let rules = REFUSED.map(|call| (call, Vec::new())).into_iter().chain(some).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, TargetArch::x86_64);
    let filter = filter.and_then(BpfProgram::try_from).map_err(io::Error::other)?;
    Ok([absent(), filter].concat())
}

/// Stands before the filter: one filter has one answer to what it refuses, and bubblewrap takes one filter. Whatever the architecture is, these are
/// the same calls.
fn absent() -> BpfProgram {
    let step = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    let jump = |how| libc::BPF_JMP | how | libc::BPF_K;
    let count = ABSENT.len() as u8;
    // The call's number is the first of what a filter sees (`struct seccomp_data`, seccomp(2)).
    let mut steps = vec![
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(jump(libc::BPF_JGE), count, 0, X32 as u32),
    ];
    for (left, call) in (0..count).rev().zip(ABSENT) {
        steps.push(step(jump(libc::BPF_JEQ), left, u8::from(left == 0), call as u32));
    }
    let answer = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    steps.push(step(libc::BPF_RET | libc::BPF_K, 0, 0, answer.into()));
    steps
}

/// Whether this kernel has filters.
pub(crate) fn is_there() -> bool {
    fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").is_ok_and(|text| text.contains("errno"))
}

/// From now on this thread, and all that it starts, makes none of these calls; where this kernel has filters. The thread is behind Landlock of
/// this form.
///
/// # Errors
/// The kernel refuses the filter.
pub(crate) fn enter(form: ABI) -> io::Result<()> {
    match is_there() {
        true => apply_filter(&program(form)?).map_err(io::Error::other),
        false => Ok(()),
    }
}

/// Where bubblewrap finds it, as it takes it (bwrap(1), `--seccomp`): a file in this process's memory.
pub(crate) fn path() -> Option<String> {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    let make = || {
        let file = rustix::fs::memfd_create("filter", rustix::fs::MemfdFlags::CLOEXEC).ok()?;
        let mut file = File::from(file);
        // What no Landlock holds there, namespaces do: nothing else can be seen, or written to.
        for step in program(KNOWN).ok()? {
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
#[path = "filter_test.rs"]
mod tests;
