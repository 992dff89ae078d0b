//! One step of a plan, from its first op to its outcome.

mod chain;

use super::{
    guest::{Guest, Halt, Moment},
    operand::{Names, Product},
};
use crate::{
    event::{Event, StepOutcome},
    witness,
};
use board::wire::Sighting;
use chain::{Asked, Reading};
use plan::{Op, Operand, PlanStep, Role, What};
use protocol::{Action, Call, Outcome, Stream};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// What came of an op or a step.
pub(super) enum Done {
    Outcome(StepOutcome),
    /// Its time is over.
    TimedOut(Overdue),
}

/// What takes longer than it may.
pub(super) enum Overdue {
    Program,
    /// A call of the agent's worker, and what had been read of a file by then.
    Call(Vec<u8>),
    /// Nothing that could be ended.
    Sleep,
}

/// Does one step. `index` counts from 0.
pub(super) fn perform(
    guest: &mut Guest,
    index: usize,
    step: &PlanStep,
    names: &mut Names,
) -> Result<Done, Halt> {
    let deadline = guest.now() + step.timeout;
    let mut run = StepRun {
        guest,
        names,
        deadline,
        results: Vec::new(),
        took: Duration::ZERO,
        looked: false,
        ahead: VecDeque::new(),
        reading: Reading::default(),
    };
    let mut outcome = None;
    let mut setup_failed = false;
    let mut process_ended = false;
    for (index, op) in step.ops.iter().enumerate() {
        let wanted = match op.role {
            Role::Setup | Role::Main => outcome.is_none(),
            Role::Also(after) => {
                let main = main_error(outcome.as_ref());
                after.is_none_or(|errno| main == Some(errno)) && run.has_what_it_takes(op).unwrap_or(true)
            }
            // The op that it undoes is the one whose result it takes, or else all of the set-up.
            Role::Cleanup => run.has_what_it_takes(op).unwrap_or(!setup_failed),
        };
        let mut result = None;
        let done = match run.ahead.pop_front() {
            Some(done) => done,
            None if wanted => match run.op(&step.ops, index)? {
                Done::Outcome(done) => Some(done),
                Done::TimedOut(overdue) => return Ok(Done::TimedOut(overdue)),
            },
            None => None,
        };
        if let Some(done) = done {
            process_ended |= ends_process(&op.what, &done);
            result = succeeded(&op.what, &done);
            match op.role {
                Role::Main => outcome = Some(done),
                Role::Setup if result.is_none() => {
                    setup_failed = true;
                    outcome = Some(done);
                }
                Role::Also(_) => add(outcome.as_mut(), &op.what, Some(done)),
                Role::Setup | Role::Cleanup => {}
            }
        } else if matches!(op.role, Role::Also(_)) {
            add(outcome.as_mut(), &op.what, None);
        }
        run.results.push(result);
    }
    let outcome = outcome.unwrap_or(StepOutcome::Skipped { why: "the step has nothing to do".to_owned() });
    let product = match &outcome {
        StepOutcome::Returned { value, data, .. } => Product::Call { value: *value, data },
        StepOutcome::Exited { code, stdout, .. } => Product::Program { code: *code, stdout },
        _ => Product::Nothing,
    };
    // What this step got, it got from the process that gave the last answer.
    if guest.lost_process_before(index) || process_ended {
        names.process_ended(index);
    }
    names.bind(index, &step.binds, &product);
    Ok(Done::Outcome(outcome))
}

/// Whether the agent's worker is another one afterwards. A call that exits, or executes a program that exits, ends it
/// as well as a signal.
fn ends_process(what: &What, outcome: &StepOutcome) -> bool {
    match what {
        What::Renew => matches!(outcome, StepOutcome::Returned { .. }),
        What::Calls { .. } | What::ReadToEnd { .. } => {
            matches!(outcome, StepOutcome::Died { .. } | StepOutcome::Exited { .. })
        }
        What::Run { .. } | What::Sleep(_) | What::Watch(_) => false,
    }
}

/// The error that the main op returned.
fn main_error(outcome: Option<&StepOutcome>) -> Option<i32> {
    match outcome {
        Some(StepOutcome::Returned { value, .. }) if (-4095..0).contains(value) => Some(-*value as i32),
        _ => None,
    }
}

