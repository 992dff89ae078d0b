//! What is seen from outside: calls through every door, their results, moved entries, and what a hang waits for.

use super::support::{Ran, fixture, root, run, run_text, run_with, shipped};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// How often a call was counted at a door.
fn counted(report: &Value, door: &str, nr: u64) -> u64 {
    let rows = report["syscalls"].as_array().unwrap();
    let row = rows.iter().find(|row| row["door"] == door && row["nr"] == nr);
    row.map_or(0, |row| row["count"].as_u64().unwrap())
}

#[test]
fn calls_of_32_bit_programs_are_counted_at_their_doors() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("doors");
    let source = root().join("tests/fixtures/programs/doors.S");
    let mut gcc = Command::new("gcc");
    let gcc = gcc.args(["-m32", "-nostdlib", "-static", "-no-pie", "-o"]).arg(&program).arg(source);
    assert!(gcc.status().unwrap().success());
    let text = format!("files: {{/bin/doors: {}}}\nsteps:\n  - run: [/bin/doors]\n", program.display());
    let ran = run_text(&text);
    ran.ends_with("pass", 0);
    const GETPPID: u64 = 64;
    let report = ran.report();
    assert_eq!(counted(report, "int80", GETPPID), 7, "{}", ran.text);
    // Which of the two it is depends on the processor.
    let fast = counted(report, "syscall32", GETPPID) + counted(report, "sysenter", GETPPID);
    assert_eq!(fast, 5, "{}", ran.text);
    assert_eq!(ran.calls("getppid"), 12, "by their name: {}", ran.text);
    ran.says("getppid, int 0x80");
}

#[test]
fn entry_that_is_moved_is_told_and_calls_are_counted_all_the_same() {
    let ran = run(&fixture("moves.yaml"));
    ran.ends_with("tampered", 1);
    assert_eq!(ran.calls("getppid"), 8, "{}", ran.text);
    let writes = ran.report()["entry_writes"].as_array().unwrap();
    assert_eq!(writes.len(), 2, "there and back: {writes:?}");
    assert!(writes[0].as_str().unwrap().contains("MSR_LSTAR"), "{writes:?}");
    ran.says("moved where system calls enter the kernel");
}

#[test]
fn results_are_compared_as_they_were_seen() {
    let ran = run(&fixture("results.yaml"));
    ran.ends_with("fail", 1);
    let failures = ran.report()["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 1, "only getppid returned other things than expected: {failures:?}");
    ran.says("results of getppid: expected 4 times 1, got 5 times 1");
}

#[test]
fn trace_shows_the_named_calls_with_arguments_results_and_processes() {
    let ran = run_with(&shipped("chardev.yaml"), &["--trace=csci_add,openat"]);
    ran.ends_with("pass", 0);
    let trace = ran.report()["trace"].as_array().unwrap();
    let names: Vec<&str> = trace.iter().map(|call| call["name"].as_str().unwrap()).collect();
    assert!(names.iter().all(|name| ["csci_add", "openat"].contains(name)), "{names:?}");
    let adds: Vec<&Value> = trace.iter().filter(|call| call["name"] == "csci_add").collect();
    assert_eq!(
        adds.iter().map(|call| call["result"].as_i64()).collect::<Vec<_>>(),
        [Some(0), Some(-14), Some(-75)]
    );
    assert!(adds.iter().all(|call| call["process"] == "init" && call["args"][0].is_u64()), "{adds:?}");
    ran.says("\"/dev/chardev0\"");
    ran.says("EOVERFLOW");
}

#[test]
fn hang_on_a_lock_says_who_waits_for_it() {
    let ran = run(&fixture("deadlocks.yaml"));
    ran.ends_with("hang-idle", 1);
    ran.says("waits in mutex_lock");
    ran.says("deadlocks_twice");
    ran.says("[deadlocks]");
    ran.says("it holds the lock itself");
    ran.says("a deadlock, found after");
    // The step has a minute, and nothing that could end its wait.
    assert!(ran.took < Duration::from_secs(30), "{:?}: {}", ran.took, ran.text);
}

#[test]
fn tasks_that_wait_for_each_other_are_found_before_their_time_is_up() {
    let ran = run(&fixture("abba.yaml"));
    ran.ends_with("hang-idle", 1);
    ran.says("abba_init");
    ran.says("the lock is held by abba_thread");
    ran.says("which waits for it in turn");
    assert!(ran.took < Duration::from_secs(30), "{:?}: {}", ran.took, ran.text);
}

#[test]
fn waiting_for_a_slow_reader_is_no_deadlock() {
    run(&fixture("readers.yaml")).ends_with("pass", 0);
}

#[test]
fn what_looks_like_a_waiter_on_a_stack_is_no_deadlock() {
    let ran = run(&fixture("naps.yaml"));
    ran.ends_with("pass", 0);
    // It slept for so long, so it was looked at.
    assert!(ran.took > Duration::from_secs(4), "{:?}: {}", ran.took, ran.text);
}

#[test]
fn a_line_without_a_newline_belongs_to_the_step_that_printed_it() {
    let ran = run(&fixture("mumbles.yaml"));
    ran.ends_with("pass", 0);
    let log = ran.report()["log"].as_array().unwrap();
    let mumbled = log.iter().filter(|line| line["text"].as_str().unwrap().starts_with("mumbles: "));
    assert_eq!(
        mumbled.filter(|line| !line["text"].as_str().unwrap().contains("taint")).count(),
        2,
        "{log:?}"
    );
}

/// A program of the fixtures, compiled.
fn compiled(folder: &Path, name: &str) -> PathBuf {
    let program = folder.join(name);
    let source = root().join("tests/fixtures/programs").join(format!("{name}.c"));
    let mut gcc = Command::new("gcc");
    assert!(gcc.args(["-O2", "-static", "-o"]).arg(&program).arg(source).status().unwrap().success());
    program
}

/// Three times a signal sends it back to its beginning: it is one call, however often it enters.
#[test]
fn a_call_that_the_kernel_begins_anew_is_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path(), "stopped");
    for (how, call) in [("read", "readv"), ("poll", "poll")] {
        let ran = run_text(&format!(
            "files: {{/bin/stopped: {}}}\nsteps:\n  - run: [/bin/stopped, {how}, '3']\nexpect: {{syscalls: {{{call}: 1}}}}\n",
            program.display()
        ));
        ran.ends_with("pass", 0);
        assert_eq!(ran.calls("restart_syscall"), 0, "{}", ran.text);
    }
}

