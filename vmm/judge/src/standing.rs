//! Where vCPUs stood while nothing went on.

use super::{Names, places};
use base::text::escape;
use board::wire::{Explanation, Sleeper, VcpuStanding};
use kernel::lines::Stands;
use scenario::model::EndingKind;
use std::collections::BTreeMap;

/// The two ways to hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    /// A vCPU was busy.
    Spinning,
    /// All were halted, or none could be looked at.
    Idle,
}

impl Hang {
    /// Spinning if a vCPU was found running in most of the samples. In a few of them even an idle one may just be
    /// in the handler of its timer.
    pub fn of(samples: &[Vec<VcpuStanding>]) -> Self {
        let mut running: BTreeMap<u8, usize> = BTreeMap::new();
        for vcpu in samples.iter().flatten().filter(|vcpu| !vcpu.halted) {
            *running.entry(vcpu.index).or_default() += 1;
        }
        if running.values().any(|times| times * 2 > samples.len()) { Self::Spinning } else { Self::Idle }
    }

    /// Whether a scenario's word means this.
    pub fn is(self, kind: EndingKind) -> bool {
        match kind {
            EndingKind::Hang => true,
            EndingKind::HangSpinning => self == Self::Spinning,
            EndingKind::HangIdle => self == Self::Idle,
            _ => false,
        }
    }
}

/// One line for each vCPU and place, the places where it was seen most often first, at most 16 lines; then who
/// sleeps, and where.
pub fn describe(samples: &[Vec<VcpuStanding>], explanation: &Explanation, names: &dyn Names) -> Vec<String> {
    let mut seen: BTreeMap<(u8, String), usize> = BTreeMap::new();
    for vcpu in samples.iter().flatten() {
        *seen.entry((vcpu.index, place(vcpu, explanation, names))).or_default() += 1;
    }
    let mut places: Vec<((u8, String), usize)> = seen.into_iter().collect();
    places.sort_by_key(|((index, _), count)| (*index, std::cmp::Reverse(*count)));
    let rounds = samples.len();
    let line = |((index, place), count): ((u8, String), usize)| {
        let often = if rounds > 1 { format!(" ({count} of {rounds} samples)") } else { String::new() };
        format!("vCPU {index} {place}{often}")
    };
    let sleepers = involved(explanation, names).into_iter().flat_map(|sleeper| {
        let how = if sleeper.uninterruptible { "sleeps, and nothing can interrupt it" } else { "sleeps" };
        let head = format!("{} (pid {}) {how}:", escape(&sleeper.name), sleeper.pid);
        let calls = calls(sleeper, explanation, names).into_iter().take(FRAMES);
        let line = |(address, call): (u64, String)| {
            let source = places::of_address(address, &call, Stands::BehindCall, names);
            format!("  {call}{}", source.map_or(String::new(), |source| format!("  {source}")))
        };
        let holder = held(sleeper).map(|held| format!("  {held}"));
        [head].into_iter().chain(calls.map(line)).chain(holder)
    });
    places.into_iter().take(16).map(line).chain(sleepers).collect()
}

/// What the task sleeps in that most likely keeps the step from ending: `init waits in mutex_lock, called by
/// foo_write+0x20 [foo]`.
pub fn waits(explanation: &Explanation, names: &dyn Names) -> Option<String> {
    let sleeper = *involved(explanation, names).first()?;
    let calls = calls(sleeper, explanation, names);
    let (_, inner) = calls.first()?;
    let by = calls.get(1).map_or(String::new(), |(_, by)| format!(", called by {by}"));
    let held = held(sleeper).map_or(String::new(), |held| format!("; {held}"));
    Some(format!("{} (pid {}) waits in {inner}{by}{held}", escape(&sleeper.name), sleeper.pid))
}

