//! What a failed build's output says, for a person: the first error, and what to do where we know it.

mod beginner;
mod changes;
mod linker;
mod makefiles;
mod message;
mod modpost;
mod places;
mod table;
mod warnings;

pub use modpost::{for_modules, of_namespace};
pub use places::Places;
pub use warnings::{count as count_of_warnings, warnings};

use message::{Message, Severity};
use std::path::Path;

/// The first error of a compiler, linker or make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstError {
    /// `file:line: message`, and the compiler's lines that show the place.
    pub lines: Vec<String>,
    /// What to do, in lines, where that is known.
    pub advice: Vec<String>,
    /// Symbols that modpost misses, and of which nothing is known here.
    pub undefined: Vec<String>,
}

/// What a build's output is read with.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// Whose files they are, and what they are called.
    pub places: Places,
    /// The kernel's release or version: what changed after it is not told.
    pub release: &'a str,
    /// The kernel's `include`.
    pub headers: Option<&'a Path>,
    /// The kernel's whole source, if that is what is built.
    pub source: Option<&'a Path>,
}

/// So many later errors that the kernel's changes explain are told of.
const LATER: usize = 4;
/// So many later errors are looked at: a build can print twenty thousand, each of which is held against all changes.
const LOOKED_AT: usize = 200;

/// Finds the first error in a build's output. `None` when the output names none.
pub fn first_error(lines: &[String], context: &Context) -> Option<FirstError> {
    let lines = plain(lines);
    // Whatever the linker then makes of it, this is why.
    if let Some((line, advice)) = lines.iter().find_map(|line| Some((line, beginner::of_circle(line)?))) {
        let lines = vec![context.places.rename(line)];
        return Some(FirstError { lines, advice: vec![advice], undefined: Vec::new() });
    }
    let missing = linker::missing(&lines);
    if !missing.is_empty() {
        return Some(of_linker(&missing, context));
    }
    let twice = linker::twice(&lines);
    if !twice.is_empty() {
        return Some(of_linker_twice(twice, context));
    }
    let messages = message::messages(&lines);
    let errors: Vec<&Message> = messages.iter().filter(|message| is_compilers(message)).collect();
    if let Some(first) = errors.first() {
        return Some(of_compiler(first, &errors[1..], context));
    }
    let undefined = modpost::undefined(&lines);
    if !undefined.is_empty() {
        let mut error = of_modpost(undefined, context);
        // It shows ten.
        error.lines.extend(
            lines.iter().find(|line| line.contains("suppressed") && line.contains("modpost")).cloned(),
        );
        return Some(error);
    }
    let at = [is_other_error as fn(&str) -> bool, is_make_error]
        .iter()
        .find_map(|is_error| lines.iter().position(|line| is_error(line)))?;
    Some(of_other(&lines[at], &lines[at + 1..], context))
}

/// The first error of anything else. modpost tells of all that it refuses, often for one reason.
fn of_other(first: &str, behind: &[String], context: &Context) -> FirstError {
    let meaning = |line: &str| beginner::of_other(line).or_else(|| modpost::advice(line, context.release));
    let package = beginner::missing_package(&[first.to_owned()]);
    let mut advice: Vec<String> = package.or_else(|| meaning(first)).into_iter().collect();
    let later =
        behind.iter().filter(|line| first.starts_with(modpost::SAYS) && line.starts_with(modpost::SAYS));
    let later: Vec<&String> = later.collect();
    for new in later.iter().take(LOOKED_AT).filter_map(|line| meaning(line)) {
        if advice.len() <= LATER && !advice.contains(&new) {
            advice.push(new);
        }
    }
    let lines = [context.places.rename(first)].into_iter().chain(more(later.len())).collect();
    FirstError { lines, advice, undefined: Vec::new() }
}

/// How many errors are not shown.
fn more(later: usize) -> Option<String> {
    match later {
        0 => None,
        1 => Some("(and 1 more error)".to_owned()),
        more => Some(format!("(and {more} more errors)")),
    }
}

