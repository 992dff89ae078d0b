//! The thread of one vCPU.

mod ends;
mod entries;

use crate::guard::Guarded;
use crate::wire::{EndReason, EntryWrite, Tampering, VcpuStanding};
use ends::{gave_up, refused};
use entries::{Entries, Written};
use machine::{
    Bus, Controls, Effect, Exit, GuestVirtualAddress, Processor, Registers, Space, Subscriber,
    state::VcpuState, x86::INTERRUPT_FLAG,
};
use std::{
    collections::BTreeMap,
    mem::take,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, TryRecvError},
    },
    time::{Duration, Instant},
};
use trap::{Order, OwnBreakpoints, Seen, SyscallTrap, TrapError, Walk, WalkOrder, Walker};

/// What others ask of a vCPU; it looks between two runs.
pub enum Ask {
    /// Where do you stand? One that the guest has not started does not answer: it stands nowhere.
    Stand(Sender<VcpuStanding>),
    /// Count system calls from now on.
    Trap { order: Box<Order>, done: Sender<Result<(), String>> },
    /// Count none any more.
    Untrap { done: Sender<Result<(), String>> },
    /// Follow one of them.
    Walk { order: Box<WalkOrder>, done: Sender<Result<(), String>> },
    /// What decides what your code may do?
    Govern(Sender<Option<Governed>>),
    /// Writes to these pages go there.
    Guard(Guarded),
    /// Does the guest still need the breakpoints that it had?
    Look,
    /// Run no further, and have nothing half done.
    Hold { done: Sender<Result<(), String>> },
    /// What is your state? For one that is held.
    Save { done: Sender<Result<Box<VcpuState>, String>> },
    /// Take this state, and forget what was counted and looked at. For one that is held.
    Load { state: Box<VcpuState>, done: Sender<Result<(), String>> },
    /// Hand out what you counted, and be as if you had counted nothing. For one that is held.
    Leave(Sender<Remains>),
    /// Run on.
    Go { done: Sender<Result<(), String>> },
    /// End.
    Stop,
}

