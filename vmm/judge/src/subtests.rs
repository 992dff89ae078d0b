//! Test results in KTAP, in what a program prints and in the kernel's log.

use crate::compare::Came;
use crate::judged::Failure;
use base::text::escape;
use ktap::{Outcome, Parser, Summary};
use scenario::model::Ktap;
use serde::{Deserialize, Serialize};

/// So many failed tests are told one by one.
const TOLD: usize = 20;
/// What a kselftest program exits with when it could not run (tools/testing/selftests/kselftest.h, `KSFT_SKIP`).
const SKIP: i32 = 4;

/// A test within a step, or within the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subtest {
    /// Name and outcome.
    pub test: ktap::Test,
    /// Where it was reported.
    pub place: Place,
}

/// Where test results are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In what a program printed.
    Output,
    /// In the kernel's log.
    Log,
}

impl Place {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Log => "log",
        }
    }
}

/// All results of a step, or of what is outside of steps.
#[derive(Default)]
pub struct Results {
    /// In their order.
    pub tests: Vec<Subtest>,
    summaries: Vec<(Place, Summary)>,
}

impl Results {
    /// Adds those of the kernel's log.
    pub fn log(&mut self, summary: Summary) {
        self.add(Place::Log, summary);
    }

    /// Adds those of a program's outputs.
    pub fn output<'a>(&mut self, streams: impl IntoIterator<Item = Came<'a>>) {
        for came in streams {
            let mut parser = Parser::new();
            for line in came.pieces().into_iter().flat_map(|piece| piece.split(|byte| *byte == b'\n')) {
                parser.line(&String::from_utf8_lossy(line));
            }
            let mut summary = parser.finish();
            if let Some(unknown) = came.unknown().filter(|_| summary.is_ktap) {
                summary.problems.push(unknown);
            }
            self.add(Place::Output, summary);
        }
    }

    fn add(&mut self, place: Place, summary: Summary) {
        self.tests.extend(summary.tests.iter().map(|test| Subtest { test: test.clone(), place }));
        self.summaries.push((place, summary));
    }

    /// Whether there are any.
    pub fn are_there(&self) -> bool {
        self.summaries.iter().any(|(_, summary)| summary.is_ktap)
    }

    /// Whether all that there is was skipped, and nothing is wrong.
    pub fn are_skipped(&self) -> bool {
        let there = || self.summaries.iter().map(|(_, summary)| summary).filter(|summary| summary.is_ktap);
        there().any(Summary::is_skipped) && there().all(Summary::is_skipped)
    }

    fn are_bad(&self) -> bool {
        self.summaries.iter().any(|(_, summary)| summary.is_bad())
    }

    /// Whether a program says by its exit status that it could not run its tests. Any program may exit with that status, so
    /// it must look like a test otherwise too.
    pub fn says_skip(&self, code: i32, output: &[Came<'_>]) -> bool {
        let says = |came: &Came<'_>| came.head().split(|byte| *byte == b'\n').any(says_skip);
        code == SKIP && !self.are_bad() && (self.are_there() || output.iter().any(says))
    }

    /// What is wrong with them. `wanted` says that there must be some; `line` is the step's.
    pub fn failures(&self, wanted: Ktap, line: usize) -> Vec<Failure> {
        let fail = |what: String, expected: &str, got: String| Failure {
            what,
            expected: expected.into(),
            got,
            line,
        };
        let mut failures = Vec::new();
        for (place, summary) in &self.summaries {
            let of = match place {
                Place::Output => "",
                Place::Log => " (kernel log)",
            };
            for test in summary.failed() {
                let why = test.why.as_ref().map_or(String::new(), |why| format!(": {}", escape(why)));
                failures.push(fail(
                    format!("test {}{of}", escape(&test.name())),
                    "ok",
                    format!("not ok{why}"),
                ));
            }
            for problem in &summary.problems {
                failures.push(fail(format!("test results{of}"), "all of them", escape(problem)));
            }
        }
        if failures.len() > TOLD {
            let more = failures.len() - TOLD;
            failures.truncate(TOLD);
            failures.push(fail("tests".into(), "ok", format!("{more} more that are not")));
        }
        if wanted == Ktap::Required && self.tests.is_empty() {
            failures.push(fail("test results".into(), "some, in KTAP", "none".into()));
        }
        failures
    }

    /// `3 passed, 1 skipped`; nothing if there are none.
    pub fn counts(&self) -> Option<String> {
        let count = |outcome| self.summaries.iter().map(|(_, summary)| summary.count(outcome)).sum::<usize>();
        let words = [
            (Outcome::Passed, "passed"),
            (Outcome::Failed, "failed"),
            (Outcome::Skipped, "skipped"),
            (Outcome::ExpectedFailure, "failed as expected"),
        ];
        let words = words.into_iter().map(|(outcome, word)| (count(outcome), word));
        let words: Vec<String> =
            words.filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// Why they were skipped, as the first of them says.
    pub fn why_skipped(&self) -> Option<String> {
        let skipped = self.tests.iter().find(|subtest| subtest.test.outcome == Outcome::Skipped)?;
        Some(skipped.test.why.clone().unwrap_or_else(|| skipped.test.name()))
    }
}

/// So many characters of a reason are shown.
const REASON: usize = 200;

/// The first line of a program's that has the word in it, however it is written: the reason why it skips.
pub fn said_skip(output: &[Came<'_>]) -> Option<String> {
    let lines = output.iter().flat_map(|came| came.head().split(|byte| *byte == b'\n'));
    let mut texts = lines.map(|line| String::from_utf8_lossy(line).trim().to_owned());
    let found = texts.find(|text| text.to_ascii_lowercase().contains("skip"))?;
    Some(escape(&found).chars().take(REASON).collect())
}

/// `SKIP: no such device`, `# SKIP`, `[SKIP]`: kselftest's shell scripts say it in many ways, in capitals.
fn says_skip(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "SKIP")
}
