//! Writes those seeds that the project's own code makes, so that they are as today's formats have them: `TARGET/NAME` below the
//! folder that the variable SEEDS names. It is a target in form only: whatever is compiled for coverage needs libFuzzer around it.

#![no_main]

use base::diagnostic::Source;
use engine::event::Event;
use judge::{Judge, fixture};
use libfuzzer_sys::fuzz_target;
use protocol::{Action, FromAgent, Hello, Outcome, Reply, Request};
use report::{json, record::Session};
use scenario::Scenario;
use serde::Serialize;
use std::{env, fs, path::Path};

const SCENARIOS: [&str; 3] = ["hello", "chardev", "syscall"];

fn write(folder: &Path, target: &str, name: &str, content: &[u8]) {
    let folder = folder.join(target);
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join(name), content))
        .expect("it can be written");
}

fn load(name: &str) -> Scenario {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").join(name).with_extension("yaml");
    let text = fs::read_to_string(&path).expect("the project has it");
    scenario::parse(Source::new(&path, &text)).unwrap_or_else(|errors| panic!("{errors}"))
}

fn encoded(message: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(message).expect("encoding into memory")
}

/// The target's choices, and a payload that it frames.
fn frame(kind: u8, message: &impl Serialize) -> Vec<u8> {
    [vec![kind, 1, 255], encoded(message)].concat()
}

/// Good runs as events, and what is reported of them: once whole, once cut off.
fn runs(folder: &Path) {
    for (index, name) in SCENARIOS.into_iter().enumerate() {
        let scenario = load(name);
        let mut events = fixture::good_run(&scenario);
        for part in ["whole", "cut"] {
            let bytes: Vec<u8> = events.iter().flat_map(encoded).collect();
            write(folder, "judge", &format!("{name}-{part}"), &[vec![index as u8], bytes].concat());
            let mut judge = Judge::new(&scenario);
            let mut session = Session::planned(&[]);
            session.event(&judge.begin());
            events.iter().flat_map(|event| judge.event(event)).for_each(|judged| _ = session.event(&judged));
            let text = json::render(&session);
            write(folder, "report", &format!("{name}-{part}"), text.as_bytes());
            let shard = text.replacen("\"shard\": null", r#""shard": {"index": 1, "of": 2, "plan": "x"}"#, 1);
            write(folder, "report", &format!("{name}-{part}-shard"), shard.as_bytes());
            events.truncate(events.len() / 2);
        }
    }
}

fn messages(folder: &Path) {
    let hello = Hello {
        version: protocol::VERSION,
        release: "6.12.117-vmm".into(),
        call_returns: vec![0x1000],
        text: (0x1000, 0x2000),
    };
    write(folder, "frames", "hello", &frame(0, &FromAgent::Hello(hello)));
    let outcome = Outcome::Returned { value: -14, data: vec![vec![1, 2, 3]] };
    write(folder, "frames", "reply", &frame(0, &FromAgent::Reply(Reply { id: 7, outcome, nanos: 1000 })));
    write(folder, "frames", "request", &frame(1, &Request { id: 7, action: Action::Place(Vec::new()) }));
    let events: Vec<Event> = fixture::good_run(&load("chardev"));
    for (index, event) in events.iter().enumerate().step_by(5) {
        write(folder, "frames", &format!("event-{index}"), &frame(4, event));
    }
}

/// A kernel's table of its symbols as scripts/kallsyms.c writes it since 6.4; names are made of single letters.
fn kallsyms(folder: &Path) {
    const BASE: u64 = 0xffff_ffff_8100_0000;
    const COUNT: u64 = 1000;
    let aligned = |mut part: Vec<u8>| {
        part.resize(part.len().next_multiple_of(8), 0);
        part
    };
    let (mut names, mut markers, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..COUNT {
        if index % 256 == 0 {
            markers.extend((names.len() as u32).to_le_bytes());
        }
        let name = format!("Tf{index}");
        names.push(name.len() as u8);
        names.extend(name.bytes());
        offsets.extend((index as u32 * 16).to_le_bytes());
    }
    let (mut tokens, mut places) = (Vec::new(), Vec::new());
    for token in 0..=255_u8 {
        places.extend((tokens.len() as u16).to_le_bytes());
        let piece = if token.is_ascii_graphic() { char::from(token) } else { '?' };
        tokens.extend([piece as u8, 0]);
    }
    let parts = [
        vec![0xcc; 64],
        COUNT.to_le_bytes().to_vec(),
        names,
        markers,
        tokens,
        places,
        offsets,
        BASE.to_le_bytes().to_vec(),
    ];
    let image: Vec<u8> = parts.into_iter().flat_map(aligned).collect();
    assert_eq!(kernel::fuzz::kallsyms(&image).map(|symbols| symbols.len()), Some(COUNT as usize));
    write(folder, "kallsyms", "table", &image);
}

fn all() {
    let folder = env::var_os("SEEDS").expect("SEEDS names a folder");
    let folder = Path::new(&folder);
    runs(folder);
    messages(folder);
    kallsyms(folder);
}

fuzz_target!(init: all(), |_bytes: &[u8]| {});
