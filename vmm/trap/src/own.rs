//! The guest's own breakpoints: those of ptrace, perf and kgdb.
//!
//! While the hypervisor uses a processor's debug registers, what the guest writes to its own has no effect, and nothing
//! tells that it did (KVM API, section 4.87). But Linux has one function that puts a breakpoint into a register, whoever
//! wants it: `arch_install_hw_breakpoint` (arch/x86/kernel/hw_breakpoint.c). A breakpoint stands there, then where it
//! returns to, and by then the guest's registers hold what is wanted: that gets registers too, and what hits it is handed
//! on. One that was taken out again is found out when it hits, or at the next system call.
//!
//! A register for this is free, or is made free by the first call that can have breakpoints as its consequence.

use crate::{door::Door, syscall::TrapError};
use machine::{
    AddressSpace, Breakpoint, GuestVirtualAddress, Need, Processor, Registers, SLOTS, Subscriber,
    x86::{
        RESUME_FLAG,
        debug::{DR6_IDLE, HIT, SINGLE_STEP},
    },
};

/// Follows the guest's own debug registers, on one vCPU.
pub struct OwnBreakpoints {
    space: AddressSpace,
    /// Where the guest puts one into a register.
    install: GuestVirtualAddress,
    /// It is doing so, and goes on here.
    returns_to: Option<u64>,
    /// A register for this is worth more than counting.
    need: Need,
    /// What its registers hold, as last looked at.
    own: [Option<Breakpoint>; SLOTS],
}

/// The breakpoint that follows the guest comes first, its own behind it.
const FOLLOWS: usize = 0;

impl OwnBreakpoints {
    /// Follows the guest from now on. `install` is the address of `arch_install_hw_breakpoint`.
    pub fn arm(
        vcpu: &mut dyn Processor,
        space: AddressSpace,
        install: GuestVirtualAddress,
    ) -> Result<Self, TrapError> {
        let mut all = Self { space, install, returns_to: None, need: Need::Spare, own: [None; SLOTS] };
        all.own = vcpu.guest_breakpoints()?.0;
        all.place(vcpu)?;
        Ok(all)
    }

    /// Whether a call may have breakpoints as its consequence: `ptrace` and `perf_event_open` of the door's table.
    pub fn may_follow(door: Door, nr: u64) -> bool {
        match door {
            Door::Syscall64 => matches!(nr, 101 | 298),
            Door::Syscall32 | Door::Sysenter | Door::Int80 => matches!(nr, 26 | 336),
        }
    }

    /// A program has made such a call.
    pub fn expect(&mut self, vcpu: &mut dyn Processor) -> Result<(), TrapError> {
        if self.need == Need::Spare {
            self.need = Need::Urgent;
            self.place(vcpu)?;
        }
        Ok(())
    }

    /// Gives back registers whose breakpoint the guest has taken out.
    pub fn look(&mut self, vcpu: &mut dyn Processor) -> Result<(), TrapError> {
        if self.are_there() {
            self.refresh(vcpu)?;
        }
        Ok(())
    }

    /// Whether the guest has some.
    pub fn are_there(&self) -> bool {
        self.own.iter().any(Option::is_some)
    }

    /// So many of the guest's breakpoints found no register: they don't fire.
    pub fn left_out(&self, vcpu: &dyn Processor) -> usize {
        vcpu.breakpoints().left_out(Subscriber::Guest).filter(|index| *index != FOLLOWS).count()
    }

    /// One of these was hit: goes on behind it, or hands it on.
    pub fn hit(
        &mut self,
        vcpu: &mut dyn Processor,
        registers: &Registers,
        hits: &[usize],
    ) -> Result<(), TrapError> {
        if hits.contains(&FOLLOWS) {
            match self.returns_to.take() {
                // It is a function's first instruction: where it returns to is on top of the stack.
                None => {
                    let mut address = [0; 8];
                    let stack = GuestVirtualAddress(registers.rsp);
                    self.returns_to =
                        self.space.read(stack, &mut address).map(|()| u64::from_le_bytes(address));
                }
                Some(_) => self.own = vcpu.guest_breakpoints()?.0,
            }
            self.place(vcpu)?;
            return go_on(vcpu, registers);
        }
        let numbers: Vec<usize> = (0..SLOTS).filter(|number| self.own[*number].is_some()).collect();
        let was = self.own;
        let dr6 = self.refresh(vcpu)?;
        // Those that are in the guest's registers still.
        let hit =
            hits.iter().filter_map(|index| numbers.get(index - 1)).filter(|at| self.own[**at] == was[**at]);
        let bits = hit.fold(0, |bits, number| bits | 1 << number);
        match bits {
            0 => go_on(vcpu, registers),
            bits => Ok(vcpu.inject_debug(dr6 | DR6_IDLE | bits)?),
        }
    }

    fn refresh(&mut self, vcpu: &mut dyn Processor) -> Result<u64, TrapError> {
        let (own, dr6) = vcpu.guest_breakpoints()?;
        if own != self.own {
            self.own = own;
            self.place(vcpu)?;
        }
        Ok(dr6)
    }

    fn place(&self, vcpu: &mut dyn Processor) -> Result<(), TrapError> {
        let follows = Breakpoint::at(self.returns_to.unwrap_or(self.install.0));
        // On its way to the return nothing may take the register away.
        let need = if self.returns_to.is_some() { Need::Urgent } else { self.need };
        let all: Vec<Breakpoint> =
            [follows.needed(need)].into_iter().chain(self.own.into_iter().flatten()).collect();
        Ok(vcpu.set_breakpoints(Subscriber::Guest, &all)?)
    }
}

/// A debug exception that no breakpoint of anybody's explains. A single step or an `int1` of the guest's own is handed on
/// to it; a register that has just been taken away is nobody's business any more.
pub fn hand_on(vcpu: &mut dyn Processor, registers: &Registers, dr6: u64) -> Result<(), TrapError> {
    /// DR6.BD and BT: somebody touched a debug register, or switched to a task that wants to be seen.
    const OTHERS: u64 = 1 << 13 | 1 << 15;
    match dr6 & (HIT | SINGLE_STEP) {
        bits if bits & HIT != 0 && bits & SINGLE_STEP == 0 => go_on(vcpu, registers),
        // Of an `int1` nothing is told.
        0 if dr6 & OTHERS == 0 && vcpu.stands_on_int1()? => {
            vcpu.set_registers(&Registers { rip: registers.rip.wrapping_add(1), ..*registers })?;
            Ok(vcpu.inject_debug(dr6 & !HIT)?)
        }
        _ => Ok(vcpu.inject_debug(dr6 & !HIT)?),
    }
}

fn go_on(vcpu: &mut dyn Processor, registers: &Registers) -> Result<(), TrapError> {
    Ok(vcpu.set_registers(&Registers { rflags: registers.rflags | RESUME_FLAG, ..*registers })?)
}
