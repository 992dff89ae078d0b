//! Tests: the scenarios, and what they are worth.

use super::{brought, existing, params::unknown, points};
use crate::{
    assignment::{Award, Origin, Test, Visibility},
    points::Points,
    stand_in::StandIn,
};
use base::{
    diagnostic::{Diagnostic, Diagnostics, Source},
    wanted::Wanted,
};
use scenario::{
    Parameter, Scenario,
    node::{self, Node, Value},
    reader::Reader,
};
use std::{fs, path::Path};

/// `tests`.
pub fn tests(
    reader: &mut Reader<'_>,
    node: &Node,
    params: &[(String, Origin)],
    kernel: &Wanted,
) -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    for node in reader.list(node, "a list of tests, each with its own `-`").unwrap_or_default() {
        let Some(test) = test(reader, node, params, kernel) else { continue };
        if tests.iter().any(|other| other.name == test.name) {
            let why = format!("a second test named `{}`", test.name);
            reader.error::<()>(Diagnostic::new(&node.span, why));
        }
        tests.push(test);
    }
    tests
}

fn test(reader: &mut Reader<'_>, node: &Node, params: &[(String, Origin)], kernel: &Wanted) -> Option<Test> {
    const KNOWN: &[&str] = &["name", "scenario", "params", "points", "steps", "run", "visibility", "hint"];
    const SEEN: &[(&str, Visibility)] = &[
        ("visible", Visibility::Visible),
        ("after-due-date", Visibility::AfterDueDate),
        ("hidden", Visibility::Hidden),
    ];
    let mut fields = reader.fields(node, "a test")?;
    let scenario = fields.need(reader, "scenario");
    let path = scenario.and_then(|node| existing(reader, node, "the scenario"));
    let name = match fields.take("name") {
        Some(node) => reader.text(node, "the test's name"),
        None => path.as_ref().and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned())),
    };
    let visibility = fields.take("visibility").and_then(|node| reader.choice(node, "who sees it", SEEN));
    let hint = fields.take("hint").and_then(|node| reader.text(node, "what to tell who fails it"));
    let of_params = fields.take("params");
    let own = of_params.map(|node| super::params(reader, node)).unwrap_or_default();
    let (whole, steps, run) = (fields.take("points"), fields.take("steps"), fields.take("run"));
    fields.end(reader, KNOWN);
    let (steps_of, brings) = match (&path, scenario) {
        (Some(path), Some(node)) => {
            if let (Some(of_params), Ok(declared)) = (of_params, scenario::parameters(path)) {
                unknown(reader, of_params, &declared, "its scenario does not have");
            }
            let general = params.iter().filter(|(name, _)| !own.iter().any(|(other, _)| other == name));
            let params = own.iter().chain(general).cloned().collect::<Vec<_>>();
            step_names(reader, path, node, &params, kernel)
        }
        _ => None,
    }
    .unzip();
    let brings = brings.unwrap_or_default();
    let award = match (whole, steps, run) {
        (Some(node), None, None) => Award::Whole(points(reader, node)?),
        (None, None, None) => {
            let help = "write `points: 10`, or points for its steps: `steps: {a step's name: 5}`, `run: 5`";
            return reader.error(Diagnostic::new(&node.span, "this test has no points").help(help));
        }
        (Some(node), ..) => {
            let why = "points for all of the test, or for its parts: not both";
            return reader.error(Diagnostic::new(&node.span, why));
        }
        (None, steps, run) => {
            let mut list = Vec::new();
            if let Some(node) = steps {
                for (name, key, node) in reader.fields(node, "`steps`")?.rest() {
                    let known = steps_of.as_ref();
                    if known.is_some_and(|known| !known.iter().any(|known| known == name)) {
                        let text = format!("no step of the scenario is named `{name}`");
                        let known = known.into_iter().flatten().map(String::as_str);
                        reader.errors.push(Diagnostic::new(key, text).nearest(name, known));
                    }
                    list.extend(points(reader, node).map(|points| (name.to_owned(), points)));
                }
            }
            let run = run.and_then(|node| points(reader, node)).unwrap_or(Points::NONE);
            Award::Parts { steps: list, run }
        }
    };
    let visibility = visibility.unwrap_or(Visibility::Visible);
    Some(Test { name: name?, scenario: path?, params: own, brings, award, visibility, hint })
}

