//! Is an assignment sound? What can be seen in its file, and what comes of grading the solutions that it names.

use crate::{
    all::{Grading, all},
    assignment::{Assignment, Bad, Visibility},
    intake::{Entry, single},
    mutants, output,
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
    /// What the tests do not see, a line each: wrong versions of the reference that get all points, tests that none of them
    /// fails.
    pub survivors: Vec<String>,
    /// So many wrong versions of the reference were graded.
    pub mutants: usize,
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
    /// A wrong version of the reference, and what is wrong with it.
    Mutant(String),
}

/// Grades the reference, the starter and the bad solutions, and compares with what is written; also so many wrong versions of the
/// reference.
///
/// # Errors
/// As for [`all`]; or a patch does not fit the reference.
pub fn check(
    assignment: &Assignment,
    grading: &Grading,
    mutants: usize,
    tell: &(dyn Fn(&Record, bool) + Sync),
) -> Result<Checked, Abort> {
    let stage = Cache::open()?.stage()?;
    let mut solutions = solutions(assignment, &stage).map_err(Abort::input)?;
    let written = solutions.len();
    solutions.extend(wrong_versions(assignment, &stage, mutants).map_err(Abort::input)?);
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
    let made = &solutions[written..];
    let graded_ones = graded_mutants(&graded.records, made);
    if mutants > 0 && graded_ones.is_empty() && !graded.stopped {
        problems.push(no_mutants(assignment, made, &grading.only));
    }
    let survivors = survivors(assignment, &graded_ones);
    let mutants = graded_ones.len();
    Ok(Checked { problems, survivors, mutants, records: graded.records, stopped: graded.stopped })
}

/// Why no wrong version of the reference was graded.
fn no_mutants(assignment: &Assignment, made: &[(Entry, Wanted<'_>)], only: &[String]) -> String {
    let is_asked = |(entry, _): &(Entry, Wanted<'_>)| only.is_empty() || only.contains(&entry.student);
    let why = match &assignment.check.reference {
        None => "there is no reference solution".to_owned(),
        Some(_) if made.is_empty() => {
            "only C can be changed, and the reference has no .c file, or nothing to change in its largest one"
                .to_owned()
        }
        Some(_) if !made.iter().any(is_asked) => "--only names none, such as mutant-01".to_owned(),
        Some(_) => "none of them builds, or could be graded".to_owned(),
    };
    format!("no wrong version of the reference was graded: {why}")
}

/// The reference with one small mistake each, in its largest file.
fn wrong_versions<'a>(
    assignment: &Assignment,
    stage: &Stage,
    most: usize,
) -> Result<Vec<(Entry, Wanted<'a>)>, String> {
    let Some(reference) = assignment.check.reference.as_ref().filter(|_| most > 0) else {
        return Ok(Vec::new());
    };
    let files = WalkDir::new(reference).sort_by_file_name().into_iter().flatten();
    let sources = files.filter(|file| file.path().extension().is_some_and(|it| it == "c"));
    let Some(source) = sources.max_by_key(|file| file.metadata().map_or(0, |it| it.len())) else {
        return Ok(Vec::new());
    };
    let unreadable =
        |error: std::io::Error| format!("can't read {}: {}", source.path().display(), plain(&error));
    let text = fs::read_to_string(source.path()).map_err(unreadable)?;
    let inside = source.path().strip_prefix(reference).unwrap_or(source.path());
    let mut list = Vec::new();
    for (index, mutant) in mutants::of(&text, most).into_iter().enumerate() {
        let name = format!("mutant-{:02}", index + 1);
        let folder = stage.path().join(&name);
        copy(reference, &folder)?;
        let path = folder.join(inside);
        fs::write(&path, mutant.text)
            .map_err(|error| format!("can't write {}: {}", path.display(), plain(&error)))?;
        list.push((single(&folder, &name), Wanted::Mutant(mutant.about)));
    }
    Ok(list)
}

/// The wrong versions that were graded, and what is wrong with each. Those that do not build say nothing.
fn graded_mutants<'a>(
    records: &'a [Record],
    solutions: &'a [(Entry, Wanted<'_>)],
) -> Vec<(&'a Record, &'a str)> {
    let record =
        |entry: &Entry| records.iter().find(|it| it.student == entry.student && it.state == State::Graded);
    let mutants = solutions.iter().filter_map(|(entry, wanted)| match wanted {
        Wanted::Mutant(about) => Some((record(entry)?, about.as_str())),
        _ => None,
    });
    mutants.collect()
}

