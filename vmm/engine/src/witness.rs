//! What the agent says it did, against what the hypervisor saw.

use crate::event::Tampered;
use board::wire::{ByteCounts, Exit, Sighting};
use protocol::{Action, Made, Outcome};
use std::{cmp::Ordering, iter, time::Duration};

/// A status above this may tell of a signal: no program has to have ended by itself then.
const SIGNALLED: i32 = 128;
/// What a worker ends with that can't answer any more: by itself (`worker.rs` of guest-image/agent), and in a panic.
const UNABLE: [i32; 2] = [1, 101];
/// `execve` and `execveat` (arch/x86/entry/syscalls/syscall_64.tbl).
const EXECS: [u64; 2] = [59, 322];

/// Signals that come of what a program itself executes: SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS
/// (arch/x86/include/uapi/asm/signal.h).
const OWN_FAULTS: [i32; 6] = [4, 5, 7, 8, 11, 31];

/// What the agent can't have done as it says; `printed` is what came as its program's output. Where nothing was seen that could be compared, nothing is said.
pub fn compare(
    action: &Action,
    outcome: &Outcome,
    printed: &ByteCounts,
    seen: &Sighting,
) -> Option<Tampered> {
    match (action, outcome) {
        _ if !answers(action, outcome) => Some(Tampered::Kind),
        // Who sees not all sees no contradiction; that it is so is told at the end.
        _ if seen.blind => None,
        // It was not made.
        (_, Outcome::Refused { .. }) => None,
        // Who was killed may not have come so far.
        (_, Outcome::Died { .. }) if seen.entered == 0 => None,
        (Action::Calls { .. } | Action::Chain(_), _) if seen.entered == 0 => Some(Tampered::Unseen),
        (Action::Calls { .. } | Action::Chain(_), _) if seen.differs.is_some() => {
            seen.differs.clone().map(Tampered::Call)
        }
        (Action::Chain(_), Outcome::Chained(_) | Outcome::Returned { .. }) if seen.inside => {
            Some(Tampered::Inside)
        }
        (Action::Chain(_), Outcome::Chained(made)) => chain(made, seen),
        (Action::Calls { .. }, Outcome::Returned { .. }) if seen.inside => Some(Tampered::Inside),
        (Action::Calls { .. } | Action::Chain(_), Outcome::Exited { code, .. }) => {
            (returned(action, seen) && !UNABLE.contains(code)).then_some(Tampered::Ended { said: *code })
        }
        (Action::Calls { .. }, Outcome::Returned { value, data }) => match seen.result {
            Some(result) if result != *value => Some(Tampered::Result { said: *value, seen: result }),
            _ if seen.fewer.is_some() => seen.fewer.map(|seen| Tampered::Fewer { seen }),
            _ => buffer(data, seen.buffers.as_deref()?),
        },
        (Action::Run { .. }, Outcome::Exited { .. }) if seen.strange.is_some() => {
            seen.strange.map(|address| Tampered::Program { address })
        }
        (Action::Run { .. }, Outcome::Exited { code, .. }) => exit(*code, seen).or_else(|| {
            let made_up = printed.beyond(&seen.written).saturating_sub(seen.unread);
            let known = made_up > 0 && !seen.unbounded;
            known.then(|| Tampered::Printed { made_up, said: printed.length() })
        }),
        _ => None,
    }
}

/// Whether a request is answered like this at all.
fn answers(action: &Action, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused { .. } => true,
        Outcome::Returned { .. } => matches!(action, Action::Calls { .. }),
        Outcome::Chained(_) => matches!(action, Action::Chain(_)),
        Outcome::Died { .. } => matches!(action, Action::Calls { .. } | Action::Chain(_)),
        // In a call a process may end, or become a program that does.
        Outcome::Exited { .. } => {
            matches!(action, Action::Calls { .. } | Action::Chain(_) | Action::Run { .. })
        }
        Outcome::Done => matches!(action, Action::Wake { .. } | Action::Place(_) | Action::Renew),
    }
}

/// Whether the last call was seen to return, to the one who made it: where it became another program, that goes on.
fn returned(action: &Action, seen: &Sighting) -> bool {
    let (call, result) = match (action, seen.made.last()) {
        (Action::Chain(links), Some(made)) => {
            (links.get(usize::from(made.link)).map(|link| &link.call), made.result)
        }
        (Action::Calls { calls, .. }, _) => (calls.last(), seen.result),
        _ => (None, seen.result),
    };
    let became_another = result == Some(0) && call.is_some_and(|call| EXECS.contains(&call.nr));
    result.is_some() && !seen.inside && !became_another
}

