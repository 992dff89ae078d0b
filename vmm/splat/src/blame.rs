//! Who is to blame: chooses, of all the functions in a report, the one that its title names.
//!
//! The rules, and why they are so, are in docs/splat.md; the tables of functions are the data behind them:
//!
//! - `machinery`: reports, exceptions, sanitizers, ticks and entry code. Never named.
//! - `library`: what works for a caller. Named only if nothing else is there.
//! - `dispatch`: what runs other people's work; where stalls and interrupts begin.
//! - `contexts`: what says nothing in a hung task or a leak.

use std::sync::LazyLock;

use crate::Kind;
use crate::frames::{Entry, Frame};
use crate::patterns::Place;
use crate::report::Report;
use crate::stack::{Origin, Stack};

mod contexts;
mod dispatch;
mod library;
mod machinery;
mod names;

use names::Names;

static MACHINERY: LazyLock<Names> =
    LazyLock::new(|| Names::new(&[machinery::MACHINERY, machinery::EXCEPTIONS]));
static EXCEPTIONS: LazyLock<Names> = LazyLock::new(|| Names::new(&[machinery::EXCEPTIONS]));
static LIBRARY: LazyLock<Names> =
    LazyLock::new(|| Names::new(&[library::LIBRARY, library::LOCKS, library::IN_MODULES]));
static DISPATCH: LazyLock<Names> = LazyLock::new(|| Names::new(&[dispatch::DISPATCH]));
static ANCHORS: LazyLock<Names> = LazyLock::new(|| Names::new(&[dispatch::ANCHORS, dispatch::DISPATCH]));
static INTERRUPTS: LazyLock<Names> = LazyLock::new(|| Names::new(&[dispatch::INTERRUPTS]));
static BOTTOMS: LazyLock<Names> = LazyLock::new(|| Names::new(&[dispatch::BOTTOMS]));
static HUNG: LazyLock<Names> = LazyLock::new(|| Names::new(&[contexts::HUNG]));
static LEAK: LazyLock<Names> = LazyLock::new(|| Names::new(&[contexts::LEAK]));
static IN_MODULES: LazyLock<Names> = LazyLock::new(|| Names::new(&[library::IN_MODULES]));
static LOCKS: LazyLock<Names> = LazyLock::new(|| Names::new(&[library::LOCKS]));

/// How much a function has to do with the trouble, most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It may be at fault.
    Own,
    /// Runs others' work.
    Dispatch,
    /// The body of a system call, in one of the names that compilers and versions give it.
    Call,
    /// Works for its caller.
    Library,
    /// Prints, raises or leads to the report.
    Machinery,
}

impl Rank {
    /// The rank of `function` in a report of `kind`.
    pub fn of(function: &str, kind: Kind) -> Self {
        let context = match kind {
            Kind::HungTask => Some(&HUNG),
            Kind::Kmemleak => Some(&LEAK),
            _ => None,
        };
        if MACHINERY.has(function) {
            Self::Machinery
        } else if LIBRARY.has(function) || context.is_some_and(|names| names.has(function)) {
            Self::Library
        } else if DISPATCH.has(function) {
            Self::Dispatch
        } else if call_of(function).is_some() {
            Self::Call
        } else {
            Self::Own
        }
    }
}

/// Whether `frame` tells what a report of `kind` is about, and not only how the kernel came there.
pub fn tells(frame: &Frame, kind: Kind) -> bool {
    !frame.function.starts_with("0x") && rank(frame, kind) == Some(Rank::Own)
}

/// Whether a line of the trace that took a piece of memory is of a function which takes it for its caller.
pub fn takes_for_others(line: &str) -> bool {
    let Some(Entry::Frame(frame)) = Entry::parse(line) else { return false };
    rank(&frame, Kind::Kmemleak).is_some_and(|rank| rank >= Rank::Library)
}

/// Whether `frame` belongs to the handling of an exception or to the printing of a report.
pub fn is_machinery(frame: &Frame) -> bool {
    frame.module.is_none() && MACHINERY.has(&frame.function)
}

/// Whether `frame` takes an exception, which is the doing of what it interrupts; an interrupt is nobody's.
pub fn is_exception(frame: &Frame) -> bool {
    frame.module.is_none() && EXCEPTIONS.has(&frame.function)
}

/// Whether a trace ends here because nothing calls this function.
pub fn is_bottom(frame: &Frame) -> bool {
    frame.module.is_none() && BOTTOMS.has(&frame.function)
}

/// The plain name of the system call whose body `function` holds: `sys_read` for `__x64_sys_read`, `SyS_read` and others.
fn call_of(function: &str) -> Option<String> {
    let plain = |prefix: &str, wrappers: &[&str]| {
        let call = wrappers.iter().find_map(|wrapper| function.strip_prefix(wrapper))?;
        (!call.is_empty()).then(|| format!("{prefix}{call}"))
    };
    plain("compat_sys_", dispatch::COMPAT_WRAPPERS).or_else(|| plain("sys_", dispatch::WRAPPERS))
}

