//! Counting system calls at their entry points, with hardware breakpoints.
//!
//! A breakpoint stands on the first instruction behind each door ([`crate::Door`]): there RAX is the number,
//! and the caller's return address is in RCX (`syscall`) or on the stack (`int $0x80`). A further one behind
//! the 64-bit entry's call of `do_syscall_64` sees the result in the saved registers. No byte of the guest
//! changes, and KASLR doesn't matter.
//!
//! A kernel that moves an entry point writes to one of [`crate::ENTRY_MSRS`]; the machine has such writes
//! end the run, and the trap follows ([`SyscallTrap::moved`]).

use crate::{
    agent_text::AgentText,
    door::{Door, Doors, Place},
    landmarks::Landmarks,
    own::{self, OwnBreakpoints},
    pairs::{Pairs, Return, Returned, Site},
    programs::{self, Exit, Who},
    seen::{self, Seen, Trace},
    tally::{Call, Origin, Tallies},
    task::{Caller, Current, tables},
    witness::Witness,
};
use machine::{
    AddressSpace, GuestVirtualAddress, Memory, Processor, Registers, Subscriber,
    x86::{INTERRUPT_FLAG, RESUME_FLAG, TRAP_FLAG, debug::SINGLE_STEP},
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Offsets in the kernel's `struct pt_regs` (arch/x86/include/asm/ptrace.h).
const PT_REGS_AX: u64 = 0x50;
const PT_REGS_ORIG_AX: u64 = 0x78;
const PT_REGS_IP: u64 = 0x80;
const PT_REGS_SP: u64 = 0x98;

/// The entry of the top page table that leads to the kernel's image (Documentation/arch/x86/x86_64/mm.rst).
const IMAGE: u64 = 511;

/// What the agent says of itself.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Return addresses of the calls that it makes for steps.
    pub call_returns: Vec<u64>,
    /// Its own code.
    pub text: (u64, u64),
}

/// What a trap is to know and to do.
#[derive(Clone)]
pub struct Order {
    /// The guest's memory by the kernel's own page tables.
    pub space: AddressSpace,
    /// The guest's memory.
    pub memory: Memory,
    /// Kernel symbols and offsets: `do_syscall_64`, and those of [`crate::Process`].
    pub landmarks: Landmarks,
    /// The agent.
    pub agent: Agent,
    /// Watch results too, at the price of a second exit for each call whose result is waited for ([`Order::alone`]).
    pub results: bool,
    /// Numbers to trace; an empty list is all of them.
    pub trace: Option<Vec<u64>>,
    /// Where what is seen of the step's own call is written down.
    pub witness: Witness,
    /// Where entries and returns are paired.
    pub pairs: Pairs,
    /// What the agent's code is, where that is watched over.
    pub agent_text: Option<AgentText>,
    /// There is no other vCPU, so that a call returns where it entered: no breakpoint is needed for returns while none is
    /// waited for.
    pub alone: bool,
    /// The processor forgets RFLAGS.RF where a nested page fault comes before the instruction at a breakpoint, and stops
    /// there once more; as Bochs 2.7 does. (One that keeps to Intel's SDM, volume 3, section 18.3.1.1, does not.)
    pub forgets: bool,
}

/// Why system calls can't be trapped.
#[derive(Debug, thiserror::Error)]
pub enum TrapError {
    /// The kernel has set no entry point, so that no call can be followed.
    #[error("the kernel has no 64-bit system call entry yet (MSR_LSTAR is 0)")]
    NoEntry,
    /// KVM refused.
    #[error(transparent)]
    Machine(#[from] machine::Error),
}

/// The trap of one vCPU.
pub struct SyscallTrap {
    order: Order,
    doors: Doors,
    current: Option<Current>,
    trace: Option<Trace>,
    tallies: Tallies,
    /// Where it stopped last.
    stopped: Option<Registers>,
    /// What had no register for a while.
    uncounted: BTreeSet<Place>,
    /// A call came that may have breakpoints of the guest's own as its consequence.
    debugs: bool,
    /// What in the kernel's own page tables leads to its image, on both sides of page table isolation.
    image: Vec<u64>,
}

impl SyscallTrap {
    /// Arms the breakpoints. A vCPU that has set no entry yet gets them when it does ([`SyscallTrap::moved`]); it may
    /// never come up.
    pub fn arm(vcpu: &mut dyn Processor, order: Order) -> Result<Self, TrapError> {
        let trace = order.trace.clone().map(Trace::new);
        let (doors, tallies) = (Doors::default(), Tallies::default());
        let sides = [Some(order.space.clone()), order.space.user_side()];
        let image = sides.into_iter().flatten().filter_map(|side| side.top_entry(IMAGE));
        let image = image.filter(|entry| entry & 1 != 0).collect();
        let (current, stopped, uncounted) = (None, None, BTreeSet::new());
        let mut trap =
            Self { order, doors, current, trace, tallies, stopped, uncounted, debugs: false, image };
        trap.moved(vcpu)?;
        Ok(trap)
    }

