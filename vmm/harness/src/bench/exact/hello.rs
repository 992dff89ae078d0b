//! Hello's plan: cold, saved, started from there, after going back.

use super::Figures;
use engine::event::{Event, RunEnd, Start};
use std::time::Duration;

/// How `hello` is run, one after the other on the same host.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// What is measured of it.
    pub name: &'static str,
    /// With a saved machine, which the first such run makes.
    pub warm: bool,
    /// By going back.
    pub reset: bool,
    /// The machine stays, for the next to go back.
    pub keep: bool,
    /// What it went back to is compared with what was saved: nothing may be left of the run before.
    pub verify: bool,
}

/// The third.
pub const FROM_SAVED: &str = "hello: from a saved machine";

/// In this order.
pub const RUNS: [Run; 6] = [
    Run { name: "hello: cold", warm: false, reset: false, keep: false, verify: false },
    Run { name: "hello: cold, and saved", warm: true, reset: false, keep: false, verify: false },
    Run { name: FROM_SAVED, warm: true, reset: false, keep: false, verify: false },
    Run { name: "", warm: true, reset: false, keep: true, verify: false },
    Run { name: "hello: after going back", warm: true, reset: true, keep: true, verify: false },
    Run { name: "", warm: true, reset: true, keep: false, verify: true },
];

/// What these runs took as a whole, from the machine process's start to the last word of evidence.
#[derive(Debug, Default)]
pub struct Whole {
    /// Until the guest was ready, and how it came to be so.
    ready: [Option<(Duration, &'static str)>; RUNS.len()],
    whole: [Duration; RUNS.len()],
}

impl Whole {
    /// Of this run. Says why it did not end as it should.
    pub fn take(&mut self, run: usize, event: &Event) -> Option<String> {
        match event {
            Event::Booted(booted) => {
                let how = match booted.start {
                    Start::Booted { .. } => "boot",
                    Start::Saved { .. } => "start from a saved machine",
                    Start::Back { .. } => "going back",
                };
                self.ready[run] = Some((booted.ready, how));
            }
            Event::Ended(ended) if matches!(ended.why, RunEnd::Completed) => {
                let ready = self.ready[run].map_or(Duration::ZERO, |ready| ready.0);
                self.whole[run] = ready + ended.ran;
            }
            Event::Ended(ended) => return Some(format!("run {} of hello ended: {:?}", run + 1, ended.why)),
            _ => {}
        }
        None
    }

    /// Adds them.
    ///
    /// # Errors
    /// Which run did not do what it should, in words.
    pub fn figures(&self, figures: &mut Figures) -> Result<(), String> {
        for (index, (run, whole)) in RUNS.iter().zip(self.whole).enumerate() {
            let wanted = match (run.warm, run.reset) {
                (_, true) => "going back",
                (true, false) if index > 1 => "start from a saved machine",
                _ => "boot",
            };
            match self.ready[index] {
                Some((ready, how)) if how == wanted && whole > Duration::ZERO => {
                    if !run.name.is_empty() {
                        if how != "boot" {
                            figures.add(how, ready);
                        }
                        figures.add(run.name, whole);
                    }
                }
                found => {
                    let found = found.map_or("nothing", |found| found.1);
                    return Err(format!(
                        "run {} of hello had a {found}, where {wanted} is measured",
                        index + 1
                    ));
                }
            }
        }
        Ok(())
    }
}
