//! What one can do with a processor, whether KVM runs it or a test plays it.

use crate::{
    AddressSpace, Breakpoint, Breakpoints, Exit, Registers, Result, Subscriber, breakpoints::SLOTS,
    state::VcpuState,
};
use serde::{Deserialize, Serialize};

/// Where a processor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Privilege level, 0 to 3.
    pub ring: u8,
    /// It waits in HLT for an interrupt.
    pub halted: bool,
    /// The guest has started it: others than the first wait for that, and do nothing (KVM API, section 4.38).
    pub started: bool,
}

/// Registers that decide what code may do, and where exceptions lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controls {
    /// CR0.
    pub cr0: u64,
    /// The page tables in use.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// MSR_EFER.
    pub efer: u64,
    /// Base and limit of the interrupt descriptor table.
    pub idt: (u64, u16),
    /// Base and limit of the global descriptor table.
    pub gdt: (u64, u16),
}

impl Controls {
    /// Whether it is up: only then its tables and registers mean something.
    pub fn paging(&self) -> bool {
        self.cr0 >> 31 & 1 == 1
    }
}

/// A processor between two runs. Who watches the guest does so through this.
pub trait Processor: Send {
    /// Runs the guest until something needs a hand.
    fn run(&mut self) -> Exit<'_>;
    /// Ends what the last exit began without running any instruction more: the rest of an access to a device comes
    /// out, or [`Exit::Interrupted`] when there is none. Only then is the state whole.
    fn settle(&mut self) -> Exit<'_>;
    /// The general registers, RIP and RFLAGS, as they are now.
    fn registers(&self) -> Result<Registers>;
    /// Sets them.
    fn set_registers(&mut self, registers: &Registers) -> Result<()>;
    /// Where it stands.
    fn standing(&self) -> Result<Standing>;
    /// It stands on an `int1` that has just raised its exception: KVM goes behind it on AMD's processors, and on Intel's only where it injects the
    /// exception itself (`handle_exception_nmi` of arch/x86/kvm/vmx/vmx.c).
    fn stands_on_int1(&self) -> Result<bool>;
    /// The guest's page tables at this moment, as (CR3, CR4).
    fn page_tables(&self) -> Result<(u64, u64)>;
    /// What decides what code may do.
    fn controls(&self) -> Result<Controls>;
    /// Whether the guest takes its processor for one of Intel's: those know SYSENTER from 32-bit code, AMD's
    /// know SYSCALL (AMD64 architecture, volume 3, "SYSENTER"; Intel SDM volume 2, "SYSCALL").
    fn is_intel(&self) -> bool;
    /// The handler of a vector in the guest's interrupt descriptor table, if user space may raise it
    /// (Intel SDM volume 3, section 7.14.1).
    fn user_gate(&self, space: &AddressSpace, vector: u8) -> Result<Option<u64>>;
    /// A model-specific register.
    fn msr(&self, index: u32) -> Result<u64>;
    /// Sets one; false if it takes no such value.
    fn set_msr(&mut self, index: u32, value: u64) -> Result<bool>;
    /// Answers [`Exit::WriteMsr`] as hardware answers a value that a register can't hold: by #GP.
    fn refuse_msr(&mut self);
    /// Replaces the breakpoints of a subscriber, and ends single steps.
    fn set_breakpoints(&mut self, who: Subscriber, wanted: &[Breakpoint]) -> Result<()>;
    /// The same, and every instruction ends the run; no interrupt comes in between. Setting registers while this
    /// lasts ends it: say it again afterwards.
    fn step(&mut self, who: Subscriber, wanted: &[Breakpoint]) -> Result<()>;
    /// Who has which register.
    fn breakpoints(&self) -> &Breakpoints;
    /// What the guest has in its own debug registers, by their number, and its DR6.
    fn guest_breakpoints(&self) -> Result<([Option<Breakpoint>; SLOTS], u64)>;
    /// Hands a debug exception on to the guest, with this DR6.
    fn inject_debug(&mut self, dr6: u64) -> Result<()>;
    /// Everything that it consists of, as plain data. It is whole after [`Processor::settle`].
    fn save(&self) -> Result<VcpuState>;
    /// Takes it back.
    fn restore(&mut self, state: &VcpuState) -> Result<()>;
    /// Tells the guest's clock that the guest was held, so that its watchdogs see no lockup in it.
    fn forgive(&self);
}
