//! An expectation that does not hold fails: that one, and nothing else.

use super::support::{Ran, fixture, run, run_text, shipped_text};

/// Runs chardev.yaml with one expectation changed, and returns which steps did not pass.
#[track_caller]
fn failing_steps(right: &str, wrong: &str) -> Vec<String> {
    let text = shipped_text("chardev.yaml");
    assert_eq!(text.matches(right).count(), 1, "`{right}` must name one expectation");
    let ran = run_text(&text.replace(right, wrong));
    ran.ends_with("fail", 1);
    let report = ran.report();
    assert_eq!(report["failures"].as_array().unwrap().len(), 0, "no expectation of the run: {}", ran.text);
    let steps = report["steps"].as_array().unwrap();
    let odd = steps.iter().filter(|step| step["verdict"] != "pass");
    odd.inspect(|step| assert_eq!(step["failures"].as_array().unwrap().len(), 1, "{step}"))
        .map(|step| step["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn wrong_number_fails_only_its_step() {
    let failing = failing_steps("{returns: 0, sum: 42}", "{returns: 0, sum: 43}");
    assert_eq!(failing.len(), 1, "{failing:?}");
    assert!(failing[0].contains("csci_add(2, 40)"), "{failing:?}");
}

#[test]
fn wrong_error_fails_only_its_step() {
    let failing = failing_steps("expect: ENOTTY", "expect: EINVAL");
    assert_eq!(failing.len(), 1, "{failing:?}");
    assert!(failing[0].starts_with("no such request"), "{failing:?}");
}

#[test]
fn wrong_data_fails_only_its_step() {
    let failing = failing_steps("{returns: 3, data: ell}", "{returns: 3, data: elk}");
    assert_eq!(failing.len(), 1, "{failing:?}");
    assert!(failing[0].starts_with("read /dev/chardev0"), "{failing:?}");
}

#[test]
fn wrong_count_fails_the_run_though_every_step_passes() {
    let ran = run(&fixture("count.yaml"));
    ran.ends_with("fail", 1);
    assert_eq!(ran.step_verdicts(), ["pass"], "{}", ran.text);
    assert_eq!(ran.report()["failures"].as_array().unwrap().len(), 1, "{}", ran.text);
    ran.says("getppid");
}

#[test]
fn number_at_the_end_of_what_was_read_has_a_name() {
    let text = r#"
steps:
  - {file: /tmp/id, write: id=42}
  - {open: /tmp/id, as: fd}
  - {read: $fd, match: 'id=(\S+)$', as: id}
  - {run: [/bin/echo, '${id}'], expect: {stdout: "42"}}
"#;
    run_text(text).ends_with("pass", 0);
}

#[test]
fn a_drawn_value_comes_into_the_guest_and_into_the_report() {
    let text = "params: {word: {draw: text, length: 20}}\nsteps:\n  - {run: [/bin/echo, $word], expect: {stdout: $word}}\n";
    let (first, second) = (run_text(text), run_text(text));
    let drawn = |ran: &Ran| ran.report()["scenario"]["drawn"]["word"].as_str().unwrap().to_owned();
    for ran in [&first, &second] {
        ran.ends_with("pass", 0);
        ran.says(&format!("drawn     word={}", drawn(ran)));
    }
    assert_ne!(drawn(&first), drawn(&second));
}

#[test]
fn a_call_that_blocks_can_be_expected() {
    let text = "steps:\n  - {mknod: /tmp/pipe, fifo: true}\n  - {open: /tmp/pipe, timeout: 1 s, expect: blocks}\n  \
                - {open: /tmp/pipe, flags: [read, write], as: fd}\n  - {read: $fd, timeout: 1 s, expect: blocks}\n";
    let ran = run_text(text);
    ran.ends_with("pass", 0);
    ran.says("read /tmp/pipe: blocked for 1 s, as expected");
    let returns = text.replace("open: /tmp/pipe, timeout", "open: /dev/null, timeout");
    let ran = run_text(&returns);
    ran.ends_with("fail", 1);
    ran.says("return value: expected none within 1 s, as it was to block, got ");
    assert_eq!(ran.step_verdicts(), ["pass", "fail", "pass", "pass"], "{}", ran.text);
}

#[test]
fn a_parameter_that_the_module_does_not_have_fails_the_step_that_gives_it() {
    let folder = super::support::root().join("modules/hello");
    for step in ["insmod", "modprobe"] {
        let ran = run_text(&format!(
            "modules: [{}]\nsteps:\n  - {{{step}: helloModule, params: {{times: 1, time: 2}}}}\n",
            folder.display()
        ));
        ran.ends_with("fail", 1);
        ran.says("parameter `time`: expected one that helloModule has (times, whom; did you mean `times`?)");
    }
}

#[test]
fn what_a_descriptor_is_ready_for_can_be_expected() {
    let ran = run(&fixture("polls.yaml"));
    ran.ends_with("pass", 0);
    ran.says("poll /tmp/pipe for in = none");
    ran.says("poll /tmp/pipe for in, out = in, out");
}
