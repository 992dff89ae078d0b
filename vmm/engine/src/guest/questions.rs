//! What the machine process is asked, and what it answers.

use super::{Guest, Halt, bad_agent, internal};
use crate::event::Event;
use board::wire::{Answer, Command, Expected, Explanation, MOST_ADDRESSES, Question, Sighting, VcpuStanding};
use plan::Watch;
use protocol::Action;
use std::time::Duration;

/// When time is up, the vCPUs are looked at so many times.
pub(crate) const SAMPLES: usize = 5;

/// How long the machine process may take to answer what needs nothing of the guest.
pub(super) const ANSWER: Duration = Duration::from_secs(3);

impl Guest<'_> {
    /// Has something looked at; the inner error is why it can't be.
    pub(crate) fn watch(&mut self, watch: &Watch) -> Result<Result<(), String>, Halt> {
        let Some(hello) = &self.hello else { return Ok(Err("the agent has said nothing yet".to_owned())) };
        let question = match watch {
            Watch::Nothing => Question::Untrap,
            Watch::Calls { results, trace, guard } => Question::Trap {
                call_returns: hello.call_returns.clone(),
                agent_text: hello.text,
                results: *results,
                trace: trace.clone(),
                guard: guard.clone(),
            },
            Watch::Walk(nr) => match hello.call_returns.first() {
                Some(&returns_to) => Question::Follow { returns_to, nr: *nr },
                None => return Err(bad_agent("no address that its calls return to".to_owned())),
            },
        };
        let witnesses = matches!(watch, Watch::Calls { guard: Some(_), .. });
        match self.question(question)? {
            Some(Answer::Done(done)) => {
                self.witnesses = witnesses && done.is_ok();
                Ok(done)
            }
            _ => Err(silent("a request to trap system calls")),
        }
    }

    /// Says how the calls look that the agent is asked for next.
    /// `main`: what the step is about is among it, of a chain the link of this index.
    pub(crate) fn expect(&mut self, action: &Action, main: Option<u16>) {
        if !self.witnesses {
            return;
        }
        let calls = match action {
            Action::Calls { calls, times } => Some(Expected::Rounds { calls: calls.clone(), times: *times }),
            Action::Chain(links) => Some(Expected::Chain(links.clone())),
            _ => None,
        };
        let calls = calls.map(Box::new);
        let program = match action {
            Action::Run { argv, .. } => argv.first().and_then(|name| self.programs.get(name)),
            _ => None,
        };
        let program = program.cloned().map(Box::new);
        self.send(&Command::Expect { calls, main, program });
    }

    /// What the hypervisor saw of what the agent was asked for last, if it looked.
    pub(crate) fn sighting(&mut self) -> Result<Option<Box<Sighting>>, Halt> {
        if !self.witnesses {
            return Ok(None);
        }
        match self.question(Question::Witness)? {
            Some(Answer::Witnessed(sighting)) => Ok(Some(sighting)),
            _ => Err(silent("a question what was seen of a call")),
        }
    }

    /// Has it compared whether everything is as it was that has to stay.
    pub(crate) fn guard(&mut self) -> Result<(), Halt> {
        if !self.witnesses {
            return Ok(());
        }
        self.question(Question::Guard)?
            .map(drop)
            .ok_or_else(|| silent("a request to compare what has to stay"))
    }

    /// Asks the machine process, and waits for its answer.
    fn question(&mut self, question: Question) -> Result<Option<Answer>, Halt> {
        self.question_within(question, ANSWER)
    }

    /// The same for an answer that may take this long.
    pub(crate) fn question_within(
        &mut self,
        question: Question,
        limit: Duration,
    ) -> Result<Option<Answer>, Halt> {
        let id = self.send_question(question);
        (self.asked, self.answer) = (Some(id), None);
        self.answered(limit, |guest| guest.answer.take())
    }

    /// Waits for an answer of the machine process's. A long log takes its time: as long as lines come, it has more.
    pub(super) fn answered<T>(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<Option<T>, Halt> {
        self.heard = self.now();
        loop {
            let heard = self.heard;
            let found = self.until(heard + limit, &mut wanted)?;
            if found.is_some() || self.heard == heard {
                return Ok(found);
            }
        }
    }

    pub(super) fn send_question(&mut self, question: Question) -> u32 {
        self.next_question = self.next_question.wrapping_add(1);
        self.send(&Command::Ask { id: self.next_question, question });
        self.next_question
    }

    pub(super) fn standing(&mut self) -> Result<Option<Vec<VcpuStanding>>, Halt> {
        Ok(match self.question(Question::Sample)? {
            Some(Answer::Standing(standing)) => Some(standing),
            _ => None,
        })
    }

    /// Where the vCPUs stand, in several rounds.
    pub(crate) fn sample(&mut self) -> Result<Vec<Vec<VcpuStanding>>, Halt> {
        let mut rounds = Vec::new();
        for _ in 0..SAMPLES {
            rounds.push(self.standing()?.ok_or_else(|| silent("a question where the vCPUs stand"))?);
            let again = self.now() + Duration::from_millis(20);
            self.sleep(again)?;
        }
        Ok(rounds)
    }

    /// Tells what the kernel's structures say of a guest in which nothing goes on.
    pub(crate) fn explain(&mut self, standing: &[Vec<VcpuStanding>]) -> Result<(), Halt> {
        let mut addresses: Vec<u64> = standing.iter().flatten().map(|vcpu| vcpu.rip).collect();
        addresses.sort_unstable();
        addresses.dedup();
        self.explain_addresses(addresses)
    }

    /// Tells what is at the places in modules that a call came by.
    pub(crate) fn explain_walk(&mut self) -> Result<(), Halt> {
        let mut addresses = std::mem::take(&mut self.walked);
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MOST_ADDRESSES);
        if addresses.is_empty() { Ok(()) } else { self.explain_addresses(addresses) }
    }

    fn explain_addresses(&mut self, addresses: Vec<u64>) -> Result<(), Halt> {
        let explanation = self.explanation(addresses)?;
        explanation.into_iter().for_each(|explanation| self.tell(Event::Explained(explanation)));
        Ok(())
    }

    pub(super) fn explanation(&mut self, addresses: Vec<u64>) -> Result<Option<Box<Explanation>>, Halt> {
        Ok(match self.question(Question::Inspect { addresses })? {
            Some(Answer::Inspected(explanation)) => Some(explanation),
            _ => None,
        })
    }
}

pub(super) fn silent(what: &str) -> Halt {
    internal(format!("the machine process did not answer {what} within {} s", ANSWER.as_secs()))
}
