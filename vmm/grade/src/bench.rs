//! `vmm bench grade`: what it takes to grade a class, by one and by two at a time, and the same work by hand.

use crate::{
    all::{Grading, all},
    assignment::{Assignment, Kind, Origin},
    check,
    intake::{Entry, single},
    record::{Record, State},
    store::Whose,
};
use base::{cache::Cache, text::plain};
use harness::Abort;
use host::Choice;
use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Of so many students the same is done by `vmm run`.
const BY_HAND: usize = 4;
/// A student with a module, and of it what machines may take; and one with a system call.
const MODULE: Duration = Duration::from_secs(12);
const MACHINES: Duration = Duration::from_secs(6);
const SYSCALL: Duration = Duration::from_secs(25);

/// One grading.
struct Row {
    jobs: usize,
    students: usize,
    took: Duration,
    builds: Duration,
    /// All but builds: what failed has run twice.
    machines: Duration,
}

/// Grades so many students of an assignment, who hand in its bad solutions in turn, each with a line of its own, so that nothing was
/// built before.
///
/// # Errors
/// The assignment has no bad solutions or a mistake; this machine.
pub fn measure(path: &Path, students: usize, host: Choice) -> Result<String, Abort> {
    let assignment = Assignment::load(path).map_err(|errors| Abort::input(errors.to_string()))?;
    let cache = Cache::open()?;
    let (solutions, class) = (cache.stage()?, cache.stage()?);
    let bad = check::bad(&assignment, &solutions).map_err(Abort::input)?;
    if bad.is_empty() {
        return Err(Abort::input(format!("{}: `check:` names no bad solution", path.display())));
    }
    let mut rows = Vec::new();
    let mut graded = Vec::new();
    // The first has one student, and is no sample: a kernel may have to be built, and machines are saved.
    for (jobs, students) in [(0, 1), (1, students), (2, students)] {
        let folder = class.path().join(jobs.to_string());
        let entries = hand_in(&bad, students, &folder).map_err(Abort::infra)?;
        let jobs = jobs.max(1);
        let out = folder.join("out");
        let grading = Grading {
            host,
            jobs,
            only: Vec::new(),
            shard: None,
            out,
            remarks: Vec::new(),
            whose: Whose::Students,
            is_due: false,
        };
        let started = Instant::now();
        let done = all(&assignment, entries, &grading, &|_, _| ())?;
        if done.stopped {
            return Err(Abort::infra("interrupted".to_owned()));
        }
        rows.push(row(jobs, started.elapsed(), &done.records));
        graded = done.records;
    }
    rows.remove(0);
    let mut text = format!("{}, {students} students\n", assignment.title);
    text += &table(&rows, matches!(assignment.kind, Kind::Module));
    if matches!(assignment.kind, Kind::Module) {
        let entries = hand_in(&bad, BY_HAND, &class.path().join("by-hand")).map_err(Abort::infra)?;
        text += &by_hand(&assignment, &entries, &graded).map_err(Abort::infra)?;
    }
    Ok(text)
}

/// A folder for each student.
fn hand_in(solutions: &[PathBuf], students: usize, folder: &Path) -> Result<Vec<Entry>, String> {
    let salt = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let one = |(number, solution): (usize, &PathBuf)| {
        let name = format!("s{number:03}");
        let into = folder.join(&name);
        check::copy(solution, &into)?;
        for file in walkdir::WalkDir::new(&into).into_iter().flatten() {
            let path = file.path();
            if path.extension().is_some_and(|it| it == "c") {
                let text = fs::read_to_string(path).unwrap_or_default();
                fs::write(path, format!("{text}\n/* {name}, {salt} */\n"))
                    .map_err(|error| format!("can't write {}: {}", path.display(), plain(&error)))?;
            }
        }
        Ok(single(&into, &name))
    };
    (1..=students).zip(solutions.iter().cycle()).map(one).collect()
}

