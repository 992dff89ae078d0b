//! `vmm run --repeat N`: the same scenarios again and again, and then how it went, as a table.
//!
//! After the first run, which boots or starts from a saved machine, a guest that ended well goes back to where it began.

use crate::{exit, say};
use base::text;
use engine::event::Start;
use harness::{
    Abort, Options, Session,
    bench::Spread,
    many::{Case, FRESH_HOSTS},
};
use judge::{Judged, Verdict};
use report::{
    Reporter, Reporters,
    terminal::{Detail, Terminal},
};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Runs each scenario so often; returns the exit code.
pub fn repeat(cases: &[Case], options: Options, detail: Detail, times: u32) -> u8 {
    let mut session = match Session::open(options) {
        Ok(session) => session,
        Err(abort) => return say::outcome(Err::<String, Abort>(abort)),
    };
    let mut verdicts = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let last = index + 1 == cases.len();
        let series = one(&mut session, case, detail, times, last);
        verdicts.extend(&series.verdicts);
        say::out(&series.table(&case.title()));
        if series.verdicts.last() == Some(&Verdict::Interrupted) {
            break;
        }
    }
    exit::of_all(&verdicts)
}

/// What came of the runs of one scenario.
#[derive(Default)]
struct Series {
    verdicts: Vec<Verdict>,
    /// By how the guest began: until it was ready.
    ready: BTreeMap<&'static str, Vec<Duration>>,
    /// From there to the end.
    ran: Vec<Duration>,
}

fn one(session: &mut Session, case: &Case, detail: Detail, times: u32, last: bool) -> Series {
    let mut series = Series::default();
    let (mut number, mut hosts) = (1, 0);
    while number <= times {
        session.expect_more(number < times || !last);
        let (page, began) = (Page::default(), Began::default());
        let mut reporters = Reporters::default();
        reporters.add(Terminal::new(Box::new(page.clone()), false).with(detail));
        reporters.add(began.clone());
        let report = session.run_case(case, 1, &mut reporters);
        // What this machine failed is tried on other hosts, and does not count, as without a table.
        if report.verdict == Verdict::Infra && session.ended_on_host() && hosts < FRESH_HOSTS {
            say::out(&format!("run {number} of {times}, on a fresh host again\n{}\n", page.text()));
            hosts += 1;
            session.fresh_host();
            continue;
        }
        hosts = 0;
        // One of each kind, and of what goes well only the first.
        if !series.verdicts.contains(&report.verdict) {
            say::out(&format!("run {number} of {times}\n{}\n", page.text()));
        }
        series.verdicts.push(report.verdict);
        if let Some((how, ready)) = began.take() {
            series.ready.entry(how).or_default().push(ready);
        }
        series.ran.push(report.ran);
        // What is no input and what can't be built or run here is so the next time.
        let hopeless = [Verdict::Interrupted, Verdict::BadInput, Verdict::BuildFailed, Verdict::Infra];
        if hopeless.contains(&report.verdict) {
            break;
        }
        number += 1;
    }
    series
}

impl Series {
    fn table(&self, name: &str) -> String {
        let mut text = format!("{}: {} runs\n", text::escape(name), self.verdicts.len());
        let mut counts: Vec<(Verdict, usize)> = Vec::new();
        for verdict in &self.verdicts {
            match counts.iter_mut().find(|(known, _)| known == verdict) {
                Some((_, count)) => *count += 1,
                None => counts.push((*verdict, 1)),
            }
        }
        for (verdict, count) in counts {
            text += &format!("  {:<14} {count:>6}\n", verdict.name());
        }
        text += &format!("  {:<14} {:>6} {:>10} {:>10} {:>10}\n", "time", "runs", "least", "middle", "most");
        let rows = self.ready.iter().map(|(how, times)| (*how, times)).chain([("steps", &self.ran)]);
        for (name, times) in rows {
            if let Some(Spread { min, median, max }) = Spread::of(times.iter().copied()) {
                let [min, median, max] = [min, median, max].map(text::time);
                text += &format!("  {name:<14} {:>6} {min:>10} {median:>10} {max:>10}\n", times.len());
            }
        }
        text
    }
}

/// Terminal output that is shown if it is worth it.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How the guest began, and how long that took.
#[derive(Clone, Default)]
struct Began(Arc<Mutex<Option<(&'static str, Duration)>>>);

impl Began {
    fn take(&self) -> Option<(&'static str, Duration)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Reporter for Began {
    fn event(&mut self, judged: &Judged) -> io::Result<()> {
        if let Judged::Booted(booted) = judged {
            let how = match booted.start {
                Start::Booted { .. } => "boot",
                Start::Saved { .. } => "start",
                Start::Back { .. } => "reset",
            };
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((how, booted.ready));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_counts_verdicts_and_shows_how_times_spread() {
        let ms = Duration::from_millis;
        let series = Series {
            verdicts: vec![Verdict::Pass, Verdict::Fail, Verdict::Pass],
            ready: [("start", vec![ms(40)]), ("reset", vec![ms(9), ms(12)])].into(),
            ran: vec![ms(300), ms(100), ms(200)],
        };
        let table = "\
syscall: 3 runs
  pass                2
  fail                1
  time             runs      least     middle       most
  reset               2     9.0 ms    12.0 ms    12.0 ms
  start               1    40.0 ms    40.0 ms    40.0 ms
  steps               3     100 ms     200 ms     300 ms
";
        assert_eq!(series.table("syscall"), table);
    }
}
