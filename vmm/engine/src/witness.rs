//! What the agent says it did, against what the hypervisor saw.

use crate::event::Tampered;
use board::wire::{Exit, Sighting};
use protocol::{Action, Outcome};
use std::time::Duration;

/// A status above this may tell of a signal: no program has to have ended by itself then.
const SIGNALLED: i32 = 128;

/// Signals that come of what a program itself executes: SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS
/// (arch/x86/include/uapi/asm/signal.h).
const OWN_FAULTS: [i32; 6] = [4, 5, 7, 8, 11, 31];

/// What the agent can't have done as it says; `printed` is how much came as its program's output. Where nothing was seen that could be compared, nothing is said.
pub fn compare(action: &Action, outcome: &Outcome, printed: u64, seen: &Sighting) -> Option<Tampered> {
    match (action, outcome) {
        // It was not made.
        (_, Outcome::Refused { .. }) => None,
        (Action::Calls { .. }, _) if seen.entered == 0 => Some(Tampered::Unseen),
        (Action::Calls { .. }, _) if seen.differs.is_some() => seen.differs.clone().map(Tampered::Call),
        (Action::Calls { .. }, Outcome::Returned { .. }) if seen.inside => Some(Tampered::Inside),
        (Action::Calls { .. }, Outcome::Returned { value, data }) => match seen.result {
            Some(result) if result != *value => Some(Tampered::Result { said: *value, seen: result }),
            _ if seen.fewer => Some(Tampered::Fewer { seen: seen.entered }),
            _ => buffer(data, seen.buffers.as_deref()?),
        },
        (Action::Run { .. }, Outcome::Exited { code }) => exit(*code, seen).or_else(|| {
            let made_up = printed > seen.written && !seen.unbounded;
            made_up.then_some(Tampered::Printed { said: printed, seen: seen.written })
        }),
        _ => None,
    }
}

/// A program's status that none of those ended with that it can be. Which process it is is known if PID 1's fork was seen.
fn exit(code: i32, seen: &Sighting) -> Option<Tampered> {
    let is_it =
        |exit: &&Exit| seen.forked.is_empty() || exit.pid.is_none_or(|pid| seen.forked.contains(&pid));
    let mut ends = seen.exits.iter().filter(is_it);
    let ended = |status| Tampered::Exit { said: code, seen: status };
    if seen.more_exits || ends.clone().any(|exit| exit.status == code) {
        return None;
    }
    if code <= SIGNALLED {
        return Some(ended(ends.next_back().map(|exit| exit.status)));
    }
    // It can't fault once it has ended itself. Others may kill it until it has.
    let faulted = OWN_FAULTS.contains(&(code - SIGNALLED)) && !seen.signals && !seen.forked.is_empty();
    ends.next_back().filter(|_| faulted).map(|exit| ended(Some(exit.status)))
}

/// How long it took at least, and what the guest's clock says: the hypervisor's own two looks bound it from below, and from the
/// request to its answer from above.
pub fn bounded(said: Duration, action: &Action, seen: Option<&Sighting>, most: Duration) -> Duration {
    let least = seen.map_or(Duration::ZERO, |seen| match action {
        Action::Run { .. } => {
            let its = seen.exits.iter().filter(|exit| exit.pid.is_some_and(|pid| seen.forked.contains(&pid)));
            its.map(|exit| exit.took).max().unwrap_or_default()
        }
        _ => seen.took,
    });
    said.min(most).max(least)
}

