//! For tests: the events of a run in which everything is as a scenario expects, and any events at all.

use crate::{Attempt, Failure, Judge, Judged, Kernel, Names, Reason, RunReport, Then, Verdict};
use board::wire::{Blame, Door, EndReason, Evidence, LogRecord, Origin as Whose, SyscallCount, VcpuStanding};
use engine::event::{Booted, Ended, Event, RunEnd, Start, StepOutcome};
use engine::output::Output;
use kernel::lines::{Code, Place, Stands};
use plan::fixture::Table;
use plan::lower::SyscallNames;
use proptest::prelude::*;
use scenario::errno::Errno;
use scenario::model::{Action, Argument, CallName, LogWant, Num, Origin, Text, Want};
use scenario::{Scenario, Step};
use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

/// The guest is up.
pub fn booted() -> Event {
    Event::Booted(Booted {
        ready: Duration::from_millis(1310),
        setup: Duration::from_millis(9),
        files: Duration::from_millis(3),
        exits: 94,
        release: "6.12.117-vmm".into(),
        not_trapping: None,
        start: Start::Booted { saved: None },
        notes: vec![],
    })
}

/// The events of a run in which everything is as the scenario expects.
pub fn good_run(scenario: &Scenario) -> Vec<Event> {
    let mut events = vec![booted()];
    let mut seq = 0;
    let mut log = |events: &mut Vec<Event>, want: &LogWant| {
        if let LogWant::Has(text) = want {
            let time = Duration::from_millis(1401 + seq);
            events.push(Event::Log(LogRecord {
                seq,
                time,
                level: 6,
                user: false,
                caller: None,
                text: String::from_utf8_lossy(&text.written()).into_owned(),
            }));
            seq += 1;
        }
    };
    for (index, step) in scenario.steps.iter().enumerate() {
        events.push(Event::StepStarted { index });
        for check in &step.checks {
            if let Want::Log(want) = &check.want {
                log(&mut events, want);
            }
        }
        let outcome = good_outcome(step);
        events.push(Event::StepEnded { index, outcome });
    }
    for (want, _) in &scenario.expect.log {
        log(&mut events, want);
    }
    let (rows, evidence) = good_evidence(scenario);
    events.push(Event::Counted(rows));
    events.push(Event::Ended(Ended {
        why: RunEnd::Completed,
        evidence,
        ran: Duration::from_millis(412),
        steps: Vec::new(),
    }));
    events
}

fn known(num: &Num) -> i128 {
    match num {
        Num::Int(value) => *value,
        Num::Name(name) => panic!("no value for {name} in this fixture"),
    }
}

fn good_outcome(step: &Step) -> StepOutcome {
    let took = Duration::from_micros(4100);
    let mut value = if matches!(step.action, Action::Open { .. }) { 3 } else { 0 };
    let (mut numbers, mut users) = (BTreeMap::new(), None);
    for check in &step.checks {
        match &check.want {
            Want::Returns(range) => value = known(range.low.as_ref().unwrap()) as i64,
            Want::Errno(errno) => value = -i64::from(errno.0),
            Want::Named(name, range) => {
                numbers.insert(name.clone(), known(range.low.as_ref().unwrap()));
            }
            Want::Users(range) => users = Some(known(range.low.as_ref().unwrap())),
            _ => {}
        }
    }
    let mut data: Vec<Vec<u8>> = users.map(|users| format!("{users}\n").into_bytes()).into_iter().collect();
    let args = match &step.action {
        Action::Syscall { args, .. } => &args[..],
        Action::Ioctl { arg, .. } => std::slice::from_ref(arg),
        Action::Read { count, .. } => {
            let mut bytes = text(step);
            bytes.resize(*count as usize, 0);
            data.push(bytes);
            &[]
        }
        Action::ReadFile { .. } => {
            data.push(text(step));
            value = data[0].len() as i64;
            &[]
        }
        _ => &[],
    };
    for layout in args.iter().filter_map(Argument::layout) {
        let here = data.len();
        let name = step.binds.iter().find(|bind| matches!(bind.from, Origin::Data(at, _) if at == here));
        let number = name.and_then(|bind| numbers.get(&bind.name)).copied().unwrap_or(0);
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.resize(layout.size() as usize, 0);
        data.push(bytes);
    }
    StepOutcome::Returned { value, data, took, cut: false }
}

/// A text that the step's expectations of its data hold for.
fn text(step: &Step) -> Vec<u8> {
    let texts: Vec<&Text> = step
        .checks
        .iter()
        .filter_map(|check| match &check.want {
            Want::Data(text) => Some(text),
            _ => None,
        })
        .collect();
    for text in &texts {
        if let Text::Equals(bytes) | Text::Contains(bytes) = text {
            return bytes.written().into_owned();
        }
    }
    let number = texts.iter().any(|text| matches!(text, Text::Matches(_)));
    if number { b"  1 mem\n250 chardev\n".to_vec() } else { b"  1 mem\n".to_vec() }
}

