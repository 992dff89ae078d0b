//! What the programs of a step do: what they want written, and how they end. What is said of a program has to go with that.

use crate::{bytes::ByteCounts, door::Door, witness::Sighting};
use machine::{AddressSpace, GuestVirtualAddress};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// So many programs' ends are remembered, the newest, and those that PID 1 waits for.
const MOST_EXITS: usize = 256;
/// Of so many programs it is remembered when they began, and what they are writing.
const MOST_PROGRAMS: usize = 64;
/// So much of what is written in one call is looked at, and in all of a step's, in bytes.
const MOST_IN_CALL: u64 = 64 << 10;
const MOST_IN_STEP: u64 = 1 << 20;

/// More is not written by one call (MAX_RW_COUNT of include/linux/fs.h).
const MOST_AT_ONCE: u64 = 0x7fff_f000;

/// Calls of the 64-bit table by which a program may end another one by a signal, now or later: `alarm`, `setitimer`, `kill`,
/// `rt_sigqueueinfo`, `tkill`, `timer_create`, `tgkill`, `rt_tgsigqueueinfo`, `pidfd_send_signal`.
const SIGNALS: [u64; 9] = [37, 38, 62, 129, 200, 222, 234, 297, 424];
/// `clone3` of both tables, `clone` of each, and its CLONE_THREAD (include/uapi/linux/sched.h).
const CLONE3: u64 = 435;
const CLONE: u64 = 56;
const CLONE_32: u64 = 120;
const CLONE_THREAD: u64 = 0x1_0000;

/// Whether a program may get a thread by this call.
pub(crate) fn makes_thread(door: Door, nr: u64, args: &[u64; 6]) -> bool {
    let clone = if door == Door::Syscall64 { CLONE } else { CLONE_32 };
    nr == CLONE3 || (nr == clone && args[0] & CLONE_THREAD != 0)
}

/// `write` and `pwrite64`, whose second and third argument are where and how much; `writev`, `pwritev` and `pwritev2`, with so many
/// pieces there; `sendfile`, whose fourth is how much.
const WRITES: [u64; 2] = [1, 18];
const PIECES: [u64; 3] = [20, 296, 328];
const SENDFILE: u64 = 40;
/// `io_submit`, `splice`, `tee`, `vmsplice`, `copy_file_range`, `io_uring_setup` and what comes after it.
const OTHERWISE: [u64; 8] = [209, 275, 276, 278, 326, 425, 426, 427];

/// The same of the 32-bit table (arch/x86/entry/syscalls/syscall_32.tbl): `write` and `pwrite64`; `sendfile` and `sendfile64`;
/// and otherwise, as which its pieces count too: `writev`, `io_submit`, `splice`, `tee`, `vmsplice`, `pwritev`, `copy_file_range`,
/// `pwritev2`.
const WRITES_32: [u64; 2] = [4, 181];
const SENDFILE_32: [u64; 2] = [187, 239];
const OTHERWISE_32: [u64; 11] = [146, 248, 313, 315, 316, 334, 377, 379, 425, 426, 427];

/// How a call writes, if it does.
enum Writes {
    /// What is in memory at the second argument, as long as the third.
    Memory,
    /// So many pieces.
    Pieces,
    /// So much as the fourth argument, out of a file.
    File,
    /// What can't be bounded.
    Otherwise,
}

impl Writes {
    fn of(door: Door, nr: u64) -> Option<Self> {
        if door == Door::Syscall64 {
            return match nr {
                SENDFILE => Some(Self::File),
                nr if WRITES.contains(&nr) => Some(Self::Memory),
                nr if PIECES.contains(&nr) => Some(Self::Pieces),
                nr if OTHERWISE.contains(&nr) => Some(Self::Otherwise),
                _ => None,
            };
        }
        match nr & u64::from(u32::MAX) {
            nr if WRITES_32.contains(&nr) => Some(Self::Memory),
            nr if SENDFILE_32.contains(&nr) => Some(Self::File),
            nr if OTHERWISE_32.contains(&nr) => Some(Self::Otherwise),
            _ => None,
        }
    }
}
/// More pieces the kernel does not take at once (UIO_MAXIOV of include/uapi/linux/uio.h).
const MOST_PIECES: u64 = 1024;

