//! One step of a plan, from its first op to its outcome.

use super::{
    guest::{Guest, Halt},
    operand::{Names, Product},
};
use crate::{
    event::{Event, StepOutcome},
    witness,
};
use plan::{Op, Operand, PlanStep, Role, What};
use protocol::{Action, Arg, Call, Door, Outcome};
use std::time::{Duration, Instant};

/// One request reads so much of a file at first: the whole buffer travels, however little was read.
const CHUNK: u32 = 16 << 10;

/// Of a file that fills the buffers, one request reads so much.
const LARGE_CHUNK: u32 = 1 << 20;

/// `read` in arch/x86/entry/syscalls/syscall_64.tbl.
const READ: u64 = 0;

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
    let deadline = Instant::now() + step.timeout;
    let mut run = StepRun { guest, names, deadline, results: Vec::new(), took: Duration::ZERO, main: false };
    let mut outcome = None;
    let mut setup_failed = false;
    let mut process_ended = false;
    for op in &step.ops {
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
        if wanted {
            run.main = op.role == Role::Main;
            let done = match run.op(&op.what)? {
                Done::Outcome(done) => done,
                Done::TimedOut(overdue) => return Ok(Done::TimedOut(overdue)),
            };
            process_ended |= ends_process(&op.what, &done);
            result = succeeded(&done);
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
        StepOutcome::Exited { code, stdout, stderr, .. } => Product::Program { code: *code, stdout, stderr },
        _ => Product::Nothing,
    };
    if process_ended {
        names.process_ended(index);
    }
    names.bind(index, &step.binds, &product);
    Ok(Done::Outcome(outcome))
}

/// Whether the agent's worker is another one afterwards. A call that exits, or executes a program that exits, ends it
/// as well as a signal.
fn ends_process(what: &What, outcome: &StepOutcome) -> bool {
    let call = matches!(what, What::Calls { .. } | What::ReadToEnd { .. });
    call && matches!(outcome, StepOutcome::Died { .. } | StepOutcome::Exited { .. })
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

/// The value of an op that did what it should.
fn succeeded(outcome: &StepOutcome) -> Option<i64> {
    match outcome {
        StepOutcome::Returned { value, .. } if !(-4095..0).contains(value) => Some(*value),
        StepOutcome::Exited { code: 0, .. } => Some(0),
        _ => None,
    }
}

struct StepRun<'g, 'a, 'n> {
    guest: &'g mut Guest<'a>,
    names: &'n Names,
    deadline: Instant,
    /// What each op so far returned; `None` for one that failed or was left out.
    results: Vec<Option<i64>>,
    took: Duration,
    /// What comes next is what the step is about.
    main: bool,
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

    fn op(&mut self, what: &What) -> Result<Done, Halt> {
        match what {
            What::Calls { calls, times } => {
                match calls.iter().map(|call| self.call(call)).collect::<Result<Vec<_>, _>>() {
                    Ok(calls) => self.ask(Action::Calls { calls, times: *times }, Overdue::Call(Vec::new())),
                    Err(why) => Ok(skipped(why)),
                }
            }
            What::ReadToEnd { fd, limit } => match self.names.argument(fd, &self.results) {
                Ok(fd) => self.read_to_end(&fd, *limit),
                Err(why) => Ok(skipped(why)),
            },
            What::Run { argv, env, stdin, user } => {
                match argv.iter().map(|text| self.names.fill(text)).collect::<Result<Vec<_>, _>>() {
                    Ok(argv) => {
                        let (env, stdin, user) = (env.clone(), stdin.clone(), *user);
                        self.ask(Action::Run { argv, env, stdin, user }, Overdue::Program)
                    }
                    Err(why) => Ok(skipped(why)),
                }
            }
            What::Watch(watch) => match self.guest.watch(watch)? {
                Ok(()) => Ok(self.returned(0, Vec::new())),
                Err(why) => Ok(skipped(why)),
            },
            What::Sleep(time) => {
                let wake = Instant::now() + *time;
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

    fn read_to_end(&mut self, fd: &Arg, limit: u32) -> Result<Done, Halt> {
        let mut content = Vec::new();
        if limit == 0 {
            return Ok(self.returned(0, vec![content]));
        }
        let mut chunk = CHUNK;
        loop {
            // At the limit, a last byte tells whether there is more.
            let room = chunk.min(limit.saturating_sub(content.len() as u32)).max(1);
            let args = vec![fd.clone(), Arg::Out(room), Arg::Int(room.into())];
            let read = Call { door: Door::Syscall64, nr: READ, args };
            match self.ask(read.into(), Overdue::Call(Vec::new()))? {
                Done::Outcome(StepOutcome::Returned { value: 0, .. }) => break,
                Done::Outcome(StepOutcome::Returned { value: 1.., took, .. })
                    if content.len() as u64 >= u64::from(limit) =>
                {
                    let value = content.len() as i64;
                    return Ok(Done::Outcome(StepOutcome::Returned {
                        value,
                        data: vec![content],
                        took,
                        cut: true,
                    }));
                }
                Done::Outcome(StepOutcome::Returned { value, data, .. }) if value > 0 => {
                    // What the guest says need not be true.
                    let piece = data.first().map_or(&[][..], Vec::as_slice);
                    let length = usize::try_from(value).unwrap_or(usize::MAX).min(piece.len());
                    if length == 0 {
                        break;
                    }
                    content.extend_from_slice(&piece[..length]);
                    if length == room as usize {
                        chunk = (chunk * 4).min(LARGE_CHUNK);
                    }
                }
                Done::TimedOut(_) => return Ok(Done::TimedOut(Overdue::Call(content))),
                other => return Ok(other),
            }
        }
        let value = content.len() as i64;
        Ok(self.returned(value, vec![content]))
    }

    fn returned(&self, value: i64, data: Vec<Vec<u8>>) -> Done {
        Done::Outcome(StepOutcome::Returned { value, data, took: self.took, cut: false })
    }

    fn ask(&mut self, action: Action, overdue: Overdue) -> Result<Done, Halt> {
        // Of a file that is read piece by piece the first piece will do.
        self.guest.expect(&action, std::mem::take(&mut self.main));
        let asked = Instant::now();
        let Some((outcome, nanos)) = self.guest.ask(action.clone(), self.deadline)? else {
            return Ok(Done::TimedOut(overdue));
        };
        let most = asked.elapsed();
        let seen = self.guest.sighting()?;
        if let Some(seen) = &seen {
            witness::compare(&action, &outcome, self.guest.printed_so_far(), seen)
                .into_iter()
                .for_each(|it| self.guest.tell(Event::Tampered(it)));
        }
        let said = Duration::from_nanos(nanos);
        self.took = self.took.saturating_add(witness::bounded(said, &action, seen.as_deref(), most));
        let took = self.took;
        Ok(Done::Outcome(match outcome {
            Outcome::Returned { value, data } => StepOutcome::Returned { value, data, took, cut: false },
            Outcome::Exited { code } => {
                let [stdout, stderr] = self.guest.printed();
                StepOutcome::Exited { code, stdout, stderr, took }
            }
            Outcome::Died { signal } => StepOutcome::Died { signal },
            Outcome::Done => {
                StepOutcome::Skipped { why: "the agent did what the step does not ask for".to_owned() }
            }
            Outcome::Refused { why } => StepOutcome::Skipped { why: format!("the agent refused: {why}") },
        }))
    }
}

fn skipped(why: String) -> Done {
    Done::Outcome(StepOutcome::Skipped { why })
}
