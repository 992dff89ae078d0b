//! The engine against stand-ins for the machine process, honest and hostile ones.

mod hostile;
mod names;
mod overdue;
mod pieces;
mod settles;
mod stand_in;
mod warm;

use super::*;
use crate::{event::Tampered, guest::questions::SAMPLES};
use board::wire::{Answer, Blame, Command, Evidence, LogRecord, Notice, Question, Spec};
use plan::{Bind, Call, Op, Operand, PlanStep, Role, Source, Watch, What};
use protocol::{Action, Arg, Door, FromAgent, Outcome, Reply, Request, Stream};
use stand_in::{LONG, STANDING, StandIn, events, events_by, outcome, returned, why};
use std::{os::unix::net::UnixStream, thread, time::Instant};

fn call(role: Role, nr: u64, args: Vec<Operand>) -> Op {
    Op { role, what: Call { door: Door::Syscall64, nr, args }.into() }
}

fn step(ops: Vec<Op>) -> PlanStep {
    PlanStep { ops, timeout: LONG, binds: Vec::new() }
}

fn plan(steps: Vec<PlanStep>) -> Plan {
    let machine = Spec {
        kernel: "vmlinux".into(),
        initramfs: "initramfs".into(),
        memory_mib: 128,
        vcpus: 1,
        command_line: Vec::new(),
        landmarks: Default::default(),
        announce: Default::default(),
        start: Default::default(),
        forgets: false,
    };
    let watch = Watch::Calls { results: true, trace: None, guard: None };
    Plan {
        machine,
        luggage: Default::default(),
        programs: Default::default(),
        warm: None,
        boot_timeout: LONG,
        steps,
        watch,
    }
}

fn one_call() -> Plan {
    plan(vec![step(vec![call(Role::Main, 39, vec![])])])
}

/// The calls that were asked for, as number and arguments.
fn calls(seen: &[Request]) -> Vec<(u64, Vec<Arg>)> {
    let as_call = |request: &Request| match &request.action {
        Action::Calls { calls, .. } => (calls[0].nr, calls[0].args.clone()),
        other => panic!("{other:?}"),
    };
    seen.iter().map(as_call).collect()
}

#[test]
fn ops_names_log_and_evidence_arrive_in_order() {
    let load = vec![
        call(Role::Setup, 257, vec![Operand::Text("/m.ko".into())]),
        call(Role::Main, 313, vec![Operand::Op(0)]),
        call(Role::Cleanup, 3, vec![Operand::Op(0)]),
    ];
    let mut first = step(load);
    first.binds = vec![Bind { name: "n".into(), from: Source::Value, of_process: false }];
    let second = step(vec![call(Role::Main, 1, vec![Operand::Named("n".into())])]);
    let mut seen = Vec::new();
    let events = events(&plan(vec![first, second]), |machine| {
        machine.boot();
        for value in [5, 9, 0, -14] {
            let request = machine.request().unwrap();
            if value == 9 {
                machine.print(6, "m: loaded");
            }
            machine.reply(request.id, returned(value));
            seen.push(request);
        }
        assert!(machine.request().is_none());
    });
    let text = Arg::In(b"/m.ko\0".to_vec());
    let expected =
        [(257, vec![text]), (313, vec![Arg::Int(5)]), (3, vec![Arg::Int(5)]), (1, vec![Arg::Int(9)])];
    assert_eq!(calls(&seen), expected);
    let kinds: Vec<_> = events
        .iter()
        .map(|event| format!("{event:?}").split(['(', ' ']).next().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["Booted", "StepStarted", "Log", "StepEnded", "StepStarted", "StepEnded", "Ended"]);
    let took = Duration::from_nanos(2000);
    assert_eq!(*outcome(&events, 0), StepOutcome::Returned { value: 9, data: vec![], took, cut: false });
    let Some(Event::Ended(ended)) = events.last() else { unreachable!() };
    assert_eq!((&ended.why, ended.evidence.own_memory_kib), (&RunEnd::Completed, 77));
    let Event::Booted(booted) = &events[0] else { unreachable!() };
    assert!(Duration::ZERO < booted.setup && booted.setup <= booted.ready, "{booted:?}");
    assert_eq!(booted.not_trapping, None);
}