/// `ptrace` with these requests (include/uapi/linux/ptrace.h: PTRACE_ATTACH, PTRACE_SEIZE), and `process_vm_writev`.
const PTRACE: u64 = 101;
const ATTACH: [u64; 2] = [16, 0x4206];
const WRITE_MEMORY: u64 = 311;
/// `open` and `openat`: where the path and the flags are. The flags' lower bits say whether it is to be written to.
const OPENS: [(u64, usize); 2] = [(2, 0), (257, 1)];
const FOR_WRITING: u64 = 3;

/// Whose memory or registers a call of the 64-bit table is to change.
pub(crate) fn reaches(nr: u64, args: &[u64; 6], user: impl FnOnce() -> Option<AddressSpace>) -> Option<u32> {
    let pid = match nr {
        PTRACE if ATTACH.contains(&args[0]) => args[1],
        WRITE_MEMORY => args[0],
        nr => {
            let (_, path) =
                OPENS.into_iter().find(|(open, path)| *open == nr && args[path + 1] & FOR_WRITING != 0)?;
            // No number of a process has more digits.
            let mut bytes = [0; b"/proc/4294967295/mem".len() + 1];
            let (user, length) = (user()?, bytes.len());
            let page = (0x1000 - (args[path] & 0xfff) as usize).min(length);
            user.read(GuestVirtualAddress(args[path]), &mut bytes[..page])?;
            // The rest is on a page that need not be there.
            let _ = user.read(GuestVirtualAddress(args[path].wrapping_add(page as u64)), &mut bytes[page..]);
            let path = bytes.split(|byte| *byte == 0).next()?;
            let pid = path.strip_prefix(b"/proc/")?.strip_suffix(b"/mem")?;
            return std::str::from_utf8(pid).ok()?.parse().ok();
        }
    };
    u32::try_from(pid).ok()
}

/// A program that ended by its own call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its process's number, where that is known.
    pub pid: Option<u32>,
    /// The status.
    pub status: i32,
    /// From its first call to this one.
    pub took: Duration,
    /// `exit_group`, which ends all threads: theirs are of no account then.
    pub group: bool,
    /// By the task that executed the program, or one of its threads; not known of one that nobody saw do so.
    pub main: bool,
}

/// Who calls, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Who {
    /// The task's address.
    pub task: Option<u64>,
    /// The process's number.
    pub pid: Option<u32>,
}

/// What is kept of a step's programs, beside what is told of them.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    /// When they made their first call.
    began: BTreeMap<u32, Instant>,
    /// What tasks are about to write, of what is told already.
    writing: BTreeMap<u64, Written>,
    /// So many bytes were looked at.
    looked_at: u64,
}

/// By one call, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    known: u64,
    unknown: u64,
}

