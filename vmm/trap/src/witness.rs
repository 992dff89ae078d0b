//! The call that a step makes, as it is seen at the door: what the agent says of it has to be the same.
//!
//! Who asks the agent for a call says beforehand how it should look ([`Expected`]). The trap then compares what comes through
//! the door with it, and keeps what the kernel returns: the result, and the buffers as they are when it leaves. Whatever
//! a guest's kernel does to the agent, to its memory or to its messages comes later.

use crate::{
    bytes::ByteCounts,
    chain::Chain,
    code::{Code, Known, Running},
    door::Door,
    pairs::renumbers,
    programs::{Exit, Programs, Who},
    task::Caller,
};
use machine::{AddressSpace, GuestVirtualAddress, Memory};
use protocol::{Arg, Call, Link, errno};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The code of so many processes is looked at.
const MOST_LOOKED: usize = 64;
/// Larger buffers than the agent makes are not read.
const MOST_BYTES: usize = 64 << 20;

/// `restart_syscall`, by which the kernel goes on with a call that a signal interrupted
/// (arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl).
fn is_restart(door: Door, nr: u64) -> bool {
    nr == if door == Door::Syscall64 { 219 } else { 0 }
}

/// Calls whose buffers the kernel fills when it likes: `io_submit`, `io_getevents`, `io_pgetevents`, `io_uring_*`.
const LATER: [u64; 6] = [208, 209, 333, 425, 426, 427];

/// `read` and `pread64`, which fill as much of their buffer as they say.
const READS: [u64; 2] = [0, 17];

/// How a step's calls should look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Expected {
    /// One after the other, all of them so often.
    Rounds {
        /// The calls.
        calls: Vec<Call>,
        /// The agent makes all of them so often.
        times: u32,
    },
    /// Calls that take each other's results.
    Chain(Vec<Link>),
}

/// What was seen of a call of a chain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sight {
    /// Which.
    pub link: u16,
    /// As in [`Sighting::result`]; of one that was made several times, the last one's.
    pub result: Option<i64>,
    /// As in [`Sighting::buffers`]; of one that was made several times, what they held each time, behind each other.
    pub buffers: Option<Vec<Vec<u8>>>,
    /// In the kernel.
    pub took: Duration,
}

/// What was seen of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Calls of the step's that entered the kernel.
    pub entered: u64,
    /// How the first that did not look as it should differs.
    pub differs: Option<Difference>,
    /// What the kernel returned, if it was looked for.
    pub result: Option<i64>,
    /// Buffers that the kernel may write to, in the arguments' order, as they were when it returned.
    pub buffers: Option<Vec<Vec<u8>>>,
    /// Of a chain, the calls that were made, in order.
    pub made: Vec<Sight>,
    /// The agent made fewer calls than it was to make, so many, though all of them ended in the same way. One that the kernel has begin
    /// anew is one.
    pub fewer: Option<u64>,
    /// The call is in the kernel still, or never came back to where its result would have been seen.
    pub inside: bool,
    /// From the entry of the first call to the return of the last one.
    pub took: Duration,
    /// Programs that ended by their own calls, the newest.
    pub exits: VecDeque<Exit>,
    /// There were more of them.
    pub more_exits: bool,
    /// A program may have had threads, or have sent signals.
    pub signals: bool,
    /// What programs wanted written, to wherever.
    pub written: ByteCounts,
    /// The same, in bytes, of which it is not known what they were.
    pub unread: u64,
    /// They had other ways to write, of which it is not known how much that was.
    pub unbounded: bool,
    /// Where the program that the agent started has other code than its file.
    pub strange: Option<u64>,
    /// Entries and returns of calls were not seen all the time.
    pub blind: bool,
    /// The processes that PID 1 forked; none where that is not known.
    pub forked: Vec<u32>,
}

