//! What the agent says it did, against what the hypervisor saw.

use crate::event::Tampered;
use board::wire::Sighting;
use protocol::{Action, Outcome};

/// A status above this may tell of a signal: no program has to have ended by itself then.
const SIGNALLED: i32 = 128;

/// What the agent can't have done as it says. Where nothing was seen that could be compared, nothing is said.
pub fn compare(action: &Action, outcome: &Outcome, seen: &Sighting) -> Option<Tampered> {
    match (action, outcome) {
        // It was not made.
        (_, Outcome::Refused { .. }) => None,
        (Action::Call { .. }, _) if seen.entered == 0 => Some(Tampered::Unseen),
        (Action::Call { .. }, _) if seen.differs.is_some() => seen.differs.clone().map(Tampered::Call),
        (Action::Call { .. }, Outcome::Returned { value, data }) => match seen.result {
            Some(result) if result != *value => Some(Tampered::Result { said: *value, seen: result }),
            _ => buffer(data, seen.buffers.as_deref()?),
        },
        (Action::Run { .. }, Outcome::Exited { code })
            if *code <= SIGNALLED && !seen.more_exits && !seen.exits.contains(code) =>
        {
            Some(Tampered::Exit { said: *code })
        }
        _ => None,
    }
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
    use protocol::{Arg, Door};

    fn call() -> Action {
        Action::Call { door: Door::Syscall64, nr: 0, args: vec![Arg::Out(4)], times: 1 }
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
        assert_eq!(compare(&call(), &outcome, &seen(4, b"abcd")), None);
        // A result that nobody looked for, as of a call that is repeated.
        let entered = Sighting { entered: 9, ..Sighting::default() };
        assert_eq!(compare(&call(), &outcome, &entered), None);
        assert_eq!(compare(&call(), &Outcome::Refused { why: String::new() }, &Sighting::default()), None);
    }

    #[test]
    fn an_answer_that_is_not_what_was_seen_is_told() {
        let outcome = Outcome::Returned { value: 4, data: vec![b"abcd".to_vec()] };
        assert_eq!(compare(&call(), &outcome, &Sighting::default()), Some(Tampered::Unseen));
        assert_eq!(
            compare(&call(), &outcome, &seen(-14, b"abcd")),
            Some(Tampered::Result { said: 4, seen: -14 })
        );
        assert_eq!(compare(&call(), &outcome, &seen(4, b"abXd")), Some(Tampered::Buffer { index: 0, at: 2 }));
        let differs = Some(Difference::Number { wanted: 0, seen: 39 });
        let other = Sighting { differs: differs.clone(), ..seen(4, b"abcd") };
        assert_eq!(compare(&call(), &outcome, &other), differs.map(Tampered::Call));
    }

    #[test]
    fn a_program_that_nobody_saw_end_has_not_ended_so() {
        let run = Action::Run { argv: vec!["/bin/x".into()], env: vec![], stdin: vec![], user: None };
        let exited = |code| Outcome::Exited { code };
        let saw =
            |statuses: &[i32]| Sighting { exits: statuses.iter().copied().collect(), ..Sighting::default() };
        assert_eq!(compare(&run, &exited(0), &saw(&[1, 0])), None);
        assert_eq!(compare(&run, &exited(0), &saw(&[1])), Some(Tampered::Exit { said: 0 }));
        assert_eq!(compare(&run, &exited(139), &saw(&[])), None);
        assert_eq!(compare(&run, &exited(0), &Sighting { more_exits: true, ..saw(&[1]) }), None);
    }
}
