//! Lines to results.

use crate::{
    line::{self, Line},
    numbers::Numbers,
    result::{Outcome, Summary, Test},
    stamp,
    totals::{Counted, Totals},
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
    plain: Reader,
    /// A program that prints the kernel's log prints the kernel's tests, which are not in its own plan.
    stamped: Reader,
}

impl Parser {
    /// Nothing is read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a line, without its end.
    pub fn line(&mut self, text: &str) {
        match stamp::strip(text.trim_start_matches([' ', '\t', '#'])) {
            Some(logged) => self.stamped.line(logged),
            None => self.plain.line(text),
        }
    }

    /// What was found. Whatever is not complete by now is not going to be.
    pub fn finish(self) -> Summary {
        let mut all = self.plain.finish();
        let logged = self.stamped.finish();
        all.is_ktap |= logged.is_ktap;
        all.tests.extend(logged.tests);
        all.more = all.more.saturating_add(logged.more);
        all.problems.extend(logged.problems);
        all
    }
}

/// Takes lines that come from one place.
#[derive(Clone, Debug, Default)]
struct Reader {
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
    passed: u64,
    numbers: Numbers,
    /// Its beginning was not announced and not taken: what is seen of it is not all.
    is_partial: bool,
    /// So many failures its totals tell of at the most.
    failures: u64,
    /// What its totals said last.
    totals: Option<Totals>,
    /// Its tests begin here in the list.
    first: usize,
    /// Tests of a level further in begin here, and wait for the result line that they are parts of.
    parts: Option<usize>,
    /// The name of that level, if it said one.
    part_name: Option<String>,
}

impl Reader {
    fn line(&mut self, text: &str) {
        let Some((column, line)) = line::parse(text) else { return };
        if let Line::BailOut(why) = line {
            return self.bail_out(why);
        }
        if let Line::Totals(totals) = line
            && self.open.iter().all(|level| level.column != column)
        {
            return self.lonely(totals);
        }
        if !self.belongs(column, &line) {
            return;
        }
        let is_partial = column > 0 && self.open.is_empty() && matches!(line, Line::Result { .. });
        while self.open.last().is_some_and(|level| level.column > column) {
            self.close();
        }
        if self.open.last().is_none_or(|level| level.column < column) {
            let level = Level { column, is_partial, first: self.done.tests.len(), ..Level::default() };
            self.open.push(level);
            self.done.is_ktap = true;
        } else if self.begins_anew(&line) {
            self.close();
            let level = Level { column, first: self.done.tests.len(), ..Level::default() };
            self.open.push(level);
        }
        self.take(line);
    }

    fn finish(mut self) -> Summary {
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
            Line::Subtest(_) | Line::Plan(..) | Line::Unreadable(_) => match level {
                Some(_) => true,
                // Without an announcement further out, what is indented is a quotation.
                None => (column == 0 || !self.open.is_empty()) && self.open.len() < MAX_DEPTH,
            },
            Line::Result { number, outcome, .. } => match level {
                Some(level) if level.announced => true,
                // Good results without an announcement further out are a quotation; failed ones are better told than lost.
                None if column > 0 && (self.open.is_empty() || self.open.len() >= MAX_DEPTH) => {
                    number.is_some() && *outcome == Outcome::Failed
                }
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
            Line::Plan(..) | Line::Unreadable(_) => level.plan.is_some(),
            _ => false,
        }
    }

    fn take(&mut self, line: Line) {
        let Some(level) = self.open.last_mut() else { return };
        match line {
            Line::Version => level.announced = true,
            Line::Subtest(name) => level.name = Some(name),
            Line::Totals(totals) => self.count(totals),
            Line::Unreadable(plan) => {
                level.announced = true;
                self.problem(format!("the plan `{plan}` is none that can be kept"));
            }
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
                level.passed += u64::from(outcome == Outcome::Passed);
                level.numbers.take(number, outcome == Outcome::Skipped);
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

    /// Totals of results that are there, or are about to end.
    fn count(&mut self, totals: Totals) {
        let Some(level) = self.open.last_mut() else { return };
        match (totals.counted, level.parts) {
            (Counted::Parts, Some(first)) => {
                let failed = self.done.tests.iter().skip(first).any(|test| test.outcome == Outcome::Failed);
                if totals.failed > 0 && !failed && self.done.more == 0 {
                    let of = level.part_name.as_ref().map_or(String::new(), |name| format!(" of `{name}`"));
                    self.untold(&of, totals.failed);
                }
            }
            (Counted::Parts, None) => level.failures = level.failures.max(totals.failed),
            (Counted::Same, _) => {
                level.failures = level.failures.max(totals.failed);
                level.totals = Some(totals);
            }
        }
    }

    /// Totals where no results are. Of good ones there is nothing to say.
    fn lonely(&mut self, totals: Totals) {
        let failed = self.done.tests.iter().any(|test| test.outcome == Outcome::Failed);
        if totals.failed > 0 {
            self.done.is_ktap = true;
            if !failed && self.done.more == 0 {
                self.untold("", totals.failed);
            }
        }
    }

    fn untold(&mut self, of: &str, count: u64) {
        self.problem(format!("the totals{of} tell of {count} failures that are not among the results"));
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
            level.numbers = Numbers::default();
            level.totals = None;
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
        // Some programs count results that they print in words of their own (ksft_inc_pass_cnt()): then the totals tell of all.
        let is_counted = |totals: &Totals| {
            let most = totals.passed.saturating_add(totals.passed_oddly);
            level.plan == Some(totals.all) && totals.failed == 0 && seen < totals.all && level.passed <= most
        };
        let is_counted = !lost_parts && !level.is_partial && level.totals.as_ref().is_some_and(is_counted);
        let missing = match level.plan {
            _ if is_counted => None,
            Some(plan) if plan != seen => Some(format!("{seen} results{of}, where {plan} were planned")),
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
        } else if let Some(highest) = level.numbers.left_out().filter(|_| !level.is_partial && !is_counted) {
            self.problem(format!("{seen} results{of}, numbered up to {highest}"));
        }
        // Without an announcement they may be of several programs in a row.
        if let Some(number) = level.numbers.twice().filter(|_| level.announced) {
            self.problem(format!("several results{of} have the number {number}"));
        }
        let first = level.first.min(self.done.tests.len());
        let failed = self.done.tests[first..].iter().any(|test| test.outcome == Outcome::Failed);
        if level.failures > 0 && !failed && self.done.more == 0 {
            self.untold(&of, level.failures);
        } else if let Some(totals) = level.totals.filter(|_| !level.is_partial && !is_counted) {
            let most = totals.passed.saturating_add(totals.passed_oddly);
            if totals.all != seen || !(totals.passed..=most).contains(&level.passed) {
                let (all, passed, told) = (totals.all, level.passed, totals.passed);
                self.problem(format!(
                    "the totals{of} tell of {all} results, {told} passed, where {seen} are there, {passed} passed"
                ));
            }
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