/// Adds what an op beside the main one read to the step's data. `done` is `None` if it was left out.
fn add(step: Option<&mut StepOutcome>, what: &What, done: Option<StepOutcome>) {
    let reads = match what {
        What::ReadToEnd { .. } => true,
        what => what.operands().any(|operand| matches!(operand, Operand::Out(_))),
    };
    let Some(StepOutcome::Returned { data, cut, .. }) = step.filter(|_| reads) else { return };
    data.push(match done {
        Some(StepOutcome::Returned { value, data, cut: this, .. }) => {
            *cut |= this;
            let mut read = data.into_iter().next().unwrap_or_default();
            // What the guest says need not be true.
            read.truncate(usize::try_from(value).unwrap_or(0));
            read
        }
        _ => Vec::new(),
    });
}

/// The value of an op that did what it should. A call in which its process ended has none.
fn succeeded(what: &What, outcome: &StepOutcome) -> Option<i64> {
    match outcome {
        StepOutcome::Returned { value, .. } if !(-4095..0).contains(value) => Some(*value),
        StepOutcome::Exited { code: 0, .. } if matches!(what, What::Run { .. }) => Some(0),
        _ => None,
    }
}

struct StepRun<'g, 'a, 'n> {
    guest: &'g mut Guest<'a>,
    names: &'n Names,
    deadline: Moment,
    /// What each op so far returned; `None` for one that failed or was left out.
    results: Vec<Option<i64>>,
    took: Duration,
    /// What the step is about was asked for; of a file that is read piece by piece the first piece will do.
    looked: bool,
    /// What came of the ops that follow, where one request asked for several; `None` for those that were left out.
    ahead: VecDeque<Option<StepOutcome>>,
    /// The file that the step is about, as far as it was read.
    reading: Reading,
}

