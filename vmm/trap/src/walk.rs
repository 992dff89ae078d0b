//! Following one system call through the kernel, instruction by instruction.
//!
//! A breakpoint stands on the `syscall` instruction that the agent keeps for steps. When the call comes that is
//! asked for, the vCPU runs on to the kernel's entry and from there in single steps, until it is back in
//! user space. Interrupts are held off meanwhile (`KVM_GUESTDBG_BLOCKIRQ`, KVM API section 4.87), and a fault is one
//! step: hardware clears RFLAGS.TF on the way into its handler.

use crate::{
    landmarks::Landmarks,
    seen::pointed_to,
    syscall::TrapError,
    task::{Current, Process},
};
use machine::{
    AddressSpace, Breakpoint, Memory, Processor, Registers, Subscriber,
    x86::{LSTAR, RESUME_FLAG, TRAP_FLAG, debug::SINGLE_STEP},
};
use serde::{Deserialize, Serialize};

/// So many instructions are followed; a call that needs more is followed no further.
const MOST_INSTRUCTIONS: u64 = 100_000;

/// So many places on the way are kept, which is as much as one message to the harness holds: of a call that goes
/// elsewhere more often, the rest is not followed.
const MOST_STOPS: usize = 40_000;

/// No x86 instruction is longer, in bytes (Intel SDM volume 2, section 2.3.11).
const LONGEST_INSTRUCTION: u64 = 15;

/// `syscall` is 0F 05.
const SYSCALL_LENGTH: u64 = 2;

/// What to follow.
#[derive(Clone)]
pub struct WalkOrder {
    /// Where the step's call returns to: the address behind its `syscall`.
    pub returns_to: u64,
    /// The call's number.
    pub nr: u64,
    /// The guest's memory by the kernel's own page tables.
    pub space: AddressSpace,
    /// The guest's memory.
    pub memory: Memory,
    /// Kernel symbols and offsets: those of [`Process`], and `finish_task_switch`.
    pub landmarks: Landmarks,
}

/// A system call's way. The first stop is the `syscall` instruction, not yet executed; the second is the kernel's
/// entry; the last one of a call that came back is the instruction behind `syscall`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Walk {
    /// The entry, wherever control went elsewhere than to the next instruction, and wherever the stack or the page
    /// tables became others.
    pub stops: Vec<Stop>,
    /// Who called: pid and name.
    pub process: Option<(u32, String)>,
    /// What the arguments pointed to in user memory before the call: number and up to 64 bytes.
    pub before: Vec<(u8, Vec<u8>)>,
    /// The same after it.
    pub after: Vec<(u8, Vec<u8>)>,
    /// Instructions in ring 0.
    pub instructions: u64,
    /// So often another task ran while this one slept.
    pub slept: u32,
    /// It was too long to be followed to its end.
    pub cut: bool,
    /// It came back.
    pub returned: bool,
}

/// A place on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The instruction that is next.
    pub rip: u64,
    /// Privilege level: 0 or 3.
    pub ring: u8,
    /// The stack pointer.
    pub rsp: u64,
    /// The page tables.
    pub cr3: u64,
    /// RAX.
    pub rax: u64,
    /// RFLAGS, without what stepping does to it.
    pub rflags: u64,
    /// RDI, RSI, RDX, RCX, R8, R9: the arguments of a function of the kernel's.
    pub args: [u64; 6],
    /// R10 and R11: a system call's fourth argument, and the caller's RFLAGS.
    pub r10_r11: [u64; 2],
    /// So many instructions of ring 0 were executed before.
    pub at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// The call has not been made.
    Waiting,
    /// Between `syscall` and the kernel's entry.
    Entering,
    /// In the kernel, step by step.
    Stepping { task: Option<u64> },
    /// Another task runs.
    Asleep { task: Option<u64> },
    /// In the kernel, no longer followed.
    Running,
    /// Back.
    Done,
}

/// A walk under way.
pub struct Walker {
    order: WalkOrder,
    entry: u64,
    current: Option<Current>,
    state: State,
    walk: Walk,
    last: Stop,
}

impl Walker {
    /// Waits for the call.
    pub fn arm(vcpu: &mut dyn Processor, order: WalkOrder) -> Result<Self, TrapError> {
        let entry = vcpu.msr(LSTAR)?;
        if entry == 0 {
            return Err(TrapError::NoEntry);
        }
        let current = Current::find(vcpu, &order.space, &order.memory, &order.landmarks);
        let walk = Walk::default();
        let walker = Self { order, entry, current, state: State::Waiting, walk, last: Stop::default() };
        vcpu.set_breakpoints(Subscriber::Watch, &walker.breakpoints())?;
        Ok(walker)
    }

    fn breakpoints(&self) -> Vec<Breakpoint> {
        let switch = self.order.landmarks.symbol("finish_task_switch");
        let returns_to = self.order.returns_to;
        let addresses = match self.state {
            State::Waiting => vec![self.call_site()],
            State::Entering => vec![self.entry],
            State::Asleep { .. } => [Some(returns_to), switch].into_iter().flatten().collect(),
            State::Stepping { .. } | State::Running => vec![returns_to],
            State::Done => vec![],
        };
        addresses.into_iter().map(Breakpoint::at).collect()
    }

    /// The `syscall` instruction. The agent says where it is, and may say anything.
    fn call_site(&self) -> u64 {
        self.order.returns_to.wrapping_sub(SYSCALL_LENGTH)
    }

