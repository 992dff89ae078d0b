//! Collects the lines of one report.

use crate::blame;
use crate::finding::{Finding, Lines};
use crate::frames::{self, Entry, Frame, Pc};
use crate::kind::Kind;
use crate::line::{Caller, Line};
use crate::patterns::{Pattern, Place, Role, Trace};
use crate::stack::{Origin, Stack};
use crate::task::Task;

mod absorb;
mod adopt;
mod message;
mod words;

use words::{ACCESS, FURNITURE, HEADER, LAST_UNLOADED, MARKER, OTHER, WORK};

/// Traces kept of one report: stalls print one for every CPU, and only the first that says something is used.
const MAX_TRACES: usize = 8;
/// Lines of other origin after which a report with a trace is taken to be complete.
const QUIET_AFTER_TRACE: usize = 12;
/// The same for a report that still waits for its trace: consoles squeeze a lot in between.
const QUIET_BEFORE_TRACE: usize = 80;
/// The ends of an interrupt's part in a trace, on x86; the old ones stand before a frame.
const INTERRUPT_ENDS: [&str; 5] = ["</IRQ>", "</NMI>", "</SOFTIRQ>", "<EOI>", "<<EOE>>"];
/// Characters kept of a line in the excerpt.
pub const EXCERPT_WIDTH: usize = 240;

/// What the lines that come next belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Head,
    Trace,
    /// A trace that is not the report's own: who allocated the object, which lock was taken before.
    Other,
}

/// Why a report got no further lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    EndOfLog,
    /// Another report began.
    Interrupted,
    /// Nothing of it came any more.
    Quiet,
}

/// A report that is being collected.
#[derive(Clone)]
pub struct Report {
    pub pattern: &'static Pattern,
    /// Groups of the head.
    pub what: Option<String>,
    pub cache: Option<String>,
    pub other: Option<String>,
    /// The function that the head names.
    pub head: Option<Frame>,
    pub file_line: Option<String>,
    /// Read or Write, with a leading space.
    pub access: String,
    pub at: Option<Frame>,
    pub pc: Option<Pc>,
    pub stacks: Vec<Stack>,
    pub task: Task,
    pub panicked: Option<String>,
    /// The module that was unloaded last, as the list of modules says.
    pub last_unloaded: Option<String>,
    pub damage: Vec<&'static str>,
    pub lines: Lines,
    pub excerpt: Vec<String>,
    /// Whether the report is complete; it stays open for the panic that may follow.
    pub ended: bool,
    /// Whether the call trace reached a function that nothing calls.
    pub bottomed: bool,
    callers: Vec<Option<Caller>>,
    section: Section,
    /// Of the trace that comes next.
    origin: Origin,
    /// Registers that were printed above the trace that comes next.
    above: Option<Frame>,
    header_seen: bool,
    /// Whether the line of a trap has come, with the count of oopses.
    pub trapped: bool,
    /// Whether the head of a `WARN()` has come.
    pub warned: bool,
    /// Whether nothing has come but a [`Role::Herald`].
    heralding: bool,
    /// Whether the head is of an inlined function, and the one that it is in comes next.
    inlined_head: bool,
    expect_at: bool,
    foreign: usize,
    context_lines: usize,
    quiet: usize,
}

