//! Reads a tree of nodes into values and collects what is wrong with them.

use super::model::{ModuleSource, Span};
use super::names::Names;
use super::node::{Node, Value};
use super::params::Settings;
use super::template::plain;
use super::value::leading_nought;
use base::diagnostic::{Diagnostic, Source};

/// The errors so far. A reader that returns `None` has put at least one in here.
pub struct Reader<'a> {
    /// The scenario's text.
    pub source: &'a Source,
    /// What is wrong.
    pub errors: Vec<Diagnostic>,
    /// What is not wrong, and not as its author may think.
    pub notes: Vec<String>,
    /// The parameters whose values were drawn.
    pub drawn: Settings,
    /// The names that steps gave so far.
    pub names: Names,
    /// What `modules` names.
    pub modules: Vec<ModuleSource>,
    /// Other modules, or other names for them, may come with `files`.
    pub brings_names: bool,
}

impl<'a> Reader<'a> {
    /// No errors yet.
    pub fn new(source: &'a Source) -> Self {
        Self {
            source,
            errors: Vec::new(),
            notes: Vec::new(),
            drawn: Settings::new(),
            names: Names::default(),
            modules: Vec::new(),
            brings_names: false,
        }
    }

    /// Notes an error; `None` so that it can end a reader.
    pub fn error<T>(&mut self, diagnostic: Diagnostic) -> Option<T> {
        self.errors.push(diagnostic);
        None
    }

    /// A value that is not what it should be: `expected` says what that is, with an example.
    pub fn expected<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        let found = match node.text() {
            Some(text) if text.chars().count() <= 40 => format!("`{text}`"),
            _ => node.kind().to_owned(),
        };
        let error = Diagnostic::new(&node.span, format!("expected {expected}, found {found}"));
        let digits = node.text().and_then(leading_nought);
        self.error(match digits {
            Some(digits) => {
                error.help(format!("write `0o{digits}` for a number in octal, `{digits}` for one in decimal"))
            }
            None => error,
        })
    }

    /// The entries of a map whose keys are names.
    pub fn fields<'n>(&mut self, node: &'n Node, what: &str) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.value else {
            return self.expected(node, &format!("{what} (a map of `field: value`)"));
        };
        let mut list = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            match key.text() {
                Some(name) => list.push(Field { name, key: &key.span, value, used: false }),
                None => return self.expected(key, "a field's name"),
            }
        }
        Some(Fields { what: what.to_owned(), span: node.span.clone(), list })
    }

    /// The line of a place, counted from 1.
    pub fn line(&self, span: &Span) -> usize {
        self.source.line(span.start)
    }

    /// A scalar's text, in which no name stands for a value.
    pub fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        self.raw(node, what).map(|text| plain(&text))
    }

    /// The same with all of its dollars.
    pub fn raw(&mut self, node: &Node, what: &str) -> Option<String> {
        match node.text() {
            Some(text) => Some(text.to_owned()),
            None => self.expected(node, what),
        }
    }

    /// The items of a list, or a single value as a list of one.
    pub fn items<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            Value::Scalar { .. } => Some(std::slice::from_ref(node)),
            _ => self.expected(node, what),
        }
    }

    /// The same, of which there must be one.
    pub fn some_items<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match self.items(node, what)? {
            [] => self
                .error(Diagnostic::new(&node.span, format!("an empty list says nothing: expected {what}"))),
            items => Some(items),
        }
    }

    /// One of some names.
    pub fn choice<T: Copy>(&mut self, node: &Node, what: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(node, what)?;
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, value)) => Some(*value),
            None => self.error(
                Diagnostic::new(&node.span, format!("expected {what}, found `{text}`"))
                    .nearest(&text, choices.iter().map(|(name, _)| *name)),
            ),
        }
    }
}

/// The entries of a map. Those that nobody asked for are errors in the end.
pub struct Fields<'n> {
    /// What the map is, for messages.
    pub what: String,
    /// Where the map begins.
    pub span: Span,
    list: Vec<Field<'n>>,
}

struct Field<'n> {
    name: &'n str,
    key: &'n Span,
    value: &'n Node,
    used: bool,
}

impl<'n> Fields<'n> {
    /// The value of a field that may be left out.
    pub fn take(&mut self, name: &str) -> Option<&'n Node> {
        let field = self.list.iter_mut().find(|field| field.name == name)?;
        field.used = true;
        Some(field.value)
    }

    /// The value of a field that must be there.
    pub fn need(&mut self, reader: &mut Reader<'_>, name: &str) -> Option<&'n Node> {
        match self.take(name) {
            Some(node) => Some(node),
            None => {
                reader.error(Diagnostic::new(&self.span, format!("{} needs the field `{name}`", self.what)))
            }
        }
    }

    /// Names and places of the keys.
    pub fn keys(&self) -> impl Iterator<Item = (&'n str, &'n Span)> {
        self.list.iter().map(|field| (field.name, field.key))
    }

    /// What nobody asked for yet, with its key's place.
    pub fn rest(&mut self) -> Vec<(&'n str, &'n Span, &'n Node)> {
        let rest = self.list.iter_mut().filter(|field| !field.used);
        rest.map(|field| {
            field.used = true;
            (field.name, field.key, field.value)
        })
        .collect()
    }

    /// Says that whatever nobody asked for is unknown; `known` are all the right names.
    pub fn end(self, reader: &mut Reader<'_>, known: &[&str]) {
        for field in self.list.iter().filter(|field| !field.used) {
            reader.errors.push(
                Diagnostic::new(field.key, format!("unknown field `{}` of {}", field.name, self.what))
                    .nearest(field.name, known.iter().copied()),
            );
        }
    }
}