fn row(jobs: usize, took: Duration, records: &[Record]) -> Row {
    let builds = records.iter().map(|it| it.build.took_ms).sum();
    let whole: u64 = records.iter().map(|it| it.took_ms).sum();
    Row {
        jobs,
        students: records.len(),
        took,
        builds: Duration::from_millis(builds),
        machines: Duration::from_millis(whole.saturating_sub(builds)),
    }
}

fn table(rows: &[Row], module: bool) -> String {
    let mut text =
        format!("{:<26}{:>10}{:>12}{:>10}{:>12}\n", "", "in all", "a student", "builds", "machines");
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    for Row { jobs, students, took, builds, machines } in rows {
        let count = u32::try_from(*students).unwrap_or(1).max(1);
        let each = *took / count;
        let _ = writeln!(
            text,
            "{:<26}{:>10}{:>12}{:>10}{:>12}",
            format!("vmm grade -j {jobs}"),
            seconds(*took),
            seconds(each),
            seconds(*builds),
            seconds(*machines)
        );
        let bar = if module { MODULE } else { SYSCALL };
        let _ = writeln!(text, "  a student: {} (at most {})", seconds(each), seconds(bar));
        if module {
            let part = seconds(*machines / count);
            let _ = writeln!(text, "  a student's machines: {part} (at most {})", seconds(MACHINES));
        }
    }
    text
}

/// Each test of some students as a `vmm run` of its own, as one would do without `vmm grade`.
fn by_hand(assignment: &Assignment, entries: &[Entry], graded: &[Record]) -> Result<String, String> {
    let program =
        env::current_exe().map_err(|error| format!("can't find this program: {}", plain(&error)))?;
    let started = Instant::now();
    for entry in entries {
        let record = graded.iter().find(|it| it.student == entry.student && it.state == State::Graded);
        let Some(record) = record else { continue };
        for test in &assignment.tests {
            let mut command = Command::new(&program);
            command.arg("run").arg(&test.scenario);
            for fragment in &assignment.kernel.fragments {
                command.args(["--fragment", fragment]);
            }
            for known in scenario::parameters(&test.scenario).unwrap_or_default() {
                let is_folder = assignment
                    .params
                    .iter()
                    .any(|(name, origin)| *name == known.name && matches!(origin, Origin::Folder));
                let value = match (is_folder, entry.parts.first()) {
                    (true, Some((folder, _))) => Some(folder.display().to_string()),
                    _ => record.params.get(&known.name).cloned(),
                };
                if let Some(value) = value {
                    command.args(["--set", &format!("{}={value}", known.name)]);
                }
            }
            let ran = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            ran.map_err(|error| format!("can't start {}: {}", program.display(), plain(&error)))?;
        }
    }
    let took = started.elapsed().as_secs_f64();
    Ok(format!(
        "{:<26}{:>10}{:>12}\n",
        format!("vmm run, {} students", entries.len()),
        format!("{took:.1} s"),
        format!("{:.1} s", took / entries.len().max(1) as f64)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_beside_their_bars() {
        let row = |jobs| Row {
            jobs,
            students: 100,
            took: Duration::from_secs(600),
            builds: Duration::from_secs(350),
            machines: Duration::from_secs(250),
        };
        insta::assert_snapshot!(table(&[row(1), row(2)], true));
    }

    #[test]
    fn students_hand_in_solutions_in_turn_and_none_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let solutions: Vec<PathBuf> = ["a", "b"].map(|name| folder.path().join(name)).to_vec();
        for solution in &solutions {
            fs::create_dir(solution).unwrap();
            fs::write(solution.join("x.c"), format!("{}\n", solution.display())).unwrap();
        }
        let entries = hand_in(&solutions, 3, &folder.path().join("class")).unwrap();
        let texts: Vec<String> =
            entries.iter().map(|entry| fs::read_to_string(entry.parts[0].0.join("x.c")).unwrap()).collect();
        assert_eq!(texts[0].lines().next(), texts[2].lines().next());
        assert_ne!(texts[0].lines().next(), texts[1].lines().next());
        assert_ne!(texts[0], texts[2]);
    }
}