/// A program's status that none of those ended with that it can be. Which process it is is known if PID 1's fork was seen. Who
/// ends all threads decides; where several do, it is the one that the program began with, if that is known.
fn exit(code: i32, seen: &Sighting) -> Option<Tampered> {
    let is_it =
        |exit: &&Exit| seen.forked.is_empty() || exit.pid.is_none_or(|pid| seen.forked.contains(&pid));
    let ends: Vec<&Exit> = seen.exits.iter().filter(is_it).collect();
    let deciding: [fn(&Exit) -> bool; 3] = [|exit| exit.group && exit.main, |exit| exit.group, |_| true];
    let of = |decides: &fn(&Exit) -> bool| -> Vec<i32> {
        ends.iter().filter(|exit| decides(exit)).map(|exit| exit.status).collect()
    };
    // Of any program nothing decides which of them it was.
    let statuses = match seen.forked.is_empty() {
        true => of(&deciding[2]),
        false => deciding.iter().map(of).find(|statuses| !statuses.is_empty()).unwrap_or_default(),
    };
    let last = statuses.last().copied();
    let ended = |status| Tampered::Exit { said: code, seen: status };
    // What was seen of it is known, whatever others did; what was not may be among what was forgotten.
    let forgotten = seen.more_exits && (seen.forked.is_empty() || statuses.is_empty());
    if forgotten || statuses.contains(&code) {
        return None;
    }
    if code <= SIGNALLED {
        return Some(ended(last));
    }
    // It can't fault once it has ended itself. Others may kill it until it has.
    let faulted = OWN_FAULTS.contains(&(code - SIGNALLED)) && !seen.signals && !seen.forked.is_empty();
    last.filter(|_| faulted).map(|status| ended(Some(status)))
}

/// What the guest's clock says, between what it took at least and, from the request to its answer, at most.
pub fn bounded(said: Duration, least: Duration, most: Duration) -> Duration {
    said.min(most).max(least)
}

/// How long it took at least, by the hypervisor's own two looks, whatever the guest's clock says.
pub fn least(action: &Action, seen: Option<&Sighting>) -> Duration {
    seen.map_or(Duration::ZERO, |seen| match action {
        Action::Run { .. } => {
            let its = seen.exits.iter().filter(|exit| exit.pid.is_some_and(|pid| seen.forked.contains(&pid)));
            its.map(|exit| exit.took).max().unwrap_or_default()
        }
        _ => seen.took,
    })
}

/// Whether the step's call may be in the kernel still: it came there as it should, and nobody saw it return.
pub fn may_be_inside(seen: &Sighting) -> bool {
    let returned = seen.result.is_some() || seen.made.last().is_some_and(|made| made.result.is_some());
    let came = seen.entered > 0 && seen.differs.is_none();
    seen.blind || came && (seen.inside || !returned)
}

/// The first call of a chain that was not made as it is told, or was not told.
fn chain(made: &[Made], seen: &Sighting) -> Option<Tampered> {
    let differs = made.iter().zip(&seen.made).find_map(|(said, seen)| match seen.result {
        _ if said.link != seen.link => Some(Tampered::Unseen),
        Some(result) if result != said.value => Some(Tampered::Result { said: said.value, seen: result }),
        _ => buffer(&said.data, seen.buffers.as_deref()?),
    });
    differs.or_else(|| match made.len().cmp(&seen.made.len()) {
        Ordering::Less => Some(Tampered::Hidden { seen: seen.entered }),
        Ordering::Greater => Some(Tampered::Unseen),
        Ordering::Equal => None,
    })
}

