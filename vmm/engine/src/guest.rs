//! A running machine as the engine sees it: notices are taken in one at a time, and every wait ends
//! at a deadline, at the end of the machine, at a panic of its kernel, or when the user has enough.

mod clock;
mod held_back;
mod log;
pub(super) mod questions;
mod requests;

use super::link::{Link, LinkError};
use crate::event::{Event, RunEnd, Tampered};
use crate::output::Output;
use board::wire::{About, Answer, Blame, ByteCounts, Code, Command, EndReason, Evidence, Notice, Unfit};
use clock::Clock;
pub(super) use clock::Moment;
use held_back::HeldBack;
use log::{is_farewell, is_panic};
use protocol::{Frames, FromAgent, Hello, Reply};
use questions::ANSWER;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often the kernel's log is looked at while something is waited for: a panic is noticed this fast.
const LOG_EVERY: Duration = Duration::from_millis(100);
/// Until the agent's first word nobody waits for a line, and a panic resets the guest at once ([`board::command_line`]).
const LOG_AT_BOOT: Duration = Duration::from_millis(300);

/// Modules' code lies above this (MODULES_VADDR of Documentation/arch/x86/x86_64/mm.rst, without KASLR).
const MODULES: u64 = 0xffff_ffff_a000_0000;

/// How long a machine process may take to hand out what it counted: it holds the vCPUs and reads the last of the log first, for
/// which it may take seven seconds.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// How long `stop` can go unasked, and nothing is waited for any longer at once.
const STOP_EVERY: Duration = Duration::from_millis(100);

/// After so long all processors of a guest have done what they were at, and between two lines of a report there is less.
pub(super) const SETTLES: Duration = Duration::from_millis(100);

/// At a deadline, what has come by then is taken in for so long.
const LATE: Duration = Duration::from_millis(50);

/// The run can't go on.
#[derive(Debug)]
pub(super) enum Halt {
    /// `stop` said so.
    Interrupted,
    /// The machine's fault, or the guest's.
    Ended(RunEnd),
    /// The saved machine can't be started from.
    Unusable(Unfit),
}

pub(super) struct Guest<'a> {
    link: Link,
    sink: &'a mut dyn FnMut(Event),
    pub(super) stop: &'a dyn Fn() -> bool,
    post_mortem: &'a mut dyn FnMut() -> (Blame, String),
    from_agent: Frames,
    clock: Clock,
    /// When the guest's first instruction was about to run.
    pub(super) began: Option<Instant>,
    created: Instant,
    hello: Option<Hello>,
    /// What is known of the saved machine that this one started from.
    restored: Option<Box<About>>,
    /// Events that are told once the guest is known to run.
    held_back: Option<HeldBack>,
    /// What the program of the request under way has printed, both streams.
    printed: [Output; 2],
    printed_bytes: ByteCounts,
    replies: Vec<Reply>,
    /// The agent's worker ended between two calls, and nobody was told yet: before the last reply, and behind it.
    worker_ended: [bool; 2],
    /// The machine's answer to the question that is waited for. One that comes late has another number.
    answer: Option<Answer>,
    asked: Option<u32>,
    next_question: u32,
    /// What is done is compared with what is seen.
    witnesses: bool,
    /// What the programs are that steps run, by the names that they run them by.
    pub(super) programs: BTreeMap<String, Code>,
    /// Places in modules that a call came by.
    walked: Vec<u64>,
    /// Exits to user space until the agent's first byte.
    pub(super) exits: u64,
    ended: Option<(EndReason, Box<Evidence>)>,
    /// The number of the request for the log that is on its way; there is never more than one.
    reading_log: Option<u32>,
    log_read: Moment,
    /// The record that keeps back others, by the last answer, and the last one that was told.
    kept_back: Option<u64>,
    told_of: Option<u64>,
    /// When lines of the log came last.
    heard: Moment,
    /// When one came last of what may be a report.
    troubled: Option<Moment>,
    stop_asked: Moment,
    panicked: bool,
    switched_off: bool,
    last_words_read: bool,
    next_id: u32,
    /// The request that is under way, or was last.
    requested: u32,
}

