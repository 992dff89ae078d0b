//! Figures without noise: on the emulated Intel host, whose clock counts instructions, one a nanosecond.
//!
//! Caches and pipelines are not in them: they rank work, not hardware. Two runs of one build come to the same, to the last instruction,
//! where the emulator's memory may lie where it always lies (personality(2), ADDR_NO_RANDOMIZE), which some containers forbid: there they
//! differ by some hundredths of a percent.

mod hello;
mod measure;
mod process;

pub use measure::{Table, measure};

use super::calls::{self, Way};
use serde_json::{Map, Value, json};
use std::{
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// In percent: by less nothing has changed.
const CHANGED: f64 = 1.0;
/// By more it is too dear to go unsaid.
const TOO_DEAR: f64 = 5.0;

/// So many calls in a loop: enough that a program's start does not count.
const CALLS: u32 = 1000;

/// What is measured of each step, in the order of the scenario's. The first ones are `/bin/calls`, in these ways; others are
/// watched as those of a run.
const WAYS: [Way; 5] = [Way::Untrapped, Way::Counted, Way::Results, Way::Full, Way::Protected];
const STEPS: [&str; 6] = [
    "step: insmod",
    "step: syscall",
    "step: read a file",
    "step: write a file",
    "step: run /bin/true",
    "step: rmmod",
];

/// Writes a scenario into `folder` that does all of it; `modules` is where those are that the project ships.
///
/// # Errors
/// There is no compiler, or the folder can't be written.
pub fn scenario(folder: &Path, modules: &Path) -> io::Result<PathBuf> {
    let program = calls::program(folder)?;
    let mut steps = vec![json!({ "run": ["/bin/calls", CALLS.to_string()] }); WAYS.len()];
    steps.extend([
        json!({ "insmod": "helloModule" }),
        json!({ "syscall": "getppid" }),
        json!({ "file": "/proc/version" }),
        json!({ "file": "/tmp-exact", "write": "exact" }),
        json!({ "run": ["/bin/true"] }),
        json!({ "rmmod": "helloModule" }),
    ]);
    let scenario = json!({
        "name": "exact",
        "modules": [modules.join("hello")],
        "files": { "/bin/calls": program },
        "timeout": "10 min",
        "steps": steps,
    });
    let path = folder.join("exact.yaml");
    fs::write(&path, serde_json::to_vec_pretty(&scenario).expect("plain data"))?;
    Ok(path)
}

/// How system calls are looked at in a step.
pub fn way(step: usize) -> Way {
    WAYS.get(step).copied().unwrap_or(Way::Full)
}

/// The figure of a step: its name, and what it took. `printed` is what its program printed.
pub fn of_step(step: usize, took: Duration, printed: &[u8]) -> Option<(String, Duration)> {
    match WAYS.get(step) {
        Some(way) => Some((format!("call: {}", way.name()), calls::took(printed)?)),
        None => Some(((*STEPS.get(step - WAYS.len())?).to_owned(), took)),
    }
}

/// How many figures there are of steps.
pub fn steps() -> usize {
    WAYS.len() + STEPS.len()
}

/// Figures by name, in instructions, in the order in which they are shown.
#[derive(Debug, Default, PartialEq)]
pub struct Figures(pub Vec<(String, u64)>);

impl Figures {
    /// Adds one.
    pub fn add(&mut self, name: &str, took: Duration) {
        self.0.push((name.to_owned(), u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)));
    }

    /// As the table is kept.
    pub fn to_json(&self) -> String {
        let rows: Map<String, Value> =
            self.0.iter().map(|(name, count)| (name.clone(), (*count).into())).collect();
        serde_json::to_string_pretty(&rows).expect("plain data") + "\n"
    }

    /// A line for each.
    pub fn text(&self) -> String {
        self.0.iter().map(|(name, count)| format!("{name:<28}{count:>14}\n")).collect()
    }

    /// A line for each, with what the table says and by how much it differs, if that is worth a word; and the names of what
    /// is too dear.
    ///
    /// # Errors
    /// The table is none, in words.
    pub fn compare(&self, table: &str) -> Result<(String, Vec<String>), String> {
        let table: Map<String, Value> = serde_json::from_str(table).map_err(|error| error.to_string())?;
        let mut text = String::new();
        let mut dear = Vec::new();
        for (name, count) in &self.0 {
            let _ = write!(text, "{name:<28}{count:>14}");
            match table.get(name).and_then(Value::as_u64).filter(|known| *known > 0) {
                None => text.push_str("   new\n"),
                Some(known) => {
                    let percent = (*count as f64 / known as f64 - 1.0) * 100.0;
                    if percent.abs() >= CHANGED {
                        let _ = write!(text, "   {percent:+.1} % of {known}");
                    }
                    text.push('\n');
                    if percent > TOO_DEAR {
                        dear.push(name.clone());
                    }
                }
            }
        }
        Ok((text, dear))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenario_has_a_step_for_each_figure() {
        let folder = tempfile::tempdir().unwrap();
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../modules");
        let path = scenario(folder.path(), &modules).unwrap();
        let scenario = scenario::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(scenario.steps.len(), steps());
        let took = Duration::from_nanos(7);
        assert_eq!(of_step(0, took, b"13\n"), Some(("call: untrapped".to_owned(), Duration::from_nanos(13))));
        assert_eq!(of_step(0, took, b""), None);
        assert_eq!(of_step(WAYS.len(), took, b""), Some(("step: insmod".to_owned(), took)));
        assert_eq!(of_step(steps(), took, b""), None);
    }

    #[test]
    fn what_changed_is_said_and_what_is_too_dear_is_named() {
        let figures = Figures(
            [("same", 1009), ("cheaper", 900), ("dearer", 1040), ("dear", 1051), ("new", 1)]
                .map(|(name, count)| (name.to_owned(), count))
                .into(),
        );
        let table = r#"{"same": 1000, "cheaper": 1000, "dearer": 1000, "dear": 1000}"#;
        let (text, dear) = figures.compare(table).unwrap();
        let ends: Vec<&str> = text.lines().map(|line| line.rsplit("   ").next().unwrap().trim()).collect();
        assert_eq!(ends, ["1009", "-10.0 % of 1000", "+4.0 % of 1000", "+5.1 % of 1000", "new"]);
        assert_eq!(dear, ["dear"]);
        assert!(figures.compare("none").is_err());
        assert_eq!(figures.compare(&figures.to_json()).unwrap().1, Vec::<String>::new());
    }
}
