//! One expectation against what came back.

use super::judged::Failure;
use crate::compare::{Came, Ends, compare, find, show_regex};
use crate::quote::{quote_around, quote_long};
use crate::unknown::Holes;
use base::{
    taint,
    text::{escape, time},
};
use board::wire::LogRecord;
use engine::output::Output;
use scenario::errno::Errno;
use scenario::model::{Action, Check, Interval, LogWant, Num, Origin, Step, TaintWant, Type, Want};
use scenario::poll;
use scenario::result::{captured, number};
use scenario::status;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a failure of the log is called.
pub const LOG: &str = "kernel log";
/// What one of the taint is called.
pub const TAINT: &str = "taint";
/// What one of the run's end is called.
pub const END: &str = "end of the run";

/// The values of names so far.
pub type Values = BTreeMap<String, i128>;

/// What came back, in the shape that expectations look at.
pub struct Got<'a> {
    /// What a system call returned.
    pub value: Option<i64>,
    /// A program's exit status.
    pub exit: Option<i32>,
    /// Buffers that came back; `read`'s cut to what was read.
    pub data: Vec<&'a [u8]>,
    /// The last of them is the beginning of something longer.
    pub cut: bool,
    /// What a program printed, both streams.
    pub printed: Option<(&'a Output, &'a Output)>,
    /// How long it took.
    pub took: Duration,
    /// For each of the step's checks: the log line that decides it.
    pub log: &'a [Option<String>],
    /// What came newly to the kernel's taint, if that is known.
    pub tainted: Option<u64>,
    /// What of the log in it is not known.
    pub holes: Holes,
}

impl<'a> Got<'a> {
    /// Nothing but evidence: the step was cut off.
    pub fn cut(log: &'a [Option<String>]) -> Self {
        let took = Duration::ZERO;
        Self {
            value: None,
            exit: None,
            data: Vec::new(),
            cut: false,
            printed: None,
            took,
            log,
            tainted: None,
            holes: Holes::default(),
        }
    }

    /// What a call brought. A `read` fills only the head of its buffer.
    pub fn returned(
        step: &Step,
        value: i64,
        data: &'a [Vec<u8>],
        took: Duration,
        log: &'a [Option<String>],
    ) -> Self {
        let mut data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        if let (Action::Read { .. }, Some(first)) = (&step.action, data.first_mut()) {
            let length = usize::try_from(value).unwrap_or(0).min(first.len());
            *first = &first[..length];
        }
        Self { value: Some(value), data, took, ..Self::cut(log) }
    }

    /// What `match` and `data` look at.
    fn first(&self) -> Came<'a> {
        let data = || Came::part(self.data.first().copied().unwrap_or_default(), self.cut);
        self.printed.map_or_else(data, |(stdout, _)| stdout.into())
    }

    /// The values of the step's names, if it succeeded.
    pub fn values(&self, step: &Step) -> Values {
        // As in the engine: a step that failed gives no names.
        let failed = self.value.is_some_and(|value| Errno::of(value).is_some());
        if failed || self.exit.is_some_and(|code| code != 0) {
            return Values::new();
        }
        let one = |origin: &Origin| match origin {
            Origin::Value => self.value.map(i128::from).or(self.exit.map(i128::from)),
            Origin::Data(index, scenario::model::Layout::Number(int)) => int.decode(self.data.get(*index)?),
            Origin::Data(..) => None,
            Origin::Match(regex) => number(&captured(regex, self.first().pieces().into_iter())?),
        };
        step.binds.iter().filter_map(|bind| Some((bind.name.clone(), one(&bind.from)?))).collect()
    }
}