impl Report {
    /// Begins a report at `line`, which `pattern` matched.
    pub fn new(
        pattern: &'static Pattern,
        found: &regex::bytes::Captures<'_>,
        line: &Line<'_>,
        number: u64,
    ) -> Report {
        let group = |name| found.name(name).map(|m| String::from_utf8_lossy(m.as_bytes()).into_owned());
        let section = if pattern.trace == Trace::Bare { Section::Trace } else { Section::Head };
        let mut report = Report {
            pattern,
            what: group("what"),
            cache: group("cache"),
            other: group("other").map(|name| frames::base_name(&name)),
            head: group("func").map(|name| head_frame(&name, &line.text)),
            file_line: group("file"),
            access: String::new(),
            at: None,
            pc: None,
            stacks: Vec::new(),
            task: Task {
                cpu: group("cpu").and_then(|n| n.parse().ok()),
                pid: group("pid").and_then(|n| n.parse().ok()),
                comm: group("comm"),
                taint: None,
            },
            panicked: None,
            last_unloaded: None,
            damage: Vec::new(),
            lines: Lines { first: number, last: number },
            excerpt: Vec::new(),
            ended: false,
            bottomed: false,
            callers: vec![line.caller],
            section,
            origin: Origin::Own,
            above: None,
            header_seen: pattern.trace == Trace::Bare,
            trapped: pattern.role.is_trap(),
            warned: false,
            heralding: pattern.role == Role::Herald,
            inlined_head: line.text.ends_with("[inline]"),
            expect_at: false,
            foreign: 0,
            context_lines: 0,
            quiet: 0,
        };
        if section == Section::Trace {
            report.stacks.push(Stack::default());
        }
        // Since 6.17 the WARN line ends in the CPU and the task.
        report.task.learn(&line.text);
        report.keep(line, number);
        report.inspect(line);
        report
    }

    /// Whether a line printed by `caller` can belong here.
    pub fn owns(&self, caller: Option<Caller>) -> bool {
        self.callers.contains(&caller)
    }

    /// Takes the next line of this report's stream.
    pub fn feed(&mut self, line: &Line<'_>, number: u64) {
        if self.ended {
            self.quiet += 1;
            return;
        }
        if line.text.is_empty() {
            if line.dirty {
                self.hurt("unprintable bytes inside the report");
            }
            return;
        }
        if self.inspect(line) {
            self.quiet = 0;
            self.keep(line, number);
        } else {
            self.keep_message(line);
            self.quiet += 1;
            self.foreign += 1;
            let enough = if self.frame_count() > 0 { QUIET_AFTER_TRACE } else { QUIET_BEFORE_TRACE };
            self.ended |= self.quiet >= enough;
        }
    }

    /// How many lines of other origin came in a row.
    pub fn quiet(&self) -> usize {
        self.quiet
    }

    pub fn hurt(&mut self, what: &'static str) {
        if !self.damage.contains(&what) {
            self.damage.push(what);
        }
    }

    pub fn frame_count(&self) -> usize {
        self.stacks.iter().map(|stack| stack.frames.len()).sum()
    }

    /// Whether a line that is a part of some report, which may have lost its head, is a part of this one.
    pub fn has_part(&self, part: &Pattern) -> bool {
        let family = match part.kind {
            // The unwinder complains while it prints a trace, whosever it is.
            Kind::Warn => self.header_seen || self.pattern.role == Role::Orphan,
            _ => false,
        };
        !self.ended && (family || self.pattern.kind == part.kind && self.pattern.kind != Kind::Warn)
    }

    /// Learns from a line; returns whether it belongs to a report at all.
    fn inspect(&mut self, line: &Line<'_>) -> bool {
        let text: &str = &line.text;
        let known = self.place(text);
        if known || self.section == Section::Trace && self.foreign == 0 {
            if line.dirty {
                self.hurt("unprintable bytes inside the report");
            }
            if line.glued_on().is_some() {
                self.hurt("two messages on one line");
            }
        }
        known
    }

