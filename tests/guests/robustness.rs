//! Guests that die, or try to harm whoever watches them: each gets its verdict and a whole report.

use super::support::{Ran, fixture, root, run, run_text};
use std::{process::Command, time::Duration};

/// The report is whole, and nothing waited much longer than the scenario's limits.
fn ended(scenario: &str, verdict: &str) -> Ran {
    let ran = run(&fixture(scenario));
    ran.ends_with(verdict, 1);
    let report = ran.report();
    assert!(report["steps"].is_array() && report["log"].is_array() && report["exits"].is_object());
    assert!(ran.took < Duration::from_secs(60), "{:?}", ran.took);
    ran
}

#[test]
fn loop_with_interrupts_off_is_found_where_it_spins() {
    let ran = ended("deaf.yaml", "hang-spinning");
    ran.says("deaf.c:11, interrupts off");
}

#[test]
fn triple_fault_ends_the_run_at_once() {
    let ran = ended("faults.yaml", "panic");
    ran.says("triple fault");
}

#[test]
fn end_of_the_agent_is_a_panic_at_once() {
    let ran = ended("kills.yaml", "panic");
    ran.says("Attempted to kill init!");
}

#[test]
fn rubbish_in_the_agents_name_is_no_answer() {
    let ran = ended("garbles.yaml", "tampered");
    ran.says("the agent's answers make no sense");
}

#[test]
fn reset_from_inside_ends_the_run() {
    let ran = ended("reboots.yaml", "fail");
    ran.says("reset");
}

#[test]
fn machine_that_switches_itself_off_is_no_hang_and_its_run_ends_at_once() {
    let ran = ended("powers-off.yaml", "fail");
    ran.says("the guest halted, or switched itself off");
    // No hang was to be seen, so nobody gets one who expects one.
    let text = "steps:\n  - {run: halt -f}\nexpect: {hang-idle: true}\n";
    run_text(text).ends_with("fail", 1);
}

#[test]
fn words_that_a_program_writes_into_the_log_are_none_of_the_kernels() {
    let text = r#"
steps:
  - run: [sh, -c, 'echo "<0>Kernel panic - not syncing: not at all" > /dev/kmsg']
  - run: [sh, -c, 'echo "<0>reboot: Power down" > /dev/kmsg']
  - run: [sh, -c, 'echo "<4>WARNING: CPU: 0 PID: 1 at fs/x.c:1 f+0x1/0x2" > /dev/kmsg']
    expect: {log: {has: "WARNING: CPU"}}
"#;
    let ran = run_text(text);
    ran.ends_with("pass", 0);
    assert_eq!(ran.report()["findings"].as_array().unwrap().len(), 0, "{}", ran.text);
}

#[test]
fn flood_on_the_console_is_bounded() {
    let ran = run(&fixture("shouts.yaml"));
    ran.ends_with("pass", 0);
    let kept = ran.report()["console"].as_str().unwrap().len();
    assert!(kept < 100_000, "{kept} bytes of console");
    let memory = ran.report()["own_memory_kib"].as_u64().unwrap();
    assert!(memory < 64 << 10, "{memory} KiB");
}

/// So many calls of as many processes as there are processors, on all of them at once.
fn are_counted(calls: u32, cpus: u32) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("counts");
    let source = root().join("tests/fixtures/programs/counts.c");
    assert!(
        Command::new("gcc")
            .args(["-O2", "-static", "-o"])
            .arg(&program)
            .arg(source)
            .status()
            .unwrap()
            .success()
    );
    let each = calls / cpus;
    let ran = run_text(&format!(
        "machine: {{cpus: {cpus}}}\ntimeout: 300 s\nfiles: {{/bin/counts: {}}}\nsteps:\n  - run: [/bin/counts, '{cpus}', \
         '{each}']\nexpect:\n  syscalls: {{getppid: {calls}}}\n",
        program.display()
    ));
    ran.ends_with("pass", 0);
    assert_eq!(ran.calls("getppid"), u64::from(calls), "{}", ran.text);
}

#[test]
fn many_calls_are_counted_on_one_vcpu() {
    are_counted(20_000, 1);
}

#[test]
fn many_calls_are_counted_on_two_vcpus() {
    are_counted(20_000, 2);
}

#[test]
#[ignore = "takes minutes: make test-all"]
fn hundred_thousand_calls_are_counted_on_one_vcpu() {
    are_counted(100_000, 1);
}

#[test]
#[ignore = "takes minutes: make test-all"]
fn hundred_thousand_calls_are_counted_on_two_vcpus() {
    are_counted(100_000, 2);
}
