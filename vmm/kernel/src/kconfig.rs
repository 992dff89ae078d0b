//! What a kernel's Kconfig files say of a symbol: why it does not have the value that somebody asked for.

use regex::Regex;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
};
use walkdir::WalkDir;

/// So many of the symbols that select one are named.
const SHOWN: usize = 4;

/// So many conditions of one symbol are kept, and so many facts are told: the kernel's own have a dozen at the most, and a file
/// that opens a thousand `if`s and closes none would have them multiply.
const MOST: usize = 64;

/// All that the files say of one symbol.
#[derive(Debug, Default)]
pub struct Entry {
    /// Conditions, all of which have to hold.
    depends: Vec<String>,
    /// Symbols that select it, each with its condition, which may be empty.
    selected_by: Vec<(String, String)>,
    /// People can choose its value.
    has_prompt: bool,
    /// When they can; empty for always.
    prompt_if: String,
    /// It has an entry of its own.
    is_known: bool,
}

/// Reads all Kconfig files for the symbols in question. Those that no file has an entry for are left out.
pub fn read(root: &Path, symbols: &BTreeSet<&str>) -> BTreeMap<String, Entry> {
    let is_kconfig = |name: &str| name.starts_with("Kconfig");
    let other = |path: &Path| {
        path.strip_prefix(root).is_ok_and(|it| it.starts_with("arch") && !it.starts_with("arch/x86"))
    };
    let files = WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file() && is_kconfig(&entry.file_name().to_string_lossy()));
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    // Other architectures have symbols of the same names, with other dependencies.
    for file in files.filter(|file| !other(file.path())) {
        if let Ok(text) = fs::read_to_string(file.path()) {
            read_file(&text, symbols, &mut entries);
        }
    }
    entries.retain(|_, entry| entry.is_known);
    entries
}

/// One file (Documentation/kbuild/kconfig-language.rst).
pub(crate) fn read_file(text: &str, symbols: &BTreeSet<&str>, entries: &mut BTreeMap<String, Entry>) {
    let mut inside: Option<String> = None;
    let mut in_help = false;
    let mut conditions: Vec<String> = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        // A help text ends where the indentation does.
        if !line.starts_with(['\t', ' ']) && !words.is_empty() {
            in_help = false;
        }
        match words[..] {
            _ if in_help => {}
            ["config" | "menuconfig", name] => {
                inside = Some(name.to_owned());
                if symbols.contains(name) {
                    let entry = entries.entry(name.to_owned()).or_default();
                    entry.is_known = true;
                    conditions.iter().for_each(|condition| entry.depend(condition));
                }
            }
            ["menu" | "choice" | "comment" | "source" | "endmenu" | "endchoice", ..] => inside = None,
            ["if", ..] if !line.starts_with(['\t', ' ']) => {
                inside = None;
                conditions.push(words[1..].join(" "));
            }
            ["endif", ..] => {
                inside = None;
                conditions.pop();
            }
            ["help", ..] => in_help = true,
            ["select" | "imply", name, ..] if symbols.contains(name) => {
                if let Some(selector) = &inside {
                    let condition = words[2..].strip_prefix(&["if"]).unwrap_or_default().join(" ");
                    let entry = entries.entry(name.to_owned()).or_default();
                    entry.selected_by.push((selector.clone(), condition));
                }
            }
            _ => {
                let entry = inside.as_deref().filter(|name| symbols.contains(name));
                if let Some(entry) = entry.and_then(|name| entries.get_mut(name)) {
                    entry.read_line(line, &words);
                }
            }
        }
    }
}

impl Entry {
    fn depend(&mut self, condition: &str) {
        if self.depends.len() < MOST && !self.depends.iter().any(|known| known == condition) {
            self.depends.push(condition.to_owned());
        }
    }

    fn read_line(&mut self, line: &str, words: &[&str]) {
        match words {
            ["depends", "on", rest @ ..] => self.depend(&rest.join(" ")),
            ["bool" | "tristate" | "int" | "hex" | "string" | "prompt", ..] if line.contains('"') => {
                self.has_prompt = true;
                let behind = line.rsplit('"').next().unwrap_or_default().trim();
                self.prompt_if = behind.strip_prefix("if ").unwrap_or_default().trim().to_owned();
            }
            _ => {}
        }
    }

    /// Why it is not `wanted` where the configuration has these values.
    pub fn why(&self, wanted: &str, values: &BTreeMap<&str, &str>) -> String {
        let is_on = |symbol: &str| matches!(values.get(symbol).copied(), Some("y" | "m"));
        let selectors: Vec<_> = self.selected_by.iter().filter(|(symbol, _)| is_on(symbol)).collect();
        if matches!(wanted, "n" | "m") && !selectors.is_empty() {
            return selected(&selectors);
        }
        if wanted != "n" && !self.depends.is_empty() {
            return depends(&self.depends, values);
        }
        match &*self.prompt_if {
            _ if !self.has_prompt => "it can't be chosen: others give it its value".to_owned(),
            "" => "nothing that it depends on is off, and nothing that is on selects it".to_owned(),
            condition => {
                let facts = facts(condition, values);
                let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
                format!("it can be chosen only if {condition}{facts}")
            }
        }
    }
}

/// "KEYBOARD_ATKBD selects it, and would have to be off, too".
fn selected(selectors: &[&(String, String)]) -> String {
    let name = |(symbol, condition): &&(String, String)| match &**condition {
        "" => symbol.clone(),
        condition => format!("{symbol} (if {condition})"),
    };
    let mut names: Vec<String> = selectors.iter().take(SHOWN).map(name).collect();
    if selectors.len() > SHOWN {
        names.push(format!("{} more", selectors.len() - SHOWN));
    }
    match &names[..] {
        [only] => format!("{only} selects it, and would have to be off, too"),
        [first @ .., last] => {
            format!("{} and {last} select it, and would have to be off, too", first.join(", "))
        }
        [] => String::new(),
    }
}

/// "depends on RUST && !MODVERSIONS (RUST is not set)".
fn depends(conditions: &[String], values: &BTreeMap<&str, &str>) -> String {
    let expression = conditions.join(" && ");
    match &facts(&expression, values)[..] {
        [] => format!("depends on {expression}"),
        facts => format!("depends on {expression} ({})", facts.join(", ")),
    }
}

/// What in an expression speaks against it: "RUST is not set".
fn facts(expression: &str, values: &BTreeMap<&str, &str>) -> Vec<String> {
    static NAME: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(\$\([^)]*\))|(!?)\b([A-Z0-9_]*[A-Z][A-Z0-9_]*)\b").expect("a constant")
    });
    let mut facts: Vec<String> = Vec::new();
    for name in NAME.captures_iter(expression).filter(|it| it.get(3).is_some()) {
        let (negated, symbol) = (&name[2] == "!", &name[3]);
        let fact = match values.get(symbol).copied().unwrap_or("n") {
            "n" if !negated => format!("{symbol} is not set"),
            value if negated && value != "n" => format!("{symbol} is {value}"),
            _ => continue,
        };
        if !facts.contains(&fact) {
            facts.push(fact);
        }
        if facts.len() == MOST {
            break;
        }
    }
    facts
}
