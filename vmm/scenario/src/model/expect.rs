//! What a scenario expects, of a step and of the whole run.

use super::{CallName, Data, Num, Place};
use crate::errno::Errno;
use regex::Regex;
use std::borrow::Cow;
use std::time::Duration;

/// One expectation, and where it stands.
#[derive(Clone, Debug)]
pub struct Check {
    /// Counted from 1.
    pub line: usize,
    /// What is expected.
    pub want: Want,
}

/// What a step can be expected to do.
#[derive(Clone, Debug)]
pub enum Want {
    /// Return no error; exit with status 0.
    Success,
    /// Return a value in this range.
    Returns(Interval),
    /// Return this error.
    Errno(Errno),
    /// Not return within the step's time, and end when it is ended.
    Blocks,
    /// Bring back this in its first buffer.
    Data(Text),
    /// Bring back this number in the buffer of this name.
    Named(String, Interval),
    /// Bring back this in the buffer of this name.
    NamedText(String, Text),
    /// Report exactly these events.
    Events(u16),
    /// Take this long at the most.
    Within(Duration),
    /// Exit with a status in this range.
    Exit(Interval),
    /// Print this to standard output.
    Stdout(Text),
    /// Print this to standard error.
    Stderr(Text),
    /// The kernel logs this meanwhile.
    Log(LogWant),
    /// So many hold the module that rmmod could not remove.
    Users(Interval),
    /// All places are as they were before.
    Clean,
    /// The kernel's taint changes like this meanwhile.
    Taint(TaintWant),
}

impl Want {
    /// Whether it can be looked at when the step brought nothing back.
    pub fn is_of_evidence(&self) -> bool {
        matches!(self, Self::Log(_) | Self::Taint(_))
    }

    /// The same with the values of the names that stand in its text.
    ///
    /// # Errors
    /// The first name that has no value.
    pub fn filled(&self, value: impl Fn(&str) -> Option<i128>) -> Result<Cow<'_, Self>, String> {
        let value = |name: &str| value(name).ok_or_else(|| name.to_owned());
        let fill = |data: &Data| data.filled(value).map(|bytes| Data::from(bytes.into_owned()));
        let text = |text: &Text| -> Result<Text, String> {
            Ok(match text {
                Text::Equals(data) => Text::Equals(fill(data)?),
                Text::Contains(data) => Text::Contains(fill(data)?),
                Text::Lacks(data) => Text::Lacks(fill(data)?),
                Text::Matches(regex) => Text::Matches(regex.clone()),
            })
        };
        if self.data().is_none_or(|data| data.names().next().is_none()) {
            return Ok(Cow::Borrowed(self));
        }
        Ok(Cow::Owned(match self {
            Self::Data(want) => Self::Data(text(want)?),
            Self::Stdout(want) => Self::Stdout(text(want)?),
            Self::Stderr(want) => Self::Stderr(text(want)?),
            Self::NamedText(name, want) => Self::NamedText(name.clone(), text(want)?),
            Self::Log(LogWant::Has(data)) => Self::Log(LogWant::Has(fill(data)?)),
            Self::Log(LogWant::Lacks(data)) => Self::Log(LogWant::Lacks(fill(data)?)),
            other => other.clone(),
        }))
    }

    /// The text that it is about.
    fn data(&self) -> Option<&Data> {
        match self {
            Self::Data(text) | Self::Stdout(text) | Self::Stderr(text) | Self::NamedText(_, text) => {
                match text {
                    Text::Equals(data) | Text::Contains(data) | Text::Lacks(data) => Some(data),
                    Text::Matches(_) => None,
                }
            }
            Self::Log(LogWant::Has(data) | LogWant::Lacks(data)) => Some(data),
            _ => None,
        }
    }
}

/// What may become of the kernel's taint; masks have a bit for each reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaintWant {
    /// Exactly these reasons come newly; 0 for none.
    Exactly(u64),
    /// None but these come newly.
    AtMost(u64),
}

/// Numbers from one to another, both included.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// `None` for no lower bound.
    pub low: Option<Num>,
    /// `None` for no upper bound.
    pub high: Option<Num>,
}

