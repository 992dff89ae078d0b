//! What came of a submission, as plain data: it is kept, and every page and table is made from it.

use crate::points::Points;
use judge::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One student.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What it was made from: with another one, it is made anew.
    pub key: String,
    /// What was graded.
    pub assignment: Made,
    /// Who.
    pub student: String,
    /// It came after the due date.
    #[serde(default)]
    pub overdue: bool,
    /// How far it came.
    pub state: State,
    /// Why it came no further.
    pub why: Option<String>,
    /// What was mended, left out or chosen.
    pub notes: Vec<String>,
    /// The parameters of the scenarios.
    pub params: BTreeMap<String, String>,
    /// What the build said.
    pub build: Build,
    /// All tests, in the assignment's order.
    pub tests: Vec<Test>,
    /// What was deducted.
    pub penalties: Vec<Penalty>,
    /// What remains.
    pub points: Points,
    /// Of so many.
    pub of: Points,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The build used up its time while others ran beside it, and is owed another attempt.
    #[serde(skip)]
    pub late: bool,
}

/// The assignment by which a record was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Its name.
    pub name: String,
    /// A hash of all that it is made of.
    pub identity: String,
}

impl Record {
    /// Whether in one of its tests what the guest said is not what was seen.
    pub fn is_tampered(&self) -> bool {
        self.tests.iter().any(Test::is_tampered)
    }
}

/// How far a submission came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// To the end.
    Graded,
    /// It has no points, for it can't be built or is no submission.
    Unusable,
    /// Its points are not known: this machine, or the assignment, is at fault.
    NotGraded,
}

impl State {
    /// As tables write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Graded => "graded",
            Self::Unusable => "unusable",
            Self::NotGraded => "not graded",
        }
    }
}

/// What a build said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Errors, if it failed.
    pub errors: Option<String>,
    /// The compiler's warnings, each with its lines.
    pub warnings: Vec<String>,
    /// In milliseconds.
    pub took_ms: u64,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// Gradescope's word for who sees it.
    pub visibility: String,
    /// What to tell who fails it.
    pub hint: Option<String>,
    /// What it gets.
    pub points: Points,
    /// Of so many.
    pub of: Points,
    /// The run that counts; none if there was none.
    pub run: Option<Run>,
    /// Another run of the same came to something else: that one.
    pub other: Option<Run>,
    /// Why its points are not known.
    pub not_graded: Option<String>,
}

impl Test {
    /// Whether it got all that there is.
    pub fn is_whole(&self) -> bool {
        self.points == self.of && self.not_graded.is_none()
    }

    /// Whether in one of its runs what the guest said is not what was seen.
    pub fn is_tampered(&self) -> bool {
        self.run.iter().chain(&self.other).any(Run::is_tampered)
    }
}

/// A run of a test's scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The verdict's name.
    pub verdict: String,
    /// In words; empty for a pass.
    pub reason: String,
    /// It came to an end that its scenario allows, so that what did not fail has held.
    #[serde(default)]
    pub is_complete: bool,
    /// What keeps it from passing though nothing else did.
    #[serde(default)]
    pub doubt: Option<Doubt>,
    /// What it gets.
    pub points: Points,
    /// What each part gets.
    pub parts: Vec<Part>,
    /// Steps that were done or should have been.
    pub steps: Vec<Step>,
    /// Expectations of the whole run that did not hold.
    pub failures: Vec<Failure>,
    /// What the kernel reported.
    pub findings: Vec<Finding>,
    /// Where it hung.
    pub standing: Vec<String>,
    /// The end of the kernel's log, where it explains the end.
    pub log: Vec<String>,
    /// In milliseconds, from the agent's hello on; of a run without one, all of it.
    pub took_ms: u64,
    /// What of that counts against a student's time: not while others had the processors.
    #[serde(skip)]
    pub own_ms: u64,
}

impl Run {
    /// Whether what the guest said is not what was seen.
    pub fn is_tampered(&self) -> bool {
        self.verdict == Verdict::Tampered.name()
    }
}

/// What is not known of a run, and may be held against the submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// In words.
    pub why: String,
    /// The kernel's taint or its counts tell of a report that is not in its log.
    pub is_report: bool,
}

/// A part that has points of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// A step's name, or `the whole run`.
    pub name: String,
    /// What it gets.
    pub points: Points,
    /// Of so many.
    pub of: Points,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// As its author calls it.
    pub name: Option<String>,
    /// What it does, in a line.
    pub title: String,
    /// The scenario's author did not write it: it looks whether all is as before the run.
    pub of_the_run: bool,
    /// The verdict's name.
    pub verdict: String,
    /// It is to blame.
    pub bad: bool,
    /// Why it did not come to its end, or was not begun.
    pub why: Option<String>,
    /// Expectations that did not hold.
    pub failures: Vec<Failure>,
    /// What it printed.
    pub output: String,
    /// What the kernel logged in it.
    pub log: Vec<String>,
}

/// An expectation that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was looked at.
    pub what: String,
    /// What should be.
    pub expected: String,
    /// What is.
    pub got: String,
}

/// A report of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// splat, oops, panic.
    pub gravity: String,
    /// In a line.
    pub title: String,
    /// The same for the same mistake.
    pub fingerprint: String,
    /// Where: the student's file and line, if that is known.
    pub place: Option<String>,
    /// The function.
    pub function: Option<String>,
    /// The title of the step in which it came.
    pub step: Option<String>,
    /// The innermost frames.
    pub frames: Vec<String>,
    /// It is held against the submission.
    pub counts: bool,
}

/// What was deducted, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Penalty {
    /// Why.
    pub what: String,
    /// So many points.
    pub points: Points,
}
