//! What the kernel itself says of its troubles, by its taint and its counts, against what its log tells: reports that are not there, and
//! some that nobody but the log knows of.

use super::Judge;
use crate::judged::{Excuse, Finding, Gravity, RunReport};
use crate::noted::tainted_by;
use crate::reason::Reason;
use crate::tampered::Tampered;
use crate::verdict::{StepVerdict, Verdict};
use base::taint;
use board::wire::EndReason;
use engine::event::RunEnd;
use splat::Kind;

impl Judge {
    /// A taint that the kernel gives itself when it is in trouble, though no finding tells of any: the log was
    /// flooded, or somebody tampered with it.
    pub(super) fn unexplained(&self, report: &RunReport) -> Option<(Verdict, Reason)> {
        let added = self.taint.added().unwrap_or(0);
        let told = self.findings.noted(&self.scenario, &*self.names).taint;
        [
            ('D', "an oops", Verdict::Oops),
            ('W', "a warning", Verdict::Splat),
            ('B', "damaged memory", Verdict::Splat),
            ('L', "a processor that is stuck", Verdict::Splat),
        ]
        .into_iter()
        .find(|(letter, ..)| {
            added & taint::bit(&letter.to_string()).unwrap_or(0) != 0 && !told.contains(letter)
        })
        .map(|(letter, what, verdict)| {
            (verdict, Reason::Taint { letter, what: what.into(), log_lost: report.log_lost })
        })
        .or_else(|| self.uncounted(report))
    }

    /// The same of a report that the kernel has counted.
    fn uncounted(&self, report: &RunReport) -> Option<(Verdict, Reason)> {
        let [before, after] = &self.reports;
        let more = |before: Option<u32>, after: Option<u32>| {
            before.zip(after).map_or(0, |(before, after)| u64::from(after.saturating_sub(before)))
        };
        // One that is seen excuses no other, and what is not counted stands for none.
        let noted = self.findings.noted(&self.scenario, &*self.names);
        let seen = |gravity| match gravity {
            Gravity::Oops => noted.oopses,
            _ => noted.warnings,
        };
        let all = [
            (more(before.oopses, after.oopses), "an oops", Gravity::Oops, Verdict::Oops),
            (more(before.warnings, after.warnings), "a warning", Gravity::Splat, Verdict::Splat),
        ];
        let hushed = |(more, _, gravity, _): &(u64, &str, Gravity, Verdict)| *more > seen(*gravity);
        let (_, what, _, verdict) = all.into_iter().find(hushed)?;
        Some((verdict, Reason::Counted { what: what.into(), log_lost: report.log_lost }))
    }

    /// A finding that the scenario wants, and that only the log tells of. A kernel that warns or dies says so in its taint and counts
    /// it: right behind its last line, so that of several processors one may not have got to it when the run ended.
    pub(super) fn made_up(&self, why: &RunEnd, report: &RunReport) -> Option<Tampered> {
        let (taint, [before, after]) = (self.taint.after, &self.reports);
        let completed = *why == RunEnd::Completed;
        // Of a machine that ended while it ran, others may have been at it.
        let last = self.steps.iter().rposition(|step| step.verdict != StepVerdict::NotRun);
        let settled = |finding: &&Finding| {
            let alone = self.scenario.machine.vcpus == 1;
            let counts = match &finding.excuse {
                Some(Excuse::Expected) => true,
                Some(Excuse::Allowed(_)) => finding.step.is_some(),
                None => false,
            };
            counts && (completed || alone || finding.step < last)
        };
        // What came before the steps was counted before they began, from nothing on.
        let grown = |finding: &Finding, before: Option<u32>, after: Option<u32>| {
            let before = before.map(|count| if self.findings.is_of_boot(finding) { 0 } else { count });
            before.zip(after).is_none_or(|(before, after)| after > before)
        };
        // Where it is not known it says nothing.
        let has = |letters: &str| {
            let bit = |letter: char| taint::bit(&letter.to_string()).unwrap_or(0);
            taint.is_none_or(|taint| letters.chars().any(|letter| taint & bit(letter) != 0))
        };
        let made_up = |finding: &&Finding| {
            let warns = finding.splat.kind == Kind::Warn && finding.splat.warned;
            let oopses = || grown(finding, before.oopses, after.oopses);
            let warnings = || grown(finding, before.warnings, after.warnings);
            match finding.gravity {
                // One that ends in a panic is not counted any more.
                Gravity::Oops if completed => !has("D") || !oopses(),
                Gravity::Oops => !has("D") && !oopses(),
                // WARN_TAINT() has another letter for what the firmware or the processor did.
                Gravity::Splat if warns && completed => !has("WIS") || !warnings(),
                Gravity::Splat if warns => !has("WIS") && !warnings(),
                Gravity::Splat => tainted_by(&finding.splat).is_some_and(|letters| !has(letters)),
                _ => false,
            }
        };
        let panic = |finding: &&Finding| {
            finding.excuse == Some(Excuse::Expected)
                && finding.gravity == Gravity::Panic
                && after.panicked == Some(false)
        };
        if completed && after.panicked == Some(true) {
            return Some(Tampered::of(&engine::event::Tampered::Muted, None, &self.scenario, &*self.names));
        }
        let found = match why {
            RunEnd::Panicked | RunEnd::Machine(EndReason::Reset) => report.findings.iter().find(panic),
            _ => None,
        };
        let found = found.or_else(|| report.findings.iter().filter(settled).find(made_up))?;
        let what = engine::event::Tampered::Finding { title: found.splat.title.clone() };
        Some(Tampered::of(&what, found.step, &self.scenario, &*self.names))
    }
}
