//! What a process gives up that runs somebody's guest: whoever breaks out of KVM or of a device finds nothing to use.
//!
//! First files, network and rights ([`give_up`]), once all is open that the process needs. Then, for each thread, all
//! system calls but the few of its work ([`lock`]): any other ends the process.

use crate::{Rules, Walls, restrict};
use nix::{
    libc::{self, PROT_EXEC},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};
use std::{collections::BTreeMap, io, process};

/// Whether a process still has files to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// It has all that it needs.
    Open,
    /// The same, and it will write to one of them, so many bytes at the most.
    Prepared {
        /// In bytes.
        longest: u64,
    },
}

/// A thread's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It runs a vCPU, and its devices.
    Vcpu,
    /// It talks to the harness, and reads the guest's memory.
    Serve,
    /// It reads a file, and computes.
    Read,
}

/// The user and group that have nothing (Debian's nobody and nogroup, the kernel's `overflowuid`).
const NOBODY: u32 = 65534;
/// The most private memory that a machine process has for itself, in bytes. The guest's is none of it, or comes on top.
pub const MACHINE_MEMORY: u64 = 2 << 30;
/// The most that may be written to a file: what it says when it fails.
const WORDS: u64 = 16 << 20;

/// Gives up files, network, signals to others, and rights. For a process that has opened what it needs, before it starts
/// threads: they inherit it. What this kernel does not offer is left out; [`layers`] says what it offers. `memory` is the most that it may have
/// of private memory, in bytes; a guest's that comes from a file, and is mapped for this process alone, counts as that.
///
/// # Errors
/// The kernel refuses what it offers.
pub fn give_up(files: Files, memory: u64) -> io::Result<()> {
    lower(Resource::RLIMIT_CORE, 0)?;
    lower(Resource::RLIMIT_DATA, memory)?;
    let longest = match files {
        Files::Prepared { longest } => longest.max(WORDS),
        Files::Open => WORDS,
    };
    lower(Resource::RLIMIT_FSIZE, longest)?;
    if Uid::effective().is_root() {
        // In a container without the right to change, root is one who has little anyway.
        let nobody = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
        let _ = setgroups(&[])
            .and_then(|()| setresgid(nobody.0, nobody.0, nobody.0))
            .and_then(|()| setresuid(nobody.1, nobody.1, nobody.1));
    }
    restrict(&Rules::default()).map(drop).map_err(io::Error::other)
}

/// Sets a limit, unless a lower one holds: nobody but root raises that.
fn lower(resource: Resource, wanted: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let limit = wanted.min(hard);
    Ok(setrlimit(resource, limit, limit)?)
}

/// Takes all that this process may have of processor time and of files' length: a shell's own limits (`ulimit -S`) are for
/// those who would otherwise take too much, and a guest's memory is a file.
pub fn raise() {
    for resource in [Resource::RLIMIT_CPU, Resource::RLIMIT_FSIZE] {
        // Where that is refused the lower one holds, and is told as such.
        let _ = getrlimit(resource).and_then(|(_, hard)| setrlimit(resource, hard, hard));
    }
}

/// How long a file may be that this process writes, in bytes, if that is less than `wanted` (`ulimit -f`).
pub fn longest_file(wanted: u64) -> Option<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).ok()?;
    (hard < wanted).then_some(hard)
}

/// From now on this thread makes only the system calls of its work. Any other ends the process with SIGSYS.
///
/// # Errors
/// The kernel refuses the filter.
pub fn lock(work: Work) -> io::Result<()> {
    // A backtrace would look for files: a panic says only what it is.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    // The C library's allocator wants to know how many processors there are, and goes without where it can't. Of several
    // filters the strictest counts; this one has to come first, since the other lets none follow.
    let denied = [(libc::SYS_openat, Vec::new())].into();
    apply(&filter(denied, SeccompAction::Allow, SeccompAction::Errno(libc::EACCES.unsigned_abs()))?)?;
    apply(&of(work)?)
}

fn of(work: Work) -> io::Result<BpfProgram> {
    filter(allowed(work), SeccompAction::KillProcess, SeccompAction::Allow)
}

fn filter(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    others: SeccompAction,
    these: SeccompAction,
) -> io::Result<BpfProgram> {
    let filter = SeccompFilter::new(rules, others, these, TargetArch::x86_64);
    filter.and_then(BpfProgram::try_from).map_err(io::Error::other)
}

