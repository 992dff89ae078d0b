//! The end of a run: evidence against the run's expectations, and the verdict.

use super::Judge;
use super::step::wanted;
use crate::check;
use crate::entry::EntryWrite;
use crate::findings::excuse;
use crate::judged::{Failure, Finding, Gravity, Judged, JudgedStep, RunReport, SyscallRow};
use crate::places;
use crate::reason::{Reason, Unmet};
use crate::standing::{self, Hang, describe};
use crate::subtests::Results;
use crate::unknown::Unknown;
use crate::verdict::{StepVerdict, Verdict};
use board::wire::{Blame, Door, EndReason, Evidence, LogRecord};
use engine::event::{Ended, RunEnd};
use scenario::model::{Ktap, Watchfulness};
use std::time::Duration;

/// So many lines of the log explain a verdict.
const LOG_LINES: usize = 20;

impl Judge {
    /// The end without evidence.
    pub(super) fn aborted(&mut self, verdict: Verdict, why: Reason) -> Judged {
        let mut report = self.report(&Evidence::default(), Duration::ZERO, Vec::new());
        report.doubt = self.doubt(&report).map(|(_, why)| why);
        // What was known by then stays.
        let known = self.known(&report).filter(|_| verdict == Verdict::Infra);
        let (verdict, reason) =
            known.map_or_else(|| (verdict, why.clone()), |known| and_then(known, why.clone()));
        self.close(RunReport { verdict, reason, ..report })
    }

    /// The end with evidence.
    pub(super) fn ended(&mut self, ended: &Ended) -> Judged {
        if let RunEnd::NoAgent { standing, .. } = &ended.why {
            self.standing = describe(standing, &self.explanation, &*self.names);
            self.hang = Some(Hang::of(standing));
        }
        let rows = self.rows();
        let mut report = self.report(&ended.evidence, ended.ran, rows);
        let unknown = Unknown::of(&ended.evidence, &report.syscalls);
        report.unknown.clone_from(&unknown.0);
        let end = self.end(&ended.why);
        // A run that was cut off did not get to what it should have done: that would be noise.
        let bad_end = self.scenario.expect.ending.is_some() || end.is_final;
        let got_there = self.booted.is_some() && (bad_end || ended.why == RunEnd::Completed);
        if got_there || end.is_final {
            self.run_expectations(&mut report, &unknown);
        }
        report.expectations += usize::from(self.scenario.expect.ending.is_some());
        report.failures.extend(end.missing.clone());
        report.tampered.extend(self.made_up(&ended.why, &report));
        report.doubt = self.doubt(&report).map(|(_, why)| why);
        let (verdict, reason) = self.decide(&ended.why, &report, &end);
        if verdict == Verdict::Infra {
            report.failures.clear();
        }
        self.close(RunReport { verdict, reason, ..report })
    }

    fn close(&mut self, mut report: RunReport) -> Judged {
        self.verdict = Some(report.verdict);
        // A log explains a guest in trouble; beside a number that is wrong, or a finding, it is noise.
        if matches!(
            report.verdict,
            Verdict::Pass | Verdict::Fail | Verdict::BuildFailed | Verdict::Splat | Verdict::Tampered
        ) && self.standing.is_empty()
        {
            report.log_tail.clear();
        }
        Judged::Ended(Box::new(report))
    }

