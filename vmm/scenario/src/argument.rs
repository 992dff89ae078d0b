//! Arguments of system calls.

use super::model::{Argument, Layout, Num, Origin, Pointer, Span};
use super::node::{Node, Value};
use super::reader::Reader;
use super::template::reference;
use super::value::{TYPES, leading_nought, parse_int, type_named};
use base::diagnostic::Diagnostic;

const POINTERS: &[(&str, Pointer)] =
    &[("null", Pointer::Null), ("bad", Pointer::Bad), ("kernel", Pointer::Kernel)];

/// An argument and the name that it gives to what comes back.
pub struct Read {
    /// The argument.
    pub argument: Argument,
    /// `as`.
    pub name: Option<(String, Span)>,
}

impl Argument {
    /// How the bytes that come back are read; `None` where none do.
    pub fn layout(&self) -> Option<Layout> {
        match self {
            Self::Out(layout) | Self::InOut(_, layout) => Some(*layout),
            Self::InOutNumber(_, int) => Some(Layout::Number(*int)),
            Self::Num(_) | Self::Text(_) | Self::In(_) | Self::InNumber(..) | Self::Pointer(_) => None,
        }
    }
}

/// What the named buffers of a call's arguments are, as positions in what comes back.
pub fn origins(args: &[Read]) -> Vec<(String, Span, Origin)> {
    let mut position = 0;
    let mut names = Vec::new();
    for read in args {
        if let (Some((name, span)), Some(layout)) = (&read.name, read.argument.layout()) {
            names.push((name.clone(), span.clone(), Origin::Data(position, layout)));
        }
        position += usize::from(read.argument.layout().is_some());
    }
    names
}