fn apply(filter: &BpfProgram) -> io::Result<()> {
    match apply_filter(filter) {
        // A kernel without seccomp.
        Err(seccompiler::Error::Prctl(error)) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        result => result.map_err(io::Error::other),
    }
}

/// What a vCPU's thread needs, and every other: KVM and the run page, memory of its own, locks and channels, the clock,
/// a signal that gets it out of KVM, words to the harness, and its end.
const COMMON: [i64; 25] = [
    // Always refused.
    libc::SYS_openat,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_sendto,
    libc::SYS_close,
    libc::SYS_shutdown,
    libc::SYS_futex,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What only the thread needs that talks to the harness.
const SERVING: [i64; 20] = [
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_dup,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_nanosleep,
    libc::SYS_clock_getres,
    libc::SYS_set_robust_list,
];

/// What only that needs that reads a file.
const READING: [i64; 5] =
    [libc::SYS_lseek, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_pread64];

fn allowed(work: Work) -> BTreeMap<i64, Vec<SeccompRule>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = COMMON.map(|call| (call, Vec::new())).into();
    let more = match work {
        Work::Vcpu => &[][..],
        Work::Serve => &SERVING,
        Work::Read => &READING,
    };
    rules.extend(more.iter().map(|call| (*call, Vec::new())));
    if work != Work::Read {
        // KVM's own requests, and no other driver's (include/uapi/linux/kvm.h: KVMIO).
        const KVM: u64 = 0xae << 8;
        rules.insert(libc::SYS_ioctl, only(1, SeccompCmpOp::MaskedEq(0xff00), KVM));
    }
    // Signals to its own threads, and to nobody else: Landlock sees to that since Linux 6.12 alone.
    rules.insert(libc::SYS_tgkill, only(0, SeccompCmpOp::Eq, process::id().into()));
    // A program with debug assertions looks whether a descriptor that it closes is open. Another command would have the kernel signal
    // whoever is named to it (fcntl(2), F_SETOWN).
    let commands = [libc::F_GETFD, libc::F_GETFL, libc::F_DUPFD_CLOEXEC];
    let one = |command| only(1, SeccompCmpOp::Eq, u64::from(libc::c_int::cast_unsigned(command)));
    rules.insert(libc::SYS_fcntl, commands.into_iter().flat_map(one).collect());
    // No memory becomes code.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, only(2, SeccompCmpOp::MaskedEq(PROT_EXEC as u64), 0));
    }
    rules
}

fn only(argument: u8, how: SeccompCmpOp, value: u64) -> Vec<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value);
    let rule = condition.and_then(|condition| SeccompRule::new(vec![condition]));
    vec![rule.expect("no system call has so many arguments that these are not among them")]
}

/// One of the layers around what is not trusted, as this machine has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub name: &'static str,
    /// What is missing of it, and what to do; nothing where all is well.
    pub lacks: Option<String>,
}

/// What this machine offers, each tried out.
pub fn layers() -> Vec<Layer> {
    let apart = |lock: fn() -> Option<String>| {
        // On a thread of its own: there is no way back.
        std::thread::spawn(lock).join().unwrap_or_else(|_| Some("it can't be tried out".to_owned()))
    };
    let landlock = apart(|| match restrict(&Rules::default()) {
        Ok(Walls::All) => None,
        Ok(Walls::Some) => {
            Some("this kernel knows only an older form: neither sockets nor signals are confined".to_owned())
        }
        Ok(Walls::None) => {
            Some("this kernel has none; boot with lsm=landlock,... or a kernel that has it".to_owned())
        }
        Err(error) => Some(error.to_string()),
    });
    let seccomp = apart(|| match std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(text) if text.contains("kill_process") => lock(Work::Serve).err().map(|error| error.to_string()),
        _ => Some("this kernel has no system-call filters (CONFIG_SECCOMP_FILTER)".to_owned()),
    });
    vec![
        Layer { name: "namespaces", lacks: crate::way().lacks() },
        Layer { name: "landlock", lacks: landlock },
        Layer { name: "seccomp", lacks: seccomp },
    ]
}

#[cfg(test)]
#[path = "cell_test.rs"]
mod tests;