    fn report(&self, evidence: &Evidence, ran: Duration, syscalls: Vec<SyscallRow>) -> RunReport {
        let console: Vec<u8> = self.console.iter().copied().collect();
        let mut console_tail = String::from_utf8_lossy(&console).into_owned();
        // What programs wrote is shown nowhere else. The kernel's lines are, if the log could be read.
        if self.log.iter().next().is_some() {
            console_tail = console_tail.split_inclusive('\n').filter(|line| !is_kernels(line)).collect();
        }
        RunReport {
            verdict: Verdict::Infra,
            reason: Reason::None,
            scenario: self.scenario.name.clone(),
            path: self.scenario.path.clone(),
            steps: self.steps.clone(),
            failures: Vec::new(),
            expectations: self.steps.iter().map(|step| step.expectations).sum(),
            subtests: self.tests_outside().tests,
            findings: self.judged_findings(),
            unknown: Vec::new(),
            taint: self.taint,
            syscalls,
            tampered: self.tampered.clone(),
            entry_writes: evidence
                .entry_writes
                .iter()
                .map(|write| EntryWrite::of(write, &*self.names))
                .collect(),
            not_trapping: self.booted.as_ref().and_then(|booted| booted.not_trapping.clone()),
            exits_until_ready: evidence.exits_until_ready.clone(),
            exits: evidence.exits.clone(),
            device_errors: evidence.device_errors.clone(),
            own_memory_kib: evidence.own_memory_kib,
            standing: self.standing.clone(),
            log_tail: self.log_tail(),
            log_lost: self.log.lost(),
            doubt: None,
            console_tail,
            ran,
        }
    }

    /// The findings as they stand now.
    pub(super) fn findings(&self) -> Vec<Finding> {
        self.findings.now(&self.scenario, &*self.names)
    }

    fn judged_findings(&self) -> Vec<Finding> {
        let mut findings = self.findings();
        for finding in &mut findings {
            finding.excuse = excuse(&self.scenario, finding);
            places::add(&mut finding.splat, &*self.names);
        }
        findings
    }

    fn log_tail(&self) -> Vec<LogRecord> {
        let mut lines = self.log.newest(LOG_LINES);
        for line in &mut lines {
            line.text = self.names.line(&line.text);
        }
        lines
    }

    fn run_expectations(&self, report: &mut RunReport, unknown: &Unknown) {
        let mut failures = Vec::new();
        // Nobody counts calls of a guest that does not come up.
        let calls = self.booted.as_ref().map_or(&[][..], |_| &self.scenario.expect.syscalls);
        for expect in calls {
            report.expectations += usize::from(expect.count.is_some()) + expect.errors.len();
            report.expectations += usize::from(expect.returns.is_some());
            self.call_failures(expect, &report.syscalls, unknown, &mut failures);
        }
        for ((want, line), found) in self.scenario.expect.log.iter().zip(&self.run_log) {
            report.expectations += 1;
            let holes = self.holes.since(self.holes_booted);
            failures.extend(check::log_failure(want, found.clone(), holes, *line));
        }
        if let Some((want, line)) = self.scenario.expect.taint {
            report.expectations += 1;
            let added = self.booted.as_ref().map_or(self.taint.after, |_| self.taint.added());
            failures.extend(check::taint_failure(want, added, line));
        }
        // A boot that fails cuts its tests off, and loads nothing.
        if self.booted.is_some() {
            failures.extend(self.test_failures(report));
            failures.extend(self.hidden_modules(&report.syscalls, unknown));
        }
        report.failures = failures;
    }

    /// What is wrong with the tests that the kernel reported outside of all steps.
    fn test_failures(&self, report: &mut RunReport) -> Vec<Failure> {
        let tests = self.tests_outside();
        let mut failures = tests.failures(Ktap::Judged, 1);
        if let Some(line) = self.scenario.expect.ktap {
            report.expectations += 1;
            if !self.tests_seen && tests.tests.is_empty() {
                failures.extend(tests.failures(Ktap::Required, line));
            }
        }
        failures
    }

