//! Progress of long work, on standard error: a bar on a terminal, a line every so often in a log.

use crate::text::escape;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    cell::RefCell,
    io::{self, IsTerminal, Write},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A log gets a line this often.
const LOG_EVERY: Duration = Duration::from_secs(15);
/// So large a part has to be done before the rest is promised: the first steps of a build take ten times as long as
/// those that follow.
const ENOUGH: u64 = 20;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Object files and the like.
    Objects,
    /// Bytes, shown in MiB.
    Bytes,
}

/// How much there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// Exactly so much.
    Known(u64),
    /// So much the last time, or by experience.
    About(u64),
    /// Nobody can tell.
    Unknown,
}

/// One line that the user should see, whatever is on the screen.
pub fn note(text: &str) {
    // A closed standard error is no reason to give up a build.
    let _ = writeln!(io::stderr(), "{}", shown(&format!("note: {text}")));
}

/// From now on all lines are shown as this makes them: who reads standard error may take more than control characters for a command.
pub fn show_as(show: fn(String) -> String) {
    let _ = SHOW.set(show);
}

static SHOW: OnceLock<fn(String) -> String> = OnceLock::new();

/// Names of files and what programs said come from others: they must not steer the terminal.
fn shown(line: &str) -> String {
    let line = escape(line);
    match SHOW.get() {
        Some(show) => show(line),
        None => line,
    }
}

/// From now on several pieces of work may go on at once: each has lines of its own, as in a log, since bars would overwrite each
/// other.
pub fn share() {
    SHARED.store(true, Ordering::Relaxed);
}

static SHARED: AtomicBool = AtomicBool::new(false);

/// One piece of long work. Ends (and clears its bar) when dropped.
pub struct Progress {
    label: String,
    unit: Unit,
    total: Total,
    started: Instant,
    out: Out,
}

enum Out {
    Terminal(ProgressBar),
    Log(RefCell<Log>),
}

struct Log {
    writer: Box<dyn Write>,
    every: Duration,
    last: Instant,
}

impl Progress {
    /// Starts: `label` says what is being done ("building the kernel").
    pub fn start(label: &str, unit: Unit, total: Total) -> Self {
        let started = Instant::now();
        let label = &*shown(label);
        let out = if io::stderr().is_terminal() && !SHARED.load(Ordering::Relaxed) {
            Out::Terminal(bar(label, unit, total))
        } else {
            let mut writer = Box::new(io::stderr());
            let _ = writeln!(writer, "{label} ...");
            Out::Log(RefCell::new(Log { writer, every: LOG_EVERY, last: started }))
        };
        Self { label: label.to_owned(), unit, total, started, out }
    }

