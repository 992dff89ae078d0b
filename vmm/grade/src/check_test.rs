use super::*;
use crate::record::{Build, Part, Run, Test};

fn points(text: &str) -> Points {
    Points::parse(text).unwrap()
}

fn assignment(tests: &str, check: &str) -> Assignment {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.yaml"), "params: {n: 1}\nsteps: [{sleep: '${n} s'}]").unwrap();
    fs::create_dir(folder.path().join("reference")).unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, format!("kind: module\ntests:\n{tests}\ncheck: {check}\n")).unwrap();
    Assignment::load(&path).unwrap_or_else(|errors| panic!("{errors}"))
}

fn record(name: &str, got: &str) -> Record {
    let part = Part { name: "comes back".into(), points: points(got), of: points("10") };
    let run = Run {
        verdict: "fail".into(),
        reason: String::new(),
        is_complete: true,
        doubt: None,
        points: points(got),
        parts: vec![part],
        steps: Vec::new(),
        failures: Vec::new(),
        findings: Vec::new(),
        standing: Vec::new(),
        log: vec!["the end_of it".into()],
        took_ms: 0,
        own_ms: 0,
    };
    let test = Test {
        name: "io".into(),
        visibility: "visible".into(),
        hint: None,
        points: points(got),
        of: points("10"),
        run: Some(run),
        other: None,
        not_graded: None,
    };
    Record {
        key: String::new(),
        assignment: crate::record::Made::default(),
        student: name.into(),
        overdue: false,
        state: State::Graded,
        why: None,
        notes: Vec::new(),
        params: Default::default(),
        build: Build::default(),
        tests: vec![test],
        penalties: Vec::new(),
        points: points(got),
        of: points("10"),
        took_ms: 0,

        late: false,
    }
}

const IO: &str = "  - {name: io, scenario: t.yaml, points: 10}";

#[test]
fn what_an_assignments_file_shows_is_told_without_a_machine() {
    let tests = "  - {name: io, scenario: t.yaml, points: 10}\n  - {name: free, scenario: t.yaml, points: 0}\n  \
                 - {name: secret, scenario: t.yaml, points: 1, visibility: hidden, hint: try minor 4}";
    let problems = by_looks(&assignment(tests, "{}")).join("\n");
    for says in [
        "no reference solution",
        "free: it is worth nothing",
        "its hint tells",
        "`io` shows the same scenario",
    ] {
        assert!(problems.contains(says), "`{says}` is not in:\n{problems}");
    }
    assert!(by_looks(&assignment(IO, "{reference: reference}")).is_empty());
    let hidden = "name: secret, scenario: t.yaml, points: 1, visibility: hidden";
    let other = format!("{IO}\n  - {{{hidden}, params: {{n: 2}}}}");
    assert!(by_looks(&assignment(&other, "{reference: reference}")).is_empty(), "its values are not shown");
}

#[test]
fn solutions_are_held_against_what_is_written() {
    let assignment = assignment(IO, "{}");
    let compared =
        |got: &str, wanted: &Wanted<'_>| compare(&assignment, &record("x", got), wanted).join("\n");
    assert_eq!(compared("10", &Wanted::Reference), "");
    assert!(compared("4", &Wanted::Reference).contains("can't be had: `comes back` (4 of 10)"));
    assert_eq!(compared("2", &Wanted::Starter(points("2"))), "");
    assert!(compared("3", &Wanted::Starter(points("2"))).contains("gets 3 points, and deserves at most 2"));
    let bad = |points_: &str, fails: &[&str], says: Option<&str>| Bad {
        path: PathBuf::new(),
        points: points(points_),
        fails: fails.iter().map(|it| (*it).to_owned()).collect(),
        says: says.map(str::to_owned),
    };
    assert_eq!(compared("4", &Wanted::Bad(&bad("4", &["io"], Some("the end_of it")))), "");
    assert!(compared("4", &Wanted::Bad(&bad("5", &["io"], None))).contains("gets 4 points; 5 are written"));
    assert!(compared("4", &Wanted::Bad(&bad("4", &[], None))).contains("it fails `io`"));
    assert!(compared("10", &Wanted::Bad(&bad("10", &["io"], None))).contains("it passes `io`"));
    assert!(compared("4", &Wanted::Bad(&bad("4", &["io"], Some("else")))).contains("does not say `else`"));
    let mut failed = record("x", "0");
    failed.state = State::NotGraded;
    assert!(compare(&assignment, &failed, &Wanted::Reference)[0].contains("could not be graded"));
}

