//! Calls that a signal sends back to their beginning, and what handlers of signals come back to.

use super::{EXITS, RESTART, inside::NEAR};
use crate::tally::Origin;
use machine::{AddressSpace, GuestVirtualAddress};
use std::iter::successors;

/// Where in user space a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    /// It returns to there.
    pub back: u64,
    /// The stack pointer.
    pub stack: u64,
}

impl Site {
    /// Where it begins: `syscall` has two bytes, and a call that begins anew has its registers as they were then
    /// (arch_do_signal_or_restart of arch/x86/kernel/signal.c).
    fn beginning(self) -> u64 {
        self.back.wrapping_sub(2)
    }
}

/// What a task has in its registers on its way to user space, or will have once a handler of a signal returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Return {
    /// It goes on there.
    pub back: u64,
    /// The stack pointer.
    pub stack: u64,
    /// What its call returns.
    pub result: i64,
}

/// So many handlers may be about to run, one before the other.
const MOST_HANDLERS: usize = 8;

impl Return {
    /// What a signal's handler comes back to, by the frame that the kernel made for it at `stack` (`struct rt_sigframe` of
    /// arch/x86/include/asm/sigframe.h: behind an address and five words of `struct ucontext` come the registers, of
    /// which these are number 13, 15 and 16).
    pub fn of_handler(user: &AddressSpace, stack: u64) -> Option<Self> {
        const REGISTERS: u64 = 48;
        let register =
            |index: u64| user.read_u64(GuestVirtualAddress(stack.wrapping_add(REGISTERS + 8 * index)));
        Some(Self { back: register(16)?, stack: register(15)?, result: register(13)?.cast_signed() })
    }
}

/// A call that was sent back to its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Again {
    /// What it was counted as.
    pub row: u64,
    pub origin: Origin,
    /// What enters next, unless by `restart_syscall`.
    pub nr: u64,
    pub site: Site,
    /// A handler runs first, which need not come back.
    pub handled: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is made once more.
    Made,
    /// Not yet.
    Waits,
    /// Its task does something else.
    Dropped,
}

impl Again {
    /// What the next call of its task makes of it.
    pub fn fate(&self, origin: Origin, nr: u64, site: Site) -> Fate {
        let above = site.stack.wrapping_sub(self.site.stack).cast_signed();
        let same = (self.origin, self.site) == (origin, site) && (self.nr == nr || nr == RESTART);
        match self.handled {
            false if same => Fate::Made,
            // Another signal may come before it, whose handler runs below it on the stack, or on another one.
            false if (0..NEAR).contains(&above) || EXITS.contains(&nr) => Fate::Dropped,
            _ => Fate::Waits,
        }
    }

    /// A handler is back.
    pub fn handler_returned(&mut self, to: Return) {
        self.handled &= to.back != self.site.beginning();
    }
}

/// How a call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has this result.
    Result(i64),
    /// It begins anew, at once or behind a handler.
    Again { handled: bool },
}

impl End {
    /// Of a call that was made at `site`. `handler` reads what a handler comes back to whose frame is at this place of the stack.
    pub fn of(site: Site, now: Return, handler: impl Fn(u64) -> Option<Return>) -> Self {
        let known = |to: Return, handled| {
            let again = (to.back == site.beginning()).then_some(Self::Again { handled });
            again.or((to.back == site.back).then_some(Self::Result(to.result)))
        };
        if let Some(end) = known(now, false) {
            return end;
        }
        // The guest's memory is read for this, so most returns do without.
        let mut frames = successors(handler(now.stack), |frame| handler(frame.stack)).take(MOST_HANDLERS);
        frames.find_map(|frame| known(frame, true)).unwrap_or(Self::Result(now.result))
    }
}

#[cfg(test)]
#[path = "again_test.rs"]
mod tests;