/// The first error of a compiler, and what is known of those that follow: a module of some years ago has many for
/// reasons of one kind, and nobody should have to learn of them one by one.
fn of_compiler(first: &Message, later: &[&Message], context: &Context) -> FirstError {
    let Context { places, release, headers, source } = context;
    let mut lines = first.shown(places);
    let mut told: Vec<Vec<String>> = known(first, release).into_iter().collect();
    let mut advice = told.first().cloned().unwrap_or_else(|| {
        let other = beginner::missing_package(&lines)
            .or_else(|| table::of_disorder(&first.text, (*source)?))
            .or_else(|| beginner::of_compiler(first, *headers));
        other.into_iter().collect()
    });
    for message in later.iter().take(LOOKED_AT) {
        let Some(new) = known(message, release).filter(|new| told.len() <= LATER && !told.contains(new))
        else {
            continue;
        };
        advice.push(message.shown(places).swap_remove(0));
        advice.extend(new.clone());
        told.push(new);
    }
    lines.extend(more(later.len()));
    FirstError { lines, advice, undefined: Vec::new() }
}

/// What the message alone tells, with the tables that are part of this program.
fn known(message: &Message, release: &str) -> Option<Vec<String>> {
    let change = changes::find(message, release).map(|change| change.advice().to_vec());
    change.or_else(|| beginner::of_libc(message).map(|line| vec![line]))
}

fn of_linker(missing: &[linker::Missing], context: &Context) -> FirstError {
    let lines = missing.iter().map(|missing| context.places.rename(&missing.line)).collect();
    let advice = context.source.map(|source| linker::advice(missing, source)).unwrap_or_default();
    FirstError { lines, advice, undefined: Vec::new() }
}

fn of_linker_twice(twice: Vec<(String, Vec<String>)>, context: &Context) -> FirstError {
    let mut advice: Vec<String> = Vec::new();
    for new in twice.iter().take(LOOKED_AT).map(|(name, _)| linker::of_twice(name)) {
        // Of one system call, the doors for 64-bit and for 32-bit programs are each there twice.
        if !advice.contains(&new) {
            advice.push(new);
        }
    }
    let lines = twice.iter().flat_map(|(_, said)| said).map(|line| context.places.rename(line)).collect();
    FirstError { lines, advice, undefined: Vec::new() }
}

fn of_modpost(undefined: Vec<(&str, Vec<&str>)>, context: &Context) -> FirstError {
    let (mut lines, mut advice, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (name, said) in undefined {
        lines.extend(said.iter().map(|line| context.places.rename(line)));
        match changes::find_symbol(name, context.release) {
            Some(change) => {
                let [what, code] = change.advice();
                advice.extend([format!("{name}: {what}"), code]);
            }
            None => unknown.push(name.to_owned()),
        }
    }
    FirstError { lines, advice, undefined: unknown }
}

/// Whether the build ran out of disk.
pub fn is_disk_full(lines: &[String]) -> bool {
    lines.iter().any(|line| line.contains("No space left on device") || line.contains("Disk quota exceeded"))
}

/// gcc's, clang's and rustc's; not what rustc says when it has said all.
fn is_compilers(message: &Message) -> bool {
    message.severity == Severity::Error
        && !message.text.starts_with("aborting due to")
        && !message.text.contains("could not compile")
}

/// Linkers, modpost, shells, make, and the kernel's own checks.
fn is_other_error(line: &str) -> bool {
    line.contains("undefined reference to")
        || line.starts_with("ERROR: ")
        || line.starts_with("ld: ")
        || line.contains(": not found")
        || line.contains("command not found")
        || line.contains("cc1: ")
        || is_makes_own(line)
}

/// What make itself gives up for, `Makefile:3: *** missing 'endif'.  Stop.`, in contrast to what it says of a command that
/// failed.
fn is_makes_own(line: &str) -> bool {
    line.ends_with("Stop.") && line.contains("*** ") && !line.contains("*** [")
}

/// The last resort: `make[2]: *** [Makefile:10: foo.o] Error 1`.
fn is_make_error(line: &str) -> bool {
    line.starts_with("make") && line.contains("***")
}

/// Lines without colours, which ccache asks compilers for whoever reads them, and with plain quotes.
fn plain(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| strip_colour(line).replace(['\u{2018}', '\u{2019}'], "'")).collect()
}

fn strip_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c != '\x1b' {
            plain.push(c);
            continue;
        }
        // CSI: ends with a letter.
        chars.by_ref().find(char::is_ascii_alphabetic);
    }
    plain
}

#[cfg(test)]
#[path = "diagnose_test.rs"]
mod tests;