fn good_evidence(scenario: &Scenario) -> (Vec<SyscallCount>, Evidence) {
    let mut rows = Vec::new();
    let mut evidence = Evidence { own_memory_kib: 4000, ..Evidence::default() };
    for expect in &scenario.expect.syscalls {
        let nr = match &expect.call {
            CallName::Name(name, _) => Table.number(name).unwrap(),
            CallName::Nr(nr) => *nr,
        };
        let count = expect.count.as_ref().map_or(1, |range| known(range.low.as_ref().unwrap()) as u64);
        let errors: BTreeMap<i32, u64> = expect
            .errors
            .iter()
            .map(|(Errno(errno), range, _)| (*errno, known(range.low.as_ref().unwrap()) as u64))
            .collect();
        let one = |origin, count, errors| SyscallCount {
            results: BTreeMap::new(),
            processes: Vec::new(),
            door: Door::Syscall64,
            nr,
            origin,
            count,
            errors,
            untold_errors: 0,
            untold_results: 0,
            untold_processes: 0,
        };
        rows.push(one(Whose::Step, count, errors));
        // What the agent does for itself is not what a scenario counts.
        rows.push(one(Whose::Agent, 7, BTreeMap::from([(14, 5)])));
    }
    evidence.exits_until_ready = BTreeMap::from([("mmio".to_owned(), 60), ("io".to_owned(), 34)]);
    evidence.exits = BTreeMap::from([("mmio".to_owned(), 200), ("io".to_owned(), 36)]);
    (rows, evidence)
}

/// The table's names, one symbol, and two modules.
pub struct Known;

impl Names for Known {
    fn syscall(&self, door: Door, nr: u64) -> Option<String> {
        match door {
            Door::Syscall64 => Table.name(nr).map(str::to_owned),
            // The number of the same call in the table of 32-bit programs.
            Door::Int80 if nr == 64 => Some("getppid".to_owned()),
            _ => None,
        }
    }

    fn symbol(&self, address: u64) -> Option<String> {
        (address >> 12 == 1).then(|| "foo+0x34".to_owned())
    }

    fn at_home(&self, line: &str) -> Option<String> {
        line.contains("/cache/").then(|| line.replace("/cache/", "/home/my work/"))
    }

    fn source(&self, _: &Code, _: Stands) -> Option<Place> {
        None
    }

    fn parameters(&self, module: &str) -> Option<&[String]> {
        static HELLO: LazyLock<[String; 2]> = LazyLock::new(|| ["times".into(), "whom".into()]);
        match module {
            "helloModule" => Some(&*HELLO),
            "bare" => Some(&[]),
            _ => None,
        }
    }
}

/// Everything that reporters get of a run.
pub fn judged(scenario: &Scenario, events: &[Event]) -> Vec<Judged> {
    let mut judge = Judge::new(scenario);
    let kernel = Kernel {
        release: None,
        hash: "3f9c1a2b7d".into(),
        cached: true,
        build: Duration::from_millis(38),
        warnings: Vec::new(),
    };
    let mut all =
        vec![judge.begin(), judge.host("this machine's KVM".into()), judge.kernel(kernel, Box::new(Known))];
    all.extend(events.iter().flat_map(|event| judge.event(event)));
    all
}

/// What a run came to.
pub fn run(scenario: &Scenario, events: &[Event]) -> RunReport {
    match judged(scenario, events).pop() {
        Some(Judged::Ended(report)) => *report,
        other => panic!("the run did not end: {other:?}"),
    }
}

/// A run that came to this, and nothing more is known of it.
pub fn report(verdict: Verdict) -> RunReport {
    let mut judge = Judge::new(&scenario::fixture::scenario("steps:\n- sleep: 1 s\n"));
    match judge.abort(verdict, "on purpose".into()).pop() {
        Some(Judged::Ended(report)) => RunReport { verdict, ..*report },
        other => panic!("the run did not end: {other:?}"),
    }
}

/// An attempt that counts and came to this.
pub fn attempt(verdict: Verdict) -> Attempt {
    Attempt { verdict, reason: Reason::None, ran: Duration::ZERO, then: Then::Counts, known: None }
}

/// An expectation of this that did not hold.
pub fn failure(what: &str) -> Failure {
    Failure { what: what.into(), expected: "this".into(), got: "that".into(), line: 1 }
}

