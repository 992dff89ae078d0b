use super::*;
use crate::record::{Doubt, Failure, Finding, Step};

fn points(text: &str) -> Points {
    Points::parse(text).unwrap()
}

fn step(name: &str, verdict: &str) -> Step {
    Step {
        name: Some(name.to_owned()),
        title: name.to_owned(),
        of_the_run: name == "look",
        verdict: verdict.to_owned(),
        bad: ["fail", "timeout"].contains(&verdict),
        why: None,
        failures: Vec::new(),
        output: String::new(),
        log: Vec::new(),
    }
}

fn run(verdict: &str, steps: &[(&str, &str)]) -> Run {
    Run {
        verdict: verdict.to_owned(),
        reason: String::new(),
        is_complete: ["pass", "fail"].contains(&verdict),
        doubt: None,
        points: Points::NONE,
        parts: Vec::new(),
        steps: steps.iter().map(|(name, verdict)| step(name, verdict)).collect(),
        failures: Vec::new(),
        findings: Vec::new(),
        standing: Vec::new(),
        log: Vec::new(),
        took_ms: 0,
        own_ms: 0,
    }
}

fn splat() -> Finding {
    Finding {
        gravity: "splat".to_owned(),
        title: "WARNING in f".to_owned(),
        fingerprint: String::new(),
        place: None,
        function: None,
        step: None,
        frames: Vec::new(),
        counts: true,
    }
}

fn test(run: Run) -> Test {
    Test {
        name: "t".to_owned(),
        visibility: "visible".to_owned(),
        hint: None,
        points: Points::NONE,
        of: points("1"),
        run: Some(run),
        other: None,
        not_graded: None,
    }
}

fn earned(run: &Run, award: &Award) -> String {
    parts(run, award).iter().map(|part| part.points).sum::<Points>().to_string()
}

