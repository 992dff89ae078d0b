//! The end of a run: evidence against the run's expectations, and the verdict.

use super::Judge;
use super::check::{self, holds, show_interval};
use super::judged::{Failure, FindingKind, Judged, RunReport, SyscallRow};
use super::standing::{Hang, describe};
use super::step::wanted;
use super::verdict::{StepVerdict, Verdict};
use crate::event::{Ended, RunEnd};
use crate::scenario::errno::Errno;
use crate::scenario::model::{CallExpect, CallName};
use crate::text::time;
use board::wire::{Door, EndReason, Evidence, Origin};
use std::collections::BTreeMap;
use std::time::Duration;

/// So many lines of the log explain a verdict.
const LOG_LINES: usize = 20;

impl Judge {
    /// The end without evidence.
    pub(super) fn aborted(&mut self, verdict: Verdict, why: String) -> Judged {
        let report = self.report(&Evidence::default(), Duration::ZERO, Vec::new());
        self.close(RunReport { verdict, reason: why, ..report })
    }

    /// The end with evidence.
    pub(super) fn ended(&mut self, ended: &Ended) -> Judged {
        if let RunEnd::NoAgent { standing, .. } = &ended.why {
            self.standing = describe(standing, &self.names);
            self.hang = Some(Hang::of(standing));
        }
        let rows = self.rows(&ended.evidence);
        let mut report = self.report(&ended.evidence, ended.ran, rows);
        // A run that was cut off did not get to what it should have done: that would be noise.
        let bad_end = self.scenario.expect.ending.is_some() || self.ending_came;
        if self.booted.is_some() && (bad_end || ended.why == RunEnd::Completed) {
            self.run_expectations(&mut report);
        }
        let (verdict, reason) = self.decide(&ended.why, &report);
        let (verdict, reason) = self.expected_end(verdict, reason, &mut report);
        self.close(RunReport { verdict, reason, ..report })
    }

    fn close(&mut self, mut report: RunReport) -> Judged {
        self.verdict = Some(report.verdict);
        // A log explains a guest in trouble; beside a number that is wrong it is noise.
        if matches!(report.verdict, Verdict::Pass | Verdict::Fail | Verdict::BuildFailed)
            && self.standing.is_empty()
        {
            report.log_tail.clear();
            report.console_tail.clear();
        }
        if !report.log_tail.is_empty() {
            report.console_tail.clear();
        }
        Judged::Ended(Box::new(report))
    }

    fn report(&self, evidence: &Evidence, ran: Duration, syscalls: Vec<SyscallRow>) -> RunReport {
        let console: Vec<u8> = self.console.iter().copied().collect();
        RunReport {
            verdict: Verdict::Infra,
            reason: String::new(),
            scenario: self.scenario.name.clone(),
            path: self.scenario.path.clone(),
            steps: self.steps.clone(),
            failures: Vec::new(),
            expectations: self.steps.iter().map(|step| step.expectations).sum(),
            findings: self.findings.clone(),
            syscalls,
            not_trapping: self.booted.as_ref().and_then(|booted| booted.not_trapping.clone()),
            exits_until_ready: evidence.exits_until_ready.clone(),
            exits: evidence.exits.clone(),
            device_errors: evidence.device_errors.clone(),
            own_memory_kib: evidence.own_memory_kib,
            standing: self.standing.clone(),
            log_tail: self.log.newest(LOG_LINES),
            console_tail: String::from_utf8_lossy(&console).into_owned(),
            ran,
        }
    }