/// What decides what a vCPU's code may do.
pub struct Governed {
    /// Which vCPU.
    pub vcpu: u8,
    pub controls: Controls,
    /// Of the registers of its entries, those that hold what nobody has written to them.
    pub strays: Vec<Tampering>,
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
    fn hit(
        &mut self,
        vcpu: &mut dyn Processor,
        registers: &Registers,
        dr6: u64,
    ) -> Result<Option<Sight>, TrapError> {
        Ok(match self {
            Self::Trap(trap) => trap.hit(vcpu, registers, dr6)?.map(Sight::Call),
            Self::Walk(walker) => walker.hit(vcpu, registers, dr6)?.map(|walk| Sight::Walk(Box::new(walk))),
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
    /// A breakpoint of the guest's own found no register.
    pub guest_breakpoint_lost: bool,
}

/// Writes to the entry points' registers that are kept; a guest may make any number of them.
pub const MOST_ENTRY_WRITES: usize = 64;

/// A guest that was held for longer is told so, that its watchdogs see no lockup in it. They wait for several seconds at least; and if each
/// look at the guest's memory reset them, they would see none at all.
const NOTICED: Duration = Duration::from_secs(1);

/// Whether the guest runs.
enum Gait {
    Runs,
    /// Somebody wants it held; what is half done comes first.
    Settles(Vec<Sender<Result<(), String>>>),
    /// Since then, or since it was elsewhere, or nowhere.
    Held(Option<Instant>),
}

/// Everything that the thread works with.
pub struct Cpu {
    pub index: u8,
    vcpu: Box<dyn Processor>,
    bus: Arc<Bus>,
    asks: Receiver<Ask>,
    shared: Shared,
    /// Takes what is to be shown.
    show: Box<dyn FnMut(Sight) + Send>,
    gait: Gait,
    watch: Option<Watch>,
    /// The guest's own breakpoints, while there are some of ours.
    own: Option<OwnBreakpoints>,
    exits: BTreeMap<&'static str, u64>,
    exits_until_ready: Option<BTreeMap<&'static str, u64>>,
    entries: Entries,
    entry_writes: Vec<EntryWrite>,
    guarded: Option<Guarded>,
    guest_breakpoint_lost: bool,
    /// The guest has done something of its own.
    ran: bool,
}

/// What all vCPUs of a machine share.
#[derive(Clone)]
pub struct Shared {
    /// Set when the agent's first byte came.
    pub ready: Arc<AtomicBool>,
    /// The sum over all vCPUs.
    pub exits: Arc<AtomicU64>,
    /// Set when some vCPU's registers had a breakpoint of the guest's own.
    pub own_breakpoints: Arc<AtomicBool>,
    /// Times are told from here.
    pub began: Arc<Mutex<Instant>>,
}

impl Shared {
    /// Of a machine that has done nothing yet.
    pub fn since(began: Instant) -> Self {
        Self {
            ready: Arc::default(),
            exits: Arc::default(),
            own_breakpoints: Arc::default(),
            began: Arc::new(Mutex::new(began)),
        }
    }
}

impl Cpu {
    /// One that is held: it runs when it is told to.
    pub fn new(
        index: u8,
        vcpu: Box<dyn Processor>,
        bus: Arc<Bus>,
        asks: Receiver<Ask>,
        shared: Shared,
        show: Box<dyn FnMut(Sight) + Send>,
    ) -> Self {
        Self {
            index,
            vcpu,
            bus,
            asks,
            shared,
            show,
            gait: Gait::Held(None),
            watch: None,
            own: None,
            exits: BTreeMap::new(),
            exits_until_ready: None,
            entries: Entries::default(),
            entry_writes: Vec::new(),
            guarded: None,
            guest_breakpoint_lost: false,
            ran: false,
        }
    }

    /// Runs until the guest or the harness ends it.
    pub fn run(mut self) -> Remains {
        let end = loop {
            if let Some(end) = self.answer().or_else(|| self.turn()) {
                break end;
            }
            if self.exits_until_ready.is_none() && self.shared.ready.load(Ordering::Relaxed) {
                self.exits_until_ready = Some(self.exits.clone());
            }
        };
        self.leave(end)
    }

    /// Hands out what it counted, and begins anew.
    fn leave(&mut self, end: EndReason) -> Remains {
        if let Some(watch) = &mut self.watch {
            watch.pending().into_iter().for_each(&mut self.show);
        }
        Remains {
            end,
            exits: take(&mut self.exits),
            exits_until_ready: self.exits_until_ready.take(),
            watch: self.watch.take(),
            entry_writes: take(&mut self.entry_writes),
            guest_breakpoint_lost: take(&mut self.guest_breakpoint_lost),
        }
    }

    /// Goes on from a state.
    fn load(&mut self, state: &VcpuState) -> machine::Result<()> {
        self.untrap()?;
        self.leave(EndReason::Stopped);
        self.gait = Gait::Held(None);
        self.vcpu.restore(state)
    }

    /// Runs the guest once, and does what it needs.
    fn turn(&mut self) -> Option<EndReason> {
        let exit = match &self.gait {
            Gait::Runs => self.vcpu.run(),
            Gait::Settles(_) => self.vcpu.settle(),
            Gait::Held(_) => return None,
        };
        *self.exits.entry(exit.kind()).or_insert(0) += 1;
        self.shared.exits.fetch_add(1, Ordering::Relaxed);
        let idle = matches!(exit, Exit::Interrupted);
        let end = match exit {
            Exit::Read { space, address, data } => {
                self.bus.read(space, address, data);
                None
            }
            Exit::Write { space: Space::Memory, address, data } if self.guarded.is_some() => {
                let data = data.to_vec();
                self.write(address, &data)
            }
            Exit::Write { space, address, data } => {
                (self.bus.write(space, address, data) == Effect::Reset).then_some(EndReason::Reset)
            }
            Exit::Debug { registers, dr6 } => {
                self.stopped(&registers, dr6).err().map(|error| refused(&error))
            }
            Exit::WriteMsr { index, value } => {
                self.write_entry(index, value).err().map(|error| refused(&error))
            }
            Exit::Halted | Exit::Interrupted => None,
            Exit::Shutdown => Some(EndReason::TripleFault),
            Exit::Failed(failure) => Some(gave_up(&failure, self.ran)),
        };
        self.ran |= !idle;
        if let Gait::Settles(waiting) = &mut self.gait
            && idle
        {
            // Whoever asked may have given up waiting: a failed send is no concern of the guest's.
            waiting.drain(..).for_each(|done| drop(done.send(Ok(()))));
            self.gait = Gait::Held(Some(Instant::now()));
        }
        end
    }

    /// A write to a device, or to a page that nobody may write to.
    fn write(&mut self, address: u64, data: &[u8]) -> Option<EndReason> {
        // The instruction is not done yet.
        let rip = self.vcpu.registers().map_or(0, |registers| registers.rip);
        if self.guarded.as_ref().is_some_and(|guarded| guarded.write(address, data, rip)) {
            return None;
        }
        (self.bus.write(Space::Memory, address, data) == Effect::Reset).then_some(EndReason::Reset)
    }

    /// A debug exception.
    fn stopped(&mut self, registers: &Registers, dr6: u64) -> Result<(), TrapError> {
        let vcpu = &mut *self.vcpu;
        let hits = vcpu.breakpoints().hit(registers, dr6);
        if let Some(guarded) = &self.guarded {
            let written = hits.iter().flatten().any(|(who, _)| *who == Subscriber::Guard);
            guarded.look(written.then_some(registers.rip));
            // Nothing else has stopped it, and the instruction is done.
            if written && hits.iter().flatten().all(|(who, _)| *who == Subscriber::Guard) {
                return Ok(());
            }
        }
        let own = hits.iter().flatten().filter(|(who, _)| *who == Subscriber::Guest);
        let to_guest = self.own.is_some() && own.clone().next().is_some();
        let counts = matches!(self.watch, Some(Watch::Trap(_)))
            && hits.iter().flatten().any(|(who, _)| *who == Subscriber::Watch);
        // One of the guest's own may be on the same instruction: its handler runs once that was counted.
        if let Some(watch) = self.watch.as_mut().filter(|_| counts || !to_guest) {
            let sight = watch.hit(vcpu, registers, dr6)?;
            sight.into_iter().for_each(&mut self.show);
        }
        match (&mut self.own, &mut self.watch) {
            (Some(guest), _) if to_guest => {
                let own: Vec<usize> = own.map(|(_, index)| *index).collect();
                guest.hit(vcpu, registers, &own)?;
            }
            (Some(guest), Some(Watch::Trap(trap))) => {
                guest.look(vcpu)?;
                if trap.debugs() {
                    guest.expect(vcpu)?;
                }
            }
            (_, Some(_)) => {}
            // Of a breakpoint that has just been taken away, or of the guest's own.
            (_, None) => trap::hand_on(vcpu, registers, dr6)?,
        }
        self.note_shared();
        Ok(())
    }

    /// What the guest's breakpoints took away from ours, and ours from the guest's.
    fn note_shared(&mut self) {
        if let Some(Watch::Trap(trap)) = &mut self.watch {
            trap.shared(&*self.vcpu);
        }
        if self.own.as_ref().is_some_and(OwnBreakpoints::are_there) {
            self.shared.own_breakpoints.store(true, Ordering::Relaxed);
        }
        self.guest_breakpoint_lost |= self.own.as_ref().is_some_and(|own| own.left_out(&*self.vcpu) > 0);
    }

    /// Does what the guest wanted to an entry point's register, and follows it there. What moved is noted.
    fn write_entry(&mut self, msr: u32, value: u64) -> Result<(), TrapError> {
        let written = self.entries.write(self.index, &mut *self.vcpu, msr, value)?;
        if let Written::Refused = written {
            self.vcpu.refuse_msr();
            return Ok(());
        }
        if let Some(Watch::Trap(trap)) = &mut self.watch {
            trap.moved(&mut *self.vcpu)?;
        }
        // The filter stays from one plan to the next, which may not want anything watched.
        if let Written::Moved(write) = written
            && self.watch.is_some()
            && self.entry_writes.len() < MOST_ENTRY_WRITES
        {
            self.entry_writes.push(write);
        }
        Ok(())
    }

    /// Does what others asked for; while the vCPU is held, waits until somebody asks.
    fn answer(&mut self) -> Option<EndReason> {
        loop {
            let ask = match self.gait {
                Gait::Held(_) => self.asks.recv().map_err(|_| TryRecvError::Disconnected),
                Gait::Runs | Gait::Settles(_) => self.asks.try_recv(),
            };
            // Whoever asked may have given up waiting: a failed send is no concern of the guest's.
            match ask {
                Err(TryRecvError::Empty) => return None,
                // Nobody is left who could want anything of it.
                Err(TryRecvError::Disconnected) | Ok(Ask::Stop) => return Some(EndReason::Stopped),
                Ok(Ask::Stand(to)) => match self.standing() {
                    Ok(standing) => _ = standing.map(|standing| to.send(standing)),
                    Err(error) => return Some(EndReason::host(error)),
                },
                Ok(Ask::Trap { order, done }) => {
                    drop(done.send(self.trap(*order).map_err(|error| error.to_string())))
                }
                Ok(Ask::Govern(to)) => {
                    let (vcpu, controls) = (self.index, self.vcpu.controls().ok());
                    let strays = self.entries.strays(vcpu, &*self.vcpu);
                    let _ = to.send(controls.map(|controls| Governed { vcpu, controls, strays }));
                }
                Ok(Ask::Guard(guarded)) => {
                    let set = self.vcpu.set_breakpoints(Subscriber::Guard, &guarded.breakpoints());
                    self.guarded = Some(guarded);
                    if let Err(error) = set {
                        return Some(EndReason::host(error));
                    }
                }
                Ok(Ask::Look) => {
                    if let Some(guest) = &mut self.own
                        && let Err(error) = guest.look(&mut *self.vcpu)
                    {
                        return Some(refused(&error));
                    }
                    self.note_shared();
                }
                Ok(Ask::Untrap { done }) => drop(done.send(self.untrap().map_err(|error| error.to_string()))),
                Ok(Ask::Walk { order, done }) => {
                    drop(done.send(self.walk(*order).map_err(|error| error.to_string())))
                }
                Ok(Ask::Hold { done }) => match &mut self.gait {
                    Gait::Runs => self.gait = Gait::Settles(vec![done]),
                    Gait::Settles(waiting) => waiting.push(done),
                    Gait::Held(_) => drop(done.send(Ok(()))),
                },
                Ok(Ask::Save { done }) => {
                    let state = self.vcpu.save().map(Box::new);
                    drop(done.send(state.map_err(|error| error.to_string())));
                }
                Ok(Ask::Load { state, done }) => {
                    drop(done.send(self.load(&state).map_err(|error| error.to_string())))
                }
                Ok(Ask::Leave(to)) => {
                    let remains = self.leave(EndReason::Stopped);
                    drop(to.send(remains));
                }
                Ok(Ask::Go { done }) => {
                    if let Gait::Held(since) = self.gait
                        && since.is_none_or(|since| since.elapsed() > NOTICED)
                    {
                        self.vcpu.forgive();
                    }
                    self.gait = Gait::Runs;
                    drop(done.send(Ok(())));
                }
            }
            if let Gait::Settles(_) = self.gait {
                return None;
            }
        }
    }

    fn trap(&mut self, order: Order) -> Result<(), TrapError> {
        self.entries = Entries::of(&*self.vcpu)?;
        self.follow_guest(&order.space, order.landmarks.symbol("arch_install_hw_breakpoint"))?;
        self.watch = Some(Watch::Trap(Box::new(SyscallTrap::arm(&mut *self.vcpu, order)?)));
        self.note_shared();
        Ok(())
    }

    fn walk(&mut self, order: WalkOrder) -> Result<(), TrapError> {
        self.follow_guest(&order.space, order.landmarks.symbol("arch_install_hw_breakpoint"))?;
        self.watch = Some(Watch::Walk(Box::new(Walker::arm(&mut *self.vcpu, order)?)));
        Ok(())
    }

    fn follow_guest(&mut self, space: &machine::AddressSpace, install: Option<u64>) -> Result<(), TrapError> {
        if let (None, Some(install)) = (&self.own, install) {
            self.own =
                Some(OwnBreakpoints::arm(&mut *self.vcpu, space.clone(), GuestVirtualAddress(install))?);
        }
        Ok(())
    }

    fn untrap(&mut self) -> Result<(), machine::Error> {
        (self.watch, self.own, self.entries) = (None, None, Entries::default());
        // Without any of ours the guest's own work as they are.
        self.vcpu.set_breakpoints(Subscriber::Guest, &[])?;
        self.vcpu.set_breakpoints(Subscriber::Guard, &[])?;
        self.vcpu.set_breakpoints(Subscriber::Watch, &[])
    }

    fn standing(&self) -> machine::Result<Option<VcpuStanding>> {
        let registers = self.vcpu.registers()?;
        let standing = self.vcpu.standing()?;
        Ok(standing.started.then_some(VcpuStanding {
            index: self.index,
            rip: registers.rip,
            cpl: standing.ring,
            halted: standing.halted,
            interrupts: registers.rflags & INTERRUPT_FLAG != 0,
        }))
    }
}

#[cfg(test)]
#[path = "cpu_test.rs"]
mod tests;
