use crate::fixture::{scenario, try_load};

/// Else a failure of many lines' texts points at the one above them.
#[test]
fn each_of_several_texts_and_errors_has_its_own_line() {
    let text = "steps:\n- run: ls\n  expect:\n    stdout:\n      contains:\n      - a\n      - b\n      lacks: c\n    stderr: d\n\
                - syscall: 1\n  args: [{out: 8, as: x}]\n  expect:\n    x: {contains: e,\n        lacks: f}\n\
                expect:\n  syscalls:\n    read:\n      count: 2\n      errors:\n        EFAULT: 1\n        EINTR: 1\n";
    let scenario = scenario(text);
    let lines = |step: usize| scenario.steps[step].checks.iter().map(|check| check.line).collect::<Vec<_>>();
    assert_eq!((lines(0), lines(1)), (vec![2, 6, 7, 8, 9], vec![10, 13, 14]));
    let errors = scenario.expect.syscalls[0].errors.iter();
    assert_eq!(errors.map(|(.., line)| *line).collect::<Vec<_>>(), [20, 21]);
}

/// `expect: {log: 3}` would be about the buffer and about the kernel's log.
#[test]
fn a_buffer_is_not_called_like_an_expectation() {
    let load = |name: &str| {
        try_load(format!("steps:\n- syscall: 1\n  args:\n  - {{out: 8, as: {name}}}\n").as_bytes())
    };
    for name in ["data", "log", "returns", "errno", "blocks", "within", "taint", "timeout", "hang", "splat"] {
        let why = load(name).expect_err(name);
        assert!(why.contains(":4") && why.contains(&format!("`{name}` has a meaning of its own")), "{why}");
    }
    for name in ["log_out", "users", "stdout"] {
        assert!(load(name).is_ok(), "{name}");
    }
    assert!(try_load(b"steps:\n- open: /dev/x\n  as: log\n- close: $log\n").is_ok(), "no buffer");
}
