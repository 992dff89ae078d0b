//! Steps that run programs: `run` and `script`.

use super::expect::Results;
use super::kinds::Parts;
use super::model::{Action, Data, NOBODY, ROOT, SCRIPT};
use super::node::{Node, Value};
use super::reader::{Fields, Reader};
use super::template::{pieces, placeholders};
use base::diagnostic::Diagnostic;

/// A program and its arguments.
pub(super) fn run(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    let argv: Vec<String> = match &value.value {
        Value::List(items) => {
            let first: Vec<&str> = items.iter().take(2).filter_map(Node::text).collect();
            let is_shell = matches!(first[..], [shell, "-c"] if shell.ends_with("sh"));
            reader.names.hint = is_shell
                .then_some("write `script:` for what a shell should read: `${name}` is the shell's there");
            let argv = items.iter().map(|item| reader.template(item, "an argument")).collect::<Option<_>>();
            reader.names.hint = None;
            argv?
        }
        _ => {
            let line = reader.template(value, "a program and its arguments")?;
            if let Some(sign) = line.chars().find(|c| "\"'|<>;&*`\\".contains(*c)) {
                return reader.error(
                    Diagnostic::new(
                        &value.span,
                        format!("no shell reads this line: `{sign}` has no meaning"),
                    )
                    .help("write a list, one item an argument: `run: [/bin/echo, \"two words\"]`; or `script:`, which a shell reads"),
                );
            }
            let dollar = pieces(&line).find(|(text, _)| text.contains('$'));
            if dollar.is_some() {
                return reader.error(
                    Diagnostic::new(&value.span, "no shell reads this line: `$` has no meaning").help(
                        "write `${name}` for a step's result, and `script:` for what a shell should read",
                    ),
                );
            }
            line.split_whitespace().map(str::to_owned).collect()
        }
    };
    if argv.first().is_none_or(String::is_empty) {
        return reader.expected(value, "a program and its arguments like `[/bin/ls, -l]`");
    }
    let env = environment(reader, fields)?;
    let stdin = match fields.take("stdin") {
        Some(node) => reader.data(node, "what the program reads")?,
        None => Data::default(),
    };
    let user = user(reader, fields)?;
    Some(Parts {
        action: Action::Run { argv, env, stdin, user },
        results: Results::Program,
        names: Vec::new(),
    })
}

/// Whom a program runs as; root is number 0, and `None` where nothing is said.
fn user(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<Option<u32>> {
    let Some(node) = fields.take("user") else { return Some(None) };
    match node.text() {
        Some("root") => Some(Some(ROOT)),
        Some("nobody") => Some(Some(NOBODY)),
        _ => {
            let user = reader.int(node, "`root`, `nobody`, or a user's number", 0, NOBODY.into())?;
            Some(u32::try_from(user).ok())
        }
    }
}

fn environment(reader: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<Vec<String>> {
    let mut env = Vec::new();
    if let Some(node) = fields.take("env") {
        for (name, _, node) in reader.fields(node, "`env`")?.rest() {
            env.push(format!("{name}={}", reader.template(node, "a value")?));
        }
    }
    Some(env)
}

/// A shell script. It goes in by the shell's standard input: `${name}` in it is the shell's, not ours.
pub(super) fn script(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    let text = reader.raw(value, "a shell script")?;
    if text.trim().is_empty() {
        return reader.expected(value, "a shell script, like `script: |` and its lines below");
    }
    let argv = SCRIPT.map(str::to_owned).into();
    let env = environment(reader, fields)?;
    for name in placeholders(&text) {
        let given =
            env.iter().any(|variable| variable.split_once('=').is_some_and(|(given, _)| given == name));
        if reader.names.params.contains_key(name) && !given {
            reader.notes.push(format!(
                "`${{{name}}}` in the script of line {} is the shell's, not the parameter's value, which comes in by \
                 `env: {{{name}: ${name}}}`",
                reader.line(&value.span)
            ));
        }
    }
    let stdin = text.into_bytes().into();
    let action = Action::Run { argv, env, stdin, user: user(reader, fields)? };
    Some(Parts { action, results: Results::Program, names: Vec::new() })
}
