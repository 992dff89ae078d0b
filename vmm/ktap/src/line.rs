//! One line: what it says, and how far it is indented.

use crate::{
    result::Outcome,
    totals::{self, Totals},
};
use std::borrow::Cow;

/// Longer descriptions are cut, in bytes.
const LONGEST: usize = 512;
/// The deepest indentation that is looked at, in columns.
const DEEPEST: usize = 64;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// `KTAP version 1`, `TAP version 13`: here results begin.
    Version,
    /// `1..5`, and whether all of them are skipped, and why.
    Plan(u64, Option<String>),
    /// `ok 1 name # SKIP why`
    Result { number: Option<u64>, name: String, outcome: Outcome, why: Option<String> },
    /// `# Subtest: name`: the name of what is indented like this.
    Subtest(String),
    /// `1..99999999999999999999`: a plan of which no number can be made.
    Unreadable(String),
    /// `# Totals: pass:1 fail:0 ...`
    Totals(Totals),
    /// `Bail out!`, and why.
    BailOut(String),
}

/// The column where a line's own text begins, and what it says; `None` for text that is no part of KTAP.
///
/// What is indented belongs to a test further out. That is done by spaces, or, by kselftest's runner, by `# `.
pub fn parse(line: &str) -> Option<(usize, Line)> {
    let line = uncoloured(line);
    let mut rest = line.trim_end();
    let mut column = 0;
    while column <= DEEPEST {
        if let Some(diagnostic) = rest.strip_prefix('#') {
            if let Some(found) = diagnosis(diagnostic.trim_start()) {
                return Some((column, found));
            }
            // A comment, or one more indentation.
            rest = rest.strip_prefix("# ")?;
            column += 2;
        } else if let Some(inner) = rest.strip_prefix(' ') {
            rest = inner;
            column += 1;
        } else if let Some(inner) = rest.strip_prefix('\t') {
            // A tab is as wide as it looks at the most.
            rest = inner;
            column += 8;
        } else {
            return plain(rest).map(|found| (column, found));
        }
    }
    None
}

/// A line without what sets a terminal's colours and moves its cursor: control sequences as of ECMA-48, section 5.4.
fn uncoloured(line: &str) -> Cow<'_, str> {
    let (mut shown, mut rest) = (String::new(), line);
    while let Some((before, behind)) = rest.split_once("\x1b[") {
        shown.push_str(before);
        // Parameters and what comes between, then one letter or sign.
        rest = behind.trim_start_matches(|c| (' '..='?').contains(&c));
        rest = rest.strip_prefix(|c| ('@'..='~').contains(&c)).unwrap_or(rest);
    }
    match shown.is_empty() && rest.len() == line.len() {
        true => Cow::Borrowed(line),
        false => Cow::Owned(shown + rest),
    }
}

fn diagnosis(text: &str) -> Option<Line> {
    if let Some(name) = text.strip_prefix("Subtest:") {
        return Some(Line::Subtest(cut(name.trim())));
    }
    totals::parse(text).map(Line::Totals)
}

fn plain(text: &str) -> Option<Line> {
    let version = text.strip_prefix("KTAP version ").or_else(|| text.strip_prefix("TAP version "));
    if version.is_some_and(|number| number.trim().parse::<u32>().is_ok()) {
        return Some(Line::Version);
    }
    const BAIL_OUT: &str = "Bail out!";
    // TAP does not mind upper and lower case here.
    if let Some((said, why)) = text.split_at_checked(BAIL_OUT.len())
        && said.eq_ignore_ascii_case(BAIL_OUT)
    {
        return Some(Line::BailOut(cut(why.trim())));
    }
    if let Some(found) = totals::old(text) {
        return Some(Line::Totals(found));
    }
    if let Some(rest) = text.strip_prefix("1..") {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (count, rest) = rest.split_at(digits);
        let rest = rest.trim();
        if !rest.is_empty() && !rest.starts_with('#') {
            return None;
        }
        let skipped = directive(rest.trim_start_matches('#')).filter(|(word, _)| *word == "SKIP");
        if count.is_empty() {
            return None;
        }
        let Ok(planned) = count.parse() else { return Some(Line::Unreadable(cut(text))) };
        return Some(Line::Plan(planned, skipped.map(|(_, why)| cut(why))));
    }
    result(text)
}

fn result(text: &str) -> Option<Line> {
    let (good, rest) = match text.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok")?),
    };
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return None;
    }
    let rest = rest.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = match rest[digits..].chars().next() {
        None | Some(' ' | '\t') => (totals::number(&rest[..digits]), rest[digits..].trim_start()),
        // `ok 2nd try` has no number.
        Some(_) => (None, rest),
    };
    let (name, behind) = split(rest);
    let name = name.trim();
    let name = name.strip_prefix("- ").unwrap_or(name).trim();
    let (word, why) = match behind.map(|behind| (directive(behind), behind)) {
        Some((Some((word, why)), _)) => (word, why),
        Some((None, why)) => ("", why.trim()),
        None => ("", ""),
    };
    let outcome = match (good, word) {
        (_, "SKIP") => Outcome::Skipped,
        (false, "TODO" | "XFAIL") => Outcome::ExpectedFailure,
        // kselftest.h says `ok 1 # XFAIL name`.
        (true, "XFAIL") => Outcome::ExpectedFailure,
        (true, _) => Outcome::Passed,
        (false, _) => Outcome::Failed,
    };
    // kselftest.h says the name behind the directive where there is one: `ok 3 # SKIP name`.
    let (name, why) = if name.is_empty() { (why, "") } else { (name, why) };
    // TIMEOUT and ERROR are directives too, and say why it failed.
    let why = match word {
        "TIMEOUT" | "ERROR" | "XPASS" => format!("{word} {why}").trim().to_owned(),
        _ => why.to_owned(),
    };
    let name = cut(&name.replace("\\#", "#"));
    Some(Line::Result { number, name, outcome, why: (!why.is_empty()).then(|| cut(&why)) })
}

/// A description, and what stands behind the `#` that ends it; `\#` is none.
fn split(text: &str) -> (&str, Option<&str>) {
    if let Some(behind) = text.strip_prefix('#') {
        return ("", Some(behind));
    }
    let at = text.match_indices(" #").find(|(at, _)| {
        let behind = &text[at + 2..];
        behind.is_empty() || behind.starts_with(' ') || directive(behind).is_some()
    });
    at.map_or((text, None), |(at, _)| (&text[..at], Some(&text[at + 2..])))
}

/// `SKIP why`: the directive and what follows it. TAP does not mind upper and lower case.
fn directive(text: &str) -> Option<(&'static str, &str)> {
    const WORDS: [&str; 6] = ["SKIP", "TODO", "XFAIL", "TIMEOUT", "ERROR", "XPASS"];
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let word = WORDS.into_iter().find(|word| word.eq_ignore_ascii_case(&text[..end]))?;
    Some((word, text[end..].trim_start_matches([':', '=']).trim()))
}

fn cut(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &text[..end])
}
