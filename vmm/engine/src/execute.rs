//! A run, in order: the hello, the steps one by one, the end.

use crate::{
    begin::{Begun, Stuck, WAKE, Way, begin, bring},
    event::{Booted, Ended, Event, RunEnd, StepOutcome},
    guest::{Guest, Halt, SETTLES},
    link::Link,
    machines::Machines,
    operand::Names,
    step::{self, Done, Overdue},
    witness,
};
use board::wire::{About, Blame, Command, EndReason, Unfit};
use plan::{Plan, Watch};
use std::time::Duration;

/// A guest whose reports have no end is not waited for longer.
const SETTLED: Duration = Duration::from_secs(2);

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

/// Carries out a plan in a machine process of its own; see [`Machines::execute`].
///
/// # Errors
/// As there.
pub fn execute(plan: &Plan, stop: &dyn Fn() -> bool, sink: &mut dyn FnMut(Event)) -> Result<(), EngineError> {
    Machines::default().execute(plan, stop, sink)
}

/// A plan, and how it is carried out.
pub(super) struct Converse<'a, 's> {
    pub plan: &'a Plan,
    pub way: Way<'a>,
    /// To be said of what was tried before.
    pub note: Option<String>,
    pub stop: &'a dyn Fn() -> bool,
    pub sink: &'s mut dyn FnMut(Event),
}

/// How it ended for the machine process.
pub(super) enum End {
    /// It is of no more use.
    Over,
    /// It can go back to what it began as.
    Rests(Link, Box<About>),
    /// The guest can't be had this way; nothing was told.
    Unusable { why: String, damaged: bool },
}

impl Converse<'_, '_> {
    /// With a machine process that runs already. `post_mortem` says what is known of one that has closed its socket
    /// without a word.
    pub(super) fn with(
        self,
        link: Link,
        post_mortem: &mut dyn FnMut() -> (Blame, String),
    ) -> Result<End, EngineError> {
        let Self { plan, way, note, stop, sink } = self;
        let mut guest = Guest::new(link, sink, stop, post_mortem);
        guest.programs.clone_from(&plan.programs);
        let (mut ready, mut steps) = (None, Vec::new());
        let ran = begin(&mut guest, plan, &way).and_then(|begun| {
            ready = Some(begun.ready);
            let about = begun.about.clone();
            run(plan, &mut guest, begun, note, &mut steps).map(|why| (why, about)).map_err(Stuck::Halt)
        });
        let (why, about) = match ran {
            Ok(ran) => ran,
            Err(Stuck::Halt(Halt::Ended(why))) => (why, None),
            Err(Stuck::NoAgent { greeted, standing }) => {
                let limit = if greeted { WAKE } else { plan.boot_timeout };
                (RunEnd::NoAgent { limit, greeted, standing }, None)
            }
            Err(Stuck::Halt(Halt::Interrupted)) => return Err(EngineError::Interrupted),
            // Whoever wants it compared wants to hear of it.
            Err(Stuck::Unusable { why, .. }) if matches!(&way, Way::Back(warm, _) if warm.verify) => {
                (RunEnd::Machine(EndReason::host(format!("the machine did not come back: {why}"))), None)
            }
            Err(Stuck::Unusable { why, damaged }) => return Ok(End::Unusable { why, damaged }),
            Err(Stuck::Halt(Halt::Unusable(Unfit { why, damaged }))) => {
                return Ok(End::Unusable { why, damaged });
            }
        };
        guest.let_go();
        let keep = plan.warm.as_ref().is_some_and(|warm| warm.keep) && about.is_some();
        let rest = keep && matches!(why, RunEnd::Completed);
        let ran = ready.map_or(Duration::ZERO, |ready| guest.lived().saturating_sub(ready));
        let (reason, evidence) = guest.finish(if rest { Command::Rest } else { Command::Stop });
        let why = match (why, reason) {
            // It died on the way out.
            (RunEnd::Completed, Some(EndReason::Stopped)) => RunEnd::Completed,
            (RunEnd::Completed, Some(reason)) => RunEnd::Machine(reason),
            (RunEnd::Completed, None) => {
                RunEnd::Machine(EndReason::host("the machine process ended without its evidence"))
            }
            (why, _) => why,
        };
        let completed = matches!(why, RunEnd::Completed);
        guest.tell(Event::Ended(Ended { why, evidence, ran, steps }));
        Ok(match about {
            Some(about) if rest && completed => End::Rests(guest.into_link(), about),
            _ => End::Over,
        })
    }
}

