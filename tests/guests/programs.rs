//! Programs in a guest: what they print, how long they may take, and what their tests say.

use super::support::{root, run, run_text};
use std::fs;
use tempfile::TempDir;

/// Steps of a shell's scripts.
fn shell(script: &str, fields: &str) -> String {
    let script = script.replace('\'', "''");
    format!("  - {{run: [/bin/sh, -c, '{script}'], {fields}}}\n")
}

#[test]
fn program_that_takes_too_long_is_ended_with_its_children_and_the_run_goes_on() {
    let endless = "trap \"\" TERM; setsid sleep 1000 & sleep 1000 & while :; do echo tick; sleep 0.1; done";
    let text = [
        "steps:\n",
        &shell(endless, "timeout: 3 s"),
        &shell("exec yes", "timeout: 2 s"),
        // Neither shell nor sleeper is left.
        &shell("ps; ! ps | grep -v grep | grep -E \"[s]leep|[y]es\"", "timeout: 10 s"),
        "  - {syscall: pause, timeout: 1 s}\n  - syscall: getppid\n",
    ]
    .concat();
    let ran = run_text(&text);
    ran.ends_with("fail", 1);
    assert_eq!(ran.step_verdicts(), ["timeout", "timeout", "pass", "timeout", "pass"], "{}", ran.text);
    let step = &ran.report()["steps"][0];
    assert!(step["output"].as_str().unwrap().starts_with("tick\ntick\n"), "{step}");
    ran.says("not done within 3 s, so it was ended");
    ran.says("3 of 5 steps took too long");
}

#[test]
fn output_beyond_every_limit_is_judged_by_what_is_known() {
    let script = "echo first; yes 0123456789012345678901234567890 | head -c 17500000; echo; echo last";
    let text = format!(
        "timeout: 100 s\nsteps:\n{}{}",
        shell(script, "expect: {stdout: {contains: [first, last], matches: \"^last$\"}}"),
        shell(script, "expect: {stdout: {lacks: BADBAD}}"),
    );
    let ran = run_text(&text);
    ran.ends_with("fail", 1);
    assert_eq!(ran.step_verdicts(), ["pass", "fail"], "{}", ran.text);
    ran.says("not known: it was cut, ");
    let step = &ran.report()["steps"][0];
    let output = step["output"].as_str().unwrap();
    assert!(
        output.starts_with("first\n") && output.ends_with("\nlast\n"),
        "{}",
        &output[output.len() - 50..]
    );
    assert_eq!(step["output_bytes_left_out"], 17_500_012 - 32_768);
}

#[test]
fn tests_of_a_program_are_sub_results() {
    let text = [
        "steps:\n",
        &shell("echo TAP version 13; echo 1..2; echo ok 1 a; echo not ok 2 b", ""),
        &shell("echo TAP version 13; echo 1..2; echo ok 1 a", ""),
        &shell("echo ok 1 a; echo \"ok 2 # SKIP b\"; echo 1..2", "ktap: required"),
        &shell("echo \"1..0 # SKIP no such device\"; exit 4", ""),
        &shell("echo nothing", "ktap: required"),
        // KUnit writes to the log as well; but these are no lines of the kernel's.
        "  - {file: /dev/kmsg, append: \"KTAP version 1\\n\"}\n",
        &shell("for l in \"KTAP version 1\" 1..1 \"not ok 1 suite\"; do echo \"$l\" > /dev/kmsg; done", ""),
    ]
    .concat();
    let ran = run_text(&text);
    ran.ends_with("fail", 1);
    let expected = ["fail", "fail", "pass", "skipped", "fail", "pass", "pass"];
    assert_eq!(ran.step_verdicts(), expected, "{}", ran.text);
    let steps = ran.report()["steps"].as_array().unwrap();
    let tests = |step: usize| -> Vec<(&str, &str)> {
        let list = steps[step]["subtests"].as_array().map_or(&[][..], Vec::as_slice);
        list.iter().map(|test| (test["name"].as_str().unwrap(), test["verdict"].as_str().unwrap())).collect()
    };
    assert_eq!(tests(0), [("a", "pass"), ("b", "fail")]);
    assert_eq!(tests(2), [("a", "pass"), ("b", "skipped")]);
    assert_eq!(tests(6), []);
    ran.says("1 results, where 2 were planned");
}

#[test]
fn steps_after_an_oops_that_need_its_descriptors_are_skipped() {
    let folder = root().join("tests/fixtures/modules/oopses");
    let ran = run_text(&format!(
        "modules: [{}]\nsteps:\n  - {{open: /dev/zero, as: fd}}\n  - insmod: oopses\n  - {{read: $fd, count: 4}}\n  - close: \
         $fd\n  - {{open: /dev/zero, as: other}}\n  - {{read: $other, count: 4}}\n",
        folder.display()
    ));
    ran.ends_with("oops", 1);
    assert_eq!(ran.step_verdicts(), ["pass", "fail", "skipped", "skipped", "pass", "pass"], "{}", ran.text);
    ran.says("`$fd` has no value: the process that it belonged to ended in the step of line 4 (");
    ran.says("the kernel logged:");
}

#[test]
fn error_is_in_no_range() {
    let ran = run_text(
        "steps:\n  - {syscall: close, args: [99], expect: {returns: {at-most: 0}}}\n  - {syscall: close, args: [99], expect: \
         EBADF}\n",
    );
    assert_eq!(ran.step_verdicts(), ["fail", "pass"], "{}", ran.text);
    ran.says("at most 0, and no error");
}

#[test]
fn a_program_in_c_is_built_for_the_guest_and_one_that_is_wrong_says_where() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("nr.h", "#include <sys/syscall.h>\n#define NR SYS_getppid\n");
    let call = "#include \"nr.h\"\n#include <pthread.h>\n#include <stdio.h>\n#include <unistd.h>\n\
                static void *ask(void *to) { *(long *)to = syscall(NR); return 0; }\n\
                int main(void)\n{\n\tpthread_t asks;\n\tlong parent = 0;\n\
                \tpthread_create(&asks, 0, ask, &parent);\n\tpthread_join(asks, 0);\n\
                \tprintf(\"%s\\n\", parent == getppid() ? \"same\" : \"other\");\n\treturn parent == 0;\n}\n";
    write("call.c", call);
    let text = "programs: {/bin/call: call.c}\nsteps:\n  - {run: /bin/call, expect: {exit: 0, stdout: same}}\n\
                expect: {syscalls: {getppid: 2}}\n";
    write("call.yaml", text);
    let scenario = folder.path().join("call.yaml");
    run(&scenario).ends_with("pass", 0);
    write("call.c", &call.replace("parent == 0", "parents == 0"));
    let ran = run(&scenario);
    ran.ends_with("build-failed", 1);
    ran.says(&format!("{}:13:16: error:", folder.path().join("call.c").display()));
    ran.says("parents");
}
