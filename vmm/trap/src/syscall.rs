//! Counting system calls at the 64-bit entry, with a hardware breakpoint.
//!
//! The breakpoint stands on the address in MSR_LSTAR: there RAX is the number and RCX the address that
//! user space will return to. A second one behind the call of `do_syscall_64` sees the result in the
//! saved registers. No byte of the guest changes, and KASLR doesn't matter.

use machine::{AddressSpace, GuestVirtualAddress, RESUME_FLAG, Vcpu};
use std::collections::BTreeMap;

/// MSR_LSTAR (AMD64 architecture, volume 2, section 6.1.1).
const LSTAR: u32 = 0xc000_0082;
/// RFLAGS.IF. MSR_FMASK clears it at the entry, and user code has no way to.
const INTERRUPTS: u64 = 1 << 9;
/// Offsets in the kernel's `struct pt_regs` (arch/x86/include/asm/ptrace.h).
const PT_REGS_AX: u64 = 0x50;
const PT_REGS_ORIG_AX: u64 = 0x78;
const PT_REGS_IP: u64 = 0x80;
/// Results in this range are errnos, negated (MAX_ERRNO of include/linux/err.h).
const MAX_ERRNO: i64 = 4095;
/// Different numbers that are told apart; a hostile guest can make up many more.
const MOST_ROWS: usize = 4096;

/// What the agent says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Agent {
    /// Return address of the calls that it makes for steps.
    pub call_return: u64,
    /// Its own code.
    pub text: (u64, u64),
}

/// Whose call it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A step's.
    Step,
    /// Any other program's.
    Program,
    /// The agent's own.
    Agent,
}

/// What calls are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The number; `u64::MAX` stands for all numbers beyond the first few thousand different ones.
    pub nr: u64,
    /// Whose.
    pub origin: Origin,
}

/// What was counted of one kind of call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Seen at the entry.
    pub count: u64,
    /// Errnos seen at the return.
    pub errors: BTreeMap<i32, u64>,
}

/// Why system calls can't be trapped.
#[derive(Debug, thiserror::Error)]
pub enum TrapError {
    /// The kernel has set no entry point.
    #[error("the kernel has no 64-bit system call entry yet (MSR_LSTAR is 0)")]
    NoEntry,
    /// KVM refused.
    #[error(transparent)]
    Machine(#[from] machine::Error),
}

/// The trap of one vCPU.
pub struct SyscallTrap {
    agent: Agent,
    entry: u64,
    /// Behind the call of `do_syscall_64`, where it was found.
    behind: Option<u64>,
    space: AddressSpace,
    tallies: BTreeMap<Call, Tally>,
}

impl SyscallTrap {
    /// Arms the breakpoints. `do_syscall_64` is that symbol's address; without it results are not seen.
    pub fn arm(
        vcpu: &mut Vcpu,
        space: AddressSpace,
        do_syscall_64: Option<u64>,
        agent: Agent,
    ) -> Result<Self, TrapError> {
        let entry = vcpu.msr(LSTAR)?;
        if entry == 0 {
            return Err(TrapError::NoEntry);
        }
        let behind = do_syscall_64.and_then(|function| behind_call(&space, entry, function));
        let trap = Self { agent, entry, behind, space, tallies: BTreeMap::new() };
        vcpu.set_breakpoints(&trap.addresses())?;
        Ok(trap)
    }

    fn addresses(&self) -> Vec<u64> {
        std::iter::once(self.entry).chain(self.behind).collect()
    }

    /// A debug exception ended the run: counts it, and makes the vCPU go on behind the breakpoint. What is
    /// not ours is the guest's own and is handed on to it.
    pub fn hit(&mut self, vcpu: &mut Vcpu, rip: u64, dr6: u64) -> Result<(), TrapError> {
        let mut registers = vcpu.registers()?;
        const SINGLE_STEP: u64 = 1 << 14;
        if (rip != self.entry && Some(rip) != self.behind) || dr6 & SINGLE_STEP != 0 {
            return Ok(vcpu.inject_debug(dr6, &self.addresses())?);
        }
        // A breakpoint matches before the fetch faults, so user code that jumps here gets this far too;
        // it has interrupts on, which the kernel at both places has not.
        if registers.rflags & INTERRUPTS == 0 {
            if rip == self.entry {
                self.tally(registers.rax, registers.rcx).count += 1;
            } else {
                self.returned(registers.rsp);
            }
        }
        registers.rflags |= RESUME_FLAG;
        Ok(vcpu.set_registers(&registers)?)
    }

    /// The stack pointer is at the caller's saved registers.
    fn returned(&mut self, pt_regs: u64) {
        let field = |offset| self.space.read_u64(GuestVirtualAddress(pt_regs.wrapping_add(offset)));
        let (Some(nr), Some(ax), Some(ip)) = (field(PT_REGS_ORIG_AX), field(PT_REGS_AX), field(PT_REGS_IP))
        else {
            return;
        };
        let result = ax as i64;
        if (-MAX_ERRNO..0).contains(&result) {
            *self.tally(nr, ip).errors.entry(-result as i32).or_default() += 1;
        }
    }

    fn tally(&mut self, nr: u64, from: u64) -> &mut Tally {
        let origin = match from {
            from if from == self.agent.call_return => Origin::Step,
            from if (self.agent.text.0..self.agent.text.1).contains(&from) => Origin::Agent,
            _ => Origin::Program,
        };
        let mut call = Call { nr, origin };
        if self.tallies.len() >= MOST_ROWS && !self.tallies.contains_key(&call) {
            call.nr = u64::MAX;
        }
        self.tallies.entry(call).or_default()
    }

    /// What was counted.
    pub fn tallies(&self) -> &BTreeMap<Call, Tally> {
        &self.tallies
    }
}

/// Finds `call function` (E8 and a relative address) in the code from `entry` on, and returns the address
/// behind it. The entry code of all kernels so far makes this call within its first 200 bytes.
fn behind_call(space: &AddressSpace, entry: u64, function: u64) -> Option<u64> {
    const SPAN: usize = 512;
    let mut code = [0; SPAN];
    space.read(GuestVirtualAddress(entry), &mut code)?;
    code.windows(5).enumerate().find_map(|(at, bytes)| {
        let distance = i32::from_le_bytes(bytes[1..].try_into().expect("four bytes"));
        let behind = entry.wrapping_add(at as u64 + 5);
        (bytes[0] == 0xe8 && behind.wrapping_add_signed(distance.into()) == function).then_some(behind)
    })
}
