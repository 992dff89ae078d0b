//! A run, in order: the hello, the steps one by one, the end.

use crate::{
    event::{Booted, Ended, Event, RunEnd, StepOutcome},
    guest::{Guest, Halt},
    link::Link,
    operand::Names,
    process::MachineProcess,
    step::{self, Done, Overdue},
};
use board::wire::{Blame, EndReason};
use plan::{Plan, Watch};
use std::time::{Duration, Instant};

/// Why a run has no [`Ended`].
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// `stop` said so.
    #[error("the run was interrupted")]
    Interrupted,
    /// There is no machine process.
    #[error("failed to start a machine process: {0}")]
    Start(std::io::Error),
}

/// Carries out a plan in a machine process of its own, which is gone when this returns.
///
/// `stop` is asked every 50 ms or so whether to give up; `sink` gets every event as it happens, and
/// last, unless there is an error, [`Event::Ended`].
///
/// # Errors
/// Only when there was no machine process or the caller gave up. Everything else that can go wrong is
/// told as an event.
pub fn execute(plan: &Plan, stop: &dyn Fn() -> bool, sink: &mut dyn FnMut(Event)) -> Result<(), EngineError> {
    let start = Instant::now();
    let (mut process, link) = MachineProcess::start().map_err(EngineError::Start)?;
    converse(plan, link, start, stop, sink, &mut || process.post_mortem())
}

/// The same with a machine process that runs already. `post_mortem` says what is known of one that has
/// closed its socket without a word.
fn converse(
    plan: &Plan,
    link: Link,
    start: Instant,
    stop: &dyn Fn() -> bool,
    sink: &mut dyn FnMut(Event),
    post_mortem: &mut dyn FnMut() -> (Blame, String),
) -> Result<(), EngineError> {
    let mut guest = Guest::new(link, sink, stop, post_mortem);
    let mut ready = None;
    let why = match run(plan, &mut guest, start, &mut ready) {
        Ok(why) | Err(Halt::Ended(why)) => why,
        Err(Halt::Interrupted) => return Err(EngineError::Interrupted),
    };
    let ran = ready.map_or(Duration::ZERO, |ready: Instant| ready.elapsed());
    let (reason, evidence) = guest.finish();
    let why = match (why, reason) {
        // It died on the way out.
        (RunEnd::Completed, Some(EndReason::Stopped)) => RunEnd::Completed,
        (RunEnd::Completed, Some(reason)) => RunEnd::Machine(reason),
        (RunEnd::Completed, None) => {
            RunEnd::Machine(EndReason::host("the machine process ended without its evidence"))
        }
        (why, _) => why,
    };
    guest.tell(Event::Ended(Ended { why, evidence, ran }));
    Ok(())
}

fn run(plan: &Plan, guest: &mut Guest, start: Instant, ready: &mut Option<Instant>) -> Result<RunEnd, Halt> {
    guest.send(&plan.machine);
    let Some(hello) = guest.hello(start + plan.boot_timeout)? else {
        let standing = guest.sample()?;
        guest.explain(&standing)?;
        return Ok(RunEnd::NoAgent { limit: plan.boot_timeout, standing });
    };
    let booted = start.elapsed();
    *ready = Some(Instant::now());
    let not_trapping = match &plan.watch {
        Watch::Nothing => None,
        watch => guest.watch(watch)?.err(),
    };
    let setup = guest.began.map_or(Duration::ZERO, |began| began - start);
    guest.read_log()?;
    guest.tell(Event::Booted(Booted {
        ready: booted,
        setup,
        exits: guest.exits,
        release: hello.release,
        not_trapping,
    }));

    let mut names = Names::default();
    for (index, step) in plan.steps.iter().enumerate() {
        guest.tell(Event::StepStarted { index });
        let outcome = match one_step(guest, index, step, &mut names) {
            Ok(outcome) => outcome,
            Err(halt) => {
                if matches!(halt, Halt::Ended(_)) {
                    guest.tell(Event::StepEnded { index, outcome: StepOutcome::Lost });
                }
                return Err(halt);
            }
        };
        let timed_out = matches!(outcome, StepOutcome::TimedOut { .. });
        guest.tell(Event::StepEnded { index, outcome });
        if timed_out {
            return Ok(RunEnd::StepTimedOut { index });
        }
    }
    Ok(RunEnd::Completed)
}

/// One step with everything that was logged during it.
fn one_step(
    guest: &mut Guest,
    index: usize,
    step: &plan::PlanStep,
    names: &mut Names,
) -> Result<StepOutcome, Halt> {
    let began = Instant::now();
    let outcome = match step::perform(guest, index, step, names)? {
        Done::Outcome(outcome) => outcome,
        Done::TimedOut(Overdue::Sleep) => {
            let [stdout, stderr] = Default::default();
            StepOutcome::Ended { limit: step.timeout, stdout, stderr, standing: Vec::new() }
        }
        Done::TimedOut(overdue) => {
            let waited = began.elapsed();
            let standing = guest.sample()?;
            guest.explain(&standing)?;
            // One that was given up early waits for itself: a deadlock, whether it can be killed or not.
            if waited >= step.timeout && guest.end()? {
                let [mut stdout, stderr] = guest.printed();
                if let Overdue::Call(read) = overdue {
                    stdout.push(&read);
                    names.process_ended(index);
                }
                StepOutcome::Ended { limit: step.timeout, stdout, stderr, standing }
            } else {
                StepOutcome::TimedOut { limit: step.timeout.min(waited), standing }
            }
        }
    };
    guest.explain_walk()?;
    guest.guard()?;
    guest.read_log()?;
    Ok(outcome)
}

#[cfg(test)]
mod tests;