/// What a report comes to.
#[derive(Debug, Default)]
pub struct Blame {
    pub function: Option<String>,
    /// It is code of a module, but nobody knows which.
    pub unknown: bool,
    /// The second side of a data race.
    pub other: Option<String>,
    pub frames: Vec<Frame>,
    /// So many of them are of what is named; what comes behind them is what an interrupt interrupted.
    pub own: usize,
}

/// Finds who is to blame for `report`.
pub fn blame(report: &Report) -> Blame {
    let mut blame = match report.pattern.kind {
        kind if kind.is_stall() => stalled(report),
        Kind::Kcsan => raced(report),
        _ => ordinary(report),
    };
    blame.unknown = blame.function.take_if(|name| name.starts_with("0x")).is_some();
    blame
}

/// The trace that tells most, with the program counter's function on top; in it, the first function that matters.
fn ordinary(report: &Report) -> Blame {
    let kind = report.pattern.kind;
    let place = report.pattern.place;
    let telling = |stack: &&Stack| stack.frames.iter().any(|frame| rank(frame, kind) == Some(Rank::Own));
    let mut stack = report
        .stacks
        .iter()
        .find(telling)
        .or_else(|| report.stacks.iter().find(|stack| !stack.frames.is_empty()))
        .cloned()
        .unwrap_or_default();
    if matches!(place, Place::Pc | Place::Head)
        && let Some(pc) = report.pc_frame()
        && stack.frames.first().is_none_or(|first| first.function != pc.function)
    {
        stack.insert_top(pc.clone());
    }
    let head = report.head.as_ref().filter(|_| place == Place::Head);
    let at = report.at.as_ref().filter(|_| place == Place::At).map(|frame| frame.function.as_str());
    let (first, own) = first_own(head, &stack, kind);
    let function = match place {
        Place::No => None,
        _ => at
            .filter(|at| !LOCKS.has(at) && !MACHINERY.has(at))
            .map(|at| call_of(at).unwrap_or_else(|| at.to_owned()))
            .or(first)
            .or_else(|| at.map(str::to_owned)),
    };
    Blame { function, other: report.other.clone(), frames: stack.frames, own, ..Blame::default() }
}

/// The best function of `head` and `stack`, without crossing into what an interrupt interrupted, and how many frames that leaves.
fn first_own(head: Option<&Frame>, stack: &Stack, kind: Kind) -> (Option<String>, usize) {
    let mut own = 0;
    let mut best: Option<(Rank, String)> =
        head.and_then(|head| Some((rank(head, kind)?, head.function.clone())));
    for (index, segment) in segments(stack).into_iter().enumerate() {
        if index > 0 && best.as_ref().is_some_and(|(rank, _)| *rank < Rank::Machinery) {
            break;
        }
        own += segment.len();
        for frame in segment {
            let Some(rank) = rank(frame, kind) else { continue };
            if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                best = Some((rank, frame.function.clone()));
            }
        }
    }
    let name = best.and_then(|(rank, name)| match rank {
        Rank::Machinery => None,
        Rank::Call => call_of(&name),
        _ => Some(name),
    });
    (name, own)
}

/// The rank of a frame that can be named. An inlined one can't: whether it is there depends on who printed the trace, and the
/// name must not.
fn rank(frame: &Frame, kind: Kind) -> Option<Rank> {
    if frame.inlined {
        None
    } else if frame.function.starts_with("0x") {
        frame.is_unknown_module().then_some(Rank::Own)
    } else if frame.module.is_some() {
        Some(in_module(&frame.function))
    } else {
        Some(Rank::of(&frame.function, kind))
    }
}

/// A function of a module. The tables are of the kernel's own code: a driver's `irq_handler` is its own.
fn in_module(function: &str) -> Rank {
    if IN_MODULES.has(function) {
        Rank::Library
    } else if call_of(function).is_some() {
        Rank::Call
    } else {
        Rank::Own
    }
}

/// A stack, cut where an interrupt came: each part is something else that the CPU did.
fn segments(stack: &Stack) -> Vec<&[Frame]> {
    let frames = &stack.frames;
    let mut cuts: Vec<usize> = stack.breaks.clone();
    let enters = |frame: &Frame| frame.module.is_none() && INTERRUPTS.has(&frame.function);
    let entries = frames.iter().enumerate().filter(|(_, frame)| enters(frame));
    cuts.extend(entries.map(|(index, _)| index + 1));
    cuts.sort_unstable();
    let mut segments = Vec::new();
    let mut start = 0;
    for cut in cuts.into_iter().chain([frames.len()]) {
        if let Some(segment) = frames.get(start..cut)
            && !segment.is_empty()
        {
            segments.push(segment);
        }
        start = start.max(cut);
    }
    segments
}

