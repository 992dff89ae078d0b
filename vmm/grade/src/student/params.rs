//! The values of the scenarios' parameters, for one student.

use crate::{
    assignment::{Assignment, Origin},
    intake::Wrong,
    source::{self, Prepared},
};
use base::{module::kernels_name, text::escape};
use regex::Regex;
use scenario::{Parameter, ParameterKind, Settings};
use std::path::Path;

/// Values of parameters.
#[derive(Debug)]
pub struct Values {
    /// Of those that all tests share.
    pub shared: Settings,
    /// Of all, for each test in the assignment's order.
    pub tests: Vec<Settings>,
}

impl Values {
    /// What a record keeps. What a test alone has goes by its name, too; what is the same for everybody tells nothing of a student, nor does
    /// where a submission lay for a while.
    pub fn kept(mut self, assignment: &Assignment, folder: &Path) -> Settings {
        for (test, values) in assignment.tests.iter().zip(self.tests) {
            let own = test.params.iter().filter(|(_, origin)| !matches!(origin, Origin::Fixed(_)));
            let own =
                own.filter_map(|(name, _)| Some((in_test(name, &test.name), values.get(name)?.clone())));
            self.shared.extend(own);
        }
        self.shared.retain(|_, value| *value != folder.display().to_string());
        self.shared
    }
}

/// What the assignment's table says, and what it says that the source tells; for each test, over that, what it has of its own. Of what
/// nobody tells there is a note.
///
/// # Errors
/// For the student: the tests can't look for what the source says, or need what nobody says. Or a scenario can't be read.
pub fn of(
    assignment: &Assignment,
    student: &str,
    prepared: &Prepared,
    folder: &Path,
    notes: &mut Vec<String>,
) -> Result<Values, Wrong> {
    let declared = assignment.tests.iter().map(|test| scenario::parameters(&test.scenario));
    let declared: Vec<Vec<Parameter>> =
        declared.collect::<Result<_, _>>().map_err(|errors| Wrong::ours(errors.to_string()))?;
    let all = declared.concat();
    let seed = &assignment.seed;
    // `drawn` is the name by which a value is drawn.
    let mut value = |name: &str, origin: &Origin, drawn: &str, declared: &[Parameter]| {
        let value = match origin {
            Origin::Folder => Some(folder.display().to_string()),
            Origin::Module => Some(kernels_name(&prepared.module)),
            Origin::Device => source::device(&prepared.text, &prepared.module),
            Origin::Major => source::major(&prepared.text),
            Origin::Source(regex) => said(regex, &prepared.text),
            Origin::Fixed(value) => Some(value.clone()),
            Origin::Draw(draw) => Some(draw.value(seed, student, drawn)),
        };
        let Some(value) = value else {
            notes.push(format!(
                "the source does not tell its `{name}`: the tests take their own, if they have one"
            ));
            return Ok(None);
        };
        if let Some(expected) = refused(origin, name, &value, declared) {
            let value = escape(&value);
            return Err(Wrong::from(format!(
                "the source has `{value}` as its `{name}`, and the tests can look only for {expected}"
            )));
        }
        Ok(Some(value))
    };
    let mut shared: Settings =
        assignment.table.get(student).cloned().unwrap_or_default().into_iter().collect();
    for (name, origin) in &assignment.params {
        // A line of the table may call it as its file is called.
        if let (Origin::Module, Some(module)) = (origin, shared.get_mut(name)) {
            *module = kernels_name(module);
        }
        if !shared.contains_key(name)
            && let Some(value) = value(name, origin, name, &all)?
        {
            shared.insert(name.clone(), value);
        }
    }
    // What a scenario would draw at each run: here it stays the same for a student.
    for Parameter { name, draw, .. } in &all {
        if let Some(draw) = draw.filter(|_| !shared.contains_key(name)) {
            shared.insert(name.clone(), draw.value(seed, student, name));
        }
    }
    let mut tests = Vec::new();
    for (test, declared) in assignment.tests.iter().zip(&declared) {
        let mut values = shared.clone();
        for (name, origin) in &test.params {
            let own = value(name, origin, &in_test(name, &test.name), declared)?;
            values.extend(own.map(|value| (name.clone(), value)));
        }
        // What nobody tells may have a default in each scenario that asks for it.
        let open = declared.iter().find(|it| it.default.is_none() && !values.contains_key(&it.name));
        if let Some(Parameter { name, about, .. }) = open {
            let about = about.as_ref().map_or(String::new(), |about| format!(" ({about})"));
            return Err(Wrong::from(format!(
                "the source does not tell its `{name}`{about}; the assignment's table can say it"
            )));
        }
        tests.push(values);
    }
    Ok(Values { shared, tests })
}

/// A parameter that a test has of its own.
fn in_test(name: &str, test: &str) -> String {
    format!("{name} of {test}")
}

/// What an expression marks in a source: of its groups the first that took part, since only one of several alternatives does.
fn said(regex: &Regex, text: &str) -> Option<String> {
    let found = regex.captures(text)?;
    found.iter().skip(1).flatten().next().map(|group| group.as_str().to_owned())
}

/// What the tests take instead of what a source says. What others say was looked at when the assignment was read.
fn refused(origin: &Origin, name: &str, value: &str, declared: &[Parameter]) -> Option<&'static str> {
    let kinds = declared.iter().filter(|it| it.name == name).map(|it| it.kind);
    match origin {
        // A test may give it to a shell, whatever type it has.
        Origin::Device => kinds.chain([ParameterKind::Name]).find_map(|kind| kind.refuses(value)),
        Origin::Module | Origin::Major | Origin::Source(_) => {
            kinds.into_iter().find_map(|kind| kind.refuses(value))
        }
        Origin::Folder | Origin::Fixed(_) | Origin::Draw(_) => None,
    }
}

#[cfg(test)]
#[path = "params_test.rs"]
mod tests;
