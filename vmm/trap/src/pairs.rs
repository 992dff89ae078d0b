//! Entries and returns of calls, paired by the task that makes them: what entered is what the kernel has to handle, and a task that
//! is back in user space has returned from what it entered with.
//!
//! By the same book-keeping it is known which processes are the agent's: those that there were when counting began, before
//! anything of a scenario ran, and what they fork, until that executes another program. An address in user space
//! alone tells nothing: any program can have code there.
//!
//! Only the 64-bit door has its returns seen, and only of kernels whose tasks are known something can be said.

mod again;
mod inside;

use crate::{door::Door, oddity::Oddity, tally::Origin};
use again::{End, Fate};
pub(crate) use again::{Return, Site};
use inside::{Inside, Task};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Tasks that are remembered; there are no more in a sane guest.
const MOST_TASKS: usize = 1 << 15;
/// So many oddities are told.
const MOST_TOLD: usize = 16;

/// Numbers of the 64-bit table (arch/x86/entry/syscalls/syscall_64.tbl).
const SIGRETURN: u64 = 15;
/// `restart_syscall`, by which the kernel goes on with a call that a signal interrupted.
const RESTART: u64 = 219;
const FORKS: [u64; 4] = [56, 57, 58, 435];
const EXECS: [u64; 2] = [59, 322];
const EXITS: [u64; 2] = [60, 231];
const UPROBES: [u64; 2] = [335, 336];
/// Calls in which the kernel itself saves another number. `rt_sigreturn` returns from none (restore_sigcontext of
/// arch/x86/kernel/signal_64.c); who executes a program has made the `execve` of that program's table
/// (`set_personality_64bit` and `set_personality_ia32` of arch/x86/kernel/process_64.c); `uretprobe` and `uprobe`, which probes of programs call
/// from a page that the kernel gives them, go on elsewhere (arch/x86/kernel/uprobes.c).
pub(crate) fn renumbers(nr: u64) -> bool {
    nr == SIGRETURN || EXECS.contains(&nr) || UPROBES.contains(&nr)
}

/// `ptrace`, in the table of 64-bit programs and in the other one.
const PTRACE: [u64; 2] = [101, 26];

/// A task as its kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    /// Its address.
    pub task: u64,
    /// Its own number.
    pub pid: u32,
    /// Its process's.
    pub tgid: u32,
}

/// A call that returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returned {
    /// It is not known which: it was there before counting began, or tasks are not known.
    Unknown,
    /// This one, which entered as whose, with this result.
    From(u64, Origin, i64),
    /// It is made once more from its beginning (ERESTARTSYS of include/linux/errno.h).
    Again,
}

/// What all vCPUs of a machine know together.
#[derive(Clone, Debug, Default)]
pub struct Pairs(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    tasks: BTreeMap<u64, Task>,
    /// Processes of the agent's; none where they are not known.
    agents: BTreeSet<u32>,
    /// The agent's forks that have not returned: their children may run already.
    forking: usize,
    /// Those that executed a program or ended meanwhile: when the fork returns, its child is the agent's no more.
    gone: BTreeSet<u32>,
    /// Who runs the agent's code while it forks, before it is known whom it has forked.
    newcomers: BTreeSet<u32>,
    /// Children of PID 1 that it forked itself, since [`Pairs::forget_children`].
    children: Vec<u32>,
    /// Who executed the programs which the agent starts, by their processes.
    mains: BTreeMap<u32, Main>,
    found: Vec<Oddity>,
    /// Numbers that changed while programs may have traced others, who may change numbers.
    changed: u64,
    /// Some program may be another's tracer.
    traced: bool,
    /// A return was seen.
    returns: bool,
    /// So many calls are in the kernel whose returns are of interest.
    awaited: usize,
    /// Entries or returns were not seen for a while.
    blind: bool,
    /// The same of some other door.
    short: bool,
}

/// The task that executed a program.
#[derive(Debug)]
struct Main {
    task: u64,
    /// Its page tables, once it has threads.
    tables: Option<u64>,
}

