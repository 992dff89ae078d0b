//! What came of a run, as events; those of an emulated host are written by whatever runs in it. Judged, reported, and the
//! report read again.

#![no_main]

use base::diagnostic::Source;
use engine::event::Event;
use fuzz::Input;
use judge::{Judge, Judged};
use libfuzzer_sys::fuzz_target;
use report::{Reporter, html, json, junit, ktap, markdown, record::Session, terminal::Terminal};
use scenario::Scenario;
use std::{path::Path, sync::LazyLock};

const TEXTS: [&str; 4] = [
    include_str!("../../../../scenarios/hello.yaml"),
    include_str!("../../../../scenarios/chardev.yaml"),
    include_str!("../../../../scenarios/syscall.yaml"),
    include_str!("../../../fixtures/scenarios/results.yaml"),
];
static SCENARIOS: LazyLock<Vec<Scenario>> = LazyLock::new(|| {
    let folders = ["scenarios", "scenarios", "scenarios", "tests/fixtures/scenarios"];
    let load = |(text, folder): (&str, &str)| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder).join("fuzzed.yaml");
        scenario::parse(Source::new(&path, text)).unwrap_or_else(|errors| panic!("{errors}"))
    };
    TEXTS.into_iter().zip(folders).map(load).collect()
});

fn events(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Ok((event, rest)) = postcard::take_from_bytes(bytes) {
        events.push(event);
        bytes = rest;
        // Those without content take a byte or two.
        if bytes.is_empty() {
            break;
        }
    }
    events
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let scenario = &SCENARIOS[usize::from(input.u8()) % SCENARIOS.len()];
    let mut judge = Judge::new(scenario);
    let mut all = vec![judge.begin()];
    for event in events(input.rest()) {
        all.extend(judge.event(&event));
    }
    let mut session = Session::planned(&[]);
    let mut terminal = Terminal::new(Box::new(std::io::sink()), false);
    for judged in &all {
        session.event(judged);
        terminal.event(judged).expect("nothing is written");
    }
    let ended = all.iter().any(|judged| matches!(judged, Judged::Ended(_)));
    assert_eq!(judge.verdict().is_some(), ended, "a verdict and its end come together");
    let text = json::render(&session);
    json::read(&text).unwrap_or_else(|error| panic!("what was written can't be read: {error}\n{text}"));
    for render in [html::render, junit::render, ktap::render, markdown::render] {
        render(&session);
    }
});
