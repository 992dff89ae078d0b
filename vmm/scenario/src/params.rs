//! Parameters: what a scenario leaves open, so that it serves several modules, devices and calls.
//!
//! Values are put into the tree before anything of it is read. So a parameter can stand wherever a value or a key can, and
//! whoever reads a field never learns that there was one.

use super::draw::Draw;
use super::node::{Node, Value};
use super::reader::Reader;
use super::value::{is_name, parse_int, reference};
use base::diagnostic::Diagnostic;
use std::collections::BTreeMap;
use std::ops::Range;

/// Values for parameters, by their names.
pub type Settings = BTreeMap<String, String>;

/// A parameter that a scenario declares.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What its value has to be.
    pub kind: ParameterKind,
    /// Its value where nobody gives one; without it somebody must.
    pub default: Option<String>,
    /// How its value is drawn where nobody gives one.
    pub draw: Option<Draw>,
    /// What it is for.
    pub about: Option<String>,
    /// Where it is declared.
    pub span: Range<usize>,
}

/// What a parameter's value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// A number, as everywhere in the language.
    Int,
    /// A name as of a module or a system call: letters, digits, `_` and `-`.
    Name,
    /// An absolute path in the guest.
    Path,
    /// Any text.
    Text,
}

const KINDS: &[(&str, ParameterKind)] = &[
    ("int", ParameterKind::Int),
    ("name", ParameterKind::Name),
    ("path", ParameterKind::Path),
    ("text", ParameterKind::Text),
];

impl ParameterKind {
    /// What is wrong with a value, in words that follow "expected".
    pub fn refuses(self, value: &str) -> Option<&'static str> {
        let fits = match self {
            Self::Int => parse_int(value).is_some(),
            // 56 bytes with the NUL: MODULE_NAME_LEN, include/linux/module.h.
            Self::Name => {
                (1..=55).contains(&value.len())
                    && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
                    && !value.starts_with('.')
            }
            Self::Path => value.starts_with('/') && value.len() < 4096 && !value.contains('\0'),
            Self::Text => !value.contains('\0'),
        };
        match self {
            _ if value.contains("${") || reference(value).is_some() => {
                Some("a value of its own: a parameter can't stand for another name")
            }
            _ if fits => None,
            Self::Int => Some("a number like `42` or `0x2a`"),
            Self::Name => Some("a name: up to 55 letters, digits, `_`, `-` and `.`"),
            Self::Path => Some("an absolute path like `/dev/chardev0`"),
            Self::Text => Some("text without a NUL"),
        }
    }
}

