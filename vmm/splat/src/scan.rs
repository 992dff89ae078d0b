//! Goes through a log once and hands every line to the report that it belongs to.

use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex::bytes::{Captures, Regex, RegexBuilder};

use crate::Finding;
use crate::finish::finish;
use crate::frames::Pc;
use crate::line::{Caller, Line};
use crate::patterns::{PATTERNS, Pattern, Role};
use crate::report::{Closed, EXCERPT_WIDTH, Report};
use crate::task::Task;

/// Reports that can be open at the same time, one for every CPU or task that prints. More are no log but an attack.
const MAX_OPEN: usize = 32;
/// Lines after its end in which a report is still held responsible for a panic.
const GRACE: usize = 400;
/// Lines of the whole log after which a report that got none of them is closed.
const SILENCE: u64 = 2000;
/// Findings kept of one log: the first ones, since later ones mostly follow from them.
const MAX_FINDINGS: usize = 10_000;

/// Finds the lines that may begin a report, so that all others cost next to nothing. The keys are those of the patterns, in
/// their order, and [`CUT_HERE`].
static KEYS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let keys = PATTERNS.iter().map(|pattern| pattern.key).chain([CUT_HERE]);
    // A full table would take longer to be built than most logs to be looked through with it.
    AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(keys).expect("constant patterns")
});

/// Compiled when first needed: a log seldom has more than a few kinds, and all of them take longer than a scenario may.
/// Without Unicode, whose classes are large: the kernel speaks ASCII.
static HEAD: LazyLock<Vec<OnceLock<Regex>>> =
    LazyLock::new(|| PATTERNS.iter().map(|_| OnceLock::new()).collect());

/// What `WARN()` and `BUG()` print before anything else (kernel/panic.c, `CUT_HERE`); the message of a `WARN()` stands
/// between it and the head.
const CUT_HERE: &str = "[ cut here ]";
/// Lines between that and a head: more are no message.
const MAX_PREFACE: usize = 8;
/// The same with what others print in between.
const MAX_PREFACE_TIME: u64 = 200;

/// What one task or CPU printed since its last [`CUT_HERE`], with the numbers of the lines.
#[derive(Clone)]
struct Preface {
    caller: Option<Caller>,
    /// The number of the line with the cut.
    began: u64,
    lines: Vec<(Line<'static>, u64)>,
    /// The first line that would begin a report without the cut.
    held: Option<usize>,
}

impl Preface {
    /// Whether a line that is no head is more than there can be.
    fn is_over(&self, line: &Line<'_>, number: u64) -> bool {
        self.caller == line.caller && self.lines.len() == MAX_PREFACE
            || number - self.began > MAX_PREFACE_TIME
    }
}

/// Lines between what has the shape of a trap's line and the registers.
const MAX_PRESUMED: usize = 4;

/// What may be the line of a trap, and the lines of its task or CPU that came since.
struct Presumed {
    caller: Option<Caller>,
    lines: Vec<(Line<'static>, u64)>,
}

/// Finds the splats in a console log, in the order in which they begin.
///
/// Any bytes will do: whatever the console or logger put before the messages is taken off, and a report that is torn or
/// mixed with others gives a finding that is marked as corrupted. A clean log gives none. At most 10,000 findings
/// are returned, the first ones.
pub fn scan(log: &[u8]) -> Vec<Finding> {
    let mut scanner = Scanner::new();
    let mut at = 0;
    while at < log.len() && scanner.done.len() < MAX_FINDINGS {
        if scanner.idle() {
            let Some(hit) = KEYS.find(&log[at..]) else { break };
            let line =
                memchr::memrchr(b'\n', &log[at..at + hit.start()]).map_or(at, |newline| at + newline + 1);
            scanner.number += memchr::memchr_iter(b'\n', &log[at..line]).count() as u64;
            at = line;
        }
        let end = memchr::memchr(b'\n', &log[at..]).map_or(log.len(), |newline| at + newline);
        scanner.line(&log[at..end]);
        at = end + 1;
    }
    let mut findings = scanner.finish();
    findings.truncate(MAX_FINDINGS);
    findings
}

/// Finds the splats in a log that comes line by line, as [`scan`] does in a whole one.
///
/// Memory stays bounded as long as [`Scanner::settled`] is called now and then: at most 32 reports are open.
#[derive(Default)]
pub struct Scanner {
    open: Vec<Report>,
    done: Vec<Finding>,
    /// Of the latest line, counted from 1.
    number: u64,
    /// What came since the last [`CUT_HERE`], until a report begins or it is too much for a message.
    preface: Option<Preface>,
    presumed: Option<Presumed>,
}

impl Scanner {
    /// Nothing has been seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next line, without its newline, and returns its number, counted from 1.
    pub fn line(&mut self, raw: &[u8]) -> u64 {
        self.number += 1;
        if !self.idle() || KEYS.is_match(raw) {
            self.look(&Line::parse(raw), self.number);
        }
        if self.number.is_multiple_of(128) {
            self.retire(self.number);
        }
        self.number
    }

