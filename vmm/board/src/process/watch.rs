//! What a machine process has looked at: system calls, and what has to stay as it is.

use super::{BUDGET, FULL, Machine};
use crate::{
    cpu::{Ask, Governed},
    guard::Guard,
    vcpus::{Life, Patience, all_did},
    wire::{EndReason, GuardOrder, Notice, Tampering},
};
use machine::{AddressSpace, Controls};
use std::{
    thread,
    time::{Duration, Instant},
};
use trap::{Agent, AgentText, ENTRY_MSRS, KernelState, Order, Pairs, WalkOrder};

/// The kernel comes to the end of a patch of its text, and of what a warning says, within this time, many times over.
const MOMENT: Duration = Duration::from_secs(1);
/// So often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Machine {
    pub(super) fn follow(&self, returns_to: u64, nr: u64) -> Result<(), String> {
        let Some(space) = &self.space else { return Err("the kernel comes without symbols".into()) };
        let (memory, landmarks) = (self.memory.clone(), self.landmarks.clone());
        let order = WalkOrder { returns_to, nr, space: space.clone(), memory, landmarks };
        all_did(self.vcpus.ask(|done| Ask::Walk { order: Box::new(order.clone()), done }))
    }

    /// From now on what has to stay as it is, is watched.
    pub(super) fn protect(&mut self, order: &GuardOrder) -> Result<(), String> {
        if self.guard.is_some() {
            return Ok(());
        }
        let space = self.space.as_ref().ok_or("the kernel comes without symbols")?;
        let governed = self.vcpus.ask(Ask::Govern).into_iter().flatten().flatten();
        let now = governed.map(|it| it.controls).find(Controls::paging);
        // Nobody is to write between the first look and the protection, for which memory is gone for a moment.
        let runs = self.vcpus.life() == Life::Running;
        self.vcpus.pause()?;
        let guard = Guard::of(&self.memory, space, &self.landmarks, order.patches, now);
        let protected = match &guard {
            Some(guard) => {
                let guarded = guard.guarded();
                self.vcpus.tell(|| Ask::Guard(guarded.clone()));
                self.vm.protect(&guard.pages()).map_err(|error| {
                    let why = error.to_string();
                    self.broken =
                        matches!(error, machine::Error::MemoryLost(_)).then(|| EndReason::host(&why));
                    why
                })
            }
            None => Err("the kernel's symbols do not tell where its text is".to_owned()),
        };
        if runs && self.broken.is_none() {
            self.vcpus.resume()?;
        }
        protected?;
        self.guard = guard;
        self.log_parts = self.log.parts();
        self.compare();
        Ok(())
    }

    /// Gives the kernel time for what it has begun. What it does not come to the end of, nobody means to finish.
    fn wait_for_the_kernel(&mut self) -> Vec<Tampering> {
        let mut patience = Patience::new(MOMENT);
        while self.vcpus.life() == Life::Running && self.guard.as_ref().is_some_and(Guard::is_under_way) {
            if patience.is_over() {
                return self.guard.as_ref().map(Guard::overdue).unwrap_or_default();
            }
            patience.spend(|| {
                self.keep_up(FULL);
                thread::sleep(LOOK_EVERY);
            });
        }
        Vec::new()
    }

    /// Tells what is not as it was; says whether there was something.
    pub(super) fn compare(&mut self) -> bool {
        let overdue = self.wait_for_the_kernel();
        let governed: Vec<Governed> = self.vcpus.ask(Ask::Govern).into_iter().flatten().flatten().collect();
        let now: Vec<_> = governed.iter().map(|it| (it.vcpu, it.controls)).collect();
        let mut found = self.guard.as_mut().map(|guard| guard.compare(&now)).unwrap_or_default();
        found.extend(overdue);
        let writers = found.iter_mut().filter_map(|it| match it {
            Tampering::Code { rip, by, .. }
            | Tampering::Taint { rip: Some(rip), by, .. }
            | Tampering::Variable { rip: Some(rip), by, .. } => Some((*rip, by)),
            _ => None,
        });
        let writers: Vec<(u64, &mut Option<String>)> = writers.collect();
        if let Some(space) = self.space.as_ref().filter(|_| !writers.is_empty()) {
            let state = KernelState::new(space.clone(), self.landmarks.clone(), Instant::now() + BUDGET);
            self.modules.look(&state);
            for (rip, by) in writers {
                *by = state.module_symbols([rip]).remove(&rip).or_else(|| self.modules.name(rip));
            }
        }
        if self.guard.is_some() {
            found.extend(governed.into_iter().filter(|it| it.controls.paging()).flat_map(|it| it.strays));
            found.extend(self.pairs.take().into_iter().map(Tampering::Odd));
            found.extend(self.agent_text.take().into_iter().map(|address| Tampering::Agent { address }));
            found.extend(self.log.changed().into_iter().map(|seq| Tampering::Record { seq }));
            let parts = std::mem::replace(&mut self.log_parts, self.log.parts());
            let moved = parts.into_iter().zip(&self.log_parts).filter(|(before, now)| before.1 != now.1);
            found.extend(moved.map(|((name, from), (_, to))| Tampering::Variable {
                name: format!("log ({name})"),
                from,
                to: *to,
                rip: None,
                by: None,
            }));
        }
        found.iter().for_each(|it| self.outbox.send(&Notice::Tampered(it.clone())));
        !found.is_empty()
    }

    pub(super) fn arm(
        &mut self,
        agent: Agent,
        results: bool,
        trace: Option<Vec<u64>>,
        watched: bool,
    ) -> Result<(), String> {
        // Without symbols the kernel's page tables have to be looked for, once it runs.
        let found = || AddressSpace::find_kernels(self.memory.clone());
        let Some(space) = self.space.clone().or_else(found) else {
            return Err("the kernel comes without symbols, and its page tables can't be found".into());
        };
        // First, so that no entry can move unseen once it was looked up.
        self.vm.watch_msr_writes(&ENTRY_MSRS).map_err(|error| error.to_string())?;
        let (memory, landmarks) = (self.memory.clone(), self.landmarks.clone());
        // Nothing of a scenario has run yet: whoever is there is the agent.
        let state = KernelState::new(space.clone(), landmarks.clone(), Instant::now() + BUDGET);
        self.pairs = Pairs::of(state.children_of_init());
        self.agent_text = AgentText::default();
        let (witness, pairs) = (self.witness.clone(), self.pairs.clone());
        let agent_text = watched.then(|| self.agent_text.clone());
        let alone = self.vcpus.count() == 1;
        let forgets = self.forgets;
        let order = Order {
            space,
            memory,
            landmarks,
            agent,
            results,
            trace,
            witness,
            pairs,
            agent_text,
            alone,
            forgets,
        };
        all_did(self.vcpus.ask(|done| Ask::Trap { order: Box::new(order.clone()), done }))
    }
}
