//! Lines that begin a report elsewhere and are part of this one: the trap after its announcement, the panic that follows.

use crate::finish::steady;
use crate::kind::Kind;
use crate::line::Line;
use crate::patterns::{Pattern, Place, Role, Trace};

use super::Report;
use super::words::CONSEQUENCE;

impl Report {
    /// Takes a line that begins a report elsewhere, if it is part of this one. Returns whether it was taken.
    pub fn absorb(
        &mut self,
        pattern: &'static Pattern,
        found: &regex::bytes::Captures<'_>,
        line: &Line<'_>,
        number: u64,
    ) -> bool {
        let same = pattern.kind == self.pattern.kind;
        let traced = self.frame_count() > 0;
        let taken = match pattern.role {
            Role::Panic => self.absorbs_panic(&line.text),
            Role::Trap | Role::Shape => {
                self.announces_trap(number) && !self.trapped && !traced && !self.ended
                    || self.caught_early(pattern.kind, number)
                    || self.heralds(pattern, number)
            }
            // Whom the kernel kills comes behind all that it says of its memory.
            Role::More if same && pattern.kind == Kind::Oom => pattern.title == self.pattern.title,
            Role::More => same && !self.ended && (!traced || pattern.kind != Kind::Kmemleak),
            // The CPU faults at the very access that KASAN has just complained about.
            Role::Begin | Role::Torn | Role::Herald | Role::Alone | Role::Orphan => {
                self.caught_early(pattern.kind, number)
                    || self.heralds(pattern, number)
                    || self.says_again(pattern, found, line, number)
                    || self.slab_ends_in(pattern, found)
                    // A Rust panic ends in BUG().
                    || self.pattern.kind == Kind::RustPanic && pattern.kind == Kind::Bug && !traced && !self.ended
                    // x86 says two lines about a jump into data, and powerpc about a bad pointer.
                    || same && pattern.kind == Kind::Oops && !traced && !self.trapped && self.quiet == 0 && self.lines.last + 1 == number
            }
            Role::Guess => {
                self.panicked.is_none()
                    && self.lines.last + 1 == number
                    && !traced
                    && same
                    && self.says_the_same(found)
            }
            Role::Not => false,
        };
        if !taken {
            return false;
        }
        if self.cache.is_none() {
            self.cache = found.name("cache").map(|m| String::from_utf8_lossy(m.as_bytes()).into_owned());
        }
        self.heralding &= pattern.kind == Kind::Slab;
        match pattern.role {
            Role::Trap | Role::Shape => self.trapped = true,
            Role::Panic if self.panicked.is_none() => {
                self.panicked = Some(
                    found
                        .name("what")
                        .map_or_else(String::new, |m| String::from_utf8_lossy(m.as_bytes()).into_owned()),
                );
            }
            _ => {}
        }
        // The summary comes first, the object that tells where comes later.
        if pattern.role == Role::More && self.pattern.trace == Trace::Maybe && pattern.trace != Trace::Maybe {
            self.pattern = pattern;
        }
        self.quiet = 0;
        self.keep(line, number);
        if pattern.trace == Trace::Bare {
            self.begin_trace();
        }
        true
    }

    /// A panic names the trouble that it follows, or kills a task that an oops hit.
    pub fn absorbs_panic(&self, text: &str) -> bool {
        self.pattern.kind != Kind::Panic
            && (CONSEQUENCE.is_match(text)
                || self.pattern.kind == Kind::RustPanic
                || matches!(self.pattern.kind, Kind::Oops | Kind::Bug) && text.contains("Attempted to kill")
                || self.pattern.kind == Kind::Oom && text.contains("ut of memory"))
    }

    /// Whether a head says what this one's says, but for numbers and addresses.
    fn says_the_same(&self, found: &regex::bytes::Captures<'_>) -> bool {
        let what = found.name("what").map(|what| String::from_utf8_lossy(what.as_bytes()));
        what.as_deref().map(steady) == self.what.as_deref().map(steady)
    }

    fn caught_early(&self, next: Kind, number: u64) -> bool {
        const NEAR: u64 = 40;
        next == Kind::Oops
            && self.pattern.kind == Kind::Kasan
            && !self.trapped
            && number - self.lines.last <= NEAR
            && matches!(
                self.what.as_deref(),
                Some("null-ptr-deref" | "user-memory-access" | "wild-memory-access" | "maybe")
            )
    }

    /// Whether this is the head once more: a symboliser repeats it for each function that was inlined there, the outermost last.
    fn says_again(
        &mut self,
        next: &Pattern,
        found: &regex::bytes::Captures<'_>,
        line: &Line<'_>,
        number: u64,
    ) -> bool {
        let again = self.inlined_head && next.kind == self.pattern.kind && self.lines.last + 1 == number;
        if again {
            self.inlined_head = line.text.ends_with("[inline]");
            if let Some(name) = found.name("func") {
                self.head = Some(super::head_frame(&String::from_utf8_lossy(name.as_bytes()), &line.text));
            }
        }
        again
    }

    /// Whether the trap's own line can belong to this report. Some say BUG and trap not: then only the very next line can.
    fn announces_trap(&self, number: u64) -> bool {
        !self.heralding
            && match self.pattern.kind {
                Kind::Oops | Kind::RustPanic => true,
                Kind::Bug => self.pattern.trace != Trace::Maybe || self.lines.last + 1 == number,
                _ => false,
            }
    }

    /// Whether this report is so far only the line before the one that `next` begins.
    fn heralds(&self, next: &Pattern, number: u64) -> bool {
        const NEAR: u64 = 3;
        let follows = match next.role {
            Role::Begin | Role::Torn => {
                matches!(next.kind, Kind::Warn | Kind::Bug | Kind::Refcount | Kind::Slab)
            }
            // Not each is followed by a trap: one that comes by itself is another trouble.
            Role::Trap | Role::Shape => self.pattern.place == Place::Pc,
            _ => false,
        };
        self.heralding && follows && self.frame_count() == 0 && number - self.lines.last <= NEAR
    }

    /// Since 6.16 SLUB's reports get their call trace from a WARN() in mm/slub.c.
    fn slab_ends_in(&self, next: &Pattern, found: &regex::bytes::Captures<'_>) -> bool {
        self.pattern.kind == Kind::Slab
            && next.kind == Kind::Warn
            && !self.ended
            && self.frame_count() == 0
            && found.name("file").is_some_and(|file| file.as_bytes().starts_with(b"mm/sl"))
    }

    /// Whether this is a panic that tells of an earlier trouble, though none was found.
    pub fn absorbs_nothing(&self) -> bool {
        self.what.as_deref().is_some_and(|what| CONSEQUENCE.is_match(what))
    }
}