    /// Modules that were loaded and not removed, as their calls tell, though the kernel's list of them does not.
    fn hidden_modules(&self, rows: &[SyscallRow], unknown: &Unknown) -> Option<Failure> {
        let (listed, line) = self.modules_listed?;
        let rows: Vec<(Modules, &SyscallRow)> =
            rows.iter().filter_map(|row| Some((Modules::of(row)?, row))).collect();
        // Through other doors than that of 64-bit programs no result is seen.
        let untold = rows.iter().fold(0_u64, |sum, (_, row)| {
            let unseen = if row.door == Door::Syscall64 { row.untold_results } else { row.count() };
            sum.saturating_add(unseen)
        });
        let failure = |got: String| Failure {
            what: "modules (/proc/modules)".into(),
            expected: "as before the first step".into(),
            got,
            line,
        };
        // The list alone is the guest's word.
        if let Some(why) = unknown.results(untold) {
            return Some(failure(format!("not known: {why}")));
        }
        let done = |wanted| -> i64 {
            let done = rows.iter().filter(|(what, _)| *what == wanted);
            let done = done.filter_map(|(_, row)| row.results.get(&0));
            done.fold(0, |sum, count| sum.saturating_add_unsigned(*count))
        };
        let left = done(Modules::More) - done(Modules::Fewer);
        (left > listed).then(|| {
            failure(format!("{left} more were loaded than removed, and {listed} more are in the list"))
        })
    }

    /// The tests that the kernel reported outside of all steps.
    fn tests_outside(&self) -> Results {
        let mut results = Results::default();
        results.log(self.run_ktap.clone().finish());
        results
    }