/// Which of these wrong versions get all points, and which tests none of them fails.
fn survivors(assignment: &Assignment, mutants: &[(&Record, &str)]) -> Vec<String> {
    if mutants.is_empty() {
        return Vec::new();
    }
    let whole = |record: &Record| record.tests.iter().all(|test| test.is_whole());
    let alive = mutants.iter().filter(|(record, _)| whole(record));
    let mut list: Vec<String> =
        alive.map(|(record, about)| format!("{} gets all points: {about}", record.student)).collect();
    for test in &assignment.tests {
        let fails = |record: &Record| record.tests.iter().any(|it| it.name == test.name && !it.is_whole());
        if !mutants.iter().any(|(record, _)| fails(record)) {
            list.push(format!("no wrong version fails `{}`", test.name));
        }
    }
    list
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
                && format!("{:?}", other.params) == format!("{:?}", test.params)
        });
        if let (Visibility::Hidden | Visibility::AfterDueDate, Some(shown)) = (test.visibility, shown) {
            problems
                .push(format!("{}: it is hidden, but `{}` shows the same scenario", test.name, shown.name));
        }
    }
    problems
}

/// The folders of the bad solutions.
///
/// # Errors
/// A patch does not fit the reference.
pub fn bad(assignment: &Assignment, stage: &Stage) -> Result<Vec<PathBuf>, String> {
    let all = solutions(assignment, stage)?;
    let bad = all.into_iter().filter(|(_, wanted)| matches!(wanted, Wanted::Bad(_)));
    Ok(bad.flat_map(|(entry, _)| entry.parts).map(|(folder, _)| folder).collect())
}

fn solutions<'a>(assignment: &'a Assignment, stage: &Stage) -> Result<Vec<(Entry, Wanted<'a>)>, String> {
    let check = &assignment.check;
    // Links on the way to these are the teacher's.
    let own =
        |path: &Path, name: &str| single(&fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()), name);
    let mut list = Vec::new();
    if let Some(path) = &check.reference {
        list.push((own(path, "reference"), Wanted::Reference));
    }
    if let Some((path, most)) = &check.starter {
        list.push((own(path, "starter"), Wanted::Starter(*most)));
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
        list.push((own(&path, &name), Wanted::Bad(bad)));
    }
    Ok(list)
}

/// The reference with a patch on it.
fn patched(reference: &Path, patch: &Path, into: &Path) -> Result<PathBuf, String> {
    copy(reference, into)?;
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

/// Copies a folder.
pub fn copy(from: &Path, into: &Path) -> Result<(), String> {
    for entry in WalkDir::new(from) {
        let entry = entry.map_err(|error| format!("can't read {}: {error}", from.display()))?;
        let to = into.join(entry.path().strip_prefix(from).unwrap_or(Path::new("")));
        let copied = match entry.file_type() {
            kind if kind.is_dir() => fs::create_dir_all(&to),
            kind if kind.is_file() => fs::copy(entry.path(), &to).map(|_| ()),
            _ => Ok(()),
        };
        copied.map_err(|error| format!("can't copy {}: {}", entry.path().display(), plain(&error)))?;
    }
    Ok(())
}

/// What is not as written.
fn compare(assignment: &Assignment, record: &Record, wanted: &Wanted<'_>) -> Vec<String> {
    let name = &record.student;
    if record.state == State::NotGraded {
        let why = record.why.as_deref().unwrap_or_default();
        return vec![format!("{name}: it could not be graded: {why}")];
    }
    if let Wanted::Mutant(_) = wanted {
        // It may be unstable, too: half of all mistakes race with something.
        return Vec::new();
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
        Wanted::Starter(_) | Wanted::Mutant(_) => {}
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
                && !output::text(assignment, record, false).replace('\\', "").contains(says)
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
