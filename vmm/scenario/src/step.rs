//! Steps: what is common to all of them. The kinds are in [`super::kinds`].

use super::expect::Results;
use super::kinds::{KINDS, Kind, Parts};
use super::model::{Action, Binding, Check, Ktap, Origin, Place, RunExpect, Span, Step, Text, Want, When};
use super::node::Node;
use super::reader::{Fields, Reader};
use base::diagnostic::Diagnostic;
use std::time::Duration;

/// Fields that every kind of step has.
const COMMON: &[&str] = &["name", "expect", "as", "match", "timeout", "repeat", "allow", "ktap"];

const KTAP: &[(&str, Ktap)] = &[("required", Ktap::Required), ("ignored", Ktap::Ignored)];

/// The limit of a step that names none.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The steps, with a look at the places that must be clean before the first and after the last of them.
pub fn with_looks(steps: Vec<Step>, expect: &RunExpect, timeout: Duration) -> Vec<Step> {
    let Some((places, line)) = &expect.clean else { return steps };
    // The kernel takes its time to look for leaks.
    let timeout = if places.contains(&Place::Memory) { timeout + Duration::from_secs(120) } else { timeout };
    let look = |when, want| Step {
        name: None,
        line: *line,
        action: Action::Look { at: places.clone(), when },
        checks: vec![Check { line: *line, want }],
        ending: None,
        allow: Vec::new(),
        binds: Vec::new(),
        timeout,
        repeat: 1,
        ktap: Ktap::Ignored,
    };
    let (before, after) = (look(When::Before, Want::Success), look(When::After, Want::Clean));
    [before].into_iter().chain(steps).chain([after]).collect()
}

