use super::*;
use crate::{intake, points::Points, record::Build};
use std::{fs, path::Path};

fn assignment(folder: &Path, name: &str, points: u32) -> Assignment {
    fs::write(folder.join("t.yaml"), "params: {n: 1}\nsteps: [{sleep: 1 s, name: $n}]").unwrap();
    fs::write(folder.join("table.csv"), "student,n\ndoe,2\nrow,3\n").unwrap();
    let path = folder.join(format!("{name}.yaml"));
    let text = format!(
        "name: {name}\nkind: module\ntable: table.csv\nattempts: '^(?<student>[a-z]+)_.*'\ntests: [{{scenario: t.yaml, points: {points}}}]\n"
    );
    fs::write(&path, text).unwrap();
    Assignment::load(&path).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A folder with the grade of one student.
fn graded(out: &Path, assignment: &Assignment, student: &str) -> PathBuf {
    let record = Record {
        key: String::new(),
        assignment: Made { name: assignment.name.clone(), identity: assignment.identity.clone() },
        student: student.into(),
        state: State::Graded,
        why: None,
        notes: Vec::new(),
        params: BTreeMap::new(),
        build: Build::default(),
        tests: Vec::new(),
        penalties: Vec::new(),
        points: Points::NONE,
        of: assignment.points(),
        took_ms: 1,
    };
    let out = out.join(format!("{}-{student}", assignment.name));
    Store::open(&out).unwrap().keep(&record).unwrap();
    out
}

#[test]
fn grades_of_another_assignment_or_version_are_not_merged() {
    let folder = tempfile::tempdir().unwrap();
    let [older, other, mine] =
        [("pa2", 5), ("pa1", 10), ("pa2", 10)].map(|(name, points)| assignment(folder.path(), name, points));
    let [first, second, older, other] = [(&mine, "a"), (&mine, "b"), (&older, "c"), (&other, "d")]
        .map(|(it, student)| graded(folder.path(), it, student));
    let out = folder.path().join("out");
    let both = merge(&mine, &[first.clone(), second], &out).unwrap();
    assert_eq!(both.iter().map(|it| &*it.student).collect::<Vec<_>>(), ["a", "b"]);
    for (wrong, says) in
        [(older, "another version of `pa2`"), (other, "another assignment, `pa1`: that of d")]
    {
        let why = merge(&mine, &[first.clone(), wrong], &folder.path().join("none")).unwrap_err().why;
        assert!(why.contains(says), "{why}");
        assert!(!folder.path().join("none").exists(), "nothing is written");
    }
}

#[test]
fn names_that_fit_nowhere_are_told_before_anything_is_graded() {
    let folder = tempfile::tempdir().unwrap();
    let submissions = folder.path().join("s");
    fs::create_dir(&submissions).unwrap();
    for name in ["doe_a.c", "roe_a.c", "Notes.txt"] {
        fs::write(submissions.join(name), "").unwrap();
    }
    let assignment = assignment(folder.path(), "pa2", 5);
    let listing = intake::list(&submissions, assignment.attempts.as_ref()).unwrap();
    let wanted = [
        "left out, since their names are not as `attempts:` has it: Notes.txt",
        "the table has a line for `row`, who handed in nothing (did you mean `roe`?)",
    ];
    assert_eq!(remarks(&assignment, &listing), wanted);
}