#[test]
fn a_failed_set_up_is_the_steps_result_and_nothing_is_undone_that_was_not_done() {
    let ops = vec![
        call(Role::Setup, 10, vec![]),
        call(Role::Setup, 11, vec![]),
        call(Role::Main, 12, vec![]),
        call(Role::Cleanup, 13, vec![Operand::Op(1)]),
        call(Role::Cleanup, 14, vec![Operand::Op(0)]),
        call(Role::Cleanup, 16, vec![]),
    ];
    let mut failing = step(ops);
    failing.binds = vec![Bind { name: "n".into(), from: Source::Value, of_process: false }];
    let user = step(vec![call(Role::Main, 15, vec![Operand::Named("n".into())])]);
    let mut seen = Vec::new();
    let events = events(&plan(vec![failing, user]), |machine| {
        machine.boot();
        while let Some(request) = machine.request() {
            let value = if calls(std::slice::from_ref(&request))[0].0 == 11 { -2 } else { 7 };
            machine.reply(request.id, returned(value));
            seen.push(request);
        }
    });
    assert_eq!(calls(&seen), [(10, vec![]), (11, vec![]), (14, vec![Arg::Int(7)])]);
    assert!(matches!(outcome(&events, 0), StepOutcome::Returned { value: -2, .. }));
    let StepOutcome::Skipped { why } = outcome(&events, 1) else { panic!("{events:?}") };
    assert_eq!(why, "`$n` has no value, because step 1 returned errno 2");
}

