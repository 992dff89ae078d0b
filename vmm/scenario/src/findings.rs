//! What a scenario says of the kernel's troubles: ends that should come, splats that are allowed, taint.

use super::model::{Allow, Ending, EndingKind, Pattern, TaintWant};
use super::node::{Node, Value};
use super::reader::{Fields, Reader};
use base::diagnostic::Diagnostic;
use base::taint;
use splat::Kind;

impl Reader<'_> {
    /// An end other than a healthy one: `panic: true`, `panic: text that the evidence contains`, or
    /// `panic: {function: foo}`.
    pub fn ending(&mut self, fields: &mut Fields<'_>) -> Option<Ending> {
        let mut found: Option<Ending> = None;
        for (name, kind) in EndingKind::NAMES {
            let Some(node) = fields.take(name) else { continue };
            let pattern = match &node.value {
                Value::Scalar { text, plain: true } if text == "true" => Some(Pattern::default()),
                Value::Scalar { text, plain: true } if text == "false" => self.expected(
                    node,
                    "`true` or what the evidence must contain; what is not expected need not be named",
                ),
                _ => self.pattern_of(node, *kind),
            };
            let Some(pattern) = pattern else { continue };
            if let Some(first) = &found {
                self.errors.push(Diagnostic::new(
                    &node.span,
                    format!("a run ends once: `{}` and `{name}` exclude each other", first.kind.name()),
                ));
                continue;
            }
            found = Some(Ending { kind: *kind, pattern, line: self.line(&node.span) });
        }
        found
    }

    /// `allow: [{splat: text, reason: text}]`, with `oops` for `splat` too, or a single entry.
    pub fn allow(&mut self, node: &Node) -> Vec<Allow> {
        let entries = match &node.value {
            Value::List(entries) => &entries[..],
            Value::Map(_) => std::slice::from_ref(node),
            _ => {
                self.expected::<()>(node, "a list of what is allowed, like `[{splat: text, reason: why}]`");
                &[]
            }
        };
        entries.iter().filter_map(|entry| self.allowed(entry)).collect()
    }

    fn allowed(&mut self, node: &Node) -> Option<Allow> {
        let mut fields = self.fields(node, "what is allowed")?;
        let splat = fields.take("splat").map(|node| (EndingKind::Splat, node));
        let oops = fields.take("oops").map(|node| (EndingKind::Oops, node));
        let reason = match fields.take("reason") {
            Some(node) => match self.text(node, "the reason, in words")? {
                text if text.trim().is_empty() => self.no_reason(node),
                text => Some(text),
            },
            None => self.no_reason(node),
        };
        let span = fields.span.clone();
        fields.end(self, &["splat", "oops", "reason"]);
        let (kind, what) = match (splat, oops) {
            (Some(_), Some((_, oops))) => {
                return self
                    .error(Diagnostic::new(&oops.span, "an entry allows one thing: `splat` or `oops`"));
            }
            (None, None) => {
                return self.error(
                    Diagnostic::new(&span, "what is allowed? This entry needs the field `splat` or `oops`")
                        .help("like `{splat: text of its message, reason: why it may be there}`"),
                );
            }
            (Some(one), None) | (None, Some(one)) => one,
        };
        if let Value::Scalar { text, plain: true } = &what.value
            && text == "true"
        {
            return self.allows_every(what, kind);
        }
        let pattern = self.pattern_of(what, kind)?;
        if pattern.is_of_everything() {
            return self.allows_every(what, kind);
        }
        Some(Allow { kind, pattern, reason: reason?, line: self.line(&node.span) })
    }

    fn allows_every<T>(&mut self, what: &Node, kind: EndingKind) -> Option<T> {
        let every = kind.name();
        self.error(
            Diagnostic::new(&what.span, format!("this would allow every {every}, those of tomorrow too"))
                .help("name the one that is meant, by text or by `{kind: warn, function: foo}`"),
        )
    }

    fn no_reason<T>(&mut self, node: &Node) -> Option<T> {
        self.error(
            Diagnostic::new(&node.span, "a splat can only be allowed with a reason")
                .help("add `reason: why it may be there`: whoever reads this next must know when it can go"),
        )
    }

    /// Text that the evidence contains, or a map that says more.
    fn pattern_of(&mut self, node: &Node, ending: EndingKind) -> Option<Pattern> {
        if node.text().is_some_and(|text| !text.is_empty()) {
            let contains = self.text(node, "text")?;
            return Some(Pattern { contains: Some(contains), ..Pattern::default() });
        }
        if node.value == Value::Null {
            return self.error(
                Diagnostic::new(&node.span, format!("`{}` says nothing", ending.name())).help(
                    "in YAML `NULL` stands for nothing: put it into quotes if it is the text that is meant",
                ),
            );
        }
        if !matches!(node.value, Value::Map(_)) {
            return self
                .expected(node, "`true`, text that the evidence contains, or a map like `{function: foo}`");
        }
        let mut fields = self.fields(node, &format!("`{}`", ending.name()))?;
        let mut pattern = Pattern::default();
        if let Some(node) = fields.take("contains") {
            pattern.contains = Some(self.text(node, "text that the evidence contains")?);
        }
        if let Some(node) = fields.take("matches") {
            pattern.matches = Some(self.regex(node)?);
        }
        let mut known = vec!["contains", "matches"];
        if let EndingKind::Splat | EndingKind::Oops | EndingKind::Panic = ending {
            known.extend(["kind", "function"]);
            if let Some(node) = fields.take("kind") {
                pattern.kind = Some(self.kind(node, ending)?);
            }
            if let Some(node) = fields.take("function") {
                pattern.function = Some(self.text(node, "a function's name")?);
            }
        }
        fields.end(self, &known);
        Some(pattern)
    }

    fn kind(&mut self, node: &Node, ending: EndingKind) -> Option<Kind> {
        let kinds: Vec<(&str, Kind)> = Kind::ALL.iter().map(|kind| (kind.name(), *kind)).collect();
        let kind = self.choice(node, "a kind of finding", &kinds)?;
        let other = match (ending, kind) {
            (EndingKind::Splat, Kind::Oops) => "oops",
            (EndingKind::Splat | EndingKind::Oops, Kind::Panic) => "panic",
            _ => return Some(kind),
        };
        self.error(Diagnostic::new(
            &node.span,
            format!("a finding of the kind `{}` is no {}: write `{other}: true`", kind.name(), ending.name()),
        ))
    }

    /// `unchanged`, the letters that come newly, or `{at-most: [O, E]}`.
    pub fn taint(&mut self, node: &Node) -> Option<TaintWant> {
        match &node.value {
            Value::Scalar { text, .. } if text == "unchanged" => Some(TaintWant::Exactly(0)),
            Value::Map(_) => {
                let mut fields = self.fields(node, "`taint`")?;
                let letters = fields.need(self, "at-most").and_then(|node| self.letters(node));
                fields.end(self, &["at-most"]);
                letters.map(TaintWant::AtMost)
            }
            _ => self.letters(node).map(TaintWant::Exactly),
        }
    }

    fn letters(&mut self, node: &Node) -> Option<u64> {
        const WHAT: &str = "`unchanged`, or the letters of the kernel's taint that should come, like `[O]`";
        let mut mask = 0;
        for node in self.items(node, WHAT)? {
            let bit = node.text().and_then(taint::bit);
            let Some(bit) = bit else {
                self.expected::<()>(node, WHAT);
                return self.last_help(&format!("the letters are {}", taint::all()));
            };
            mask |= bit;
        }
        Some(mask)
    }

    /// Adds advice to the error that was noted last.
    pub fn last_help<T>(&mut self, help: &str) -> Option<T> {
        if let Some(error) = self.errors.pop() {
            self.errors.push(error.help(help));
        }
        None
    }
}