    /// Takes a record of the kernel's log as the kernel keeps it, without time and level, and returns the number of its last line.
    /// It begins at most one report, with its first line: a kernel's reports begin with a record of their own, and names with
    /// newlines or time stamps in them, of files or tasks, are anybody's words.
    pub fn record(&mut self, text: &str, caller: Option<Caller>) -> u64 {
        let begun = self.number / 128;
        let mut lines = text.split('\n');
        let first = lines.next().unwrap_or_default();
        self.number += 1;
        if self.idle() && !KEYS.is_match(text) {
            self.number += lines.count() as u64;
        } else {
            let line = Line::record(first, caller);
            let joined = if first.len() < text.len() { text.replace('\n', " ") } else { String::new() };
            let whole = Line::record(&joined, caller);
            // The name of a task may have a newline, and what makes this a head or the likeness of one comes behind it.
            let by_all = match_of(&whole)
                .is_some_and(|(pattern, _)| pattern.role == Role::Not || match_of(&line).is_none());
            if by_all {
                self.look(&whole, self.number);
                self.number += lines.count() as u64;
            } else {
                self.look(&line, self.number);
                lines.for_each(|line| self.goes_on(&Line::record(line, caller)));
            }
        }
        if self.number / 128 > begun {
            self.retire(self.number);
        }
        self.number
    }

    fn goes_on(&mut self, line: &Line<'_>) {
        self.number += 1;
        let number = self.number;
        if let Some(owner) = self.owner(line.caller) {
            owner.feed(line, number);
        }
    }

    /// Findings that no further line can change, each handed out once.
    pub fn settled(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.done)
    }

    /// What the reports that may still grow come to, if nothing more comes.
    pub fn unsettled(&self) -> Vec<Finding> {
        let (open, preface) = (self.open.clone(), self.preface.clone());
        Self { open, preface, number: self.number, ..Self::default() }.finish()
    }

    /// The end of the log: all findings that were not handed out yet, in the order in which they begin.
    pub fn finish(mut self) -> Vec<Finding> {
        self.give_up();
        self.done.extend(self.open.into_iter().map(|report| finish(report, Closed::EndOfLog)));
        self.done.sort_by_key(|finding| finding.lines.first);
        self.done
    }

    /// Whether a line without a key would change nothing.
    fn idle(&self) -> bool {
        self.open.is_empty() && self.preface.is_none() && self.presumed.is_none()
    }
}

/// The first pattern that matches the message, if that begins a report.
fn head<'t>(line: &'t Line<'_>) -> Option<(&'static Pattern, Captures<'t>)> {
    match_of(line)
        .filter(|(pattern, _)| pattern.role != Role::Not && (pattern.role != Role::Guess || line.from_kernel))
}