impl Reader<'_> {
    /// The list of steps. A step with an error is left out, and its error noted.
    pub fn steps(&mut self, nodes: &[Node], timeout: Duration) -> Vec<Step> {
        let steps = nodes.iter().filter_map(|node| self.step(node, timeout)).collect();
        let open = self.names.close();
        self.errors.extend(open);
        steps
    }

    fn step(&mut self, node: &Node, timeout: Duration) -> Option<Step> {
        let mut fields = self.fields(node, "a step")?;
        let kinds: Vec<(&Kind, Span)> = fields
            .keys()
            .filter_map(|(key, span)| {
                KINDS.iter().find(|kind| kind.name == key).map(|kind| (kind, span.clone()))
            })
            .collect();
        // `write` is a step and a field of the step `file`: what another kind calls its field is no kind here.
        let real: Vec<&(&Kind, Span)> = kinds
            .iter()
            .filter(|(kind, _)| !kinds.iter().any(|(other, _)| other.fields.contains(&kind.name)))
            .collect();
        let (kind, at) = match &real[..] {
            [(kind, at)] => (*kind, at.clone()),
            [] => {
                self.unknown_step(&fields);
                return None;
            }
            [(first, at), (second, other), ..] => {
                let message = format!("a step does one thing: `{}` or `{}`?", first.name, second.name);
                return self.error(
                    Diagnostic::new(other, message)
                        .other(at, "the other one is here")
                        .help("make two steps of it, each with its own `-`"),
                );
            }
        };
        let line = self.line(&at);
        fields.what = format!("`{}`", kind.name);
        let name = fields.take("name").and_then(|node| self.text(node, "a name"));
        let value = fields.take(kind.name)?;
        let parts = (kind.read)(self, value, &mut fields);
        let sleep = match &parts {
            Some(Parts { action: Action::Sleep { time } | Action::Poll { time, .. }, .. }) => *time,
            _ => Duration::ZERO,
        };
        let timeout = match fields.take("timeout") {
            Some(node) => {
                let timeout = self.duration(node, "`timeout`").unwrap_or(timeout);
                if timeout <= sleep {
                    let error = Diagnostic::new(&node.span, "the step waits longer than it may take");
                    self.errors.push(error.help("leave `timeout` out: a step has time for what it waits"));
                }
                timeout
            }
            None if timeout <= sleep => sleep + TIMEOUT,
            None => timeout,
        };
        let (repeat, expect) = (fields.take("repeat"), fields.take("expect"));
        let (bind, pattern) = (fields.take("as"), fields.take("match"));
        let allow = fields.take("allow").map(|node| self.allow(node)).unwrap_or_default();
        let ktap = fields.take("ktap").and_then(|node| self.choice(node, "`required` or `ignored`", KTAP));
        let known: Vec<&str> = kind.fields.iter().chain(COMMON).copied().collect();
        fields.end(self, &known);

        // A broken step still gives its name, so that the steps after it bring no errors that are none.
        let bind = bind.and_then(|node| self.new_name(node));
        let Some(parts) = parts else {
            if let Some((name, span)) = bind {
                self.errors.extend(self.names.give(&name, &span, &Origin::Value));
            }
            return None;
        };
        let mut expect = self.step_expect(expect, line, parts.results, &parts.names);
        let named = bind.is_some() || pattern.is_some();
        if expect.blocks() && (named || matches!(parts.action, Action::Sleep { .. })) {
            let error = match named {
                true => "a step that should block brings nothing for `as` or `match`",
                false => "a `sleep` takes its time: only a call can block",
            };
            self.errors.push(Diagnostic::new(&at, error));
        }
        if let (Some((_, span)), Action::Reload { .. }) = (&bind, &parts.action) {
            let error = Diagnostic::new(
                span,
                "a `reload` is several calls, so there is no value that this could name",
            );
            self.errors.push(error.help("leave `as` out"));
        }
        let mut names = parts.names;
        let pattern = pattern.and_then(|node| self.pattern(node, parts.results, bind.is_some()));
        if let Some((name, span)) = bind {
            let origin = pattern.as_ref().map_or(Origin::Value, |(_, regex)| Origin::Match(regex.clone()));
            names.push((name, span, origin));
        }
        if let Some((line, regex)) = pattern {
            let text = Text::Matches(regex);
            let want = match parts.results {
                Results::Program => Want::Stdout(text),
                Results::Value | Results::Unload | Results::Data | Results::Events => Want::Data(text),
            };
            expect.checks.push(Check { line, want });
        }
        for (name, span, origin) in &names {
            self.errors.extend(self.names.give(name, span, origin));
        }
        let repeat = repeat.and_then(|node| self.repeat(node, &parts.action)).unwrap_or(1);
        let binds = names.into_iter().map(|(name, span, from)| Binding { name, span, from }).collect();
        Some(Step {
            name,
            line,
            action: parts.action,
            checks: expect.checks,
            ending: expect.ending,
            allow,
            binds,
            timeout,
            repeat,
            ktap: ktap.unwrap_or_default(),
        })
    }

    fn unknown_step(&mut self, fields: &Fields<'_>) {
        let names = || KINDS.iter().map(|kind| kind.name);
        let strange = fields
            .keys()
            .find(|(key, _)| !COMMON.contains(key) && !KINDS.iter().any(|kind| kind.fields.contains(key)))
            .or_else(|| fields.keys().find(|(key, _)| !COMMON.contains(key)));
        self.errors.push(match strange {
            Some((name, span)) => {
                Diagnostic::new(span, format!("unknown step `{name}`")).nearest(name, names())
            }
            None => Diagnostic::new(&fields.span, "this step does nothing").nearest("", names()),
        });
    }

    fn pattern(&mut self, node: &Node, results: Results, named: bool) -> Option<(usize, regex::Regex)> {
        // What has a name says that, whatever text it is.
        let regex = if named { self.regex(node)? } else { self.telling_regex(node)? };
        if matches!(results, Results::Value | Results::Unload | Results::Events) {
            return self.error(Diagnostic::new(&node.span, "this step brings no text for `match`"));
        }
        if named && regex.captures_len() < 2 {
            return self.error(
                Diagnostic::new(&node.span, "the expression marks nothing that `as` could name")
                    .help("put parentheses around the number, like `'(\\d+) chardev'`"),
            );
        }
        Some((self.line(&node.span), regex))
    }

    fn repeat(&mut self, node: &Node, action: &Action) -> Option<u32> {
        let count = self.int(node, "`repeat`", 1, 10_000_000)? as u32;
        let single = matches!(
            action,
            Action::Syscall { .. }
                | Action::Read { .. }
                | Action::Write { .. }
                | Action::Lseek { .. }
                | Action::Ioctl { .. }
                | Action::Reload { .. }
        );
        if !single {
            return self.error(Diagnostic::new(
                &node.span,
                "only `reload` and single system calls can be repeated: `syscall`, `read`, `write`, `lseek`, `ioctl`",
            ));
        }
        Some(count)
    }
}
