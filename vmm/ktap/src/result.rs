//! What a parser finds.

use serde::{Deserialize, Serialize};

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// `ok`
    Passed,
    /// `not ok`
    Failed,
    /// It did not run, and says so.
    Skipped,
    /// `not ok`, as is known and expected (TODO, XFAIL).
    ExpectedFailure,
}

impl Outcome {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "pass",
            Self::Failed => "fail",
            Self::Skipped => "skipped",
            Self::ExpectedFailure => "expected-failure",
        }
    }
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// The names of the tests that it is a part of, the outermost first, and its own.
    pub path: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// What stands behind its `#`, without the directive.
    pub why: Option<String>,
    /// It is made of the tests before it whose paths begin with its own.
    pub has_parts: bool,
}

impl Test {
    /// The path as one text.
    pub fn name(&self) -> String {
        self.path.join(" / ")
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// There were results, or at least the announcement of some.
    pub is_ktap: bool,
    /// All tests, in their order, up to a bound.
    pub tests: Vec<Test>,
    /// So many more were not kept; those that failed are told among the problems.
    pub more: u64,
    /// What is wrong with the whole: results that are missing, `Bail out!`, totals that tell of other results.
    pub problems: Vec<String>,
}

impl Summary {
    /// Tests that failed though nobody said that they would. Of a test that is made of others only the failed parts
    /// count, if there are any.
    pub fn failed(&self) -> impl Iterator<Item = &Test> {
        let failed = |test: &&Test| test.outcome == Outcome::Failed;
        self.tests.iter().filter(failed).filter(move |test| {
            let part =
                |other: &&Test| other.path.len() > test.path.len() && other.path.starts_with(&test.path);
            !test.has_parts || !self.tests.iter().filter(part).any(|part| part.outcome == Outcome::Failed)
        })
    }

    /// Whether something is wrong.
    pub fn is_bad(&self) -> bool {
        !self.problems.is_empty() || self.tests.iter().any(|test| test.outcome == Outcome::Failed)
    }

    /// Whether nothing is wrong, and nothing ran either: each test says that it was skipped.
    pub fn is_skipped(&self) -> bool {
        !self.is_bad()
            && !self.tests.is_empty()
            && self.tests.iter().all(|test| test.has_parts || test.outcome == Outcome::Skipped)
            && self.tests.iter().any(|test| test.outcome == Outcome::Skipped)
    }

    /// So many tests ended like that; those that are made of others are not counted.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.tests.iter().filter(|test| !test.has_parts && test.outcome == outcome).count()
    }
}
