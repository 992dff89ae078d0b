//! The end of a run: evidence against the run's expectations, and the verdict.

use super::Judge;
use super::step::wanted;
use crate::check;
use crate::findings::excuse;
use crate::judged::{Failure, Finding, Gravity, Judged, JudgedStep, RunReport, SyscallRow};
use crate::places;
use crate::standing::{self, Hang, describe};
use crate::subtests::Results;
use crate::unknown::{Unknown, lost};
use crate::verdict::{StepVerdict, Verdict};
use base::taint;
use base::text::time;
use board::wire::{Blame, EndReason, EntryWrite, Evidence, LogRecord};
use engine::event::{Ended, RunEnd};
use scenario::model::Ktap;
use std::time::Duration;

/// So many lines of the log explain a verdict.
const LOG_LINES: usize = 20;
/// How a run ends whose guest calls `reboot` to halt or to power off.
const SWITCHED_OFF: &str = "the guest halted, or switched itself off";

impl Judge {
    /// The end without evidence.
    pub(super) fn aborted(&mut self, verdict: Verdict, why: String) -> Judged {
        let report = self.report(&Evidence::default(), Duration::ZERO, Vec::new());
        // What was known by then stays.
        let known = self.known(&report).filter(|_| verdict == Verdict::Infra);
        let (verdict, reason) = known.map_or((verdict, why.clone()), |known| and_then(known, &why));
        self.close(RunReport { verdict, reason, ..report })
    }

    /// The end with evidence.
    pub(super) fn ended(&mut self, ended: &Ended) -> Judged {
        if let RunEnd::NoAgent { standing, .. } = &ended.why {
            self.standing = describe(standing, &self.explanation, &self.names);
            self.hang = Some(Hang::of(standing));
        }
        let rows = self.rows();
        let mut report = self.report(&ended.evidence, ended.ran, rows);
        let unknown = Unknown::of(&ended.evidence);
        report.unknown = unknown.lines();
        let end = self.end(&ended.why);
        // A run that was cut off did not get to what it should have done: that would be noise.
        let bad_end = self.scenario.expect.ending.is_some() || end.is_final;
        if self.booted.is_some() && (bad_end || ended.why == RunEnd::Completed) {
            self.run_expectations(&mut report, &unknown);
        }
        report.expectations += usize::from(self.scenario.expect.ending.is_some());
        report.failures.extend(end.missing.clone());
        let (verdict, reason) = self.decide(&ended.why, &report, &end);
        if verdict == Verdict::Infra {
            report.failures.clear();
        }
        self.close(RunReport { verdict, reason, ..report })
    }

