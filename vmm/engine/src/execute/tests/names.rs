//! Values of names in what is asked for.

use super::*;

#[test]
fn a_program_gets_the_values_of_names_in_all_that_it_is_given() {
    let mut first = step(vec![call(Role::Main, 39, vec![])]);
    first.binds = vec![Bind { name: "n".into(), from: Source::Value, of_process: false }];
    let stdin = plan::Data::of_text("in ${n}");
    let run = What::Run { argv: vec!["/bin/${n}".into()], env: vec!["N=${n}".into()], stdin, user: None };
    let second = step(vec![Op { role: Role::Main, what: run }]);
    let mut seen = None;
    events(&plan(vec![first, second]), |machine| {
        machine.boot();
        let request = machine.request().unwrap();
        machine.reply(request.id, returned(7));
        let request = machine.request().unwrap();
        machine.reply(request.id, Outcome::Exited { code: 0, open: vec![] });
        seen = Some(request.action);
    });
    let (argv, env) = (vec!["/bin/7".into()], vec!["N=7".into()]);
    assert_eq!(seen, Some(Action::Run { argv, env, stdin: b"in 7".to_vec(), user: None }));
}

/// A signal of a driver's (`kill_fasync`) that nobody handles ends the worker while a step only waits.
#[test]
fn a_descriptor_of_a_process_that_ended_between_two_calls_is_no_others() {
    let named = |nr, operand| step(vec![call(Role::Main, nr, vec![operand])]);
    let open = |name: &str| {
        let mut open = named(2, Operand::Text("/dev/x".into()));
        open.binds = vec![Bind { name: name.into(), from: Source::Value, of_process: true }];
        open
    };
    let sleep = step(vec![Op { role: Role::Main, what: What::Sleep(Duration::from_millis(50)) }]);
    let read = |name: &str| named(0, Operand::Named(name.into()));
    let plan = plan(vec![open("a"), sleep, open("b"), read("a"), read("b")]);
    // At the latest before the next answer; and with its last one, which is its own all the same.
    for (behind, step) in [(false, 2), (true, 0)] {
        let mut seen = Vec::new();
        let events = events(&plan, |machine| {
            machine.boot();
            let request = machine.request().unwrap();
            match behind {
                true => machine.last_reply(request.id, returned(3)),
                false => machine.reply(request.id, returned(3)),
            }
            while let Some(request) = machine.request() {
                if !behind && seen.is_empty() {
                    machine.say(FromAgent::WorkerEnded);
                }
                machine.reply(request.id, returned(3));
                seen.push(request);
            }
        });
        assert_eq!(calls(&seen).iter().map(|(nr, _)| *nr).collect::<Vec<_>>(), [2, 0]);
        let StepOutcome::Skipped { why } = outcome(&events, 3) else { panic!("{events:?}") };
        let ended = format!("the process that it belonged to ended in step {}", step + 1);
        assert_eq!(*why, format!("`$a` has no value any more: {ended}"));
        assert!(matches!(outcome(&events, 4), StepOutcome::Returned { value: 3, .. }));
        let at = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted).unwrap();
        let told = at(&|event| *event == Event::ProcessEnded { index: step });
        let end = at(&|event| matches!(event, Event::StepEnded { index, .. } if *index == step));
        assert_eq!(told > end, behind, "{events:?}");
        let ends = events.iter().filter(|event| matches!(event, Event::ProcessEnded { .. }));
        assert_eq!(ends.count(), 1);
    }
}

#[test]
fn another_worker_is_asked_for_before_what_it_is_to_do() {
    let mut look = step(vec![
        Op { role: Role::Setup, what: What::Renew },
        call(Role::Main, 39, vec![]),
        call(Role::Also(None), 0, vec![Operand::Int(5), Operand::Out(1)]),
    ]);
    look.binds = vec![Bind { name: "n".into(), from: Source::Value, of_process: true }];
    let run = |refused: bool| {
        let mut seen = Vec::new();
        let events = events(&plan(vec![look.clone()]), |machine| {
            machine.boot();
            while let Some(request) = machine.request() {
                let outcome = match &request.action {
                    Action::Renew if refused => Outcome::Refused { why: "no memory".into() },
                    Action::Renew => Outcome::Done,
                    _ => returned(7),
                };
                machine.reply(request.id, outcome);
                seen.push(request.action);
            }
        });
        (seen, outcome(&events, 0).clone())
    };
    let (seen, outcome) = run(false);
    assert_eq!(seen[0], Action::Renew);
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(matches!(outcome, StepOutcome::Returned { value: 7, .. }), "{outcome:?}");
    // What nobody else can look at is not looked at by whom a module had in its hands.
    let (_, outcome) = run(true);
    assert!(matches!(&outcome, StepOutcome::Skipped { why } if why.contains("no memory")), "{outcome:?}");
}
