//! What is looked for: the fault as it was at the faulty end, and no other.

use crate::search::Seen;
use judge::{Finding, JudgedStep, RunReport, StepVerdict, Verdict};
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a run came to, as far as runs are compared by it. It is kept in the state, so it is plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    /// The verdict's name.
    pub verdict: String,
    /// In words; empty for a pass.
    pub reason: String,
    /// What kind of reason that is; empty where there was no run.
    #[serde(default)]
    pub kind: String,
    /// What was found in the kernel's log and counts, the worst first.
    pub findings: Vec<Found>,
    /// The steps that went wrong.
    pub steps: Vec<Step>,
    /// Expectations of the whole run that did not hold.
    pub failures: Vec<String>,
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its kind's name.
    pub kind: String,
    /// In one line.
    pub title: String,
    /// Where.
    pub function: Option<String>,
    /// The same in every build.
    pub fingerprint: String,
}

/// A step that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Counted from 1.
    pub number: usize,
    /// What it does, without its result.
    pub title: String,
    /// How it went wrong.
    pub verdict: String,
    /// The expectations that did not hold, without what was there instead.
    pub failures: Vec<String>,
}

impl Sign {
    /// Of a run.
    pub fn of(report: &RunReport) -> Self {
        let mut findings: Vec<&Finding> = report.findings.iter().filter(|it| it.counts()).collect();
        // The first of the worst: what comes after may be its doing.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.gravity));
        let steps = report.steps.iter().filter(|step| step.verdict.is_bad());
        let reason = report.reason.to_string();
        Self {
            verdict: whose(report.verdict, &reason).name().to_owned(),
            reason,
            kind: report.reason.kind(),
            findings: findings.into_iter().map(Found::of).collect(),
            steps: steps.map(Step::of).collect(),
            failures: report.failures.iter().map(expected).collect(),
        }
    }

    /// A run that did not come to be.
    pub fn without_run(verdict: Verdict, reason: &str) -> Self {
        let verdict = whose(verdict, reason).name().to_owned();
        Self { verdict, reason: reason.to_owned(), ..Self::default() }
    }

    /// In one line.
    pub fn line(&self) -> String {
        let first = |text: &str| text.lines().next().unwrap_or_default().trim_end_matches(':').to_owned();
        match (self.findings.first(), self.steps.first()) {
            _ if self.is(Verdict::Pass) => "pass".to_owned(),
            (Some(found), _) => format!("{}: {}", self.verdict, found.title),
            (None, Some(step)) => {
                let failures = step.failures.join("; ");
                let why = if failures.is_empty() { step.verdict.clone() } else { failures };
                format!("{}: step {} ({}): {why}", self.verdict, step.number, first(&step.title))
            }
            (None, None) => {
                // Of a build, the first error stands below what failed.
                let error = self.reason.lines().find(|line| line.contains("error:")).map(str::trim);
                let mut lines = self.reason.lines();
                let whole = match (lines.next().unwrap_or_default(), lines.next()) {
                    // What it is about: a symbol, with where it is asked for.
                    (what, Some(about)) if what.ends_with(':') && about.starts_with(' ') => {
                        format!("{what} {}", about.trim())
                    }
                    (what, _) => first(what),
                };
                format!("{}: {}", self.verdict, error.unwrap_or(&whole))
            }
        }
    }

    /// The same with a path that nobody knows made another.
    #[must_use]
    pub fn renamed(mut self, from: &str, to: &str) -> Self {
        self.reason = self.reason.replace(from, to);
        self
    }

    fn is(&self, verdict: Verdict) -> bool {
        self.verdict == verdict.name()
    }

    /// What a person may look for with a regular expression: `line` is what was shown of the run.
    fn texts<'a>(&'a self, line: &'a str) -> Vec<&'a str> {
        let mut texts: Vec<&str> = vec![line, &self.verdict];
        texts.extend(self.reason.lines());
        for Found { kind, title, function, .. } in &self.findings {
            texts.extend([kind.as_str(), title.as_str()]);
            texts.extend(function.as_deref());
        }
        for Step { title, failures, .. } in &self.steps {
            texts.extend(title.lines().chain(failures.iter().map(String::as_str)));
        }
        texts.extend(self.failures.iter().map(String::as_str));
        texts
    }

    /// Whether this is the same fault as `other`.
    fn is_same(&self, other: &Self) -> bool {
        if self.verdict != other.verdict {
            return false;
        }
        if let Some(wanted) = other.findings.first() {
            return self.findings.iter().any(|it| it.is_same(wanted));
        }
        match other.steps.first() {
            Some(wanted) => self.steps.contains(wanted),
            // A run in which something else goes wrong first is another one. Where nothing was said, the way in which it ended tells more
            // than the verdict: a guest that resets itself has another fault than one that never says hello.
            None => {
                let is_alone = self.steps.is_empty() && self.findings.is_empty();
                is_alone && self.kind == other.kind && self.failures == other.failures
            }
        }
    }
}