    fn close(&mut self, mut report: RunReport) -> Judged {
        self.verdict = Some(report.verdict);
        // A log explains a guest in trouble; beside a number that is wrong, or a finding, it is noise.
        if matches!(report.verdict, Verdict::Pass | Verdict::Fail | Verdict::BuildFailed | Verdict::Splat)
            && self.standing.is_empty()
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
            reason: String::new(),
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
            entry_writes: evidence.entry_writes.iter().map(|write| self.entry_write(write)).collect(),
            not_trapping: self.booted.as_ref().and_then(|booted| booted.not_trapping.clone()),
            exits_until_ready: evidence.exits_until_ready.clone(),
            exits: evidence.exits.clone(),
            device_errors: evidence.device_errors.clone(),
            own_memory_kib: evidence.own_memory_kib,
            standing: self.standing.clone(),
            log_tail: self.log_tail(),
            log_lost: self.log.lost(),
            console_tail,
            ran,
        }
    }

    fn entry_write(&self, write: &EntryWrite) -> String {
        let place = |address| {
            (self.names.symbol)(address)
                .map_or(format!("{address:#x}"), |name| format!("{address:#x} ({name})"))
        };
        let msr = match write.msr {
            0xc000_0081 => "MSR_STAR".to_owned(),
            0xc000_0082 => "MSR_LSTAR".to_owned(),
            0xc000_0083 => "MSR_CSTAR".to_owned(),
            0xc000_0084 => "MSR_SYSCALL_MASK".to_owned(),
            0x174 => "MSR_IA32_SYSENTER_CS".to_owned(),
            0x175 => "MSR_IA32_SYSENTER_ESP".to_owned(),
            0x176 => "MSR_IA32_SYSENTER_EIP".to_owned(),
            other => format!("MSR {other:#x}"),
        };
        let (from, to, by) = (place(write.from), place(write.to), place(write.rip));
        format!("{msr} of vCPU {} from {from} to {to}, by the instruction at {by}", write.vcpu)
    }

    fn judged_findings(&self) -> Vec<Finding> {
        let mut findings = self.findings.now();
        for finding in &mut findings {
            finding.excuse = excuse(&self.scenario, finding);
            places::add(&mut finding.splat, &self.names);
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
        for expect in &self.scenario.expect.syscalls {
            report.expectations += usize::from(expect.count.is_some()) + expect.errors.len();
            report.expectations += usize::from(expect.returns.is_some());
            self.call_failures(expect, &report.syscalls, unknown, &mut failures);
        }
        for ((want, line), found) in self.scenario.expect.log.iter().zip(&self.run_log) {
            report.expectations += 1;
            failures.extend(check::log_failure(want, found.clone(), self.holes, *line));
        }
        if let Some((want, line)) = self.scenario.expect.taint {
            report.expectations += 1;
            failures.extend(check::taint_failure(want, self.taint.added(), line));
        }
        let tests = self.tests_outside();
        failures.extend(tests.failures(Ktap::Judged, 1));
        if let Some(line) = self.scenario.expect.ktap {
            report.expectations += 1;
            if !self.tests_seen && tests.tests.is_empty() {
                failures.extend(tests.failures(Ktap::Required, line));
            }
        }
        report.failures = failures;
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
        let otherwise = self.in_words(why);
        let mut others: Vec<String> = self.log_tail().into_iter().map(|line| line.text).collect();
        others.push(otherwise.clone());
        if self.ending_is(ending, |_| true, &others) {
            end.is_final |= ending.kind.is_final();
            end.excused = &self.cut;
        } else {
            end.missing = Some(Failure {
                what: "end of the run".into(),
                expected: wanted(ending),
                got: self.seen(|_| true, &otherwise),
                line: ending.line,
            });
        }
        end
    }

    fn in_words(&self, why: &RunEnd) -> String {
        match why {
            _ if self.booted.is_none() => self.boot_failed(why).1,
            RunEnd::Completed => "every step was done".into(),
            RunEnd::StepTimedOut { index } => self.hung(*index).1,
            RunEnd::Panicked => "the kernel panicked".into(),
            RunEnd::SwitchedOff => SWITCHED_OFF.into(),
            RunEnd::Machine(reason) => machine_end(reason),
            RunEnd::BadAgent(text) => format!("the agent's answers make no sense: {text}"),
            RunEnd::NoAgent { .. } => "the run contradicts itself".into(),
        }
    }

    /// The verdict.
    fn decide(&self, why: &RunEnd, report: &RunReport, end: &End<'_>) -> (Verdict, String) {
        let unexpected =
            |gravity| report.findings.iter().find(|finding| finding.gravity == gravity && finding.counts());
        let panic = unexpected(Gravity::Panic);
        let Some(booted) = &self.booted else {
            return match self.boot_failed(why) {
                (Verdict::BootFailed, _) if end.is_final => self.compared(report, end),
                other => other,
            };
        };
        if let RunEnd::Machine(reason @ (EndReason::Failed { .. } | EndReason::Stopped)) = why {
            let why = machine_end(reason);
            // No end erases what was known before it.
            return match (self.known(report), reason.blame()) {
                (Some(known), _) => and_then(known, &why),
                (None, Blame::Host) => (Verdict::Infra, why),
                (None, Blame::Guest) => (Verdict::Fail, why),
                // Nobody who tests the guest may have a verdict of infra for what the guest did.
                (None, Blame::Unknown) => {
                    (Verdict::Fail, format!("{why} (this may be the guest's doing, or not)"))
                }
            };
        }
        if let Some(panic) = panic {
            return (Verdict::Panic, reason_of(panic));
        }
        if !end.is_final {
            match why {
                RunEnd::Panicked => return (Verdict::Panic, "the kernel panicked".into()),
                RunEnd::Machine(EndReason::TripleFault) => {
                    return (Verdict::Panic, machine_end(&EndReason::TripleFault));
                }
                RunEnd::StepTimedOut { index } => return self.hung(*index),
                _ => {}
            }
        }
        if let Some(oops) = unexpected(Gravity::Oops) {
            return (Verdict::Oops, reason_of(oops));
        }
        match why {
            RunEnd::BadAgent(text) => {
                return (Verdict::Fail, format!("the agent's answers make no sense: {text}"));
            }
            RunEnd::Machine(reason @ EndReason::Reset) if !end.is_final => {
                return (Verdict::Fail, machine_end(reason));
            }
            RunEnd::SwitchedOff if !end.is_final => return (Verdict::Fail, SWITCHED_OFF.into()),
            RunEnd::NoAgent { .. } => {
                return (Verdict::Infra, "the run contradicts itself: no agent after its hello".into());
            }
            _ => {}
        }
        if let Some(why) = &booted.not_trapping
            && !self.scenario.expect.syscalls.is_empty()
        {
            return (Verdict::Infra, format!("system calls can't be counted here: {why}"));
        }
        self.compared(report, end)
    }

    /// What is known against the kernel, or of failed steps, however the run ends.
    fn known(&self, report: &RunReport) -> Option<(Verdict, String)> {
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
        let failed =
            (failed > 0).then(|| (Verdict::Fail, format!("{failed} of {} steps failed", self.steps.len())));
        failed.or(found)
    }

    /// The verdict of a guest that is in good health.
    fn compared(&self, report: &RunReport, end: &End<'_>) -> (Verdict, String) {
        let count = |verdict| self.steps.iter().filter(|step| step.verdict == verdict).count();
        let (failed, late) = (count(StepVerdict::Fail), count(StepVerdict::Timeout));
        let missed =
            |step: &&JudgedStep| !step.is_done() && !end.is_final && !end.excused.contains(&step.index);
        let missed = self.steps.iter().filter(missed).count();
        let mut reasons = Vec::new();
        if failed > 0 {
            reasons.push(format!("{failed} of {} steps failed", self.steps.len()));
        }
        if late > 0 {
            reasons.push(format!("{late} of {} steps took too long", self.steps.len()));
        }
        if missed > 0 {
            reasons.push(format!("{missed} of {} steps did not run", self.steps.len()));
        }
        match report.failures.len() {
            0 => {}
            1 => reasons.push("an expectation of the run did not hold".into()),
            count => reasons.push(format!("{count} expectations of the run did not hold")),
        }
        if !reasons.is_empty() {
            return (Verdict::Fail, reasons.join(", "));
        }
        if let Some(write) = report.entry_writes.first() {
            return (Verdict::Fail, format!("the guest moved where system calls enter the kernel: {write}"));
        }
        if let Some(splat) = report.findings.iter().find(|finding| finding.counts()) {
            return (Verdict::Splat, reason_of(splat));
        }
        if let Some(unexplained) = self.unexplained(report) {
            return unexplained;
        }
        if report.log_lost > 0 {
            let why = "what they said may be against it";
            return (Verdict::Fail, format!("{}: {why}", lost(report.log_lost)));
        }
        (Verdict::Pass, String::new())
    }

    /// A taint that the kernel gives itself when it is in trouble, though no finding tells of any: the log was
    /// flooded, or somebody tampered with it.
    fn unexplained(&self, report: &RunReport) -> Option<(Verdict, String)> {
        let added = self.taint.added()?;
        let worst = report.findings.iter().map(|finding| finding.gravity).max();
        [("D", "an oops", Gravity::Oops, Verdict::Oops), ("W", "a warning", Gravity::Splat, Verdict::Splat)]
            .into_iter()
            .find(|(letter, _, gravity, _)| {
                added & taint::bit(letter).unwrap_or(0) != 0 && worst.is_none_or(|worst| worst < *gravity)
            })
            .map(|(letter, what, _, verdict)| {
                let holes = match report.log_lost {
                    0 => String::new(),
                    holes => format!(" ({})", lost(holes)),
                };
                (
                    verdict,
                    format!("the kernel's taint {letter} tells of {what} that is not in its log{holes}"),
                )
            })
    }

    fn boot_failed(&self, why: &RunEnd) -> (Verdict, String) {
        let findings = self.findings.now();
        let panic = findings.iter().find(|finding| finding.gravity == Gravity::Panic);
        let reason = match (panic, why) {
            (Some(panic), _) => reason_of(panic),
            (None, RunEnd::Machine(reason)) if reason.blame() == Blame::Host => {
                return (Verdict::Infra, machine_end(reason));
            }
            (None, RunEnd::NoAgent { limit, .. }) => {
                format!("the agent did not say hello within {}", time(*limit))
            }
            (None, RunEnd::Panicked) => "the kernel panicked while it booted".into(),
            (None, RunEnd::SwitchedOff) => SWITCHED_OFF.into(),
            (None, RunEnd::BadAgent(text)) => format!("the agent's hello makes no sense: {text}"),
            (None, RunEnd::Machine(reason)) => machine_end(reason),
            (None, RunEnd::Completed | RunEnd::StepTimedOut { .. }) => {
                return (Verdict::Infra, "the run contradicts itself: steps without a boot".into());
            }
        };
        (Verdict::BootFailed, reason)
    }

    fn hung(&self, index: usize) -> (Verdict, String) {
        let verdict = match self.hang {
            Some(Hang::Spinning) => Verdict::HangSpinning,
            Some(Hang::Idle) | None => Verdict::HangIdle,
        };
        let step = self.steps.get(index).map_or("a step", |step| &step.title);
        // Of a guest that sleeps it matters who waits for what, not where its vCPUs halted.
        let place = standing::waits(&self.explanation, &self.names)
            .filter(|_| self.hang != Some(Hang::Spinning))
            .or_else(|| self.standing.first().cloned());
        let place = place.map_or(String::new(), |place| format!(": {place}"));
        (verdict, format!("`{step}` did not end{place}"))
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
fn reason_of(finding: &Finding) -> String {
    match finding.splat.panicked.as_deref() {
        Some(why) => format!("{}, then the kernel panicked: {why}", finding.splat.title),
        None => finding.splat.title.clone(),
    }
}

/// What was known, and how the run ended after that.
fn and_then((verdict, reason): (Verdict, String), end: &str) -> (Verdict, String) {
    (verdict, format!("{reason}; then the run ended: {end}"))
}

/// Whether the kernel printed this to its console, `[    1.234567] text`.
fn is_kernels(line: &str) -> bool {
    let time =
        line.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map(|(time, _)| time.trim_start());
    time.and_then(|time| time.split_once('.'))
        .is_some_and(|parts| [parts.0, parts.1].iter().all(|part| part.parse::<u64>().is_ok()))
}

fn machine_end(reason: &EndReason) -> String {
    match reason {
        EndReason::Stopped => "the machine was stopped before the run was done".into(),
        EndReason::Reset => "the guest reset itself".into(),
        EndReason::TripleFault => "a vCPU took a triple fault".into(),
        EndReason::Failed { blame: Blame::Host, why } => format!("the machine process failed: {why}"),
        EndReason::Failed { blame: Blame::Guest | Blame::Unknown, why } => why.clone(),
    }
}
