//! What takes longer than it may: it is ended, or ends the run.

use super::*;
use board::wire::{Child, Explanation, Still};

#[test]
fn a_step_without_an_answer_ends_the_run_in_its_time_even_in_a_flood() {
    let mut plan =
        plan(vec![step(vec![call(Role::Main, 39, vec![])]), step(vec![call(Role::Main, 39, vec![])])]);
    plan.steps[0].timeout = Duration::from_millis(300);
    let start = Instant::now();
    let events = events(&plan, |machine| {
        machine.boot();
        machine.request();
        while start.elapsed() < Duration::from_secs(1) {
            machine.notice(Notice::Console(vec![b'x'; 1000]));
        }
        // It shows no life: what it is asked to end does not end.
        assert_eq!(machine.request().map(|it| it.action), Some(Action::End { request: 2 }));
        assert!(machine.request().is_none(), "the second step was asked for");
    });
    let StepOutcome::TimedOut { limit, standing } = outcome(&events, 0) else { panic!("{events:?}") };
    assert_eq!((*limit, standing.len()), (plan.steps[0].timeout, SAMPLES));
    assert_eq!(*why(&events), RunEnd::StepTimedOut { index: 0 });
    assert!(start.elapsed() < Duration::from_secs(8));
}

/// A step with this limit, of which the first output is held for so long, and which is answered so long after that came.
fn held(limit: u64, hold: u64, answer: u64) -> Vec<Event> {
    let mut plan = one_call();
    plan.steps[0].timeout = Duration::from_millis(limit);
    let reader = |event: &Event| {
        if matches!(event, Event::Console(_)) {
            thread::sleep(Duration::from_millis(hold));
        }
    };
    events_by(&plan, reader, |machine| {
        machine.boot();
        let id = machine.request().unwrap().id;
        machine.notice(Notice::Console(b"x".to_vec()));
        thread::sleep(Duration::from_millis(answer));
        machine.reply(id, returned(0));
        while machine.request().is_some() {}
    })
}

#[test]
fn an_answer_that_was_there_in_time_counts_though_it_is_read_later() {
    assert!(matches!(outcome(&held(200, 500, 0), 0), StepOutcome::Returned { .. }));
}

#[test]
fn time_in_which_whoever_reads_the_output_holds_it_is_not_the_guests() {
    assert!(matches!(outcome(&held(1000, 1500, 2000), 0), StepOutcome::Returned { .. }));
    assert!(matches!(outcome(&held(300, 1500, 2500), 0), StepOutcome::Ended { .. }));
}

