//! What stands at the top of a C file: functions, variables, types and macros, each with the names that it gives. Good enough to
//! take one of them out with what it needs; the compiler has the last word.

use crate::source::Lines;
use regex::Regex;
use std::{collections::BTreeSet, ops::Range, sync::LazyLock};

/// A piece of a file that says one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its lines, counted from 0.
    pub lines: Range<usize>,
    /// Without comments.
    pub text: String,
    /// What it defines or declares.
    pub names: BTreeSet<String>,
    /// What it is.
    pub kind: Kind,
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `#include`.
    Include,
    /// `#define`.
    Macro,
    /// Other lines of the preprocessor's.
    Directive,
    /// A function with its body.
    Function,
    /// Types, variables, prototypes, and calls of macros.
    Other,
}

impl Item {
    /// Nothing outside of its file knows it.
    pub fn is_static(&self) -> bool {
        let head = self.text.split(['{', '=']).next().unwrap_or_default();
        self.kind != Kind::Macro && words(head).any(|word| word == "static")
    }

    /// A type or a macro: it can stand twice.
    pub fn is_pattern(&self) -> bool {
        static TYPE: LazyLock<Regex> = LazyLock::new(|| {
            regex(r"(?s)^\s*(?:typedef\b|(?:struct|union|enum)\b[^()={]*\{.*\}\s*(?:__\w+\s*)*;\s*$)")
        });
        self.kind == Kind::Macro || (self.kind == Kind::Other && TYPE.is_match(&self.text))
    }
}

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a constant that tests use")
}

/// All words of a text.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The items of a file, whose text has no comments any more.
pub fn items(text: &str) -> Vec<Item> {
    let mut scan = Scan::default();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let line_start = at == 0 || bytes[at - 1] == b'\n';
        if line_start && text[at..].trim_start_matches([' ', '\t']).starts_with('#') {
            let end = directive_end(text, at);
            scan.directive(text, at..end);
            at = end;
            continue;
        }
        at = match bytes[at] {
            quote @ (b'"' | b'\'') => {
                scan.begin(at);
                string_end(bytes, at, quote)
            }
            byte => {
                scan.byte(text, at, byte);
                at + 1
            }
        };
    }
    // What a piece of a file breaks off is no item.
    let starts = Lines::of(text);
    let item = |range: Range<usize>| {
        let lines = starts.line(range.start)..starts.line(range.end.max(1) - 1) + 1;
        let text = text[range].trim_end().to_owned();
        let kind = kind(&text);
        Item { lines, names: names(&text, kind), text, kind }
    };
    scan.found.into_iter().map(item).collect()
}

#[derive(Default)]
struct Scan {
    found: Vec<Range<usize>>,
    start: Option<usize>,
    /// What was begun ends by a semicolon; known from its first brace on.
    wants_semicolon: bool,
    has_brace: bool,
    braces: usize,
    parens: usize,
    /// Braces as they were at each `#if`, for its `#else`.
    ifs: Vec<usize>,
}

impl Scan {
    fn begin(&mut self, at: usize) {
        self.start.get_or_insert(at);
    }

    fn byte(&mut self, text: &str, at: usize, byte: u8) {
        match byte {
            byte if byte.is_ascii_whitespace() => return,
            // The end of something of which the beginning is not seen.
            b'}' if self.braces == 0 => {
                (self.start, self.parens) = (None, 0);
                (self.has_brace, self.wants_semicolon) = (false, false);
                return;
            }
            _ => self.begin(at),
        }
        let outside = self.braces == 0 && self.parens == 0;
        match byte {
            b'{' => {
                let start = self.start.unwrap_or(at);
                // At the first one: no other counts, and looking at each takes time without end.
                if outside && !self.has_brace {
                    self.wants_semicolon = wants_semicolon(&text[start..at]);
                    self.has_brace = true;
                }
                self.braces += 1;
            }
            b'}' => {
                self.braces -= 1;
                if self.braces == 0 && self.parens == 0 && !self.wants_semicolon {
                    self.end(at + 1);
                }
            }
            b'(' => self.parens += 1,
            b')' => self.parens = self.parens.saturating_sub(1),
            b';' if outside => self.end(at + 1),
            _ => {}
        }
    }