/// Any event, mostly with indices and buffers that a scenario has.
pub fn any_event() -> impl Strategy<Value = Event> {
    let booted = booted();
    let index = prop_oneof![0..60_usize, Just(usize::MAX)];
    let bytes = prop_oneof![Just(Vec::new()), any::<Vec<u8>>(), Just(vec![0xff; 5000])];
    let value = prop_oneof![any::<i64>(), -200..200_i64, Just(i64::MIN)];
    let text = prop_oneof![
        "\\PC{0,20}",
        Just("Kernel panic - not syncing: x".to_owned()),
        Just("Oops: 1".to_owned()),
        any::<String>()
    ];
    let standing = prop::collection::vec(
        prop::collection::vec(
            (any::<u8>(), any::<u64>(), any::<u8>(), any::<bool>(), any::<bool>()).prop_map(
                |(index, rip, cpl, halted, interrupts)| VcpuStanding { index, rip, cpl, halted, interrupts },
            ),
            0..3,
        ),
        0..3,
    );
    let time = any::<u64>().prop_map(Duration::from_nanos);
    let printed = prop_oneof![
        bytes.clone().prop_map(|bytes| Output::from(&bytes[..])),
        "[a-z# ]{0,4}(not ok 1|ok 2|1\\.\\.3|KTAP version 1|Bail out!)[ #A-Z\n]{0,20}"
            .prop_map(|text| Output::from(&text[..])),
    ];
    let outcome = prop_oneof![
        (value, prop::collection::vec(bytes.clone(), 0..3), time.clone(), any::<bool>())
            .prop_map(|(value, data, took, cut)| StepOutcome::Returned { value, data, took, cut }),
        (any::<i32>(), printed.clone(), printed.clone(), time.clone())
            .prop_map(|(code, stdout, stderr, took)| StepOutcome::Exited { code, stdout, stderr, took }),
        (printed.clone(), printed, time.clone(), standing.clone(), any::<bool>()).prop_map(
            |(stdout, stderr, limit, standing, inside)| StepOutcome::Ended {
                limit,
                stdout,
                stderr,
                standing,
                inside
            }
        ),
        any::<i32>().prop_map(|signal| StepOutcome::Died { signal }),
        text.clone().prop_map(|why| StepOutcome::Skipped { why }),
        (time.clone(), standing.clone())
            .prop_map(|(limit, standing)| StepOutcome::TimedOut { limit, standing }),
        Just(StepOutcome::Lost),
    ];
    let calls = prop::collection::vec((any::<u64>(), any::<u64>(), any::<i32>(), any::<u64>()), 0..4);
    let counted = calls.prop_map(|calls| {
        use board::wire::{Door, Origin, SyscallCount};
        let one = |(nr, count, errno, errors)| SyscallCount {
            results: Default::default(),
            processes: Vec::new(),
            door: Door::Sysenter,
            nr,
            origin: Origin::Program,
            count,
            errors: [(errno, errors)].into(),
            untold_errors: errors,
            untold_results: u64::MAX,
            untold_processes: u64::MAX,
        };
        Event::Counted(calls.into_iter().map(one).collect())
    });
    let exits = [("mmio".to_owned(), u64::MAX), ("io".to_owned(), u64::MAX)];
    let evidence = Evidence { exits: exits.into(), ..Evidence::default() };
    let blame = prop_oneof![Just(Blame::Guest), Just(Blame::Host), Just(Blame::Unknown)];
    let why = prop_oneof![
        Just(RunEnd::Completed),
        index.clone().prop_map(|index| RunEnd::StepTimedOut { index }),
        (time.clone(), standing).prop_map(|(limit, standing)| RunEnd::NoAgent {
            limit,
            greeted: false,
            standing
        }),
        text.clone().prop_map(RunEnd::BadAgent),
        Just(RunEnd::Panicked),
        Just(RunEnd::Machine(EndReason::TripleFault)),
        (blame, text.clone()).prop_map(|(blame, why)| RunEnd::Machine(EndReason::Failed { blame, why })),
    ];
    prop_oneof![
        1 => Just(booted),
        4 => index.clone().prop_map(|index| Event::StepStarted { index }),
        8 => (index, outcome).prop_map(|(index, outcome)| Event::StepEnded { index, outcome }),
        4 => (any::<u64>(), time.clone(), any::<u8>(), text)
            .prop_map(|(seq, time, level, text)| Event::Log(LogRecord { seq, time, level, user: false, caller: None, text })),
        2 => bytes.prop_map(Event::Console),
        1 => counted,
        1 => (why, time).prop_map(move |(why, ran)| Event::Ended(Ended { why, evidence: evidence.clone(), ran, steps: Vec::new() })),
    ]
}
