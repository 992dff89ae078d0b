//! Machines that don't boot.

use super::*;
use crate::event::Start;
use board::wire::{About, Reset, Unfit};
use plan::Warm;
use protocol::Hello;

fn warm() -> Warm {
    Warm {
        folder: "/machines".into(),
        key: "0123456789".into(),
        about: About::default(),
        session: 1,
        reset: true,
        keep: true,
        verify: false,
    }
}

fn about() -> About {
    let hello = Hello {
        version: protocol::VERSION,
        release: "6.12".into(),
        call_returns: vec![0x1000],
        text: (0x1000, 0x2000),
    };
    let greeting = protocol::encode(&hello).unwrap();
    About { cold: Duration::from_millis(1290), greeting, ..About::default() }
}

/// Carries out a plan of one call on such a way; what was told, and what became of the process.
fn carried_out(way: Way, plan: &Plan, stand_in: impl FnOnce(&mut StandIn) + Send) -> (Vec<Event>, End) {
    let mut events = Vec::new();
    let sink = &mut |event| events.push(event);
    let converse = Converse { plan, way, note: None, stop: &|| false, sink };
    let end = stand_in::with(stand_in, |link| {
        converse.with(link, &mut || (Blame::Unknown, "found dead".to_owned())).unwrap()
    });
    (events, end)
}

fn start(events: &[Event]) -> &Start {
    let booted = events.iter().find_map(|event| match event {
        Event::Booted(booted) => Some(&booted.start),
        _ => None,
    });
    booted.unwrap_or_else(|| panic!("it never was up: {events:?}"))
}

#[test]
fn a_guest_goes_on_from_a_saved_machine_with_the_log_from_before_and_then_rests() {
    let plan = Plan { warm: Some(warm()), ..one_call() };
    let (events, end) = carried_out(Way::Saved(&warm()), &plan, |machine| {
        let spec = machine.link.receive::<Spec>(Instant::now() + LONG).unwrap().unwrap();
        assert_eq!(spec.start, board::wire::Start::Saved("/machines/0123456789".into()));
        machine.notice(Notice::Restored(Box::new(about())));
        machine.notice(Notice::Taint(4096));
        let id = machine.request().expect("the step's call").id;
        machine.reply(id, returned(0));
        assert!(machine.request().is_none());
    });
    assert_eq!(events[0], Event::Taint(4096));
    let cold = Duration::from_millis(1290);
    assert_eq!(*start(&events), Start::Saved { name: "0123456".into(), cold });
    assert_eq!(*why(&events), RunEnd::Completed);
    assert!(matches!(end, End::Rests(..)));
    // It goes back to where it began, and is not kept where nothing follows.
    let plan = Plan { warm: Some(Warm { keep: false, ..warm() }), ..one_call() };
    let (events, end) = carried_out(Way::Back(&warm(), &about()), &plan, |machine| {
        let id = machine.request().expect("the step's call").id;
        machine.reply(id, returned(0));
        assert!(machine.request().is_none());
    });
    let reset = Reset::default();
    assert_eq!(*start(&events), Start::Back { name: "0123456".into(), cold, reset });
    assert!(matches!(end, End::Over));
}