/// It raises a debug exception while the hypervisor's own breakpoints have the registers.
pub fn int1(run: impl Fn(&str) -> Ran) {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path(), "int1");
    let text = format!(
        "files: {{/bin/int1: {}}}\nsteps:\n  - run: [/bin/int1]\n    expect: {{stdout: \"3 traps\\n\"}}\n",
        program.display()
    );
    run(&text).ends_with("pass", 0);
}

#[test]
fn a_programs_own_debug_exceptions_are_its_own() {
    int1(run_text);
}

#[test]
fn breakpoints_of_debuggers_and_profilers_fire_while_calls_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path(), "breaks");
    let with = |count: &str, expect: &str| {
        let step =
            |how: &str| format!("  - run: [/bin/breaks, {how}]\n    expect: {{stdout: \"5 hits\\n\"}}\n");
        let steps: String = ["ptrace", "execute", "perf"].map(step).concat();
        run_text(&format!("{count}files: {{/bin/breaks: {}}}\nsteps:\n{steps}{expect}", program.display()))
    };
    // Five calls of each program's, all of them at the 64-bit door, which keeps its register.
    let ran = with("", "expect: {syscalls: {getppid: {at-least: 15}}}\n");
    ran.ends_with("pass", 0);
    assert_eq!(ran.calls("getppid"), 15, "{}", ran.text);
    let unknown = ran.report()["not_known"].as_array().unwrap();
    assert!(unknown.iter().any(|line| line.as_str().unwrap().contains("int $0x80")), "{unknown:?}");
    // What may have been missed decides nothing.
    let ran = with("", "expect: {syscalls: {getppid: 15}}\n");
    ran.ends_with("fail", 1);
    ran.says("15 or more");
    let ran = with("count: false\n", "");
    ran.ends_with("pass", 0);
    assert_eq!(ran.report()["syscalls"].as_array().unwrap().len(), 0, "{}", ran.text);
}

#[test]
fn processor_that_goes_and_comes_back_has_moved_nothing() {
    let ran = run_text(
        "machine: {cpus: 2}\nsteps:\n  - file: /sys/devices/system/cpu/cpu1/online\n    write: '0'\n  - file: \
         /sys/devices/system/cpu/cpu1/online\n    write: '1'\n  - file: /sys/devices/system/cpu/online\n    expect: {data: \
         \"0-1\\n\"}\n  - syscall: getppid\n    repeat: 10\nexpect:\n  syscalls: {getppid: 10}\n",
    );
    ran.ends_with("pass", 0);
    assert_eq!(ran.report()["entry_writes"].as_array().unwrap().len(), 0, "{}", ran.text);
}

#[test]
fn processor_that_never_comes_up_fails_nobody_else() {
    let ran = run_text(
        "machine: {cpus: 2, command-line: maxcpus=1}\nsteps:\n  - file: /sys/devices/system/cpu/online\n    expect: {data: \
         \"0\\n\"}\n  - syscall: getppid\n    repeat: 10\nexpect:\n  syscalls: {getppid: 10}\n",
    );
    ran.ends_with("pass", 0);
    let ran = run_text("machine: {cpus: 17}\nsteps:\n  - syscall: getppid\n");
    assert_eq!(ran.code, Some(2), "{}", ran.text);
    ran.says("room for 16 processors, not for 17");
}

#[test]
fn entry_that_no_register_can_hold_is_refused_as_by_hardware() {
    let ran = run(&fixture("bends.yaml"));
    ran.ends_with("pass", 0);
    assert_eq!(ran.report()["entry_writes"].as_array().unwrap().len(), 0, "{}", ran.text);
}
