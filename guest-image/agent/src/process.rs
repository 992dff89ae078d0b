//! Making child processes, and learning of their end.

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask},
    unistd::{ForkResult, Pid, fork, setsid},
};
use std::os::fd::{FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// Forks. The child runs `body` in a session of its own, so that a signal to "my process group" stays
/// with whoever sends it, and ends with the status that `body` returns.
///
/// # Errors
/// As fork(2).
pub fn spawn(body: impl FnOnce() -> i32) -> nix::Result<Pid> {
    // SAFETY: the agent has one thread, so the child finds no lock taken by a thread that it lacks.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let _ = setsid();
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
            // The runtime's handler looks for stack overflows, and swallows these when they were sent. PID 1's handler of its children
            // would run in a call that forks.
            reset(&[Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGCHLD]);
            let status = catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
            // SAFETY: ends the process and skips what `exit` would run: that belongs to the parent.
            unsafe { libc::_exit(status) }
        }
    }
}

/// Keeps other programs, unless they may trace any, from this one's memory and descriptors, and from those of what it forks; a program that is
/// executed is its own again.
pub fn close_to_others() {
    // Whatever else a scenario's programs may do, they run without it as well.
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// Becomes an ordinary user: with root's number go its capabilities (capabilities(7)), and no program that is executed gives any back.
///
/// # Errors
/// As setgroups(2), setgid(2), setuid(2) and prctl(2).
pub fn become_user(user: u32) -> nix::Result<()> {
    nix::unistd::setgroups(&[])?;
    nix::unistd::setgid(user.into())?;
    nix::unistd::setuid(user.into())?;
    nix::sys::prctl::set_no_new_privs()
}

/// Where the worker's pipes lie: far above the descriptors that a scenario's calls get, so that the
/// first `open` returns 3, as in any program. Below the usual limit of 1024.
const OWN_DESCRIPTORS: u32 = 1000;

/// Moves these descriptors out of the way and closes all others but the standard streams. For a child
/// only: whatever else owns a descriptor must not be used again.
///
/// # Errors
/// As fcntl(2).
pub fn keep_only<const N: usize>(fds: [OwnedFd; N]) -> nix::Result<[OwnedFd; N]> {
    let mut kept = Vec::with_capacity(N);
    for fd in fds {
        let moved = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(OWN_DESCRIPTORS as i32))?;
        // SAFETY: the descriptor was made just now, so nobody else owns it.
        kept.push(unsafe { OwnedFd::from_raw_fd(moved) });
        drop(fd);
    }
    // SAFETY: a plain system call. Owners of the closed descriptors live in the parent's part of the
    // program, to which the child never returns.
    unsafe { libc::syscall(libc::SYS_close_range, 3, OWN_DESCRIPTORS - 1, 0) };
    kept.try_into().map_err(|_| Errno::EINVAL)
}

/// Gives signals that the Rust runtime has claimed back their defaults.
fn reset(signals: &[Signal]) {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in signals {
        // SAFETY: a default action runs no code of ours.
        let _ = unsafe { sigaction(*signal, &default) };
    }
}

/// Makes a broken pipe end the process again, as programs expect it.
pub fn reset_sigpipe() {
    reset(&[Signal::SIGPIPE]);
}

/// Makes the end of a child interrupt `ppoll`, and only that: returns the signal mask to wait with.
///
/// # Errors
/// As sigaction(2) and sigprocmask(2).
pub fn watch_children() -> nix::Result<SigSet> {
    extern "C" fn nothing(_: i32) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing, which is allowed at any moment.
    unsafe { sigaction(Signal::SIGCHLD, &action) }?;
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), None)?;
    Ok(SigSet::empty())
}

/// The next child that has ended, of whatever kind; `None` when there is none at the moment.
pub fn reap() -> Option<(Pid, End)> {
    loop {
        let mut status = 0;
        // nix::sys::wait would lose a child that was killed by a real-time signal.
        // SAFETY: `status` lives across the call.
        match unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG | libc::__WALL) } {
            pid @ 1.. if libc::WIFEXITED(status) => {
                return Some((Pid::from_raw(pid), End::Exited(libc::WEXITSTATUS(status))));
            }
            pid @ 1.. => return Some((Pid::from_raw(pid), End::Killed(libc::WTERMSIG(status)))),
            -1 if Errno::last() == Errno::EINTR => {}
            _ => return None,
        }
    }
}
