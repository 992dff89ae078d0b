//! Which names mean something only in the process that makes the steps' calls: descriptors, and addresses of its memory.

use crate::model::{Action, CallName, Num, Scenario};
use protocol::Door;

/// Calls whose results, or what they write, are descriptors or addresses (Linux man-pages, section 2).
const CALLS: &[&str] = &[
    "accept",
    "accept4",
    "bpf",
    "brk",
    "creat",
    "dup",
    "dup2",
    "dup3",
    "epoll_create",
    "epoll_create1",
    "eventfd",
    "eventfd2",
    "fanotify_init",
    "fsmount",
    "fsopen",
    "fspick",
    "inotify_init",
    "inotify_init1",
    "io_uring_setup",
    "landlock_create_ruleset",
    "memfd_create",
    "memfd_secret",
    "mmap",
    "mq_open",
    "mremap",
    "open",
    "open_by_handle_at",
    "open_tree",
    "openat",
    "openat2",
    "perf_event_open",
    "pidfd_getfd",
    "pidfd_open",
    "pipe",
    "pipe2",
    "shmat",
    "signalfd",
    "signalfd4",
    "socket",
    "socketpair",
    "timerfd_create",
    "userfaultfd",
];

impl Scenario {
    /// Whether a name's value goes with the process: some step gives it by such a call, or uses it as a descriptor.
    pub fn goes_with_process(&self, name: &str) -> bool {
        self.steps.iter().any(|step| {
            let given = step.binds.iter().any(|bind| bind.name == name);
            let used = |fd: &Num| matches!(fd, Num::Name(used) if used == name);
            match &step.action {
                Action::Open { .. } => given,
                Action::Syscall { call: CallName::Name(call, _), .. } => given && CALLS.contains(&&**call),
                Action::Read { fd, .. }
                | Action::Write { fd, .. }
                | Action::Lseek { fd, .. }
                | Action::Ioctl { fd, .. }
                | Action::Poll { fd, .. }
                | Action::Close { fd } => used(fd),
                _ => false,
            }
        })
    }
}

/// Calls in which a process ends, or becomes a program that does.
const ENDING: &[&str] = &["execve", "execveat", "exit", "exit_group"];
/// The same by their numbers (arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl).
const ENDING_64: &[u64] = &[59, 322, 60, 231];
const ENDING_32: &[u64] = &[11, 358, 1, 252];

impl Action {
    /// Whether it may well be that who does it ends by itself.
    pub fn may_end(&self) -> bool {
        match self {
            Self::Syscall { call: CallName::Name(name, _), .. } => ENDING.contains(&&**name),
            Self::Syscall { call: CallName::Nr(nr), door: Door::Int80, .. } => ENDING_32.contains(nr),
            Self::Syscall { call: CallName::Nr(nr), .. } => ENDING_64.contains(nr),
            action => action.is_program(),
        }
    }

    /// Whether the step runs a program; all others are calls of the one process that makes them.
    pub fn is_program(&self) -> bool {
        matches!(self, Self::Run { .. } | Self::Modprobe { .. } | Self::Modinfo { .. })
    }
}

#[cfg(test)]
mod tests {
    use crate::fixture::scenario;

    #[test]
    fn who_calls_for_its_end_may_end() {
        let steps = "- syscall: exit\n- {syscall: 231}\n- {syscall: 1, door: int80}\n- run: /bin/true\n\
                     - syscall: getpid\n- {syscall: 1}\n- {close: 9}\n";
        let may: Vec<bool> =
            scenario(&format!("steps:\n{steps}")).steps.iter().map(|step| step.action.may_end()).collect();
        assert_eq!(may, [true, true, true, true, false, false, false]);
    }

    #[test]
    fn descriptors_and_addresses_go_with_the_process_and_numbers_stay() {
        let scenario = scenario(
            "steps:\n- {open: /dev/null, as: fd}\n- {syscall: mmap, as: page}\n- {syscall: getpid, as: pid}\n\
             - {syscall: 41, as: socket}\n- {close: $socket}\n- {syscall: pipe, args: [{out: int, as: end}]}\n\
             - {file: /proc/devices, match: '(1) mem', as: major}\n",
        );
        for (name, goes) in
            [("fd", true), ("page", true), ("pid", false), ("socket", true), ("end", true), ("major", false)]
        {
            assert_eq!(scenario.goes_with_process(name), goes, "{name}");
        }
    }
}