    /// A debug exception ended the run. Returns the walk once, at its end.
    pub fn hit(
        &mut self,
        vcpu: &mut dyn Processor,
        registers: &Registers,
        dr6: u64,
    ) -> Result<Option<Walk>, TrapError> {
        let (registers, rip) = (*registers, registers.rip);
        let ring = vcpu.standing()?.ring;
        let back = rip == self.order.returns_to && ring == 3;
        match self.state {
            State::Waiting if rip == self.call_site() => {
                if registers.rax == self.order.nr {
                    self.walk.process = self.process();
                    self.walk.before = self.user_memory(vcpu, &registers)?;
                    self.stop(vcpu, &registers, ring)?;
                    self.state = State::Entering;
                }
                self.resume(vcpu, registers)?;
            }
            // Another task's call may come between: this one says where it returns to.
            State::Entering if ring == 0 && registers.rcx == self.order.returns_to => {
                self.stop(vcpu, &registers, ring)?;
                self.state = State::Stepping { task: self.task() };
                self.resume(vcpu, registers)?;
            }
            State::Stepping { .. } | State::Asleep { .. } | State::Running if back => {
                self.stop(vcpu, &registers, ring)?;
                let first = &self.walk.stops[0];
                let [rdi, rsi, rdx, _, r8, r9] = first.args;
                let then = Registers { rdi, rsi, rdx, r10: first.r10_r11[0], r8, r9, ..registers };
                self.walk.after = self.user_memory(vcpu, &then)?;
                self.walk.returned = true;
                self.state = State::Done;
                self.resume(vcpu, registers)?;
                return Ok(Some(std::mem::take(&mut self.walk)));
            }
            State::Stepping { task } if dr6 & SINGLE_STEP != 0 && ring == 0 => {
                self.step(vcpu, &registers, task)?;
            }
            State::Asleep { task } if dr6 & SINGLE_STEP == 0 => {
                if self.task() == task {
                    self.stop(vcpu, &registers, ring)?;
                    self.state = State::Stepping { task };
                }
                self.resume(vcpu, registers)?;
            }
            // A trap flag that our stepping left in flags which the guest had saved.
            _ => self.resume(vcpu, Registers { rflags: registers.rflags & !TRAP_FLAG, ..registers })?,
        }
        Ok(None)
    }

    /// What there is of a walk whose call never came back.
    pub fn pending(&mut self) -> Option<Walk> {
        let begun = !matches!(self.state, State::Waiting | State::Done);
        begun.then(|| std::mem::take(&mut self.walk))
    }

    fn step(
        &mut self,
        vcpu: &mut dyn Processor,
        registers: &Registers,
        task: Option<u64>,
    ) -> Result<(), TrapError> {
        self.walk.instructions += 1;
        let now = self.look(vcpu, registers, 0)?;
        let went = now.rip.wrapping_sub(self.last.rip);
        let elsewhere = !(1..=LONGEST_INSTRUCTION).contains(&went);
        let new_stack = now.rsp.abs_diff(self.last.rsp) > 0x1000;
        if elsewhere || new_stack || now.cr3 != self.last.cr3 {
            self.walk.stops.push(now);
        }
        self.last = now;
        if self.walk.instructions >= MOST_INSTRUCTIONS || self.walk.stops.len() >= MOST_STOPS {
            self.walk.cut = true;
            self.state = State::Running;
            return self.resume(vcpu, *registers);
        }
        if self.task() != task {
            self.walk.slept += 1;
            self.state = State::Asleep { task };
            return self.resume(vcpu, *registers);
        }
        Ok(())
    }

    fn stop(&mut self, vcpu: &dyn Processor, registers: &Registers, ring: u8) -> Result<(), TrapError> {
        self.last = self.look(vcpu, registers, ring)?;
        self.walk.stops.push(self.last);
        Ok(())
    }

    fn look(&self, vcpu: &dyn Processor, r: &Registers, ring: u8) -> Result<Stop, TrapError> {
        Ok(Stop {
            rip: r.rip,
            ring,
            rsp: r.rsp,
            cr3: vcpu.page_tables()?.0,
            rax: r.rax,
            rflags: r.rflags & !(RESUME_FLAG | TRAP_FLAG),
            args: [r.rdi, r.rsi, r.rdx, r.rcx, r.r8, r.r9],
            r10_r11: [r.r10, r.r11],
            at: self.walk.instructions,
        })
    }

    /// Goes on as the state says, past a breakpoint that stands here.
    fn resume(&self, vcpu: &mut dyn Processor, registers: Registers) -> Result<(), TrapError> {
        let rflags = (registers.rflags | RESUME_FLAG) & !TRAP_FLAG;
        vcpu.set_registers(&Registers { rflags, ..registers })?;
        match self.state {
            State::Stepping { .. } => vcpu.step(Subscriber::Watch, &self.breakpoints())?,
            _ => vcpu.set_breakpoints(Subscriber::Watch, &self.breakpoints())?,
        }
        Ok(())
    }

    fn task(&self) -> Option<u64> {
        self.current.as_ref().and_then(Current::task)
    }

    fn process(&self) -> Option<(u32, String)> {
        let process = self.current.as_ref()?.who(self.task()?).0?;
        Some((process.pid, Process::name(&process)))
    }

    fn user_memory(&self, vcpu: &dyn Processor, r: &Registers) -> Result<Vec<(u8, Vec<u8>)>, TrapError> {
        let (cr3, cr4) = vcpu.page_tables()?;
        let user = AddressSpace::new(self.order.memory.clone(), cr3, cr4);
        Ok(pointed_to(&user, &[r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]))
    }
}
