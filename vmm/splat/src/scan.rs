//! Goes through a log once and hands every line to the report that it belongs to.

use std::sync::{LazyLock, OnceLock};

use aho_corasick::AhoCorasick;
use regex::bytes::{Captures, Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::Finding;
use crate::finish::finish;
use crate::line::{Caller, Line};
use crate::patterns::{PATTERNS, Pattern, Role};
use crate::report::{Closed, Report};

/// Reports that can be open at the same time, one for every CPU or task that prints. More are no log but an attack.
const MAX_OPEN: usize = 32;
/// Lines after its end in which a report is still held responsible for a panic.
const GRACE: usize = 400;
/// Lines of the whole log after which a report that got none of them is closed.
const SILENCE: u64 = 2000;
/// Findings kept of one log: the first ones, since later ones mostly follow from them.
const MAX_FINDINGS: usize = 10_000;

/// Finds the lines that may begin a report, so that all others cost next to nothing.
static KEYS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::new(PATTERNS.iter().map(|pattern| pattern.key)).expect("constant patterns")
});

/// All heads at once, to find out which one matches. Without Unicode: its classes would
/// make this too big, and the kernel speaks ASCII.
static HEADS: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSetBuilder::new(PATTERNS.iter().map(|pattern| pattern.head))
        .unicode(false)
        .build()
        .expect("constant patterns")
});

/// One by one, to take the groups; compiled when first needed, since a log seldom has more than a few kinds.
static HEAD: LazyLock<Vec<OnceLock<Regex>>> =
    LazyLock::new(|| PATTERNS.iter().map(|_| OnceLock::new()).collect());

/// Finds the splats in a console log, in the order in which they begin.
///
/// Any bytes will do: whatever the console or logger put before the messages is taken off, and a report that is torn or
/// mixed with others gives a finding that is marked as corrupted. A clean log gives none. At most 10,000 findings
/// are returned, the first ones.
pub fn scan(log: &[u8]) -> Vec<Finding> {
    let mut scan = Scan { open: Vec::new(), done: Vec::new() };
    let mut at = 0;
    let mut number = 1;
    while at < log.len() && scan.done.len() < MAX_FINDINGS {
        if scan.open.is_empty() {
            let Some(hit) = KEYS.find(&log[at..]) else { break };
            let line =
                memchr::memrchr(b'\n', &log[at..at + hit.start()]).map_or(at, |newline| at + newline + 1);
            number += memchr::memchr_iter(b'\n', &log[at..line]).count() as u64;
            at = line;
        }
        let end = memchr::memchr(b'\n', &log[at..]).map_or(log.len(), |newline| at + newline);
        scan.line(&log[at..end], number);
        if number % 128 == 0 {
            scan.retire(number);
        }
        number += 1;
        at = end + 1;
    }
    for report in std::mem::take(&mut scan.open) {
        scan.done.push(finish(report, Closed::EndOfLog));
    }
    scan.done.sort_by_key(|finding| finding.lines.first);
    scan.done.truncate(MAX_FINDINGS);
    scan.done
}

struct Scan {
    open: Vec<Report>,
    done: Vec<Finding>,
}

/// The first pattern that matches the message.
fn head<'t>(line: &'t Line<'_>) -> Option<(&'static Pattern, Captures<'t>)> {
    let index = HEADS.matches(line.text.as_bytes()).into_iter().next()?;
    let pattern = PATTERNS[index];
    if pattern.role == Role::Not || pattern.role == Role::Guess && !line.from_kernel {
        return None;
    }
    let regex = HEAD[index]
        .get_or_init(|| RegexBuilder::new(pattern.head).unicode(false).build().expect("a constant pattern"));
    Some((pattern, regex.captures(line.text.as_bytes())?))
}

impl Scan {
    fn line(&mut self, raw: &[u8], number: u64) {
        let line = Line::parse(raw);
        if KEYS.is_match(raw) {
            if let Some((pattern, found)) = head(&line) {
                return self.head(pattern, &found, &line, number);
            }
            // A message may sit behind half of another one.
            if let Some(behind) = line.glued_on()
                && let Some((pattern, found)) = head(&behind)
            {
                return self.head(pattern, &found, &behind, number);
            }
        }
        let owner = match self.owner(line.caller) {
            Some(owner) => owner,
            None => match self.open.iter_mut().rev().find_map(|report| report.adopt(&line).then_some(report))
            {
                Some(owner) => owner,
                None => return,
            },
        };
        owner.feed(&line, number);
    }

    /// The latest report that lines of this caller belong to.
    fn owner(&mut self, caller: Option<Caller>) -> Option<&mut Report> {
        self.open.iter_mut().rev().find(|report| report.owns(caller))
    }

    fn head(&mut self, pattern: &'static Pattern, found: &Captures<'_>, line: &Line<'_>, number: u64) {
        if self.owner(line.caller).is_some_and(|owner| owner.absorb(pattern, found, line, number)) {
            return;
        }
        // A panic may be printed by another CPU than the one that had the trouble.
        if pattern.role == Role::Panic
            && self.open.iter_mut().rev().any(|report| report.absorb(pattern, found, line, number))
        {
            return;
        }
        self.close_stream(line.caller);
        let mut report = Report::new(pattern, found, line, number);
        if line.glued {
            report.hurt("two messages on one line");
        }
        self.open.push(report);
        if self.open.len() > MAX_OPEN {
            let oldest = self.open.remove(0);
            self.done.push(finish(oldest, Closed::Interrupted));
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