/// The verdict, as far as commits are judged by it: one that wants another compiler for Rust than this machine has does not build here, and
/// never will, while others do.
fn whose(verdict: Verdict, reason: &str) -> Verdict {
    let is_rust = verdict == Verdict::Infra && reason.contains(kernel::NO_RUST);
    if is_rust { Verdict::BuildFailed } else { verdict }
}

impl Found {
    fn of(finding: &Finding) -> Self {
        Self {
            kind: finding.splat.kind.name().to_owned(),
            title: finding.splat.title.clone(),
            function: finding.splat.function.clone(),
            fingerprint: finding.splat.fingerprint.clone(),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            || self.kind == other.kind && self.function.is_some() && self.function == other.function
    }
}

fn expected(failure: &judge::Failure) -> String {
    format!("{}: expected {}", failure.what, failure.expected)
}

impl Step {
    fn of(step: &JudgedStep) -> Self {
        Self {
            number: step.index + 1,
            // What it returned may differ from run to run.
            title: step.title.split(" = ").next().unwrap_or_default().to_owned(),
            verdict: if step.verdict == StepVerdict::Timeout { "timeout" } else { "fail" }.to_owned(),
            failures: step.failures.iter().map(expected).collect(),
        }
    }
}

/// Which runs show the fault that is looked for. In a state it is a text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Rule {
    /// Those with the fault of the faulty end; what that is has yet to be seen.
    #[default]
    Same,
    /// All that do not pass.
    Any,
    /// Those that say this of themselves.
    If(Regex),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => write!(f, "same"),
            Self::Any => write!(f, "any"),
            Self::If(pattern) => write!(f, "if {pattern}"),
        }
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

impl TryFrom<String> for Rule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match (&*text, text.strip_prefix("if ")) {
            ("same", _) => Ok(Self::Same),
            ("any", _) => Ok(Self::Any),
            (_, Some(pattern)) => Regex::new(pattern).map(Self::If).map_err(|error| error.to_string()),
            _ => Err(format!("`{text}` is no rule")),
        }
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Rule {}

/// What a run says of the commit, and of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Of the commit.
    Seen(Seen),
    /// This machine's fault: nothing of the commit.
    Infra(String),
    /// The user's wish.
    Interrupted,
}

