//! YAML as a tree in which every value knows its place in the text.
//!
//! Scalars stay text: whether `6.10` is a version, a number or a string is for the reader of the field
//! to say, and its message can show what stands in the file.

use base::diagnostic::{Diagnostic, Source};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;
use serde_yaml::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use std::{fmt, ops::Range};

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Bytes of the text.
    pub span: Range<usize>,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A scalar; `plain` says that it stands without quotes, so that it may be a number or a name.
    Scalar {
        /// Without quotes and escapes.
        text: String,
        /// No quotes, no block.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in its order.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// What kind of value it is, for a message.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// Parses one document.
pub fn parse(source: &Source) -> Result<Node, Vec<Diagnostic>> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_documents: 1,
            max_depth: 24,
            flow_nesting_limit: 24,
            max_nodes: 100_000,
            max_events: 400_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_total_scalar_bytes: 4 << 20,
        },
        // The tree keeps every entry, so that a key that stands twice can be shown at both places.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        // Scalars stay text: `12e4567` may be a commit.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    let raw: Spanned<Raw> = serde_yaml::from_str_with_options(source.text(), options)
        .map_err(|error| vec![syntax_error(source, &error)])?;
    let (mut errors, mut after) = (Vec::new(), 0);
    let node = convert(raw, source, &mut after, &mut errors);
    if errors.is_empty() { Ok(node) } else { Err(errors) }
}

fn syntax_error(source: &Source, error: &serde_yaml::Error) -> Diagnostic {
    let message = error.without_snippet().to_string();
    let message = message.lines().next().unwrap_or_default();
    let span = error.location().and_then(|location| {
        let start = offset(source.text(), location.line() as usize, location.column() as usize)?;
        Some(start..start + 1)
    });
    // The library puts the place at the end or the front of its text; the line shown says it already.
    let message = match message.find(" at line ") {
        Some(end) => &message[..end],
        None => {
            message.split_once(": ").filter(|(head, _)| head.starts_with("line ")).map_or(message, |m| m.1)
        }
    };
    // What was too much is a variant's name.
    let message = match message.split_once("budget breached: ") {
        Some((_, what)) if what.starts_with("Documents") => {
            "a file is one document: take out this `---`, and what is behind it"
        }
        Some((_, what)) if what.contains("Depth") || what.starts_with("FlowNesting") => {
            "values in values, deeper than any scenario has"
        }
        Some(_) => "more values than any scenario has (an alias counts as often as it is used)",
        None => message,
    };
    if let Some(tab) = span.as_ref().and_then(|span| indenting_tab(source.text(), span.start)) {
        return Diagnostic::new(&tab, "not valid YAML: a tab stands before what is on this line")
            .help("YAML knows spaces only there");
    }
    let error = match span {
        Some(span) => Diagnostic::new(&span, format!("not valid YAML: {message}")),
        None => Diagnostic::whole(format!("not valid YAML: {message}")),
    };
    match message.contains("mapping values are not allowed") {
        true => error.help("put a text with `: ` in it into quotes"),
        false => error,
    }
}

/// A tab before the first word of the line of this place, or of the next line with anything on it: YAML's reader may tell of the
/// line before.
fn indenting_tab(text: &str, place: usize) -> Option<Range<usize>> {
    let mut start = text.get(..place)?.rfind('\n').map_or(0, |end| end + 1);
    let lines = text.get(start..)?.split_inclusive('\n').filter_map(|line| {
        let this = start;
        start += line.len();
        (!line.trim().is_empty()).then_some((this, line))
    });
    lines.take(2).find_map(|(start, line)| {
        let indent = &line[..line.len() - line.trim_start().len()];
        indent.find('\t').map(|at| start + at..start + at + 1)
    })
}