#[test]
fn a_patch_that_does_not_fit_is_told_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let reference = folder.path().join("reference");
    fs::create_dir(&reference).unwrap();
    fs::write(reference.join("a.c"), "one\ntwo\n").unwrap();
    let patch = folder.path().join("p.patch");
    fs::write(&patch, "about\n--- a/a.c\n+++ b/a.c\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n").unwrap();
    let into = patched(&reference, &patch, &folder.path().join("x")).unwrap();
    assert_eq!(fs::read_to_string(into.join("a.c")).unwrap(), "one\n2\n");
    fs::write(reference.join("a.c"), "another\n").unwrap();
    let why = patched(&reference, &patch, &folder.path().join("y")).unwrap_err();
    assert!(why.contains("p.patch does not fit the reference solution"), "{why}");
}

#[test]
fn wrong_versions_that_get_all_points_are_named_and_so_are_tests_that_none_fails() {
    let assignment = assignment(IO, "{}");
    let mutant = |name: &str| (single(Path::new(""), name), Wanted::Mutant(format!("line 7 of {name}")));
    let solutions = [mutant("m1"), mutant("m2"), mutant("m3")];
    let mut broken = record("m3", "0");
    broken.state = State::Unusable;
    let survivors = |records: &[Record]| survivors(&assignment, &graded_mutants(records, &solutions));
    let some = survivors(&[record("m1", "10"), record("m2", "4"), broken.clone()]);
    assert_eq!(some, ["m1 gets all points: line 7 of m1"]);
    let all = survivors(&[record("m1", "10"), broken.clone()]);
    assert_eq!(all[1], "no wrong version fails `io`");
    assert!(survivors(&[broken]).is_empty());
}

#[test]
fn why_no_wrong_version_was_graded_is_told() {
    let (with, without) = (assignment(IO, "{reference: reference}"), assignment(IO, "{}"));
    let made = [(single(Path::new(""), "mutant-01"), Wanted::Mutant(String::new()))];
    let only = ["reference".to_owned()];
    assert!(no_mutants(&without, &[], &[]).contains("there is no reference"));
    assert!(no_mutants(&with, &[], &[]).contains("has no .c file"));
    assert!(no_mutants(&with, &made, &only).contains("--only names none"));
    assert!(no_mutants(&with, &made, &["mutant-01".to_owned()]).contains("none of them builds"));
}

#[test]
fn wrong_versions_are_made_of_the_largest_file_of_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.yaml"), "params: {n: 1}\nsteps: [{sleep: '${n} s'}]").unwrap();
    fs::create_dir(folder.path().join("reference")).unwrap();
    fs::write(folder.path().join("reference/a.c"), "int f(int a) { if (a < 3) return -EINVAL; return 0; }\n")
        .unwrap();
    fs::write(folder.path().join("reference/small.c"), "int a;\n").unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, format!("kind: module\ntests:\n{IO}\ncheck: {{reference: reference}}\n")).unwrap();
    let assignment = Assignment::load(&path).unwrap();
    fs::create_dir(folder.path().join("tmp")).unwrap();
    let stage = Stage::new(&folder.path().join("tmp")).unwrap();
    assert_eq!(wrong_versions(&assignment, &stage, 10).unwrap().len(), 3);
    let original = fs::read_to_string(folder.path().join("reference/a.c")).unwrap();
    for name in ["mutant-01", "mutant-02", "mutant-03"] {
        assert_ne!(fs::read_to_string(stage.path().join(name).join("a.c")).unwrap(), original);
        assert!(stage.path().join(name).join("small.c").exists());
    }
    assert!(wrong_versions(&assignment, &stage, 0).unwrap().is_empty());
}
