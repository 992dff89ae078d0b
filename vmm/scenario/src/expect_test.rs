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

#[test]
fn a_bound_that_nothing_of_the_type_can_reach_is_a_mistake() {
    let call = |kind: &str, want: &str| {
        format!("steps:\n- syscall: 1\n  args: [{{out: {kind}, as: x}}]\n  expect: {{x: {want}}}\n")
    };
    let exit = |want: &str| format!("steps:\n- run: ls\n  expect: {{exit: {want}}}\n");
    let int80 = |number: &str| format!("steps:\n- {{syscall: {number}, door: int80}}\n");
    for (text, why) in [
        (call("u8", "300"), "a number of the type `u8` is 0 to 255, found 300"),
        (call("u16", "{at-least: -1}"), "`u16` is 0 to 65535, found -1"),
        (call("int", "0xffffffff"), "`int` is -2147483648 to 2147483647, found 4294967295"),
        (
            call("long", "{at-most: 0xffffffffffffffff}"),
            "`long` is -9223372036854775808 to 9223372036854775807",
        ),
        (exit("{at-least: 300}"), "an exit status is 0 to 255, found 300"),
        (int80("4294967296"), "a system call's number is 0 to 4294967295, found 4294967296"),
    ] {
        let error = try_load(text.as_bytes()).expect_err(&text);
        assert!(error.contains(why), "{error}");
    }
    for text in [
        call("u8", "255"),
        call("char", "{at-least: -128, at-most: 127}"),
        call("u64", "0xffffffffffffffff"),
        exit("{at-least: 1, at-most: 255}"),
        int80("0xffffffff"),
        "steps:\n- syscall: 4294967296\n".to_owned(),
    ] {
        assert!(try_load(text.as_bytes()).is_ok(), "{text}");
    }
}

#[test]
fn a_reload_has_no_value_that_a_name_could_stand_for() {
    let text = b"modules: [../modules/chardev]\nsteps:\n- {reload: chardev, as: r}\n- {sleep: 1 s}\n";
    let why = try_load(text).unwrap_err();
    assert!(why.contains(":3") && why.contains("a `reload` is several calls"), "{why}");
}
