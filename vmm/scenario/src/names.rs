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
    open: Vec<Use>,
    /// What to do about names that nobody gives, where that is known of the field that is read.
    pub hint: Option<&'static str>,
}

/// A use of a name that no step has given by then.
struct Use {
    name: String,
    span: Span,
    hint: Option<&'static str>,
    /// How the text itself is written, if it stands in one.
    literal: Option<String>,
}

struct Given {
    span: Span,
    number: bool,
}

impl Names {
    /// A name is used here; it must have been given by an earlier step.
    pub fn uses(&mut self, name: &str, span: &Span) -> Option<Diagnostic> {
        self.uses_in(name, span, None)
    }

    /// The same in a text, which is written as `literal` where it is no name.
    pub fn uses_in(&mut self, name: &str, span: &Span, literal: Option<String>) -> Option<Diagnostic> {
        match self.given.get(name) {
            Some(Given { number: true, .. }) => None,
            Some(Given { span: given, .. }) => Some(
                Diagnostic::new(span, format!("`${name}` is no number"))
                    .other(given, "it names a buffer of bytes")
                    .help("give the buffer a type, like `{out: long, as: name}`"),
            ),
            None => {
                let (name, span) = (name.to_owned(), span.clone());
                self.open.push(Use { name, span, hint: self.hint, literal });
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
        let nobody =
            |name: &str, span: &Span| Diagnostic::new(span, format!("no step gives `${name}` a value"));
        let error = |Use { name, span, hint, literal }: &Use| {
            let error = match (self.given.get(name), hint) {
                (Some(given), _) => Diagnostic::new(span, format!("`${name}` is used before it has a value"))
                    .other(&given.span, "only this later step gives it one"),
                (None, Some(hint)) => return nobody(name, span).help(*hint),
                (None, None) if self.given.is_empty() && self.params.is_empty() => {
                    nobody(name, span).help(format!("write `as: {name}` in the step whose result it is"))
                }
                (None, None) => nobody(name, span)
                    .nearest(name, self.given.keys().chain(self.params.keys()).map(String::as_str)),
            };
            let literal = literal.as_ref().map(|it| format!("write `{it}` where no name is meant"));
            let help: Vec<String> = error.help.iter().cloned().chain(literal).collect();
            Diagnostic { help: (!help.is_empty()).then(|| help.join("; ")), ..error }
        };
        open.iter().map(error).collect()
    }
}
