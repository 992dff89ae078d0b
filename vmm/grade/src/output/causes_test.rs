use super::*;
use crate::{
    points::Points,
    record::{Build, Failure, Made, Run, Step},
};
use std::fs;

fn assignment() -> Assignment {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "params: {first: , device: , n: }\nsteps: [{open: '/dev/${device}${first}${n}'}]\n";
    fs::write(folder.path().join("t.yaml"), scenario).unwrap();
    let path = folder.path().join("a.yaml");
    let text = "kind: module\nparams: {first: {draw: text}, n: {draw: int, at-least: 1, at-most: 9999}, device: {from: module}}\n\
        tests: [{name: io, scenario: t.yaml, points: 10}, {name: bounds, scenario: t.yaml, points: 10}]\n";
    fs::write(&path, text).unwrap();
    Assignment::load(&path).unwrap()
}

fn step(title: &str, failure: Option<(&str, &str)>) -> Step {
    let failed = |(expected, got): (&str, &str)| Failure {
        what: "data".into(),
        expected: expected.into(),
        got: got.into(),
    };
    Step {
        name: None,
        title: title.into(),
        of_the_run: false,
        verdict: if failure.is_some() { "fail" } else { "pass" }.into(),
        bad: failure.is_some(),
        why: None,
        failures: failure.map(failed).into_iter().collect(),
        output: String::new(),
        log: Vec::new(),
    }
}

fn run(verdict: &str, steps: Vec<Step>, standing: &[&str]) -> Run {
    Run {
        verdict: verdict.into(),
        reason: String::new(),
        is_complete: true,
        doubt: None,
        points: Points::NONE,
        parts: Vec::new(),
        steps,
        failures: Vec::new(),
        findings: Vec::new(),
        standing: standing.iter().map(|it| (*it).to_owned()).collect(),
        log: Vec::new(),
        took_ms: 1,
        own_ms: 0,
    }
}

fn record(student: &str, params: &[(&str, &str)], runs: Vec<(&str, Run)>) -> Record {
    let test = |(name, run): (&str, Run)| Test {
        name: name.into(),
        visibility: "visible".into(),
        hint: None,
        points: Points::NONE,
        of: Points::MOST,
        run: Some(run),
        other: None,
        not_graded: None,
    };
    Record {
        key: String::new(),
        assignment: Made::default(),
        student: student.into(),
        overdue: false,
        state: State::Graded,
        why: None,
        notes: Vec::new(),
        params: params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        build: Build::default(),
        tests: runs.into_iter().map(test).collect(),
        penalties: Vec::new(),
        points: Points::NONE,
        of: Points::NONE,
        took_ms: 1,

        late: false,
    }
}

fn shown(records: &[Record]) -> Vec<(usize, String)> {
    groups(&assignment(), records).iter().map(|it| (it.students.len(), it.words())).collect()
}

#[test]
fn what_fails_for_an_earlier_failure_is_no_cause_and_drawn_data_is_no_difference() {
    let student = |name: &str, drawn: &str, number: &str, device: &str| {
        let steps = || {
            vec![
                step("open", None),
                step(&format!("write /dev/{device}"), Some((&format!("\"{drawn}\" {number}"), "0"))),
                step("read", Some(("16", "0"))),
            ]
        };
        let params = [("first", drawn), ("n", number), ("device", device)];
        record(name, &params, vec![("io", run("fail", steps(), &[])), ("bounds", run("fail", steps(), &[]))])
    };
    let all = [student("a", "abcdef", "17", "one"), student("b", "uvwxyz", "42", "the-other")];
    assert_eq!(
        shown(&all),
        [(2, "write /dev/NAME: data, expected \"$first\" $n, got 0 (bounds, io)".to_owned())]
    );
    let mut other = all.clone();
    other[1]
        .tests
        .iter_mut()
        .for_each(|test| test.run.as_mut().unwrap().steps[1].failures[0].got = "-1".into());
    assert_eq!(shown(&other), [(2, "write /dev/NAME: data, expected \"$first\" $n (bounds, io)".to_owned())]);
    // Where it is a part of another word, it is another word.
    assert_eq!(alike("bone one", &[("one".into(), "NAME".into())]), "bone NAME");
}

#[test]
fn hangs_are_grouped_by_where_and_what_does_not_build_by_the_compilers_words() {
    let hang = |place: &str| {
        let lines = ["vCPU 0 running at update_curr+0x1 (1 of 5 samples)", place];
        run("hang-spinning", vec![step("read", Some(("1", "0")))], &lines)
    };
    let x = [("device", "x")];
    let mut records = vec![
        record("a", &x, vec![("io", hang("vCPU 0 running at x_read+0x9b [x], x.c:49 (4 of 5 samples)"))]),
        record("b", &x, vec![("bounds", hang("vCPU 0 running at x_read+0x77 [x], x.c:44 (4 of 5 samples)"))]),
    ];
    for (student, name) in [("c", "foo"), ("d", "bar"), ("e", "baz")] {
        let mut record = record(student, &[], Vec::new());
        record.state = State::Unusable;
        record.build.errors =
            Some(format!("x.c:1:2: error: ‘{name}’ undeclared; expected ‘;’ before ‘}}’\nmore"));
        records.push(record);
    }
    for (student, said) in [
        ("g", "failed to build the module in .:\n  x.c:148: Error: no such instruction: `movx %eax,7'"),
        ("h", "failed to build the module in .:\n  ERROR: modpost: \"my_helper\" [x.ko] undefined!"),
    ] {
        let mut record = record(student, &[], Vec::new());
        record.state = State::Unusable;
        record.build.errors = Some(said.to_owned());
        records.push(record);
    }
    let mut none = record("f", &[], Vec::new());
    (none.state, none.why) = (State::Unusable, Some("there is no C source in it\nmore".into()));
    records.push(none);
    let wanted = [
        (3, "does not build: ‘…’ undeclared; expected ‘;’ before ‘}’"),
        (2, "hang-spinning in x_read (bounds, io)"),
        (1, "does not build: ERROR: modpost: ‘…’ [x.ko] undefined!"),
        (1, "does not build: no such instruction: ‘…’"),
        (1, "no submission: there is no C source in it"),
    ];
    assert_eq!(shown(&records), wanted.map(|(count, words)| (count, words.to_owned())));
}

#[test]
fn what_stayed_behind_is_one_cause_whatever_else_was_looked_at() {
    let look = |title: &str| {
        let mut step = step(title, Some(("as before the first step", "250 x left")));
        (step.of_the_run, step.failures[0].what) = (true, "devices (/proc/devices)".into());
        run("fail", vec![step], &[])
    };
    let runs =
        vec![("io", look("as before: devices, taint")), ("bounds", look("as before: modules, devices"))];
    let wanted = "devices (/proc/devices), expected as before the first step, got 250 x left (bounds, io)";
    assert_eq!(shown(&[record("a", &[], runs)]), [(1, wanted.to_owned())]);
}
