//! What a machine process tells of the kernel: its log, its own counts of troubles, and who sleeps in it.

use super::{BUDGET, LAST_READS, Machine};
use crate::{
    vcpus::Life,
    wire::{Explanation, LogRecord, MOST_ADDRESSES, Notice, Reports},
};
use machine::GuestVirtualAddress;
use std::time::Instant;
use trap::KernelState;

impl Machine {
    /// Reads the log before the kernel overwrites what nobody has read. The guest is held meanwhile: it may log faster
    /// than it can be read, or than the harness takes it. Says whether there was so much to be read.
    pub(super) fn keep_up(&mut self, much: f64) -> bool {
        if self.log.backlog() < much {
            return false;
        }
        let runs = self.vcpus.life() == Life::Running;
        // One that can't be held is read all the same; what is lost is told by the lines' numbers.
        let held = runs && self.vcpus.pause().is_ok();
        self.tell_taint();
        // A guest that is held adds nothing, so there is an end to it.
        let end = Instant::now() + if held { LAST_READS } else { BUDGET };
        loop {
            match self.log.read(Instant::now() + BUDGET) {
                records if records.is_empty() => break,
                records => self.tell_log(records),
            }
            if Instant::now() >= end {
                break;
            }
        }
        if held {
            // They were held a moment ago, so they are there to go on.
            let _ = self.vcpus.resume();
        }
        true
    }

    pub(super) fn tell_taint(&mut self) {
        let taint = self.tainted_mask.and_then(|at| self.space.as_ref()?.read_u64(at));
        if let Some(mask) = taint
            && self.taint != taint
        {
            self.taint = taint;
            self.outbox.send(&Notice::Taint(mask));
        }
        let count = |name: &str| {
            let mut bytes = [0; 4];
            let at = GuestVirtualAddress(self.landmarks.symbol(name)?);
            self.space.as_ref()?.read(at, &mut bytes)?;
            Some(u32::from_le_bytes(bytes))
        };
        let reports = Reports {
            warnings: count("warn_count"),
            oopses: count("oops_count"),
            // PANIC_CPU_INVALID of include/linux/panic.h.
            panicked: count("panic_cpu").map(|cpu| cpu != u32::MAX),
        };
        if self.reports != reports {
            self.reports = reports;
            self.outbox.send(&Notice::Reports(reports));
        }
    }

    /// Lines of the log, after names for what the kernel could not name, since the module is gone.
    pub(super) fn tell_log(&mut self, records: Vec<LogRecord>) {
        if let Some(space) = &self.space {
            let state = KernelState::new(space.clone(), self.landmarks.clone(), Instant::now() + BUDGET);
            self.modules.look(&state);
            let symbols = self.modules.names_in(records.iter().map(|record| record.text.as_str()));
            if !symbols.is_empty() {
                self.outbox.send(&Notice::Symbols(symbols));
            }
        }
        self.outbox.log(records);
    }

    pub(super) fn inspect(&self, mut addresses: Vec<u64>) -> Explanation {
        let Some(space) = &self.space else { return Explanation::default() };
        let state = KernelState::new(space.clone(), self.landmarks.clone(), Instant::now() + BUDGET);
        let sleepers = state.sleepers();
        let frames = sleepers.iter().flat_map(|sleeper| sleeper.frames.iter().copied());
        addresses.truncate(MOST_ADDRESSES);
        let symbols = state.module_symbols(frames.chain(addresses));
        Explanation { sleepers, symbols, children: state.children() }
    }
}
