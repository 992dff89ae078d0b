use super::*;
use crate::{
    points::Points,
    record::{Build, Finding, Penalty, Run, Step, Test},
};
use serde_json::Value;

/// What a hostile student would like to see on the teacher's screen.
const EVIL: &str = "<script>alert(1)</script> | [x](javascript:y) \u{1b}[31m \u{202e}";

fn points(text: &str) -> Points {
    Points::parse(text).unwrap()
}

fn assignment() -> Assignment {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.yaml"), "steps: [{sleep: 1 s}]").unwrap();
    let path = folder.path().join("a.yaml");
    let text = "title: A & B\nkind: module\ntests:\n  - {name: io, scenario: t.yaml, points: 10}\n  \
                - {name: secret, scenario: t.yaml, points: 5, visibility: hidden}\n";
    fs::write(&path, text).unwrap();
    Assignment::load(&path).unwrap()
}

fn run(verdict: &str) -> Run {
    let failure =
        crate::record::Failure { what: "data".into(), expected: "\"abc\"".into(), got: EVIL.into() };
    let step = Step {
        name: Some("comes back".into()),
        title: "comes back: read /dev/x".into(),
        of_the_run: false,
        verdict: "fail".into(),
        bad: true,
        why: None,
        failures: vec![failure],
        output: String::new(),
        log: vec![format!("x: {EVIL}")],
    };
    let finding = Finding {
        gravity: "oops".into(),
        title: "NULL pointer dereference in x_read".into(),
        fingerprint: "0123456789abcdef".into(),
        place: Some("x.c:42".into()),
        function: Some("x_read".into()),
        step: Some("comes back: read /dev/x".into()),
        frames: vec!["x_read+0x1/0x2 [x]".into()],
        counts: true,
    };
    Run {
        verdict: verdict.into(),
        reason: "1 of 3 steps failed".into(),
        is_complete: true,
        doubt: None,
        points: Points::NONE,
        parts: Vec::new(),
        steps: vec![step],
        failures: Vec::new(),
        findings: vec![finding],
        standing: Vec::new(),
        log: Vec::new(),
        took_ms: 5,
        own_ms: 0,
    }
}

fn test(name: &str, got: &str, of: &str, run: Option<Run>) -> Test {
    let visibility = if name == "secret" { "hidden" } else { "visible" };
    Test {
        name: name.into(),
        visibility: visibility.into(),
        hint: Some(format!("hint of {name}")),
        points: points(got),
        of: points(of),
        run,
        other: None,
        not_graded: None,
    }
}

fn record(student: &str, state: State) -> Record {
    Record {
        key: String::new(),
        assignment: crate::record::Made::default(),
        student: student.into(),
        overdue: false,
        state,
        why: (state != State::Graded).then(|| "why not".to_owned()),
        notes: vec![EVIL.into()],
        params: Default::default(),
        build: Build { errors: None, warnings: vec!["x.c:1: warning: unused".into()], took_ms: 1 },
        tests: vec![
            test("io", "4", "10", Some(run("oops"))),
            test("secret", "0", "5", Some(Run { findings: Vec::new(), ..run("fail") })),
        ],
        penalties: vec![Penalty { what: "1 warning of the compiler".into(), points: points("1") }],
        points: points("3"),
        of: points("15"),
        took_ms: 7000,

        late: false,
    }
}

/// All that is written for these students.
fn written(records: &[Record]) -> (tempfile::TempDir, impl Fn(&str) -> String + use<>) {
    let folder = tempfile::tempdir().unwrap();
    write(&assignment(), records, &["a remark".to_owned()], folder.path()).unwrap();
    let path = folder.path().to_owned();
    (folder, move |name: &str| fs::read_to_string(path.join(name)).unwrap())
}

#[test]
fn pages_say_what_was_expected_and_where_it_broke_and_hidden_tests_stay_hidden() {
    let (_folder, read) = written(&[record("s1", State::Graded)]);
    for page in ["students/s1/page.md", "students/s1/page.html", "students/s1/teacher.html"] {
        let text = read(page);
        for says in ["io: 4 of 10", "abc", "x.c:42", "unused", "hint of io", "0123456789abcdef"] {
            assert!(
                text.contains(says) || text.contains(&says.replace('"', "&quot;")),
                "{says} is not in {page}:\n{text}"
            );
        }
        let (secret, sum) = (text.contains("hint of secret"), text.contains("3 of 15"));
        assert_eq!((secret, sum), (page.ends_with("teacher.html"), page.ends_with("teacher.html")), "{page}");
    }
}

