//! Several ops in one request: one takes what another returned without anybody being asked in between. On an emulated host a
//! request costs far more than the call that it is about.

use super::{Answered, Done, Overdue, StepRun, skipped};
use crate::{event::StepOutcome, guest::Halt};
use board::wire::Sight;
use plan::{Op, Operand, Role, What};
use protocol::{Action, Arg, Call, Door, Link, Made, Outcome};
use std::{collections::VecDeque, time::Duration};

/// One call reads so much of a file: of the one that a step is about at first.
const CHUNK: u32 = 16 << 10;

/// Of a file that fills the buffers, one call reads so much.
const LARGE_CHUNK: u32 = 1 << 20;

/// `read` in arch/x86/entry/syscalls/syscall_64.tbl.
const READ: u64 = 0;

/// What came of a try to ask for several at once.
pub(super) enum Asked {
    /// It has to be asked for alone; nothing was.
    Alone,
    /// The first op is done. What came of those behind it is put ahead.
    Done(Done),
    /// Of the file that the first op reads there may be more.
    More,
}

/// The file that a step is about is read piece by piece, each brought here at once: if a read never comes back, what was
/// read by then is known.
#[derive(Default)]
pub(super) struct Reading {
    content: Vec<u8>,
    /// A read has filled its buffer.
    large: u32,
}

impl Reading {
    /// More was read than is wanted.
    pub(super) fn is_beyond(&self, limit: u32) -> bool {
        self.content.len() as u64 > u64::from(limit)
    }

    /// So much of it.
    pub(super) fn content(mut self, limit: u32) -> Vec<u8> {
        self.content.truncate(limit as usize);
        self.content
    }

    /// How much the next read asks for. One byte beyond the limit tells whether there is more.
    fn room(&self, limit: u32) -> u32 {
        let chunk = CHUNK.saturating_mul(4_u32.saturating_pow(self.large)).min(LARGE_CHUNK);
        chunk.min(limit.saturating_add(1).saturating_sub(self.content.len() as u32)).max(1)
    }

    /// What a read brought. What the guest says need not be true.
    fn take(&mut self, value: i64, piece: &[u8], room: u32) -> usize {
        let length = usize::try_from(value).unwrap_or(0).min(piece.len());
        self.content.extend_from_slice(&piece[..length]);
        self.large += u32::from(length == room as usize);
        length
    }
}