    /// How the run ended, and whether the scenario wants that.
    fn end(&self, why: &RunEnd) -> End<'_> {
        let mut end = End { is_final: self.final_end_came, excused: &[], missing: None };
        let Some(ending) = &self.scenario.expect.ending else { return end };
        let otherwise = self.how(why).to_string();
        let mut others: Vec<String> = self.log_tail().into_iter().map(|line| line.text).collect();
        others.push(otherwise.clone());
        if self.ending_is(ending, |_| true, &others) {
            end.is_final |= ending.kind.is_final();
            end.excused = &self.cut;
        } else {
            end.missing = Some(Failure {
                what: check::END.into(),
                expected: wanted(ending),
                got: self.seen(|_| true, &otherwise),
                line: ending.line,
            });
        }
        end
    }

    /// How the run ended, as the reason of a verdict.
    fn how(&self, why: &RunEnd) -> Reason {
        match why {
            _ if self.booted.is_none() => self.boot_failed(why).1,
            RunEnd::Completed => Reason::Completed,
            RunEnd::StepTimedOut { index } => self.hung(*index).1,
            RunEnd::Panicked => Reason::Panicked { booting: false },
            RunEnd::SwitchedOff => Reason::SwitchedOff,
            RunEnd::Machine(end) => machine(end),
            RunEnd::BadAgent(why) => Reason::BadAgent { why: why.clone(), hello: false },
            RunEnd::NoAgent { .. } => Reason::Contradiction("no agent after its hello".into()),
        }
    }

    /// The verdict.
    fn decide(&self, why: &RunEnd, report: &RunReport, end: &End<'_>) -> (Verdict, Reason) {
        let unexpected =
            |gravity| report.findings.iter().find(|finding| finding.gravity == gravity && finding.counts());
        let panic = unexpected(Gravity::Panic);
        // Whoever does that may have made up all the rest.
        if let Some(tampered) = report.tampered.first() {
            return (Verdict::Tampered, Reason::Tampered(Box::new(tampered.clone())));
        }
        if let Some(write) = report.entry_writes.first() {
            return (Verdict::Tampered, Reason::EntryMoved(write.clone()));
        }
        let Some(booted) = &self.booted else {
            return match self.boot_failed(why) {
                (Verdict::BootFailed, _) if end.is_final => self.compared(report, end),
                other => other,
            };
        };
        if let RunEnd::Machine(reason @ (EndReason::Failed { .. } | EndReason::Stopped)) = why {
            let end = machine(reason);
            // No end erases what was known before it.
            return match (self.known(report), reason.blame()) {
                (Some(known), _) => and_then(known, end),
                (None, Blame::Host) => (Verdict::Infra, end),
                (None, Blame::Guest) => (Verdict::Fail, end),
                // Nobody who tests the guest may have a verdict of infra for what the guest did.
                (None, Blame::Unknown) => {
                    (Verdict::Fail, Reason::Machine { end: reason.clone(), unsure: true })
                }
            };
        }
        if let Some(panic) = panic {
            return (Verdict::Panic, reason_of(panic));
        }
        if !end.is_final {
            match why {
                RunEnd::Panicked => return (Verdict::Panic, Reason::Panicked { booting: false }),
                RunEnd::Machine(end @ EndReason::TripleFault) => return (Verdict::Panic, machine(end)),
                RunEnd::StepTimedOut { index } => return self.hung(*index),
                _ => {}
            }
        }
        if let Some(oops) = unexpected(Gravity::Oops) {
            return (Verdict::Oops, reason_of(oops));
        }
        match why {
            // No guest's own agent sends that.
            RunEnd::BadAgent(_) => return (Verdict::Tampered, self.how(why)),
            RunEnd::Machine(EndReason::Reset) if !end.is_final => return (Verdict::Fail, self.how(why)),
            RunEnd::SwitchedOff if !end.is_final => return (Verdict::Fail, self.how(why)),
            RunEnd::NoAgent { .. } => return (Verdict::Infra, self.how(why)),
            _ => {}
        }
        if let Some(why) = &booted.not_trapping
            && !self.scenario.expect.syscalls.is_empty()
        {
            return (Verdict::Infra, Reason::NotCounted(why.clone()));
        }
        self.compared(report, end)
    }

    /// What is known against the kernel, or of failed steps, however the run ends.
    fn known(&self, report: &RunReport) -> Option<(Verdict, Reason)> {
        let worst =
            report.findings.iter().filter(|finding| finding.counts()).max_by_key(|finding| finding.gravity);
        let of = |finding: &Finding| match finding.gravity {
            Gravity::Panic => Verdict::Panic,
            Gravity::Oops => Verdict::Oops,
            Gravity::Splat | Gravity::Harmless => Verdict::Splat,
        };
        let found = worst.map(|finding| (of(finding), reason_of(finding)));
        if found.as_ref().is_some_and(|(verdict, _)| *verdict != Verdict::Splat) {
            return found;
        }
        // The step that the end came in did not fail by itself.
        let failed = |step: &&JudgedStep| step.verdict.is_bad() && self.lost != Some(step.index);
        let failed = self.steps.iter().filter(failed).count();
        let unmet = Unmet { steps: self.steps.len(), failed, ..Unmet::default() };
        (failed > 0).then_some((Verdict::Fail, Reason::Unmet(unmet))).or(found)
    }

    /// The verdict of a guest that is in good health.
    fn compared(&self, report: &RunReport, end: &End<'_>) -> (Verdict, Reason) {
        let count = |verdict| self.steps.iter().filter(|step| step.verdict == verdict).count();
        let (failed, late) = (count(StepVerdict::Fail), count(StepVerdict::Timeout));
        let missed =
            |step: &&JudgedStep| !step.is_done() && !end.is_final && !end.excused.contains(&step.index);
        let missed = self.steps.iter().filter(missed).count();
        let unmet =
            Unmet { steps: self.steps.len(), failed, late, missed, of_the_run: report.failures.len() };
        if !unmet.is_nothing() {
            return (Verdict::Fail, Reason::Unmet(unmet));
        }
        if let Some(splat) = report.findings.iter().find(|finding| finding.counts()) {
            return (Verdict::Splat, reason_of(splat));
        }
        self.doubt(report).unwrap_or((Verdict::Pass, Reason::None))
    }

    /// What keeps a run from passing in which everything that is known is well.
    fn doubt(&self, report: &RunReport) -> Option<(Verdict, Reason)> {
        if let Some(unexplained) = self.unexplained(report) {
            return Some(unexplained);
        }
        if report.log_lost > 0 {
            return Some((Verdict::Fail, Reason::LogLost(report.log_lost)));
        }
        let unseen = report.unknown.iter().find(|unseen| unseen.is_of_steps());
        let unseen = unseen.filter(|_| self.scenario.evidence != Watchfulness::Basic);
        if let Some(unseen) = unseen {
            return Some((Verdict::Fail, Reason::Unseen(unseen.to_string())));
        }
        // Nobody watched, and before anything of the scenario ran it was known why.
        let blind = self.booted.as_ref().and_then(|booted| booted.not_trapping.as_ref());
        let blind = blind.filter(|_| self.scenario.evidence != Watchfulness::Basic);
        blind.map(|why| (Verdict::Infra, Reason::NotCounted(why.clone())))
    }

    fn boot_failed(&self, why: &RunEnd) -> (Verdict, Reason) {
        let findings = self.findings();
        let panic = findings.iter().find(|finding| finding.gravity == Gravity::Panic);
        let reason = match (panic, why) {
            (Some(panic), _) => reason_of(panic),
            (None, RunEnd::Machine(end)) if end.blame() == Blame::Host => {
                return (Verdict::Infra, machine(end));
            }
            (None, RunEnd::NoAgent { limit, greeted: true, .. }) => Reason::Mute(*limit),
            (None, RunEnd::NoAgent { limit, .. }) => Reason::NoAgent(*limit),
            (None, RunEnd::Panicked) => Reason::Panicked { booting: true },
            (None, RunEnd::SwitchedOff) => Reason::SwitchedOff,
            (None, RunEnd::BadAgent(why)) => Reason::BadAgent { why: why.clone(), hello: true },
            (None, RunEnd::Machine(end)) => machine(end),
            (None, RunEnd::Completed | RunEnd::StepTimedOut { .. }) => {
                return (Verdict::Infra, Reason::Contradiction("steps without a boot".into()));
            }
        };
        (Verdict::BootFailed, reason)
    }

    fn hung(&self, index: usize) -> (Verdict, Reason) {
        let verdict = match self.hang {
            Some(Hang::Spinning) => Verdict::HangSpinning,
            Some(Hang::Idle) | None => Verdict::HangIdle,
        };
        let step = self.steps.get(index).map_or("a step", |step| &step.title).to_owned();
        // Of a guest that sleeps it matters who waits for what, not where its vCPUs halted.
        let place = standing::waits(&self.explanation, &*self.names)
            .filter(|_| self.hang != Some(Hang::Spinning))
            .or_else(|| self.standing.first().cloned());
        (verdict, Reason::Hung { step, place })
    }
}

