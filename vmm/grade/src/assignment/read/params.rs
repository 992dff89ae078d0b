//! Where the values of parameters come from.

use crate::assignment::{Origin, Test};
use base::diagnostic::Diagnostic;
use scenario::{
    Draw, Parameter,
    node::{Node, Value},
    reader::Reader,
};
use std::collections::{BTreeMap, BTreeSet};

/// `params`.
pub fn params(reader: &mut Reader<'_>, node: &Node) -> Vec<(String, Origin)> {
    let Some(mut fields) = reader.fields(node, "`params`") else { return Vec::new() };
    let mut list = Vec::new();
    for (name, _, node) in fields.rest() {
        list.extend(origin(reader, name, node).map(|origin| (name.to_owned(), origin)));
    }
    list
}

/// The parameters of all scenarios; `None` if one of them has a mistake, which is told elsewhere.
fn known(tests: &[Test]) -> Option<Vec<Parameter>> {
    let mut known = Vec::new();
    for test in tests {
        known.extend(scenario::parameters(&test.scenario).ok()?);
    }
    Some(known)
}

/// Tells of a table's columns that no scenario has, and of values that none takes.
pub fn columns(
    reader: &mut Reader<'_>,
    node: &Node,
    table: &BTreeMap<String, BTreeMap<String, String>>,
    tests: &[Test],
) {
    let Some(declared) = known(tests).filter(|_| !tests.is_empty()) else { return };
    for (student, (name, value)) in
        table.iter().flat_map(|(student, row)| row.iter().map(move |it| (student, it)))
    {
        let kinds = declared.iter().filter(|it| it.name == *name).map(|it| it.kind);
        if let Some(expected) = kinds.into_iter().find_map(|kind| kind.refuses(value)) {
            let why = format!("the table gives {student} `{value}` as `{name}`, expected {expected}");
            reader.error::<()>(Diagnostic::new(&node.span, why));
        }
    }
    // It says which of several modules is meant, too.
    let known: Vec<&str> = declared.iter().map(|it| &*it.name).chain(["module"]).collect();
    let columns: BTreeSet<&String> = table.values().flat_map(BTreeMap::keys).collect();
    for column in columns.into_iter().filter(|column| !known.contains(&column.as_str())) {
        let why = format!(
            "the table has a column `{column}`, and no scenario of the tests has a parameter of this name"
        );
        reader.error::<()>(Diagnostic::new(&node.span, why).nearest(column, known.iter().copied()));
    }
}

/// Tells of those that no scenario has: their values would reach nobody.
pub fn unused(reader: &mut Reader<'_>, node: &Node, tests: &[Test]) {
    let Some(known) = known(tests).filter(|_| !tests.is_empty()) else { return };
    unknown(reader, node, &known, "no scenario of the tests has");
}

/// Tells of those that are not `known`; `who` has none of the name.
pub fn unknown(reader: &mut Reader<'_>, node: &Node, known: &[Parameter], who: &str) {
    let Value::Map(fields) = &node.value else { return };
    let names = fields.iter().filter_map(|(key, _)| Some((key.text()?, &key.span)));
    for (name, span) in names {
        if !known.iter().any(|known| known.name == name) {
            let why = format!("{who} a parameter `{name}`");
            let near = known.iter().map(|known| &*known.name);
            reader.error::<()>(Diagnostic::new(span, why).nearest(name, near));
        }
    }
}

#[derive(Clone, Copy)]
enum From {
    Folder,
    Module,
    Device,
    Major,
}

fn origin(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<Origin> {
    const FROM: &[(&str, From)] = &[
        ("folder", From::Folder),
        ("module", From::Module),
        ("device", From::Device),
        ("major", From::Major),
    ];
    if !matches!(node.value, Value::Map(_)) {
        let help = "or what it has: `{from: folder}` (also module, device, major), `{source: 'expression'}`, `{draw: text, length: 12}`";
        let Some(text) = node.text() else {
            reader.expected::<()>(node, "a value for everybody");
            reader.errors.last_mut().expect("it was just noted").help = Some(help.to_owned());
            return None;
        };
        return Some(Origin::Fixed(text.to_owned()));
    }
    let mut fields = reader.fields(node, &format!("the parameter `{name}`"))?;
    let (from, source, draw) = (fields.take("from"), fields.take("source"), fields.take("draw"));
    let origin = match (from, source, draw) {
        (Some(node), None, None) => match reader.choice(node, "what a submission has", FROM)? {
            From::Folder => Origin::Folder,
            From::Module => Origin::Module,
            From::Device => Origin::Device,
            From::Major => Origin::Major,
        },
        (None, Some(node), None) => {
            let regex = reader.regex(node)?;
            if regex.captures_len() < 2 {
                let why = "the expression marks nothing: put parentheses around what is meant";
                return reader.error(Diagnostic::new(&node.span, why));
            }
            Origin::Source(regex)
        }
        (None, None, Some(node)) => Origin::Draw(Draw::read(reader, node, &mut fields)?),
        _ => {
            let why = format!("the parameter `{name}` needs one of `from`, `source` and `draw`");
            return reader.error(Diagnostic::new(&node.span, why));
        }
    };
    let of_draw = if let Origin::Draw(draw) = &origin { draw.fields() } else { &[] };
    fields.end(reader, &[&["from", "source", "draw"], of_draw].concat());
    Some(origin)
}
