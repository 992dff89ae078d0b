//! A stand-in for the machine process, and what the tests ask of the events that come of it.

use super::super::*;
use board::wire::{
    Answer, Blame, Command, Evidence, Explanation, LogRecord, Notice, Question, Spec, SyscallCount,
    VcpuStanding,
};
use protocol::{Action, Frames, FromAgent, Hello, Link as Call, Made, Outcome, Reply, Request};
use std::{collections::VecDeque, os::unix::net::UnixStream, thread, time::Instant};

/// Longer than anything here takes unless something hangs.
pub const LONG: Duration = Duration::from_secs(20);

/// The machine process's side of the socket.
pub struct StandIn {
    pub link: Link,
    pub requests: Frames,
    pub log: VecDeque<LogRecord>,
    /// What it says at each look, the last one from then on.
    pub explanations: VecDeque<Explanation>,
    /// Said before the first answer.
    pub early: Vec<Notice>,
    /// What it saw of every step's call.
    pub sighting: board::wire::Sighting,
    /// How the next call should look.
    pub expected: Option<board::wire::Expected>,
    /// Said before the end.
    pub counted: Vec<Vec<SyscallCount>>,
    /// The record of the log that keeps back others.
    pub keeps_back: Option<u64>,
    /// What comes of saving it, if anything does.
    pub saves: Option<Result<(), String>>,
    /// What is asked for in one request, and what came of it.
    pub chain: Option<Chain>,
}

/// A chain, which a stand-in makes of answers to single calls.
pub struct Chain {
    id: u32,
    links: Vec<Call>,
    results: Vec<Option<i64>>,
    total: i64,
    made: Vec<Made>,
    /// The next call is to be asked for.
    due: bool,
}

impl Chain {
    /// As a request of its own.
    fn next(&mut self) -> Option<Request> {
        while let Some(link) = self.links.get(self.results.len()) {
            if let Some(call) = link.resolved(&self.results) {
                self.due = false;
                return Some(Request { id: self.id, action: call.into() });
            }
            self.results.push(None);
        }
        None
    }

    /// Takes an answer; whether it is over.
    fn take(&mut self, value: i64, data: Vec<Vec<u8>>) -> bool {
        let index = self.results.len();
        let made = Made { link: index as u16, value, data, nanos: 1000 };
        self.total += value;
        match self.made.last_mut().filter(|last| last.link == made.link) {
            Some(last) => {
                last.value = value;
                last.data.iter_mut().zip(made.data).for_each(|(all, more)| all.extend(more));
            }
            None => self.made.push(made),
        }
        if !self.links[index].goes_on(value, self.total) {
            self.results.push(Some(value));
            self.total = 0;
        }
        self.due = true;
        let over = self.next().is_none();
        self.due = !over;
        over
    }
}

impl StandIn {
    pub fn notice(&mut self, notice: Notice) {
        self.link.send(&notice);
        let _ = self.link.flush(Instant::now() + LONG);
    }

    pub fn say(&mut self, message: FromAgent) {
        self.notice(Notice::Control(protocol::encode(&message).unwrap()));
    }

    /// An answer of a worker that ends behind it, which come together.
    pub fn last_reply(&mut self, id: u32, outcome: Outcome) {
        let messages = [FromAgent::Reply(Reply { id, outcome, nanos: 1000 }), FromAgent::WorkerEnded];
        self.notice(Notice::Control(messages.iter().flat_map(|it| protocol::encode(it).unwrap()).collect()));
    }

    pub fn reply(&mut self, id: u32, outcome: Outcome) {
        let outcome = match (self.chain.take_if(|chain| chain.id == id), outcome) {
            (Some(mut chain), Outcome::Returned { value, data }) => {
                if !chain.take(value, data) {
                    self.chain = Some(chain);
                    return;
                }
                Outcome::Chained(chain.made)
            }
            (_, outcome) => outcome,
        };
        self.say(FromAgent::Reply(Reply { id, outcome, nanos: 1000 }));
    }

    pub fn boot(&mut self) {
        self.link.receive::<Spec>(Instant::now() + LONG).unwrap().unwrap();
        self.notice(Notice::Started);
        self.hello(protocol::VERSION);
    }

    pub fn hello(&mut self, version: u32) {
        let release = "6.12.117-vmm".to_owned();
        self.say(FromAgent::Hello(Hello {
            version,
            release,
            call_returns: vec![0x1000],
            text: (0x1000, 0x2000),
        }));
    }

