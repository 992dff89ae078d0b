//! A running machine as the engine sees it: notices are taken in one at a time, and every wait ends
//! at a deadline, at the end of the machine, at a panic of its kernel, or when the user has enough.

use super::link::{Link, LinkError};
use crate::event::{Event, RunEnd, Tampered};
use crate::output::Output;
use board::wire::{
    About, Answer, Blame, CONTROL_PIECE, Child, Command, EndReason, Evidence, Expected, Explanation,
    LogRecord, MOST_ADDRESSES, Notice, Question, Sighting, Still, VcpuStanding,
};
use plan::Watch;
use protocol::{Action, Frames, FromAgent, Hello, Outcome, Reply, Request};
use std::time::{Duration, Instant};

/// When time is up, the vCPUs are looked at so many times.
pub(super) const SAMPLES: usize = 5;

/// How often the kernel's log is looked at while something is waited for: a panic is noticed this fast.
const LOG_EVERY: Duration = Duration::from_millis(100);

/// How long the machine process may take to answer what needs nothing of the guest.
const ANSWER: Duration = Duration::from_secs(3);

/// How long a killed process may take to be gone; its memory has to be given back.
const DYING: Duration = Duration::from_secs(3);

/// A panicked kernel still prints its last words after the line that says so.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Whoever lives answers within this time.
const LIFE: Duration = Duration::from_secs(1);

/// Modules' code lies above this (MODULES_VADDR of Documentation/arch/x86/x86_64/mm.rst, without KASLR).
const MODULES: u64 = 0xffff_ffff_a000_0000;

/// How often a step that takes its time is looked at: does its task wait for itself?
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the kernel calls the agent's processes: it is started as /init.
const AGENT: &str = "init";

/// How long `stop` can go unasked.
const STOP_EVERY: Duration = Duration::from_millis(50);

/// The run can't go on.
#[derive(Debug)]
pub(super) enum Halt {
    /// `stop` said so.
    Interrupted,
    /// The machine's fault, or the guest's.
    Ended(RunEnd),
    /// The saved machine can't be started from.
    Unusable(String),
}