fn run(
    plan: &Plan,
    guest: &mut Guest,
    begun: Begun,
    before: Option<String>,
    steps: &mut Vec<Duration>,
) -> Result<RunEnd, Halt> {
    let Begun { hello, ready, start, note, about: _ } = begun;
    let brings = guest.now();
    bring(guest, plan)?;
    let files = guest.now().since(brings);
    let not_trapping = match &plan.watch {
        Watch::Nothing => None,
        watch => guest.watch(watch)?.err(),
    };
    let setup = guest.setup(ready);
    guest.read_log()?;
    let notes = before.into_iter().chain(note).collect();
    let exits = guest.exits;
    guest.tell(Event::Booted(Booted {
        ready,
        setup,
        files,
        exits,
        release: hello.release,
        not_trapping,
        start,
        notes,
    }));

    let mut names = Names::default();
    for (index, step) in plan.steps.iter().enumerate() {
        guest.tell(Event::StepStarted { index });
        let began = guest.now();
        let outcome = match one_step(guest, index, step, &mut names) {
            Ok(outcome) => outcome,
            Err(halt) => {
                if matches!(halt, Halt::Ended(_)) {
                    guest.tell(Event::StepEnded { index, outcome: StepOutcome::Lost });
                }
                return Err(halt);
            }
        };
        steps.push(guest.now().since(began));
        let timed_out = matches!(outcome, StepOutcome::TimedOut { .. });
        guest.tell(Event::StepEnded { index, outcome });
        if guest.lost_process(index) {
            names.process_ended(index);
        }
        if timed_out {
            return Ok(RunEnd::StepTimedOut { index });
        }
    }
    settle(guest, plan.machine.vcpus)?;
    Ok(RunEnd::Completed)
}

/// Lets a report come to its end, as a kernel counts it behind its last line. Another processor may be at it still, and so may, on the
/// only one, what runs once the agent has answered.
fn settle(guest: &mut Guest, vcpus: u8) -> Result<(), Halt> {
    guest.read_log()?;
    let now = guest.now();
    let (least, most) = (if vcpus > 1 { now + SETTLES } else { now }, now + SETTLED);
    loop {
        let settled = guest.troubled().map_or(least, |at| least.max(at + SETTLES)).min(most);
        if guest.now() >= settled {
            return Ok(());
        }
        guest.sleep(settled)?;
        guest.read_log()?;
    }
}

/// One step with everything that was logged during it.
fn one_step(
    guest: &mut Guest,
    index: usize,
    step: &plan::PlanStep,
    names: &mut Names,
) -> Result<StepOutcome, Halt> {
    let began = guest.now();
    let outcome = match step::perform(guest, index, step, names)? {
        Done::Outcome(outcome) => outcome,
        Done::TimedOut(Overdue::Sleep) => {
            let [stdout, stderr] = Default::default();
            StepOutcome::Ended { limit: step.timeout, stdout, stderr, standing: Vec::new(), inside: false }
        }
        Done::TimedOut(overdue) => {
            let waited = guest.now().since(began);
            let standing = guest.sample()?;
            guest.explain(&standing)?;
            let seen = if matches!(overdue, Overdue::Call(_)) { guest.sighting()? } else { None };
            let inside =
                matches!(overdue, Overdue::Call(_)) && seen.is_none_or(|seen| witness::may_be_inside(&seen));
            // One that was given up early waits for itself: a deadlock, whether it can be killed or not.
            if waited >= step.timeout && guest.end()? {
                let [mut stdout, stderr] = guest.printed();
                if let Overdue::Call(read) = overdue {
                    stdout.push(&read);
                    names.process_ended(index);
                }
                StepOutcome::Ended { limit: step.timeout, stdout, stderr, standing, inside }
            } else {
                StepOutcome::TimedOut { limit: step.timeout.min(waited), standing }
            }
        }
    };
    guest.explain_walk()?;
    guest.guard()?;
    guest.read_whole_log()?;
    Ok(outcome)
}

#[cfg(test)]
mod tests;