#[test]
fn steps_whose_names_have_a_parameter_have_their_points() {
    let award = Award::Parts {
        steps: vec![("read ${n} bytes".to_owned(), points("5")), ("$what".to_owned(), points("3"))],
        run: Points::NONE,
    };
    let values = [("n", "12"), ("what", "seek")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let parts = parts(
        &run("fail", &[("read 12 bytes", "pass"), ("seek", "fail")]),
        &award.with_values(&values.into()),
    );
    let got: Vec<(&str, Points)> = parts.iter().map(|part| (&*part.name, part.points)).collect();
    assert_eq!(got, [("read 12 bytes", points("5")), ("seek", Points::NONE)]);
}

#[test]
fn a_whole_test_has_its_points_for_a_pass_and_for_nothing_else() {
    let award = Award::Whole(points("10"));
    assert_eq!(earned(&run("pass", &[]), &award), "10");
    for verdict in ["fail", "splat", "oops", "hang-idle", "infra", ""] {
        assert_eq!(earned(&run(verdict, &[("a", "pass")]), &award), "0", "{verdict}");
    }
}

#[test]
fn steps_of_one_name_share_its_points_and_what_was_not_done_has_none() {
    let award = Award::Parts {
        steps: vec![("a".to_owned(), points("3")), ("b".to_owned(), points("2"))],
        run: points("5"),
    };
    assert_eq!(earned(&run("pass", &[("a", "pass"), ("a", "pass"), ("b", "pass")]), &award), "10");
    assert_eq!(earned(&run("fail", &[("a", "pass"), ("a", "fail"), ("b", "pass")]), &award), "7");
    assert_eq!(earned(&run("oops", &[("a", "pass"), ("b", "not-run")]), &award), "3");
    assert_eq!(earned(&run("pass", &[]), &award), "5", "a step that is not there has not passed");
    assert_eq!(earned(&run("fail", &[("look", "fail"), ("a", "pass")]), &award), "3");
    let mut complains = run("fail", &[("a", "pass"), ("b", "fail")]);
    complains.findings.push(splat());
    assert_eq!(earned(&complains, &award), "3");
    // A guest that reset itself in its init function has never come to where anything of the run is looked at.
    assert_eq!(earned(&Run { is_complete: false, ..run("fail", &[("a", "pass")]) }, &award), "3");
}

fn hushed() -> Run {
    let why = "the kernel's taint W tells of a warning that is not in its log".to_owned();
    Run { doubt: Some(Doubt { why, is_report: true }), ..run("fail", &[("a", "fail")]) }
}

/// A step that fails on purpose must not hide what would have kept the run from passing.
#[test]
fn what_nobody_saw_of_a_run_is_worth_no_point_and_a_hushed_report_is_deducted_like_one() {
    let award = Award::Parts { steps: vec![("a".to_owned(), points("3"))], run: points("5") };
    assert_eq!(earned(&hushed(), &award), "0");
    let lost = |is_report| {
        let doubt = hushed().doubt.map(|doubt| Doubt { is_report, ..doubt });
        let rules = Penalties { splat: Some(points("2")), ..Penalties::default() };
        let list = penalties(&rules, &Build::default(), false, &[test(Run { doubt, ..hushed() })]);
        list.into_iter().map(|it| it.what).collect::<Vec<_>>()
    };
    assert_eq!(lost(false), [""; 0]);
    assert!(lost(true).concat().contains("the kernel complained: the kernel's taint W"), "{:?}", lost(true));
}

#[test]
fn of_two_different_runs_the_rule_says_which_counts() {
    let with = |verdict: &str, got: &str| Run { points: points(got), ..run(verdict, &[]) };
    let (first, second) = (with("fail", "3"), with("pass", "10"));
    let chosen = |rule| {
        let (one, other) = choose(first.clone(), second.clone(), rule);
        (one.points.to_string(), other.map(|it| it.points.to_string()))
    };
    assert_eq!(chosen(Rule::Best), ("10".to_owned(), Some("3".to_owned())));
    assert_eq!(chosen(Rule::Worst), ("3".to_owned(), Some("10".to_owned())));
    assert_eq!(choose(first.clone(), first.clone(), Rule::Best).1, None);
}

#[test]
fn a_run_that_was_tampered_with_has_no_points_and_counts_whatever_the_rule() {
    let award = Award::Parts { steps: vec![("a".to_owned(), points("3"))], run: points("5") };
    assert_eq!(earned(&run("tampered", &[("a", "pass")]), &award), "0");
    let (caught, clean) = (run("tampered", &[]), Run { points: points("8"), ..run("pass", &[]) });
    for (first, second) in [(&caught, &clean), (&clean, &caught)] {
        let (one, other) = choose(first.clone(), second.clone(), Rule::Best);
        assert_eq!((&*one.verdict, other.unwrap().verdict.as_str()), ("tampered", "pass"));
    }
}

#[test]
fn what_is_deducted_for_a_hidden_test_gives_it_not_away() {
    let mut left = run("fail", &[]);
    let failure = |what: &str| Failure {
        what: what.to_owned(),
        expected: "secret".to_owned(),
        got: "secret".to_owned(),
    };
    left.failures.extend([failure("devices (/proc/devices)"), failure("taint")]);
    left.findings.push(Finding { title: "secret".to_owned(), ..splat() });
    let hidden = Test { visibility: "hidden".to_owned(), ..test(left) };
    let one = Some(points("1"));
    let rules = Penalties { splat: one, leak: one, taint: one, ..Penalties::default() };
    let what = |tests: &[Test]| {
        let all = penalties(&rules, &Build::default(), false, tests);
        all.into_iter().map(|it| it.what).collect::<Vec<_>>()
    };
    assert_eq!(
        what(std::slice::from_ref(&hidden)),
        [
            "the kernel complained: in a test that is not shown",
            "something stayed behind: in a test that is not shown",
            "the kernel's taint: in a test that is not shown"
        ]
    );
    let mut seen = run("splat", &[]);
    seen.findings.push(splat());
    assert_eq!(what(&[hidden, test(seen)])[0], "the kernel complained: WARNING in f");
}

#[test]
fn each_thing_is_deducted_once_and_only_where_there_is_a_rule() {
    let mut left = run("fail", &[("look", "fail")]);
    let failure =
        |what: &str| Failure { what: what.to_owned(), expected: "O".to_owned(), got: "W".to_owned() };
    left.steps[0].failures.push(failure("devices (/proc/devices)"));
    left.failures.push(failure("taint"));
    left.findings.push(splat());
    let tests = [test(left.clone()), test(left)];
    let build = Build { warnings: vec!["a".to_owned(); 7], ..Build::default() };
    let rules = Penalties {
        warnings: Some((points("1"), points("5"))),
        splat: Some(points("2")),
        leak: Some(points("3")),
        taint: Some(points("4")),
        license: Some(points("6")),
    };
    let lost = |rules: &Penalties, mended| {
        penalties(rules, &build, mended, &tests).iter().map(|it| it.points.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(lost(&rules, true), ["5", "6", "2", "3", "4"]);
    assert_eq!(lost(&rules, false), ["5", "2", "3", "4"]);
    assert!(lost(&Penalties::default(), true).is_empty());
    assert!(penalties(&rules, &Build::default(), false, &[test(run("fail", &[("a", "fail")]))]).is_empty());
}
