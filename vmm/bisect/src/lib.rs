//! Bisection: which commit of a repository, which patch of a series or which symbol of a configuration changed what a scenario comes to.
//!
//! The decisions are pure: a [`Search`] over a [`History`] is told what was seen ([`Observation`]) and says what to run next, until it is sure
//! enough; [`sign`] tells the fault that is looked for from others. A [`Drive`] carries that out by a [`Runner`], and writes each result
//! into the [`State`]. [`Repository`] and the runners are the real ends.
//!
//! It makes no exit codes and prints nothing.

#![forbid(unsafe_code)]

mod after;
mod belief;
pub mod bench;
mod brought;
mod choose;
pub mod command;
mod drive;
mod fault;
pub mod git;
mod history;
mod key;
mod outcome;
mod range;
mod relevance;
pub mod replay;
mod report;
mod runner;
mod search;
pub mod sign;
mod state;
pub mod subject;

pub use drive::{Build, Drive, Progress, Ran, Runner, Start, Stop};
pub use git::{About, GitError, Repository};
pub use history::{Commit, History};
pub use report::Report;
pub use runner::RealRunner;
pub use search::{Answer, Ask, Observation, Phase, Proof, Rules, Search, Seen, WrongEnds};
pub use state::{Asked, Entry, FORMAT, State, StateError};
pub use subject::{Places, Subject};
