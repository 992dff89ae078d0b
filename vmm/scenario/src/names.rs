//! Names for results: given by one step, used by later ones.

use super::model::{Layout, Origin, Span};
use base::diagnostic::Diagnostic;
use std::collections::BTreeMap;

/// The names so far, and the uses of names that nobody has given yet.
#[derive(Default)]
pub struct Names {
    /// The scenario's parameters, and where they are declared.
    pub params: BTreeMap<String, Span>,
    given: BTreeMap<String, Given>,
    open: Vec<(String, Span, Option<&'static str>)>,
    /// What to do about names that nobody gives, where that is known of the field that is read.
    pub hint: Option<&'static str>,
}

struct Given {
    span: Span,
    number: bool,
}

impl Names {
    /// A name is used here; it must have been given by an earlier step.
    pub fn uses(&mut self, name: &str, span: &Span) -> Option<Diagnostic> {
        match self.given.get(name) {
            Some(Given { number: true, .. }) => None,
            Some(Given { span: given, .. }) => Some(
                Diagnostic::new(span, format!("`${name}` is no number"))
                    .other(given, "it names a buffer of bytes")
                    .help("give the buffer a type, like `{out: long, as: name}`"),
            ),
            None => {
                self.open.push((name.to_owned(), span.clone(), self.hint));
                None
            }
        }
    }

    /// From the next step on, this name has a value.
    pub fn give(&mut self, name: &str, span: &Span, origin: &Origin) -> Option<Diagnostic> {
        if let Some(declared) = self.params.get(name) {
            let text = format!("`{name}` is a parameter's name, so no step can give it a value");
            return Some(Diagnostic::new(span, text).other(declared, "the parameter"));
        }
        let number = !matches!(origin, Origin::Data(_, Layout::Bytes(_)));
        let first = self.given.insert(name.to_owned(), Given { span: span.clone(), number })?;
        Some(
            Diagnostic::new(span, format!("the name `{name}` is given twice"))
                .other(&first.span, "first here"),
        )
    }

    /// Once all steps are read: the uses that stayed open are errors.
    pub fn close(&mut self) -> Vec<Diagnostic> {
        let open = std::mem::take(&mut self.open);
        let error = |(name, span, hint): &(String, Span, Option<&str>)| match self.given.get(name) {
            Some(given) => Diagnostic::new(span, format!("`${name}` is used before it has a value"))
                .other(&given.span, "only this later step gives it one"),
            None if hint.is_some() => {
                let error = Diagnostic::new(span, format!("no step gives `${name}` a value"));
                hint.map_or(error.clone(), |hint| error.help(hint))
            }
            None if self.given.is_empty() && self.params.is_empty() => {
                Diagnostic::new(span, format!("no step gives `${name}` a value"))
                    .help(format!("write `as: {name}` in the step whose result it is"))
            }
            None => Diagnostic::new(span, format!("no step gives `${name}` a value"))
                .nearest(name, self.given.keys().chain(self.params.keys()).map(String::as_str)),
        };
        open.iter().map(error).collect()
    }
}