/// What a text is compared with.
#[derive(Clone, Debug)]
pub enum Text {
    /// Exactly these bytes.
    Equals(Data),
    /// These bytes are in it.
    Contains(Data),
    /// These bytes are not in it.
    Lacks(Data),
    /// The expression matches somewhere.
    Matches(Regex),
}

/// What the kernel's log is compared with, line by line.
#[derive(Clone, Debug)]
pub enum LogWant {
    /// A line contains this.
    Has(Data),
    /// No line contains this.
    Lacks(Data),
    /// A line matches this.
    Matches(Regex),
}

/// What the whole run should come to.
#[derive(Clone, Debug, Default)]
pub struct RunExpect {
    /// Of system calls, as the hypervisor counted them.
    pub syscalls: Vec<CallExpect>,
    /// Of the kernel's log.
    pub log: Vec<(LogWant, usize)>,
    /// Of the kernel's taint, from the first step to the end; and the line.
    pub taint: Option<(TaintWant, usize)>,
    /// Places that must be after the steps as they were before. The steps that look there are among the
    /// scenario's.
    pub clean: Option<(Vec<Place>, usize)>,
    /// The end of the guest that the run should come to.
    pub ending: Option<Ending>,
    /// Test results there must be, somewhere in the run, where this says so; and the line.
    pub ktap: Option<usize>,
}

/// What is expected of one system call, over the whole run.
#[derive(Clone, Debug)]
pub struct CallExpect {
    /// Which.
    pub call: CallName,
    /// Counted from 1.
    pub line: usize,
    /// How often.
    pub count: Option<Interval>,
    /// How often it returned an error; and the line of that.
    pub errors: Vec<(Errno, Interval, usize)>,
    /// Everything that it returned, in any order, an errno negated; and the line of that.
    pub returns: Option<(Vec<i64>, usize)>,
}

/// An end other than a healthy one, as a lesson may ask for it.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Which.
    pub kind: EndingKind,
    /// What the evidence for it must be like.
    pub pattern: Pattern,
    /// Counted from 1.
    pub line: usize,
}

/// Which of several findings or ends is meant: all that is given must hold. Nothing given means any.
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    /// The evidence contains this.
    pub contains: Option<String>,
    /// A line of the evidence matches this.
    pub matches: Option<Regex>,
    /// The finding is of this kind.
    pub kind: Option<splat::Kind>,
    /// It happened in this function.
    pub function: Option<String>,
}

impl Pattern {
    /// Whether there is nothing that it would not be true of.
    pub fn is_of_everything(&self) -> bool {
        self.kind.is_none()
            && self.function.as_ref().is_none_or(String::is_empty)
            && self.contains.as_ref().is_none_or(String::is_empty)
            && self.matches.as_ref().is_none_or(|regex| regex.is_match(""))
    }
}

/// A trouble of the kernel's that is no failure.
#[derive(Clone, Debug)]
pub struct Allow {
    /// [`EndingKind::Splat`] or [`EndingKind::Oops`].
    pub kind: EndingKind,
    /// Which.
    pub pattern: Pattern,
    /// Why it may be there, as the author says.
    pub reason: String,
    /// Counted from 1.
    pub line: usize,
}

/// The ends that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the verdict of that name")]
pub enum EndingKind {
    Splat,
    Oops,
    Panic,
    Hang,
    HangSpinning,
    HangIdle,
    BootFailed,
}

impl EndingKind {
    /// As scenarios write it.
    pub const NAMES: &[(&str, Self)] = &[
        ("splat", Self::Splat),
        ("oops", Self::Oops),
        ("panic", Self::Panic),
        ("hang", Self::Hang),
        ("hang-spinning", Self::HangSpinning),
        ("hang-idle", Self::HangIdle),
        ("boot-failed", Self::BootFailed),
    ];

    /// Whether nothing can be done after it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Splat | Self::Oops)
    }

    /// Whether it is one of the ways not to go on.
    pub fn is_hang(self) -> bool {
        matches!(self, Self::Hang | Self::HangSpinning | Self::HangIdle)
    }

    /// As scenarios write it.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}
