//! A report of an earlier run, which somebody else may have written: read, merged, compared, shown, and written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use report::{
    diff, html, json, junit, ktap, markdown, merge, record::Session, show, summary, terminal::Terminal,
};

fn reread(session: &Session) -> Session {
    json::read(&json::render(session))
        .unwrap_or_else(|error| panic!("what was written can't be read: {error}"))
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(session) = json::read(text) else { return };
    let again = reread(&session);
    assert!(json::render(&again) == json::render(&reread(&again)), "a report changes each time it is read");
    diff::diff(&session, &again);
    let mut shown = Terminal::new(Box::new(std::io::sink()), true);
    show::show(&session, &mut shown, &mut std::io::sink()).expect("nothing is written");
    summary::text(&session);
    for render in [html::render, junit::render, ktap::render, markdown::render] {
        render(&session);
    }
    if let Err(error) = merge::merge(vec![("a".to_owned(), session), ("b".to_owned(), again)]) {
        assert!(error.to_string().len() < 1 << 20, "a message that nobody reads");
    }
});
