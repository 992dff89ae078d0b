//! Expectations of the whole run.

use super::as_returned;
use crate::model::{CallExpect, CallName, EndingKind, LogWant, Place, RunExpect};
use crate::node::{Node, Value};
use crate::reader::Reader;
use crate::value::parse_int;
use base::diagnostic::Diagnostic;

impl Reader<'_> {
    /// The scenario's `expect`.
    pub fn run_expect(&mut self, node: &Node) -> Option<RunExpect> {
        let mut fields = self.fields(node, "the run's `expect`")?;
        let ending = self.ending(&mut fields);
        let log = fields.take("log").map(|node| (self.log(node), &node.span));
        for want in log.iter().flat_map(|(wants, _)| wants) {
            if let (LogWant::Has(data) | LogWant::Lacks(data), _) = want
                && let Some(name) = data.names().next()
                && let Some((_, span)) = &log
            {
                let error = Diagnostic::new(
                    span,
                    format!(
                        "the log of the whole run can't be compared with `${name}`, which has its value later"
                    ),
                );
                self.errors.push(error.help("expect it of the step in which it is logged"));
            }
        }
        let log = log.map(|(wants, _)| wants).unwrap_or_default();
        let syscalls = fields.take("syscalls").map(|node| self.calls(node)).unwrap_or_default();
        let taint = fields.take("taint").and_then(|node| Some((self.taint(node)?, self.line(&node.span))));
        let clean = fields.take("clean").map(|node| (self.places(node), self.line(&node.span)));
        let ktap = fields.take("ktap").and_then(|node| {
            self.choice(node, "`required`", &[("required", ())])?;
            Some(self.line(&node.span))
        });
        let endings = EndingKind::NAMES.iter().map(|(name, _)| *name);
        let known = ["syscalls", "log", "taint", "clean", "ktap"];
        let known: Vec<&str> = known.into_iter().chain(endings).collect();
        fields.end(self, &known);
        Some(RunExpect { syscalls, log, taint, clean, ending, ktap })
    }

    /// `clean`: a list of places.
    fn places(&mut self, node: &Node) -> Vec<Place> {
        let items = self.items(node, "a list of places like `[modules, devices]`").unwrap_or_default();
        let mut places = Vec::new();
        for item in items {
            match self.choice(item, "a place", Place::NAMES) {
                Some(place) if !places.contains(&place) => places.push(place),
                _ => {}
            }
        }
        if items.is_empty() {
            let error = Diagnostic::new(&node.span, "`clean` names no place");
            self.errors.push(error.nearest("", Place::NAMES.iter().map(|(name, _)| *name)));
        }
        places
    }

    fn calls(&mut self, node: &Node) -> Vec<CallExpect> {
        let Some(mut fields) = self.fields(node, "`syscalls`") else { return Vec::new() };
        let calls = fields.rest();
        if calls.is_empty() {
            self.expected::<()>(node, "calls and how often they are made, like `{openat: 2}`");
        }
        calls
            .into_iter()
            .filter_map(|(name, key, node)| {
                let call = match parse_int(name) {
                    Some(nr) => match u64::try_from(nr) {
                        Ok(nr) => CallName::Nr(nr),
                        Err(_) => {
                            return self
                                .error(Diagnostic::new(key, format!("no system call has the number {nr}")));
                        }
                    },
                    None => CallName::Name(name.to_owned(), key.clone()),
                };
                let line = self.line(key);
                let expect = CallExpect { call, line, count: None, errors: Vec::new(), returns: None };
                self.call(node, expect)
            })
            .collect()
    }

    fn call(&mut self, node: &Node, expect: CallExpect) -> Option<CallExpect> {
        let Value::Map(entries) = &node.value else {
            return Some(CallExpect { count: Some(self.how_often(node)?), ..expect });
        };
        let range = |entry: &(Node, Node)| matches!(entry.0.text(), Some("at-least" | "at-most"));
        if entries.iter().any(range) {
            return Some(CallExpect { count: Some(self.how_often(node)?), ..expect });
        }
        let mut fields = self.fields(node, "what is expected of a system call")?;
        let count = fields.take("count").map(|node| self.how_often(node));
        let mut errors = Vec::new();
        if let Some(node) = fields.take("errors") {
            let mut list = self.fields(node, "`errors`")?;
            for (name, key, node) in list.rest() {
                let key =
                    Node { span: key.clone(), value: Value::Scalar { text: name.to_owned(), plain: true } };
                if let (Some(errno), Some(range)) = (self.errno(&key), self.how_often(node)) {
                    errors.push((errno, range, self.line(&key.span)));
                }
            }
        }
        let returns = fields.take("returns").and_then(|node| self.returns(node));
        fields.end(self, &["count", "errors", "returns", "at-least", "at-most"]);
        if count.is_none() && errors.is_empty() && returns.is_none() {
            return self.expected(node, "how often, like `2` or `{count: 2, errors: {EFAULT: 1}}`");
        }
        Some(CallExpect { count: count.flatten(), errors, returns, ..expect })
    }

    /// All results of a call, in any order: numbers and errors.
    fn returns(&mut self, node: &Node) -> Option<(Vec<i64>, usize)> {
        let Value::List(list) = &node.value else {
            return self.expected(node, "everything that the call returned, like `[0, EFAULT]`");
        };
        let one = |this: &mut Self, item: &Node| match item.text().and_then(parse_int) {
            Some(number) => Some(as_returned(number)),
            None => this.errno(item).map(|errno| -i64::from(errno.0)),
        };
        let values = list.iter().map(|item| one(self, item)).collect::<Option<Vec<_>>>()?;
        Some((values, self.line(&node.span)))
    }
}