    /// What each system call came to; those that the scenario names first, then by count.
    fn rows(&self, evidence: &Evidence) -> Vec<SyscallRow> {
        let mut rows: BTreeMap<(Door, u64), SyscallRow> = BTreeMap::new();
        for seen in &evidence.syscalls {
            let row = rows.entry((seen.door, seen.nr)).or_insert_with(|| SyscallRow {
                door: seen.door,
                nr: seen.nr,
                name: self.call_name(seen.door, seen.nr),
                step: 0,
                program: 0,
                agent: 0,
                errors: BTreeMap::new(),
            });
            let count = match seen.origin {
                Origin::Step => &mut row.step,
                Origin::Program => &mut row.program,
                Origin::Agent => &mut row.agent,
            };
            *count = count.saturating_add(seen.count);
            if seen.origin != Origin::Agent {
                for (errno, count) in &seen.errors {
                    let sum = row.errors.entry(Errno(*errno).to_string()).or_default();
                    *sum = sum.saturating_add(*count);
                }
            }
        }
        let mut rows: Vec<SyscallRow> = rows.into_values().collect();
        let named = |row: &SyscallRow| {
            let wanted = &self.scenario.expect.syscalls;
            wanted.iter().position(|expect| concerns(&expect.call, row)).unwrap_or(wanted.len())
        };
        rows.sort_by_cached_key(|row| (named(row), std::cmp::Reverse(row.count()), row.name.clone()));
        rows
    }

    fn call_name(&self, door: Door, nr: u64) -> String {
        // Only the 64-bit table's names are known; the other doors count by the 32-bit one.
        let name = if door == Door::Syscall64 { (self.names.syscall)(nr) } else { None };
        name.unwrap_or_else(|| match door {
            Door::Syscall64 => format!("syscall_{nr}"),
            Door::Syscall32 | Door::Sysenter | Door::Int80 => format!("syscall32_{nr}"),
        })
    }

    fn run_expectations(&self, report: &mut RunReport) {
        let mut failures = Vec::new();
        for expect in &self.scenario.expect.syscalls {
            report.expectations += usize::from(expect.count.is_some()) + expect.errors.len();
            self.call_failures(expect, &report.syscalls, &mut failures);
        }
        for ((want, line), found) in self.scenario.expect.log.iter().zip(&self.run_log) {
            report.expectations += 1;
            failures.extend(check::log_failure(want, found.clone(), *line));
        }
        report.failures = failures;
    }

    fn call_failures(&self, expect: &CallExpect, rows: &[SyscallRow], failures: &mut Vec<Failure>) {
        let rows = || rows.iter().filter(|row| concerns(&expect.call, row));
        let name = match &expect.call {
            CallName::Name(name, _) => name.clone(),
            CallName::Nr(nr) => format!("system call {nr}"),
        };
        let mut compare = |what: String, range, number: u64| {
            if !holds(range, number.into(), &self.values) {
                let (expected, got) = (show_interval(range, &self.values), number.to_string());
                failures.push(Failure { what, expected, got, line: expect.line });
            }
        };
        if let Some(range) = &expect.count {
            let count = rows().fold(0_u64, |sum, row| sum.saturating_add(row.count()));
            compare(format!("calls of {name}"), range, count);
        }
        for (errno, range) in &expect.errors {
            let key = errno.to_string();
            let count =
                rows().fold(0_u64, |sum, row| sum.saturating_add(row.errors.get(&key).copied().unwrap_or(0)));
            compare(format!("calls of {name} with {errno}"), range, count);
        }
    }

