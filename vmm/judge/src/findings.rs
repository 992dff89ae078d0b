//! What the kernel's log holds against the kernel: its lines go through crate `splat`, and each finding
//! gets its step and its weight.
//!
//! A report belongs to the step in which it began, wherever it ends. Memory stays bounded whatever a guest
//! prints: the scanner keeps open reports only, and what repeats itself is counted, not kept.

use super::judged::{Excuse, Finding, Gravity};
use crate::names::Names;
use crate::noted::Noted;
use board::wire::LogRecord;
use scenario::model::{Allow, Ending, EndingKind, Pattern, Scenario};
use splat::{Kind, Scanner};
use std::{borrow::Cow, collections::BTreeMap};

/// So many different findings of one gravity are kept, of those that are excused and of those that are not: a kernel in trouble repeats
/// itself.
const MAX_KEPT: usize = 100;

/// The findings of a run, as they come.
#[derive(Default)]
pub struct Findings {
    scanner: Scanner,
    /// The line from which on lines belong to a step or to none, in the order of lines.
    steps: Vec<(u64, Option<usize>)>,
    lines: u64,
    settled: Vec<Finding>,
    /// What the kernel must have noted of all that is settled, kept or not.
    noted: Noted,
    /// So many lines had come when the kernel's own counts came last, and when those came that the steps began with.
    counted: u64,
    before: u64,
    /// Names of addresses that the kernel could not name.
    symbols: BTreeMap<u64, String>,
}

/// So many of them are kept.
const MAX_SYMBOLS: usize = 4096;

impl Findings {
    /// Takes what the kernel logged in this step. What a program wrote into the log is no word of the kernel's.
    pub fn log(&mut self, record: &LogRecord, step: Option<usize>, scenario: &Scenario, names: &dyn Names) {
        if record.user {
            return;
        }
        if self.steps.last().is_none_or(|(_, last)| *last != step) {
            self.steps.push((self.lines + 1, step));
        }
        let text = self.named(&record.text).into_owned();
        self.lines = self.scanner.record(&text, record.caller.map(caller));
        for splat in self.scanner.settled() {
            let finding = self.finding(splat, scenario, names);
            self.noted.add(&finding, self.before);
            add(&mut self.settled, finding);
        }
    }

    /// Takes names for addresses in the lines that come next.
    pub fn name(&mut self, symbols: &BTreeMap<u64, String>) {
        if self.symbols.len() + symbols.len() > MAX_SYMBOLS {
            self.symbols.clear();
        }
        // A newline would take the name's end off its line.
        let plain = |name: &String| name.chars().filter(|c| !c.is_control()).collect();
        self.symbols.extend(symbols.iter().map(|(address, name)| (*address, plain(name))));
    }

    /// The text as the kernel would have printed it, had it known the function.
    fn named<'l>(&self, text: &'l str) -> Cow<'l, str> {
        const ADDRESS: &str = "0xffffffff";
        if self.symbols.is_empty() || !text.contains(ADDRESS) {
            return Cow::Borrowed(text);
        }
        let mut named = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(ADDRESS) {
            let (before, from) = rest.split_at(at);
            let digits =
                from.get(2..18).filter(|_| from[18..].bytes().next().is_none_or(|b| b.is_ascii_whitespace()));
            let address = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let end = digits.map_or(ADDRESS.len(), |_| 18);
            named.push_str(before);
            named.push_str(address.and_then(|it| self.symbols.get(&it)).map_or(&from[..end], String::as_str));
            rest = &from[end..];
        }
        named.push_str(rest);
        Cow::Owned(named)
    }

    /// The kernel's counts came: they hold what was logged before.
    pub fn counted(&mut self) {
        self.counted = self.lines;
    }

    /// The steps begin: what the kernel's counts hold already explains nothing that is counted later.
    pub fn begin(&mut self) {
        self.before = self.counted;
    }

    /// Whether a finding began before what the kernel's counts held when the steps began.
    pub fn is_of_boot(&self, finding: &Finding) -> bool {
        finding.splat.lines.first <= self.before
    }

    /// What the kernel must have noted since [`Findings::begin`].
    pub fn noted(&self, scenario: &Scenario, names: &dyn Names) -> Noted {
        let mut noted = self.noted.clone();
        for splat in self.scanner.unsettled() {
            noted.add(&self.finding(splat, scenario, names), self.before);
        }
        noted
    }

    /// All findings as they stand now, in the order in which they began.
    pub fn now(&self, scenario: &Scenario, names: &dyn Names) -> Vec<Finding> {
        let mut all = self.settled.clone();
        for splat in self.scanner.unsettled() {
            add(&mut all, self.finding(splat, scenario, names));
        }
        all.sort_by_key(|finding| finding.splat.lines.first);
        all
    }

    fn finding(&self, mut splat: splat::Finding, scenario: &Scenario, names: &dyn Names) -> Finding {
        // Not before: a path of the user's may have spaces, which no head of a report has.
        let texts = [&mut splat.title].into_iter().chain(&mut splat.file_line).chain(&mut splat.excerpt);
        for text in texts {
            if let Some(known) = names.at_home(text) {
                *text = known;
            }
        }
        let after = self.steps.partition_point(|(line, _)| *line <= splat.lines.first);
        let step = after.checked_sub(1).and_then(|index| self.steps[index].1);
        let finding = Finding { gravity: Gravity::of(&splat), splat, step, count: 1, excuse: None };
        Finding { excuse: excuse(scenario, &finding), ..finding }
    }
}

fn caller(caller: board::wire::Caller) -> splat::Caller {
    match caller {
        board::wire::Caller::Task(task) => splat::Caller::Task(task),
        board::wire::Caller::Cpu(cpu) => splat::Caller::Cpu(cpu),
    }
}