    /// An entry point may be another one now: the breakpoints go where it is. The result of calls is seen
    /// at the old place where the new code has none.
    pub fn moved(&mut self, vcpu: &mut dyn Processor) -> Result<(), TrapError> {
        let order = &self.order;
        // There is then no entry to guard.
        let Some(doors) = Doors::find(vcpu, &order.space, &order.landmarks, order.results)? else {
            return Ok(());
        };
        self.doors = doors.or_behind(&self.doors);
        self.current = self
            .current
            .take()
            .or_else(|| Current::find(vcpu, &order.space, &order.memory, &order.landmarks));
        vcpu.set_breakpoints(Subscriber::Watch, &self.doors.breakpoints())?;
        if self.order.results && !self.doors.see_results() {
            // The entry calls its dispatcher in no way that is known: whoever built this kernel may have seen to that.
            self.uncounted.insert(Place::Results);
        }
        self.shared(vcpu);
        Ok(())
    }

    /// Others may have taken registers: notes what is not counted for that.
    pub fn shared(&mut self, vcpu: &dyn Processor) {
        let left_out = vcpu.breakpoints().left_out(Subscriber::Watch);
        self.uncounted.extend(left_out.filter_map(|index| self.doors.place(index)));
        let pair = [Place::Entry(Door::Syscall64), Place::Results];
        if !self.uncounted.is_empty() {
            self.order.pairs.short();
        }
        if pair.iter().any(|place| self.uncounted.contains(place)) {
            self.order.pairs.blind();
        }
    }

    /// What had no breakpoint for a while: doors whose calls were not counted, and whether results were not.
    pub fn uncounted(&self) -> impl Iterator<Item = Place> {
        self.uncounted.iter().copied()
    }

    /// Whether a call has come since the last time that may have breakpoints of the guest's own as its consequence.
    pub fn debugs(&mut self) -> bool {
        std::mem::take(&mut self.debugs)
    }

    /// A debug exception ended the run: counts it, and makes the vCPU go on behind the breakpoint. What is
    /// not ours is the guest's own and is handed on to it. Returns a call that is to be shown.
    pub fn hit(
        &mut self,
        vcpu: &mut dyn Processor,
        registers: &Registers,
        dr6: u64,
    ) -> Result<Option<Seen>, TrapError> {
        let Some(place) = self.doors.at(registers.rip).filter(|_| dr6 & SINGLE_STEP == 0) else {
            own::hand_on(vcpu, registers, dr6)?;
            return Ok(None);
        };
        // In a loop of one call all registers may be as they were, too: what else is known of the task decides.
        let again = self.order.forgets && self.stopped.replace(*registers) == Some(*registers);
        // A breakpoint matches before the fetch faults, so user code that jumps here gets this far too;
        // it has interrupts on, and no way to clear them. The kernel at these places has not, by MSR_FMASK or the
        // interrupt gate.
        let mut seen = None;
        // Nor does a single step get here from user space, but by `sysenter`.
        let stepped = place == Place::Entry(Door::Syscall64) && registers.rflags & TRAP_FLAG != 0;
        if registers.rflags & INTERRUPT_FLAG == 0 && !stepped {
            seen = match place {
                Place::Entry(door) => self.entered(vcpu, door, registers, again),
                Place::Results => self.returned(vcpu, registers.rsp, again),
            };
        }
        vcpu.set_registers(&Registers { rflags: registers.rflags | RESUME_FLAG, ..*registers })?;
        // It is only changed for a call that wants it otherwise: who makes many of one kind pays for that once.
        if let Place::Entry(_) = place {
            let idle = self.order.alone && self.trace.is_none() && !self.order.pairs.awaits_returns();
            if self.doors.pause_results(idle) {
                vcpu.set_breakpoints(Subscriber::Watch, &self.doors.breakpoints())?;
                self.shared(vcpu);
            }
        }
        Ok(seen)
    }

