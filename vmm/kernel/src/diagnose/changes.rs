//! Interfaces that the kernel no longer has, or has otherwise: what a book or a course of some years ago uses, and
//! what is written instead.
//!
//! They are data, in the text files of `changes/`. An entry is one line or more that say since which version, and by
//! what the compiler's message is known; then, indented, a sentence; then a line of code that is right today:
//!
//! ```text
//! 6.4 args class_create
//! 6.4 member class.owner
//!     a class has no owner
//!     my_class = class_create("my");
//! ```
//!
//! | kind | the message |
//! |---|---|
//! | `call` | a function, macro or constant of this name is not declared, or not exported; `sys_*` is all that begin so |
//! | `args` | it takes other arguments, or is of another type |
//! | `void` | it returns nothing |
//! | `quoted` | this macro takes a string and was given a name |
//! | `type` | there is no such type |
//! | `member` | `structure.field`: it has no such field |
//! | `readonly` | this field can't be assigned to |
//! | `wants` | something of another type was given where a type is wanted that has this in it |
//! | `header` | there is no such header |
//! | `says` | the message has this text; behind ` & `, the line of source has this |
//!
//! Names are separated by commas, but for `wants` and `says`. An entry holds for kernels since its version; `~7.3` says
//! that 7.3 is the first one that was looked at.

use super::message::Message;
use regex::Regex;
use std::sync::LazyLock;

const TABLES: [&str; 4] = [
    include_str!("changes/core.txt"),
    include_str!("changes/drivers.txt"),
    include_str!("changes/files.txt"),
    include_str!("changes/net_and_block.txt"),
];

/// The numbers of the version that a release begins with: `6.12.117-vmm`.
pub(super) fn version(release: &str) -> Vec<u32> {
    let number = release.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
    number.split('.').map_while(|part| part.parse().ok()).collect()
}

/// The first version that has a change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Since {
    version: Vec<u32>,
    /// `in Linux 6.4`.
    text: String,
}

impl Since {
    fn parse(text: &str) -> Self {
        let (known, number) = text.strip_prefix('~').map_or(("in", text), |number| ("by", number));
        Self { version: version(number), text: format!("{known} Linux {number}") }
    }
}

/// By what a message is known.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sign {
    Call(String),
    Args(String),
    Void(String),
    Quoted(String),
    Type(String),
    Member(String, String),
    ReadOnly(String),
    Wants(String),
    Header(String),
    Says(String, String),
}

/// One change of the kernel's interfaces.
#[derive(Clone, Debug)]
pub struct Change {
    signs: Vec<(Since, Sign)>,
    what: String,
    code: String,
}

/// A change that a message shows.
#[derive(Clone, Copy, Debug)]
pub struct Met<'a> {
    since: &'a Since,
    change: &'a Change,
}

impl Met<'_> {
    /// What to tell, in lines.
    pub fn advice(&self) -> [String; 2] {
        let Change { what, code, .. } = self.change;
        [format!("changed {}: {what}; today one writes:", self.since.text), format!("    {code}")]
    }
}

static CHANGES: LazyLock<Vec<Change>> =
    LazyLock::new(|| TABLES.iter().flat_map(|text| parse(text)).collect());

fn parse(table: &str) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    let mut signs = Vec::new();
    let mut what: Option<String> = None;
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match (line.strip_prefix("    "), what.take()) {
            (None, _) => signs.extend(parse_signs(line)),
            (Some(sentence), None) => what = Some(sentence.to_owned()),
            (Some(code), Some(what)) => {
                changes.push(Change { signs: std::mem::take(&mut signs), what, code: code.to_owned() });
            }
        }
    }
    changes
}

fn parse_signs(line: &str) -> Vec<(Since, Sign)> {
    let mut words = line.splitn(3, ' ');
    let (Some(since), Some(kind), Some(rest)) = (words.next(), words.next(), words.next()) else {
        return Vec::new();
    };
    let one = |name: &str| {
        let name = name.to_owned();
        Some(match kind {
            "call" => Sign::Call(name),
            "args" => Sign::Args(name),
            "void" => Sign::Void(name),
            "quoted" => Sign::Quoted(name),
            "type" => Sign::Type(name),
            "member" => {
                name.split_once('.').map(|(of, field)| Sign::Member(of.to_owned(), field.to_owned()))?
            }
            "readonly" => Sign::ReadOnly(name),
            "wants" => Sign::Wants(name),
            "header" => Sign::Header(name),
            "says" => {
                let (message, source) = name.split_once(" & ").unwrap_or((&name, ""));
                Sign::Says(message.to_owned(), source.to_owned())
            }
            _ => return None,
        })
    };
    let names: Vec<&str> = match kind {
        "wants" | "says" => vec![rest],
        _ => rest.split(", ").collect(),
    };
    names.into_iter().filter_map(|name| Some((Since::parse(since), one(name)?))).collect()
}

/// The change that a compiler's message shows, if this kernel has it. Of several, the one that names most.
pub fn find(message: &Message, release: &str) -> Option<Met<'static>> {
    first(release, |sign| sign.is_in(message))
}

/// The change that took away what a linker or modpost misses.
pub fn find_symbol(name: &str, release: &str) -> Option<Met<'static>> {
    first(release, |sign| matches!(sign, Sign::Call(call) if is_named(call, name)))
}

