//! What is long comes in pieces, and what comes late answers nothing else.

use super::*;
use board::wire::{Answer, CONTROL_PIECE, Notice, SyscallCount};
use protocol::{Action, Arg};

#[test]
fn what_was_counted_comes_in_pieces_before_the_end() {
    let row = |nr| SyscallCount {
        door: board::wire::Door::Syscall64,
        nr,
        origin: board::wire::Origin::Step,
        count: nr,
        errors: [].into(),
        results: [].into(),
        processes: Vec::new(),
        untold_errors: 0,
        untold_results: 0,
        untold_processes: 0,
    };
    let events = events(&one_call(), |machine| {
        machine.boot();
        let id = machine.request().unwrap().id;
        machine.reply(id, returned(0));
        machine.counted = vec![vec![row(1), row(2)], vec![row(3)]];
        machine.request();
    });
    let counted = events.iter().filter_map(|event| match event {
        Event::Counted(rows) => Some(rows.iter().map(|row| row.nr).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(counted.collect::<Vec<_>>(), [vec![1, 2], vec![3]]);
    assert!(matches!(events.last(), Some(Event::Ended(_))));
}

#[test]
fn an_answer_that_comes_late_answers_no_other_question() {
    let start = Instant::now();
    let events = events(&one_call(), |machine| {
        // Where the vCPUs stood when nobody asked, and the answer to a question that will be asked.
        machine.early = vec![
            Notice::Answer { id: 77, answer: Answer::Standing(vec![]) },
            Notice::Answer { id: u32::MAX, answer: Answer::Done(Err("an old answer".to_owned())) },
        ];
        machine.boot();
        let id = machine.request().unwrap().id;
        machine.reply(id, returned(0));
        machine.request();
    });
    let booted = events.iter().find_map(|event| match event {
        Event::Booted(booted) => Some(booted.not_trapping.clone()),
        _ => None,
    });
    assert_eq!((booted, why(&events)), (Some(None), &RunEnd::Completed));
    assert!(start.elapsed() < LONG);
}

#[test]
fn a_request_that_is_long_comes_in_pieces_and_one_that_is_too_long_is_not_made() {
    let buffer = |length| step(vec![call(Role::Main, 1, vec![Operand::In(vec![7; length])])]);
    let long = CONTROL_PIECE * 2;
    let events = events(&plan(vec![buffer(long), buffer(protocol::MAX_FRAME)]), |machine| {
        machine.boot();
        let request = machine.request().unwrap();
        let Action::Calls { calls, .. } = &request.action else { panic!("{request:?}") };
        assert_eq!(calls[0].args[0], Arg::In(vec![7; long]));
        machine.reply(request.id, returned(0));
        assert!(machine.request().is_none(), "the second was made");
    });
    let StepOutcome::Skipped { why } = outcome(&events, 1) else { panic!("{events:?}") };
    assert!(why.contains("8388"), "{why}");
}

#[test]
fn files_that_this_machine_can_not_read_say_nothing_of_the_guest() {
    // One that is gone, and one that can be opened alone.
    for luggage in ["/nowhere/luggage", "/"] {
        let plan = Plan { luggage: luggage.into(), ..one_call() };
        let events = events(&plan, |machine| {
            machine.boot();
            assert!(machine.request().is_none());
        });
        let RunEnd::Machine(EndReason::Failed { blame: Blame::Host, why }) = why(&events) else {
            panic!("{events:?}")
        };
        assert!(why.starts_with("the scenario's files can't be put into the guest: "), "{why}");
    }
}