impl StepRun<'_, '_, '_> {
    /// Whether the ops whose results this one takes succeeded; `None` if it takes none.
    fn has_what_it_takes(&self, op: &Op) -> Option<bool> {
        let mut taken = op.what.operands().filter_map(|operand| match operand {
            Operand::Op(index) => Some(matches!(self.results.get(*index), Some(Some(_)))),
            _ => None,
        });
        taken.next().map(|first| first && taken.all(|one| one))
    }

    /// Does this op, and with it those behind it that one request can ask for as well.
    fn op(&mut self, ops: &[Op], index: usize) -> Result<Done, Halt> {
        let op = &ops[index];
        match &op.what {
            What::ReadToEnd { limit: 0, .. } => Ok(self.returned(0, vec![Vec::new()])),
            What::ReadToEnd { fd, limit } => loop {
                match self.chain(ops, index)? {
                    Asked::Done(done) => return Ok(done),
                    Asked::More if self.reading.is_beyond(*limit) => {
                        let content = std::mem::take(&mut self.reading).content(*limit);
                        let (value, data, took) = (content.len() as i64, vec![content], self.took);
                        return Ok(Done::Outcome(StepOutcome::Returned { value, data, took, cut: true }));
                    }
                    Asked::More => {}
                    Asked::Alone => {
                        let why = self.names.argument(fd, &self.results).err();
                        return Ok(skipped(why.unwrap_or_else(|| "it can't be asked for".to_owned())));
                    }
                }
            },
            What::Calls { calls, times } => {
                if let Asked::Done(done) = self.chain(ops, index)? {
                    return Ok(done);
                }
                match calls.iter().map(|call| self.call(call)).collect::<Result<Vec<_>, _>>() {
                    Ok(calls) => {
                        let main = (op.role == Role::Main).then_some(0);
                        self.ask(Action::Calls { calls, times: *times }, main)
                    }
                    Err(why) => Ok(skipped(why)),
                }
            }
            What::Run { argv, env, stdin, user } => {
                let fill = |texts: &[String]| {
                    texts.iter().map(|text| self.names.fill(text)).collect::<Result<Vec<_>, _>>()
                };
                let filled = || Ok::<_, String>((fill(argv)?, fill(env)?, self.names.fill_data(stdin)?));
                match filled() {
                    Ok((argv, env, stdin)) => {
                        let main = (op.role == Role::Main).then_some(0);
                        self.ask(Action::Run { argv, env, stdin, user: *user }, main)
                    }
                    Err(why) => Ok(skipped(why)),
                }
            }
            What::Renew => Ok(match self.request(&Action::Renew, None)? {
                Some(Answered { outcome: Outcome::Done, .. }) => self.returned(0, Vec::new()),
                Some(Answered { outcome, .. }) => Done::Outcome(self.outcome(outcome)),
                None => Done::TimedOut(Overdue::Call(Vec::new())),
            }),
            What::Watch(watch) => match self.guest.watch(watch)? {
                Ok(()) => Ok(self.returned(0, Vec::new())),
                Err(why) => Ok(skipped(why)),
            },
            What::Sleep(time) => {
                let wake = self.guest.now() + *time;
                self.guest.sleep(wake.min(self.deadline))?;
                if wake > self.deadline {
                    return Ok(Done::TimedOut(Overdue::Sleep));
                }
                self.took += *time;
                Ok(self.returned(0, Vec::new()))
            }
        }
    }

    fn call(&self, call: &plan::Call) -> Result<Call, String> {
        let args = call.args.iter().map(|operand| self.names.argument(operand, &self.results));
        Ok(Call { door: call.door, nr: call.nr, args: args.collect::<Result<_, _>>()? })
    }

    fn returned(&self, value: i64, data: Vec<Vec<u8>>) -> Done {
        Done::Outcome(StepOutcome::Returned { value, data, took: self.took, cut: false })
    }

    /// Asks for one thing. `main`: what the step is about is among it.
    fn ask(&mut self, action: Action, main: Option<u16>) -> Result<Done, Halt> {
        let overdue =
            if matches!(action, Action::Run { .. }) { Overdue::Program } else { Overdue::Call(Vec::new()) };
        let Some(Answered { outcome, nanos, seen, most }) = self.request(&action, main)? else {
            return Ok(Done::TimedOut(overdue));
        };
        let least = witness::least(&action, seen.as_deref());
        self.spent(nanos, least, most);
        Ok(Done::Outcome(self.outcome(outcome)))
    }

    /// Has the agent do something, and compares its answer with what was seen; `None` when the time is up.
    fn request(&mut self, action: &Action, main: Option<u16>) -> Result<Option<Answered>, Halt> {
        let main = main.filter(|_| !self.looked);
        self.looked |= main.is_some();
        self.guest.expect(action, main);
        let asked = Instant::now();
        let Some((mut outcome, nanos)) = self.guest.ask(action.clone(), self.deadline)? else {
            return Ok(None);
        };
        whole(action, &mut outcome);
        let most = asked.elapsed();
        let seen = self.guest.sighting()?;
        if let Some(seen) = &seen {
            witness::compare(action, &outcome, self.guest.printed_so_far(), seen)
                .into_iter()
                .for_each(|it| self.guest.tell(Event::Tampered(it)));
        }
        Ok(Some(Answered { outcome, nanos, seen, most }))
    }

    /// Something took so long by the guest's clock, and by what was seen from outside at least and at most so long.
    fn spent(&mut self, nanos: u64, least: Duration, most: Duration) {
        let took = witness::bounded(Duration::from_nanos(nanos), least, most);
        self.took = self.took.saturating_add(took);
    }

    fn outcome(&mut self, outcome: Outcome) -> StepOutcome {
        let took = self.took;
        match outcome {
            Outcome::Returned { value, data } => StepOutcome::Returned { value, data, took, cut: false },
            Outcome::Exited { code, open } => {
                let [mut stdout, mut stderr] = self.guest.printed();
                for stream in open {
                    match stream {
                        Stream::Stdout => stdout.leave_open(),
                        Stream::Stderr => stderr.leave_open(),
                    }
                }
                StepOutcome::Exited { code, stdout, stderr, took }
            }
            Outcome::Died { signal } => StepOutcome::Died { signal },
            Outcome::Done | Outcome::Chained(_) => {
                StepOutcome::Skipped { why: "the agent did what the step does not ask for".to_owned() }
            }
            Outcome::Refused { why } => StepOutcome::Skipped { why: format!("the agent refused: {why}") },
        }
    }
}

/// What came of a request.
struct Answered {
    outcome: Outcome,
    /// By the guest's clock.
    nanos: u64,
    seen: Option<Box<Sighting>>,
    /// From the request to its answer.
    most: Duration,
}

/// Puts the zeroes back that the agent left out.
fn whole(action: &Action, outcome: &mut Outcome) {
    match (action, outcome) {
        (Action::Calls { calls, .. }, Outcome::Returned { data, .. }) if calls.len() == 1 => {
            calls[0].whole(data);
        }
        (Action::Chain(links), Outcome::Chained(made)) => {
            for made in made {
                if let Some(link) = links.get(usize::from(made.link)).filter(|link| link.until.is_none()) {
                    link.call.whole(&mut made.data);
                }
            }
        }
        _ => {}
    }
}

fn skipped(why: String) -> Done {
    Done::Outcome(StepOutcome::Skipped { why })
}