/// What is not as it should be. Arguments are counted from 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// Another call than the step's.
    Number {
        /// The step's.
        wanted: u64,
        /// The one that entered.
        seen: u64,
    },
    /// The kernel handled another number than the one that entered.
    Dispatched {
        /// The one that entered.
        entered: u64,
        /// The one that was saved for the kernel.
        handled: u64,
    },
    /// Another value.
    Argument {
        /// Which.
        index: u8,
        /// The step's.
        wanted: u64,
        /// The one that entered.
        seen: u64,
    },
    /// Other bytes behind a pointer.
    Bytes {
        /// Which argument.
        index: u8,
    },
    /// The call is in the kernel still, or never came back to where its result would have been seen.
    Inside {
        /// Its number.
        nr: u64,
        /// The one that entered then.
        seen: u64,
    },
    /// A call more than there should be.
    More {
        /// Its number.
        seen: u64,
    },
}

/// Where the vCPUs of a machine write down what they see.
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    expected: Option<Expected>,
    /// How far a chain has come.
    chain: Chain,
    /// What the step is about is among it, of a chain the link of this index.
    main: Option<u16>,
    seen: Sighting,
    /// The call that is in the kernel.
    inside: Option<Inside>,
    /// When the first one entered; of a chain, the newest.
    began: Option<Instant>,
    /// How many of the calls have entered, each counted once however often the kernel has it begin anew.
    made: u64,
    /// The errno that the agent goes on with, once that is known; 0 for none. And whether a later result had another.
    first: Option<i64>,
    ended_otherwise: bool,
    /// Whose code was looked at, when so much was done.
    looked: BTreeMap<u32, usize>,
    programs: Programs,
    /// What the program is that the agent starts, until that becomes another one.
    program: Option<Running>,
    /// Pages of programs that were as they should be.
    known: Known,
}

#[derive(Debug)]
struct Inside {
    caller: Caller,
    nr: u64,
    /// Pointers and lengths of what the kernel may write to.
    buffers: Vec<(u64, usize)>,
}

impl Witness {
    /// The next calls of a step's should look like this; what was seen before is forgotten. `main`: what the step is about is
    /// among it, of a chain the link of this index.
    pub fn expect(&self, expected: Option<Expected>, main: Option<u16>) {
        let mut inner = self.inner();
        let known = std::mem::take(&mut inner.known);
        *inner = Inner { expected, main, known, ..Inner::default() };
    }

    /// What the program is that the agent starts next; nothing where that is not known.
    pub fn expect_program(&self, program: Option<Code>) {
        self.inner().program = program.map(Running::from);
    }

    /// What was seen since then.
    pub fn sighting(&self) -> Sighting {
        let inner = self.inner();
        // Where results are not seen it is not known when the agent had to stop.
        let all = inner.first.is_some() && !inner.ended_otherwise;
        let wanted = match &inner.expected {
            Some(Expected::Rounds { calls, times }) => u64::from(*times) * calls.len() as u64,
            // What was made of a chain is told call by call.
            Some(Expected::Chain(_)) | None => 0,
        };
        let fewer = (all && inner.made < wanted).then_some(inner.made);
        Sighting { fewer, inside: inner.inside.is_some(), ..inner.seen.clone() }
    }

