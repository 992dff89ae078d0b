//! What can't be trusted any more, and its wording.

use crate::{Names, entry::Named, title::title};
use board::wire::{Difference, Oddity, Tampering};
use engine::event::Tampered as Seen;
use scenario::errno::Errno;
use scenario::model::Scenario;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something that the guest changed, or an answer that is not what the hypervisor saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tampered {
    /// The step in which it was noticed, counted from 0.
    pub step: Option<usize>,
    /// The step's title.
    pub title: Option<String>,
    /// What it is.
    pub what: Seen,
    /// The address in question, with its name.
    pub place: Option<Named>,
    /// The instruction that did it.
    pub by: Option<Named>,
}

impl Tampered {
    pub(crate) fn of(what: &Seen, step: Option<usize>, scenario: &Scenario, names: &dyn Names) -> Self {
        let named = |address| Named { address, name: names.symbol(address) };
        let (place, by) = match what {
            Seen::Guest(Tampering::Code { address, rip, by, .. }) => {
                let by = by.clone().or_else(|| names.symbol(*rip));
                (Some(named(*address)), Some(Named { address: *rip, name: by }))
            }
            Seen::Guest(Tampering::Mapping { address, .. } | Tampering::Device { address }) => {
                (Some(named(*address)), None)
            }
            Seen::Guest(
                Tampering::Taint { rip: Some(rip), by, .. } | Tampering::Variable { rip: Some(rip), by, .. },
            ) => {
                let by = by.clone().or_else(|| names.symbol(*rip));
                (None, Some(Named { address: *rip, name: by }))
            }
            _ => (None, None),
        };
        let of_step =
            |index: usize| scenario.steps.get(index).map(|step| title(scenario, step, &Default::default()));
        Self { step, title: step.and_then(of_step), what: what.clone(), place, by }
    }
}