/// Of a stall: what the CPU that stalled was told to do. Where in its loop it was when somebody looked is chance.
fn stalled(report: &Report) -> Blame {
    let kind = report.pattern.kind;
    let mut best: Option<(u8, Blame)> = None;
    for stack in &report.stacks {
        let frames = interrupted(stack);
        if frames.is_empty() {
            continue;
        }
        // RCU's own thread waits for those that stall: nothing in it is at fault.
        let task = told(&frames, kind).filter(|_| stack.origin != Origin::GracePeriod);
        // A CPU that idles holds nothing up.
        let idle = frames
            .iter()
            .any(|frame| frame.function == "do_idle" || frame.function.starts_with("cpu_startup_entry"))
            && task.as_deref().is_none_or(|name| DISPATCH.has(name));
        let order = match stack.origin {
            Origin::GracePeriod => 5,
            _ if idle => 4,
            _ if task.is_none() => 3,
            Origin::LastRan => 2,
            Origin::Task => 1,
            Origin::Own | Origin::Cpu => 0,
        };
        if best.as_ref().is_none_or(|(known, _)| order < *known) {
            best = Some((order, Blame { function: task, frames, ..Blame::default() }));
        }
    }
    let mut found = best.map(|(_, blame)| blame).unwrap_or_default();
    if found.frames.is_empty()
        && let Some(pc) = report.pc_frame()
    {
        found.frames = vec![pc.clone()];
        found.function = first_own(None, &Stack::of(found.frames.clone()), kind).0;
    }
    if report.pattern.place == Place::No {
        found.function = None;
    }
    found.own = found.frames.len();
    found
}

/// The frames of what the tick or the NMI interrupted, innermost first.
fn interrupted(stack: &Stack) -> Vec<Frame> {
    match &stack.pc {
        Some(pc) => {
            let on_top = stack.frames.first().is_some_and(|first| first.function == pc.function);
            let rest = stack.frames.iter().skip(usize::from(on_top)).cloned();
            std::iter::once(pc.clone()).chain(rest).collect()
        }
        // The trace begins in the tick itself.
        None => {
            let parts = segments(stack);
            let ticks = |part: &&&[Frame]| part.iter().all(|frame| frame.inlined || is_noise(frame));
            let skipped: usize = parts.iter().take_while(ticks).map(|part| part.len()).sum();
            let skipped = if skipped < stack.frames.len() { skipped } else { 0 };
            stack.frames[skipped..].to_vec()
        }
    }
}

fn is_noise(frame: &Frame) -> bool {
    let name = &frame.function;
    frame.module.is_none() && (MACHINERY.has(name) || LIBRARY.has(name) || DISPATCH.has(name))
}

/// What `frames` were told to do: the last function that matters before the first that hands out work.
fn told(frames: &[Frame], kind: Kind) -> Option<String> {
    let mut last: Option<&str> = None;
    let mut otherwise: Option<&str> = None;
    for frame in frames {
        let Some(rank) = rank(frame, kind) else { continue };
        let name = frame.function.as_str();
        let call = call_of(name);
        let anchor = match &call {
            _ if frame.module.is_some() => false,
            Some(call) => ANCHORS.has(call),
            None => ANCHORS.has(name) || MACHINERY.has(name) && !INTERRUPTS.has(name) && BOTTOMS.has(name),
        };
        if let (Some(call), false) = (&call, anchor) {
            return Some(call.clone());
        }
        if anchor && last.is_some() {
            break;
        }
        if call.is_some() || name == "do_idle" {
            otherwise = Some(name);
        }
        if !anchor && rank == Rank::Own {
            last = Some(name);
        }
    }
    let fallback =
        || frames.iter().find(|frame| rank(frame, kind).is_some_and(|rank| rank < Rank::Machinery));
    let name = last.or(otherwise).or_else(|| fallback().map(|frame| frame.function.as_str()))?;
    Some(call_of(name).unwrap_or_else(|| name.to_owned()))
}

/// The two sides of a data race: where the head names a helper, the function in that side's trace which matters.
fn raced(report: &Report) -> Blame {
    let kind = report.pattern.kind;
    let stack = |name: &str| {
        let begins = |stack: &&Stack| stack.frames.first().is_some_and(|top| top.function == name);
        // Both sides may be in one function.
        let names =
            |stack: &&Stack| stack.frames.iter().map(|frame| frame.function.clone()).collect::<Vec<_>>();
        report.stacks.iter().filter(begins).min_by_key(names)
    };
    let side = |name: &str| {
        let own = stack(name).and_then(|stack| first_own(None, stack, kind).0);
        (own.unwrap_or_else(|| name.to_owned()), stack(name))
    };
    let mut blame = ordinary(report);
    let sides = (report.head.as_ref().map(|head| side(&head.function)), report.other.as_deref().map(side));
    // Who came first is chance.
    let (first, second) = match sides {
        (Some(one), Some(other)) if other.0 < one.0 => (Some(other), Some(one)),
        sides => sides,
    };
    if let Some((name, stack)) = first {
        blame.function = Some(name);
        if let Some(stack) = stack {
            blame.own = first_own(None, stack, kind).1;
            blame.frames = stack.frames.clone();
        }
        blame.other = second.map(|(name, _)| name);
    } else {
        blame.other = None;
    }
    blame
}

#[cfg(test)]
#[path = "blame_test.rs"]
mod tests;
