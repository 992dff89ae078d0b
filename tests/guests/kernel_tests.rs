//! The kernel's own tests: selftests and KUnit.

use super::support::{Ran, command_on_host};
use serde_json::Value;

fn steps(ran: &Ran, at: usize) -> Vec<(String, String)> {
    let scenario = &ran.whole_report()["scenarios"][at];
    let steps = scenario["steps"].as_array().expect("steps are a list");
    let text = |step: &'_ Value, name: &str| step[name].as_str().unwrap_or_default().to_owned();
    steps.iter().map(|step| (text(step, "name") + &text(step, "what"), text(step, "verdict"))).collect()
}

/// The verdict of the step with this in its name or in what it did.
#[track_caller]
fn verdict(ran: &Ran, at: usize, name: &str) -> String {
    let steps = steps(ran, at);
    let found = steps.iter().find(|(title, _)| title.contains(name));
    found.unwrap_or_else(|| panic!("no step is called {name}: {steps:?}\n{}", ran.text)).1.clone()
}

/// Who asks for tests that there are not must not go green on nothing.
#[test]
fn a_collection_or_a_test_that_there_is_not_is_bad_input() {
    let ran = command_on_host(&["kselftest", "--kernel", "6.12", "timer"]);
    assert_eq!(ran.code, Some(2), "{}", ran.text);
    ran.says("did you mean `timers`?");
    let ran = command_on_host(&["kselftest", "--kernel", "6.12", "../size"]);
    assert_eq!(ran.code, Some(2), "{}", ran.text);
    let ran = command_on_host(&["kunit", "--kernel", "6.12", "--kunitconfig", "/nowhere"]);
    assert_eq!(ran.code, Some(2), "{}", ran.text);
    let ran = command_on_host(&["kunit", "--kernel", "6.12", "--filter", "a b"]);
    assert_eq!(ran.code, Some(2), "{}", ran.text);
}

/// A program without libraries, one with threads, a script that calls others, one for an interpreter that is not there, one that
/// counts results which it does not tell, one that leaves its root, one that needs what this guest lacks.
#[test]
#[ignore = "builds a kernel, for minutes"]
fn selftests_of_many_kinds_are_steps_with_their_verdicts() {
    let tests = ["size", "timers:nanosleep", "futex", "exec:binfmt_script.py", "exec:null-argv", "kcmp"];
    let more = ["landlock:fs_test", "uevent", "--cpus", "1"];
    let ran = command_on_host(&[&["kselftest", "--kernel", "6.12"], &tests[..], &more].concat());
    assert_eq!(verdict(&ran, 0, "get_size"), "pass", "{}", ran.text);
    assert_eq!(verdict(&ran, 1, "nanosleep"), "pass", "{}", ran.text);
    assert_eq!(verdict(&ran, 2, "run.sh"), "pass", "{}", ran.text);
    assert_eq!(verdict(&ran, 3, "binfmt_script.py"), "skipped", "{}", ran.text);
    assert_eq!(verdict(&ran, 3, "null-argv"), "pass", "{}", ran.text);
    ran.says("it is a script for python3");
    assert_eq!(verdict(&ran, 4, "kcmp_test"), "pass", "{}", ran.text);
    assert_eq!(verdict(&ran, 5, "fs_test"), "pass", "{}", ran.text);
    assert_eq!(verdict(&ran, 6, "uevent_filtering"), "skipped", "{}", ran.text);
    ran.says("its buffer holds less than all of them");
    assert_eq!(ran.code, Some(0), "{}", ran.text);
}

/// KUnit's own example: its suite and its cases are in the report, and a filter that leaves nothing is no pass.
#[test]
#[ignore = "builds a kernel, for minutes"]
fn unit_tests_are_read_from_the_log_of_the_boot() {
    let ran = command_on_host(&["kunit", "--kernel", "6.12", "--filter", "example*"]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    ran.says("PASS  example");
    let tests = ran.report()["subtests"].as_array().expect("tests are a list");
    assert!(tests.len() > 3, "{tests:?}");
    // The whole of it: what KUnit's tests of itself bring about on purpose is shown, and fails nothing.
    let ran = command_on_host(&["kunit", "--kernel", "6.12"]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    ran.says("allowed: KUnit's own test looks whether it survives that");
    assert!(ran.report()["subtests"].as_array().expect("tests are a list").len() > 200, "{}", ran.text);
    let ran = command_on_host(&["kunit", "--kernel", "6.12", "--filter", "nothing-is-called-so*"]);
    assert_eq!(ran.code, Some(1), "{}", ran.text);
}