#[test]
fn of_a_saved_machine_that_does_not_run_nothing_is_told() {
    let plan = Plan { warm: Some(warm()), ..one_call() };
    let unusable = |stand_in: fn(&mut StandIn)| {
        let (events, end) = carried_out(Way::Saved(&warm()), &plan, |machine| {
            machine.link.receive::<Spec>(Instant::now() + LONG).unwrap();
            stand_in(machine);
        });
        assert_eq!(events, [], "nothing is told");
        match end {
            End::Unusable { why, damaged } => (why, damaged),
            _ => panic!("it was used"),
        }
    };
    let damaged = unusable(|machine| machine.notice(Notice::Unusable("its memory is damaged".into())));
    assert_eq!(damaged, ("its memory is damaged".to_owned(), true));
    // Its process could not open it; another can.
    let sound = unusable(|machine| {
        let why = "its memory can't be read: Too many open files".to_owned();
        machine.notice(Notice::Unusable(Unfit { why, damaged: false }));
    });
    assert!(!sound.1, "{}", sound.0);
    // Its kernel panics before the first word, or its process dies.
    let (why, damaged) = unusable(|machine| {
        machine.notice(Notice::Restored(Box::new(about())));
        machine.print(0, "Kernel panic - not syncing: x");
        let panic = machine.log.pop_front().unwrap();
        machine.notice(Notice::Log(vec![panic]));
        machine.notice(Notice::Ended { reason: EndReason::Reset, evidence: Box::default() });
    });
    assert!(why.contains("Panicked") && damaged, "{why}");
    let (why, _) = unusable(|machine| machine.notice(Notice::Restored(Box::new(about()))));
    assert!(why.contains("found dead"), "{why}");
    // It floods its console instead of answering.
    let flood = unusable(|machine| {
        machine.notice(Notice::Restored(Box::new(about())));
        (0..32).for_each(|_| machine.notice(Notice::Console(vec![b'x'; 64 << 10])));
        machine.request();
    });
    assert_eq!(flood, ("its guest says more than 1 MiB before it answers".to_owned(), true));
    // This machine can't give it what a boot may not need: that says nothing against what is saved.
    let refused = unusable(|machine| {
        let reason = EndReason::host("can't get 4096 MiB of guest memory");
        machine.notice(Notice::Ended { reason, evidence: Box::default() });
    });
    assert_eq!(refused, ("can't get 4096 MiB of guest memory".to_owned(), false));
    // Its boot took longer than this scenario allows: others can use it.
    let slow = About { cold: 2 * LONG, ..about() };
    let plan = Plan { warm: Some(warm()), ..one_call() };
    let (_, end) = carried_out(Way::Saved(&warm()), &plan, |machine| {
        machine.link.receive::<Spec>(Instant::now() + LONG).unwrap();
        machine.notice(Notice::Restored(Box::new(slow)));
    });
    assert!(matches!(end, End::Unusable { damaged: false, .. }));
}

#[test]
fn a_disk_too_slow_to_save_on_is_said_and_one_that_hangs_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let made = Warm { folder: folder.path().join("machines"), ..warm() };
    let plan = Plan { warm: Some(made.clone()), ..one_call() };
    let run = |saves: Option<Result<(), String>>| {
        carried_out(Way::Boot(Some(&made)), &plan, |machine| {
            machine.saves = saves;
            machine.boot();
            while let Some(Request { id, .. }) = machine.request() {
                machine.reply(id, returned(0));
            }
        })
        .0
    };
    let events = run(Some(Err("writing it takes more than 60 s".to_owned())));
    let [Event::Booted(booted), ..] = &events[..] else { panic!("{events:?}") };
    assert_eq!(booted.start, Start::Booted { saved: None });
    assert!(booted.notes[0].ends_with("machines: writing it takes more than 60 s"), "{:?}", booted.notes);
    assert_eq!(*why(&events), RunEnd::Completed);
    let events = run(None);
    let RunEnd::Machine(EndReason::Failed { blame: Blame::Host, why }) = why(&events) else {
        panic!("{events:?}")
    };
    assert!(why.contains("/machines has not come to an end in 1 s"), "{why}");
}

#[test]
fn who_wants_a_machine_compared_hears_of_the_difference() {
    let wanted = Warm { verify: true, ..warm() };
    let plan = Plan { warm: Some(wanted.clone()), ..one_call() };
    let (events, end) = carried_out(Way::Back(&wanted, &about()), &plan, |machine| {
        let Ok(Some(Command::Ask { id, question })) = machine.link.receive(Instant::now() + LONG) else {
            panic!("nobody asks")
        };
        assert_eq!(question, Question::Reset { verify: true });
        let answer = Answer::Reset(Err("its memory at 0x1000 is not as it was saved".to_owned()));
        machine.notice(Notice::Answer { id, answer });
        machine.request();
    });
    assert!(
        matches!(why(&events), RunEnd::Machine(EndReason::Failed { blame: Blame::Host, why }) if why.contains("0x1000"))
    );
    assert!(matches!(end, End::Over));
}

#[test]
fn a_process_that_did_not_stay_is_of_no_use_and_nothing_is_told_of_it() {
    let plan = Plan { warm: Some(warm()), ..one_call() };
    let (events, end) = carried_out(Way::Back(&warm(), &about()), &plan, |_| {});
    assert!(matches!(end, End::Unusable { damaged: false, .. }));
    assert!(events.is_empty(), "{events:?}");
}