/// Who holds the lock.
fn held(sleeper: &Sleeper) -> Option<String> {
    let (pid, name) = sleeper.holder.as_ref()?;
    let circle = if sleeper.stuck { ", which waits for it in turn" } else { "" };
    Some(match *pid == sleeper.pid {
        true => "it holds the lock itself".to_owned(),
        false => format!("the lock is held by {} (pid {pid}){circle}", escape(name)),
    })
}

/// Who sleeps, without the agent's worker where that only waits for its next request.
fn involved<'a>(explanation: &'a Explanation, names: &dyn Names) -> Vec<&'a Sleeper> {
    let idle = |sleeper: &&Sleeper| {
        let calls = calls(sleeper, explanation, names);
        calls.first().is_some_and(|(_, call)| IDLE.iter().any(|function| is(call, function)))
    };
    explanation.sleepers.iter().filter(|sleeper| !idle(sleeper)).take(4).collect()
}

/// The functions of a sleeper with their addresses, the scheduler's own left out.
fn calls(sleeper: &Sleeper, explanation: &Explanation, names: &dyn Names) -> Vec<(u64, String)> {
    let named = sleeper.frames.iter().map(|address| (*address, symbol(*address, explanation, names)));
    named.skip_while(|(_, call)| SCHEDULER.iter().any(|function| is(call, function))).collect()
}

/// So many functions of a sleeper are shown.
const FRAMES: usize = 8;
/// What a sleep ends in whatever it is for, and what a lock's own function is made of.
const SCHEDULER: &[&str] = &[
    "__schedule",
    "schedule",
    "schedule_preempt_disabled",
    "schedule_timeout",
    "__mutex_lock",
    "__mutex_lock_slowpath",
    "__mutex_lock_common",
    "__mutex_lock.constprop.0",
    "__mutex_lock_interruptible_slowpath",
    "__mutex_lock_killable_slowpath",
    "rwsem_down_read_slowpath",
    "rwsem_down_write_slowpath",
    "__down",
    "__down_common",
    "__wait_for_common",
    "wait_for_common",
];
/// Where the agent's worker waits for its next request.
const IDLE: &[&str] = &["pipe_read", "anon_pipe_read"];

/// Whether a call, such as `schedule+0x12`, is in this function.
fn is(call: &str, function: &str) -> bool {
    call.strip_prefix(function).is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
}

fn symbol(address: u64, explanation: &Explanation, names: &dyn Names) -> String {
    let module = explanation.symbols.get(&address).map(|name| escape(name));
    module.or_else(|| names.symbol(address)).unwrap_or_else(|| format!("{address:#x}"))
}

fn place(vcpu: &VcpuStanding, explanation: &Explanation, names: &dyn Names) -> String {
    let symbol = symbol(vcpu.rip, explanation, names);
    let how = match (vcpu.halted, vcpu.cpl) {
        (true, _) => "halted at",
        (false, 3) => "in user space at",
        (false, _) => "running at",
    };
    let interrupts = if vcpu.interrupts { "" } else { ", interrupts off" };
    let source = if vcpu.cpl == 3 {
        None
    } else {
        // A halted one goes on behind the instruction that halted it.
        let stands = if vcpu.halted { Stands::BehindCall } else { Stands::Here };
        places::of_address(vcpu.rip, &symbol, stands, names)
    };
    let source = source.map_or(String::new(), |source| format!(", {source}"));
    format!("{how} {symbol}{source}{interrupts}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(halted: [bool; 5]) -> Vec<Vec<VcpuStanding>> {
        let vcpu = |halted| vec![VcpuStanding { index: 0, rip: 0, cpl: 0, halted, interrupts: true }];
        halted.map(vcpu).into()
    }

    #[test]
    fn an_idle_vcpu_may_be_caught_in_its_timers_handler() {
        assert_eq!(Hang::of(&samples([true, true, false, true, true])), Hang::Idle);
        assert_eq!(Hang::of(&samples([true, false, false, true, false])), Hang::Spinning);
        assert_eq!(Hang::of(&[]), Hang::Idle);
    }
}
