//! Kernel configuration: what fragments ask for, and whether it survived.
//!
//! `make olddefconfig` drops what can't be had without a word. So everything that was asked for is looked
//! up in its result.

use crate::kconfig;
use base::unpack::UnpackError;
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Why a configuration can't be had.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A fragment can't be read.
    #[error("read {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A line is no assignment.
    #[error(
        "read {}, line {line}: expected CONFIG_NAME=value or \"# CONFIG_NAME is not set\", found: {text}",
        path.display()
    )]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// A file is not what it was named as.
    #[error("use {} as {wanted}: {found}", path.display())]
    Other {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
        /// What speaks against it.
        found: String,
    },
    /// A file can't be unpacked.
    #[error("unpack {}: {source}", path.display())]
    Compressed {
        /// Which.
        path: PathBuf,
        /// Why.
        source: UnpackError,
    },
    /// A kernel without what every kernel is asked for here, through no change of anybody's.
    #[error(
        "configure the kernel: Linux {version} has not all that vmm's own configuration asks for; \
         docs/kernels.md has the versions that it is made for, and --config names another one:{}",
        list(.lost)
    )]
    Unfit {
        /// The kernel's version.
        version: String,
        /// What it has not.
        lost: Vec<Lost>,
    },
    /// Symbols that were asked for and are not in the result.
    #[error("configure the kernel: {} did not survive `make olddefconfig`:{}", count(.0), list(.0))]
    Lost(Vec<Lost>),
}

fn count(lost: &[Lost]) -> String {
    match lost.len() {
        1 => "a symbol".to_owned(),
        n => format!("{n} symbols"),
    }
}

fn list(lost: &[Lost]) -> String {
    lost.iter().map(|lost| format!("\n  {lost}")).collect()
}

/// One line of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Without `CONFIG_`.
    pub symbol: String,
    /// `y`, `m`, `n`, a number, or a string in its quotes.
    pub value: String,
    /// The fragment.
    pub path: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// Whether it has to be granted.
    pub need: Need,
    /// It is asked for only in kernels that are older than this version: its first two numbers.
    pub before: Option<(u32, u32)>,
}

/// How much a symbol is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// Without it there is no kernel.
    #[default]
    Must,
    /// A kernel that has no such symbol at all will do too.
    IfKnown,
    /// A kernel that can't have it will do too.
    IfPossible,
}

/// Lines that say so of the next symbol: fragments have to serve kernels of many versions, and are not all ours.
const NEEDS: [(&str, Need); 2] = [("# if-known", Need::IfKnown), ("# if-possible", Need::IfPossible)];

/// A line that asks for the next symbol only in kernels before a version, such as `# before 6.9`, and there only if they know it.
const BEFORE: &str = "# before ";

/// What is said of a symbol that no Kconfig file has.
const UNKNOWN: &str =
    "no Kconfig file of this kernel knows it; `# if-known` above its line asks for it only of those that do";

/// A symbol that was asked for in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Who asked.
    pub request: Request,
    /// What the result has; `None` for nothing at all.
    pub got: Option<String>,
    /// Why, as far as the kernel's Kconfig files tell.
    pub why: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { symbol, value, path, line, .. } = &self.request;
        let fate = self.got.as_ref().map_or("was dropped".to_owned(), |got| format!("became {got}"));
        write!(f, "{}:{line}: CONFIG_{symbol}={value} {fate}; {}", path.display(), self.why)
    }
}

/// Reads a fragment.
///
/// # Errors
/// [`ConfigError::Syntax`] for the first line that is none.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Request>, ConfigError> {
    let mut requests = Vec::new();
    let (mut need, mut before) = (Need::Must, None);
    for (index, text) in text.lines().enumerate() {
        let trimmed = text.trim();
        if let Some((_, said)) = NEEDS.iter().find(|(line, _)| *line == trimmed) {
            need = *said;
            continue;
        }
        if let Some(version) = trimmed.strip_prefix(BEFORE).and_then(version) {
            (need, before) = (Need::IfKnown, Some(version));
            continue;
        }
        let (symbol, value) = if let Some((symbol, value)) = request(trimmed) {
            (symbol.to_owned(), value.to_owned())
        } else if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        } else {
            let path = path.to_owned();
            return Err(ConfigError::Syntax { path, line: index + 1, text: trimmed.to_owned() });
        };
        requests.push(Request { symbol, value, path: path.to_owned(), line: index + 1, need, before });
        (need, before) = (Need::Must, None);
    }
    Ok(requests)
}

/// `6.9` of `6.9` or `6.9.12`.
pub(crate) fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Leaves out what is asked for only in kernels that are older than this one.
pub fn keep_for(requests: &mut Vec<Request>, kernel: &str) {
    let kernel = version(kernel);
    requests.retain(|request| request.before.is_none_or(|before| kernel.is_some_and(|it| it < before)));
}

