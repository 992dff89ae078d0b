//! Why a run came to its verdict: data that a program can look at, and its one wording.
//!
//! The wording is here and not with the reporters since scenarios speak of it: the end that one asks for is compared with how
//! a run ended, in words.

use crate::{entry::EntryWrite, tampered::Tampered, unknown::lost};
use base::text::time;
use board::wire::{Blame, EndReason, Tampering};
use engine::event::Tampered as Seen;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Why a run came to its verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Everything held.
    #[default]
    None,
    /// What was to be prepared could not be; the words of whoever failed.
    Told(String),
    /// Steps or expectations did not hold.
    Unmet(Unmet),
    /// The kernel's trouble.
    Finding {
        /// The finding's title.
        title: String,
        /// Why the kernel then panicked, if it did.
        panicked: Option<String>,
    },
    /// A taint tells of trouble that is not in the log.
    Taint {
        /// Its letter.
        letter: char,
        /// What it stands for.
        what: String,
        /// So many lines of the log are not known.
        log_lost: u64,
    },
    /// The kernel has counted a report that is not in the log.
    Counted {
        /// What it has counted.
        what: String,
        /// So many lines of the log are not known.
        log_lost: u64,
    },
    /// Lines of the log are not known, and they may have said anything.
    LogLost(u64),
    /// What the hypervisor saw contradicts the guest.
    Tampered(Box<Tampered>),
    /// The guest moved where system calls enter the kernel.
    EntryMoved(EntryWrite),
    /// A step did not end.
    Hung {
        /// Its title.
        step: String,
        /// Who waits where, or where a vCPU stood.
        place: Option<String>,
    },
    /// The agent did not say hello in its time.
    NoAgent(Duration),
    /// It said hello and did not answer then.
    Mute(Duration),
    /// What the agent said is no message.
    BadAgent {
        /// What is wrong with it.
        why: String,
        /// It was its first.
        hello: bool,
    },
    /// The kernel panicked, and nothing more is known.
    Panicked {
        /// It had not come up.
        booting: bool,
    },
    /// It halted, or would have switched the machine off.
    SwitchedOff,
    /// Every step was done.
    Completed,
    /// The machine ended by itself.
    Machine {
        /// How.
        end: EndReason,
        /// It is held against the guest though nobody knows whose doing it was.
        unsure: bool,
    },
    /// System calls were to be counted, and could not be.
    NotCounted(String),
    /// What steps did was to be seen, and was not all the time; what was not.
    Unseen(String),
    /// Events that can't come together; what is missing.
    Contradiction(String),
    /// This was known, and then the run ended in another way.
    AndThen {
        /// What was known.
        known: Box<Reason>,
        /// How it ended.
        end: Box<Reason>,
    },
}

/// How much did not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmet {
    /// Steps in all.
    pub steps: usize,
    /// Steps that failed.
    pub failed: usize,
    /// Steps that took too long.
    pub late: usize,
    /// Steps that did not run.
    pub missed: usize,
    /// Expectations of the run.
    pub of_the_run: usize,
}

impl Unmet {
    /// Whether everything held.
    pub fn is_nothing(self) -> bool {
        self.failed + self.late + self.missed + self.of_the_run == 0
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps =
            [(self.failed, "failed"), (self.late, "took too long"), (self.missed, "did not run")].into_iter();
        let steps = steps
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} of {} steps {what}", self.steps));
        let run = match self.of_the_run {
            0 => None,
            1 => Some("an expectation of the run did not hold".to_owned()),
            count => Some(format!("{count} expectations of the run did not hold")),
        };
        f.write_str(&steps.chain(run).collect::<Vec<_>>().join(", "))
    }
}

impl Reason {
    /// Whether this machine ended the run after something was known of it, so that nobody knows what else it would have come to.
    pub fn is_cut_by_the_host(&self) -> bool {
        let Self::AndThen { end, .. } = self else { return false };
        match &**end {
            // Only who could not go on with a guest has words of its own for its end.
            Self::Told(_) => true,
            Self::Machine { end, .. } => end.blame() == Blame::Host,
            _ => false,
        }
    }