    /// The verdict of what happened, before the scenario's wish for a bad end is looked at.
    fn decide(&self, why: &RunEnd, report: &RunReport) -> (Verdict, String) {
        let unexpected =
            |kind| self.findings.iter().find(|finding| finding.kind == kind && !finding.expected);
        let panic = unexpected(FindingKind::Panic);
        let Some(booted) = &self.booted else { return self.boot_failed(why) };
        if let RunEnd::Machine(reason @ (EndReason::KvmError(_) | EndReason::Internal(_))) = why {
            return (Verdict::Infra, machine_end(reason));
        }
        if let Some(panic) = panic {
            return (Verdict::Panic, panic.title.clone());
        }
        if !self.ending_came {
            match why {
                RunEnd::Panicked => return (Verdict::Panic, "the kernel panicked".into()),
                RunEnd::Machine(EndReason::TripleFault) => {
                    return (Verdict::Panic, machine_end(&EndReason::TripleFault));
                }
                RunEnd::StepTimedOut { index } => return self.hung(*index),
                _ => {}
            }
        }
        if let Some(oops) = unexpected(FindingKind::Oops) {
            return (Verdict::Oops, oops.title.clone());
        }
        match why {
            RunEnd::BadAgent(text) => {
                return (Verdict::Fail, format!("the agent's answers make no sense: {text}"));
            }
            RunEnd::Machine(reason @ EndReason::Reset) if !self.ending_came => {
                return (Verdict::Fail, machine_end(reason));
            }
            RunEnd::Machine(reason @ EndReason::Stopped) => return (Verdict::Infra, machine_end(reason)),
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
        self.compared(report)
    }

    /// The verdict of a guest that is in good health.
    fn compared(&self, report: &RunReport) -> (Verdict, String) {
        let failed = self.steps.iter().filter(|step| step.verdict == StepVerdict::Fail).count();
        let missed = self.steps.iter().filter(|step| step.verdict == StepVerdict::NotRun).count();
        let mut reasons = Vec::new();
        if failed > 0 {
            reasons.push(format!("{failed} of {} steps failed", self.steps.len()));
        }
        if missed > 0 && !self.ending_came {
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
        match self.findings.iter().find(|finding| !finding.expected) {
            Some(splat) => (Verdict::Splat, splat.title.clone()),
            None => (Verdict::Pass, String::new()),
        }
    }

    fn boot_failed(&self, why: &RunEnd) -> (Verdict, String) {
        let panic = self.findings.iter().find(|finding| finding.kind == FindingKind::Panic);
        let reason = match (panic, why) {
            (
                _,
                RunEnd::Machine(
                    reason @ (EndReason::KvmError(_) | EndReason::Internal(_) | EndReason::Stopped),
                ),
            ) => {
                return (Verdict::Infra, machine_end(reason));
            }
            (Some(panic), _) => panic.title.clone(),
            (None, RunEnd::NoAgent { limit, .. }) => {
                format!("the agent did not say hello within {}", time(*limit))
            }
            (None, RunEnd::Panicked) => "the kernel panicked while it booted".into(),
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
        let place = self.standing.first().map_or(String::new(), |place| format!(": {place}"));
        (verdict, format!("`{step}` did not end{place}"))
    }

    /// A run that is to end badly passes when it does, and fails when it does not.
    fn expected_end(&self, verdict: Verdict, reason: String, report: &mut RunReport) -> (Verdict, String) {
        let Some(ending) = &self.scenario.expect.ending else { return (verdict, reason) };
        report.expectations += 1;
        let sound =
            report.failures.is_empty() && self.steps.iter().all(|step| step.verdict != StepVerdict::Fail);
        if verdict == Verdict::Infra {
            return (verdict, reason);
        }
        if self.ending_is(ending, |_| true) {
            for finding in &mut report.findings {
                finding.expected = true;
            }
            return if sound { (Verdict::Pass, String::new()) } else { self.compared(report) };
        }
        let got = if reason.is_empty() { verdict.to_string() } else { format!("{verdict}: {reason}") };
        report.failures.push(Failure {
            what: "end of the run".into(),
            expected: wanted(ending),
            got: got.clone(),
            line: ending.line,
        });
        match verdict {
            Verdict::Pass => (Verdict::Fail, "the run did not end as it should".into()),
            _ => (verdict, reason),
        }
    }
}

fn concerns(call: &CallName, row: &SyscallRow) -> bool {
    match call {
        CallName::Name(name, _) => row.name == *name,
        CallName::Nr(nr) => row.nr == *nr && row.door == Door::Syscall64,
    }
}

fn machine_end(reason: &EndReason) -> String {
    match reason {
        EndReason::Stopped => "the machine was stopped before the run was done".into(),
        EndReason::Reset => "the guest reset itself".into(),
        EndReason::TripleFault => "a vCPU took a triple fault".into(),
        EndReason::KvmError(text) => format!("KVM gave up on the guest: {text}"),
        EndReason::Internal(text) => format!("the machine process failed: {text}"),
    }
}