impl Rule {
    /// Judges a run. `known` is the fault that was seen at the faulty end, once it was.
    pub fn judge(&self, sign: &Sign, known: Option<&Sign>) -> Judged {
        let is = |verdict| sign.is(verdict);
        if is(Verdict::Interrupted) {
            return Judged::Interrupted;
        }
        if is(Verdict::Infra) {
            return Judged::Infra(sign.reason.clone());
        }
        if is(Verdict::Pass) {
            return Judged::Seen(Seen::Clean);
        }
        let matches = match (self, known) {
            // Whoever looks for a message of the compiler says so.
            (Self::If(pattern), _) => sign.texts(&sign.line()).iter().any(|text| pattern.is_match(text)),
            _ if is(Verdict::BuildFailed) || is(Verdict::BadInput) => false,
            (Self::Any, _) | (Self::Same, None) => true,
            (Self::Same, Some(known)) => sign.is_same(known),
        };
        Judged::Seen(match matches {
            true => Seen::Fault,
            false if is(Verdict::BuildFailed) || is(Verdict::BadInput) => Seen::Untestable(sign.line()),
            false => Seen::Other(sign.line()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panic(title: &str, function: &str, fingerprint: &str) -> Sign {
        let found = Found {
            kind: "oops".into(),
            title: title.into(),
            function: Some(function.into()),
            fingerprint: fingerprint.into(),
        };
        Sign { verdict: "oops".into(), reason: title.into(), findings: vec![found], ..Sign::default() }
    }

    fn failed(number: usize, failure: &str) -> Sign {
        let step = Step {
            number,
            title: "read".into(),
            verdict: "fail".into(),
            failures: vec![format!("return value: expected {failure}")],
        };
        Sign { verdict: "fail".into(), steps: vec![step], ..Sign::default() }
    }

    fn seen(rule: &Rule, sign: &Sign, known: &Sign) -> Judged {
        rule.judge(sign, Some(known))
    }

    #[test]
    fn a_rule_is_a_text_in_a_state() {
        for rule in [Rule::Same, Rule::Any, Rule::If(Regex::new("in ba[rz]").unwrap())] {
            let text = serde_json::to_string(&rule).unwrap();
            assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), rule, "{text}");
        }
        assert!(serde_json::from_str::<Rule>("\"if [\"").is_err());
    }

    #[test]
    fn another_fault_is_neither_good_nor_bad() {
        let known = panic("NULL dereference in foo", "foo", "1");
        let moved = panic("NULL dereference in foo", "foo", "2");
        let other = panic("NULL dereference in bar", "bar", "3");
        assert_eq!(seen(&Rule::Same, &moved, &known), Judged::Seen(Seen::Fault));
        assert!(matches!(seen(&Rule::Same, &other, &known), Judged::Seen(Seen::Other(_))));
        assert_eq!(seen(&Rule::Any, &other, &known), Judged::Seen(Seen::Fault));
        let pattern = Rule::If(Regex::new("in ba[rz]").unwrap());
        assert_eq!(seen(&pattern, &other, &known), Judged::Seen(Seen::Fault));
        assert!(matches!(seen(&pattern, &known, &known), Judged::Seen(Seen::Other(_))));
    }

    #[test]
    fn a_failed_step_is_the_same_with_the_same_failure() {
        let known = failed(2, "5");
        assert_eq!(seen(&Rule::Same, &failed(2, "5"), &known), Judged::Seen(Seen::Fault));
        for other in [failed(3, "5"), failed(2, "6"), panic("x", "foo", "1")] {
            assert!(matches!(seen(&Rule::Same, &other, &known), Judged::Seen(Seen::Other(_))), "{other:?}");
        }
    }

    #[test]
    fn guests_that_do_not_boot_for_another_reason_have_another_fault() {
        use board::wire::EndReason;
        use judge::Reason;
        let of = |reason: Reason| {
            let (kind, reason) = (reason.kind(), reason.to_string());
            Sign { verdict: "boot-failed".into(), reason, kind, ..Sign::default() }
        };
        let end = |end| Reason::Machine { end, unsure: false };
        let wait = |seconds| of(Reason::NoAgent(std::time::Duration::from_secs(seconds)));
        let ends = [EndReason::Reset, EndReason::TripleFault].map(|it| of(end(it)));
        let panicked = of(Reason::Panicked { booting: true });
        assert_eq!(seen(&Rule::Same, &wait(20), &wait(10)), Judged::Seen(Seen::Fault));
        for (at, other) in ends.iter().chain([&panicked]).enumerate() {
            assert!(matches!(seen(&Rule::Same, other, &wait(10)), Judged::Seen(Seen::Other(_))), "{at}");
            assert_eq!(seen(&Rule::Same, other, other), Judged::Seen(Seen::Fault));
        }
        assert!(matches!(seen(&Rule::Same, &ends[0], &ends[1]), Judged::Seen(Seen::Other(_))));
    }

    #[test]
    fn what_is_shown_of_a_run_can_be_looked_for() {
        let known = failed(2, "5");
        for pattern in ["^read$", "^fail$", "expected 5", r"step 2 \(read\): return value"] {
            let rule = Rule::If(Regex::new(pattern).unwrap());
            assert_eq!(seen(&rule, &known, &known), Judged::Seen(Seen::Fault), "{pattern}");
            assert!(matches!(seen(&rule, &panic("x", "foo", "1"), &known), Judged::Seen(Seen::Other(_))));
        }
    }

    /// Who searches versions that lack a symbol has to know which.
    #[test]
    fn what_a_failure_is_about_is_in_its_line() {
        let line = |reason: &str| Sign::without_run(Verdict::BuildFailed, reason).line();
        assert_eq!(
            line("failed to configure it:\n  f:3: A=y was dropped\n  f:4: B"),
            "build-failed: failed to configure it: f:3: A=y was dropped"
        );
        assert_eq!(line("failed to build it:\n  x.o\n  x.c:1: error: no"), "build-failed: x.c:1: error: no");
        assert_eq!(line("failed to build it\n  what else"), "build-failed: failed to build it");
        assert_eq!(line("failed to build it:\nelsewhere"), "build-failed: failed to build it");
        assert_eq!(line(""), "build-failed: ");
    }

    #[test]
    fn what_does_not_build_is_skipped_and_infra_says_nothing() {
        let known = failed(2, "5");
        let build = Sign::without_run(Verdict::BuildFailed, "failed to build the kernel:\n  foo.c:1: error");
        for rule in [Rule::Same, Rule::Any] {
            assert!(matches!(seen(&rule, &build, &known), Judged::Seen(Seen::Untestable(_))));
        }
        let compiler = Rule::If(Regex::new(r"foo\.c:\d+: error").unwrap());
        assert_eq!(seen(&compiler, &build, &known), Judged::Seen(Seen::Fault));
        let no_rust = kernel::KernelError::NoRust("rustc is too new".into()).to_string();
        let no_rust = Sign::without_run(Verdict::Infra, &format!("failed to {no_rust}"));
        assert!(matches!(seen(&Rule::Same, &no_rust, &known), Judged::Seen(Seen::Untestable(_))));
        let infra = Sign::without_run(Verdict::Infra, "no host");
        for rule in [Rule::Same, Rule::Any, Rule::If(Regex::new("host").unwrap())] {
            assert_eq!(seen(&rule, &infra, &known), Judged::Infra("no host".into()));
        }
    }
}