    /// The same for all runs that came to their end in the same way, whatever differs from run to run.
    pub fn kind(&self) -> String {
        let kind = match self {
            Self::None => "none",
            Self::Told(_) => "told",
            Self::Unmet(_) => "unmet",
            Self::Finding { .. } => "finding",
            Self::Taint { letter, .. } => return format!("taint-{letter}"),
            Self::Counted { what, .. } => return format!("counted-{what}"),
            Self::LogLost(_) => "log-lost",
            Self::Tampered(_) => "tampered",
            Self::EntryMoved(_) => "entry-moved",
            Self::Hung { .. } => "hung",
            Self::NoAgent(_) => "no-agent",
            Self::Mute(_) => "mute-agent",
            Self::BadAgent { .. } => "bad-agent",
            Self::Panicked { .. } => "panicked",
            Self::SwitchedOff => "switched-off",
            Self::Completed => "completed",
            Self::Machine { end: EndReason::Stopped, .. } => "stopped",
            Self::Machine { end: EndReason::Reset, .. } => "reset",
            Self::Machine { end: EndReason::TripleFault, .. } => "triple-fault",
            Self::Machine { end: EndReason::Failed { .. }, .. } => "machine",
            Self::NotCounted(_) => "not-counted",
            Self::Unseen(_) => "unseen",
            Self::Contradiction(_) => "contradiction",
            Self::AndThen { known, .. } => return known.kind(),
        };
        kind.to_owned()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Told(why) => f.write_str(why),
            Self::Unmet(unmet) => unmet.fmt(f),
            Self::Finding { title, panicked: None } => f.write_str(title),
            Self::Finding { title, panicked: Some(why) } => {
                write!(f, "{title}, then the kernel panicked: {why}")
            }
            Self::Taint { letter, what, log_lost } => {
                write!(f, "the kernel's taint {letter} tells of {what} that is not in its log")?;
                if *log_lost > 0 { write!(f, " ({})", lost(*log_lost)) } else { Ok(()) }
            }
            Self::Counted { what, log_lost } => {
                write!(f, "the kernel has counted {what} that is not in its log")?;
                if *log_lost > 0 { write!(f, " ({})", lost(*log_lost)) } else { Ok(()) }
            }
            Self::LogLost(lines) => write!(f, "{}: what they said may be against it", lost(*lines)),
            Self::Tampered(what) => {
                what.fmt(f)?;
                // A probe's text is written by the kernel, not by the module that wants it.
                let by_module =
                    what.by.as_ref().and_then(|by| by.name.as_ref()).is_some_and(|by| by.ends_with(']'));
                match what.what {
                    Seen::Guest(Tampering::Code { .. }) if !by_module => f.write_str(
                        "; kprobes and tracing do that too: write `evidence: kprobes` where they are meant",
                    ),
                    _ => Ok(()),
                }
            }
            Self::EntryMoved(write) => {
                write!(f, "the guest moved where system calls enter the kernel: {write}")
            }
            Self::Hung { step, place: None } => write!(f, "`{step}` did not end"),
            Self::Hung { step, place: Some(place) } => write!(f, "`{step}` did not end: {place}"),
            Self::NoAgent(limit) => write!(f, "the agent did not say hello within {}", time(*limit)),
            Self::Mute(limit) => {
                write!(f, "the agent said hello, and then did not answer within {}", time(*limit))
            }
            Self::BadAgent { why, hello: true } => write!(f, "the agent's hello makes no sense: {why}"),
            Self::BadAgent { why, hello: false } => write!(f, "the agent's answers make no sense: {why}"),
            Self::Panicked { booting: true } => f.write_str("the kernel panicked while it booted"),
            Self::Panicked { booting: false } => f.write_str("the kernel panicked"),
            Self::SwitchedOff => f.write_str("the guest halted, or switched itself off"),
            Self::Completed => f.write_str("every step was done"),
            Self::Machine { end, unsure } => {
                f.write_str(&machine_end(end))?;
                if *unsure { f.write_str(" (this may be the guest's doing, or not)") } else { Ok(()) }
            }
            Self::NotCounted(why) => write!(f, "system calls can't be counted here: {why}"),
            Self::Unseen(what) => {
                write!(
                    f,
                    "{what}, so that nothing but the guest's word tells what came of them; write `evidence: basic` where that is meant"
                )
            }
            Self::Contradiction(what) => write!(f, "the run contradicts itself: {what}"),
            Self::AndThen { known, end } => write!(f, "{known}; then the run ended: {end}"),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Else what a host that died left undone would be held against whoever is tested.
    #[test]
    fn a_run_that_this_machine_cut_off_is_told_from_one_that_the_guest_ended() {
        let after = |end: Reason| {
            let known = Box::new(Reason::Unmet(Unmet { steps: 12, failed: 1, ..Unmet::default() }));
            Reason::AndThen { known, end: Box::new(end) }
        };
        let machine = |end: EndReason| Reason::Machine { end, unsure: false };
        let failed = |blame| EndReason::Failed { blame, why: "x".into() };
        for (end, is_cut) in [
            (Reason::Told("the emulated host died".into()), true),
            (machine(EndReason::Stopped), true),
            (machine(EndReason::host("killed")), true),
            (machine(failed(Blame::Guest)), false),
            (machine(failed(Blame::Unknown)), false),
            (machine(EndReason::Reset), false),
        ] {
            assert!(!end.is_cut_by_the_host(), "nothing was known before {end}");
            assert_eq!(after(end.clone()).is_cut_by_the_host(), is_cut, "{end}");
        }
    }
}