    fn place(&mut self, text: &str) -> bool {
        if text.starts_with("---[ end") || self.closes(text) {
            self.ended = true;
            self.bottomed = true;
            return true;
        }
        if Task::is_context(text) {
            self.context_lines += 1;
            let stall = self.pattern.kind.is_stall()
                || matches!(self.pattern.kind, Kind::HungTask | Kind::WorkqueueLockup);
            if self.context_lines > 1 && self.frame_count() == 0 && !stall && self.panicked.is_none() {
                self.hurt("lines of another report in between");
            }
        }
        self.task.learn(text);
        if self.access.is_empty()
            && let Some(found) = ACCESS.captures(text)
        {
            self.access = format!(" {}", &found["access"]);
            return true;
        }
        if self.pattern.place == Place::At && self.at.is_none() && self.take_at(text) {
            return true;
        }
        if let Some(pc) = Pc::parse(text) {
            self.take_pc(pc);
            return true;
        }
        if self.last_unloaded.is_none()
            && let Some(found) = LAST_UNLOADED.captures(text)
        {
            self.last_unloaded = Some(found["module"].to_owned());
        }
        self.mark(text);
        if HEADER.is_match(text) {
            self.begin_trace();
            return true;
        }
        if OTHER.is_match(text) {
            if self.header_seen {
                self.section = Section::Other;
            }
            return true;
        }
        if text.starts_with("</TASK>") {
            self.bottomed |= self.frame_count() > 0;
            return true;
        }
        if INTERRUPT_ENDS.iter().any(|end| text.starts_with(end)) {
            self.interrupted(None);
        }
        match Entry::parse(text) {
            Some(Entry::Frame(frame)) => {
                if self.headless(text) {
                    self.begin_trace();
                }
                self.take_frame(frame);
            }
            Some(Entry::Unreliable) => {}
            None => {
                return FURNITURE.is_match(text) || text.contains("ot tainted") || text.contains("Tainted: ");
            }
        }
        true
    }

    /// The line of `=` under a sanitizer's report. Lockdep has one above its head only.
    fn closes(&self, text: &str) -> bool {
        text.len() >= 20
            && text.bytes().all(|b| b == b'=')
            && matches!(
                self.pattern.kind,
                Kind::Kasan | Kind::Kmsan | Kind::Kcsan | Kind::Kfence | Kind::Ubsan | Kind::Slab
            )
            && (self.frame_count() > 0 || self.pattern.kind != Kind::Slab)
    }

    fn take_at(&mut self, text: &str) -> bool {
        // A work item that left with a lock; its name has no offset.
        if let Some(found) = WORK.captures(text) {
            self.at = Some(Frame { function: frames::base_name(&found["func"]), ..Frame::default() });
            return true;
        }
        let after = if std::mem::take(&mut self.expect_at) {
            Some(text)
        } else {
            text.split_once(" at: ").map(|(_, after)| after)
        };
        if text.ends_with(" at:") {
            self.expect_at = true;
            return true;
        }
        self.at = after.and_then(frames::function_in);
        // A symboliser puts the functions that were inlined there first.
        self.expect_at =
            self.at.is_none() && after.is_some() && text.ends_with("[inline]") && !text.contains(" at: ");
        self.at.is_some() || self.expect_at
    }

    /// Takes the registers' program counter: that of the report, of the next trace, or of what an interrupt interrupted.
    fn take_pc(&mut self, pc: Pc) {
        if pc == Pc::User {
            self.bottomed |= self.frame_count() > 0;
            return;
        }
        if self.pattern.kind.is_stall() {
            match pc {
                Pc::Kernel(frame) if self.in_trace() => self.interrupted(Some(frame)),
                Pc::Kernel(frame) => {
                    self.above = Some(frame.clone());
                    self.pc.get_or_insert(Pc::Kernel(frame));
                }
                _ => _ = self.pc.get_or_insert(pc),
            }
            return;
        }
        let handlers_only = || self.stacks.iter().flat_map(|stack| &stack.frames).all(blame::is_machinery);
        if self.pc.is_none() && self.stacks.len() <= 1 && self.section != Section::Other && handlers_only() {
            // What stands above it in the trace is the exception's own handling.
            self.stacks.iter_mut().for_each(|stack| *stack = Stack::default());
            self.pc = Some(pc);
        } else if let Pc::Kernel(frame) = pc
            && self.in_trace()
        {
            self.interrupted(Some(frame));
        }
    }

    fn in_trace(&self) -> bool {
        self.section == Section::Trace && self.stacks.last().is_some_and(|stack| !stack.frames.is_empty())
    }

    /// An interrupt came here; `frame` is what it interrupted, if known. What an exception interrupted is what caused it, so there
    /// the same thing goes on.
    fn interrupted(&mut self, frame: Option<Frame>) {
        if let Some(stack) = self.stacks.last_mut().filter(|_| self.section == Section::Trace) {
            if !stack.frames.last().is_some_and(blame::is_exception) {
                stack.cut();
            }
            frame.into_iter().for_each(|frame| stack.push(frame));
        }
    }

