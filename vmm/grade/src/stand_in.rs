//! A folder in a student's place: a scenario is looked at before there is one, and which modules come of it only building tells.

use crate::assignment::{Assignment, Origin};
use base::{
    diagnostic::{Diagnostic, Diagnostics},
    module::is_same_module,
    text::plain,
};
use scenario::{ModuleKind, Parameter, ParameterKind, Scenario, Settings, model::Action};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs, io,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// The module's name, where scenarios take it from a student.
const MODULE: &str = "module_of_a_student";

/// Such a folder; dropped, it is gone.
pub struct StandIn(TempDir);

impl StandIn {
    /// One whose makefile may make anything.
    ///
    /// # Errors
    /// It can't be written, with what to do.
    pub fn new() -> Result<Self, String> {
        Self::within(&env::temp_dir())
    }

    fn within(parent: &Path) -> Result<Self, String> {
        let make = || {
            let folder = tempfile::tempdir_in(parent)?;
            fs::write(folder.path().join("Makefile"), "obj-m := $(ANY).o\n")?;
            Ok(Self(folder))
        };
        make().map_err(|error: io::Error| {
            format!(
                "can't make a folder in {}: {}; free some space there, or let TMPDIR name another folder",
                parent.display(),
                plain(&error)
            )
        })
    }

    /// Values with which a scenario can be read before a student's are known. `row` is what a table says.
    pub fn values(
        &self,
        declared: &[Parameter],
        origins: &[(String, Origin)],
        row: Option<&BTreeMap<String, String>>,
    ) -> Settings {
        let value = |Parameter { name, kind, default, draw, .. }: &Parameter| {
            let some = || match kind {
                ParameterKind::Int => "1",
                ParameterKind::Path => "/dev/module",
                ParameterKind::Name | ParameterKind::Text => MODULE,
            };
            let told = || row.and_then(|row| row.get(name)).cloned();
            let drawn = || draw.map(|draw| draw.value("", "", name));
            match origins.iter().find(|(other, _)| other == name).map(|(_, origin)| origin) {
                Some(Origin::Folder) => self.0.path().display().to_string(),
                Some(Origin::Module) => MODULE.to_owned(),
                Some(Origin::Fixed(value)) => told().unwrap_or_else(|| value.clone()),
                Some(Origin::Draw(draw)) => told().unwrap_or_else(|| draw.value("", "", name)),
                Some(Origin::Device | Origin::Major | Origin::Source(_)) | None => {
                    told().or_else(|| default.clone()).or_else(drawn).unwrap_or_else(|| some().to_owned())
                }
            }
        };
        declared.iter().map(|parameter| (parameter.name.clone(), value(parameter))).collect()
    }

    /// Whether a path leads there.
    pub fn has(&self, path: &Path) -> bool {
        path.starts_with(self.0.path())
    }
}

/// A scenario with a student's values, whatever the modules of the student's folder are called, and what is wrong with it by that folder
/// alone. It names that folder, and can be run once its modules are known to be there and nothing is wrong.
///
/// # Errors
/// Everything that is wrong with it whatever the folder.
pub fn load(
    scenario: &Path,
    values: &Settings,
    folder: &Path,
) -> Result<(Scenario, Vec<Diagnostic>), Diagnostics> {
    let declared = scenario::parameters(scenario)?;
    let own = values.iter().filter(|(name, _)| declared.iter().any(|it| it.name == **name));
    let values: Settings = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    let wrong = match scenario::load_with(scenario, &values) {
        Ok(scenario) => return Ok((scenario, Vec::new())),
        Err(errors) => errors.list().to_vec(),
    };
    let stand_in = StandIn::new().map_err(|why| Diagnostics::file(scenario, why))?;
    let (real, other) = (folder.display().to_string(), stand_in.0.path().display().to_string());
    let value = |value: String| if value == real { other.clone() } else { value };
    let values = values.into_iter().map(|(name, it)| (name, value(it))).collect();
    let mut scenario = scenario::load_with(scenario, &values)?;
    for module in scenario.modules.iter_mut().filter(|module| stand_in.has(&module.path)) {
        folder.clone_into(&mut module.path);
    }
    Ok((scenario, wrong))
}

/// What the scenarios of an assignment say of a student's folder, before it is looked at.
#[derive(Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// Modules that the steps name, whatever the student's is called.
    pub modules: BTreeSet<String>,
    /// Steps name the student's module by whatever name it has.
    pub any: bool,
    /// The folders of modules in front of the student's, whose symbols it may use; each list that there is. Who reads the files that were handed in
    /// has no use for them, and a path need not be text.
    #[serde(skip)]
    pub before: BTreeSet<Vec<PathBuf>>,
}

impl Asked {
    /// For this student.
    ///
    /// # Errors
    /// Why the scenarios can't be read, which is no student's fault.
    pub fn of(assignment: &Assignment, student: &str) -> Result<Self, String> {
        let mut asked = Self::default();
        let stand_in = StandIn::new()?;
        let row = assignment.table.get(student);
        for test in &assignment.tests {
            let declared = scenario::parameters(&test.scenario).map_err(|errors| errors.to_string())?;
            let mut values = stand_in.values(&declared, &assignment.params, row);
            let own = declared.iter().filter(|it| test.params.iter().any(|(name, _)| *name == it.name));
            values.extend(stand_in.values(&own.cloned().collect::<Vec<_>>(), &test.params, None));
            let scenario =
                scenario::load_with(&test.scenario, &values).map_err(|errors| errors.to_string())?;
            asked.take(&scenario, &stand_in);
        }
        Ok(asked)
    }

    /// Whether the steps name this module.
    pub fn has(&self, module: &str) -> bool {
        self.modules.iter().any(|name| is_same_module(name, module))
    }

    fn take(&mut self, scenario: &Scenario, stand_in: &StandIn) {
        let Some(own) = scenario.modules.iter().position(|module| stand_in.has(&module.path)) else { return };
        let before = scenario.modules[..own].iter().filter(|module| module.kind == ModuleKind::Folder);
        self.before.insert(before.map(|module| module.path.clone()).collect());
        let others = || scenario.modules.iter().filter(|module| !stand_in.has(&module.path));
        // Where nobody knows what comes of another folder, it may be what the steps name.
        let is_others = |name: &str| {
            others().any(|it| it.names.is_empty() || it.names.iter().any(|other| is_same_module(other, name)))
        };
        for step in &scenario.steps {
            match &step.action {
                Action::Insmod { module, .. }
                | Action::Rmmod { module }
                | Action::Reload { module, .. }
                | Action::Modprobe { module, .. }
                | Action::Modinfo { module } => match &**module {
                    MODULE => self.any = true,
                    name if is_others(name) => {}
                    name => _ = self.modules.insert(name.to_owned()),
                },
                _ => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "stand_in_test.rs"]
mod tests;