    fn entered(
        &mut self,
        vcpu: &dyn Processor,
        door: Door,
        registers: &Registers,
        again: bool,
    ) -> Option<Seen> {
        let r = registers;
        let (from, args) = match door {
            Door::Syscall64 => (r.rcx, [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]),
            // The second argument's register holds the return address (entry_SYSCALL_compat in
            // arch/x86/entry/entry_64_compat.S); the sixth one is on the user's stack.
            Door::Syscall32 => (r.rcx, [r.rbx, r.rbp, r.rdx, r.rsi, r.rdi, 0]),
            // It keeps no return address at all.
            Door::Sysenter => (0, [r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, 0]),
            // RIP and CS as the interrupt pushed them; the kernel's own code calls nothing this way.
            Door::Int80 => {
                let on_stack = |offset| self.word(r.rsp, offset);
                if on_stack(8)? & 3 == 0 {
                    return None;
                }
                (on_stack(0)?, [r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp])
            }
        };
        let nr = if door == Door::Syscall64 { number(r.rax) } else { r.rax & 0xffff_ffff };
        self.debugs |= OwnBreakpoints::may_follow(door, nr);
        let task = self.current.as_ref().and_then(Current::task);
        let known = self.current.as_ref().zip(task);
        let (process, ids) = known.map(|(at, task)| at.who(task)).unwrap_or_default();
        // Without returns there are no pairs.
        let ids = ids.filter(|_| self.doors.see_results());
        if again && ids.is_some_and(|ids| self.order.pairs.is_inside(ids, nr)) {
            return None;
        }
        let site = Site { back: from, stack: r.rsp };
        let (origin, new) = self.order.pairs.entered(ids, door, nr, site, self.origin(from));
        if new {
            self.tallies.entered(Call { door, nr, origin }, process);
        }
        let memory = self.order.memory.clone();
        let caller = || Caller::of(task, vcpu, r.rsp);
        if origin != Origin::Program {
            self.look_at_agent(vcpu, process.map(|process| process.pid));
        }
        match origin {
            Origin::Step => {
                let fits =
                    self.order.witness.entered(door, nr, &args, caller(), || user_space(vcpu, &memory));
                if fits && let Some(ids) = ids {
                    self.order.pairs.adopt(ids);
                }
                if self.order.witness.is_first() {
                    self.look_at_tables(vcpu, process.map(|process| process.pid));
                }
            }
            Origin::Program => {
                let pid = process.map(|process| process.pid);
                let who = Who { task, pid };
                // What it wants written is known from the first time.
                if new {
                    let awaited = |pid| self.order.pairs.is_child(pid);
                    let user = || user_space(vcpu, &memory);
                    self.order.witness.calls(who, (door, nr, &args), user, awaited);
                }
                if door == Door::Syscall64
                    && let Some(ids) = ids
                    && let Some(other) = programs::reaches(nr, &args, || user_space(vcpu, &memory))
                {
                    self.order.pairs.reaches(ids, other);
                }
                if let Some(ids) = ids
                    && programs::makes_thread(door, nr, &args)
                {
                    self.order.pairs.makes_thread(ids, tables(vcpu));
                }
                if let Some(ids) = ids
                    && self.order.pairs.is_started(ids)
                {
                    let user = || user_space(vcpu, &memory);
                    self.order.witness.runs((door, nr, &args), from, &memory, user);
                    let leaves = ends(door, nr).map(|all| all || ids.pid == ids.tgid);
                    if leaves.unwrap_or_else(|| executes(door, nr)) {
                        self.order.witness.leaves(from, &memory, user);
                    }
                    if executes(door, nr) && door != Door::Syscall64 {
                        self.order.witness.became_another();
                    }
                }
                if let Some(group) = ends(door, nr) {
                    self.look_at_tables(vcpu, pid);
                    // Of a program with threads the one counts that it began with, unless another ends them all.
                    if group || ids.is_none_or(|ids| ids.pid == ids.tgid) {
                        let status = (args[0] & 0xff) as i32;
                        let main = ids.is_some_and(|ids| self.order.pairs.is_main(ids, || tables(vcpu)));
                        let exit = Exit { pid, status, took: Duration::ZERO, group, main };
                        self.order.witness.exits(exit, |pid| self.order.pairs.is_child(pid));
                    }
                }
            }
            Origin::Agent => {}
        }
        // One that is made once more is under way.
        let trace = self.trace.as_mut().filter(|trace| new && trace.wants(nr, origin))?;
        let memory = seen::pointed_to(&user_space(vcpu, &memory)?, &args);
        let seen = Seen { door, nr, origin, args, memory, process, at: Instant::now(), result: None };
        trace.enter(caller(), seen)
    }

    /// Its code is looked at before anything of a scenario has run, and when what a step asks for is done.
    fn look_at_agent(&self, vcpu: &dyn Processor, process: Option<u32>) {
        let Some(text) = &self.order.agent_text else { return };
        if (text.is_unknown() || process.is_some_and(|pid| self.order.witness.is_due(pid)))
            && let Some(user) = user_space(vcpu, &self.order.memory)
        {
            text.look(self.order.agent.text, &user, &self.order.memory);
        }
    }