#[test]
fn what_is_read_beside_the_main_op_is_added_to_its_data_and_asked_for_only_after_its_error() {
    let also = |after| {
        step(vec![
            call(Role::Main, 10, vec![]),
            call(Role::Also(after), 11, vec![]),
            call(Role::Also(after), 12, vec![Operand::Op(1), Operand::Out(8)]),
            call(Role::Cleanup, 13, vec![Operand::Op(1)]),
        ])
    };
    let mut seen = Vec::new();
    let events = events(&plan(vec![also(Some(11)), also(Some(2)), also(None)]), |machine| {
        machine.boot();
        let mut step = 0;
        while let Some(request) = machine.request() {
            let nr = calls(std::slice::from_ref(&request))[0].0;
            step += usize::from(nr == 10);
            let outcome = match nr {
                10 => returned(-11),
                // In the last step the file can't be opened.
                11 => returned(if step == 3 { -2 } else { 5 }),
                12 => Outcome::Returned { value: 2, data: vec![b"2\n------".to_vec()] },
                _ => returned(0),
            };
            machine.reply(request.id, outcome);
            seen.push((step, nr));
        }
    });
    assert_eq!(seen, [(1, 10), (1, 11), (1, 12), (1, 13), (2, 10), (3, 10), (3, 11)]);
    let data = |index| match outcome(&events, index) {
        StepOutcome::Returned { value: -11, data, .. } => data.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(data(0), [b"2\n".to_vec()]);
    // A piece for each that should have been read, so that the others keep their places.
    assert_eq!(data(1), [b"".to_vec()]);
    assert_eq!(data(2), [b"".to_vec()]);
}

#[test]
fn a_file_is_read_to_its_end_and_a_lying_length_is_cut() {
    let read = |limit| Op { role: Role::Main, what: What::ReadToEnd { fd: Operand::Int(3), limit } };
    let events =
        events(&plan(vec![step(vec![read(100)]), step(vec![read(4)]), step(vec![read(4)])]), |machine| {
            machine.boot();
            for (value, data) in
                [(3, "abc---"), (1 << 40, "de"), (0, "?"), (4, "wxyz"), (1, "!"), (4, "wxyz"), (0, "")]
            {
                let id = machine.request().unwrap().id;
                machine.reply(id, Outcome::Returned { value, data: vec![data.into()] });
            }
            machine.request();
        });
    let read = |index| match outcome(&events, index) {
        StepOutcome::Returned { value, data, cut, .. } => (*value, data[0].as_slice(), *cut),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(0), (5, &b"abcde"[..], false));
    // These stop at their limit, and look whether there is more.
    assert_eq!((read(1), read(2)), ((4, &b"wxyz"[..], true), (4, &b"wxyz"[..], false)));
    assert_eq!(*why(&events), RunEnd::Completed);
}

#[test]
fn a_silent_agent_ends_the_boot_with_samples() {
    let mut plan = one_call();
    plan.boot_timeout = Duration::from_millis(200);
    let start = Instant::now();
    let events = events(&plan, |machine| {
        machine.link.receive::<Spec>(Instant::now() + LONG).unwrap();
        machine.notice(Notice::Started);
        machine.print(4, "still here");
        machine.request();
    });
    assert!(start.elapsed() >= plan.boot_timeout && start.elapsed() < Duration::from_secs(5));
    let RunEnd::NoAgent { standing, greeted: false, .. } = why(&events) else { panic!("{events:?}") };
    assert_eq!(*standing, vec![vec![STANDING]; SAMPLES]);
    assert!(matches!(&events[0], Event::Log(record) if record.text == "still here"), "{events:?}");
}

#[test]
fn a_panic_in_the_log_ends_the_run_at_once_and_its_report_is_read() {
    let start = Instant::now();
    let events = events(&one_call(), |machine| {
        machine.boot();
        machine.request();
        // The report goes on after the line that says so.
        for (level, text) in [(0, "Kernel panic - not syncing: on purpose"), (4, "CPU: 0 PID: 1")] {
            let asked = machine.link.receive(Instant::now() + LONG);
            let Ok(Some(Command::Ask { id, question: Question::ReadLog { .. } })) = asked else {
                panic!("{asked:?}")
            };
            let record = LogRecord {
                seq: 0,
                time: Duration::ZERO,
                level,
                user: false,
                caller: None,
                text: text.to_owned(),
            };
            machine.notice(Notice::Log(vec![record]));
            machine.notice(Notice::Answer { id, answer: Answer::LogRead { keeps_back: None } });
        }
        machine.request();
    });
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!((outcome(&events, 0), why(&events)), (&StepOutcome::Lost, &RunEnd::Panicked));
    assert!(events.iter().any(|event| matches!(event, Event::Log(record) if record.text.starts_with("CPU"))));
}

#[test]
fn words_of_a_panic_from_a_healthy_kernel_end_nothing() {
    let events = events(&one_call(), |machine| {
        machine.boot();
        let id = machine.request().unwrap().id;
        machine.print(5, "Kernel panic - not syncing: a module only says so");
        for text in ["Kernel panic - not syncing: a program says so", "reboot: Power down"] {
            let record = LogRecord {
                seq: 0,
                time: Duration::ZERO,
                level: 0,
                user: true,
                caller: None,
                text: text.to_owned(),
            };
            machine.log.push_back(record);
        }
        machine.reply(id, returned(0));
        machine.request();
    });
    assert_eq!(*why(&events), RunEnd::Completed);
}

#[test]
fn a_record_that_keeps_others_back_is_told_once_and_not_if_it_is_finished_soon() {
    let told = |keeps_back: fn(usize) -> Option<u64>| {
        let events =
            events(&plan([0, 1].map(|_| step(vec![call(Role::Main, 39, vec![])])).into()), |machine| {
                machine.boot();
                machine.keeps_back = Some(7);
                let mut steps = 0;
                while let Some(Request { id, .. }) = machine.request() {
                    machine.keeps_back = keeps_back(steps);
                    steps += 1;
                    machine.reply(id, returned(0));
                }
            });
        assert_eq!(*why(&events), RunEnd::Completed);
        events.iter().filter(|event| **event == Event::Tampered(Tampered::KeptBack)).count()
    };
    assert_eq!([told(|_| Some(7)), told(|_| None), told(|step| Some(step as u64))], [1, 0, 2]);
}

#[test]
fn a_guest_that_halts_is_not_waited_for() {
    let instead = "reboot: Power off not available: System halted instead";
    for text in ["reboot: Power down", "reboot: System halted", instead] {
        let start = Instant::now();
        let events = events(&one_call(), |machine| {
            machine.boot();
            machine.request();
            machine.print(0, text);
            machine.request();
        });
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!((outcome(&events, 0), why(&events)), (&StepOutcome::Lost, &RunEnd::SwitchedOff));
    }
}

#[test]
fn a_machine_that_ends_in_a_step_loses_it_and_keeps_its_evidence() {
    let events = events(&one_call(), |machine| {
        machine.boot();
        machine.request();
        let evidence = Box::new(Evidence { own_memory_kib: 5, ..Evidence::default() });
        machine.notice(Notice::Ended { reason: EndReason::TripleFault, evidence });
    });
    assert_eq!(*outcome(&events, 0), StepOutcome::Lost);
    assert_eq!(*why(&events), RunEnd::Machine(EndReason::TripleFault));
    assert!(matches!(events.last(), Some(Event::Ended(ended)) if ended.evidence.own_memory_kib == 5));
}

#[test]
fn a_machine_that_fails_on_the_way_out_has_not_completed() {
    let events = events(&one_call(), |machine| {
        machine.boot();
        let id = machine.request().unwrap().id;
        machine.reply(id, returned(0));
        while let Ok(Some(command)) = machine.link.receive(Instant::now() + LONG) {
            match command {
                Command::Stop | Command::Rest => break,
                Command::Ask { id, .. } => {
                    machine.notice(Notice::Answer { id, answer: Answer::LogRead { keeps_back: None } })
                }
                Command::Control(_) | Command::Expect { .. } => {}
            }
        }
        let reason = EndReason::Failed { blame: Blame::Guest, why: "on purpose".to_owned() };
        machine.notice(Notice::Ended { reason, evidence: Box::default() });
    });
    assert!(matches!(outcome(&events, 0), StepOutcome::Returned { value: 0, .. }));
    assert_eq!(
        *why(&events),
        RunEnd::Machine(EndReason::Failed { blame: Blame::Guest, why: "on purpose".to_owned() })
    );
}

#[test]
fn a_machine_process_that_vanishes_before_any_guest_ran_is_this_machines_fault() {
    for vanishing in [0, 1] {
        let events = events(&one_call(), |machine| {
            if vanishing == 1 {
                machine.boot();
                machine.request();
            }
        });
        let blame = if vanishing == 0 { Blame::Host } else { Blame::Unknown };
        let end = EndReason::Failed { blame, why: "found dead".to_owned() };
        assert_eq!(*why(&events), RunEnd::Machine(end), "{vanishing}");
    }
}

#[test]
fn a_machine_process_that_sends_garbage_is_this_machines_fault() {
    for garbage in [vec![0xff; 64], vec![2, 0, 0, 0, 99, 99]] {
        let events = events(&one_call(), |machine| {
            machine.boot();
            machine.request();
            machine.link.send_raw(&garbage);
            machine.request();
        });
        assert!(
            matches!(why(&events), RunEnd::Machine(EndReason::Failed { blame: Blame::Host, why }) if why.contains("sent a frame")),
            "{events:?}"
        );
    }
}

#[test]
fn a_machine_process_that_answers_nothing_is_given_up() {
    let start = Instant::now();
    let events = events(&one_call(), |machine| {
        machine.boot();
        while machine.link.receive::<Command>(Instant::now() + LONG).is_ok() {}
    });
    assert!(
        matches!(why(&events), RunEnd::Machine(EndReason::Failed { blame: Blame::Host, why }) if why.contains("did not answer")),
        "{events:?}"
    );
    assert!(start.elapsed() < LONG);
}

#[test]
fn an_agent_that_says_what_it_should_not_ends_the_run() {
    type Act = fn(&mut StandIn, u32);
    let hostile: [(&str, Act); 7] = [
        ("an output of request 9, which runs no program", |machine, _| {
            machine.say(FromAgent::Printed { id: 9, stream: Stream::Stdout, bytes: vec![0] });
        }),
        ("when 2 was asked", |machine, id| machine.reply(id + 1, returned(0))),
        ("a second hello", |machine, _| machine.hello(protocol::VERSION)),
        ("no valid message", |machine, _| machine.notice(Notice::Control(vec![1, 0, 0, 0, 0xff]))),
        ("4294967295 bytes", |machine, _| machine.notice(Notice::Control(vec![0xff; 1000]))),
        ("a second reply", |machine, id| {
            let reply =
                protocol::encode(&FromAgent::Reply(Reply { id, outcome: returned(0), nanos: u64::MAX }))
                    .unwrap();
            machine.notice(Notice::Control([&reply[..], &reply[..]].concat()));
        }),
        ("no valid message", |machine, id| {
            let mut reply =
                protocol::encode(&FromAgent::Reply(Reply { id, outcome: returned(0), nanos: 0 })).unwrap();
            reply[0] += 1;
            reply.push(0);
            machine.notice(Notice::Control(reply));
        }),
    ];
    for (expected, act) in hostile {
        let events = events(&one_call(), |machine| {
            machine.boot();
            let id = machine.request().unwrap().id;
            act(machine, id);
            machine.request();
        });
        assert!(
            matches!(why(&events), RunEnd::BadAgent(why) if why.contains(expected)),
            "{expected}: {events:?}"
        );
        assert_eq!(*outcome(&events, 0), StepOutcome::Lost);
    }
}

#[test]
fn an_agent_of_another_version_is_named_before_any_step() {
    let other = format!("version {}", protocol::VERSION + 1);
    let events = events(&one_call(), |machine| {
        machine.link.receive::<Spec>(Instant::now() + LONG).unwrap();
        machine.notice(Notice::Started);
        machine.hello(protocol::VERSION + 1);
        machine.request();
    });
    assert!(matches!(why(&events), RunEnd::BadAgent(why) if why.contains(&other)), "{events:?}");
    assert_eq!(events.len(), 1);
}

#[test]
fn a_caller_that_gives_up_is_obeyed_soon() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let start = Instant::now();
    let stop = || start.elapsed() > Duration::from_millis(200);
    let link = Link::new(ours).unwrap();
    let plan = one_call();
    let converse = Converse { plan: &plan, way: Way::Boot(None), note: None, stop: &stop, sink: &mut |_| {} };
    let end = converse.with(link, &mut || (Blame::Host, String::new()));
    assert!(matches!(end, Err(EngineError::Interrupted)));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn taint_is_told_within_the_step_in_which_it_changed() {
    let plan = plan(vec![step(vec![call(Role::Main, 39, vec![])])]);
    let events = events(&plan, |machine| {
        machine.boot();
        let request = machine.request().expect("the step's call");
        machine.notice(Notice::Taint(1 << 12));
        machine.reply(request.id, returned(0));
        assert!(machine.request().is_none());
    });
    let at = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted).expect("the event");
    let started = at(&|event| matches!(event, Event::StepStarted { index: 0 }));
    let taint = at(&|event| *event == Event::Taint(4096));
    let ended = at(&|event| matches!(event, Event::StepEnded { index: 0, .. }));
    assert!(started < taint && taint < ended, "{events:?}");
}

#[test]
fn what_the_agent_says_is_compared_with_what_was_seen() {
    let mut plan = one_call();
    let guard = Some(board::wire::GuardOrder { patches: false });
    plan.watch = Watch::Calls { results: true, trace: None, guard };
    let told = |seen: i64| {
        let events = events(&plan, |machine| {
            machine.boot();
            machine.sighting.entered = 1;
            machine.sighting.result = Some(seen);
            let id = machine.request().unwrap().id;
            let Some(board::wire::Expected::Rounds { calls, .. }) = &machine.expected else { panic!() };
            assert_eq!(calls[0].nr, 39);
            machine.reply(id, returned(7));
            machine.request();
        });
        let tampered = events.into_iter().filter_map(|event| match event {
            Event::Tampered(what) => Some(what),
            _ => None,
        });
        tampered.collect::<Vec<_>>()
    };
    assert_eq!(told(7), []);
    assert_eq!(told(1), [Tampered::Result { said: 7, seen: 1 }]);
}
