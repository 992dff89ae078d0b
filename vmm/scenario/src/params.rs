//! Parameters: what a scenario leaves open, so that it serves several modules, devices and calls.
//!
//! Values are put into the tree before anything of it is read. So a parameter can stand wherever a value or a key can, and
//! whoever reads a field never learns that there was one.

use super::draw::Draw;
use super::node::{Node, Value};
use super::reader::Reader;
use super::template::{field, is_name, pieces, reference};
use super::value::parse_int;
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
    /// What the value is to be of which only a default is known; a number in quotes is a text.
    fn of_default(text: &str, plain: bool) -> Self {
        match text {
            text if plain && parse_int(text).is_some() => Self::Int,
            text if text.starts_with('/') => Self::Path,
            _ => Self::Text,
        }
    }

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
                let kind = ParameterKind::of_default(text, *plain);
                (kind, Some((text.clone(), &node.span)), None, None)
            }
            Value::Map(_) => {
                let mut fields = self.fields(node, &format!("the parameter `{name}`"))?;
                let kind = match fields.take("type") {
                    Some(node) => Some(self.choice(node, "a parameter's type", KINDS)?),
                    None => None,
                };
                let default_node = fields.take("default");
                let default = match default_node {
                    Some(node) => Some((self.raw(node, "a value")?, &node.span)),
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
                let kind = kind.unwrap_or_else(|| match (draw, default_node.map(|node| &node.value)) {
                    (Some(Draw::Int(..)), _) => ParameterKind::Int,
                    (None, Some(Value::Scalar { text, plain })) => ParameterKind::of_default(text, *plain),
                    _ => ParameterKind::Text,
                });
                let about = fields.take("about").and_then(|node| self.text(node, "what it is for"));
                let of_draw = draw.map_or(&[][..], Draw::fields);
                fields.end(self, &[&["type", "default", "draw", "about"], of_draw].concat());
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
                    _ => (put(key, &mut values, Place::Other), put(value, &mut values, Place::Other)),
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
    fn take(&mut self, place: Place) -> String {
        self.used = true;
        match self.kind {
            ParameterKind::Name | ParameterKind::Path if place == Place::Expression => {
                regex::escape(&self.text)
            }
            _ => self.text.clone(),
        }
    }
}

type Values<'a> = BTreeMap<&'a str, Given>;

/// Where a value is to stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a regular expression.
    Expression,
    /// In a step: what is in its script is the shell's.
    Step,
    /// In a map whose keys are a module's or a program's, whatever they are called.
    Named,
    /// Anywhere else.
    Other,
}

/// The fields whose texts are regular expressions.
const EXPRESSIONS: [&str; 2] = ["match", "matches"];

/// The fields of a step whose own fields are named by others.
const NAMED: [&str; 2] = ["params", "env"];

/// A node in which `$name`, alone, and `${name}`, anywhere, are values.
fn put(node: Node, values: &mut Values<'_>, place: Place) -> Node {
    let value = match node.value {
        Value::Scalar { text, plain } => {
            let (text, number) = filled(text, values, place);
            Value::Scalar { text, plain: plain && number }
        }
        Value::List(list) => {
            // Steps are the maps that stand in a list.
            let item = |node: Node| match (&node.value, place) {
                (Value::Map(_), Place::Other) => put(node, values, Place::Step),
                _ => put(node, values, place),
            };
            Value::List(list.into_iter().map(item).collect())
        }
        Value::Map(entries) => {
            let entry = |(key, value): (Node, Node)| {
                let value = match key.text() {
                    _ if place == Place::Named => put(value, values, place),
                    Some("script") if place == Place::Step => value,
                    Some(key) if place == Place::Step && NAMED.contains(&key) => {
                        put(value, values, Place::Named)
                    }
                    Some(key) if EXPRESSIONS.contains(&key) => put(value, values, Place::Expression),
                    _ => put(value, values, Place::Other),
                };
                (put(key, values, Place::Other), value)
            };
            Value::Map(entries.into_iter().map(entry).collect())
        }
        Value::Null => Value::Null,
    };
    Node { value, span: node.span }
}

/// A text of a scenario as it reads with these values, given and defaults.
pub fn with_values(text: &str, values: &Settings) -> String {
    let given = |text: &String| Given { text: text.clone(), kind: ParameterKind::Text, used: false };
    let mut values = values.iter().map(|(name, value)| (name.as_str(), given(value))).collect();
    filled(text.to_owned(), &mut values, Place::Other).0
}

/// The text with values, and whether they are nothing but numbers: what a text holds makes it no number. Nothing of a value is a name.
fn filled(text: String, values: &mut Values<'_>, place: Place) -> (String, bool) {
    let write = |parts: &[(String, Option<&str>)]| match (place, parts) {
        (Place::Expression, [(text, None)]) => text.clone(),
        _ => field(parts),
    };
    if let Some(given) = reference(&text).and_then(|name| values.get_mut(name)) {
        return (write(&[(given.take(place), None)]), given.kind == ParameterKind::Int);
    }
    let (mut parts, mut before) = (Vec::new(), String::new());
    let (mut is_filled, mut numbers) = (false, true);
    for (piece, name) in pieces(&text) {
        before.push_str(piece);
        match name.map(|name| (name, values.get_mut(name))) {
            Some((_, Some(given))) => {
                before.push_str(&given.take(place));
                numbers &= given.kind == ParameterKind::Int;
                is_filled = true;
            }
            // A step's result, for whom reads the field.
            Some((name, None)) => parts.push((std::mem::take(&mut before), Some(name))),
            None => {}
        }
    }
    parts.push((before, None));
    if is_filled { (write(&parts), numbers) } else { (text, true) }
}

#[cfg(test)]
#[path = "params_test.rs"]
mod tests;