    /// So much is done, in all.
    pub fn set(&self, done: u64) {
        match &self.out {
            Out::Terminal(bar) => {
                if bar.length().is_some_and(|length| done > length) {
                    bar.unset_length();
                    bar.set_style(style(self.unit, Total::Unknown, Left::Hidden));
                } else if bar
                    .length()
                    .is_some_and(|length| Left::after(bar.position(), length) == Left::Hidden)
                    && Left::after(done, bar.length().unwrap_or_default()) == Left::Shown
                {
                    bar.set_style(style(self.unit, self.total, Left::Shown));
                }
                bar.set_position(done);
            }
            Out::Log(log) => {
                let mut log = log.borrow_mut();
                if log.last.elapsed() >= log.every {
                    log.last = Instant::now();
                    let line = describe(self.unit, self.total, done, self.started.elapsed());
                    let _ = writeln!(log.writer, "{}: {line}", self.label);
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Out::Terminal(bar) = &self.out {
            bar.finish_and_clear();
        }
    }
}

fn bar(label: &str, unit: Unit, total: Total) -> ProgressBar {
    let bar = match total {
        Total::Known(total) | Total::About(total) => ProgressBar::new(total),
        Total::Unknown => ProgressBar::no_length(),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.set_style(style(unit, total, Left::Hidden));
    bar.set_message(label.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Whether it is said how long the rest will take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Hidden,
    Shown,
}

impl Left {
    fn after(done: u64, total: u64) -> Self {
        if done.saturating_mul(ENOUGH) >= total && done > 0 { Self::Shown } else { Self::Hidden }
    }
}

fn style(unit: Unit, total: Total, left: Left) -> ProgressStyle {
    let (done, all, unit) = match unit {
        Unit::Objects => ("{pos}", "{len}", " objects"),
        Unit::Bytes => ("{binary_bytes}", "{binary_total_bytes}", ""),
    };
    let template = match total {
        Total::Unknown => format!("{{spinner}} {{msg}}  {done}{unit}, {{elapsed}}"),
        Total::Known(_) => format!("{{msg}} [{{bar:30}}] {done} of {all}{unit}"),
        Total::About(_) => format!("{{msg}} [{{bar:30}}] {done} of about {all}{unit}"),
    };
    let template = match (left, total) {
        (Left::Shown, Total::Known(_)) => template + ", {eta} left",
        (Left::Shown, Total::About(_)) => template + ", about {eta} left",
        _ => template,
    };
    // The templates are the few above, all of them tried by the test below.
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

/// "120 of about 1200 objects, about 3 min left".
fn describe(unit: Unit, total: Total, done: u64, elapsed: Duration) -> String {
    let (about, total) = match total {
        Total::Known(total) if done <= total => ("", total),
        Total::About(total) if done <= total => ("about ", total),
        // An estimate that turned out low is none.
        _ => ("", 0),
    };
    let show = |n: u64| match unit {
        Unit::Objects => n.to_string(),
        Unit::Bytes => (n >> 20).to_string(),
    };
    let unit = match unit {
        Unit::Objects => "objects",
        Unit::Bytes => "MiB",
    };
    if total == 0 {
        return format!("{} {unit}", show(done));
    }
    let mut line = format!("{} of {about}{} {unit}", show(done), show(total));
    if Left::after(done, total) == Left::Shown {
        let left = elapsed.mul_f64((total - done) as f64 / done as f64);
        line += &match left.as_secs() {
            seconds @ ..100 => format!(", about {seconds} s left"),
            seconds => format!(", about {} min left", seconds.div_ceil(60)),
        };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, rc::Rc};

    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A kernel's makefile chooses some of it.
    #[test]
    fn what_others_named_does_not_steer_the_terminal() {
        assert_eq!(shown("note: \x1b]0;x\x07\n::error::y"), "note: \\x1b]0;x\\x07\\n::error::y");
        let progress = Progress::start("building a\nb", Unit::Objects, Total::Unknown);
        assert_eq!(progress.label, "building a\\nb");
    }

    fn log_lines(every: Duration) -> String {
        let written = Shared::default();
        let log = Log { writer: Box::new(written.clone()), every, last: Instant::now() };
        let progress = Progress {
            label: "building".to_owned(),
            unit: Unit::Objects,
            total: Total::Known(4),
            started: Instant::now(),
            out: Out::Log(RefCell::new(log)),
        };
        progress.set(1);
        progress.set(2);
        let bytes = written.0.borrow().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn log_gets_a_line_when_its_time_has_come() {
        let lines = log_lines(Duration::ZERO);
        assert!(lines.starts_with("building: 1 of 4 objects"), "{lines}");
        assert_eq!(lines.lines().count(), 2);
    }

    #[test]
    fn log_is_not_flooded() {
        assert_eq!(log_lines(Duration::from_secs(3600)), "");
    }

    #[test]
    fn time_left_follows_from_what_is_done() {
        let line = |total, done, s| describe(Unit::Objects, total, done, Duration::from_secs(s));
        assert_eq!(line(Total::Known(100), 25, 10), "25 of 100 objects, about 30 s left");
        assert_eq!(line(Total::About(1000), 50, 51), "50 of about 1000 objects, about 17 min left");
        assert_eq!(line(Total::About(10), 20, 10), "20 objects");
        assert_eq!(line(Total::Unknown, 20, 10), "20 objects");
        assert_eq!(describe(Unit::Bytes, Total::Known(3 << 20), 0, Duration::ZERO), "0 of 3 MiB");
    }

    /// A kernel's first object takes half a minute, with all that is made ready before it.
    #[test]
    fn nothing_is_promised_by_the_first_steps() {
        let early = describe(Unit::Objects, Total::About(1300), 2, Duration::from_secs(35));
        assert_eq!(early, "2 of about 1300 objects");
        for total in [Total::Known(1300), Total::About(1300)] {
            let term = indicatif::InMemoryTerm::new(3, 120);
            let bar = bar("building", Unit::Objects, total);
            bar.set_draw_target(ProgressDrawTarget::term_like(Box::new(term.clone())));
            let out = Out::Terminal(bar.clone());
            let (label, started) = (String::new(), Instant::now());
            let progress = Progress { label, unit: Unit::Objects, total, started, out };
            for (done, promised) in [(2, false), (64, false), (65, true), (66, true)] {
                progress.set(done);
                bar.force_draw();
                let shown = term.contents();
                assert!(shown.contains(&format!(" {done} of")), "{shown}");
                assert_eq!(shown.contains("left"), promised, "{done}: {shown}");
            }
        }
    }

    #[test]
    fn bars_show_all_their_numbers() {
        // Styles with a key that indicatif doesn't know print nothing for it and say nothing.
        for unit in [Unit::Objects, Unit::Bytes] {
            for total in [Total::Known(10), Total::About(10), Total::Unknown] {
                let term = indicatif::InMemoryTerm::new(3, 120);
                let bar = bar("doing", unit, total);
                bar.set_draw_target(ProgressDrawTarget::term_like(Box::new(term.clone())));
                bar.set_position(7);
                bar.force_draw();
                let shown = term.contents();
                assert!(shown.contains("doing") && shown.contains('7'), "{unit:?} {total:?}: {shown}");
                assert_eq!(shown.contains("about"), matches!(total, Total::About(_)), "{shown}");
                assert_eq!(shown.contains("10"), total != Total::Unknown, "{shown}");
                let progress = Progress {
                    label: "doing".to_owned(),
                    unit,
                    total,
                    started: Instant::now(),
                    out: Out::Terminal(bar.clone()),
                };
                progress.set(12);
                bar.force_draw();
                let shown = term.contents();
                assert!(shown.contains("12") && !shown.contains("left"), "{unit:?} {total:?}: {shown}");
            }
        }
    }
}