    /// For each process the kernel is where it is for itself: its own tables share theirs with all others.
    fn look_at_tables(&self, vcpu: &dyn Processor, process: Option<u32>) {
        if self.order.agent_text.is_none() || self.image.is_empty() {
            return;
        }
        let entry = user_space(vcpu, &self.order.memory).and_then(|user| user.top_entry(IMAGE));
        if let (Some(entry), Some(pid)) = (entry, process)
            && !self.image.contains(&entry)
        {
            self.order.pairs.strange_tables(pid);
        }
    }

    /// The stack pointer is at the caller's saved registers.
    fn returned(&mut self, vcpu: &dyn Processor, pt_regs: u64, again: bool) -> Option<Seen> {
        // At one go: each read walks the guest's page tables.
        let mut saved = [0; (PT_REGS_SP - PT_REGS_AX) as usize + 8];
        self.order.space.read(GuestVirtualAddress(pt_regs.wrapping_add(PT_REGS_AX)), &mut saved)?;
        let word = |offset: u64| {
            let at = (offset - PT_REGS_AX) as usize;
            u64::from_le_bytes(saved[at..at + 8].try_into().expect("eight bytes"))
        };
        let (nr, result) = (number(word(PT_REGS_ORIG_AX)), word(PT_REGS_AX) as i64);
        let now = Return { back: word(PT_REGS_IP), stack: word(PT_REGS_SP), result };
        let task = self.current.as_ref().and_then(Current::task);
        let ids = self.current.as_ref().zip(task).and_then(|(at, task)| at.ids(task));
        if again && ids.is_some_and(|ids| self.order.pairs.is_outside(ids)) {
            return None;
        }
        let memory = &self.order.memory;
        let handler = |stack| Return::of_handler(&user_space(vcpu, memory)?, stack);
        // A result belongs to the row that its call was counted in.
        let (row, origin, result) = match self.order.pairs.returned(ids, nr, now, handler) {
            Returned::Unknown => (nr, self.origin(now.back), result),
            Returned::From(row, origin, result) => (row, origin, result),
            Returned::Again => return None,
        };
        // Of the agent's own not all are seen.
        if origin != Origin::Agent {
            self.tallies.returned(Call { door: Door::Syscall64, nr: row, origin }, result);
        }
        if origin == Origin::Program {
            self.order.witness.called(task, result);
            if executes(Door::Syscall64, row)
                && result == 0
                && ids.is_some_and(|ids| self.order.pairs.is_started(ids))
            {
                self.order.witness.became_another();
            }
        }
        let caller = || Caller::of(task, vcpu, now.stack);
        self.order.witness.returned(caller, nr, result, || user_space(vcpu, memory));
        self.trace.as_mut()?.leave(caller(), row, result)
    }

    fn word(&self, base: u64, offset: u64) -> Option<u64> {
        self.order.space.read_u64(GuestVirtualAddress(base.wrapping_add(offset)))
    }

    fn origin(&self, from: u64) -> Origin {
        let agent = &self.order.agent;
        if agent.call_returns.contains(&from) {
            return Origin::Step;
        }
        if (agent.text.0..agent.text.1).contains(&from) { Origin::Agent } else { Origin::Program }
    }

    /// What was counted.
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// Traced calls that never came back.
    pub fn pending(&mut self) -> Vec<Seen> {
        self.trace.as_mut().map(Trace::rest).unwrap_or_default()
    }
}

/// The page tables in use.
fn user_space(vcpu: &dyn Processor, memory: &Memory) -> Option<AddressSpace> {
    let (cr3, cr4) = vcpu.page_tables().ok()?;
    Some(AddressSpace::new(memory.clone(), cr3, cr4))
}

/// Whether a call ends a program, by the door's table, and whether with all its threads: `exit` and `exit_group`.
fn ends(door: Door, nr: u64) -> Option<bool> {
    let [exit, exit_group] = if door == Door::Syscall64 { [60, 231] } else { [1, 252] };
    (nr == exit || nr == exit_group).then_some(nr == exit_group)
}

/// Whether a task becomes another program: `execve` and `execveat`, by the door's table.
fn executes(door: Door, nr: u64) -> bool {
    let calls = if door == Door::Syscall64 { [59, 322] } else { [11, 358] };
    calls.contains(&nr)
}

/// The number that the kernel takes: the lower half of the register (`movslq %eax, %rsi` in entry_SYSCALL_64 of
/// arch/x86/entry/entry_64.S, since 5.13).
fn number(register: u64) -> u64 {
    i64::from(register as i32) as u64
}
