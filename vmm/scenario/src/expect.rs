//! Expectations of a step, and what those of the whole run have in common with them.

mod run;

use super::errno::Errno;
use super::model::{Check, Ending, EndingKind, Interval, Layout, LogWant, Num, Origin, Span, Text, Want};
use super::node::{Node, Value};
use super::reader::Reader;
use super::status;
use super::template::reference;
use super::value::parse_int;
use base::diagnostic::Diagnostic;

/// What a step's `expect` comes to.
#[derive(Default)]
pub struct StepExpect {
    /// Single expectations; empty if the step should bring about an end.
    pub checks: Vec<Check>,
    /// The end to bring about.
    pub ending: Option<Ending>,
}

/// What a step brings back, and so what can be expected of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Results {
    /// A value or an error.
    Value,
    /// An error, and who still holds the module.
    Unload,
    /// A value or an error, and data.
    Data,
    /// A value or an error, and the events that a descriptor is ready for.
    Events,
    /// An exit status and what was printed.
    Program,
}

const VALUE: &[&str] = &["returns", "errno", "blocks", "within", "log", "taint"];
const UNLOAD: &[&str] = &["returns", "errno", "blocks", "users", "within", "log", "taint"];
const DATA: &[&str] = &["returns", "errno", "blocks", "data", "within", "log", "taint"];
const EVENTS: &[&str] = &["returns", "errno", "blocks", "events", "within", "log", "taint"];
const PROGRAM: &[&str] = &["exit", "stdout", "stderr", "within", "log", "taint"];

impl Results {
    /// The fields of `expect` that are about them.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Value => VALUE,
            Self::Unload => UNLOAD,
            Self::Data => DATA,
            Self::Events => EVENTS,
            Self::Program => PROGRAM,
        }
    }
}

impl StepExpect {
    /// Whether the step should not return in its time.
    pub fn blocks(&self) -> bool {
        self.checks.iter().any(|check| matches!(check.want, Want::Blocks))
    }
}

/// What people write for `blocks`.
const BLOCKS: [&str; 7] = ["timeout", "block", "blocked", "blocking", "hang", "hangs", "hang-idle"];
const SAY_BLOCKS: &str = "write `blocks` for a call that does not return within the step's `timeout` and can be ended, \
                          `{hang: true}` for one that nothing can end";

