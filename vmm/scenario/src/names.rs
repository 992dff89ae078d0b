//! Names for results: given by one step, used by later ones.

use super::model::{Layout, Origin, Span};
use super::node::Node;
use super::reader::Reader;
use super::value::is_name;
use base::diagnostic::Diagnostic;
use std::collections::BTreeMap;

/// The names so far, and the uses of names that nobody has given yet.
#[derive(Default)]
pub struct Names {
    given: BTreeMap<String, Given>,
    open: Vec<(String, Span)>,
}

struct Given {
    span: Span,
    number: bool,
}

impl Reader<'_> {
    /// A name is used here; it must have been given by an earlier step.
    pub fn uses(&mut self, name: &str, span: &Span) {
        match self.names.given.get(name) {
            Some(Given { number: true, .. }) => {}
            Some(Given { span: given, .. }) => {
                let error = Diagnostic::new(span, format!("`${name}` is no number"))
                    .other(given, "it names a buffer of bytes")
                    .help("give the buffer a type, like `{out: long, as: name}`");
                self.errors.push(error);
            }
            None => self.names.open.push((name.to_owned(), span.clone())),
        }
    }

    /// A name as `as` gives it.
    pub fn new_name(&mut self, node: &Node) -> Option<(String, Span)> {
        let name = self.text(node, "a name")?;
        if is_name(&name) {
            return Some((name, node.span.clone()));
        }
        let plain = name.trim_start_matches('$');
        let error = Diagnostic::new(&node.span, format!("`{name}` is no name: letters, digits and `_`"));
        self.error(if is_name(plain) { error.label(format!("write `as: {plain}`")) } else { error })
    }

    /// From the next step on, this name has a value.
    pub fn give(&mut self, name: &str, span: &Span, origin: &Origin) {
        let number = !matches!(origin, Origin::Data(_, Layout::Bytes(_)));
        let given = Given { span: span.clone(), number };
        if let Some(first) = self.names.given.insert(name.to_owned(), given) {
            self.errors.push(
                Diagnostic::new(span, format!("the name `{name}` is given twice"))
                    .other(&first.span, "first here"),
            );
        }
    }

    /// Once all steps are read: the uses that stayed open are errors.
    pub fn close_names(&mut self) {
        for (name, span) in std::mem::take(&mut self.names.open) {
            let error = match self.names.given.get(&name) {
                Some(given) => Diagnostic::new(&span, format!("`${name}` is used before it has a value"))
                    .other(&given.span, "only this later step gives it one"),
                None if self.names.given.is_empty() => {
                    Diagnostic::new(&span, format!("no step gives `${name}` a value"))
                        .help(format!("write `as: {name}` in the step whose result it is"))
                }
                None => Diagnostic::new(&span, format!("no step gives `${name}` a value"))
                    .nearest(&name, self.names.given.keys().map(String::as_str)),
            };
            self.errors.push(error);
        }
    }
}