    /// Answers like a machine process until the agent is asked for something, or the socket closes. Calls of a chain are asked
    /// for one by one.
    pub fn request(&mut self) -> Option<Request> {
        loop {
            if let Some(request) = self.chain.as_mut().filter(|chain| chain.due).and_then(Chain::next) {
                return Some(request);
            }
            match self.link.receive(Instant::now() + LONG) {
                Ok(Some(Command::Control(bytes))) => {
                    self.requests.push(&bytes);
                    match self.requests.next::<Request>().unwrap() {
                        // An agent does that in any state.
                        Some(Request { id, action: Action::Wake { .. } | Action::Place(_) }) => {
                            self.reply(id, Outcome::Done);
                        }
                        Some(Request { id, action: Action::Chain(links) }) => {
                            let (results, made) = (Vec::new(), Vec::new());
                            self.chain = Some(Chain { id, links, results, total: 0, made, due: true });
                        }
                        Some(request) => return Some(request),
                        None => {}
                    }
                }
                Ok(Some(Command::Ask { id, question })) => {
                    std::mem::take(&mut self.early).into_iter().for_each(|notice| self.notice(notice));
                    let answer = match question {
                        Question::ReadLog { .. } => {
                            let records: Vec<LogRecord> = self.log.drain(..).collect();
                            // As a machine process does, which has no lines to tell then.
                            if !records.is_empty() {
                                self.notice(Notice::Log(records));
                            }
                            Answer::LogRead { keeps_back: self.keeps_back }
                        }
                        Question::Sample => Answer::Standing(vec![STANDING]),
                        Question::Inspect { .. } => {
                            let explanation = match self.explanations.len() {
                                0 => Explanation::default(),
                                1 => self.explanations[0].clone(),
                                _ => self.explanations.pop_front().expect("there are several"),
                            };
                            Answer::Inspected(Box::new(explanation))
                        }
                        Question::Witness => Answer::Witnessed(Box::new(self.sighting.clone())),
                        Question::Guard
                        | Question::Trap { .. }
                        | Question::Untrap
                        | Question::Follow { .. }
                        | Question::Pause
                        | Question::Resume => Answer::Done(Ok(())),
                        Question::Save(_) => match self.saves.clone() {
                            Some(saved) => Answer::Done(saved),
                            None => continue,
                        },
                        Question::Reset { .. } => Answer::Reset(Ok(Default::default())),
                    };
                    self.notice(Notice::Answer { id, answer });
                }
                Ok(Some(Command::Expect { calls, .. })) => self.expected = calls.map(|it| *it),
                Ok(Some(Command::Stop | Command::Rest)) => {
                    let counted = std::mem::take(&mut self.counted);
                    counted.into_iter().for_each(|rows| self.notice(Notice::Counted(rows)));
                    let evidence = Evidence { own_memory_kib: 77, ..Evidence::default() };
                    self.notice(Notice::Ended { reason: EndReason::Stopped, evidence: Box::new(evidence) });
                    return None;
                }
                Ok(None) | Err(_) => return None,
            }
        }
    }

    pub fn print(&mut self, level: u8, text: &str) {
        self.log.push_back(LogRecord {
            seq: 0,
            time: Duration::ZERO,
            level,
            user: false,
            caller: None,
            text: text.to_owned(),
        });
    }
}

pub const STANDING: VcpuStanding =
    VcpuStanding { index: 0, rip: 0x1234, cpl: 0, halted: true, interrupts: true };

pub fn returned(value: i64) -> Outcome {
    Outcome::Returned { value, data: Vec::new() }
}

/// Does something with a connection to a stand-in.
pub fn with<T>(stand_in: impl FnOnce(&mut StandIn) + Send, what: impl FnOnce(Link) -> T) -> T {
    let (ours, theirs) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let link = Link::new(theirs).unwrap();
            stand_in(&mut StandIn {
                link,
                requests: Frames::new(),
                log: VecDeque::new(),
                explanations: VecDeque::new(),
                early: Vec::new(),
                sighting: Default::default(),
                expected: None,
                counted: Vec::new(),
                keeps_back: None,
                saves: Some(Ok(())),
                chain: None,
            });
        });
        what(Link::new(ours).unwrap())
    })
}

/// Runs a plan against a stand-in and gives back every event.
pub fn events(plan: &Plan, stand_in: impl FnOnce(&mut StandIn) + Send) -> Vec<Event> {
    events_by(plan, |_| {}, stand_in)
}

/// The same for somebody who does something at each event.
pub fn events_by(
    plan: &Plan,
    mut takes: impl FnMut(&Event),
    stand_in: impl FnOnce(&mut StandIn) + Send,
) -> Vec<Event> {
    let mut events = Vec::new();
    with(stand_in, |link| {
        let mut words = || (Blame::Unknown, "found dead".to_owned());
        let sink = &mut |event| {
            takes(&event);
            events.push(event);
        };
        let way = Way::Boot(None);
        let converse = Converse { plan, way, note: None, stop: &|| false, sink };
        converse.with(link, &mut words).unwrap();
    });
    events
}

pub fn why(events: &[Event]) -> &RunEnd {
    match events.last() {
        Some(Event::Ended(ended)) => &ended.why,
        other => panic!("the last event is {other:?}"),
    }
}

pub fn outcome(events: &[Event], step: usize) -> &StepOutcome {
    let found = events.iter().find_map(|event| match event {
        Event::StepEnded { index, outcome } if *index == step => Some(outcome),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("step {step} did not end in {events:?}"))
}