impl Reader<'_> {
    /// A step's `expect`. `names` are its named buffers.
    pub fn step_expect(
        &mut self,
        node: Option<&Node>,
        line: usize,
        results: Results,
        names: &[(String, Span, Origin)],
    ) -> StepExpect {
        let mut expect = StepExpect::default();
        for (name, span, _) in names {
            let ending = EndingKind::NAMES.iter().any(|(ending, _)| ending == name);
            if ending || name == "timeout" || results.fields().contains(&&**name) {
                let why =
                    format!("`{name}` has a meaning of its own in `expect`, so no buffer can be called that");
                let help = format!("give it another name, like `as: {name}_out`");
                self.errors.push(Diagnostic::new(span, why).help(help));
            }
        }
        if let Some(node) = node {
            match &node.value {
                Value::Map(_) => self.step_expect_map(node, results, names, &mut expect),
                _ => {
                    let line = self.line(&node.span);
                    let want = match (results, node.text()) {
                        (Results::Program, _) => self.exit_status(node).map(Want::Exit),
                        (_, Some("blocks")) => Some(Want::Blocks),
                        _ => self.value_or_errno(node),
                    };
                    expect.checks.extend(want.map(|want| Check { line, want }));
                }
            }
        }
        let decided = |check: &Check| {
            matches!(
                check.want,
                Want::Returns(_) | Want::Errno(_) | Want::Exit(_) | Want::Blocks | Want::Events(_)
            )
        };
        if expect.ending.is_none() && !expect.checks.iter().any(decided) {
            expect.checks.insert(0, Check { line, want: Want::Success });
        }
        expect
    }

    /// Numbers that a call returns.
    fn returned(&mut self, node: &Node) -> Option<Interval> {
        let as_returned = |bound| match bound {
            Num::Int(number) => Num::Int(as_returned(number).into()),
            name => name,
        };
        let Interval { low, high } = self.interval(node, "a number")?;
        let range = Interval { low: low.map(as_returned), high: high.map(as_returned) };
        match (&range.low, &range.high) {
            (Some(Num::Int(low)), Some(Num::Int(high))) if low > high => self.error(
                Diagnostic::new(&node.span, format!("no call returns a number from {low} to {high}"))
                    .help("above the largest `long`, as in `0xfffffffffffffff2`, a number is the negative one with the same bits"),
            ),
            _ => Some(range),
        }
    }

    /// `5`, `$fd` or `EFAULT`.
    fn value_or_errno(&mut self, node: &Node) -> Option<Want> {
        let text = node.text().unwrap_or_default();
        if reference(text).is_some() || parse_int(text).is_some() {
            return self.returned(node).map(Want::Returns);
        }
        if text.starts_with('E') {
            return self.errno(node).map(Want::Errno);
        }
        self.expected::<()>(
            node,
            "what the step returns: a number, an error like `EFAULT`, or a map like `{returns: 0}`",
        );
        if BLOCKS.contains(&text) { self.last_help(SAY_BLOCKS) } else { None }
    }

    /// A status, a range of them, or the signal that ends the program: `3`, `{at-least: 1}`, `SIGSEGV`.
    fn exit_status(&mut self, node: &Node) -> Option<Interval> {
        let text = node.text().unwrap_or_default();
        let number = match text.starts_with("SIG") {
            true => status::named(text).map(i128::from),
            false => parse_int(text).map(status::meant),
        };
        match number {
            Some(number) if !(0..=255).contains(&number) => self.error(
                Diagnostic::new(&node.span, format!("no program exits with {number}: it is 0 to 255"))
                    .help("write the name of the signal, like `SIGSEGV`, for one that a signal ends"),
            ),
            Some(number) => Some(Interval { low: Some(Num::Int(number)), high: Some(Num::Int(number)) }),
            None if text.starts_with("SIG") => {
                self.expected(node, "an exit status like `3`, or a signal's name like `SIGSEGV`")
            }
            None => self.interval_within(node, "an exit status", 0, 255),
        }
    }

    fn errno(&mut self, node: &Node) -> Option<Errno> {
        let text = self.text(node, "the name of an error like `EFAULT`")?;
        if let Some(errno) = Errno::named(&text) {
            return Some(errno);
        }
        let names: Vec<String> = Errno::all().map(|(name, _)| name).collect();
        self.error(
            Diagnostic::new(&node.span, format!("unknown error `{text}`"))
                .nearest(&text, names.iter().map(String::as_str)),
        )
    }

    fn step_expect_map(
        &mut self,
        node: &Node,
        results: Results,
        names: &[(String, Span, Origin)],
        expect: &mut StepExpect,
    ) {
        let Some(mut fields) = self.fields(node, "`expect`") else { return };
        expect.ending = self.ending(&mut fields);
        if expect.ending.as_ref().is_some_and(|ending| ending.kind == EndingKind::BootFailed) {
            self.errors.push(Diagnostic::new(
                &node.span,
                "no step can bring about `boot-failed`: it belongs into the scenario's own `expect`",
            ));
        }
        let known = results.fields();
        let mut wants: Vec<(usize, Want)> = Vec::new();
        if !known.contains(&"data")
            && let Some(node) = fields.take("data")
        {
            self.errors.push(
                Diagnostic::new(&node.span, "this step brings no data back that could be compared")
                    .help("a system call does if it has a buffer for it, like `{out: 16}`; what a program prints is its `stdout`"),
            );
        }
        if let Some(node) = fields.take("timeout") {
            let error = Diagnostic::new(&node.span, "`timeout` is no expectation");
            self.errors.push(error.help(SAY_BLOCKS));
        }
        if let (Some(_), Some(_)) = (fields.take("returns"), fields.take("errno")) {
            self.errors.push(Diagnostic::new(
                &fields.span,
                "a step returns either a value or an error: `returns` and `errno` exclude each other",
            ));
        }
        for &field in known {
            let Some(node) = fields.take(field) else { continue };
            let line = self.line(&node.span);
            let mut one = |want: Option<Want>| wants.extend(want.map(|want| (line, want)));
            match field {
                "returns" if matches!(node.value, Value::Map(_)) => {
                    one(self.returned(node).map(Want::Returns));
                }
                "returns" => one(self.value_or_errno(node)),
                "errno" => one(self.errno(node).map(Want::Errno)),
                "blocks" => one(self.choice(node, "`true`", &[("true", ())]).map(|()| Want::Blocks)),
                "events" => one(self.events_or_none(node).map(Want::Events)),
                "users" => one(self.interval(node, "how many hold the module").map(Want::Users)),
                "within" => one(self.duration(node, "`within`").map(Want::Within)),
                "exit" => one(self.exit_status(node).map(Want::Exit)),
                "taint" => one(self.taint(node).map(Want::Taint)),
                "log" => wants.extend(self.log(node).into_iter().map(|(want, line)| (line, Want::Log(want)))),
                _ => {
                    let wrap = match field {
                        "data" => Want::Data,
                        "stdout" => Want::Stdout,
                        _ => Want::Stderr,
                    };
                    wants.extend(self.text_checks(node).into_iter().map(|(text, line)| (line, wrap(text))));
                }
            }
        }
        for (name, _, origin) in names {
            let (Some(node), Origin::Data(_, layout)) = (fields.take(name), origin) else { continue };
            let line = self.line(&node.span);
            match layout {
                Layout::Number(int) => {
                    let (low, high) = int.bounds();
                    let what = format!("a number of the type `{}`", layout.name());
                    let range = self.interval_within(node, &what, low, high);
                    wants.extend(range.map(|range| (line, Want::Named(name.clone(), range))));
                }
                Layout::Bytes(_) => wants.extend(
                    self.text_checks(node)
                        .into_iter()
                        .map(|(text, line)| (line, Want::NamedText(name.clone(), text))),
                ),
            }
        }
        // No step can bring about the other one.
        let endings = EndingKind::NAMES
            .iter()
            .filter(|(_, kind)| *kind != EndingKind::BootFailed)
            .map(|(name, _)| *name);
        let known: Vec<&str> =
            known.iter().copied().chain(names.iter().map(|name| &*name.0)).chain(endings).collect();
        fields.end(self, &known);
        expect.checks = wants.into_iter().map(|(line, want)| Check { line, want }).collect();
        let beside = |check: &Check| matches!(check.want, Want::Blocks) || check.want.is_of_evidence();
        if expect.blocks() && !expect.checks.iter().all(beside) {
            self.errors.push(
                Diagnostic::new(&node.span, "a step that should block returns nothing to expect")
                    .help("only `log` and `taint` can be expected beside it"),
            );
        }
        // A splat lets the step return; whatever else ends it leaves only evidence.
        if let Some(ending) = &expect.ending
            && ending.kind != EndingKind::Splat
            && !expect.checks.iter().all(|check| check.want.is_of_evidence())
        {
            self.errors.push(
                Diagnostic::new(
                    &node.span,
                    format!("a step that should end in `{}` returns nothing to expect", ending.kind.name()),
                )
                .help("only `log` and `taint` can be expected beside it"),
            );
        }
    }

    /// Text to compare with exactly, or a map of ways to compare; each with its line.
    fn text_checks(&mut self, node: &Node) -> Vec<(Text, usize)> {
        const WAYS: &[&str] = &["equals", "contains", "lacks", "matches", "bytes"];
        if !matches!(node.value, Value::Map(_)) {
            let text = self.data(node, "text").map(|data| (Text::Equals(data), self.line(&node.span)));
            return text.into_iter().collect();
        }
        let Some(mut fields) = self.fields(node, "a comparison") else { return Vec::new() };
        let mut checks = Vec::new();
        for &way in WAYS {
            let Some(node) = fields.take(way) else { continue };
            for node in self.some_items(node, "text or a list of texts").unwrap_or_default() {
                let check = match way {
                    "contains" | "lacks" | "matches" if self.is_empty(node) => None,
                    "equals" => self.data(node, "text").map(Text::Equals),
                    "contains" => self.data(node, "text").map(Text::Contains),
                    "lacks" => self.data(node, "text").map(Text::Lacks),
                    "bytes" => self.hex(node).map(|bytes| Text::Equals(bytes.into())),
                    _ => self.telling_regex(node).map(Text::Matches),
                };
                checks.extend(check.map(|check| (check, self.line(&node.span))));
            }
        }
        if checks.is_empty() && fields.keys().next().is_none() {
            self.expected::<()>(node, "text, or a map like `{contains: text}`");
        }
        fields.end(self, WAYS);
        checks
    }

    /// Whether a text is empty, which every other text contains: that is an error.
    fn is_empty(&mut self, node: &Node) -> bool {
        let no_bytes = |(_, value): &(Node, Node)| value.text().is_some_and(|text| text.trim().is_empty());
        let empty = match &node.value {
            Value::Map(entries) => entries.iter().any(no_bytes),
            _ => node.text() == Some(""),
        };
        if empty {
            let error =
                Diagnostic::new(&node.span, "an empty text is part of every text, so this says nothing");
            self.errors.push(error.help("name what should be looked for"));
        }
        empty
    }

    /// How often something happens.
    fn how_often(&mut self, node: &Node) -> Option<Interval> {
        let interval = self.interval(node, "how often")?;
        for bound in [&interval.low, &interval.high].into_iter().flatten() {
            if let Num::Int(number @ ..0) = bound {
                return self.error(Diagnostic::new(&node.span, format!("nothing happens {number} times")));
            }
        }
        if interval == (Interval { low: Some(Num::Int(0)), high: None }) {
            let error =
                Diagnostic::new(&node.span, "everything happens at least 0 times, so this says nothing");
            return self.error(error.help("write `{at-least: 1}`, or `0` for never"));
        }
        Some(interval)
    }

    /// Expectations of log lines.
    fn log(&mut self, node: &Node) -> Vec<(LogWant, usize)> {
        const WAYS: &[&str] = &["has", "lacks", "matches"];
        let mut wants = Vec::new();
        let mut add = |reader: &mut Self, way: &str, node: &Node| {
            for node in reader.some_items(node, "a text or a list of texts").unwrap_or_default() {
                let want = match way {
                    _ if reader.is_empty(node) => None,
                    "has" => reader.data(node, "a text").map(LogWant::Has),
                    "lacks" => reader.data(node, "a text").map(LogWant::Lacks),
                    _ => reader.telling_regex(node).map(LogWant::Matches),
                };
                let line = reader.line(&node.span);
                wants.extend(want.map(|want| (want, line)));
            }
        };
        if let Value::Map(_) = node.value {
            let Some(mut fields) = self.fields(node, "`log`") else { return wants };
            if fields.keys().next().is_none() {
                self.expected::<()>(
                    node,
                    "text that the kernel logs, or a map like `{has: text, lacks: BUG}`",
                );
            }
            for &way in WAYS {
                if let Some(node) = fields.take(way) {
                    add(self, way, node);
                }
            }
            fields.end(self, WAYS);
        } else {
            add(self, "has", node);
        }
        wants
    }
}

/// What a call returns as this number: above the largest `long` it is the two's complement of a negative one.
fn as_returned(number: i128) -> i64 {
    number as i64
}

#[cfg(test)]
#[path = "expect_test.rs"]
mod tests;