/// The first buffer that is not as the kernel left it. Zeros at a buffer's end are not sent: what is not there says that it is zero.
fn buffer(said: &[Vec<u8>], seen: &[Vec<u8>]) -> Option<Tampered> {
    seen.iter().enumerate().find_map(|(index, seen)| {
        let said = said.get(index).map_or(&[][..], Vec::as_slice).iter().chain(iter::repeat(&0));
        let at = said.zip(seen).position(|(said, seen)| said != seen)?;
        Some(Tampered::Buffer { index, at })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use board::wire::{Difference, Sight};
    use protocol::{Arg, Call, Door};

    fn nothing() -> ByteCounts {
        ByteCounts::default()
    }

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
        assert_eq!(compare(&call(), &outcome, &nothing(), &seen(4, b"abcd")), None);
        // A result that nobody looked for, as of a call that is repeated.
        let entered = Sighting { entered: 9, ..Sighting::default() };
        assert_eq!(compare(&call(), &outcome, &nothing(), &entered), None);
        assert_eq!(
            compare(&call(), &Outcome::Refused { why: String::new() }, &nothing(), &Sighting::default()),
            None
        );
    }

    #[test]
    fn an_answer_that_is_not_what_was_seen_is_told() {
        let outcome = Outcome::Returned { value: 4, data: vec![b"abcd".to_vec()] };
        assert_eq!(compare(&call(), &outcome, &nothing(), &Sighting::default()), Some(Tampered::Unseen));
        assert_eq!(
            compare(&call(), &outcome, &nothing(), &seen(-14, b"abcd")),
            Some(Tampered::Result { said: 4, seen: -14 })
        );
        let inside = Sighting { inside: true, ..seen(4, b"abcd") };
        assert_eq!(compare(&call(), &outcome, &nothing(), &inside), Some(Tampered::Inside));
        assert_eq!(
            compare(&call(), &outcome, &nothing(), &seen(4, b"abXd")),
            Some(Tampered::Buffer { index: 0, at: 2 })
        );
        for (said, at) in [(vec![b"ab".to_vec()], 2), (vec![], 0)] {
            let zeros = [said.concat(), vec![0; 2]].concat();
            let shortened = Outcome::Returned { value: 4, data: said };
            let told = |there: &[u8]| compare(&call(), &shortened, &nothing(), &seen(4, there));
            assert_eq!(told(b"abcd"), Some(Tampered::Buffer { index: 0, at }));
            assert_eq!(told(&zeros), None);
        }
        let differs = Some(Difference::Number { wanted: 0, seen: 39 });
        let other = Sighting { differs: differs.clone(), ..seen(4, b"abcd") };
        assert_eq!(compare(&call(), &outcome, &nothing(), &other), differs.map(Tampered::Call));
    }

    #[test]
    fn a_call_that_never_came_or_was_seen_to_return_is_not_in_the_kernel() {
        let inside = Sighting { entered: 1, inside: true, ..Sighting::default() };
        // Through a door where no result is seen.
        let other = Sighting { entered: 1, ..Sighting::default() };
        // The second round of a call that is repeated.
        let again = Sighting { entered: 2, result: Some(0), ..inside.clone() };
        let blind = Sighting { blind: true, ..Sighting::default() };
        let chain = |result| Sighting { made: vec![Sight { result, ..Sight::default() }], ..other.clone() };
        for seen in [&inside, &other, &again, &blind, &chain(None)] {
            assert!(may_be_inside(seen), "{seen:?}");
        }
        let differs = Some(Difference::Number { wanted: 0, seen: 39 });
        for seen in
            [&Sighting::default(), &seen(3, b""), &chain(Some(0)), &Sighting { differs, ..inside.clone() }]
        {
            assert!(!may_be_inside(seen), "{seen:?}");
        }
    }

    #[test]
    fn each_call_of_a_chain_is_compared() {
        let action = Action::Chain(vec![]);
        let made = |value, data: &[u8]| Made { link: 0, value, data: vec![data.to_vec()], nanos: 0 };
        let sight = |link, result, bytes: &[u8]| Sight {
            link,
            result: Some(result),
            buffers: Some(vec![bytes.to_vec()]),
            took: Duration::ZERO,
        };
        let told = |made: &[Made], sights: &[Sight]| {
            let seen = Sighting { entered: 2, made: sights.to_vec(), ..Sighting::default() };
            compare(&action, &Outcome::Chained(made.to_vec()), &nothing(), &seen)
        };
        let (one, two) = (made(3, b"abc"), Made { link: 1, ..made(4, b"abcd") });
        let seen = [sight(0, 3, b"abc"), sight(1, 4, b"abcd")];
        let both = [one.clone(), two.clone()];
        assert_eq!(told(&both, &seen), None);
        assert_eq!(told(&both, &seen[..1]), Some(Tampered::Unseen));
        assert_eq!(told(&both[..1], &seen), Some(Tampered::Hidden { seen: 2 }));
        assert_eq!(told(&[one.clone(), Made { link: 2, ..two }], &seen), Some(Tampered::Unseen));
        assert_eq!(
            told(&both, &[sight(0, 3, b"abc"), sight(1, -4, b"abcd")]),
            Some(Tampered::Result { said: 4, seen: -4 })
        );
        assert_eq!(
            told(&both, &[sight(0, 3, b"aXc"), sight(1, 4, b"abcd")]),
            Some(Tampered::Buffer { index: 0, at: 1 })
        );
        let inside = Sighting { entered: 2, made: seen.to_vec(), inside: true, ..Sighting::default() };
        assert_eq!(
            compare(&action, &Outcome::Chained(both.to_vec()), &nothing(), &inside),
            Some(Tampered::Inside)
        );
        let none = Sighting::default();
        assert_eq!(compare(&action, &Outcome::Chained(vec![one]), &nothing(), &none), Some(Tampered::Unseen));
    }

    #[test]
    fn an_answer_of_another_kind_is_told() {
        let (returned, exited) =
            (|| Outcome::Returned { value: 0, data: vec![] }, || Outcome::Exited { code: 0, open: vec![] });
        let told = |action: &Action, outcome| compare(action, &outcome, &nothing(), &Sighting::default());
        let chain = Action::Chain(vec![]);
        for (action, outcome) in [
            (&run(), returned()),
            (&run(), Outcome::Died { signal: 9 }),
            (&run(), Outcome::Done),
            (&call(), Outcome::Chained(vec![])),
            (&call(), Outcome::Done),
            (&chain, returned()),
        ] {
            let blind = Sighting { blind: true, ..Sighting::default() };
            assert_eq!(compare(action, &outcome, &nothing(), &blind), Some(Tampered::Kind), "{outcome:?}");
        }
        // The process that makes a call ends in it at most once: what returned did not end.
        assert_eq!(
            compare(&call(), &exited(), &nothing(), &seen(-14, b"")),
            Some(Tampered::Ended { said: 0 })
        );
        let unable = Outcome::Exited { code: 1, open: vec![] };
        assert_eq!(compare(&call(), &unable, &nothing(), &seen(-14, b"")), None, "its step fails");
        let inside = Sighting { inside: true, result: None, ..seen(0, b"") };
        assert_eq!(compare(&call(), &exited(), &nothing(), &inside), None);
        // It is another program that ends then, unless that could not be executed; and nobody comes back from it.
        let mut executes = call();
        let Action::Calls { calls, .. } = &mut executes else { panic!("it makes calls") };
        calls[0].nr = EXECS[0];
        let ended = |result| compare(&executes, &exited(), &nothing(), &seen(result, b""));
        assert_eq!([ended(0), ended(-2)], [None, Some(Tampered::Ended { said: 0 })]);
        let lies = Outcome::Returned { value: -2, data: vec![] };
        let differs = Some(Tampered::Result { said: -2, seen: 0 });
        assert_eq!(compare(&executes, &lies, &nothing(), &seen(0, b"")), differs);
        let sight = |result| Sight { link: 0, result, buffers: None, took: Duration::ZERO };
        let of = |result| Sighting {
            entered: 2,
            made: vec![sight(Some(3)), sight(result)],
            ..Sighting::default()
        };
        assert_eq!(compare(&chain, &exited(), &nothing(), &of(Some(-14))), Some(Tampered::Ended { said: 0 }));
        assert_eq!(compare(&chain, &exited(), &nothing(), &of(None)), None);
        // It may be killed before its first call.
        assert_eq!(told(&call(), Outcome::Died { signal: 9 }), None);
        assert_eq!(told(&call(), exited()), Some(Tampered::Unseen));
    }

    fn run() -> Action {
        Action::Run { argv: vec!["/bin/x".into()], env: vec![], stdin: vec![], user: None }
    }

    /// Programs that ended themselves, with these numbers and statuses; PID 1 has forked number 9.
    fn saw(exits: &[(u32, i32)]) -> Sighting {
        let took = Duration::from_millis(20);
        let (group, main) = (true, false);
        let exits =
            exits.iter().map(|(pid, status)| Exit { pid: Some(*pid), status: *status, took, group, main });
        Sighting { exits: exits.collect(), forked: vec![9], ..Sighting::default() }
    }

    #[test]
    fn a_program_that_nobody_saw_end_has_not_ended_so() {
        let said = |code, seen: &Sighting| {
            compare(&run(), &Outcome::Exited { code, open: vec![] }, &nothing(), seen)
        };
        let told = |said, seen| Some(Tampered::Exit { said, seen });
        assert_eq!(said(0, &saw(&[(9, 1), (9, 0)])), None);
        assert_eq!(said(0, &saw(&[(9, 1)])), told(0, Some(1)));
        assert_eq!(said(0, &saw(&[(9, 1), (10, 0)])), told(0, Some(1)), "another program's");
        assert_eq!(said(0, &Sighting { forked: vec![], ..saw(&[(10, 0)]) }), None, "it may be any");
        assert_eq!(said(0, &saw(&[])), told(0, None));
        assert_eq!(said(0, &Sighting { more_exits: true, ..saw(&[(10, 1)]) }), None, "nobody knows any more");
        assert_eq!(said(0, &Sighting { more_exits: true, ..saw(&[(9, 1)]) }), told(0, Some(1)));
    }

    #[test]
    fn a_program_with_other_code_is_told_whatever_it_ended_with() {
        let seen = Sighting { strange: Some(0x40_1136), ..saw(&[(9, 0)]) };
        let said = |code| compare(&run(), &Outcome::Exited { code, open: vec![] }, &nothing(), &seen);
        let told = Some(Tampered::Program { address: 0x40_1136 });
        assert_eq!([said(0), said(1)], [told.clone(), told]);
    }

    #[test]
    fn a_program_that_ended_itself_has_not_died_of_its_own_fault() {
        let said = |code, seen: &Sighting| {
            compare(&run(), &Outcome::Exited { code, open: vec![] }, &nothing(), seen)
        };
        assert_eq!(said(139, &saw(&[])), None);
        assert_eq!(said(139, &saw(&[(9, 139)])), None, "a status like any other");
        assert_eq!(said(139, &saw(&[(9, 0)])), Some(Tampered::Exit { said: 139, seen: Some(0) }));
        assert_eq!(said(137, &saw(&[(9, 0)])), None, "killed before it was at its end");
        assert_eq!(said(139, &Sighting { signals: true, ..saw(&[(9, 0)]) }), None);
    }

    #[test]
    fn who_ends_all_threads_decides() {
        let said = |code, exits: &[(i32, bool, bool)]| {
            let seen = saw(&[]);
            let exits = exits.iter().map(|(status, group, main)| Exit {
                pid: Some(9),
                status: *status,
                took: Duration::ZERO,
                group: *group,
                main: *main,
            });
            let seen = Sighting { exits: exits.collect(), more_exits: true, ..seen };
            compare(&run(), &Outcome::Exited { code, open: vec![] }, &nothing(), &seen)
        };
        let told = Some(Tampered::Exit { said: 0, seen: Some(1) });
        assert_eq!(said(0, &[(0, false, false), (1, true, false)]), told, "a thread's end");
        assert_eq!(said(1, &[(0, false, true), (1, true, false)]), None);
        assert_eq!(said(0, &[(0, true, false), (1, true, true)]), told, "another task by that number");
        assert_eq!(said(0, &[(0, false, true)]), None);
        assert_eq!(said(0, &[]), None, "it may be among those that were forgotten");
    }

    #[test]
    fn nothing_contradicts_where_not_all_was_seen() {
        let outcome = Outcome::Returned { value: 4, data: vec![] };
        let blind = Sighting { blind: true, ..Sighting::default() };
        assert_eq!(compare(&call(), &outcome, &nothing(), &blind), None);
    }

    #[test]
    fn output_that_nobody_wrote_is_told() {
        let counts = |bytes: &[u8]| {
            let mut counts = ByteCounts::default();
            counts.add(bytes);
            counts
        };
        let said = |printed: &[u8], seen: &Sighting| {
            compare(&run(), &Outcome::Exited { code: 0, open: vec![] }, &counts(printed), seen)
        };
        let wrote = Sighting { written: counts(b"no 17 of 43"), ..saw(&[(9, 0)]) };
        assert_eq!(said(b"43 of 17", &wrote), None);
        assert_eq!(said(b"42 of 17", &wrote), Some(Tampered::Printed { made_up: 1, said: 8 }));
        assert_eq!(said(b"42 of 17", &Sighting { unread: 1, ..wrote.clone() }), None);
        assert_eq!(said(b"42 of 17", &Sighting { unbounded: true, ..wrote }), None);
    }

    #[test]
    fn time_is_bounded_by_what_was_seen() {
        let ms = Duration::from_millis;
        let seen = Sighting { took: ms(30), ..Sighting::default() };
        let bounded =
            |said, action: &Action, seen: Option<&Sighting>| bounded(said, least(action, seen), ms(50));
        let of = |said, seen: Option<&Sighting>| bounded(said, &call(), seen);
        assert_eq!(
            [of(ms(40), Some(&seen)), of(ms(1), Some(&seen)), of(ms(99), Some(&seen))],
            [40, 30, 50].map(ms)
        );
        assert_eq!(of(ms(1), None), ms(1));
        assert_eq!(bounded(ms(1), &run(), Some(&saw(&[(9, 0)]))), ms(20));
        assert_eq!(bounded(ms(1), &run(), Some(&saw(&[(8, 0)]))), ms(1));
    }

    #[test]
    fn calls_that_were_not_all_made_are_told() {
        let outcome = Outcome::Returned { value: 4, data: vec![] };
        let fewer = Sighting { fewer: Some(1), ..seen(4, b"") };
        assert_eq!(compare(&call(), &outcome, &nothing(), &fewer), Some(Tampered::Fewer { seen: 1 }));
    }
}