/// The names of a scenario's steps, and a hash of the files that it brings. Its own mistakes are shown where it is named; that its parameters
/// have values here is looked at, too.
fn step_names(
    reader: &mut Reader<'_>,
    path: &Path,
    node: &Node,
    params: &[(String, Origin)],
    kernel: &Wanted,
) -> Option<(Vec<String>, String)> {
    let declared = match scenario::parameters(path) {
        Ok(declared) => declared,
        Err(errors) => {
            in_it(reader, path, node, &errors);
            return None;
        }
    };
    let has_value = |it: &Parameter| it.default.is_some() || params.iter().any(|(name, _)| *name == it.name);
    let open: Vec<&Parameter> = declared.iter().filter(|it| !has_value(it)).collect();
    for Parameter { name, .. } in &open {
        let why = format!("its parameter `{name}` has no value");
        let help = format!("give it one: `params: {{{name}: ...}}` here, or a default in the scenario");
        reader.error::<()>(Diagnostic::new(&node.span, why).help(help));
    }
    // Without a value there is nothing to look for.
    let brings = open.is_empty().then(|| looked_at(reader, path, node, params, &declared, kernel)).flatten();
    let text = fs::read_to_string(path).ok()?;
    let tree = node::parse(&Source::new(path, &text)).ok()?;
    let Value::List(steps) = &field(&tree, "steps")?.1.value else { return None };
    let names = steps.iter().filter_map(|step| Some(field(step, "name")?.1.text()?.to_owned())).collect();
    Some((names, brings.unwrap_or_default()))
}

/// A field of a map, with its key.
fn field<'a>(node: &'a Node, name: &str) -> Option<&'a (Node, Node)> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(key, _)| key.text() == Some(name))
}

/// A hash of the files that a scenario brings, but for a student's own. What is wrong with it once its parameters have values
/// would otherwise be found only when somebody is graded.
fn looked_at(
    reader: &mut Reader<'_>,
    path: &Path,
    node: &Node,
    params: &[(String, Origin)],
    declared: &[Parameter],
    kernel: &Wanted,
) -> Option<String> {
    let stand_in = match StandIn::new() {
        Ok(stand_in) => stand_in,
        Err(why) => {
            return reader.error(Diagnostic::new(&node.span, format!("this can't be looked at: {why}")));
        }
    };
    match scenario::load_with(path, &stand_in.values(declared, params, None)) {
        Ok(scenario) => {
            other_kernel(reader, node, &scenario, kernel);
            Some(brought::hash(&scenario, &stand_in))
        }
        Err(errors) => {
            in_it(reader, path, node, &errors);
            None
        }
    }
}

/// Says of a scenario that asks for another kernel than the assignment's that it does not get it.
fn other_kernel(reader: &mut Reader<'_>, node: &Node, scenario: &Scenario, kernel: &Wanted) {
    let folder = scenario.path.parent().unwrap_or(Path::new(""));
    let own = scenario.kernel.clone().relative_to(folder).canonical();
    let is_same = own == Wanted::default() || own == kernel.clone().canonical();
    let name = match (is_same, &scenario.matrix[..]) {
        (true, []) => return,
        (false, _) => "kernel",
        (true, _) => "matrix",
    };
    let tree = node::parse(&scenario.source).ok();
    let key = tree.as_ref().and_then(|tree| Some(&field(tree, name)?.0));
    let line = key.map_or(String::new(), |key| format!(":{}", scenario.source.line(key.span.start)));
    let why = format!(
        "{}{line} has a `{name}` of its own, and tests run on the assignment's kernel",
        scenario.path.display()
    );
    let help = "write it into the assignment's `kernel`, and take it out of the scenario";
    reader.error::<()>(Diagnostic::new(&node.span, why).help(help));
}

/// Shows a scenario's mistakes where an assignment names it.
fn in_it(reader: &mut Reader<'_>, path: &Path, node: &Node, errors: &Diagnostics) {
    let source = Source::new(path, &fs::read_to_string(path).unwrap_or_default());
    for error in errors.list() {
        let line = error.span.as_ref().map_or(String::new(), |span| format!(":{}", source.line(span.start)));
        let mut told =
            Diagnostic::new(&node.span, format!("a mistake in {}{line}: {}", path.display(), error.message));
        told.help.clone_from(&error.help);
        reader.errors.push(told);
    }
}