fn first(release: &str, is_met: impl Fn(&Sign) -> bool) -> Option<Met<'static>> {
    let release = version(release);
    CHANGES.iter().find_map(|change| {
        let (since, _) =
            change.signs.iter().find(|(since, sign)| since.version <= release && is_met(sign))?;
        Some(Met { since, change })
    })
}

fn is_named(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

/// Whole identifiers of a text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Whether `type` stands in a text, and not as a part of a longer name.
fn has_type(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + name.len()..].starts_with(is_part))
}

/// The name that a compiler does not know.
pub fn undeclared(text: &str) -> Option<&str> {
    static UNDECLARED: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            "implicit declaration of function '(\\w+)'|call to undeclared (?:library )?function '(\\w+)'\
             |'(\\w+)' undeclared|use of undeclared identifier '(\\w+)'|unknown type name '(\\w+)'\
             |in declaration of '(\\w+)'",
        )
        .expect("a constant that tests use")
    });
    let found = UNDECLARED.captures(text)?;
    found.iter().skip(1).flatten().next().map(|name| name.as_str())
}

/// Said when a name that should be a macro makes no sense to the compiler: which one it does not say.
const NO_SENSE: [&str; 5] = [
    "expected declaration specifiers",
    "expected parameter declarator",
    "type specifier missing",
    "expected '=', ',', ';', 'asm' or '__attribute__' before",
    "expected ';'",
];
/// Said of types that are declared nowhere, or only by their name.
const NO_TYPE: [&str; 6] = [
    "incomplete type",
    "incomplete definition",
    "undefined type",
    "unknown type name",
    "storage size of",
    "undeclared identifier",
];
const OTHER_ARGUMENTS: [&str; 8] = [
    "too many arguments",
    "too few arguments",
    "passing argument",
    " passed ",
    " requires ",
    "incompatible",
    "conflicting types for",
    "redeclaration of",
];
/// clang names no function, but shows the call.
const UNNAMED_ARGUMENTS: [&str; 4] = [
    "arguments to function call",
    "arguments provided to function-like macro",
    " passing '",
    "conversion passing",
];
const NO_VALUE: [&str; 3] = ["void value not ignored", "from incompatible type 'void'", "invalid operands"];

impl Sign {
    fn is_in(&self, message: &Message) -> bool {
        let text = &*message.text;
        let source = message.source().unwrap_or_default();
        let calls = |name: &str| words(source).any(|word| word == name);
        match self {
            Self::Call(call) => {
                let no_sense = NO_SENSE.iter().any(|said| text.contains(said));
                undeclared(text).is_some_and(|name| is_named(call, name)) || no_sense && calls(call)
            }
            Self::Args(name) => {
                let named = text.contains(&format!("'{name}'")) || text.contains(&format!("\"{name}\""));
                named && OTHER_ARGUMENTS.iter().any(|said| text.contains(said))
                    || calls(name) && UNNAMED_ARGUMENTS.iter().any(|said| text.contains(said))
            }
            Self::Void(name) => NO_VALUE.iter().any(|said| text.contains(said)) && calls(name),
            Self::Quoted(name) => (undeclared(text).is_some() || text.contains("expected ")) && calls(name),
            Self::Type(name) => {
                NO_TYPE.iter().any(|said| text.contains(said))
                    && (has_type(text, name) || has_type(source, name))
            }
            Self::Member(of, field) => is_missing_member(text, of, field),
            Self::ReadOnly(field) => {
                text.contains(&format!("read-only member '{field}'"))
                    || text.contains("cannot assign to non-static data member")
                        && text.contains(&format!("'{field}'"))
            }
            Self::Wants(wanted) => {
                text.contains("incompatible") && message.all().any(|line| is_wanted(line, wanted))
            }
            Self::Header(header) => {
                text == format!("{header}: No such file or directory")
                    || text == format!("'{header}' file not found")
            }
            Self::Says(said, in_source) => text.contains(&**said) && source.contains(&**in_source),
        }
    }
}

/// gcc: `'struct s' has no member named 'f'`; clang: `no member named 'f' in 'struct s'`, `field designator 'f' does
/// not refer to any field in type 'const struct s'`. A structure may have a name of its own, without `struct`.
fn is_missing_member(text: &str, of: &str, field: &str) -> bool {
    let missing = ["has no member named", "no member named", "does not refer to any field in type"];
    missing.iter().any(|said| text.contains(said))
        && text.contains(&format!("'{field}'"))
        && text.split('\'').any(|quoted| quoted != field && words(quoted).last() == Some(of))
}

/// Whether a line says that a type is wanted that has this in it.
fn is_wanted(line: &str, wanted: &str) -> bool {
    static WANTED: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            "(?:initialization of|assignment to|initializing|assigning to|parameter of type|expected) '([^']*)'\
             (?: [({]aka '([^']*)')?",
        )
        .expect("a constant that tests use")
    });
    WANTED
        .captures_iter(line)
        .any(|found| found.iter().skip(1).flatten().any(|it| it.as_str().contains(wanted)))
}

#[cfg(test)]
#[path = "changes_test.rs"]
mod tests;