impl Reader<'_> {
    /// The parameters that a scenario declares.
    pub fn declared(&mut self, tree: &Node) -> Vec<Parameter> {
        let Value::Map(entries) = &tree.value else { return Vec::new() };
        let Some((_, node)) = entries.iter().find(|(key, _)| key.text() == Some("params")) else {
            return Vec::new();
        };
        let Some(mut fields) = self.fields(node, "`params`") else { return Vec::new() };
        let mut list = Vec::new();
        for (name, key, node) in fields.rest() {
            if !is_name(name) {
                let text = format!("`{name}` is no parameter's name: letters, digits and `_`");
                self.errors.push(Diagnostic::new(key, text));
                continue;
            }
            list.extend(self.parameter(name, key, node));
        }
        list
    }

    fn parameter(&mut self, name: &str, key: &Range<usize>, node: &Node) -> Option<Parameter> {
        let (kind, default, draw, about) = match &node.value {
            Value::Null => (ParameterKind::Text, None, None, None),
            Value::Scalar { text, plain } => {
                let kind = match text {
                    text if *plain && parse_int(text).is_some() => ParameterKind::Int,
                    text if text.starts_with('/') => ParameterKind::Path,
                    _ => ParameterKind::Text,
                };
                (kind, Some((text.clone(), &node.span)), None, None)
            }
            Value::Map(_) => {
                let mut fields = self.fields(node, &format!("the parameter `{name}`"))?;
                let kind = match fields.take("type") {
                    Some(node) => Some(self.choice(node, "a parameter's type", KINDS)?),
                    None => None,
                };
                let default = match fields.take("default") {
                    Some(node) => Some((self.text(node, "a value")?, &node.span)),
                    None => None,
                };
                let drawn = fields.take("draw");
                if let (Some(node), Some((_, default))) = (drawn, &default) {
                    let text =
                        format!("the parameter `{name}` has a default and is drawn; it can be one of both");
                    return self.error(Diagnostic::new(&node.span, text).other(default, "the default"));
                }
                let draw = match drawn {
                    Some(node) => Some(Draw::read(self, node, &mut fields)?),
                    None => None,
                };
                let kind = kind.unwrap_or(match draw {
                    Some(Draw::Int(..)) => ParameterKind::Int,
                    _ => ParameterKind::Text,
                });
                let about = fields.take("about").and_then(|node| self.text(node, "what it is for"));
                fields.end(self, &[&["type", "default", "about"], &Draw::FIELDS[..]].concat());
                (kind, default, draw, about)
            }
            Value::List(_) => {
                return self.expected(node, "a parameter's default, or `{type: int, default: 42}`");
            }
        };
        if let Some((value, span)) = &default
            && let Some(expected) = kind.refuses(value)
        {
            let text = format!("the parameter `{name}` has the value `{value}`, expected {expected}");
            return self.error(Diagnostic::new(span, text));
        }
        // What is drawn is of one kind; whether it fits does not hang on what comes.
        if let Some(expected) = draw.and_then(|draw| kind.refuses(&draw.value("", "", name))) {
            let text = format!(
                "what is drawn for the parameter `{name}` is not of its type, which takes {expected}"
            );
            return self.error(Diagnostic::new(key, text));
        }
        let default = default.map(|(value, _)| value);
        Some(Parameter { name: name.to_owned(), kind, default, draw, about, span: key.clone() })
    }

    /// The tree with the values of its parameters: given ones, and for the others defaults or what is drawn.
    pub fn with_values(&mut self, tree: Node, given: &Settings) -> Node {
        let declared = self.declared(&tree);
        let mut values = Values::new();
        for parameter in &declared {
            let Parameter { name, kind, default, draw, span, about } = parameter;
            self.names.params.insert(name.clone(), span.clone());
            let given_as = |text: &String| Given { text: text.clone(), kind: *kind, used: false };
            match (given.get(name), default, draw) {
                (Some(value), _, _) => {
                    if let Some(expected) = kind.refuses(value) {
                        let text =
                            format!("the parameter `{name}` was set to `{value}`, expected {expected}");
                        self.errors.push(Diagnostic::new(span, text).label("declared here"));
                    }
                    values.insert(name, given_as(value));
                }
                (None, Some(value), _) => _ = values.insert(name, given_as(value)),
                (None, None, Some(draw)) => {
                    let value = draw.anew(name);
                    values.insert(name, given_as(&value));
                    self.drawn.insert(name.clone(), value);
                }
                (None, None, None) => {
                    let about = about.as_ref().map_or(String::new(), |about| format!(" ({about})"));
                    let text = format!("the parameter `{name}`{about} has no value");
                    let help = format!("give it one with `--set {name}=VALUE`, or a default here");
                    self.errors.push(Diagnostic::new(span, text).help(help));
                }
            }
        }
        for name in given.keys().filter(|name| !declared.iter().any(|it| it.name == **name)) {
            let error = Diagnostic::whole(format!("there is no parameter `{name}` in this scenario"));
            self.errors.push(match declared.is_empty() {
                true => error.help(format!("declare it: `params: {{{name}: DEFAULT}}`")),
                false => error.nearest_below(name, declared.iter().map(|it| &*it.name)),
            });
        }
        let tree = match tree {
            Node { value: Value::Map(entries), span } => {
                let put = |(key, value): (Node, Node)| match key.text() {
                    Some("params") => (key, value),
                    _ => (put(key, &mut values, false), put(value, &mut values, false)),
                };
                let entries = entries.into_iter().map(put).collect();
                Node { value: Value::Map(entries), span }
            }
            other => other,
        };
        for (name, _) in values.iter().filter(|(_, given)| !given.used) {
            self.notes.push(format!("the parameter `{name}` is declared, and nothing uses it"));
        }
        tree
    }
}

/// What stands for a parameter.
struct Given {
    text: String,
    kind: ParameterKind,
    used: bool,
}

impl Given {
    /// The value, where it is to stand in an expression or in anything else. In an expression a name stands for itself; a text may be a part of it.
    fn take(&mut self, in_regex: bool) -> String {
        self.used = true;
        match self.kind {
            ParameterKind::Name | ParameterKind::Path if in_regex => regex::escape(&self.text),
            _ => self.text.clone(),
        }
    }
}

type Values<'a> = BTreeMap<&'a str, Given>;

/// The fields whose texts are regular expressions.
const EXPRESSIONS: [&str; 2] = ["match", "matches"];

/// A node in which `$name`, alone, and `${name}`, anywhere, are values.
fn put(node: Node, values: &mut Values<'_>, in_regex: bool) -> Node {
    let value = match node.value {
        Value::Scalar { text, plain } => {
            let alone = reference(&text).and_then(|name| values.get_mut(name));
            let text = match alone {
                Some(given) => given.take(in_regex),
                None => filled(&text, values, in_regex),
            };
            Value::Scalar { text, plain }
        }
        Value::List(list) => Value::List(list.into_iter().map(|node| put(node, values, in_regex)).collect()),
        Value::Map(entries) => {
            let entry = |(key, value): (Node, Node)| {
                let in_regex = key.text().is_some_and(|key| EXPRESSIONS.contains(&key));
                (put(key, values, false), put(value, values, in_regex))
            };
            Value::Map(entries.into_iter().map(entry).collect())
        }
        Value::Null => Value::Null,
    };
    Node { value, span: node.span }
}

fn filled(text: &str, values: &mut Values<'_>, in_regex: bool) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, behind) = rest.split_at(start);
        let Some(end) = behind.find('}') else { break };
        out.push_str(before);
        match values.get_mut(&behind[2..end]) {
            Some(given) => out.push_str(&given.take(in_regex)),
            // A step's result, for whom reads the field.
            None => out.push_str(&behind[..=end]),
        }
        rest = &behind[end + 1..];
    }
    out + rest
}

#[cfg(test)]
#[path = "params_test.rs"]
mod tests;