#[test]
fn what_takes_too_long_is_ended_with_its_output_and_the_run_goes_on() {
    let run = What::Run { argv: vec!["/bin/yes".into()], env: vec![], stdin: Default::default(), user: None };
    let read = What::ReadToEnd { fd: Operand::Int(3), limit: 100 };
    let mut steps = vec![
        step(vec![Op { role: Role::Main, what: run }]),
        step(vec![Op { role: Role::Main, what: read }]),
        step(vec![call(Role::Main, 39, vec![])]),
    ];
    steps[0].timeout = Duration::from_millis(200);
    steps[1].timeout = Duration::from_millis(200);
    let events = events(&plan(steps), |machine| {
        machine.boot();
        let id = machine.request().unwrap().id;
        for (stream, text) in [(Stream::Stdout, "y\n"), (Stream::Stderr, "oh"), (Stream::Stdout, "y\n")] {
            machine.say(FromAgent::Printed { id, stream, bytes: text.into() });
        }
        assert_eq!(machine.request().map(|it| it.action), Some(Action::End { request: id }));
        machine.say(FromAgent::Printed { id, stream: Stream::Stdout, bytes: b"last".into() });
        machine.reply(id, Outcome::Exited { code: 137, open: vec![] });

        let first = machine.request().unwrap().id;
        machine.reply(first, Outcome::Returned { value: 2, data: vec![b"ab".into()] });
        let second = machine.request().unwrap().id;
        assert_eq!(machine.request().map(|it| it.action), Some(Action::End { request: second }));
        machine.reply(second, Outcome::Died { signal: 9 });

        let id = machine.request().unwrap().id;
        machine.reply(id, returned(5));
        assert!(machine.request().is_none());
    });
    let ended = |index| match outcome(&events, index) {
        StepOutcome::Ended { stdout, stderr, limit, .. } => {
            assert_eq!(*limit, Duration::from_millis(200));
            (String::from_utf8_lossy(stdout.head()), String::from_utf8_lossy(stderr.head()))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(ended(0), ("y\ny\nlast".into(), "oh".into()));
    assert_eq!(ended(1), ("ab".into(), "".into()));
    assert!(matches!(outcome(&events, 2), StepOutcome::Returned { value: 5, .. }));
    assert_eq!(*why(&events), RunEnd::Completed);
}

#[test]
fn a_call_that_is_ended_was_in_the_kernel_unless_it_was_seen_to_return() {
    let ended = |watched: bool, result: Option<i64>| {
        let mut plan = one_call();
        plan.steps[0].timeout = Duration::from_millis(200);
        let guard = Some(board::wire::GuardOrder { patches: false });
        plan.watch = match watched {
            true => Watch::Calls { results: true, trace: None, guard },
            false => Watch::Nothing,
        };
        let events = events(&plan, |machine| {
            machine.boot();
            (machine.sighting.entered, machine.sighting.result) = (1, result);
            let id = machine.request().unwrap().id;
            assert_eq!(machine.request().map(|it| it.action), Some(Action::End { request: id }));
            machine.reply(id, Outcome::Died { signal: 9 });
            machine.request();
        });
        match outcome(&events, 0) {
            StepOutcome::Ended { inside, .. } => *inside,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([ended(true, None), ended(false, Some(7)), ended(true, Some(7))], [true, true, false]);
}

#[test]
fn steps_whose_descriptor_died_with_its_process_are_skipped() {
    let mut first = step(vec![call(Role::Main, 2, vec![])]);
    first.binds = vec![Bind { name: "fd".into(), from: Source::Value, of_process: true }];
    let dies = step(vec![call(Role::Main, 1, vec![Operand::Named("fd".into())])]);
    let late = step(vec![call(Role::Main, 3, vec![Operand::Named("fd".into())])]);
    let events = events(&plan(vec![first, dies, late]), |machine| {
        machine.boot();
        for outcome in [returned(3), Outcome::Died { signal: 9 }] {
            let id = machine.request().unwrap().id;
            machine.reply(id, outcome);
        }
        assert!(machine.request().is_none());
    });
    let StepOutcome::Skipped { why } = outcome(&events, 2) else { panic!("{events:?}") };
    assert_eq!(why, "`$fd` has no value any more: the process that it belonged to ended in step 2");
}

/// A step that is never answered, for which the machine process says at each look who is there; says for how long it
/// was waited for.
fn waited_for(looks: &[Vec<Child>]) -> Duration {
    let mut plan = one_call();
    plan.steps[0].timeout = Duration::from_millis(3500);
    let events = events(&plan, |machine| {
        machine.explanations.extend(
            looks.iter().map(|children| Explanation { children: children.clone(), ..Explanation::default() }),
        );
        machine.boot();
        machine.request();
        // Where it does not wait for itself, it is to be ended first, and is not.
        while machine.request().is_some() {}
    });
    assert_eq!(*why(&events), RunEnd::StepTimedOut { index: 0 });
    let StepOutcome::TimedOut { limit, .. } = outcome(&events, 0) else { panic!("{events:?}") };
    *limit
}

fn healthy(name: &str) -> Child {
    Child { name: name.to_owned(), circle: Vec::new() }
}

/// It waits for itself, and has been switched away from so often.
fn stuck(name: &str, switches: u64) -> Child {
    let still = Still { task: 0x1000, sp: 0x2000, switches: [switches, 0] };
    Child { circle: vec![still], ..healthy(name) }
}

/// The step of these tests, in full.
const IN_FULL: Duration = Duration::from_millis(3500);

#[test]
fn a_step_that_waits_for_itself_ends_the_run_before_its_time() {
    assert!(waited_for(&[vec![stuck("init", 7)]]) < Duration::from_millis(3400));
    // What else there is, is none of its.
    assert!(waited_for(&[vec![stuck("init", 7), healthy("sh")]]) < Duration::from_millis(3400));
}

#[test]
fn a_deadlock_of_another_program_is_none_of_the_steps() {
    assert_eq!(waited_for(&[vec![stuck("other", 7)]]), IN_FULL);
    // It has the worker's name, and the worker waits for something else.
    assert_eq!(waited_for(&[vec![stuck("init", 7), healthy("init")]]), IN_FULL);
}

#[test]
fn a_task_that_ran_between_two_looks_waits_for_something_that_happens() {
    let looks: Vec<Vec<Child>> = (0..8).map(|switches| vec![stuck("init", switches)]).collect();
    assert_eq!(waited_for(&looks), IN_FULL);
}

#[test]
fn a_sleep_passes_time_and_a_too_long_one_is_ended() {
    let nap = |millis| Op { role: Role::Main, what: What::Sleep(Duration::from_millis(millis)) };
    let mut plan = plan(vec![step(vec![nap(120)]), step(vec![nap(60_000)])]);
    plan.steps[1].timeout = Duration::from_millis(100);
    let start = Instant::now();
    let events = events(&plan, |machine| {
        machine.boot();
        machine.request();
    });
    assert!(start.elapsed() >= Duration::from_millis(220) && start.elapsed() < LONG);
    let took = Duration::from_millis(120);
    assert_eq!(*outcome(&events, 0), StepOutcome::Returned { value: 0, data: vec![], took, cut: false });
    assert!(matches!(outcome(&events, 1), StepOutcome::Ended { .. }), "{events:?}");
    assert_eq!(*why(&events), RunEnd::Completed);
}