impl fmt::Display for Tampered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |f: &mut fmt::Formatter<'_>| match &self.place {
            Some(Named { name: Some(name), .. }) => f.write_str(name.strip_suffix("+0x0").unwrap_or(name)),
            Some(place) => place.fmt(f),
            None => Ok(()),
        };
        match &self.what {
            Seen::Guest(Tampering::Code { from, to, .. }) => {
                write!(f, "{} of ", count(to.len(), "byte"))?;
                place(f)?;
                let were = if to.len() == 1 { "was" } else { "were" };
                write!(f, " {were} changed from {} to {}", hex(from), hex(to))?;
            }
            Seen::Guest(Tampering::Mapping { .. }) => {
                f.write_str("another page is where ")?;
                place(f)?;
                f.write_str(" was")?;
            }
            Seen::Guest(Tampering::Device { .. }) => {
                f.write_str("a device was made to write to the page of ")?;
                place(f)?;
            }
            Seen::Guest(Tampering::Register { vcpu, name, from, to }) => {
                write!(f, "{name} of vCPU {vcpu} was changed from {from:#x} to {to:#x}")?;
            }
            Seen::Guest(Tampering::Gate { vcpu, vector }) => {
                write!(f, "the gate of interrupt {vector:#x} was changed (vCPU {vcpu})")?;
            }
            Seen::Guest(Tampering::Taint { from, to, .. }) => {
                let gone = base::taint::letters(from & !to);
                write!(f, "the kernel's taint {gone} was taken away")?;
            }
            Seen::Guest(Tampering::Odd(Oddity::Dispatched { entered, handled, pid })) => {
                write!(
                    f,
                    "system call {entered} of process {pid} entered the kernel, and it handled {handled}"
                )?;
            }
            Seen::Guest(Tampering::Odd(Oddity::Unentered { nr, pid })) => {
                write!(f, "system call {nr} of process {pid} returned, and had not entered the kernel")?;
            }
            Seen::Guest(Tampering::Odd(Oddity::Unreturned { nr, pid })) => {
                write!(
                    f,
                    "system call {nr} of process {pid} entered the kernel and never returned, and the process went on"
                )?;
            }
            Seen::Guest(Tampering::Odd(Oddity::Renumbered { pid, now })) => {
                write!(f, "a task of process {pid} has not the number that it had when it called")?;
                if pid != now {
                    write!(f, ", and is one of {now} now")?;
                }
            }
            Seen::Guest(Tampering::Odd(Oddity::Reached { pid, agent })) => {
                write!(f, "process {pid} reached into process {agent}, which is the agent's")?;
            }
            Seen::Guest(Tampering::Odd(Oddity::Tables { pid })) => {
                write!(f, "the page tables of process {pid} lead to another kernel")?;
            }
            Seen::Guest(Tampering::Variable { name, from, to, .. }) => {
                write!(f, "the kernel's {name} was changed from {from:#x} to {to:#x}")?;
            }
            Seen::Guest(Tampering::Record { seq }) => {
                write!(f, "line {seq} of the kernel's log was changed after it had been read")?;
            }
            Seen::Guest(Tampering::Agent { address }) => {
                write!(f, "the agent's code at {address:#x} was changed")?;
            }
            Seen::Call(Difference::Number { wanted, seen }) => {
                write!(f, "the step makes system call {wanted}, and {seen} entered the kernel")?;
            }
            Seen::Call(Difference::Dispatched { entered, handled }) => {
                write!(f, "system call {entered} entered the kernel, and it handled {handled}")?;
            }
            Seen::Call(Difference::Argument { index, wanted, seen }) => {
                write!(
                    f,
                    "argument {index} of the step's call is {wanted:#x}, and {seen:#x} entered the kernel"
                )?;
            }
            Seen::Call(Difference::Bytes { index }) => {
                write!(f, "what argument {index} points to is not what the step says")?;
            }
            Seen::Call(Difference::Inside { nr, seen }) => {
                write!(
                    f,
                    "the step's system call {nr} never returned, it is in the kernel still, and {seen} entered"
                )?;
            }
            Seen::Call(Difference::More { seen }) => {
                write!(f, "system call {seen} entered the kernel behind all of the step's calls")?;
            }
            Seen::Hidden { seen } => {
                let calls = count(usize::try_from(*seen).unwrap_or(usize::MAX), "call");
                write!(f, "{calls} of the step's entered the kernel, and the agent tells of fewer")?;
            }
            Seen::Program { address } => {
                write!(
                    f,
                    "the program is not the one that was brought into the guest: it ran other code at {address:#x} (a scenario in \
                     which a program puts another one in its place needs `evidence: kprobes` or `basic`)"
                )?;
            }
            Seen::KeptBack => f.write_str(
                "a record of the kernel's log was begun and is never finished, which keeps back what was logged after it",
            )?,
            Seen::Unseen => {
                f.write_str("the agent says that it made the step's call, and none entered the kernel")?
            }
            Seen::Result { said, seen } => {
                write!(f, "the kernel returned {}, and the agent says {}", value(*seen), value(*said))?;
            }
            Seen::Buffer { index, at } => {
                write!(
                    f,
                    "buffer {} that came back differs at byte {at} from what the kernel left there",
                    index + 1
                )?;
            }
            Seen::Kind => f.write_str("what came as the agent's answer is none to what it was asked for")?,
            Seen::Ended { said } => {
                write!(
                    f,
                    "the agent says that the calling process ended with status {said}, and its call returned"
                )?;
            }
            Seen::Exit { said, seen } => {
                write!(f, "the agent says that a program ended with status {said}, and ")?;
                match seen {
                    Some(seen) => write!(f, "it ended with {seen}")?,
                    None => f.write_str("none did")?,
                }
            }
            Seen::Inside => {
                f.write_str("the agent says that the step's call returned, and it is in the kernel still")?
            }
            Seen::Printed { made_up, said } => {
                write!(f, "no program wrote {made_up} of the {said} bytes that came as a program's output")?;
            }
            Seen::Panic => f.write_str("the log tells of a panic, and the kernel lives on")?,
            Seen::Muted => {
                write!(f, "the kernel's panic_cpu says that it has panicked, so that it logs nothing more, and it lives on")?;
            }
            Seen::Finding { title } => {
                write!(
                    f,
                    "the log tells of `{title}`, and neither the kernel's taint nor its count of reports does"
                )?;
            }
            Seen::Fewer { seen } => {
                let calls = count(usize::try_from(*seen).unwrap_or(usize::MAX), "call");
                write!(
                    f,
                    "the agent says that it made all of the step's calls, and {calls} entered the kernel"
                )?;
            }
        }
        match &self.by {
            Some(Named { name: Some(name), .. }) => write!(f, " by {name}")?,
            Some(by) => write!(f, " by the instruction at {by}")?,
            None => {}
        }
        match &self.title {
            Some(title) => write!(f, " in `{title}`"),
            None => Ok(()),
        }
    }
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn value(value: i64) -> String {
    Errno::of(value).map_or_else(|| value.to_string(), |errno| errno.to_string())
}