/// A tag like `!!str` between two values: it would change what is behind it, and no field wants that. All else there are signs, names of
/// anchors and comments.
fn tag(text: &str, between: Range<usize>) -> Option<Range<usize>> {
    let mut start = between.start;
    text.get(between)?.split_inclusive('\n').find_map(|line| {
        let this = start;
        start += line.len();
        let is_begin = |at: usize| line[..at].chars().next_back().is_none_or(|c| " \t[{,".contains(c));
        let end = line.match_indices('#').find(|(at, _)| is_begin(*at)).map_or(line.len(), |(at, _)| at);
        let (at, _) = line[..end].match_indices('!').find(|(at, _)| is_begin(*at))?;
        let length = line[at..].find([' ', '\t', '\n', '\r', ',', ']', '}']).unwrap_or(line.len() - at);
        Some(this + at..this + at + length)
    })
}

/// The byte offset of a line and column, both counted from 1.
fn offset(text: &str, line: usize, column: usize) -> Option<usize> {
    let mut start = 0;
    for (index, content) in text.split_inclusive('\n').enumerate() {
        if index + 1 == line {
            let before: usize = content.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
            return Some((start + before).min(text.len()));
        }
        start += content.len();
    }
    // The end of the file is a place too.
    (line > 0).then_some(text.len())
}

/// What serde sees, before its places are made into byte ranges.
enum Raw {
    Null,
    /// A quoted or otherwise undoubted string.
    Text(String),
    /// A bool or a number: its text is taken from the source.
    Plain(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Raw::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

/// `after` is the end of the value before.
fn convert(raw: Spanned<Raw>, source: &Source, after: &mut usize, errors: &mut Vec<Diagnostic>) -> Node {
    let text = source.text();
    let place = |location: &serde_yaml::Location| {
        // In bytes: lines would have to be counted for each value anew, and there may be a hundred thousand.
        let span = location.span();
        let [start, length] = [span.byte_offset(), span.byte_len()].map(|it| it.unwrap_or(0) as usize);
        text.floor_char_boundary(start)..text.floor_char_boundary(start + length)
    };
    let span = place(&raw.referenced);
    let defined = place(&raw.defined);
    let between = *after..span.start;
    *after = (*after).max(span.start);
    if let Some(tag) = tag(text, between) {
        let error = Diagnostic::new(&tag, "a tag has no place in a scenario: each field knows what it is");
        errors.push(error.help("leave it out; put what is behind it into quotes if it is a text"));
    }
    if let Raw::Null | Raw::Plain(_) | Raw::Text(_) = raw.value {
        *after = (*after).max(span.end);
    }
    let literal = text.get(defined).unwrap_or_default().trim();
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Plain(value) => {
            let text = if literal.is_empty() { value } else { literal.to_owned() };
            Value::Scalar { text, plain: true }
        }
        Raw::Text(value) => {
            let plain = !literal.starts_with(['"', '\'', '|', '>']) && literal == value;
            Value::Scalar { text: value, plain }
        }
        Raw::List(list) => {
            Value::List(list.into_iter().map(|node| convert(node, source, after, errors)).collect())
        }
        Raw::Map(entries) => {
            let mut map: Vec<(Node, Node)> = Vec::with_capacity(entries.len());
            let mut seen = std::collections::HashMap::new();
            for (key, value) in entries {
                let key = convert(key, source, after, errors);
                let value = convert(value, source, after, errors);
                if let Some(name) = key.text()
                    && let Some(first) = seen.insert(name.to_owned(), key.span.clone())
                {
                    errors.push(
                        Diagnostic::new(&key.span, format!("the key `{name}` stands here twice"))
                            .other(&first, "first here"),
                    );
                }
                map.push((key, value));
            }
            Value::Map(map)
        }
    };
    // A collection's place is where it begins: a caret under all of it would say nothing.
    let span = match &value {
        Value::List(list) => span.start..list.first().map_or(span.end, |node| node.span.end),
        Value::Map(map) => span.start..map.first().map_or(span.end, |(key, _)| key.span.end),
        _ => span,
    };
    Node { span, value }
}
