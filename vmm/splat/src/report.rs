//! Collects the lines of one report.

use std::sync::LazyLock;

use regex::Regex;

use crate::finding::{Finding, Lines};
use crate::frames::{self, Entry, Frame, Pc};
use crate::helpers;
use crate::kind::Kind;
use crate::line::{Caller, Line};
use crate::patterns::{Pattern, Place, Role, Trace};
use crate::task::Task;

/// Traces kept of one report: stalls print one for every CPU, and only the first that says something is used.
const MAX_TRACES: usize = 8;
/// Lines of other origin after which a report with a trace is taken to be complete.
const QUIET_AFTER_TRACE: usize = 12;
/// The same for a report that still waits for its trace: consoles squeeze a lot in between.
const QUIET_BEFORE_TRACE: usize = 80;
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
    pub head_function: Option<String>,
    pub file_line: Option<String>,
    /// Read or Write, with a leading space.
    pub access: String,
    pub at: Option<Frame>,
    pub pc: Option<Pc>,
    pub traces: Vec<Vec<Frame>>,
    pub task: Task,
    pub panicked: Option<String>,
    pub damage: Vec<&'static str>,
    pub lines: Lines,
    pub excerpt: Vec<String>,
    /// Whether the report is complete; it stays open for the panic that may follow.
    pub ended: bool,
    /// Whether the call trace reached a function that nothing calls.
    pub bottomed: bool,
    callers: Vec<Option<Caller>>,
    section: Section,
    header_seen: bool,
    trapped: bool,
    /// Whether nothing has come but a [`Role::Herald`].
    heralding: bool,
    expect_at: bool,
    foreign: usize,
    context_lines: usize,
    quiet: usize,
}

static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(?:<[0-9A-Za-z_]+> ?)?(?:Call [Tt]race:|Backtrace: ?|(?:stack )?backtrace(?: \(crc [0-9a-f]+\))?:|Stack backtrace:",
        // KCSAN and KFENCE say what was done instead of "Call Trace".
        r"|(?:read|write|read-write)(?: \([0-9A-Za-z_]+\))? to 0x|race at unknown origin, with (?:read|write)|assert no (?:writes|accesses) to 0x",
        r"|.{1,40} at 0x[0-9a-f]+ (?:\(in kfence-#|\(left of|\(right of|of kfence-#|\[)|Corrupted memory at 0x|Invalid (?:free of|read|write|access))",
    ))
    .expect("a constant pattern")
});

static OTHER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(?:(?:Allocated|Freed|allocated|freed|Created|INFO: Allocated|INFO: Freed|Allocated in|Freed in)\b.*(?:by task|:$|age=)",
        r"|Last potentially related|Second to last|Uninit was|Local variable|kfence-#[0-9]+|the existing dependency chain|Memory state around",
        r"|Showing all locks held|Last Breaking-Event|Kernel Offset:|Modules linked in:|The buggy address|which was|Reported by Kernel|value changed:|Disabling lock debugging)",
    ))
    .expect("a constant pattern")
});

/// Registers and the other furniture of a report: says nothing to us, but belongs to it.
static FURNITURE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(?:[RE]?(?:IP|SP|AX|BX|CX|DX|SI|DI|BP)(?:: | is)|R[0-9][0-9]: |[FCDEG]S: |CR[0-9]: |DR[0-9]: |PKRU: |Code: |Stack: ?|</?[A-Z#]+>|CPU: |Hardware name: |Modules linked in:|Workqueue: |Stopper: ",
        r"|[xr][0-9]+ *: |sp : |pc : |lr : |pstate: |psr: |Tainted: |task: |task:|Kernel Offset|---\[|Oops|#PF: |PGD |pgd |\[[0-9a-f]{8,16}\] |user pgtable|Mem abort info|ESR |EC |ESR = |SET |FSC |Data abort|ISV |CM |GCS",
        r"|=====|-----|other info|locks? held by|[0-9]+ locks? held by|#[0-9]|-> #|but task|and this task|which lock|Chain exists|Possible unsafe|CPU0|lock\(|\*\*\*|Read of size|Write of size|Read at|Free of addr|page:|flags: |raw: |page dumped|\.\.\.|>?[0-9a-f]{8,16}: |\^",
        r"|Allocated by|Freed by|The buggy|which belongs|Memory state|INFO: |NMI backtrace|Sending NMI|rcu: |\(t=|irq event stamp|hardirqs last|softirqs last|Preemption disabled|in_atomic|preempt_count|RCU nest|Object|Redzone|Padding|Exception stack",
        r"|epc|status:|gp : |tp : |t[0-9] |a[0-9] |s[0-9] |GPR|NIP|LR |MSR|REGS:|Krnl|GPRS|R:0|Last Breaking|Process |Internal error|KASAN:|note:|Rebooting|Dumping ftrace|\(ftrace|handlers:|Trace|Fixing)",
    ))
    .expect("a constant pattern")
});