/// The first buffer that is not as the kernel left it.
fn buffer(said: &[Vec<u8>], seen: &[Vec<u8>]) -> Option<Tampered> {
    said.iter().zip(seen).enumerate().find_map(|(index, (said, seen))| {
        let at = said.iter().zip(seen).position(|(said, seen)| said != seen)?;
        Some(Tampered::Buffer { index, at })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use board::wire::Difference;
    use protocol::{Arg, Call, Door};

    fn call() -> Action {
        Call { door: Door::Syscall64, nr: 0, args: vec![Arg::Out(4)] }.into()
    }

    fn seen(result: i64, bytes: &[u8]) -> Sighting {
        Sighting {
            entered: 1,
            result: Some(result),
            buffers: Some(vec![bytes.to_vec()]),
            ..Sighting::default()
        }
    }

    #[test]
    fn an_answer_that_is_what_was_seen_says_nothing() {
        let outcome = Outcome::Returned { value: 4, data: vec![b"abcd".to_vec()] };
        assert_eq!(compare(&call(), &outcome, 0, &seen(4, b"abcd")), None);
        // A result that nobody looked for, as of a call that is repeated.
        let entered = Sighting { entered: 9, ..Sighting::default() };
        assert_eq!(compare(&call(), &outcome, 0, &entered), None);
        assert_eq!(compare(&call(), &Outcome::Refused { why: String::new() }, 0, &Sighting::default()), None);
    }

    #[test]
    fn an_answer_that_is_not_what_was_seen_is_told() {
        let outcome = Outcome::Returned { value: 4, data: vec![b"abcd".to_vec()] };
        assert_eq!(compare(&call(), &outcome, 0, &Sighting::default()), Some(Tampered::Unseen));
        assert_eq!(
            compare(&call(), &outcome, 0, &seen(-14, b"abcd")),
            Some(Tampered::Result { said: 4, seen: -14 })
        );
        let inside = Sighting { inside: true, ..seen(4, b"abcd") };
        assert_eq!(compare(&call(), &outcome, 0, &inside), Some(Tampered::Inside));
        assert_eq!(
            compare(&call(), &outcome, 0, &seen(4, b"abXd")),
            Some(Tampered::Buffer { index: 0, at: 2 })
        );
        let differs = Some(Difference::Number { wanted: 0, seen: 39 });
        let other = Sighting { differs: differs.clone(), ..seen(4, b"abcd") };
        assert_eq!(compare(&call(), &outcome, 0, &other), differs.map(Tampered::Call));
    }

    fn run() -> Action {
        Action::Run { argv: vec!["/bin/x".into()], env: vec![], stdin: vec![], user: None }
    }

    /// Programs that ended themselves, with these numbers and statuses; PID 1 has forked number 9.
    fn saw(exits: &[(u32, i32)]) -> Sighting {
        let took = Duration::from_millis(20);
        let exits = exits.iter().map(|(pid, status)| Exit { pid: Some(*pid), status: *status, took });
        Sighting { exits: exits.collect(), forked: vec![9], ..Sighting::default() }
    }

    #[test]
    fn a_program_that_nobody_saw_end_has_not_ended_so() {
        let said = |code, seen: &Sighting| compare(&run(), &Outcome::Exited { code }, 0, seen);
        let told = |said, seen| Some(Tampered::Exit { said, seen });
        assert_eq!(said(0, &saw(&[(9, 1), (9, 0)])), None);
        assert_eq!(said(0, &saw(&[(9, 1)])), told(0, Some(1)));
        assert_eq!(said(0, &saw(&[(9, 1), (10, 0)])), told(0, Some(1)), "another program's");
        assert_eq!(said(0, &Sighting { forked: vec![], ..saw(&[(10, 0)]) }), None, "it may be any");
        assert_eq!(said(0, &saw(&[])), told(0, None));
        assert_eq!(said(0, &Sighting { more_exits: true, ..saw(&[(9, 1)]) }), None);
    }

    #[test]
    fn a_program_that_ended_itself_has_not_died_of_its_own_fault() {
        let said = |code, seen: &Sighting| compare(&run(), &Outcome::Exited { code }, 0, seen);
        assert_eq!(said(139, &saw(&[])), None);
        assert_eq!(said(139, &saw(&[(9, 139)])), None, "a status like any other");
        assert_eq!(said(139, &saw(&[(9, 0)])), Some(Tampered::Exit { said: 139, seen: Some(0) }));
        assert_eq!(said(137, &saw(&[(9, 0)])), None, "killed before it was at its end");
        assert_eq!(said(139, &Sighting { signals: true, ..saw(&[(9, 0)]) }), None);
    }

    #[test]
    fn output_that_nobody_wrote_is_told() {
        let said = |printed, seen: &Sighting| compare(&run(), &Outcome::Exited { code: 0 }, printed, seen);
        let wrote = Sighting { written: 10, ..saw(&[(9, 0)]) };
        assert_eq!(said(10, &wrote), None);
        assert_eq!(said(11, &wrote), Some(Tampered::Printed { said: 11, seen: 10 }));
        assert_eq!(said(11, &Sighting { unbounded: true, ..wrote }), None);
    }

    #[test]
    fn time_is_bounded_by_what_was_seen() {
        let ms = Duration::from_millis;
        let seen = Sighting { took: ms(30), ..Sighting::default() };
        let of = |said, seen: Option<&Sighting>| bounded(said, &call(), seen, ms(50));
        assert_eq!(
            [of(ms(40), Some(&seen)), of(ms(1), Some(&seen)), of(ms(99), Some(&seen))],
            [40, 30, 50].map(ms)
        );
        assert_eq!(of(ms(1), None), ms(1));
        assert_eq!(bounded(ms(1), &run(), Some(&saw(&[(9, 0)])), ms(50)), ms(20));
        assert_eq!(bounded(ms(1), &run(), Some(&saw(&[(8, 0)])), ms(50)), ms(1));
    }

    #[test]
    fn calls_that_were_not_all_made_are_told() {
        let outcome = Outcome::Returned { value: 4, data: vec![] };
        let fewer = Sighting { fewer: true, ..seen(4, b"") };
        assert_eq!(compare(&call(), &outcome, 0, &fewer), Some(Tampered::Fewer { seen: 1 }));
    }
}