/// The first pattern that matches the message.
fn match_of<'t>(line: &'t Line<'_>) -> Option<(&'static Pattern, Captures<'t>)> {
    let text = line.text.as_bytes();
    let mut candidates: Vec<usize> =
        KEYS.find_overlapping_iter(text).map(|hit| hit.pattern().as_usize()).collect();
    candidates.sort_unstable();
    candidates.dedup();
    candidates.into_iter().find_map(|index| {
        let pattern = *PATTERNS.get(index).filter(|it| it.role != Role::Torn || !line.whole)?;
        let compiled = || RegexBuilder::new(pattern.head).unicode(false).build().expect("a constant pattern");
        Some((pattern, HEAD[index].get_or_init(compiled).captures(text)?))
    })
}

/// Whether a line is of those that follow the line of a trap: where it was, and in whose context.
fn is_of_oops(text: &str) -> bool {
    Task::is_context(text)
        || text.starts_with("CPU: ") && text.contains("ainted")
        || text.starts_with("Modules linked in:")
        || Pc::parse(text).is_some()
}

/// Whether a line is the cut and nothing else. A task's name has room for all of it but the dashes.
fn is_cut(text: &str) -> bool {
    text.starts_with("----") && text.ends_with("----") && text.trim_matches('-') == CUT_HERE
}

impl Scanner {
    fn look(&mut self, line: &Line<'_>, number: u64) {
        if KEYS.is_match(line.text.as_bytes()) {
            if let Some((pattern, found)) = head(line)
                && self.head(pattern, &found, line, number)
            {
                return;
            }
            // A message may sit behind half of another one.
            if let Some(behind) = line.glued_on()
                && let Some((pattern, found)) = head(&behind)
                && self.head(pattern, &found, &behind, number)
            {
                return;
            }
        }
        self.foreword(line, number);
        self.confirm(line, number);
        self.adopt(line);
        if let Some(owner) = self.owner(line.caller) {
            owner.feed(line, number);
        }
    }

    /// Gives the lines of a processor that a stall asks where it is to the newest stall, from this one on: what the processor
    /// had reported before is over.
    fn adopt(&mut self, line: &Line<'_>) {
        if !Report::is_backtrace(line) || self.owner(line.caller).is_some_and(|owner| owner.goes_on()) {
            return;
        }
        if let Some(adopter) = self.open.iter().rposition(Report::takes_backtraces) {
            self.open.iter_mut().for_each(|report| report.disown(line.caller));
            self.open[adopter].adopt(line.caller);
        }
    }

    /// Keeps what may be the message of a `WARN()`, which comes before its head.
    fn foreword(&mut self, line: &Line<'_>, number: u64) {
        let cut = is_cut(&line.text);
        if cut || self.preface.as_ref().is_some_and(|preface| preface.is_over(line, number)) {
            self.give_up();
        }
        if cut {
            self.preface =
                Some(Preface { caller: line.caller, began: number, lines: Vec::new(), held: None });
        } else if let Some(preface) = self.preface.as_mut().filter(|preface| preface.caller == line.caller) {
            preface.lines.push((line.clone().into_owned(), number));
        }
    }

    /// The head of a `WARN()` did not come: what would have been its message begins a report.
    fn give_up(&mut self) {
        let Some(Preface { lines, held: Some(held), .. }) = self.preface.take() else { return };
        lines.iter().skip(held).for_each(|(line, number)| self.look(line, *number));
    }

    fn in_preface(&self, caller: Option<Caller>) -> bool {
        self.preface.as_ref().is_some_and(|preface| preface.caller == caller)
    }

    /// The latest report that lines of this caller belong to.
    fn owner(&mut self, caller: Option<Caller>) -> Option<&mut Report> {
        self.open.iter_mut().rev().find(|report| report.owns(caller))
    }

