//! An agent that says anything at all: whatever comes, the run ends in order, in time, and only what was answered is done.

use super::*;
use board::wire::Sighting;
use proptest::{collection::vec, prelude::*, sample::Index};
use protocol::{Hello, Made};
use std::collections::HashSet;

/// What an agent may say instead of, or before, an answer.
#[derive(Clone, Debug)]
enum Word {
    /// To the request that is waited for.
    Answer(Outcome, u64),
    /// To one that nobody waits for.
    Stray(u32, Outcome),
    Printed(bool, bool, Vec<u8>),
    Hello(u32),
    /// In the control stream, outside of all frames.
    Raw(Vec<u8>),
    /// The machine process is gone.
    Gone,
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let piece = || vec(any::<u8>(), 0..40);
    prop_oneof![
        4 => (value(), vec(piece(), 0..4)).prop_map(|(value, data)| Outcome::Returned { value, data }),
        4 => vec((0..6u16, value(), vec(piece(), 0..3), any::<u64>()), 0..6).prop_map(|mut made| {
            // Mostly as an honest agent has them.
            if made.len() % 2 == 0 {
                made.sort_by_key(|made| made.0);
            }
            let made = made.into_iter().map(|(link, value, data, nanos)| Made { link, value, data, nanos });
            Outcome::Chained(made.collect())
        }),
        1 => any::<i32>().prop_map(|code| Outcome::Exited { code, open: vec![] }),
        1 => Just(Outcome::Done),
        1 => any::<i32>().prop_map(|signal| Outcome::Died { signal }),
        1 => ".{0,20}".prop_map(|why| Outcome::Refused { why }),
    ]
}

fn value() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), -140..140i64, any::<i64>()]
}

fn words() -> impl Strategy<Value = Word> {
    prop_oneof![
        12 => (outcomes(), any::<u64>()).prop_map(|(outcome, nanos)| Word::Answer(outcome, nanos)),
        2 => (0..12u32, outcomes()).prop_map(|(id, outcome)| Word::Stray(id, outcome)),
        2 => (any::<bool>(), any::<bool>(), vec(any::<u8>(), 0..300)).prop_map(|(own, out, bytes)| Word::Printed(own, out, bytes)),
        1 => (protocol::VERSION - 1..=protocol::VERSION).prop_map(Word::Hello),
        1 => vec(any::<u8>(), 0..40).prop_map(Word::Raw),
        1 => Just(Word::Gone),
    ]
}

fn sightings() -> impl Strategy<Value = Sighting> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    flags.prop_map(|(fewer, inside, unbounded, more_exits)| Sighting {
        fewer: fewer.then_some(1),
        inside,
        unbounded,
        more_exits,
        ..Sighting::default()
    })
}

/// Everything that a step can be made of.
fn every_kind() -> Plan {
    let read = What::ReadToEnd { fd: Operand::Op(0), limit: 64 };
    let run = What::Run { argv: vec!["/bin/${n}".into()], env: vec![], stdin: vec![1].into(), user: None };
    let main = |what| Op { role: Role::Main, what };
    let mut opens = step(vec![
        call(Role::Setup, 257, vec![Operand::Text("/f".into())]),
        main(read),
        call(Role::Also(Some(2)), 0, vec![Operand::Op(0), Operand::Out(8)]),
        call(Role::Also(None), 0, vec![Operand::Op(0), Operand::Out(8)]),
        call(Role::Cleanup, 3, vec![Operand::Op(0)]),
    ]);
    opens.binds = vec![Bind { name: "n".into(), from: Source::Match("([0-9]+)".into()), of_process: false }];
    let both = Call {
        door: Door::Syscall64,
        nr: 1,
        args: vec![Operand::NamedInOut("n".into(), 4), Operand::Out(4)],
    };
    let mut often = step(vec![main(What::Calls { calls: vec![both.clone(), both], times: 3 })]);
    let int = plan::Int { size: 4, signed: true };
    often.binds = vec![Bind { name: "m".into(), from: Source::Data { index: 0, int }, of_process: true }];
    let named = step(vec![call(Role::Main, 2, vec![Operand::Named("m".into())])]);
    let mut all = plan(vec![opens, often, step(vec![main(run)]), named]);
    // An answer that does not come is waited for.
    all.steps.iter_mut().for_each(|step| step.timeout = Duration::from_millis(20));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_an_agent_says_the_run_ends_in_order(
        script in vec(vec(words(), 1..4), 0..12),
        sighting in sightings(),
        cut in any::<Index>(),
    ) {
        let plan = every_kind();
        let answered = std::sync::Mutex::new(HashSet::new());
        // The calls of a chain are one request.
        let asked = std::sync::Mutex::new(HashSet::new());
        let start = Instant::now();
        let events = events(&plan, |machine| {
            machine.sighting = sighting;
            machine.boot();
            for said in &script {
                let Some(Request { id, .. }) = machine.request() else { return };
                asked.lock().unwrap().insert(id);
                for word in said {
                    match word.clone() {
                        Word::Answer(outcome, nanos) => {
                            answered.lock().unwrap().insert(id);
                            machine.say(FromAgent::Reply(Reply { id, outcome, nanos }));
                        }
                        Word::Stray(other, outcome) => {
                            if other == 0 {
                                answered.lock().unwrap().insert(id);
                            }
                            machine.reply(id.wrapping_add(other), outcome);
                        }
                        Word::Printed(own, out, bytes) => {
                            let stream = if out { Stream::Stdout } else { Stream::Stderr };
                            machine.say(FromAgent::Printed { id: id.wrapping_add(u32::from(!own)), stream, bytes });
                        }
                        Word::Hello(version) => machine.hello(version),
                        Word::Raw(bytes) => machine.notice(Notice::Control(bytes)),
                        Word::Gone => return,
                    }
                }
                // A whole message, of which not all comes.
                if cut.index(16) == 0 {
                    let whole = protocol::encode(&FromAgent::Hello(Hello {
                        version: 1,
                        release: "x".repeat(64),
                        call_returns: vec![],
                        text: (0, 0),
                    })).unwrap();
                    machine.notice(Notice::Control(whole[..cut.index(whole.len())].to_vec()));
                }
            }
        });
        prop_assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
        let Some(Event::Ended(ended)) = events.last() else { panic!("the last event is {:?}", events.last()) };
        // Steps begin and end one after the other.
        let mut open = None;
        let mut next = 0;
        for event in &events {
            match event {
                Event::StepStarted { index } => {
                    prop_assert_eq!((open, *index), (None, next));
                    open = Some(*index);
                    next += 1;
                }
                Event::StepEnded { index, .. } => {
                    prop_assert_eq!(open, Some(*index));
                    open = None;
                }
                _ => {}
            }
        }
        prop_assert_eq!(open, None);
        if let RunEnd::Completed = ended.why {
            prop_assert_eq!(next, plan.steps.len());
            prop_assert_eq!(answered.into_inner().unwrap(), asked.into_inner().unwrap());
        }
    }
}
