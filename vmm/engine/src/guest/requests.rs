//! What the agent is asked, and what it answers.

use super::{Guest, Halt, Moment, bad_agent};
use crate::{event::Event, output::Output};
use board::wire::{ByteCounts, CONTROL_PIECE, Child, Command, Still};
use protocol::{Action, Outcome, Request};
use std::time::Duration;

/// How long a killed process may take to be gone; its memory has to be given back.
const DYING: Duration = Duration::from_secs(3);

/// How often a step that takes its time is looked at: does its task wait for itself?
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the kernel calls the agent's processes: it is started as /init.
const AGENT: &str = "init";

impl Guest<'_> {
    /// Has the agent do something; `None` at the deadline, or before it once the step's task waits for itself.
    pub(crate) fn ask(&mut self, action: Action, deadline: Moment) -> Result<Option<(Outcome, u64)>, Halt> {
        self.next_id += 1;
        let id = self.next_id;
        self.requested = id;
        self.printed = Default::default();
        let of_agent = matches!(action, Action::Calls { .. } | Action::Chain(_));
        let request = match protocol::encode(&Request { id, action }) {
            Ok(request) => request,
            Err(error) => {
                let why = format!("what the step asks for makes {error}");
                return Ok(Some((Outcome::Refused { why }, 0)));
            }
        };
        for piece in request.chunks(CONTROL_PIECE) {
            self.send(&Command::Control(piece.to_vec()));
        }
        let mut before = None;
        loop {
            let look = deadline.min(self.now() + LOOK_EVERY);
            match self.until(look, |guest| guest.replies.pop())? {
                Some(reply) if reply.id == id => return Ok(Some((reply.outcome, reply.nanos))),
                Some(reply) => {
                    return Err(bad_agent(format!("a reply to request {}, when {id} was asked", reply.id)));
                }
                None if look == deadline => return Ok(None),
                None => {
                    let now = self.standstill(of_agent)?;
                    if now.is_some() && now == before {
                        return Ok(None);
                    }
                    before = now;
                }
            }
        }
    }

    /// Has the agent end what it was asked last; says whether it is ended, or was done meanwhile. Nothing that can't be
    /// killed is waited for, nor a guest that shows no life.
    pub(crate) fn end(&mut self) -> Result<bool, Halt> {
        let request = self.requested;
        // It has an id of its own, and no answer.
        self.next_id += 1;
        let end = Request { id: self.next_id, action: Action::End { request } };
        // A few bytes, which make a frame.
        self.send(&Command::Control(protocol::encode(&end).unwrap_or_default()));
        let deadline = self.now() + DYING;
        match self.until(deadline, |guest| guest.replies.pop())? {
            Some(reply) if reply.id == request => Ok(true),
            Some(reply) => {
                Err(bad_agent(format!("a reply to request {}, when {request} was ended", reply.id)))
            }
            None => Ok(false),
        }
    }

    /// Whether the process that makes calls ended before the last answer, other than in a call, and that was not asked yet. It is told
    /// of step `index`.
    pub(crate) fn lost_process_before(&mut self, index: usize) -> bool {
        let lost = std::mem::take(&mut self.worker_ended[0]);
        if lost {
            self.tell(Event::ProcessEnded { index });
        }
        lost
    }

    /// The same, or behind it: what it answered, it answered.
    pub(crate) fn lost_process(&mut self, index: usize) -> bool {
        self.worker_ended = [self.worker_ended.contains(&true), false];
        self.lost_process_before(index)
    }

    /// What the program of the last request printed to standard output and to standard error.
    pub(crate) fn printed(&mut self) -> [Output; 2] {
        self.printed_bytes = ByteCounts::default();
        std::mem::take(&mut self.printed)
    }

    /// The bytes of it by now.
    pub(crate) fn printed_so_far(&self) -> &ByteCounts {
        &self.printed_bytes
    }

    /// The tasks by way of which the step waits for itself, so that waiting on makes no sense if none of them has run
    /// by the next look: everything is halted, and the kernel's locks say so. `of_agent` is for calls that the
    /// agent's worker makes, in contrast to programs.
    ///
    /// Which program is the step's is not known here. Those that earlier steps left behind may be stuck without any harm to
    /// it, so it counts only if all are.
    fn standstill(&mut self, of_agent: bool) -> Result<Option<Vec<Still>>, Halt> {
        // A machine process that is too busy to answer is asked again later.
        let Some(standing) = self.standing()? else { return Ok(None) };
        if standing.is_empty() || standing.iter().any(|vcpu| !vcpu.halted) {
            return Ok(None);
        }
        let Some(explanation) = self.explanation(Vec::new())? else { return Ok(None) };
        let may_be_it = |child: &Child| (child.name == AGENT) == of_agent;
        let circles = explanation.children.into_iter().filter(may_be_it).map(|child| child.circle);
        let circles: Vec<Vec<Still>> = circles.collect();
        let all = !circles.is_empty() && circles.iter().all(|circle| !circle.is_empty());
        Ok(all.then(|| circles.concat()))
    }
}
