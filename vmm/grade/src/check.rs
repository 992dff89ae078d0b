//! Is an assignment sound? What can be seen in its file, and what comes of grading the solutions that it names.

use crate::{
    all::{Grading, all},
    assignment::{Assignment, Bad, Visibility},
    intake::{Entry, single},
    output,
    points::Points,
    record::{Record, State},
};
use base::{
    cache::{Cache, Stage},
    text::plain,
};
use harness::Abort;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use walkdir::WalkDir;

/// What a check came to.
pub struct Checked {
    /// What is wrong with the assignment, a line each.
    pub problems: Vec<String>,
    /// What was graded for it.
    pub records: Vec<Record>,
    /// The user pressed Ctrl-C.
    pub stopped: bool,
}

/// A solution, and what it should get.
enum Wanted<'a> {
    Reference,
    Starter(Points),
    Bad(&'a Bad),
}

/// Grades the reference, the starter and the bad solutions, and compares with what is written.
///
/// # Errors
/// As for [`all`]; or a patch does not fit the reference.
pub fn check(
    assignment: &Assignment,
    grading: &Grading,
    tell: &(dyn Fn(&Record, bool) + Sync),
) -> Result<Checked, Abort> {
    let stage = Cache::open()?.stage()?;
    let solutions = solutions(assignment, &stage).map_err(Abort::input)?;
    let entries = solutions.iter().map(|(entry, _)| entry.clone()).collect();
    let mut problems = by_looks(assignment);
    let graded = all(assignment, entries, grading, tell)?;
    for (entry, wanted) in &solutions {
        let only = &grading.only;
        let record = graded.records.iter().find(|record| record.student == entry.student);
        match record {
            Some(record) => problems.extend(compare(assignment, record, wanted)),
            None if graded.stopped || grading.shard.is_some() || !only.is_empty() => {}
            None => problems.push(format!("{}: it was not graded", entry.student)),
        }
    }
    Ok(Checked { problems, records: graded.records, stopped: graded.stopped })
}

/// What needs no machine.
fn by_looks(assignment: &Assignment) -> Vec<String> {
    let mut problems = Vec::new();
    if assignment.check.reference.is_none() {
        problems.push("there is no reference solution: write `check: {reference: FOLDER}`".to_owned());
    }
    for test in &assignment.tests {
        if test.award.points() == Points::NONE {
            problems.push(format!("{}: it is worth nothing", test.name));
        }
        if test.visibility != Visibility::Visible && test.hint.is_some() {
            problems
                .push(format!("{}: it is hidden, but its hint tells a student what it looks for", test.name));
        }
        let shown = assignment.tests.iter().find(|other| {
            other.visibility == Visibility::Visible
                && other.name != test.name
                && other.scenario == test.scenario
        });
        if let (Visibility::Hidden | Visibility::AfterDueDate, Some(shown)) = (test.visibility, shown) {
            problems
                .push(format!("{}: it is hidden, but `{}` shows the same scenario", test.name, shown.name));
        }
    }
    problems
}

fn solutions<'a>(assignment: &'a Assignment, stage: &Stage) -> Result<Vec<(Entry, Wanted<'a>)>, String> {
    let check = &assignment.check;
    let mut list = Vec::new();
    if let Some(path) = &check.reference {
        list.push((single(path, "reference"), Wanted::Reference));
    }
    if let Some((path, most)) = &check.starter {
        list.push((single(path, "starter"), Wanted::Starter(*most)));
    }
    for bad in &check.bad {
        let name = bad.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let patch = bad.path.extension().is_some_and(|it| it == "patch" || it == "diff");
        let path = match (patch, &check.reference) {
            (false, _) => bad.path.clone(),
            (true, Some(reference)) => patched(reference, &bad.path, &stage.path().join(&name))?,
            (true, None) => {
                return Err(format!("{}: a patch needs a reference solution", bad.path.display()));
            }
        };
        if list.iter().any(|(entry, _): &(Entry, _)| entry.student == name) {
            return Err(format!("{}: a second solution named `{name}`", bad.path.display()));
        }
        list.push((single(&path, &name), Wanted::Bad(bad)));
    }
    Ok(list)
}

