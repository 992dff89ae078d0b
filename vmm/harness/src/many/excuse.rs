//! What an entry of a quarantine file names of a failure. Whatever it does not name has to be in order, or the failure is another.

use judge::{Finding, Gravity, JudgedStep, Reason, RunReport, StepVerdict, Verdict};

/// What may be wrong with a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Excuse {
    /// What it comes to.
    pub verdict: Option<Verdict>,
    /// Of findings.
    pub fingerprints: Vec<String>,
    /// The only steps that may fail, by their names or numbers.
    pub steps: Vec<String>,
}

impl Excuse {
    /// Whether it names all that is wrong with this run.
    pub fn is_for(&self, report: &RunReport) -> bool {
        let is_whole = report.doubt.is_none() && !matches!(report.reason, Reason::AndThen { .. });
        is_whole
            && self.names_the_verdict(report)
            && self.names_the_findings(report)
            && self.names_the_steps(report)
            && self.names_the_failures(report)
    }

    fn names_the_verdict(&self, report: &RunReport) -> bool {
        // A guest that reset itself fails otherwise than by an expectation.
        if report.verdict == Verdict::Fail && !matches!(report.reason, Reason::Unmet(_)) {
            return false;
        }
        let by_finding = matches!(report.verdict, Verdict::Splat | Verdict::Oops | Verdict::Panic);
        match self.verdict {
            Some(verdict) => verdict == report.verdict && verdict.is_excusable(),
            None if by_finding => !self.fingerprints.is_empty(),
            None => report.verdict == Verdict::Fail && !self.steps.is_empty(),
        }
    }

    /// By its fingerprint; without one, a verdict names those that make it.
    fn names(&self, finding: &Finding) -> bool {
        match self.verdict {
            _ if !self.fingerprints.is_empty() => self.fingerprints.contains(&finding.splat.fingerprint),
            Some(Verdict::Splat) => finding.gravity == Gravity::Splat,
            Some(Verdict::Oops) => finding.gravity == Gravity::Oops,
            // An oops may come before it.
            Some(Verdict::Panic | Verdict::BootFailed) => finding.gravity >= Gravity::Oops,
            _ => false,
        }
    }

    fn names_the_findings(&self, report: &RunReport) -> bool {
        let mut findings = report.findings.iter().filter(|finding| finding.counts()).peekable();
        (self.fingerprints.is_empty() || findings.peek().is_some()) && findings.all(|it| self.names(it))
    }

    fn names_the_steps(&self, report: &RunReport) -> bool {
        let mut failed = report.steps.iter().filter(|step| step.verdict.is_bad()).peekable();
        if !self.steps.is_empty() {
            let is = |step: &JudgedStep| self.steps.iter().any(|wanted| is_called(step, wanted));
            return failed.peek().is_some() && failed.all(is);
        }
        let ends = matches!(report.verdict, Verdict::Panic | Verdict::HangIdle | Verdict::HangSpinning);
        let of_finding = |step: &JudgedStep| {
            let here = |finding: &&Finding| finding.counts() && finding.step == Some(step.index);
            report.findings.iter().filter(here).any(|finding| finding.gravity >= Gravity::Oops)
        };
        self.verdict == Some(Verdict::Fail)
            || failed.all(|step| of_finding(step) || ends && is_last(step, report))
    }

    fn names_the_failures(&self, report: &RunReport) -> bool {
        match self.verdict {
            Some(Verdict::Fail) => true,
            // How it ended instead is what the verdict names.
            Some(_) => report.failures.iter().all(judge::Failure::is_of_the_end),
            None => report.failures.is_empty(),
        }
    }
}

fn is_called(step: &JudgedStep, wanted: &str) -> bool {
    (step.index + 1).to_string() == *wanted || step.title.starts_with(&format!("{wanted}:"))
}

/// Whether the run ended in this step.
fn is_last(step: &JudgedStep, report: &RunReport) -> bool {
    let none_after = || report.steps.iter().skip(step.index + 1).all(|it| it.verdict == StepVerdict::NotRun);
    step.result.is_none() && step.failures.is_empty() && none_after()
}