    fn end(&mut self, end: usize) {
        self.found.extend(self.start.take().map(|start| start..end));
        (self.has_brace, self.wants_semicolon) = (false, false);
    }

    fn directive(&mut self, text: &str, range: Range<usize>) {
        let word = text[range.clone()].trim_start().trim_start_matches('#').trim_start();
        match word {
            word if word.starts_with("if") => self.ifs.push(self.braces),
            // One branch opens what the other one opens, too.
            word if word.starts_with("el") => self.braces = self.ifs.last().copied().unwrap_or(self.braces),
            word if word.starts_with("endif") => _ = self.ifs.pop(),
            _ => {}
        }
        if self.start.is_none() {
            self.found.push(range);
        }
    }
}

/// Behind the line, and those that continue it.
fn directive_end(text: &str, start: usize) -> usize {
    let mut end = start;
    for line in text[start..].split_inclusive('\n') {
        end += line.len();
        if !line.trim_end_matches(['\n', '\r']).ends_with('\\') {
            break;
        }
    }
    end
}

fn string_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            // One that has no end does not take the rest of the file along.
            b'\n' => return at,
            byte if byte == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Types and variables end by one, functions by their brace.
fn wants_semicolon(text: &str) -> bool {
    static TYPE: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"^\s*(?:(?:typedef|static|const|extern|volatile|__\w+)\s+)*(?:struct|union|enum)\b[^()]*$")
    });
    let head = text.split('{').next().unwrap_or_default();
    outside_parens(head).contains('=') || TYPE.is_match(head)
}

fn outside_parens(text: &str) -> String {
    let mut depth = 0_usize;
    let keep = |c: &char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    };
    text.chars().filter(keep).collect()
}

fn kind(text: &str) -> Kind {
    let directive = text.trim_start().strip_prefix('#').map(str::trim_start);
    match directive {
        Some(word) if word.starts_with("include") => Kind::Include,
        Some(word) if word.starts_with("define") => Kind::Macro,
        Some(_) => Kind::Directive,
        None if text.contains('{') && !wants_semicolon(text) => Kind::Function,
        None => Kind::Other,
    }
}

