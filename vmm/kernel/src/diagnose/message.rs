//! What compilers say, message by message.

use super::places::Places;
use regex::Regex;
use std::sync::LazyLock;

/// Lines of source, marks and notes that are shown with a message.
const SHOWN: usize = 12;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub severity: Severity,
    /// `a.c:1:2`, or what else stands before the severity; empty where nothing does.
    pub place: String,
    /// What stands behind the severity.
    pub text: String,
    /// The whole first line.
    head: String,
    /// Lines of source with marks, and notes with theirs.
    more: Vec<String>,
    /// The files by way of which the compiler came here, the innermost first: `hello.c:1`.
    included: Vec<String>,
}

/// `a.c:1:2: error: text` (gcc, clang), `a.c:1: Error: text` (the assembler), `a.o: warning: objtool: text`, `error[E0425]: text` (rustc).
static HEAD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^(?:([^\s:][^:]*(?::\d+){0,2}): )?([Ff]atal error|[Ee]rror|[Ww]arning|note)(?:\[\w+\])?: (.*)$",
    )
    .expect("a constant that tests use")
});
static INCLUDED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?:In file included|\s+) ?from ([^:]+:\d+)").expect("a constant that tests use")
});
/// Notes that lead to where a macro was used.
const EXPANSION: &str = "in expansion of macro";

/// Takes a build's output apart. Lines that belong to no message are left out.
pub fn messages(lines: &[String]) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut included = Vec::new();
    // A note belongs to the message before it, until something else comes between.
    let mut open = false;
    for line in lines {
        if let Some(found) = INCLUDED.captures(line) {
            included.push(found[1].to_owned());
        } else if let Some(found) = HEAD.captures(line) {
            let place = found.get(1).map_or("", |it| it.as_str());
            let severity = match &found[2] {
                "note" => {
                    included.clear();
                    if let Some(message) = messages.last_mut().filter(|_| open) {
                        message.more.push(line.clone());
                    }
                    continue;
                }
                "warning" | "Warning" => Severity::Warning,
                _ => Severity::Error,
            };
            messages.push(Message {
                severity,
                place: place.to_owned(),
                text: found[3].to_owned(),
                head: line.clone(),
                more: Vec::new(),
                included: std::mem::take(&mut included),
            });
            open = true;
        } else if let Some(text) = line.strip_prefix("WARNING: ") {
            messages.push(Message {
                severity: Severity::Warning,
                place: String::new(),
                text: text.to_owned(),
                head: line.clone(),
                more: Vec::new(),
                included: Vec::new(),
            });
            open = true;
        } else if is_continuation(line) {
            if let Some(message) = messages.last_mut().filter(|_| open) {
                message.more.push(line.clone());
            }
        } else {
            // "a.c: In function 'f':" stands between the files and the message.
            open = false;
            if !line.ends_with(':') {
                included.clear();
            }
        }
    }
    messages
}

/// Lines by which compilers and linkers show the place: `   10 | code`, `      |  ^`, `  +++ |+code`, ` --> a.rs:1:2`,
/// `= note: ...`, `>>> referenced by a.c`; and by which scripts/modules-check.sh lists modules of one name: `  a/x.ko`.
fn is_continuation(line: &str) -> bool {
    // `  LD [M]  a/x.ko` is make's.
    let is_module = |line: &str| line.ends_with(".ko") && !line.contains(' ');
    if line.strip_prefix("  ").is_some_and(is_module) {
        return true;
    }
    let text = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
    !line.trim().is_empty()
        && ["|", "+++ |", "-->", "= ", ">>> "].iter().any(|beginning| text.starts_with(beginning))
}

impl Message {
    /// The line of source that the compiler shows first.
    pub fn source(&self) -> Option<&str> {
        let line =
            self.more.iter().find(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()))?;
        line.split_once('|').map(|(_, code)| code)
    }

    /// Every line of it, for what is looked for anywhere in it.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.text).chain(self.more.iter().map(String::as_str))
    }

    /// As a person should see it: at the innermost line that its author wrote, with the compiler's lines that show
    /// the place.
    pub fn shown(&self, places: &Places) -> Vec<String> {
        let own = |place: &str| places.is_own(place.split(':').next().unwrap_or_default());
        if !self.place.contains(':') || own(&self.place) {
            return self.lines(&self.head, &self.more, places);
        }
        let note = |line: &String| {
            let found = HEAD.captures(line)?;
            let place = found.get(1)?.as_str();
            (own(place) && found[3].contains(EXPANSION)).then(|| place.to_owned())
        };
        let severity = &self.head[self.place.len()..];
        if let Some((at, place)) = self.more.iter().enumerate().find_map(|(at, line)| Some((at, note(line)?)))
        {
            let end = self.more[at + 1..].iter().position(|line| HEAD.is_match(line));
            let more = &self.more[at + 1..end.map_or(self.more.len(), |end| at + 1 + end)];
            return self.lines(&format!("{place}{severity}"), more, places);
        }
        let mut shown = self.lines(&self.head, &self.more, places);
        shown.extend(self.included.iter().find(|place| own(place)).map(|place| {
            places.rename(&format!("{place}: this line includes the file with the {}", self.noun()))
        }));
        shown
    }

    fn noun(&self) -> &'static str {
        match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }

    fn lines(&self, head: &str, more: &[String], places: &Places) -> Vec<String> {
        let mut lines = vec![places.rename(head)];
        let mut misleading = false;
        for line in more {
            if let Some(found) = HEAD.captures(line) {
                // "include <stdlib.h>": the kernel has no C library.
                misleading = found[3].starts_with("include ") && found[3].contains('<');
            }
            // rustc says what to do behind a macro of any length.
            let is_help = line.trim_start().starts_with("= help: ");
            if !misleading && (lines.len() <= SHOWN || is_help) {
                lines.push(places.rename(line));
            }
        }
        lines
    }
}