/// What a call makes of how many modules there are.
#[derive(Clone, Copy, PartialEq)]
enum Modules {
    More,
    Fewer,
}

impl Modules {
    /// `init_module`, `finit_module` and `delete_module`, by their numbers: the table of 32-bit programs may not be known by its names.
    fn of(row: &SyscallRow) -> Option<Self> {
        let (more, fewer) = match row.door {
            Door::Syscall64 => ([175, 313], 176),
            Door::Syscall32 | Door::Sysenter | Door::Int80 => ([128, 350], 129),
        };
        more.contains(&row.nr).then_some(Self::More).or((row.nr == fewer).then_some(Self::Fewer))
    }
}

/// How a run ended, as its scenario sees it.
struct End<'a> {
    /// It was to end like that, and nothing could be done any more: steps that did not run are no failure.
    is_final: bool,
    /// Steps that were cut off by the end that the run should come to.
    excused: &'a [usize],
    /// The end that should have come, and did not.
    missing: Option<Failure>,
}

/// A finding as the reason of a verdict.
fn reason_of(finding: &Finding) -> Reason {
    Reason::Finding { title: finding.splat.title.clone(), panicked: finding.splat.panicked.clone() }
}

/// What was known, and how the run ended after that.
fn and_then((verdict, known): (Verdict, Reason), end: Reason) -> (Verdict, Reason) {
    (verdict, Reason::AndThen { known: Box::new(known), end: Box::new(end) })
}

/// The machine's own end as a reason.
fn machine(end: &EndReason) -> Reason {
    Reason::Machine { end: end.clone(), unsure: false }
}

/// Whether the kernel printed this to its console, `[    1.234567] text`.
fn is_kernels(line: &str) -> bool {
    let time =
        line.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map(|(time, _)| time.trim_start());
    time.and_then(|time| time.split_once('.'))
        .is_some_and(|parts| [parts.0, parts.1].iter().all(|part| part.parse::<u64>().is_ok()))
}
