//! The thread of one vCPU.

use crate::wire::{EndReason, VcpuStanding};
use machine::{AddressSpace, Bus, Effect, Exit, Vcpu};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender},
    },
};
use trap::{Agent, SyscallTrap};

/// What others ask of a vCPU; it looks between two runs.
pub enum Ask {
    /// Where do you stand?
    Stand(Sender<VcpuStanding>),
    /// Count system calls from now on.
    Trap { space: AddressSpace, do_syscall_64: Option<u64>, agent: Agent, done: Sender<Result<(), String>> },
    /// End.
    Stop,
}

/// What a vCPU leaves behind.
pub struct Remains {
    pub end: EndReason,
    pub exits: BTreeMap<&'static str, u64>,
    pub exits_until_ready: Option<BTreeMap<&'static str, u64>>,
    pub trap: Option<SyscallTrap>,
}

/// Everything that the thread works with.
pub struct Cpu {
    pub index: u8,
    pub vcpu: Vcpu,
    pub bus: Arc<Bus>,
    pub asks: Receiver<Ask>,
    /// Set when the agent's first byte came.
    pub ready: Arc<AtomicBool>,
}

impl Cpu {
    /// Runs until the guest or the harness ends it.
    pub fn run(mut self) -> Remains {
        let mut exits = BTreeMap::new();
        let mut exits_until_ready = None;
        let mut trap: Option<SyscallTrap> = None;
        let end = loop {
            if let Some(end) = self.answer(&mut trap) {
                break end;
            }
            let exit = self.vcpu.run();
            *exits.entry(exit.kind()).or_insert(0) += 1;
            match exit {
                Exit::Read { space, address, data } => self.bus.read(space, address, data),
                Exit::Write { space, address, data } => {
                    if self.bus.write(space, address, data) == Effect::Reset {
                        break EndReason::Reset;
                    }
                }
                Exit::Debug { rip, dr6, .. } => match &mut trap {
                    Some(trap) => {
                        if let Err(error) = trap.hit(&mut self.vcpu, rip, dr6) {
                            break EndReason::Internal(error.to_string());
                        }
                    }
                    None => break EndReason::Internal("a breakpoint that nobody set".into()),
                },
                Exit::Interrupted | Exit::Halted => {}
                Exit::Shutdown => break EndReason::TripleFault,
                Exit::Failed(why) => break EndReason::KvmError(why),
            }
            if exits_until_ready.is_none() && self.ready.load(Ordering::Relaxed) {
                exits_until_ready = Some(exits.clone());
            }
        };
        Remains { end, exits, exits_until_ready, trap }
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
                Ask::Trap { space, do_syscall_64, agent, done } => {
                    let armed = SyscallTrap::arm(&mut self.vcpu, space, do_syscall_64, agent);
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