    /// The program counter, if it is in a known function.
    pub fn pc_frame(&self) -> Option<&Frame> {
        match &self.pc {
            Some(Pc::Kernel(frame)) => Some(frame),
            _ => None,
        }
    }

    /// A line that says whose trace comes next.
    fn mark(&mut self, text: &str) {
        if !self.pattern.kind.is_stall() {
            return;
        }
        let Some(found) = MARKER.captures(text) else { return };
        self.origin = if found.name("gp").is_some() {
            Origin::GracePeriod
        } else if found.name("ran").is_some() {
            Origin::LastRan
        } else if found.name("task").is_some() {
            if self.origin == Origin::GracePeriod { self.origin } else { Origin::Task }
        } else if self.origin == Origin::LastRan {
            self.origin
        } else {
            Origin::Cpu
        };
        self.above = None;
        self.section = Section::Other;
    }

    fn begin_trace(&mut self) {
        let origin = std::mem::take(&mut self.origin);
        let next = Stack { origin, pc: self.above.take(), ..Stack::default() };
        let empty = self.stacks.last().is_some_and(|stack| stack.frames.is_empty());
        self.section = Section::Trace;
        if self.header_seen && empty && self.pattern.trace == Trace::Needed {
            // "stack backtrace:" and "Call Trace:" follow each other in lockdep's reports: the first is a title.
            if self.pattern.kind != Kind::Lockdep && !self.pattern.kind.is_stall() && self.context_lines > 1 {
                self.hurt("lines of another report in between");
            }
            if let Some(last) = self.stacks.last_mut() {
                *last = next;
            }
        } else if self.stacks.len() < MAX_TRACES {
            self.stacks.push(next);
        } else {
            self.section = Section::Other;
        }
        self.header_seen = true;
        self.foreign = 0;
    }

    /// arm and riscv print the frames of an oops without a line above them.
    fn headless(&self, text: &str) -> bool {
        self.section == Section::Head
            && matches!(self.pattern.kind, Kind::Oops | Kind::Bug | Kind::Warn | Kind::Panic)
            && (text.starts_with("[<") || text.contains(" from "))
    }

    fn take_frame(&mut self, frame: Frame) {
        if self.section != Section::Trace {
            return;
        }
        if std::mem::take(&mut self.foreign) > 0 && self.in_trace() {
            self.hurt("foreign lines inside the call trace");
        }
        self.bottomed |= blame::is_bottom(&frame);
        if let Some(stack) = self.stacks.last_mut() {
            stack.push(frame);
        }
    }

    fn keep(&mut self, line: &Line<'_>, number: u64) {
        self.lines.last = number;
        // The excerpt may end before it comes.
        self.warned |= line.text.starts_with("WARNING: ") && line.text.contains("CPU");
        self.show(line);
    }

    fn show(&mut self, line: &Line<'_>) {
        if self.excerpt.len() < Finding::MAX_EXCERPT {
            self.excerpt.push(line.text.chars().take(EXCERPT_WIDTH).collect());
        }
    }

    /// What is missing at the end.
    pub fn close(&mut self, why: Closed) {
        if self.pattern.trace == Trace::Maybe {
            return;
        }
        if self.frame_count() == 0 {
            // A call through NULL may leave nothing to unwind.
            if !(self.header_seen && self.ended && self.pc.is_some()) {
                self.hurt("no call trace");
            }
        } else if why != Closed::Quiet
            && !self.ended
            && !self.bottomed
            && self.section == Section::Trace
            // Both keep the first 16 frames of a trace.
            && !matches!(self.pattern.kind, Kind::Kmemleak | Kind::Refcount if self.frame_count() >= 3)
        {
            self.hurt("the report breaks off inside its call trace");
        }
    }
}

/// The function of a head, with what the head says of it.
fn head_frame(name: &str, text: &str) -> Frame {
    let function = frames::base_name(name);
    let inlined = text.ends_with("[inline]");
    let full = frames::function_in(text).filter(|frame| frame.function == function);
    Frame { inlined, ..full.unwrap_or_else(|| Frame { function, ..Frame::default() }) }
}