fn add(all: &mut Vec<Finding>, new: Finding) {
    // Two warnings in one function have one fingerprint, and may be told apart by their places or by what excuses one of them.
    let again = |old: &&mut Finding| {
        old.splat.fingerprint == new.splat.fingerprint
            && (old.step, old.gravity, &old.excuse) == (new.step, new.gravity, &new.excuse)
            && (&old.splat.title, &old.splat.file_line) == (&new.splat.title, &new.splat.file_line)
    };
    if let Some(old) = all.iter_mut().find(again) {
        old.count = old.count.saturating_add(1);
        return;
    }
    // However many are excused, one that is not finds room.
    let like = |old: &&Finding| old.gravity == new.gravity && old.excuse.is_some() == new.excuse.is_some();
    if all.iter().filter(like).count() < MAX_KEPT {
        all.push(new);
    }
}

impl Gravity {
    /// Of what was found in a log.
    pub fn of(finding: &splat::Finding) -> Self {
        if finding.panicked.is_some() || finding.kind == Kind::Panic {
            Self::Panic
        } else if died(finding) {
            Self::Oops
        } else if finding.kind.is_kernel_fault() {
            Self::Splat
        } else {
            Self::Harmless
        }
    }
}

/// Whether it is an oops, whatever was reported first.
pub fn died(finding: &splat::Finding) -> bool {
    finding.kind == Kind::Oops || finding.trapped
}

/// Why a scenario does not hold a finding against the kernel, if it does not.
pub fn excuse(scenario: &Scenario, finding: &Finding) -> Option<Excuse> {
    let step = finding.step.and_then(|index| scenario.steps.get(index));
    let endings = step.and_then(|step| step.ending.as_ref()).into_iter().chain(&scenario.expect.ending);
    if endings.into_iter().any(|ending| meets(ending, finding) || belongs(ending, finding)) {
        return Some(Excuse::Expected);
    }
    let allow = step.map_or(&[][..], |step| &step.allow).iter().chain(&scenario.allow);
    let grave = |allow: &Allow| match allow.kind {
        EndingKind::Oops => finding.gravity == Gravity::Oops,
        _ => finding.gravity <= Gravity::Splat,
    };
    let meant = |allow: &&Allow| grave(allow) && fits(&allow.pattern, finding);
    allow.into_iter().find(meant).map(|allow| Excuse::Allowed(allow.reason.clone()))
}

/// Whether a finding is the end that a scenario asks for.
pub fn meets(ending: &Ending, finding: &Finding) -> bool {
    let grave = match ending.kind {
        // What is no fault is only meant if it is named.
        EndingKind::Splat => match finding.gravity {
            Gravity::Harmless => ending.pattern.kind == Some(finding.splat.kind),
            gravity => gravity == Gravity::Splat,
        },
        EndingKind::Oops => finding.gravity == Gravity::Oops,
        EndingKind::Panic => finding.gravity == Gravity::Panic,
        _ => false,
    };
    grave && fits(&ending.pattern, finding)
}

/// Whether it is a part of the expected end: how the kernel itself says that it hangs, or why it did not come up.
fn belongs(ending: &Ending, finding: &Finding) -> bool {
    match ending.kind {
        EndingKind::Hang | EndingKind::HangSpinning | EndingKind::HangIdle => {
            finding.gravity == Gravity::Splat
                && matches!(
                    finding.splat.kind,
                    Kind::RcuStall
                        | Kind::SoftLockup
                        | Kind::HardLockup
                        | Kind::HungTask
                        | Kind::WorkqueueLockup
                )
        }
        EndingKind::BootFailed => finding.step.is_none(),
        EndingKind::Splat | EndingKind::Oops | EndingKind::Panic => false,
    }
}

fn fits(pattern: &Pattern, finding: &Finding) -> bool {
    let splat = &finding.splat;
    let function = |wanted: &String| {
        splat.function.as_ref().is_some_and(|function| {
            function == wanted || function.strip_suffix(&**wanted).is_some_and(|rest| rest.ends_with("::"))
        })
    };
    pattern.kind.is_none_or(|kind| kind == splat.kind)
        && pattern.function.as_ref().is_none_or(function)
        && speaks_of(pattern, &evidence(splat))
}

/// Whether lines of evidence are as a pattern's texts want them.
pub fn speaks_of<T: AsRef<str>>(pattern: &Pattern, lines: &[T]) -> bool {
    let some = |holds: &dyn Fn(&str) -> bool| lines.iter().any(|line| holds(line.as_ref()));
    pattern.contains.as_ref().is_none_or(|text| some(&|line| line.contains(text.as_str())))
        && pattern.matches.as_ref().is_none_or(|regex| some(&|line| regex.is_match(line)))
}

/// What a text can be looked for in: what the kernel says of the trouble, not its registers and modules.
fn evidence(finding: &splat::Finding) -> Vec<&str> {
    let body = ["CPU: ", "Modules linked in:", "Call Trace:", "Call trace:", "RIP: "];
    // KASAN's kin print a trace without a line above it.
    let is_body = |line: &&String| body.iter().any(|start| line.starts_with(start)) || splat::is_frame(line);
    let head = finding.excerpt.iter().take_while(|line| !is_body(line));
    // The reason of a panic comes behind all of that.
    let last = finding.excerpt.iter().filter(|line| line.starts_with("Kernel panic"));
    let rest = finding.function.iter().chain(&finding.file_line).chain(&finding.panicked);
    [&finding.title].into_iter().chain(head).chain(last).chain(rest).map(String::as_str).collect()
}
