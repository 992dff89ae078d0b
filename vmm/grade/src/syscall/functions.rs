//! The functions of system calls in C source.

use crate::source::{Lines, strip};
use regex::Regex;
use std::{collections::BTreeMap, sync::LazyLock};

/// A function that a table's entry can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Without `sys_`.
    pub name: String,
    /// Type and name of each parameter.
    pub params: Vec<(String, String)>,
    /// How it is written.
    pub style: Style,
    /// Its file.
    pub path: String,
    /// Its line, counted from 1.
    pub line: usize,
}

/// How a system call is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `SYSCALL_DEFINE2(name, int, a, long, b)`.
    Macro,
    /// `asmlinkage long sys_name(int a, long b)`, of which newer kernels know nothing.
    Old,
}

impl Function {
    /// As it should be written.
    pub fn macro_head(&self) -> String {
        let params: Vec<String> =
            self.params.iter().map(|(kind, name)| format!(", {kind}, {name}")).collect();
        format!("SYSCALL_DEFINE{}({}{})", self.params.len(), self.name, params.concat())
    }

    /// As it is written in the old style.
    pub fn head(&self) -> String {
        let params: Vec<String> = self.params.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
        format!("asmlinkage long sys_{}({})", self.name, params.join(", "))
    }
}

/// All functions of system calls that these files define.
pub fn find(sources: &BTreeMap<String, String>) -> Vec<Function> {
    static MACRO: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\bSYSCALL_DEFINE[0-6]\s*\(\s*(\w+)\s*,?([^)]*)\)").expect("a constant that tests use")
    });
    static OLD: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\b(?:long|int)\s+sys_(\w+)\s*\(([^)]*)\)\s*(?:\{|$)").expect("a constant that tests use")
    });
    let mut functions = Vec::new();
    for (path, text) in sources {
        let text = strip(text);
        let lines = Lines::of(&text);
        let line = |at: usize| 1 + lines.line(at);
        for found in MACRO.captures_iter(&text) {
            let words: Vec<String> = found[2].split(',').map(plain).filter(|word| !word.is_empty()).collect();
            let pairs =
                words.chunks(2).map(|pair| (pair[0].clone(), pair.get(1).cloned().unwrap_or_default()));
            let at = found.get(0).map_or(0, |found| found.start());
            functions.push(Function {
                name: found[1].to_owned(),
                params: pairs.collect(),
                style: Style::Macro,
                path: path.clone(),
                line: line(at),
            });
        }
        for found in OLD.captures_iter(&text) {
            let at = found.get(0).map_or(0, |found| found.start());
            functions.push(Function {
                name: found[1].to_owned(),
                params: params(&found[2]),
                style: Style::Old,
                path: path.clone(),
                line: line(at),
            });
        }
    }
    functions
}

/// A declaration's parameters, each as its type and its name.
pub fn params(list: &str) -> Vec<(String, String)> {
    let one = |(index, param): (usize, &str)| {
        let param = plain(param);
        let name = param.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let kind = param[..param.len() - name.len()].trim();
        // A prototype may leave names out: `int` alone is a type.
        match kind.is_empty() {
            true => (param.clone(), format!("p{index}")),
            false => (kind.to_owned(), name.to_owned()),
        }
    };
    let list = list.split(',').filter(|param| !["", "void"].contains(&param.trim()));
    list.enumerate().map(one).collect()
}

fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("* ", "*")
}

/// Whether two types are one, whatever their spelling.
pub fn same_type(a: &str, b: &str) -> bool {
    let words = |text: &str| {
        let spaced = text.replace('*', " * ");
        let mut words: Vec<&str> =
            spaced.split_whitespace().filter(|it| !["__user", "const", "signed"].contains(it)).collect();
        // `long int`, `short int`, and `unsigned`, whatever they are pointed at by.
        if words.iter().any(|word| ["long", "short"].contains(word)) {
            words.retain(|word| *word != "int");
        }
        let sized = words.iter().any(|word| ["int", "long", "short", "char"].contains(word));
        if let Some(at) = words.iter().position(|word| *word == "unsigned").filter(|_| !sized) {
            words.insert(at + 1, "int");
        }
        words.join(" ")
    };
    words(a) == words(b)
}