pub(super) struct Guest<'a> {
    link: Link,
    sink: &'a mut dyn FnMut(Event),
    stop: &'a dyn Fn() -> bool,
    post_mortem: &'a mut dyn FnMut() -> (Blame, String),
    from_agent: Frames,
    /// When the guest's first instruction was about to run.
    pub(super) began: Option<Instant>,
    created: Instant,
    hello: Option<Hello>,
    /// What is known of the saved machine that this one started from.
    restored: Option<Box<About>>,
    /// Events that are told once the guest is known to run.
    held_back: Option<Vec<Event>>,
    /// What the program of the request under way has printed, both streams.
    printed: [Output; 2],
    replies: Vec<Reply>,
    /// The machine's answer to the question that is waited for. One that comes late has another number.
    answer: Option<Answer>,
    asked: Option<u32>,
    next_question: u32,
    /// What is done is compared with what is seen.
    witnesses: bool,
    /// Places in modules that a call came by.
    walked: Vec<u64>,
    /// Exits to user space until the agent's first byte.
    pub(super) exits: u64,
    ended: Option<(EndReason, Box<Evidence>)>,
    /// The number of the request for the log that is on its way; there is never more than one.
    reading_log: Option<u32>,
    log_read: Instant,
    /// When lines of the log came last.
    heard: Instant,
    stop_asked: Instant,
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
        let now = Instant::now();
        Self {
            link,
            sink,
            stop,
            post_mortem,
            from_agent: Frames::new(),
            began: None,
            created: now,
            hello: None,
            restored: None,
            held_back: None,
            printed: Default::default(),
            replies: Vec::new(),
            answer: None,
            asked: None,
            next_question: 0,
            witnesses: false,
            walked: Vec::new(),
            exits: 0,
            ended: None,
            reading_log: None,
            log_read: now,
            heard: now,
            stop_asked: now,
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
        self.held_back = Some(Vec::new());
    }

    /// Tells what was kept, and keeps no more.
    pub(super) fn let_go(&mut self) {
        self.held_back.take().into_iter().flatten().for_each(|event| (self.sink)(event));
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
    pub(super) fn restored(&mut self, deadline: Instant) -> Result<Option<Box<About>>, Halt> {
        self.until(deadline, |guest| guest.restored.take())
    }

    pub(super) fn send<T: serde::Serialize>(&mut self, message: &T) {
        self.link.send(message);
    }

    /// The agent's first words, or `None` at the deadline.
    pub(super) fn hello(&mut self, deadline: Instant) -> Result<Option<Hello>, Halt> {
        self.until(deadline, |guest| guest.hello.clone())
    }

    /// The agent has said this when it was saved.
    pub(super) fn introduce(&mut self, hello: Hello) {
        self.hello = Some(hello);
    }

    /// Has something looked at; the inner error is why it can't be.
    pub(super) fn watch(&mut self, watch: &Watch) -> Result<Result<(), String>, Halt> {
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
    /// `main`: it is what the step is about.
    pub(super) fn expect(&mut self, action: &Action, main: bool) {
        if !self.witnesses {
            return;
        }
        let calls = match action {
            Action::Calls { calls, times } => {
                Some(Box::new(Expected { calls: calls.clone(), times: *times }))
            }
            _ => None,
        };
        self.send(&Command::Expect { calls, main });
    }

    /// What the hypervisor saw of what the agent was asked for last, if it looked.
    pub(super) fn sighting(&mut self) -> Result<Option<Box<Sighting>>, Halt> {
        if !self.witnesses {
            return Ok(None);
        }
        match self.question(Question::Witness)? {
            Some(Answer::Witnessed(sighting)) => Ok(Some(sighting)),
            _ => Err(silent("a question what was seen of a call")),
        }
    }

    /// Has it compared whether everything is as it was that has to stay.
    pub(super) fn guard(&mut self) -> Result<(), Halt> {
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
    pub(super) fn question_within(
        &mut self,
        question: Question,
        limit: Duration,
    ) -> Result<Option<Answer>, Halt> {
        let id = self.send_question(question);
        (self.asked, self.answer) = (Some(id), None);
        self.answered(limit, |guest| guest.answer.take())
    }

    /// Waits for an answer of the machine process's. A long log takes its time: as long as lines come, it has more.
    fn answered<T>(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<Option<T>, Halt> {
        self.heard = Instant::now();
        loop {
            let heard = self.heard;
            let found = self.until(heard + limit, &mut wanted)?;
            if found.is_some() || self.heard == heard {
                return Ok(found);
            }
        }
    }

    fn send_question(&mut self, question: Question) -> u32 {
        self.next_question = self.next_question.wrapping_add(1);
        self.send(&Command::Ask { id: self.next_question, question });
        self.next_question
    }

    /// Has the agent do something; `None` at the deadline, or before it once the step's task waits for itself.
    pub(super) fn ask(&mut self, action: Action, deadline: Instant) -> Result<Option<(Outcome, u64)>, Halt> {
        self.next_id += 1;
        let id = self.next_id;
        self.requested = id;
        self.printed = Default::default();
        let of_agent = matches!(action, Action::Calls { .. });
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
            let look = deadline.min(Instant::now() + LOOK_EVERY);
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
    pub(super) fn end(&mut self) -> Result<bool, Halt> {
        let request = self.requested;
        // It has an id of its own, and no answer.
        self.next_id += 1;
        let end = Request { id: self.next_id, action: Action::End { request } };
        // A few bytes, which make a frame.
        self.send(&Command::Control(protocol::encode(&end).unwrap_or_default()));
        match self.until(Instant::now() + DYING, |guest| guest.replies.pop())? {
            Some(reply) if reply.id == request => Ok(true),
            Some(reply) => {
                Err(bad_agent(format!("a reply to request {}, when {request} was ended", reply.id)))
            }
            None => Ok(false),
        }
    }

    /// What the program of the last request printed to standard output and to standard error.
    pub(super) fn printed(&mut self) -> [Output; 2] {
        std::mem::take(&mut self.printed)
    }

    /// How much that is by now, in bytes.
    pub(super) fn printed_so_far(&self) -> u64 {
        self.printed.iter().map(Output::length).fold(0, u64::saturating_add)
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

    /// Lets the guest run on.
    pub(super) fn sleep(&mut self, until: Instant) -> Result<(), Halt> {
        self.until(until, |_| None::<()>).map(drop)
    }

    /// Brings the log up to date: on return, what the guest had printed before the call has been told, also if the
    /// kernel still waits for its newline.
    pub(super) fn read_log(&mut self) -> Result<(), Halt> {
        // One that is under way may have been answered before the last lines were printed.
        for _ in 0..=u8::from(self.reading_log.is_some()) {
            self.request_log(true);
            self.answered(ANSWER, |guest| guest.reading_log.is_none().then_some(()))?
                .ok_or_else(|| silent("a request for the kernel's log"))?;
        }
        Ok(())
    }

    fn standing(&mut self) -> Result<Option<Vec<VcpuStanding>>, Halt> {
        Ok(match self.question(Question::Sample)? {
            Some(Answer::Standing(standing)) => Some(standing),
            _ => None,
        })
    }

    /// Where the vCPUs stand, in several rounds.
    pub(super) fn sample(&mut self) -> Result<Vec<Vec<VcpuStanding>>, Halt> {
        let mut rounds = Vec::new();
        for _ in 0..SAMPLES {
            rounds.push(self.standing()?.ok_or_else(|| silent("a question where the vCPUs stand"))?);
            self.sleep(Instant::now() + Duration::from_millis(20))?;
        }
        Ok(rounds)
    }

    /// Tells what the kernel's structures say of a guest in which nothing goes on.
    pub(super) fn explain(&mut self, standing: &[Vec<VcpuStanding>]) -> Result<(), Halt> {
        let mut addresses: Vec<u64> = standing.iter().flatten().map(|vcpu| vcpu.rip).collect();
        addresses.sort_unstable();
        addresses.dedup();
        self.explain_addresses(addresses)
    }

    /// Tells what is at the places in modules that a call came by.
    pub(super) fn explain_walk(&mut self) -> Result<(), Halt> {
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

    fn explanation(&mut self, addresses: Vec<u64>) -> Result<Option<Box<Explanation>>, Halt> {
        Ok(match self.question(Question::Inspect { addresses })? {
            Some(Answer::Inspected(explanation)) => Some(explanation),
            _ => None,
        })
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
            let deadline = Instant::now() + ANSWER;
            while self.ended.is_none() && Instant::now() < deadline {
                match self.link.receive(deadline) {
                    Ok(Some(notice)) => drop(self.take(notice)),
                    Ok(None) | Err(_) => break,
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
        deadline: Instant,
        mut wanted: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<Option<T>, Halt> {
        loop {
            if let Some(found) = wanted(self) {
                return Ok(Some(found));
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(None);
            }
            if now >= self.stop_asked + STOP_EVERY {
                self.stop_asked = now;
                if (self.stop)() {
                    return Err(Halt::Interrupted);
                }
            }
            if now >= self.log_read + LOG_EVERY {
                self.request_log(false);
            }
            self.turn(deadline.min(now + STOP_EVERY))?;
            if self.panicked && !self.last_words_read {
                self.last_words();
                self.look_whether_it_lives();
                return Err(Halt::Ended(RunEnd::Panicked));
            }
            if self.switched_off {
                return Err(Halt::Ended(RunEnd::SwitchedOff));
            }
        }
    }

    fn request_log(&mut self, unfinished: bool) {
        if self.reading_log.is_none() && self.began.is_some() {
            self.log_read = Instant::now();
            self.reading_log = Some(self.send_question(Question::ReadLog { unfinished }));
        }
    }

    /// Reads on until the panic's report is complete, or the machine is gone.
    fn last_words(&mut self) {
        self.last_words_read = true;
        let end = Instant::now() + LAST_WORDS;
        while Instant::now() < end && self.ended.is_none() {
            if Instant::now() >= self.log_read + Duration::from_millis(20) {
                self.request_log(false);
            }
            if self.turn(end.min(Instant::now() + Duration::from_millis(20))).is_err() {
                break;
            }
        }
    }

    /// No program of a kernel that has panicked runs any more: if the agent answers, the log's line was made up.
    fn look_whether_it_lives(&mut self) {
        if self.ended.is_some() || self.hello.is_none() {
            return;
        }
        self.next_id += 1;
        let id = self.next_id;
        // A few bytes, which make a frame; it puts nothing anywhere.
        let nothing = Request { id, action: Action::Place(Vec::new()) };
        self.send(&Command::Control(protocol::encode(&nothing).unwrap_or_default()));
        let end = Instant::now() + LIFE;
        while let Ok(Some(reply)) = self.until(end, |guest| guest.replies.pop()) {
            if reply.id == id {
                return self.tell(Event::Tampered(Tampered::Panic));
            }
        }
    }

    /// Takes in one notice at the most.
    fn turn(&mut self, deadline: Instant) -> Result<(), Halt> {
        match self.link.receive(deadline) {
            Ok(Some(notice)) => self.take(notice),
            Ok(None) => Ok(()),
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
            Notice::Unusable(why) => return Err(Halt::Unusable(why)),
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
            Notice::Answer { id, .. } if self.reading_log == Some(id) => self.reading_log = None,
            Notice::Answer { id, answer } if self.asked == Some(id) => {
                (self.asked, self.answer) = (None, Some(answer))
            }
            // Nobody waits for it any more.
            Notice::Answer { .. } => {}
            Notice::Counted(rows) => self.tell(Event::Counted(rows)),
            Notice::Untold(what) => {
                return Err(internal(format!(
                    "the machine process had to tell something that is too long: {what}"
                )));
            }
            Notice::Log(records) => {
                self.heard = Instant::now();
                for record in records {
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
                }
                FromAgent::Printed { id, .. } => {
                    return Err(bad_agent(format!("an output of request {id}, which runs no program")));
                }
                FromAgent::Reply(reply) if self.replies.is_empty() => self.replies.push(reply),
                FromAgent::Reply(reply) => {
                    return Err(bad_agent(format!("a second reply, to request {}", reply.id)));
                }
            }
        }
        Ok(())
    }
}

/// `panic()` in kernel/panic.c prints this, at the highest level, whatever the reason.
fn is_panic(record: &LogRecord) -> bool {
    record.level == 0 && !record.user && record.text.starts_with("Kernel panic - not syncing")
}

/// `kernel_power_off()` and `kernel_halt()` in kernel/reboot.c print this when all that is left to do is to stop.
fn is_farewell(record: &LogRecord) -> bool {
    let stopped = |text: &str| text == "Power down" || text.contains("System halted");
    record.level == 0 && !record.user && record.text.strip_prefix("reboot: ").is_some_and(stopped)
}

fn bad_agent(what: String) -> Halt {
    Halt::Ended(RunEnd::BadAgent(what))
}

fn internal(what: String) -> Halt {
    Halt::Ended(RunEnd::Machine(EndReason::host(what)))
}

fn silent(what: &str) -> Halt {
    internal(format!("the machine process did not answer {what} within {} s", ANSWER.as_secs()))
}