fn names(text: &str, kind: Kind) -> BTreeSet<String> {
    static CALL: LazyLock<Regex> =
        LazyLock::new(|| regex(r"^\s*(?:asmlinkage\s+)?(COMPAT_)?SYSCALL_DEFINE\d\s*\(\s*(\w+)"));
    static CALLED: LazyLock<Regex> = LazyLock::new(|| regex(r"(\w+)\s*\("));
    static TAG: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(?:struct|union|enum)\s+(\w+)\s*\{"));
    static INSIDE: LazyLock<Regex> = LazyLock::new(|| regex(r"^\s*(?:static\s+)?[A-Z][A-Z_]*\s*\(\s*(\w+)"));
    static DECLARED: LazyLock<Regex> = LazyLock::new(|| regex(r"(\w+)\s*(?:\[[^\]]*\]\s*)*(?:=|,|;|$)"));
    let mut names = BTreeSet::new();
    match kind {
        Kind::Include | Kind::Directive => {}
        Kind::Macro => names.extend(words(text).nth(1).map(str::to_owned)),
        Kind::Function => {
            if let Some(found) = CALL.captures(text) {
                let compat = if found.get(1).is_some() { "compat_" } else { "" };
                names.insert(format!("{compat}sys_{}", &found[2]));
            } else {
                let head = text.split('{').next().unwrap_or_default();
                let all: Vec<String> = CALLED.captures_iter(head).map(|it| it[1].to_owned()).collect();
                let first = all.iter().find(|name| !name.starts_with("__") || name.contains("sys_"));
                names.extend(first.or(all.first()).cloned());
            }
        }
        Kind::Other => {
            names.extend(TAG.captures_iter(text).map(|it| it[1].to_owned()));
            if text.trim_start().starts_with("enum") || text.contains(" enum ") {
                let inside = text.split('{').nth(1).and_then(|it| it.split('}').next()).unwrap_or_default();
                names.extend(inside.split(',').filter_map(|it| Some(words(it).next()?.to_owned())));
            }
            names.extend(INSIDE.captures(text).map(|it| it[1].to_owned()));
            // Without what braces and initial values hold.
            let mut depth = 0_usize;
            let shallow = |c: &char| {
                depth = match c {
                    '{' => depth + 1,
                    '}' => depth.saturating_sub(1),
                    _ => return depth == 0,
                };
                false
            };
            let flat: String = text.chars().filter(shallow).collect();
            match outside_parens(&flat) {
                // A prototype: what stands before the parenthesis.
                _ if flat.contains('(') && !flat.contains('=') => {
                    names.extend(CALLED.captures(&flat).map(|it| it[1].to_owned()));
                }
                flat => names.extend(DECLARED.captures_iter(&flat).map(|it| it[1].to_owned())),
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(usize, Kind, String)> {
        let names = |it: &Item| it.names.iter().cloned().collect::<Vec<_>>().join(" ");
        items(text).iter().map(|it| (it.lines.start, it.kind, names(it))).collect()
    }

    #[test]
    fn a_file_falls_into_what_it_says() {
        let text = "#include <linux/fs.h>\n#define MOST \\\n\t1000\n\nstatic DEFINE_MUTEX(lock);\nstatic int a, b[3] = {1, 2};\n\
            struct s { int x; } one;\ntypedef unsigned long word_t;\nenum e { RED, GREEN = 2 };\nstatic long helper(long n);\n\
            static noinline __printf(1, 2) long helper(long n)\n{\n\tchar c = '{';\n#ifdef X\n\tif (n) {\n#else\n\tif (!n) {\n#endif\n\t\treturn 1;\n\t}\n\treturn 0;\n}\n\
            SYSCALL_DEFINE1(mine, int, a)\n{\n\treturn helper(a);\n}\nEXPORT_SYMBOL(helper);\n";
        let wanted = [
            (0, Kind::Include, ""),
            (1, Kind::Macro, "MOST"),
            (4, Kind::Other, "DEFINE_MUTEX lock"),
            (5, Kind::Other, "a b"),
            (6, Kind::Other, "one s"),
            (7, Kind::Other, "word_t"),
            (8, Kind::Other, "GREEN RED e"),
            (9, Kind::Other, "helper"),
            (10, Kind::Function, "helper"),
            (22, Kind::Function, "sys_mine"),
            (26, Kind::Other, "EXPORT_SYMBOL helper"),
        ];
        let found = shown(text);
        let found: Vec<(usize, Kind, &str)> = found.iter().map(|(a, b, c)| (*a, *b, &**c)).collect();
        assert_eq!(found, wanted);
        let all = items(text);
        assert!([2, 3, 7, 8].iter().all(|index| all[*index].is_static()) && !all[9].is_static());
        let patterns: Vec<usize> = (0..all.len()).filter(|index| all[*index].is_pattern()).collect();
        assert_eq!(patterns, [1, 5, 6]);
    }

    #[test]
    fn a_piece_of_a_file_begins_and_ends_anywhere() {
        let text =
            "\treturn 0;\n}\n}\n\nlong sys_mine(void)\n{\n\treturn 1;\n}\n\nint other(void)\n{\n\tif (x)\n";
        let found = shown(text);
        assert!(found.contains(&(4, Kind::Function, "sys_mine".to_owned())), "{found:?}");
        assert!(!found.iter().any(|it| it.2 == "other"), "{found:?}");
        for text in ["}", "\"", "'\\", "#if\n#else\n}{", "#endif\n{", "ä{ö}ü;", "(((", "#define", "{}"] {
            items(text);
        }
    }
}