impl StepRun<'_, '_, '_> {
    /// Asks for this op, and in the same request for those behind it that nothing else decides about than what the calls before
    /// them return.
    pub(super) fn chain(&mut self, ops: &[Op], index: usize) -> Result<Asked, Halt> {
        let links = self.links(ops, index);
        let ops = &ops[index..][..links.len()];
        let reads = ops.first().is_some_and(|op| matches!(op.what, What::ReadToEnd { .. }));
        if links.is_empty() || links.len() == 1 && !reads {
            return Ok(Asked::Alone);
        }
        let main = ops.iter().position(|op| op.role == Role::Main).map(|at| at as u16);
        let Some(Answered { outcome, seen, most, .. }) = self.request(&Action::Chain(links), main)? else {
            let read = std::mem::take(&mut self.reading).content;
            return Ok(Asked::Done(Done::TimedOut(Overdue::Call(read))));
        };
        let made = match outcome {
            Outcome::Chained(made) => made,
            // Which of them it was is not known, and nothing is left to be undone.
            other => {
                self.ahead.extend(ops.iter().skip(1).map(|_| None));
                let outcome = match other {
                    Outcome::Returned { .. } => Outcome::Done,
                    other => other,
                };
                return Ok(Asked::Done(Done::Outcome(self.outcome(outcome))));
            }
        };
        let seen = seen.map_or_else(Vec::new, |seen| seen.made);
        self.distribute(ops, made, &seen, most)
    }

    /// Gives each op what came of it.
    fn distribute(
        &mut self,
        ops: &[Op],
        made: Vec<Made>,
        seen: &[Sight],
        most: Duration,
    ) -> Result<Asked, Halt> {
        let mut made = made.into_iter().peekable();
        let mut all = VecDeque::new();
        for (at, op) in ops.iter().enumerate() {
            let Some(it) = made.next_if(|it| usize::from(it.link) == at) else {
                all.push_back(None);
                continue;
            };
            let sight = seen.iter().find(|sight| sight.link == it.link);
            self.spent(it.nanos, sight.map_or(Duration::ZERO, |sight| sight.took), most);
            let (outcome, goes_on) = match &op.what {
                What::ReadToEnd { limit, .. } if op.role == Role::Main => match self.read(*limit, it) {
                    None if at == 0 => return Ok(Asked::More),
                    // It is this op's turn when those before it have had theirs.
                    None => break,
                    Some(read) => read,
                },
                What::ReadToEnd { limit, .. } => (self.read_beside(*limit, it), true),
                _ => (self.outcome(Outcome::Returned { value: it.value, data: it.data }), true),
            };
            all.push_back(Some(outcome));
            if !goes_on {
                break;
            }
        }
        let first = all.pop_front().flatten();
        self.ahead = all;
        Ok(Asked::Done(first.map_or_else(
            || skipped("the agent did what the step does not ask for".to_owned()),
            Done::Outcome,
        )))
    }

    /// A piece of the file that the step is about; its outcome and whether those behind it were asked for, unless there may be
    /// more of it.
    fn read(&mut self, limit: u32, made: Made) -> Option<(StepOutcome, bool)> {
        let room = self.reading.room(limit);
        let piece = made.data.first().map_or(&[][..], Vec::as_slice);
        if made.value > 0 && self.reading.take(made.value, piece, room) > 0 {
            return None;
        }
        let content = std::mem::take(&mut self.reading).content;
        let outcome = match made.value {
            ..0 => Outcome::Returned { value: made.value, data: made.data },
            _ => Outcome::Returned { value: content.len() as i64, data: vec![content] },
        };
        Some((self.outcome(outcome), made.value == 0))
    }

    /// A file beside it, all of which was read at once.
    fn read_beside(&self, limit: u32, made: Made) -> StepOutcome {
        let took = self.took;
        if made.value < 0 {
            return StepOutcome::Returned { value: made.value, data: made.data, took, cut: false };
        }
        let mut content = made.data.into_iter().next().unwrap_or_default();
        let cut = content.len() > limit as usize;
        content.truncate(limit as usize);
        StepOutcome::Returned { value: content.len() as i64, data: vec![content], took, cut }
    }

    fn links(&self, ops: &[Op], index: usize) -> Vec<Link> {
        let mut links = Vec::new();
        // The file that the step is about: what comes behind it does so once it is at its end.
        let mut reader = None;
        for at in index..ops.len() {
            let op = &ops[at];
            let Some(only) = condition(ops, index, at, reader) else { break };
            let Some((call, until)) = self.link(op, index) else { break };
            if op.role == Role::Main && until.is_some() {
                reader = Some((at - index) as u16);
            }
            links.push(Link { call, only, until });
        }
        links
    }

    /// The call of an op; `None` where it is not just one, or its arguments are not known.
    fn link(&self, op: &Op, index: usize) -> Option<(Call, Option<u32>)> {
        let argument = |operand: &Operand| match operand {
            Operand::Op(of) if *of >= index => Some(Arg::Of((*of - index) as u16)),
            operand => self.names.argument(operand, &self.results).ok(),
        };
        match &op.what {
            What::Calls { calls, times: 1 } if calls.len() == 1 && calls[0].door == Door::Syscall64 => {
                let args = calls[0].args.iter().map(argument).collect::<Option<_>>()?;
                Some((Call { args, door: calls[0].door, nr: calls[0].nr }, None))
            }
            What::ReadToEnd { limit: 0, .. } => None,
            What::ReadToEnd { fd, limit } => {
                let (room, until) = match op.role {
                    Role::Main => (self.reading.room(*limit), 1),
                    _ => (CHUNK, limit.saturating_add(1)),
                };
                let args = vec![argument(fd)?, Arg::Out(room), Arg::Int(room.into())];
                Some((Call { door: Door::Syscall64, nr: READ, args }, Some(until)))
            }
            _ => None,
        }
    }
}

/// Under which condition a call is made, beside that there is what it takes; `None` where more decides than what the calls
/// from `index` on return.
fn condition(ops: &[Op], index: usize, at: usize, reader: Option<u16>) -> Option<Option<(u16, i64)>> {
    // That it is to be done is known.
    if at == index {
        return Some(None);
    }
    let at_its_end = reader.map(|reader| (reader, 0));
    let takes = |of: usize| ops[at].what.operands().any(|it| matches!(it, Operand::Op(it) if *it == of));
    let before = |role: fn(&Role) -> bool| ops[..at].iter().rposition(|op| role(&op.role));
    let (set_up, main) =
        (before(|role| matches!(role, Role::Setup)), before(|role| matches!(role, Role::Main)));
    match ops[at].role {
        // Nothing before it may have failed.
        Role::Setup | Role::Main if main.is_some() => None,
        Role::Setup | Role::Main => set_up.is_none_or(|of| of < index || takes(of)).then_some(None),
        Role::Also(None) => Some(at_its_end),
        Role::Also(Some(errno)) => {
            let main = main.filter(|main| *main >= index && reader.is_none())?;
            Some(Some(((main - index) as u16, -i64::from(errno))))
        }
        Role::Cleanup => {
            let undoes = ops[at].what.operands().any(|it| matches!(it, Operand::Op(_)));
            (undoes || set_up.is_none()).then_some(at_its_end)
        }
    }
}