/// The reference with a patch on it.
fn patched(reference: &Path, patch: &Path, into: &Path) -> Result<PathBuf, String> {
    let cannot =
        |path: &Path, error: std::io::Error| format!("can't copy {}: {}", path.display(), plain(&error));
    for entry in WalkDir::new(reference) {
        let entry = entry.map_err(|error| format!("can't read {}: {error}", reference.display()))?;
        let to = into.join(entry.path().strip_prefix(reference).unwrap_or(Path::new("")));
        match entry.file_type() {
            kind if kind.is_dir() => fs::create_dir_all(&to).map_err(|error| cannot(entry.path(), error))?,
            kind if kind.is_file() => {
                _ = fs::copy(entry.path(), &to).map_err(|error| cannot(entry.path(), error))?
            }
            _ => {}
        }
    }
    let file = fs::File::open(patch)
        .map_err(|error| format!("can't read {}: {}", patch.display(), plain(&error)))?;
    let mut command = Command::new("patch");
    command.args(["-p1", "--force", "--no-backup-if-mismatch", "-d"]).arg(into);
    let output = command.stdin(file).stderr(Stdio::piped()).output();
    let output = output.map_err(|error| format!("can't start `patch`: {}", plain(&error)))?;
    match output.status.success() {
        true => Ok(into.to_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stdout);
            let said = said.lines().last().unwrap_or_default();
            Err(format!("{} does not fit the reference solution: {said}", patch.display()))
        }
    }
}

/// What is not as written.
fn compare(assignment: &Assignment, record: &Record, wanted: &Wanted<'_>) -> Vec<String> {
    let name = &record.student;
    if record.state == State::NotGraded {
        let why = record.why.as_deref().unwrap_or_default();
        return vec![format!("{name}: it could not be graded: {why}")];
    }
    let mut problems = Vec::new();
    let unstable = record.tests.iter().filter(|test| test.other.is_some());
    problems
        .extend(unstable.map(|test| format!("{name}: `{}` is unstable: two runs, two results", test.name)));
    match wanted {
        Wanted::Reference => {
            if let Some(why) = &record.why {
                problems.push(format!("{name}: {why}"));
            }
            for test in &record.tests {
                let parts = test.run.iter().flat_map(|run| &run.parts).filter(|part| part.points < part.of);
                let parts: Vec<String> =
                    parts.map(|part| format!("`{}` ({} of {})", part.name, part.points, part.of)).collect();
                if !parts.is_empty() {
                    problems.push(format!(
                        "{name}: `{}` has points that can't be had: {}",
                        test.name,
                        parts.join(", ")
                    ));
                }
            }
            let lost = record
                .penalties
                .iter()
                .map(|it| format!("{name}: {} points are deducted: {}", it.points, it.what));
            problems.extend(lost);
        }
        Wanted::Starter(most) if record.points > *most => {
            problems.push(format!("{name}: it gets {} points, and deserves at most {most}", record.points));
        }
        Wanted::Starter(_) => {}
        Wanted::Bad(bad) => {
            if record.points != bad.points {
                problems.push(format!(
                    "{name}: it gets {} points; {} are written beside it",
                    record.points, bad.points
                ));
            }
            for test in record.tests.iter().filter(|test| test.is_whole() == bad.fails.contains(&test.name)) {
                let came = if test.is_whole() { "passes" } else { "fails" };
                problems.push(format!(
                    "{name}: it {came} `{}`, which is not what is written beside it",
                    test.name
                ));
            }
            if let Some(says) = &bad.says
                && !output::text(assignment, record).replace('\\', "").contains(says)
            {
                problems.push(format!("{name}: its page does not say `{says}`"));
            }
        }
    }
    problems
}

#[cfg(test)]
#[path = "check_test.rs"]
mod tests;