impl Reader<'_> {
    /// One argument.
    pub fn argument(&mut self, node: &Node) -> Option<Read> {
        let argument = match &node.value {
            Value::Null => Argument::Pointer(Pointer::Null),
            // A number in quotes is a string.
            Value::Scalar { text, plain } => match (reference(text), parse_int(text)) {
                (Some(_), _) => Argument::Num(self.num(node, "a number")?),
                (None, Some(number)) if *plain => Argument::Num(Num::Int(number)),
                (None, None) if *plain && is_doubtful(text) => return self.doubtful(node, text),
                _ => Argument::Text(self.template(node, "a string")?),
            },
            Value::Map(_) => return self.described_argument(node),
            Value::List(_) => return self.expected(node, EXAMPLES),
        };
        Some(Read { argument, name: None })
    }

    /// What a C compiler would take for a number: as a text it would be a pointer, and nobody would see why.
    fn doubtful<T>(&mut self, node: &Node, text: &str) -> Option<T> {
        let error =
            Diagnostic::new(&node.span, format!("`{text}` is no number here, and hardly meant as a text"));
        self.error(match leading_nought(text) {
            Some(digits) => error.help(format!("write `0o{digits}` for a number in octal, `{digits}` for one in decimal")),
            None => error.help(format!("write the number, like `2` or `0x400`; put it into quotes if it is the text that is meant: `\"{text}\"`")),
        })
    }

    fn described_argument(&mut self, node: &Node) -> Option<Read> {
        const FORMS: &[&str] = &["pointer", "string", "bytes", "in", "out", "inout"];
        let mut fields = self.fields(node, "an argument")?;
        let forms: Vec<(&str, Span)> = fields
            .keys()
            .filter(|(key, _)| FORMS.contains(key))
            .map(|(key, span)| (key, span.clone()))
            .collect();
        let form = match &forms[..] {
            [(form, _)] => *form,
            [] => {
                if fields.keys().next().is_none() {
                    return self.expected(node, EXAMPLES);
                }
                fields.end(self, FORMS);
                return None;
            }
            [(first, at), (second, other), ..] => {
                return self.error(
                    Diagnostic::new(other, format!("an argument is either `{first}` or `{second}`"))
                        .other(at, "the other one is here"),
                );
            }
        };
        let value = fields.take(form)?;
        let content = if matches!(form, "in" | "inout") { fields.take("value") } else { None };
        let name = if matches!(form, "out" | "inout") { fields.take("as") } else { None };
        let argument = match form {
            "pointer" if value.value == Value::Null => Some(Argument::Pointer(Pointer::Null)),
            "pointer" => self.choice(value, "`null`, `bad` or `kernel`", POINTERS).map(Argument::Pointer),
            "string" => self.template(value, "a string").map(Argument::Text),
            "bytes" => self.hex(value).map(Argument::In),
            "out" => self.layout(value).map(Argument::Out),
            _ => match content {
                Some(content) => self.filled(form == "inout", value, content),
                None => self.error(
                    Diagnostic::new(&fields.span, format!("`{form}` needs the field `value`"))
                        .help(format!("write `{{{form}: long, value: 42}}`")),
                ),
            },
        };
        let name = name.and_then(|node| self.new_name(node));
        match form {
            "in" => fields.end(self, &["in", "value"]),
            "inout" => fields.end(self, &["inout", "value", "as"]),
            "out" => fields.end(self, &["out", "as"]),
            _ => fields.end(self, &[form]),
        }
        Some(Read { argument: argument?, name })
    }

    /// Memory that holds something when the call begins.
    fn filled(&mut self, back: bool, kind: &Node, content: &Node) -> Option<Argument> {
        match self.layout(kind)? {
            Layout::Number(int) => {
                let number = self.num(content, "the value")?;
                if let Num::Int(value) = number {
                    let bits = u32::from(int.size) * 8;
                    let (low, high) = (-(1_i128 << (bits - 1)), (1_i128 << bits) - 1);
                    if !(low..=high).contains(&value) {
                        return self.error(Diagnostic::new(
                            &content.span,
                            format!("{value} does not fit into {bits} bits"),
                        ));
                    }
                }
                Some(if back { Argument::InOutNumber(number, int) } else { Argument::InNumber(number, int) })
            }
            Layout::Bytes(size) => {
                if let Value::Scalar { text, plain: true } = &content.value
                    && (parse_int(text).is_some() || reference(text).is_some())
                {
                    let name = if back { "inout" } else { "in" };
                    let int = match size {
                        1 => "u8",
                        2 => "u16",
                        4 => "u32",
                        _ => "u64",
                    };
                    let error =
                        Diagnostic::new(&content.span, format!("a number has a type, and {size} is none"));
                    return self.error(error.help(format!(
                        "write `{{{name}: {int}, value: {text}}}`, or `\"{text}\"` if it is the text that is meant"
                    )));
                }
                let mut bytes = self.bytes(content, "the value")?;
                if bytes.len() > size as usize {
                    return self.error(Diagnostic::new(
                        &content.span,
                        format!("the value has {} bytes, the buffer {size}", bytes.len()),
                    ));
                }
                bytes.resize(size as usize, 0);
                Some(if back { Argument::InOut(bytes, Layout::Bytes(size)) } else { Argument::In(bytes) })
            }
        }
    }

    fn layout(&mut self, node: &Node) -> Option<Layout> {
        let text = node.text().unwrap_or_default();
        if parse_int(text).is_some() {
            return self.size(node, "the size of a buffer in bytes").map(Layout::Bytes);
        }
        match type_named(text) {
            Some(int) => Some(Layout::Number(int)),
            None if node.text().is_none() => self.expected(node, "a type like `long` or a size in bytes"),
            None => self.error(
                Diagnostic::new(
                    &node.span,
                    format!("expected a type like `long` or a size in bytes, found `{text}`"),
                )
                .nearest(text, TYPES.iter().map(|(name, _)| *name)),
            ),
        }
    }
}

/// Whether a text looks like a number or a constant of C.
fn is_doubtful(text: &str) -> bool {
    let number = text.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c));
    let is_constant = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "_| ".contains(c);
    let constant =
        text.starts_with(|c: char| c.is_ascii_uppercase()) && text.len() > 1 && text.chars().all(is_constant);
    number || constant || matches!(text, "true" | "false")
}

const EXAMPLES: &str =
    "an argument: a number, text, `$name`, `{out: long, as: sum}`, `{in: long, value: 42}`, `{pointer: bad}`";