impl<'a> Guest<'a> {
    pub(super) fn new(
        link: Link,
        sink: &'a mut dyn FnMut(Event),
        stop: &'a dyn Fn() -> bool,
        post_mortem: &'a mut dyn FnMut() -> (Blame, String),
    ) -> Self {
        Self {
            link,
            sink,
            stop,
            post_mortem,
            from_agent: Frames::new(),
            clock: Clock::new(),
            began: None,
            created: Instant::now(),
            hello: None,
            restored: None,
            held_back: None,
            printed: Default::default(),
            printed_bytes: ByteCounts::default(),
            replies: Vec::new(),
            worker_ended: [false; 2],
            answer: None,
            asked: None,
            next_question: 0,
            witnesses: false,
            programs: BTreeMap::new(),
            walked: Vec::new(),
            exits: 0,
            ended: None,
            reading_log: None,
            log_read: Moment::default(),
            kept_back: None,
            told_of: None,
            heard: Moment::default(),
            troubled: None,
            stop_asked: Moment::default(),
            panicked: false,
            switched_off: false,
            last_words_read: false,
            next_id: 0,
            requested: 0,
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        match &mut self.held_back {
            Some(events) => events.push(event),
            None => (self.sink)(event),
        }
    }

    /// Keeps events for later.
    pub(super) fn hold_back(&mut self) {
        self.held_back = Some(HeldBack::default());
    }

    /// Tells what was kept, and keeps no more.
    pub(super) fn let_go(&mut self) {
        let events = self.held_back.take().map(HeldBack::into_events).unwrap_or_default();
        events.into_iter().for_each(|event| (self.sink)(event));
    }

    /// By the clock that deadlines go by.
    pub(super) fn now(&mut self) -> Moment {
        self.clock.now()
    }

    /// What has gone by for it from the beginning on.
    pub(super) fn lived(&mut self) -> Duration {
        self.now().since(Moment::default())
    }

    /// The connection, for the next plan.
    pub(super) fn into_link(self) -> Link {
        self.link
    }

    /// Of the time until it was ready, that until its first instruction.
    pub(super) fn setup(&self, ready: Duration) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.saturating_duration_since(self.created)).min(ready)
    }

    /// What is known of the saved machine, once it runs.
    pub(super) fn restored(&mut self, deadline: Moment) -> Result<Option<Box<About>>, Halt> {
        self.until(deadline, |guest| guest.restored.take())
    }

    pub(super) fn send<T: serde::Serialize>(&mut self, message: &T) {
        self.link.send(message);
    }

    /// The agent's first words, or `None` at the deadline.
    pub(super) fn hello(&mut self, deadline: Moment) -> Result<Option<Hello>, Halt> {
        self.until(deadline, |guest| guest.hello.clone())
    }

    /// The agent has said this when it was saved.
    pub(super) fn introduce(&mut self, hello: Hello) {
        self.hello = Some(hello);
    }

    /// When a line came last of what may be a report.
    pub(super) fn troubled(&self) -> Option<Moment> {
        self.troubled
    }

    /// Lets the guest run on.
    pub(super) fn sleep(&mut self, until: Moment) -> Result<(), Halt> {
        self.until(until, |_| None::<()>).map(drop)
    }

    /// Ends the machine, or has it rest, by this command, and hands out what it counted. The reason is `None` where it
    /// did not say one.
    pub(super) fn finish(&mut self, how: Command) -> (Option<EndReason>, Evidence) {
        // The last lines of the log, if they are to be had. One that owes an answer gets no more time.
        if !self.panicked && self.reading_log.is_none() {
            let _ = self.read_log();
        }
        if self.ended.is_none() {
            self.send(&how);
            let silent = self.asked.is_some() || self.reading_log.is_some();
            let deadline = self.now() + if silent { ANSWER } else { LAST_WORDS };
            while self.ended.is_none() && self.now() < deadline {
                match self.link.receive(Instant::now() + STOP_EVERY) {
                    Ok(Some(notice)) => drop(self.take(notice)),
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        }
        match self.ended.take() {
            Some((reason, evidence)) => (Some(reason), *evidence),
            None => (None, Evidence::default()),
        }
    }

    /// Takes notices in until there is what is waited for.
    fn until<T>(
        &mut self,
        deadline: Moment,
        mut wanted: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<Option<T>, Halt> {
        let mut late = None;
        loop {
            if let Some(found) = wanted(self) {
                return Ok(Some(found));
            }
            let now = self.now();
            let left = deadline.since(now);
            // What lies in the link has come in time. A guest that floods it has no end.
            if left.is_zero() && now >= *late.get_or_insert(now + LATE) {
                return Ok(None);
            }
            if now >= self.stop_asked + STOP_EVERY {
                self.stop_asked = now;
                if (self.stop)() {
                    return Err(Halt::Interrupted);
                }
            }
            let often = if self.hello.is_some() { LOG_EVERY } else { LOG_AT_BOOT };
            if now >= self.log_read + often {
                self.request_log(false);
            }
            let came = self.turn(left.min(STOP_EVERY))?;
            if self.panicked && !self.last_words_read {
                self.last_words();
                self.look_whether_it_lives();
                return Err(Halt::Ended(RunEnd::Panicked));
            }
            if self.switched_off {
                return Err(Halt::Ended(RunEnd::SwitchedOff));
            }
            if left.is_zero() && !came && !self.link.has_input() {
                return Ok(None);
            }
        }
    }

    /// Takes in one notice at the most; says whether one came.
    fn turn(&mut self, wait: Duration) -> Result<bool, Halt> {
        match self.link.receive(Instant::now() + wait) {
            Ok(Some(notice)) => {
                self.take(notice)?;
                match self.held_back.as_ref().and_then(HeldBack::overflow) {
                    Some(why) => Err(Halt::Unusable(why.into())),
                    None => Ok(true),
                }
            }
            Ok(None) => Ok(false),
            // Who wants it to stop may have ended its process first, as a terminal does with all of a group.
            Err(LinkError::Closed) if (self.stop)() => Err(Halt::Interrupted),
            Err(LinkError::Closed) => {
                let (blame, why) = (self.post_mortem)();
                // One that never ran a guest has no guest to blame.
                let blame = if self.began.is_some() { blame } else { Blame::Host };
                Err(Halt::Ended(RunEnd::Machine(EndReason::Failed { blame, why })))
            }
            Err(error @ (LinkError::Frame(_) | LinkError::Unsendable(_) | LinkError::Io(_))) => {
                Err(internal(format!("talking to the machine process: {error}")))
            }
        }
    }

    fn take(&mut self, notice: Notice) -> Result<(), Halt> {
        match notice {
            Notice::Started => self.began = Some(Instant::now()),
            Notice::Restored(about) => {
                self.began = Some(Instant::now());
                self.restored = Some(about);
            }
            Notice::Unusable(unfit) => return Err(Halt::Unusable(unfit)),
            Notice::Ready { exits } => self.exits = exits,
            Notice::Control(bytes) => return self.hear(&bytes),
            Notice::Console(bytes) => self.tell(Event::Console(bytes)),
            Notice::Call(call) => self.tell(Event::Call(call)),
            Notice::Walked(walk) => {
                self.walked.extend(walk.stops.iter().map(|stop| stop.rip).filter(|rip| *rip >= MODULES));
                self.tell(Event::Walked(walk));
            }
            Notice::Tampered(what) => self.tell(Event::Tampered(Tampered::Guest(what))),
            Notice::Taint(mask) => self.tell(Event::Taint(mask)),
            Notice::Reports(reports) => self.tell(Event::Reports(reports)),
            Notice::Symbols(symbols) => self.tell(Event::Symbols(symbols)),
            Notice::Answer { id, answer } if self.reading_log == Some(id) => {
                self.reading_log = None;
                if let Answer::LogRead { keeps_back } = answer {
                    self.kept_back = keeps_back;
                }
            }
            Notice::Answer { id, answer } if self.asked == Some(id) => {
                (self.asked, self.answer) = (None, Some(answer))
            }
            // Nobody waits for it any more.
            Notice::Answer { .. } => {}
            Notice::Counted(rows) => self.tell(Event::Counted(rows)),
            Notice::Untold(what) => {
                // A guest may have brought it about.
                let why = format!("the machine process had to tell something that is too long: {what}");
                return Err(Halt::Ended(RunEnd::Machine(EndReason::Failed { blame: Blame::Unknown, why })));
            }
            Notice::Log(records) => {
                self.heard = self.now();
                for record in records {
                    let goes_on = self.troubled.is_some_and(|at| self.heard < at + SETTLES);
                    if log::may_begin_report(&record) || goes_on && log::is_grave(&record) {
                        self.troubled = Some(self.heard);
                    }
                    self.panicked |= is_panic(&record);
                    self.switched_off |= is_farewell(&record);
                    self.tell(Event::Log(record));
                }
            }
            Notice::Ended { reason, evidence } => {
                self.ended = Some((reason.clone(), evidence));
                let why = if self.panicked { RunEnd::Panicked } else { RunEnd::Machine(reason) };
                return Err(Halt::Ended(why));
            }
        }
        Ok(())
    }

    /// Takes in what the guest wrote to the control port. The guest may be hostile: anything that the
    /// agent would not say now ends the run.
    fn hear(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        self.from_agent.push(bytes);
        while let Some(message) = self.from_agent.next().map_err(|error| bad_agent(error.to_string()))? {
            match message {
                FromAgent::Hello(hello) if self.hello.is_none() => {
                    if hello.version != protocol::VERSION {
                        return Err(bad_agent(format!(
                            "version {} of the protocol, where {} is spoken here",
                            hello.version,
                            protocol::VERSION
                        )));
                    }
                    self.hello = Some(hello);
                }
                FromAgent::Hello(_) => return Err(bad_agent("a second hello".to_owned())),
                FromAgent::Printed { id, stream, bytes } if id == self.requested => {
                    self.printed[stream as usize].push(&bytes);
                    self.printed_bytes.add(&bytes);
                }
                FromAgent::Printed { id, .. } => {
                    return Err(bad_agent(format!("an output of request {id}, which runs no program")));
                }
                FromAgent::WorkerEnded => self.worker_ended[1] = true,
                FromAgent::Reply(reply) if self.replies.is_empty() => {
                    self.worker_ended = [self.worker_ended.contains(&true), false];
                    self.replies.push(reply);
                }
                FromAgent::Reply(reply) => {
                    return Err(bad_agent(format!("a second reply, to request {}", reply.id)));
                }
            }
        }
        Ok(())
    }
}

fn bad_agent(what: String) -> Halt {
    Halt::Ended(RunEnd::BadAgent(what))
}

pub(super) fn internal(what: String) -> Halt {
    Halt::Ended(RunEnd::Machine(EndReason::host(what)))
}
