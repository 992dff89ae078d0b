//! The thread of one vCPU.

use crate::wire::{EndReason, EntryWrite, VcpuStanding};
use machine::{Bus, Effect, Exit, Vcpu};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender},
    },
};
use trap::{Order, Seen, SyscallTrap};

/// What others ask of a vCPU; it looks between two runs.
pub enum Ask {
    /// Where do you stand?
    Stand(Sender<VcpuStanding>),
    /// Count system calls from now on.
    Trap { order: Box<Order>, done: Sender<Result<(), String>> },
    /// End.
    Stop,
}

/// What a vCPU leaves behind.
pub struct Remains {
    pub end: EndReason,
    pub exits: BTreeMap<&'static str, u64>,
    pub exits_until_ready: Option<BTreeMap<&'static str, u64>>,
    pub trap: Option<SyscallTrap>,
    pub entry_writes: Vec<EntryWrite>,
}

/// Writes to the entry points' registers that are kept; a guest may make any number of them.
const MOST_ENTRY_WRITES: usize = 64;

/// Everything that the thread works with.
pub struct Cpu {
    pub index: u8,
    pub vcpu: Vcpu,
    pub bus: Arc<Bus>,
    pub asks: Receiver<Ask>,
    /// Set when the agent's first byte came.
    pub ready: Arc<AtomicBool>,
    /// The sum over all vCPUs.
    pub all_exits: Arc<AtomicU64>,
    /// Takes calls that are to be shown.
    pub show: Box<dyn FnMut(Seen) + Send>,
}

impl Cpu {
    /// Runs until the guest or the harness ends it.
    pub fn run(mut self) -> Remains {
        let mut exits = BTreeMap::new();
        let mut exits_until_ready = None;
        let mut trap: Option<SyscallTrap> = None;
        let mut entry_writes = Vec::new();
        let end = loop {
            if let Some(end) = self.answer(&mut trap) {
                break end;
            }
            let exit = self.vcpu.run();
            *exits.entry(exit.kind()).or_insert(0) += 1;
            self.all_exits.fetch_add(1, Ordering::Relaxed);
            match exit {
                Exit::Read { space, address, data } => self.bus.read(space, address, data),
                Exit::Write { space, address, data } => {
                    if self.bus.write(space, address, data) == Effect::Reset {
                        break EndReason::Reset;
                    }
                }
                Exit::Debug { rip, dr6, .. } => match &mut trap {
                    Some(trap) => match trap.hit(&mut self.vcpu, rip, dr6) {
                        Ok(seen) => seen.into_iter().for_each(&mut self.show),
                        Err(error) => break EndReason::Internal(error.to_string()),
                    },
                    None => break EndReason::Internal("a breakpoint that nobody set".into()),
                },
                Exit::WriteMsr { index, value } => match self.write_entry(index, value, &mut trap) {
                    Ok(write) => {
                        entry_writes.extend(write.filter(|_| entry_writes.len() < MOST_ENTRY_WRITES));
                    }
                    Err(error) => break EndReason::Internal(error.to_string()),
                },
                Exit::Interrupted | Exit::Halted => {}
                Exit::Shutdown => break EndReason::TripleFault,
                Exit::Failed(why) => break EndReason::KvmError(why),
            }
            if exits_until_ready.is_none() && self.ready.load(Ordering::Relaxed) {
                exits_until_ready = Some(exits.clone());
            }
        };
        if let Some(trap) = &mut trap {
            trap.pending().into_iter().for_each(&mut self.show);
        }
        Remains { end, exits, exits_until_ready, trap, entry_writes }
    }

    /// Does what the guest wanted to an entry point's register, and follows it there. Returns what moved: a
    /// processor that comes up sets its registers for the first time, or to what they were.
    fn write_entry(
        &mut self,
        msr: u32,
        to: u64,
        trap: &mut Option<SyscallTrap>,
    ) -> Result<Option<EntryWrite>, trap::TrapError> {
        let (from, rip) = (self.vcpu.msr(msr)?, self.vcpu.current_registers()?.rip);
        self.vcpu.set_msr(msr, to)?;
        if let Some(trap) = trap {
            trap.moved(&mut self.vcpu)?;
        }
        let moved = from != 0 && from != to;
        Ok(moved.then_some(EntryWrite { vcpu: self.index, msr, from, to, rip }))
    }

    /// Does what others asked for.
    fn answer(&mut self, trap: &mut Option<SyscallTrap>) -> Option<EndReason> {
        // Whoever asked may have given up waiting: a failed send is no concern of the guest's.
        while let Ok(ask) = self.asks.try_recv() {
            match ask {
                Ask::Stop => return Some(EndReason::Stopped),
                Ask::Stand(to) => match self.standing() {
                    Ok(standing) => drop(to.send(standing)),
                    Err(error) => return Some(EndReason::Internal(error.to_string())),
                },
                Ask::Trap { order, done } => {
                    let armed = SyscallTrap::arm(&mut self.vcpu, *order);
                    drop(
                        done.send(armed.map(|armed| *trap = Some(armed)).map_err(|error| error.to_string())),
                    );
                }
            }
        }
        None
    }

    fn standing(&self) -> machine::Result<VcpuStanding> {
        const INTERRUPTS: u64 = 1 << 9;
        let registers = self.vcpu.current_registers()?;
        let (cpl, halted) = self.vcpu.standing()?;
        let interrupts = registers.rflags & INTERRUPTS != 0;
        Ok(VcpuStanding { index: self.index, rip: registers.rip, cpl, halted, interrupts })
    }
}