/// Whether an expectation holds; if not, how. `position` is its index in the step.
pub fn check<'g>(
    check: &Check,
    position: usize,
    step: &Step,
    got: &Got<'g>,
    values: &Values,
) -> Option<Failure> {
    let fail = |what: &str, expected: String, got: String| {
        Some(Failure { what: what.to_owned(), expected, got, line: check.line })
    };
    let printed = |stream: fn((&'g Output, &'g Output)) -> &'g Output| {
        got.printed.map_or(Came::whole(&[]), |both| stream(both).into())
    };
    let returned = || match (got.value, got.exit) {
        (Some(value), _) => show_value(value),
        (None, Some(code)) => format!("exit status {}", status::show(code.into())),
        (None, None) => "nothing".to_owned(),
    };
    let want = match check.want.filled(|name| values.get(name).copied()) {
        Ok(want) => want,
        Err(name) => {
            return fail(
                "expectation",
                format!("one with the value of `${name}`"),
                format!("`${name}` has no value"),
            );
        }
    };
    match &*want {
        Want::Success => match (got.value, got.exit) {
            (Some(value), _) if Errno::of(value).is_none() => {
                match (&step.action, short_of(step, value, values)) {
                    (Action::WriteFile { .. }, Some(length)) => {
                        fail("return value", format!("{length}, all that was to be written"), returned())
                    }
                    _ => None,
                }
            }
            (None, Some(0)) => None,
            (None, _) => fail("exit status", "0".into(), returned()),
            (Some(_), _) => fail("return value", "no error".into(), returned()),
        },
        Want::Returns(range) => match got.value {
            Some(value) if returns_hold(range, value, values) => None,
            // The number alone would do: say why it does not.
            Some(value) if holds(range, value.into(), values) => {
                fail("return value", format!("{}, and no error", show_returns(range, values)), returned())
            }
            _ => fail("return value", show_returns(range, values), returned()),
        },
        Want::Errno(errno) => match got.value {
            Some(value) if Errno::of(value) == Some(*errno) => None,
            _ => fail("return value", format!("{errno} ({})", errno.meaning()), returned()),
        },
        Want::Blocks => fail(
            "return value",
            format!("none within {}, as it was to block", time(step.timeout)),
            format!("{} after {}", returned(), time(got.took)),
        ),
        Want::Exit(range) => match got.exit {
            Some(code) if exit_holds(range, code, values) => None,
            _ => fail("exit status", show_range(range, values, status::show), returned()),
        },
        Want::Data(text) => {
            compare(text, got.first(), Ends::Exact).and_then(|(expected, got)| fail("data", expected, got))
        }
        Want::Stdout(text) => compare(text, printed(|(stdout, _)| stdout), Ends::LineEnd)
            .and_then(|(expected, got)| fail("standard output", expected, got)),
        Want::Stderr(text) => compare(text, printed(|(_, stderr)| stderr), Ends::LineEnd)
            .and_then(|(expected, got)| fail("standard error", expected, got)),
        Want::Named(name, range) => {
            let number = buffer(step, name, got).and_then(|(bytes, int)| int?.decode(bytes));
            match number {
                Some(number) if holds(range, number, values) => None,
                Some(number) => fail(name, show_interval(range, values), number.to_string()),
                None => fail(name, show_interval(range, values), "nothing".into()),
            }
        }
        Want::NamedText(name, text) => {
            let bytes = buffer(step, name, got).map_or(&[][..], |(bytes, _)| bytes);
            compare(text, Came::whole(bytes), Ends::Exact)
                .and_then(|(expected, got)| fail(name, expected, got))
        }
        Want::Users(range) => match users(step, got.data.first().copied()) {
            Some(count) if holds(range, count.into(), values) => None,
            Some(count) => fail("users", show_interval(range, values), count.to_string()),
            None => fail("users", show_interval(range, values), "no refusal because of users".into()),
        },
        Want::Events(wanted) => match got.data.first().and_then(|pollfd| poll::came(pollfd)) {
            _ if got.value.is_none_or(|value| value < 0) => fail("events", poll::names(*wanted), returned()),
            Some(events) if events == *wanted => None,
            came => fail("events", poll::names(*wanted), came.map_or("nothing".into(), poll::names)),
        },
        // The judge compares them, who has what was there before.
        Want::Clean => None,
        Want::Within(limit) if got.took <= *limit => None,
        Want::Within(limit) => fail("time", format!("at most {}", time(*limit)), time(got.took)),
        Want::Taint(want) => taint_failure(*want, got.tainted, check.line),
        Want::Log(want) => log_failure(want, got.log.get(position).cloned().flatten(), got.holes, check.line),
    }
}

/// How long the data of a step is of which less was written.
pub fn short_of(step: &Step, value: i64, values: &Values) -> Option<usize> {
    let (Action::Write { data, .. } | Action::WriteFile { data, .. }) = &step.action else { return None };
    let data = data.filled(|name| values.get(name).copied().ok_or(())).ok()?;
    let written = usize::try_from(value).ok()?;
    (written < data.len()).then_some(data.len())
}

/// How many hold a module that could not be removed, as the kernel says.
pub fn users(step: &Step, data: Option<&[u8]>) -> Option<i64> {
    let unload = matches!(step.action, Action::Rmmod { .. } | Action::Reload { .. });
    std::str::from_utf8(data.filter(|_| unload)?).ok()?.trim().parse().ok()
}

/// What /proc/modules says, in short: name, and by how many each is used.
pub fn lsmod(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    let modules: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (name, users) = (fields.next()?, fields.nth(1)?);
            let by = fields.next().filter(|by| *by != "-").map(|by| by.trim_end_matches(','));
            Some(match (users, by) {
                ("0", _) => escape(name),
                (users, None) => format!("{} (used by {})", escape(name), escape(users)),
                (_, Some(by)) => format!("{} (used by {})", escape(name), escape(by)),
            })
        })
        .collect();
    if modules.is_empty() { "none".into() } else { modules.join(", ") }
}

/// The bytes of a named buffer, and their type.
fn buffer<'a>(step: &Step, name: &str, got: &Got<'a>) -> Option<(&'a [u8], Option<Type>)> {
    use scenario::model::Layout;
    let bind = step.binds.iter().find(|bind| bind.name == name)?;
    match &bind.from {
        Origin::Data(index, Layout::Number(int)) => Some((got.data.get(*index)?, Some(*int))),
        Origin::Data(index, Layout::Bytes(_)) => Some((got.data.get(*index)?, None)),
        Origin::Value | Origin::Match(_) => None,
    }
}