    /// Takes a line that looks like a head; returns false if here it is a line like any other.
    fn head(
        &mut self,
        pattern: &'static Pattern,
        found: &Captures<'_>,
        line: &Line<'_>,
        number: u64,
    ) -> bool {
        let message = matches!(pattern.role, Role::Alone | Role::Guess);
        if message && self.preface.as_ref().is_some_and(|preface| preface.is_over(line, number)) {
            self.give_up();
        }
        let in_preface = self.in_preface(line.caller);
        let owner = self.owner(line.caller);
        let ordinary = match pattern.role {
            _ if message => in_preface || owner.is_some_and(|owner| owner.waits_for_message(number)),
            Role::Orphan => owner.is_some_and(|owner| owner.has_part(pattern)),
            _ => false,
        };
        if ordinary {
            if let Some(preface) = self.preface.as_mut().filter(|_| in_preface) {
                preface.held.get_or_insert(preface.lines.len());
            }
            return false;
        }
        if in_preface && !pattern.follows_cut() && pattern.role != Role::Shape {
            self.give_up();
        }
        if self.owner(line.caller).is_some_and(|owner| owner.absorb(pattern, found, line, number)) {
            self.preface.take_if(|preface| preface.caller == line.caller);
            return true;
        }
        // A panic may be printed by another CPU than the one that had the trouble.
        if pattern.role == Role::Panic
            && self.open.iter_mut().rev().any(|report| report.absorb(pattern, found, line, number))
        {
            return true;
        }
        if pattern.role == Role::Shape {
            self.presumed = Some(Presumed { caller: line.caller, lines: Vec::new() });
            return false;
        }
        self.begin(pattern, found, line, number);
        true
    }

    /// Begins the report of a line that has the shape of a trap's, once registers or what stands above them follow.
    fn confirm(&mut self, line: &Line<'_>, number: u64) {
        let Some(mut presumed) = self.presumed.take_if(|presumed| presumed.caller == line.caller) else {
            return;
        };
        if !presumed.lines.is_empty() && is_of_oops(&line.text) {
            // The context may be that of a report which waits for it.
            if self.owner(line.caller).is_some_and(|owner| owner.waits_for_context()) {
                return;
            }
            let mut lines = presumed.lines.iter();
            let Some((head, first)) = lines.next() else { return };
            let Some((pattern, found)) = match_of(head) else { return };
            self.begin(pattern, &found, head, *first);
            for (line, number) in lines {
                self.owner(line.caller).into_iter().for_each(|owner| owner.feed(line, *number));
            }
        } else if presumed.lines.len() < MAX_PRESUMED {
            presumed.lines.push((line.clone().into_owned(), number));
            self.presumed = Some(presumed);
        }
    }

    fn begin(&mut self, pattern: &'static Pattern, found: &Captures<'_>, line: &Line<'_>, number: u64) {
        let in_preface = self.in_preface(line.caller);
        if in_preface && !pattern.follows_cut() {
            self.give_up();
        }
        self.presumed.take_if(|presumed| presumed.caller == line.caller);
        self.close_stream(line.caller);
        let mut report = Report::new(pattern, found, line, number);
        if let Some(Preface { lines, .. }) = self.preface.take_if(|_| in_preface) {
            let message = lines.iter().map(|(line, _)| line.text.chars().take(EXCERPT_WIDTH).collect());
            report.excerpt.splice(..0, message);
        }
        if line.glued {
            report.hurt("two messages on one line");
        }
        self.open.push(report);
        if self.open.len() > MAX_OPEN {
            // One that is whole only waits for a panic.
            let least = self.open.iter().position(|report| report.ended).unwrap_or(0);
            let least = self.open.remove(least);
            self.done.push(finish(least, Closed::Interrupted));
        }
    }

    /// A new report of the same stream ends the one before.
    fn close_stream(&mut self, caller: Option<Caller>) {
        for report in self.open.extract_if(.., |report| report.owns(caller)) {
            let why = if report.ended { Closed::Quiet } else { Closed::Interrupted };
            self.done.push(finish(report, why));
        }
    }

    /// Lets go of reports that ended long ago, and of those whose task or CPU prints no more.
    fn retire(&mut self, number: u64) {
        let over = |report: &mut Report| {
            report.ended && report.quiet() > GRACE || number - report.lines.last > SILENCE
        };
        for report in self.open.extract_if(.., over) {
            self.done.push(finish(report, Closed::Quiet));
        }
    }
}