/// What a line asks for: `CONFIG_NAME=value`, or `# CONFIG_NAME is not set`. Every run reads hundreds: an expression would take longer to be
/// compiled than all of them to be read.
fn request(line: &str) -> Option<(&str, &str)> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let digits = |text: &str, is: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(is);
    let is_value = |value: &str| match value {
        "y" | "m" | "n" => true,
        value if value.len() > 1 && value.starts_with('"') => value.ends_with('"'),
        value => match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
            Some(hex) => digits(hex, u8::is_ascii_hexdigit),
            None => digits(value.strip_prefix('-').unwrap_or(value), u8::is_ascii_digit),
        },
    };
    let (symbol, value) = match line.strip_prefix('#') {
        Some(comment) => (comment.trim_start().strip_prefix("CONFIG_")?.strip_suffix(" is not set")?, "n"),
        None => line.strip_prefix("CONFIG_")?.split_once('=')?,
    };
    (is_name(symbol) && is_value(value)).then_some((symbol, value))
}

/// Of several requests for one symbol the last one counts, as with the kernel's own merge script.
pub fn effective(requests: &[Request]) -> Vec<&Request> {
    let last: BTreeMap<&str, usize> =
        requests.iter().enumerate().map(|(index, it)| (it.symbol.as_str(), index)).collect();
    let wins = |index: usize| last.get(requests[index].symbol.as_str()) == Some(&index);
    (0..requests.len()).filter(|index| wins(*index)).map(|index| &requests[index]).collect()
}

/// A `.config` made of a base's and these requests. What stands in the base about a symbol goes, so that
/// Kconfig has nothing to warn of.
pub fn merge(base: &str, requests: &[Request]) -> String {
    let requests = effective(requests);
    let asked = |line: &str| symbol_of(line).is_some_and(|it| requests.iter().any(|r| r.symbol == it));
    let mut text: String =
        base.lines().filter(|line| !asked(line)).map(|line| line.to_owned() + "\n").collect();
    for Request { symbol, value, .. } in requests {
        text += &match value.as_str() {
            "n" => format!("# CONFIG_{symbol} is not set\n"),
            value => format!("CONFIG_{symbol}={value}\n"),
        };
    }
    text
}

fn symbol_of(line: &str) -> Option<&str> {
    if let Some(rest) = line.strip_prefix("CONFIG_") {
        return rest.split_once('=').map(|(symbol, _)| symbol);
    }
    line.strip_prefix("# CONFIG_")?.strip_suffix(" is not set")
}

/// What makes the configuration `after` of `before`, as a fragment.
pub fn difference(before: &str, after: &str) -> String {
    let (before, after) = (values(before), values(after));
    let line = |symbol: &str, value: &str| match value {
        "n" => format!("# CONFIG_{symbol} is not set\n"),
        value => format!("CONFIG_{symbol}={value}\n"),
    };
    let changed = after.iter().filter(|(symbol, value)| before.get(*symbol).unwrap_or(&"n") != *value);
    let gone = before.iter().filter(|(symbol, value)| **value != "n" && !after.contains_key(*symbol));
    changed
        .map(|(symbol, value)| line(symbol, value))
        .chain(gone.map(|(symbol, _)| line(symbol, "n")))
        .collect()
}

/// The values of a `.config`; `n` for "is not set".
pub fn values(config: &str) -> BTreeMap<&str, &str> {
    let value = |line: &'_ str| line.find('=').map_or(line.len(), |at| at + 1);
    config
        .lines()
        .filter_map(|line| symbol_of(line).map(|symbol| (symbol, line)))
        .map(|(symbol, line)| (symbol, if line.starts_with('#') { "n" } else { &line[value(line)..] }))
        .collect()
}

/// The requests that `config` does not grant. `kconfig` is the source's root, where the reasons are.
pub fn lost(requests: &[Request], config: &str, kconfig: &Path) -> Vec<Lost> {
    let values = values(config);
    let got = |request: &Request| values.get(request.symbol.as_str()).copied();
    let mut lost: Vec<Lost> = effective(requests)
        .into_iter()
        .filter(|request| request.need != Need::IfPossible)
        .filter(|request| match got(request) {
            Some(value) => value != request.value,
            // An empty string is what a symbol that is not there amounts to.
            None => !matches!(request.value.as_str(), "n" | "\"\""),
        })
        .map(|request| Lost {
            request: request.clone(),
            got: got(request).map(str::to_owned),
            why: UNKNOWN.to_owned(),
        })
        .collect();
    if !lost.is_empty() {
        let symbols = lost.iter().map(|lost| &*lost.request.symbol).collect();
        let entries = kconfig::read(kconfig, &symbols);
        for lost in &mut lost {
            if let Some(entry) = entries.get(&lost.request.symbol) {
                lost.why = entry.why(&lost.request.value, &values);
            }
        }
        lost.retain(|lost| !(lost.request.need == Need::IfKnown && lost.why == UNKNOWN));
    }
    lost
}

#[cfg(test)]
#[path = "config_test.rs"]
mod tests;