/// `EFAULT (Bad address)` or the number.
pub fn show_value(value: i64) -> String {
    match Errno::of(value) {
        Some(errno) => format!("{errno} ({})", errno.meaning()),
        None => value.to_string(),
    }
}

fn resolve(num: &Num, values: &Values) -> Option<i128> {
    match num {
        Num::Int(value) => Some(*value),
        Num::Name(name) => values.get(name).copied(),
    }
}

/// Whether a number is in a range. A bound without a value holds for nothing.
pub fn holds(range: &Interval, number: i128, values: &Values) -> bool {
    let low = range.low.as_ref().is_none_or(|low| resolve(low, values).is_some_and(|low| low <= number));
    let high =
        range.high.as_ref().is_none_or(|high| resolve(high, values).is_some_and(|high| number <= high));
    low && high
}

/// Whether a returned value is in a range. An error is no number that happens to be small: it only is what names it,
/// as EBADF does, or -9.
fn returns_hold(range: &Interval, value: i64, values: &Values) -> bool {
    match Errno::of(value) {
        Some(_) => range.low == range.high && range.low == Some(Num::Int(value.into())),
        None => holds(range, value.into(), values),
    }
}

/// The same for an exit status: one that tells of a signal is in no range but of such statuses, from 128 on. Otherwise only
/// what names it does, as SIGSEGV or 139.
fn exit_holds(range: &Interval, code: i32, values: &Values) -> bool {
    let from = Interval { high: None, ..range.clone() };
    let signals = from.low.is_some() && !holds(&from, i128::from(status::SIGNALLED) - 1, values);
    (signals || !status::is_signal(code)) && holds(range, code.into(), values)
}

/// A range in words.
pub fn show_interval(range: &Interval, values: &Values) -> String {
    show_range(range, values, |value| value.to_string())
}

/// A range of what calls return, in words.
fn show_returns(range: &Interval, values: &Values) -> String {
    show_range(range, values, |value| match i64::try_from(value).ok().and_then(Errno::of) {
        Some(errno) => format!("{value} ({errno})"),
        None => value.to_string(),
    })
}

fn show_range(range: &Interval, values: &Values, number: impl Fn(i128) -> String) -> String {
    let show = |num: &Num| match (num, resolve(num, values)) {
        (Num::Name(name), Some(value)) => format!("{value} (${name})"),
        (Num::Name(name), None) => format!("${name}, which has no value"),
        (Num::Int(value), _) => number(*value),
    };
    match (&range.low, &range.high) {
        (Some(low), Some(high)) if low == high => show(low),
        (Some(low), Some(high)) => format!("{} to {}", show(low), show(high)),
        (Some(low), None) => format!("at least {}", show(low)),
        (None, Some(high)) => format!("at most {}", show(high)),
        (None, None) => "anything".into(),
    }
}

/// What is wrong with what came newly to the kernel's taint.
pub fn taint_failure(want: TaintWant, added: Option<u64>, line: usize) -> Option<Failure> {
    let name = |mask| match mask {
        0 => "nothing new".to_owned(),
        mask => taint::letters(mask),
    };
    let (held, expected) = match want {
        TaintWant::Exactly(mask) => (added == Some(mask), name(mask)),
        TaintWant::AtMost(mask) => {
            (added.is_some_and(|added| added & !mask == 0), format!("at most {}", name(mask)))
        }
    };
    let got = added.map_or_else(|| "nothing: it can't be read in this kernel's memory".to_owned(), name);
    (!held).then(|| Failure { what: TAINT.into(), expected, got, line })
}

/// Whether this line decides an expectation of the log.
pub fn log_match(want: &LogWant, record: &LogRecord) -> bool {
    match want {
        LogWant::Has(text) | LogWant::Lacks(text) => find(record.text.as_bytes(), &text.written()).is_some(),
        LogWant::Matches(regex) => regex.is_match(&record.text),
    }
}

/// What is wrong, given the line that decided, if any did, and what is not known: that may have decided otherwise.
pub fn log_failure(want: &LogWant, line: Option<String>, holes: Holes, at: usize) -> Option<Failure> {
    let unknown = holes.told();
    let known = unknown.is_none();
    let none = unknown.map_or("no such line".to_owned(), |what| format!("no such line, but {what}"));
    let (expected, got) = match (want, line) {
        (LogWant::Has(_) | LogWant::Matches(_), Some(_)) => return None,
        (LogWant::Lacks(_), None) if known => return None,
        (LogWant::Lacks(text), None) => (format!("no line with {}", quote_long(&text.written())), none),
        (LogWant::Has(text), None) => (format!("a line with {}", quote_long(&text.written())), none),
        (LogWant::Matches(regex), None) => (format!("a line that matches /{}/", show_regex(regex)), none),
        (LogWant::Lacks(text), Some(line)) => {
            let at = find(line.as_bytes(), &text.written()).unwrap_or(0);
            (format!("no line with {}", quote_long(&text.written())), quote_around(line.as_bytes(), at))
        }
    };
    Some(Failure { what: LOG.into(), expected, got, line: at })
}
