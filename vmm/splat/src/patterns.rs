//! The messages that begin a report, as data. Sources: the kernel's own printk calls, 4.x to 7.x.
//!
//! The first pattern that matches wins, so the special ones stand before the general. `head` is matched at the
//! beginning of a message (prefixes already taken off), which is what keeps command lines and quotations out.

use std::sync::LazyLock;

use crate::Kind;

mod complaints;
mod faults;
mod general;
mod locks;
mod lookalikes;
mod memory;
mod sanitizers;
mod stalls;

/// What a message is to the report before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Begins a report.
    Begin,
    /// The CPU exception's own line: part of the report whose first line announced it, or else begins one.
    Trap,
    /// What has the shape of such a line and may be anybody's: begins a report only if registers follow.
    Shape,
    /// A further line of a report of the same kind, or else begins one.
    More,
    /// What is left of a head on a console, where lines are torn and a task's name may have a line end: begins a report, but in a record
    /// of the kernel's, which is whole, it is anybody's word.
    Torn,
    /// Begins a report if it is certain that the kernel printed it: user programs say such things too. Within a WARN it is only the
    /// message.
    Guess,
    /// What some kernels print just before the report proper: stays the first line of the WARN, BUG or oops that follows at once, or
    /// else is a report of its own.
    Herald,
    /// Begins a report, but within a WARN it is only the message.
    Alone,
    /// A part of a report whose head is lost: begins one where none is open that has such parts.
    Orphan,
    /// `Kernel panic`: the end of the report that caused it, or else begins one.
    Panic,
    /// Looks like a report and is none.
    Not,
}

impl Role {
    /// Whether it is the line of a CPU exception.
    pub fn is_trap(self) -> bool {
        matches!(self, Role::Trap | Role::Shape)
    }
}

/// Where the title's function comes from, best source first; the call trace always comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The head's `func` group, then the program counter.
    Head,
    /// The program counter.
    Pc,
    /// `at: foo+0x12/0x34` in the body.
    At,
    /// The call trace alone: the program counter is that of an interrupted bystander.
    Trace,
    /// Not known: the head says everything.
    No,
}

/// How the call trace stands in the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Under a line `Call Trace:` or the like; a report without one is corrupted.
    Needed,
    /// Right under the head; a report without one is corrupted.
    Bare,
    /// There may be one.
    Maybe,
}

/// One message that begins a report.
pub struct Pattern {
    pub kind: Kind,
    pub role: Role,
    /// Text that every matching message contains: lets a fast search skip all other lines.
    pub key: &'static str,
    /// Groups: `what` goes into the title, `func`, `file`, `cpu`, `pid` and `comm` into the finding.
    pub head: &'static str,
    /// `{what}` is the group, `{access}` the kind of memory access, `{in}` is " in FUNCTION" when known.
    pub title: &'static str,
    pub place: Place,
    pub trace: Trace,
    /// Why it is here.
    #[allow(dead_code, reason = "for the reader of the table; the test demands that it is there")]
    pub why: &'static str,
}

impl Pattern {
    /// Whether `[ cut here ]` and the message of a `WARN()` or `BUG()` stand before it.
    pub fn follows_cut(&self) -> bool {
        matches!(self.kind, Kind::Warn | Kind::Bug | Kind::Refcount)
            && (self.trace == Trace::Needed || self.role == Role::Herald)
    }
}

#[expect(clippy::too_many_arguments, reason = "a row of the table below")]
const fn p(
    kind: Kind,
    role: Role,
    key: &'static str,
    head: &'static str,
    title: &'static str,
    place: Place,
    trace: Trace,
    why: &'static str,
) -> Pattern {
    Pattern { kind, role, key, head, title, place, trace, why }
}

/// All patterns, in the order in which they are tried.
pub static PATTERNS: LazyLock<Vec<&'static Pattern>> = LazyLock::new(|| {
    [
        stalls::OF_A_TASK,
        locks::OF_A_TASK,
        lookalikes::PATTERNS,
        memory::OF_A_TASK,
        sanitizers::PATTERNS,
        locks::PATTERNS,
        stalls::PATTERNS,
        memory::PATTERNS,
        complaints::PATTERNS,
        faults::PATTERNS,
        general::PATTERNS,
    ]
    .into_iter()
    .flatten()
    .collect()
});

#[cfg(test)]
mod tests {
    use super::*;
    use regex_syntax::hir::{Hir, HirKind};

    #[test]
    fn every_pattern_has_its_reason_and_contains_its_key() {
        let mut missed = Vec::new();
        for pattern in PATTERNS.iter() {
            assert!(!pattern.why.is_empty(), "{}", pattern.head);
            assert!(
                pattern.key.len() >= 2,
                "the search for {:?} would stop at every other line",
                pattern.key
            );
            let head =
                regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern.head);
            let ways = ways(&head.expect(pattern.head));
            let without = ways.into_iter().filter(|way| !way.contains(pattern.key));
            without.for_each(|way| missed.push(format!("{:?} is not in {way:?}", pattern.key)));
        }
        assert_eq!(missed, Vec::<String>::new());
    }

    /// All that may match, where what is not certain is a NUL.
    fn ways(hir: &Hir) -> Vec<String> {
        let unknown = || vec!["\0".to_owned()];
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => vec![String::new()],
            HirKind::Literal(literal) => vec![String::from_utf8_lossy(&literal.0).into_owned()],
            HirKind::Class(_) => unknown(),
            HirKind::Repetition(repetition) if repetition.min == 0 && repetition.max == Some(1) => {
                [vec![String::new()], ways(&repetition.sub)].concat()
            }
            HirKind::Repetition(repetition) if repetition.min > 0 => {
                ways(&repetition.sub).into_iter().map(|way| format!("{way}\0{way}")).collect()
            }
            HirKind::Repetition(_) => unknown(),
            HirKind::Capture(capture) => ways(&capture.sub),
            HirKind::Concat(all) => all.iter().fold(vec![String::new()], |so_far, next| {
                let next = ways(next);
                so_far.iter().flat_map(|way| next.iter().map(move |more| format!("{way}{more}"))).collect()
            }),
            HirKind::Alternation(all) => all.iter().flat_map(ways).collect(),
        }
    }
}