impl Programs {
    /// A program calls. `awaited`: PID 1 waits for it.
    pub fn call(
        &mut self,
        seen: &mut Sighting,
        who: Who,
        (door, nr, args): (Door, u64, &[u64; 6]),
        user: impl FnOnce() -> Option<AddressSpace>,
        awaited: impl Fn(u32) -> bool,
    ) {
        if let Some(pid) = who.pid {
            self.begin(pid, awaited);
        }
        seen.signals |= makes_thread(door, nr, args) || SIGNALS.contains(&nr) || door != Door::Syscall64;
        let Some(writes) = Writes::of(door, nr) else { return };
        // A 32-bit program has half of each register.
        let args = if door == Door::Syscall64 { *args } else { args.map(|arg| arg & u64::from(u32::MAX)) };
        let mut wish = Written::default();
        let user = user();
        let pieces = match writes {
            Writes::Memory => Some(vec![(args[1], args[2])]),
            Writes::Pieces => user.as_ref().and_then(|user| pieces(user, args[1], args[2])),
            Writes::File => {
                wish.unknown = args[3];
                Some(Vec::new())
            }
            Writes::Otherwise => None,
        };
        let Some(pieces) = pieces else {
            seen.unbounded = true;
            return;
        };
        for (at, length) in pieces {
            let known = self.look(&mut seen.written, user.as_ref(), (at, length), wish.known);
            wish.known += known;
            wish.unknown = wish.unknown.saturating_add(length - known);
        }
        wish.unknown = wish.unknown.min(MOST_AT_ONCE);
        seen.unread = seen.unread.saturating_add(wish.unknown);
        // What came of it is seen at the 64-bit door alone.
        if let Some(task) = who.task.filter(|_| door == Door::Syscall64)
            && wish.unknown > 0
            && self.writing.len() < MOST_PROGRAMS
        {
            self.writing.insert(task, wish);
        }
    }

    /// Notes when a program made its first call. There are no more that PID 1 waits for than it forks in a step: these have room in any case.
    fn begin(&mut self, pid: u32, awaited: impl Fn(u32) -> bool) {
        if self.began.contains_key(&pid) {
            return;
        }
        if self.began.len() >= MOST_PROGRAMS {
            let other = self.began.keys().copied().find(|other| !awaited(*other));
            match other.filter(|_| awaited(pid)) {
                Some(other) => drop(self.began.remove(&other)),
                None => return,
            }
        }
        self.began.insert(pid, Instant::now());
    }

    /// Adds what is to be written from there, as much as may be looked at; says how much that is.
    fn look(
        &mut self,
        to: &mut ByteCounts,
        user: Option<&AddressSpace>,
        (at, length): (u64, u64),
        before: u64,
    ) -> u64 {
        let room = (MOST_IN_CALL - before.min(MOST_IN_CALL)).min(MOST_IN_STEP - self.looked_at);
        let mut bytes = vec![0; length.min(room) as usize];
        if user.and_then(|user| user.read(GuestVirtualAddress(at), &mut bytes)).is_none() {
            return 0;
        }
        to.add(&bytes);
        self.looked_at += bytes.len() as u64;
        bytes.len() as u64
    }

    /// A task's call returns: no more was written than that.
    pub fn returned(&mut self, seen: &mut Sighting, task: Option<u64>, result: i64) {
        let Some(wish) = task.and_then(|task| self.writing.remove(&task)) else { return };
        let wrote = u64::try_from(result).unwrap_or(0).saturating_sub(wish.known).min(wish.unknown);
        seen.unread = seen.unread.saturating_sub(wish.unknown - wrote);
    }

    /// A program ends itself. `awaited`: PID 1 waits for it.
    pub fn exit(&mut self, seen: &mut Sighting, exit: Exit, awaited: impl Fn(u32) -> bool) {
        let began = exit.pid.and_then(|pid| self.began.get(&pid));
        let took = began.map_or(Duration::ZERO, Instant::elapsed);
        if seen.exits.len() >= MOST_EXITS {
            seen.more_exits = true;
            let other = seen.exits.iter().position(|old| !old.pid.is_some_and(&awaited));
            // There are no more that PID 1 waits for than it forks in a step.
            match other {
                Some(other) => drop(seen.exits.remove(other)),
                None => return,
            }
        }
        seen.exits.push_back(Exit { took, ..exit });
    }
}

/// Where the pieces of a `struct iovec[]` are, and how long.
fn pieces(user: &AddressSpace, at: u64, count: u64) -> Option<Vec<(u64, u64)>> {
    let mut bytes = vec![0; (count.min(MOST_PIECES) * 16) as usize];
    user.read(GuestVirtualAddress(at), &mut bytes)?;
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    Some(bytes.chunks_exact(16).map(|piece| (word(&piece[..8]), word(&piece[8..]))).collect())
}

#[cfg(test)]
#[path = "programs_test.rs"]
mod tests;
