//! A machine that is saved, that starts from a saved one, and that goes back to it.

use super::{BUDGET, LAST_READS, Machine};
use crate::{
    evidence,
    saved::{self, MachineState, Saved},
    vcpus::Life,
    wire::{About, EndReason, Evidence, Notice, Reports, Reset, SAVING},
};
use machine::saved::{Original, PutBack, plain_copy};
use std::{
    io::ErrorKind,
    sync::{PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use trap::{AgentText, Pairs, Witness};

/// Where a machine began that did not boot.
pub(super) struct Origin {
    pub saved: Saved,
    pub original: Original,
    /// So many pages the last going back copied.
    pub pages: u64,
}

/// Reasons for a taint that tell of no damage, by their bits (Documentation/admin-guide/tainted-kernels.rst): modules
/// that are proprietary, of staging, out of tree, unsigned, or for tests; struct randomization.
const HARMLESS: u64 = 1 << 0 | 1 << 10 | 1 << 12 | 1 << 13 | 1 << 17 | 1 << 18;

/// Reasons that tell of a report: a bad page, an oops, a warning, a lockup.
const REPORTED: u64 = 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14;

/// Who has written to more pages is better started anew: each return would copy them all.
const MOST_PAGES: u64 = 16 << 10;

impl Machine {
    /// Writes the machine as it is now into its files, and goes on.
    pub(super) fn save(&mut self, about: About) -> Result<(), String> {
        let files = self.files.take().ok_or("there are no files for it")?;
        let mut files = files.map_err(|error| error.to_string())?;
        self.vcpus.pause()?;
        let saved = self.write(&mut files, about);
        // Whatever came of that, this guest has a run to do.
        self.vcpus.resume()?;
        saved
    }

    fn write(&mut self, files: &mut saved::Files, about: About) -> Result<(), String> {
        let until = Instant::now() + LAST_READS;
        loop {
            self.tell_taint();
            match self.log.read(Instant::now() + BUDGET) {
                records if records.is_empty() => break,
                records => self.tell_log(records),
            }
            if Instant::now() >= until {
                return Err("the kernel logs faster than it can be read".to_owned());
            }
        }
        if let Some(taint) = self.taint.filter(|taint| taint & REPORTED != 0) {
            return Err(format!(
                "the kernel reported a fault while it booted (taint {taint:#x}), and the next boot need not have it"
            ));
        }
        let machine = MachineState {
            vcpus: self.vcpus.save()?,
            vm: self.vm.save().map_err(|error| error.to_string())?,
            devices: self.devices.save(),
            log: self.log.state(),
            modules: self.modules.clone(),
            taint: self.taint,
            told: self.outbox.told().ok_or("the guest has said more by then than is kept")?,
        };
        let written = files.write(about, self.identity, machine, &self.memory, Instant::now() + SAVING);
        written.map_err(|error| match error.kind() {
            ErrorKind::TimedOut => {
                format!("writing it takes more than {} s; `--cold` saves none", SAVING.as_secs())
            }
            _ => error.to_string(),
        })
    }

    /// Puts everything but memory into the state of the saved machine. The vCPUs are held.
    pub(super) fn take_state(&mut self) -> Result<(), String> {
        let Some(origin) = &self.origin else { return Err("it was booted".to_owned()) };
        let state = &origin.saved.machine;
        // The devices first: one may raise its interrupt, and whether it has come is for the controllers to know.
        self.devices.restore(&state.devices).map_err(|name| format!("the state of its {name} is none"))?;
        // Chips and clock before vCPUs: a local APIC may hold an interrupt that they know of.
        self.vm.restore(&state.vm).map_err(|error| error.to_string())?;
        self.vcpus.load(&state.vcpus)?;
        if !self.log.set_state(state.log.clone()) {
            return Err("its log was read elsewhere".to_owned());
        }
        self.modules = state.modules.clone();
        self.taint = state.taint;
        // Pages stay protected: the next plan may well want the same.
        (self.guard, self.unguarded, self.witness) = (None, None, Witness::default());
        (self.pairs, self.agent_text) = (Pairs::default(), AgentText::default());
        self.reports = Reports::default();
        self.shared.exits.store(0, Ordering::Relaxed);
        self.shared.ready.store(false, Ordering::Relaxed);
        self.shared.own_breakpoints.store(false, Ordering::Relaxed);
        *self.shared.began.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(())
    }

    /// Tells again what had been told.
    pub(super) fn tell_again(&self) {
        let told = self.origin.iter().flat_map(|origin| &origin.saved.machine.told);
        told.for_each(|notice| self.outbox.send(notice));
    }

    /// Tells the evidence, and holds the guest. `None` for a machine that is in no state to be used again.
    pub(super) fn rest(&mut self) -> Option<Notice> {
        let origin = self.origin.as_ref().filter(|origin| origin.pages <= MOST_PAGES)?;
        // What it was tainted with before the scenario it will be tainted with again.
        let harmless = HARMLESS | origin.saved.machine.taint.unwrap_or(0);
        self.vcpus.pause().ok()?;
        if self.compare() {
            return None;
        }
        self.tell_taint();
        let until = Instant::now() + LAST_READS;
        loop {
            match self.log.read_last(until) {
                records if records.is_empty() => break,
                records => self.tell_log(records),
            }
        }
        let device_errors = self.devices.errors();
        if !device_errors.is_empty() || self.taint.is_some_and(|mask| mask & !harmless != 0) {
            return None;
        }
        let remains = self.vcpus.leave()?;
        let (rows, evidence) = evidence::gather(&remains, vec![], device_errors, &self.memory);
        self.outbox.counted(rows);
        let evidence =
            Evidence { unguarded: self.unguarded.take(), changed: self.pairs.changed(), ..evidence };
        Some(Notice::Ended { reason: EndReason::Stopped, evidence: Box::new(evidence) })
    }

    /// Goes back to where it began, and runs.
    pub(super) fn reset(&mut self, verify: bool) -> Result<Reset, String> {
        if self.vcpus.life() != Life::Paused {
            return Err("it does not rest".to_owned());
        }
        let start = Instant::now();
        self.take_state()?;
        let state = start.elapsed();
        // After the registers: KVM writes the wall clock to memory when it is told where that is.
        let origin = self.origin.as_mut().expect("its state was just taken");
        let back = origin.original.put_back(&self.vm).map_err(|error| error.to_string())?;
        origin.pages = back.pages;
        if verify && let Some(at) = origin.original.first_difference(&self.memory) {
            return Err(format!("its memory at {:#x} is not as it was saved", at.0));
        }
        if verify {
            self.verify()?;
        }
        self.tell_again();
        self.vcpus.resume()?;
        let PutBack { pages, looking, copying } = back;
        let plain = if verify { plain_copy(pages) } else { Duration::ZERO };
        Ok(Reset { pages, looking, copying, state, plain })
    }

    /// Whether everything but memory is as it was saved.
    fn verify(&self) -> Result<(), String> {
        let Some(origin) = &self.origin else { return Ok(()) };
        let (then, now) = (&origin.saved.machine, self.devices.save());
        let device = |(name, state): (&String, &Vec<u8>)| {
            (now.get(name) != Some(state)).then(|| format!("the device {name}"))
        };
        let mut different: Vec<String> = then.devices.iter().filter_map(device).collect();
        different.extend(then.vm.differences(&self.vm.save().map_err(|error| error.to_string())?));
        for (index, (then, now)) in then.vcpus.iter().zip(self.vcpus.save()?).enumerate() {
            different
                .extend(then.differences(&now).into_iter().map(|what| format!("{what} of vCPU {index}")));
        }
        match different.is_empty() {
            true => Ok(()),
            false => Err(format!("not as it was saved: {}", different.join(", "))),
        }
    }
}