static ACCESS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?<access>Read|Write)(?: of size [0-9]+| at addr)").expect("a constant pattern")
});

/// Panics that say which other trouble they follow, so they are no finding of their own.
static CONSEQUENCE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?:Fatal exception|panic_on_[0-9A-Za-z_]+|kernel\.panic_on|Oops|BUG!|hung_task|blocked tasks|softlockup|soft lockup|[hH]ard LOCKUP|RCU Stall|RCU stall|kasan|KASAN|KFENCE|kfence|UBSAN|Machine halted|Fatal error|System (?:is )?dead|Hard LOCKUP|workqueue)",
    )
    .expect("a constant pattern")
});

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
            head_function: group("func").map(|name| frames::base_name(&name)),
            file_line: group("file"),
            access: String::new(),
            at: None,
            pc: None,
            traces: Vec::new(),
            task: Task {
                cpu: group("cpu").and_then(|n| n.parse().ok()),
                pid: group("pid").and_then(|n| n.parse().ok()),
                comm: group("comm"),
                taint: None,
            },
            panicked: None,
            damage: Vec::new(),
            lines: Lines { first: number, last: number },
            excerpt: Vec::new(),
            ended: false,
            bottomed: false,
            callers: vec![line.caller],
            section,
            header_seen: false,
            trapped: pattern.role == Role::Trap,
            heralding: pattern.role == Role::Herald,
            expect_at: false,
            foreign: 0,
            context_lines: 0,
            quiet: 0,
        };
        if section == Section::Trace {
            report.traces.push(Vec::new());
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

    /// Stalls make other CPUs print their traces: their lines belong here too.
    pub fn adopt(&mut self, line: &Line<'_>) -> bool {
        let stall = matches!(
            self.pattern.kind,
            Kind::RcuStall | Kind::SoftLockup | Kind::HardLockup | Kind::HungTask
        );
        let adopted = stall && line.text.starts_with("NMI backtrace for cpu") && self.callers.len() < 64;
        if adopted {
            self.callers.push(line.caller);
        }
        adopted
    }

    /// Takes a line that begins a report elsewhere, if it is part of this one. Returns whether it was taken.
    pub fn absorb(
        &mut self,
        pattern: &'static Pattern,
        found: &regex::bytes::Captures<'_>,
        line: &Line<'_>,
        number: u64,
    ) -> bool {
        let same = pattern.kind == self.pattern.kind;
        let traced = self.frame_count() > 0;
        let taken = match pattern.role {
            Role::Panic => self.absorbs_panic(&line.text),
            Role::Trap => {
                matches!(self.pattern.kind, Kind::Oops | Kind::Bug | Kind::RustPanic)
                    && !self.trapped
                    && !traced
                    && !self.ended
                    || self.caught_early(pattern.kind)
                    || self.heralds(pattern, number)
            }
            Role::More => same && !self.ended && (!traced || pattern.kind != Kind::Kmemleak),
            // The CPU faults at the very access that KASAN has just complained about.
            Role::Begin | Role::Herald | Role::Alone | Role::Orphan => {
                self.caught_early(pattern.kind)
                    || self.heralds(pattern, number)
                    || self.slab_ends_in(pattern, found)
                    // A Rust panic ends in BUG().
                    || self.pattern.kind == Kind::RustPanic && pattern.kind == Kind::Bug && !traced && !self.ended
                    // x86 says two lines about a jump into data, and powerpc about a bad pointer.
                    || same && pattern.kind == Kind::Oops && !traced && !self.trapped && self.quiet == 0 && self.lines.last + 1 == number
            }
            Role::Not | Role::Guess => {
                self.panicked.is_none()
                    && self.lines.last + 1 == number
                    && !traced
                    && pattern.role == Role::Guess
                    && same
            }
        };
        if !taken {
            return false;
        }
        if self.cache.is_none() {
            self.cache = found.name("cache").map(|m| String::from_utf8_lossy(m.as_bytes()).into_owned());
        }
        self.heralding &= pattern.kind == Kind::Slab;
        match pattern.role {
            Role::Trap => self.trapped = true,
            Role::Panic if self.panicked.is_none() => {
                self.panicked = Some(
                    found
                        .name("what")
                        .map_or_else(String::new, |m| String::from_utf8_lossy(m.as_bytes()).into_owned()),
                );
            }
            _ => {}
        }
        // The summary comes first, the object that tells where comes later.
        if pattern.role == Role::More && self.pattern.trace == Trace::Maybe && pattern.trace != Trace::Maybe {
            self.pattern = pattern;
        }
        self.quiet = 0;
        self.keep(line, number);
        if pattern.trace == Trace::Bare {
            self.begin_trace();
        }
        true
    }

    /// A panic names the trouble that it follows, or kills a task that an oops hit.
    pub fn absorbs_panic(&self, text: &str) -> bool {
        self.pattern.kind != Kind::Panic
            && (CONSEQUENCE.is_match(text)
                || self.pattern.kind == Kind::RustPanic
                || matches!(self.pattern.kind, Kind::Oops | Kind::Bug) && text.contains("Attempted to kill")
                || self.pattern.kind == Kind::Oom && text.contains("ut of memory"))
    }

    fn caught_early(&self, next: Kind) -> bool {
        next == Kind::Oops
            && self.pattern.kind == Kind::Kasan
            && !self.trapped
            && matches!(
                self.what.as_deref(),
                Some("null-ptr-deref" | "user-memory-access" | "wild-memory-access" | "maybe")
            )
    }

    /// Whether this report is so far only the line before the one that `next` begins.
    fn heralds(&self, next: &Pattern, number: u64) -> bool {
        const NEAR: u64 = 6;
        let follows = match next.role {
            Role::Begin => matches!(next.kind, Kind::Warn | Kind::Bug | Kind::Refcount | Kind::Slab),
            Role::Trap => true,
            _ => false,
        };
        self.heralding && follows && self.frame_count() == 0 && number - self.lines.last <= NEAR
    }

    /// Since 6.16 SLUB's reports get their call trace from a WARN() in mm/slub.c.
    fn slab_ends_in(&self, next: &Pattern, found: &regex::bytes::Captures<'_>) -> bool {
        self.pattern.kind == Kind::Slab
            && next.kind == Kind::Warn
            && !self.ended
            && self.frame_count() == 0
            && found.name("file").is_some_and(|file| file.as_bytes().starts_with(b"mm/sl"))
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
        self.traces.iter().map(Vec::len).sum()
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
            let stall = matches!(
                self.pattern.kind,
                Kind::RcuStall | Kind::SoftLockup | Kind::HardLockup | Kind::HungTask | Kind::WorkqueueLockup
            );
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
        self.at.is_some()
    }

    fn take_pc(&mut self, pc: Pc) {
        match pc {
            Pc::User => self.bottomed |= self.frame_count() > 0,
            Pc::Kernel(_) | Pc::Nowhere if self.pc.is_none() && self.traces.len() <= 1 => {
                let handlers_only =
                    self.traces.iter().flatten().all(|frame| helpers::is_helper(&frame.function));
                if handlers_only && self.section != Section::Other {
                    // What stands above it in the trace is the exception's own handling.
                    self.traces.iter_mut().for_each(Vec::clear);
                    self.pc = Some(pc);
                }
            }
            Pc::Kernel(_) | Pc::Nowhere => {}
        }
    }

    fn begin_trace(&mut self) {
        if self.header_seen
            && self.section == Section::Trace
            && self.traces.last().is_some_and(Vec::is_empty)
            && self.pattern.trace == Trace::Needed
        {
            // "stack backtrace:" and "Call Trace:" follow each other in lockdep's reports: the first is a title.
            if self.pattern.kind != Kind::Lockdep && self.context_lines > 1 {
                self.hurt("lines of another report in between");
            }
        } else if self.traces.len() < MAX_TRACES {
            self.traces.push(Vec::new());
        }
        self.header_seen = true;
        self.section = Section::Trace;
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
        if std::mem::take(&mut self.foreign) > 0 && self.traces.last().is_some_and(|trace| !trace.is_empty())
        {
            self.hurt("foreign lines inside the call trace");
        }
        self.bottomed |= helpers::is_bottom(&frame.function);
        if let Some(trace) = self.traces.last_mut()
            && trace.len() < Finding::MAX_FRAMES
        {
            trace.push(frame);
        }
    }

    fn keep(&mut self, line: &Line<'_>, number: u64) {
        self.lines.last = number;
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

impl Report {
    /// Whether this is a panic that tells of an earlier trouble, though none was found.
    pub fn absorbs_nothing(&self) -> bool {
        self.what.as_deref().is_some_and(|what| CONSEQUENCE.is_match(what))
    }
}
