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
use trap::{Order, Seen, SyscallTrap, TrapError, Walk, WalkOrder, Walker};

/// What others ask of a vCPU; it looks between two runs.
pub enum Ask {
    /// Where do you stand?
    Stand(Sender<VcpuStanding>),
    /// Count system calls from now on.
    Trap { order: Box<Order>, done: Sender<Result<(), String>> },
    /// Count none any more.
    Untrap { done: Sender<Result<(), String>> },
    /// Follow one of them.
    Walk { order: Box<WalkOrder>, done: Sender<Result<(), String>> },
    /// End.
    Stop,
}

/// What breakpoints are there for.
pub enum Watch {
    /// Counting.
    Trap(Box<SyscallTrap>),
    /// Following one call.
    Walk(Box<Walker>),
}

impl Watch {
    /// A debug exception ended the run.
    fn hit(&mut self, vcpu: &mut Vcpu, rip: u64, dr6: u64) -> Result<Option<Sight>, TrapError> {
        Ok(match self {
            Self::Trap(trap) => trap.hit(vcpu, rip, dr6)?.map(Sight::Call),
            Self::Walk(walker) => walker.hit(vcpu, rip, dr6)?.map(|walk| Sight::Walk(Box::new(walk))),
        })
    }

    /// What did not come to its end.
    fn pending(&mut self) -> Vec<Sight> {
        match self {
            Self::Trap(trap) => trap.pending().into_iter().map(Sight::Call).collect(),
            Self::Walk(walker) => {
                walker.pending().into_iter().map(|walk| Sight::Walk(Box::new(walk))).collect()
            }
        }
    }
}

/// What is to be shown as it comes.
pub enum Sight {
    /// A traced call.
    Call(Seen),
    /// A call that was followed.
    Walk(Box<Walk>),
}

/// What a vCPU leaves behind.
pub struct Remains {
    pub end: EndReason,
    pub exits: BTreeMap<&'static str, u64>,
    pub exits_until_ready: Option<BTreeMap<&'static str, u64>>,
    pub watch: Option<Watch>,
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
    /// Takes what is to be shown.
    pub show: Box<dyn FnMut(Sight) + Send>,
}

impl Cpu {
    /// Runs until the guest or the harness ends it.
    pub fn run(mut self) -> Remains {
        let mut exits = BTreeMap::new();
        let mut exits_until_ready = None;
        let mut watch: Option<Watch> = None;
        let mut entry_writes = Vec::new();
        let end = loop {
            if let Some(end) = self.answer(&mut watch) {
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
                Exit::Debug { rip, dr6, .. } => match &mut watch {
                    Some(watch) => match watch.hit(&mut self.vcpu, rip, dr6) {
                        Ok(sight) => sight.into_iter().for_each(&mut self.show),
                        Err(error) => break EndReason::Internal(error.to_string()),
                    },
                    None => break EndReason::Internal("a breakpoint that nobody set".into()),
                },
                Exit::WriteMsr { index, value } => match self.write_entry(index, value, &mut watch) {
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
        if let Some(watch) = &mut watch {
            watch.pending().into_iter().for_each(&mut self.show);
        }
        Remains { end, exits, exits_until_ready, watch, entry_writes }
    }

    /// Does what the guest wanted to an entry point's register, and follows it there. Returns what moved: a
    /// processor that comes up sets its registers for the first time, or to what they were.
    fn write_entry(
        &mut self,
        msr: u32,
        to: u64,
        watch: &mut Option<Watch>,
    ) -> Result<Option<EntryWrite>, TrapError> {
        let (from, rip) = (self.vcpu.msr(msr)?, self.vcpu.current_registers()?.rip);
        self.vcpu.set_msr(msr, to)?;
        if let Some(Watch::Trap(trap)) = watch {
            trap.moved(&mut self.vcpu)?;
        }
        let moved = from != 0 && from != to;
        Ok(moved.then_some(EntryWrite { vcpu: self.index, msr, from, to, rip }))
    }

    /// Does what others asked for.
    fn answer(&mut self, watch: &mut Option<Watch>) -> Option<EndReason> {
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
                    drop(done.send(set(watch, armed.map(|trap| Watch::Trap(Box::new(trap))))));
                }
                Ask::Untrap { done } => {
                    *watch = None;
                    drop(done.send(self.vcpu.set_breakpoints(&[]).map_err(|error| error.to_string())));
                }
                Ask::Walk { order, done } => {
                    let armed = Walker::arm(&mut self.vcpu, *order);
                    drop(done.send(set(watch, armed.map(|walker| Watch::Walk(Box::new(walker))))));
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

fn set(watch: &mut Option<Watch>, armed: Result<Watch, TrapError>) -> Result<(), String> {
    *watch = Some(armed.map_err(|error| error.to_string())?);
    Ok(())
}