impl Pairs {
    /// These processes are the agent's, PID 1 beside.
    pub fn of(agents: impl IntoIterator<Item = u32>) -> Self {
        let agents = agents.into_iter().chain([1]).collect();
        Self(Arc::new(Mutex::new(Inner { agents, ..Inner::default() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What could not be, since the last time.
    pub fn take(&self) -> Vec<Oddity> {
        std::mem::take(&mut self.inner().found)
    }

    /// So many numbers changed on their way, which a tracer may have done.
    pub fn changed(&self) -> u64 {
        self.inner().changed
    }

    /// Whether all returns are seen.
    pub fn sees_returns(&self) -> bool {
        let inner = self.inner();
        inner.returns && !inner.blind
    }

    /// Whether some call is in the kernel whose return has to be seen, or may be.
    pub(crate) fn awaits_returns(&self) -> bool {
        let inner = self.inner();
        inner.blind || !inner.returns || inner.knows_nobody() || inner.awaited > 0
    }

    /// Whether some door had no breakpoint for a while.
    pub fn is_short(&self) -> bool {
        self.inner().short
    }

    /// Some door has none.
    pub(crate) fn short(&self) {
        self.inner().short = true;
    }

    /// Breakpoints were needed elsewhere: entries and returns are seen no longer, or not all of them.
    pub(crate) fn blind(&self) {
        self.inner().blind = true;
    }

    /// What PID 1 has forked by now is no more of interest.
    pub fn forget_children(&self) {
        let mut inner = self.inner();
        inner.children.clear();
        inner.mains.clear();
    }

    /// Whether PID 1 has forked this process since then.
    pub(crate) fn is_child(&self, pid: u32) -> bool {
        self.inner().children.contains(&pid)
    }

    /// This task makes a thread. Of one that executed a program for the agent it is known by these page tables from then on.
    pub(crate) fn makes_thread(&self, ids: Ids, tables: Option<u64>) {
        let mut inner = self.inner();
        let main = inner.mains.get_mut(&ids.tgid).filter(|main| main.task == ids.task);
        main.into_iter().for_each(|main| main.tables = tables);
    }

    /// Whether this task is the one that executed its process's program for the agent, or a thread of it, as its page tables tell: any task may
    /// have been given the process's number.
    pub(crate) fn is_main(&self, ids: Ids, tables: impl FnOnce() -> Option<u64>) -> bool {
        let inner = self.inner();
        let Some(main) = inner.mains.get(&ids.tgid) else { return false };
        main.task == ids.task || main.tables.is_some_and(|of_all| Some(of_all) == tables())
    }

    /// Whether this process executed a program for the agent.
    pub(crate) fn is_started(&self, ids: Ids) -> bool {
        self.inner().mains.contains_key(&ids.tgid)
    }

    /// Whether this task is in the kernel with this call, whose return would be seen.
    pub(crate) fn is_inside(&self, ids: Ids, nr: u64) -> bool {
        let inner = self.inner();
        let inside = inner.known(ids).and_then(|task| task.inside.as_ref());
        inside.is_some_and(|inside| inside.nr == nr && inside.is_awaited())
    }

    /// Whether this task is known, and in the kernel with no call.
    pub(crate) fn is_outside(&self, ids: Ids) -> bool {
        self.inner().known(ids).is_some_and(|task| task.inside.is_none())
    }

    /// A process's page tables are not as the kernel's own.
    pub(crate) fn strange_tables(&self, pid: u32) {
        self.inner().find(Oddity::Tables { pid });
    }

    /// Whether not all entries and returns were seen.
    pub fn is_blind(&self) -> bool {
        self.inner().blind
    }

    /// What PID 1 has forked since then.
    pub fn children(&self) -> Vec<u32> {
        self.inner().children.clone()
    }

    /// The maker of the first call that a step asks for is the agent's worker, where it is not known otherwise.
    pub(crate) fn adopt(&self, ids: Ids) -> bool {
        let mut inner = self.inner();
        let unknown = inner.agents.iter().all(|agent| *agent == 1);
        unknown && inner.agents.insert(ids.tgid)
    }

    /// A call enters. `by_address` is whose it is if its address tells the truth. Says whose it is, and whether it is a new one.
    pub(crate) fn entered(
        &self,
        ids: Option<Ids>,
        door: Door,
        nr: u64,
        site: Site,
        by_address: Origin,
    ) -> (Origin, bool) {
        let mut guard = self.inner();
        let inner = &mut *guard;
        let Some(ids) = ids else { return (by_address, true) };
        let origin = inner.origin(ids, by_address);
        inner.traced |= origin == Origin::Program && nr == PTRACE[usize::from(door != Door::Syscall64)];
        if door != Door::Syscall64 {
            return (origin, true);
        }
        let task = inner.tasks.get_mut(&ids.task).filter(|task| task.pid == ids.pid);
        let again = task.and_then(|task| task.again.take());
        let fate = again.map(|again| again.fate(origin, nr, site));
        let made = again.filter(|_| fate == Some(Fate::Made));
        let forks = origin != Origin::Program && FORKS.contains(&nr);
        if origin == Origin::Agent && EXECS.contains(&nr) && inner.mains.len() < MOST_TASKS {
            inner.mains.insert(ids.tgid, Main { task: ids.task, tables: None });
        }
        if EXITS.contains(&nr) && ids.pid == ids.tgid && ids.tgid != 1 {
            // Its number may be another one's later.
            inner.leave(ids.tgid);
        }
        // Who executes a program is the agent's no more.
        let quiet = origin == Origin::Agent && !forks && !EXECS.contains(&nr);
        let row = made.map_or(nr, |made| made.row);
        let inside = Inside { nr, row, site, origin, forks, reaches: None, quiet };
        if inner.tasks.len() >= MOST_TASKS && !inner.tasks.contains_key(&ids.task) {
            inner.tasks.clear();
            inner.gone.clear();
            inner.newcomers.clear();
            (inner.forking, inner.awaited) = (0, 0);
        }
        inner.forking += usize::from(forks);
        inner.awaited += usize::from(inside.is_awaited());
        let waiting = again.filter(|_| fate == Some(Fate::Waits));
        let task = Task { stack: site.stack, inside: Some(inside), again: waiting, ..Task::outside(ids) };
        let before = inner.tasks.insert(ids.task, task);
        if let Some(before) = before.as_ref().filter(|before| before.is_renumbered(ids, site)) {
            inner.find(Oddity::Renumbered { pid: before.tgid, now: ids.tgid });
        }
        if let Some(again) = again.filter(|_| fate == Some(Fate::Dropped)) {
            inner.find_untraced(Oddity::Unreturned { nr: again.row, pid: ids.tgid });
        }
        if let Some(Task { pid, inside: Some(inside), .. }) = before {
            inner.over(&inside);
            // Another task may be where one was that died in its call.
            if pid == ids.pid && !inside.quiet {
                inner.find(Oddity::Unreturned { nr: inside.nr, pid: ids.tgid });
            }
        }
        (origin, made.is_none())
    }

    /// The call that a program has just entered reaches into another process.
    pub(crate) fn reaches(&self, ids: Ids, other: u32) {
        let mut inner = self.inner();
        let is_agents = !inner.knows_nobody() && inner.agents.contains(&other) && other != ids.tgid;
        let inside = inner.tasks.get_mut(&ids.task).and_then(|task| task.inside.as_mut());
        if let Some(inside) = inside.filter(|_| is_agents) {
            inside.reaches = Some(other);
        }
    }

    /// A call of the 64-bit door returns; `nr` is the number that was saved for the kernel. `handler` reads what a signal's handler comes
    /// back to whose frame is at this place of the user's stack.
    pub(crate) fn returned(
        &self,
        ids: Option<Ids>,
        nr: u64,
        now: Return,
        handler: impl Fn(u64) -> Option<Return>,
    ) -> Returned {
        let mut guard = self.inner();
        let inner = &mut *guard;
        inner.returns = true;
        let Some(ids) = ids else { return Returned::Unknown };
        // Who executes a program from another thread has its process's number from then on (de_thread of fs/exec.c). Where a task has
        // died in its call another one may be: that enters first.
        let mut task = inner.tasks.get_mut(&ids.task);
        if let Some(task) = task.as_mut().filter(|task| task.executes() && task.tgid == ids.tgid) {
            task.pid = ids.pid;
        }
        let renumbered = task
            .as_ref()
            .filter(|task| task.inside.is_some() && (task.pid, task.tgid) != (ids.pid, ids.tgid));
        let renumbered = renumbered.map(|task| task.tgid);
        let known = task.filter(|task| task.pid == ids.pid).map(|task| {
            let inside = task.inside.take();
            let end = match &inside {
                // A new program begins elsewhere.
                Some(inside) if inside.nr != SIGRETURN && !UPROBES.contains(&inside.nr) => {
                    End::of(inside.site, now, handler)
                }
                _ => End::Result(now.result),
            };
            match (&inside, end) {
                (Some(inside), End::Again { handled }) => task.again = Some(inside.again(handled)),
                (Some(Inside { nr: SIGRETURN, .. }), _) => {
                    task.again.iter_mut().for_each(|again| again.handler_returned(now));
                }
                _ => {}
            }
            (inside, end)
        });
        if let Some(pid) = renumbered {
            inner.find(Oddity::Renumbered { pid, now: ids.tgid });
        }
        let Some((inside, end)) = known else {
            // It was in the kernel when counting began.
            if inner.tasks.len() < MOST_TASKS {
                let before = inner.tasks.insert(ids.task, Task::outside(ids));
                before.and_then(|task| task.inside).inspect(|inside| inner.over(inside));
            }
            return Returned::Unknown;
        };
        let Some(inside) = inside else {
            inner.find(Oddity::Unentered { nr, pid: ids.tgid });
            return Returned::Unknown;
        };
        inner.awaited -= usize::from(inside.is_awaited());
        if nr != inside.nr && !renumbers(inside.nr) {
            inner.find_untraced(Oddity::Dispatched { entered: inside.nr, handled: nr, pid: ids.tgid });
        }
        let End::Result(result) = end else {
            if inside.forks {
                inner.forked();
            }
            return Returned::Again;
        };
        if let Some(agent) = inside.reaches.filter(|_| result >= 0) {
            inner.find(Oddity::Reached { pid: ids.tgid, agent });
        }
        if inside.forks
            && let Ok(child @ 1..) = u32::try_from(result)
        {
            if !inner.gone.contains(&child) {
                inner.agents.insert(child);
            }
            inner.newcomers.remove(&child);
            if ids.tgid == 1 && inner.children.len() < MOST_TOLD {
                inner.children.push(child);
            }
        }
        if inside.forks {
            inner.forked();
        }
        if EXECS.contains(&inside.nr) && result == 0 {
            inner.is_alone(ids);
            if ids.tgid != 1 {
                inner.leave(ids.tgid);
            }
        }
        Returned::From(inside.row, inside.origin, result)
    }
}

impl Inner {
    fn origin(&mut self, ids: Ids, by_address: Origin) -> Origin {
        // Where nobody but PID 1 is known, its worker is not.
        if self.blind || self.knows_nobody() || self.agents.contains(&ids.tgid) {
            return by_address;
        }
        // A child of the agent's may run before the agent is back from the fork, and be another program by then, with children
        // of its own: so for each fork there is one newcomer, the first.
        let is_expected = self.newcomers.len() < self.forking && !self.gone.contains(&ids.tgid);
        if by_address == Origin::Program || !is_expected {
            return Origin::Program;
        }
        self.newcomers.insert(ids.tgid);
        self.agents.insert(ids.tgid);
        by_address
    }

    fn known(&self, ids: Ids) -> Option<&Task> {
        self.tasks.get(&ids.task).filter(|task| task.pid == ids.pid)
    }

    /// Whether no process but PID 1 is known for the agent's.
    fn knows_nobody(&self) -> bool {
        self.agents.len() <= 1
    }

    /// This call is in the kernel no more, and its return was not seen.
    fn over(&mut self, inside: &Inside) {
        self.awaited -= usize::from(inside.is_awaited());
        if inside.forks {
            self.forked();
        }
    }

    /// A task has executed a program: its process's other ones are gone, wherever they were, and so is what it was to make once more.
    fn is_alone(&mut self, ids: Ids) {
        let others = self.tasks.iter().filter(|(task, it)| **task != ids.task && it.tgid == ids.tgid);
        let others: Vec<u64> = others.map(|(task, _)| *task).collect();
        for task in others {
            let inside = self.tasks.remove(&task).and_then(|task| task.inside);
            inside.inspect(|inside| self.over(inside));
        }
        self.tasks.entry(ids.task).and_modify(|task| task.again = None);
    }

    /// A process is the agent's no more.
    fn leave(&mut self, tgid: u32) {
        self.agents.remove(&tgid);
        if self.forking > 0 && self.gone.len() < MOST_TASKS {
            self.gone.insert(tgid);
        }
    }

    /// A fork of the agent's is over.
    fn forked(&mut self) {
        self.forking -= 1;
        if self.forking == 0 {
            self.gone.clear();
            // Nobody has forked these.
            let strangers = std::mem::take(&mut self.newcomers);
            self.agents.retain(|tgid| !strangers.contains(tgid));
        }
    }

    /// What a tracer can bring about is counted where there may be one.
    fn find_untraced(&mut self, oddity: Oddity) {
        if self.traced {
            self.changed = self.changed.saturating_add(1);
        } else {
            self.find(oddity);
        }
    }

    fn find(&mut self, oddity: Oddity) {
        if !self.blind && self.found.len() < MOST_TOLD && !self.found.contains(&oddity) {
            self.found.push(oddity);
        }
    }
}

#[cfg(test)]
#[path = "pairs_test.rs"]
mod tests;