    /// Whether the agent's code is to be looked at, in a call of this process of its own: when what the step is about is done, and
    /// when programs have ended since the last time.
    pub(crate) fn is_due(&self, tgid: u32) -> bool {
        let mut inner = self.inner();
        let Some(main) = inner.main else { return false };
        let made = inner.seen.made.iter().any(|made| made.link >= main && made.result.is_some());
        let done = inner.seen.exits.len() + usize::from(made || inner.seen.result.is_some());
        let room = inner.looked.len() < MOST_LOOKED;
        room && done > inner.looked.insert(tgid, done).unwrap_or(0)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step's call entered. `user` are the caller's page tables. Says whether it is as it should be.
    pub(crate) fn entered(
        &self,
        door: Door,
        nr: u64,
        args: &[u64; 6],
        caller: Caller,
        user: impl FnOnce() -> Option<AddressSpace>,
    ) -> bool {
        let mut inner = self.inner();
        let inner = &mut *inner;
        inner.seen.entered = inner.seen.entered.saturating_add(1);
        let Some(expected) = &inner.expected else { return false };
        if is_restart(door, nr) && inner.seen.entered > 1 {
            if let Some(inside) = &mut inner.inside {
                inside.nr = nr;
            }
            return false;
        }
        // What is still in the kernel begins anew: a signal came.
        let anew = inner.inside.is_some();
        // What it may have written to already need not hold any more what went in.
        let mut fresh = !anew;
        if let Some(Inside { nr: inside, .. }) = inner.inside.as_ref().filter(|inside| inside.nr != nr) {
            inner.seen.differs.get_or_insert(Difference::Inside { nr: *inside, seen: nr });
        }
        let expected = match expected {
            Expected::Rounds { calls, .. } => {
                inner.began.get_or_insert_with(Instant::now);
                inner.made += u64::from(!anew);
                fresh &= inner.made <= calls.len() as u64;
                match (inner.made.max(1) - 1).checked_rem(calls.len() as u64) {
                    Some(index) => Cow::Borrowed(&calls[index as usize]),
                    None => return false,
                }
            }
            Expected::Chain(links) => {
                let Some((link, call)) = inner.chain.next(links) else {
                    inner.seen.differs.get_or_insert(Difference::More { seen: nr });
                    return false;
                };
                if !anew {
                    inner.began = Some(Instant::now());
                    if inner.seen.made.last().is_none_or(|last| last.link != link) {
                        inner.seen.made.push(Sight { link, ..Sight::default() });
                    }
                }
                Cow::Owned(call)
            }
        };
        let expected = expected.as_ref();
        // Who has no buffers needs no memory.
        let user = expected.args.iter().any(|arg| !matches!(arg, Arg::Int(_))).then(user).flatten();
        let differs = differs(expected, nr, args, user.as_ref().filter(|_| fresh));
        let fits = differs.is_none();
        inner.seen.differs = inner.seen.differs.take().or(differs);
        let seen = door == Door::Syscall64;
        inner.inside = seen.then(|| Inside { caller, nr, buffers: buffers(expected, args) });
        fits
    }

    /// A call leaves the kernel.
    pub(crate) fn returned(
        &self,
        caller: impl FnOnce() -> Caller,
        nr: u64,
        result: i64,
        user: impl FnOnce() -> Option<AddressSpace>,
    ) {
        let mut inner = self.inner();
        // No step's call is in the kernel at most returns: it needs not be known then whose they are.
        if inner.inside.is_none() {
            return;
        }
        let caller = caller();
        let Some(inside) = inner.inside.take_if(|inside| inside.caller == caller) else { return };
        if inside.nr != nr && !renumbers(inside.nr) && inner.seen.differs.is_none() {
            inner.seen.differs = Some(Difference::Dispatched { entered: inside.nr, handled: nr });
        }
        let took = inner.began.map_or(Duration::ZERO, |began| began.elapsed());
        // Who has no buffers needs no memory.
        let empty = inside.buffers.is_empty().then(Vec::new);
        let read = || {
            user().and_then(|user| {
                // Of what was to be read the rest of the buffer tells nothing.
                let filled =
                    if READS.contains(&nr) { usize::try_from(result).unwrap_or(0) } else { MOST_BYTES };
                let read = |(at, length): &(u64, usize)| {
                    let mut bytes = vec![0; filled.min(*length)];
                    user.read(GuestVirtualAddress(*at), &mut bytes)?;
                    Some(bytes)
                };
                inside.buffers.iter().map(read).collect::<Option<Vec<_>>>()
            })
        };
        let buffers = if LATER.contains(&nr) { None } else { empty.or_else(read) };
        let inner = &mut *inner;
        match (&inner.expected, inner.seen.made.last_mut()) {
            (Some(Expected::Chain(links)), Some(made)) => {
                inner.chain.returned(links, result);
                made.buffers = match made.result.is_none() {
                    true => buffers,
                    false => made.buffers.take().zip(buffers).map(|(mut before, more)| {
                        before.iter_mut().zip(more).for_each(|(before, more)| before.extend(more));
                        before
                    }),
                };
                made.result = Some(result);
                made.took += took;
            }
            (expected, _) => {
                let errno = -errno(result);
                let alone = !matches!(expected, Some(Expected::Rounds { calls, .. }) if calls.len() != 1);
                inner.ended_otherwise |= *inner.first.get_or_insert(if alone { errno } else { 0 }) != errno;
                inner.seen.result = Some(result);
                inner.seen.took = took;
                if !LATER.contains(&nr) {
                    inner.seen.buffers = buffers;
                }
            }
        }
    }

    /// A program makes another call. `awaited`: PID 1 waits for it.
    pub(crate) fn calls(
        &self,
        who: Who,
        call: (Door, u64, &[u64; 6]),
        user: impl FnOnce() -> Option<AddressSpace>,
        awaited: impl Fn(u32) -> bool,
    ) {
        let inner = &mut *self.inner();
        inner.programs.call(&mut inner.seen, who, call, user, awaited);
    }

    /// A program's call returns.
    pub(crate) fn called(&self, task: Option<u64>, result: i64) {
        let inner = &mut *self.inner();
        inner.programs.returned(&mut inner.seen, task, result);
    }

    /// A program ends itself. `awaited`: PID 1 waits for it.
    pub(crate) fn exits(&self, exit: Exit, awaited: impl Fn(u32) -> bool) {
        let inner = &mut *self.inner();
        inner.programs.exit(&mut inner.seen, exit, awaited);
    }

    /// The program that the agent started calls from there.
    pub(crate) fn runs(
        &self,
        call: (Door, u64, &[u64; 6]),
        from: u64,
        memory: &Memory,
        user: impl FnOnce() -> Option<AddressSpace>,
    ) {
        let inner = &mut *self.inner();
        if let Some(program) = &mut inner.program {
            program.calls(call, from, user, memory, &mut inner.known);
        }
    }

    /// The program that the agent started calls from there, to end or to become another one: it has to be what was brought.
    pub(crate) fn leaves(&self, from: u64, memory: &Memory, user: impl FnOnce() -> Option<AddressSpace>) {
        let inner = &mut *self.inner();
        let Some(program) = &inner.program else { return };
        let differs = |user| program.differs(from, &user, memory, &mut inner.known);
        inner.seen.strange = inner.seen.strange.or_else(|| user().and_then(differs));
    }

    /// It has become another one, or nobody sees whether it has.
    pub(crate) fn became_another(&self) {
        self.inner().program = None;
    }

    /// Whether no call of the step's has entered but this one.
    pub(crate) fn is_first(&self) -> bool {
        self.inner().seen.entered <= 1
    }
}

fn differs(expected: &Call, nr: u64, args: &[u64; 6], user: Option<&AddressSpace>) -> Option<Difference> {
    // The kernel takes 32 bits of it.
    if nr as u32 != expected.nr as u32 {
        return Some(Difference::Number { wanted: expected.nr, seen: nr });
    }
    // Through this door 32 bits of each arrive.
    let mask = if expected.door == protocol::Door::Int80 { u64::from(u32::MAX) } else { u64::MAX };
    (0..).zip(&expected.args).zip(args).find_map(|((index, wanted), seen)| match wanted {
        Arg::Int(wanted) => {
            let wanted = wanted & mask;
            (wanted != seen & mask).then_some(Difference::Argument { index: index + 1, wanted, seen: *seen })
        }
        Arg::In(bytes) | Arg::InOut(bytes) => {
            let mut there = vec![0; bytes.len().min(MOST_BYTES)];
            // What is not in memory can't be compared.
            user?.read(GuestVirtualAddress(*seen), &mut there)?;
            (!bytes.starts_with(&there)).then_some(Difference::Bytes { index: index + 1 })
        }
        Arg::Out(_) | Arg::Of(_) => None,
    })
}

fn buffers(expected: &Call, args: &[u64; 6]) -> Vec<(u64, usize)> {
    let buffers = expected.args.iter().zip(args).filter_map(|(wanted, at)| match wanted {
        Arg::Out(length) => Some((*at, (*length as usize).min(MOST_BYTES))),
        Arg::InOut(bytes) => Some((*at, bytes.len().min(MOST_BYTES))),
        Arg::Int(_) | Arg::In(_) | Arg::Of(_) => None,
    });
    buffers.collect()
}

#[cfg(test)]
#[path = "witness_test.rs"]
mod tests;
