//! Lines to results.

use crate::{
    line::{self, Line},
    result::{Outcome, Summary, Test},
};

/// So many tests are kept.
const MAX_TESTS: usize = 10_000;
/// So many problems are kept: nobody reads more.
const MAX_PROBLEMS: usize = 100;
/// Tests further in are taken for text.
const MAX_DEPTH: usize = 16;

/// Takes lines one by one.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    /// What is being read, the outermost first. Each is indented further than the one before.
    open: Vec<Level>,
    done: Summary,
}

/// Tests of one indentation.
#[derive(Clone, Debug, Default)]
struct Level {
    column: usize,
    name: Option<String>,
    /// A version line or a plan said that results come.
    announced: bool,
    plan: Option<u64>,
    seen: u64,
    highest: u64,
    /// What its totals say of failures.
    totals: u64,
    /// Its tests begin here in the list.
    first: usize,
    /// Tests of a level further in begin here, and wait for the result line that they are parts of.
    parts: Option<usize>,
    /// The name of that level, if it said one.
    part_name: Option<String>,
}

impl Parser {
    /// Nothing is read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a line, without its end.
    pub fn line(&mut self, text: &str) {
        let Some((column, line)) = line::parse(text) else { return };
        if let Line::BailOut(why) = line {
            return self.bail_out(why);
        }
        if !self.belongs(column, &line) {
            return;
        }
        while self.open.last().is_some_and(|level| level.column > column) {
            self.close();
        }
        if self.open.last().is_none_or(|level| level.column < column) {
            let level = Level { column, first: self.done.tests.len(), ..Level::default() };
            self.open.push(level);
            self.done.is_ktap = true;
        } else if self.begins_anew(&line) {
            self.close();
            let level = Level { column, first: self.done.tests.len(), ..Level::default() };
            self.open.push(level);
        }
        self.take(line);
    }

    /// What was found. Whatever is not complete by now is not going to be.
    pub fn finish(mut self) -> Summary {
        while !self.open.is_empty() {
            self.close();
        }
        self.done
    }

    /// Whether a line is one of the results that are being read, or begins some.
    fn belongs(&self, column: usize, line: &Line) -> bool {
        let level = self.open.iter().find(|level| level.column == column);
        match line {
            Line::Version => level.is_some() || self.open.len() < MAX_DEPTH,
            Line::Subtest(_) | Line::Plan(..) => match level {
                Some(_) => true,
                // Without an announcement further out, what is indented is a quotation.
                None => (column == 0 || !self.open.is_empty()) && self.open.len() < MAX_DEPTH,
            },
            Line::Result { number, outcome, .. } => match level {
                Some(level) if level.announced => true,
                None if column > 0 && (self.open.is_empty() || self.open.len() >= MAX_DEPTH) => false,
                // "ok" alone is a word that programs say; "not ok" at the beginning of a line is no good news.
                _ => number.is_some() || (column == 0 && *outcome == Outcome::Failed),
            },
            Line::Totals(_) => level.is_some(),
            Line::BailOut(_) => true,
        }
    }

    /// Whether a line can't belong to the same tests as those before it at its indentation.
    fn begins_anew(&self, line: &Line) -> bool {
        let Some(level) = self.open.last() else { return false };
        match line {
            Line::Version => level.seen > 0 || level.plan.is_some(),
            Line::Plan(..) => level.plan.is_some(),
            _ => false,
        }
    }

    fn take(&mut self, line: Line) {
        let Some(level) = self.open.last_mut() else { return };
        match line {
            Line::Version => level.announced = true,
            Line::Subtest(name) => level.name = Some(name),
            Line::Totals(failed) => level.totals = level.totals.max(failed),
            Line::Plan(count, skipped) => {
                level.announced = true;
                level.plan = Some(count);
                if let (0, Some(why)) = (count, skipped) {
                    let path = vec![level.name.clone().unwrap_or_else(|| "all tests".to_owned())];
                    let why = (!why.is_empty()).then_some(why);
                    self.keep(Test { path, outcome: Outcome::Skipped, why, has_parts: false });
                }
            }
            Line::Result { number, name, outcome, why } => {
                level.seen += 1;
                level.highest = level.highest.max(number.unwrap_or(0));
                let name = match (name.is_empty(), level.part_name.take()) {
                    (false, _) => name,
                    (true, Some(name)) => name,
                    (true, None) => format!("test {}", number.unwrap_or(level.seen)),
                };
                let parts = level.parts.take();
                if let Some(first) = parts {
                    self.name_parts(first, &name);
                }
                self.keep(Test { path: vec![name], outcome, why, has_parts: parts.is_some() });
            }
            Line::BailOut(_) => {}
        }
    }

    fn name_parts(&mut self, first: usize, name: &str) {
        for test in self.done.tests.iter_mut().skip(first) {
            test.path.insert(0, name.to_owned());
        }
    }

    fn keep(&mut self, test: Test) {
        if self.done.tests.len() < MAX_TESTS {
            self.done.tests.push(test);
            return;
        }
        self.done.more = self.done.more.saturating_add(1);
        if test.outcome == Outcome::Failed {
            self.problem(format!("`{}` failed", test.name()));
        }
    }

    fn problem(&mut self, text: String) {
        if self.done.problems.len() < MAX_PROBLEMS && !self.done.problems.contains(&text) {
            self.done.problems.push(text);
        }
    }

    /// Nothing more is going to come of what is being read; that tests are missing needs no saying.
    fn bail_out(&mut self, why: String) {
        self.done.is_ktap = true;
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        self.problem(format!("the tests were given up (Bail out!){why}"));
        for level in &mut self.open {
            level.plan = None;
            level.highest = 0;
            level.announced = false;
        }
        while !self.open.is_empty() {
            self.close();
        }
    }

    /// Ends the innermost tests: are they all there?
    fn close(&mut self) {
        let Some(level) = self.open.pop() else { return };
        // Parts whose own result never came.
        let lost_parts = level.parts.is_some();
        if let Some(first) = level.parts {
            self.name_parts(first, level.part_name.as_deref().unwrap_or("unnamed"));
        }
        let of = level.name.as_ref().map_or(String::new(), |name| format!(" of `{name}`"));
        let seen = level.seen;
        let missing = match level.plan {
            Some(plan) if plan != seen => Some(format!("{seen} results{of}, where {plan} were planned")),
            None if level.highest > seen => {
                Some(format!("{seen} results{of}, numbered up to {}", level.highest))
            }
            None if level.announced && seen == 0 => {
                Some(format!("no results{of}, though some were announced"))
            }
            _ if lost_parts => {
                Some(format!("the result of a test{of} is missing, those of its parts are there"))
            }
            _ => None,
        };
        if let Some(missing) = missing {
            self.problem(missing);
        }
        let first = level.first.min(self.done.tests.len());
        let failed = self.done.tests[first..].iter().any(|test| test.outcome == Outcome::Failed);
        if level.totals > 0 && !failed && self.done.more == 0 {
            let count = level.totals;
            self.problem(format!("the totals{of} tell of {count} failures that are not among the results"));
        }
        if let Some(outer) = self.open.last_mut() {
            // Several in a row belong to the same result.
            outer.parts.get_or_insert(first);
            if level.name.is_some() {
                outer.part_name = level.name;
            }
        }
    }
}