#[test]
fn nothing_that_a_student_says_becomes_markup_or_a_formula() {
    let why = Some("there is no source in it, only a;=cmd|' /C calc'!A0;b.txt".to_owned());
    let listed = Record { why, ..record("s;=1+1", State::Unusable) };
    let records = [record("=cmd|' /C calc'!A0", State::Graded), record(EVIL, State::Unusable), listed];
    let (folder, read) = written(&records);
    for entry in
        walkdir::WalkDir::new(folder.path()).into_iter().flatten().filter(|it| it.file_type().is_file())
    {
        let text = fs::read_to_string(entry.path()).unwrap();
        let html = entry.path().extension().is_some_and(|it| it == "html");
        assert!(!html || !text.contains("<script"), "{text}");
        assert!(!html || text.contains("default-src 'none'"));
        let md = entry.path().extension().is_some_and(|it| it == "md");
        let raw =
            |line: &str| line.contains("<script") && !line.starts_with("    ") && !line.contains("\\<script");
        assert!(!md || !text.lines().any(raw), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{}", entry.path().display());
    }
    let table = read("grades.csv");
    assert!(table.lines().any(|line| line.starts_with("'=cmd")));
    // With another list separator each of these would begin a cell.
    assert!(table.contains("s,=1+1") && !table.contains(';'), "{table}");
}

#[test]
fn gradescope_gets_a_score_but_none_where_the_machine_failed() {
    let mut failed = record("s2", State::NotGraded);
    failed.tests[0].not_graded = Some("the host is gone".into());
    let mut good = record("s1", State::Graded);
    for (test, took_ms) in good.tests.iter_mut().zip([5_000, 60_000]) {
        test.run = test.run.take().map(|run| Run { took_ms, ..run });
    }
    let (_folder, read) = written(&[good, failed]);
    let results: Value = serde_json::from_str(&read("students/s1/results.json")).unwrap();
    assert_eq!((&results["score"], &results["execution_time"]), (&Value::from(3.0), &Value::from(5)));
    let tests = results["tests"].as_array().unwrap();
    assert_eq!(
        (&tests[0]["score"], &tests[0]["max_score"], &tests[0]["status"]),
        (&4.0.into(), &10.0.into(), &"failed".into())
    );
    assert_eq!(tests[1]["visibility"], "hidden");
    assert_eq!((&tests[2]["score"], tests.len()), (&Value::from(-1.0), 3));
    assert!(tests[0]["output"].as_str().unwrap().contains("NULL pointer dereference"));
    assert!(!results["output"].as_str().unwrap().contains("hint of secret"));
    let results: Value = serde_json::from_str(&read("students/s2/results.json")).unwrap();
    assert!(results.get("score").is_none() && results.get("tests").is_none());
}

#[test]
fn the_table_has_an_empty_cell_and_no_zero_for_who_was_not_graded() {
    let mut failed = record("s2", State::NotGraded);
    failed.tests[0].not_graded = Some("the host is gone".into());
    let late = Record { overdue: true, ..record("s3", State::Unusable) };
    let (_folder, read) = written(&[record("s1", State::Graded), failed, late]);
    let table = read("grades.csv");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "student,state,points,of,deducted,io,secret,remarks");
    assert_eq!(lines[1], "s1,graded,3,15,1,4,0,");
    assert_eq!(lines[2], "s2,not graded,,15,,,0,why not");
    assert!(lines[3].starts_with("s3,unusable,") && lines[3].ends_with(",\"why not, handed in late\""));
}

#[test]
fn the_summary_lists_trouble_first_and_counts_one_mistake_of_many_once() {
    let mut unstable = record("s9", State::Graded);
    unstable.tests[0].other = Some(run("pass"));
    let mut forged = record("s8", State::Graded);
    forged.tests[1].run = Some(run("tampered"));
    let records = [record("s1", State::Graded), forged, record("s3", State::NotGraded), unstable];
    let (_folder, read) = written(&records);
    let page = read("index.html");
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("`{text}` is not in:\n{page}"));
    assert!(at("Tampered") < at("Not graded") && page.contains("secret: 1 of 3 steps failed"));
    assert!(
        at("Not graded") < at("Unstable")
            && at("Unstable") < at("Distribution")
            && at("<svg") < at("Commonest")
    );
    assert!(
        page.contains("<td>4</td><td>oops: NULL pointer dereference in x_read (io, secret)</td>"),
        "{page}"
    );
    assert!(page.contains("4 students: 3 graded, 1 not graded; 15 points can be had."));
    assert!(at("a remark") < at("Tampered"));
    let table = read("grades.csv");
    let remarks = |student: &str| table.lines().find(|line| line.starts_with(student)).unwrap().to_owned();
    assert!(remarks("s8,").contains("tampered: secret"), "{table}");
    assert!(remarks("s9,").contains("unstable: io") && !remarks("s1,").contains("tampered"), "{table}");
    assert!(page.contains("students/s1/teacher.html"));
}
