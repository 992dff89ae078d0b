//! An Intel processor's KVM. Each run takes a minute or two, and needs what `./setup intel` brings, so `make test-all` has these
//! tests, and `make test` has not.
//!
//! What differs from AMD stands in ARCHITECTURE.md, "Two vendors"; each difference has its test here.

use super::support::{Ran, all_shipped, explain, fixture, root, run_with, shipped};
use std::process::Command;

const THERE: [&str; 2] = ["--host", "emulated-intel"];

fn on_intel(scenario: &std::path::Path) -> Ran {
    run_with(scenario, &THERE)
}

#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_counts_at_its_own_door_of_32_bit_programs_wherever_that_is() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("doors");
    let mut gcc = Command::new("gcc");
    let gcc = gcc.args(["-m32", "-nostdlib", "-static", "-no-pie", "-o"]).arg(&program);
    assert!(gcc.arg(root().join("tests/fixtures/programs/doors.S")).status().unwrap().success());
    let moves = root().join("tests/fixtures/modules/moves");
    let text = format!(
        "modules: [{}]\nfiles: {{/bin/doors: {}}}\nsteps:\n  - run: [/bin/doors]\n  - insmod: moves\n    params: {{sysenter: 1}}\n  \
         - run: [/bin/doors]\n  - rmmod: moves\n",
        moves.display(),
        program.display()
    );
    let scenario = folder.path().join("doors.yaml");
    std::fs::write(&scenario, text).unwrap();
    let ran = on_intel(&scenario);
    // It was moved, so the run does not pass; what was called is counted all the same.
    ran.ends_with("tampered", 1);
    let rows = ran.report()["syscalls"].as_array().unwrap();
    let counted = |door: &str| {
        let of_door = rows.iter().filter(|row| row["door"] == door && row["nr"] == 64);
        of_door.map(|row| row["count"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((counted("sysenter"), counted("syscall32"), counted("int80")), (10, 0, 14), "{}", ran.text);
    let writes = ran.report()["entry_writes"].as_array().unwrap();
    assert_eq!(writes.len(), 2, "there and back: {writes:?}");
    assert!(writes[0].as_str().unwrap().contains("MSR_IA32_SYSENTER_EIP"), "{writes:?}");
}

/// KVM leaves an Intel processor on the instruction, and an AMD one behind it.
#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_programs_have_debug_exceptions_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("int1.yaml");
    super::evidence::int1(|text| {
        std::fs::write(&scenario, text).unwrap();
        on_intel(&scenario)
    });
}

#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_moved_lstar_is_followed() {
    let ran = on_intel(&fixture("moves.yaml"));
    ran.ends_with("tampered", 1);
    assert_eq!(ran.calls("getppid"), 8, "{}", ran.text);
    assert!(ran.report()["entry_writes"][0].as_str().unwrap().contains("MSR_LSTAR"), "{}", ran.text);
}

#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_counts_are_exact() {
    let ran = on_intel(&shipped("syscall.yaml"));
    ran.ends_with("pass", 0);
    assert_eq!(ran.calls("getppid"), 1000, "{}", ran.text);
    on_intel(&fixture("two-cpus.yaml")).ends_with("pass", 0);
}

#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_calls_are_followed_step_by_step() {
    let ran = explain(&["getppid", "--host", "emulated-intel"]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    for place in ["entry_SYSCALL_64", "do_syscall_64", "sys_getppid", "ring 3  after"] {
        ran.says(place);
    }
}

#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_guests_die_and_hang_with_the_same_verdicts() {
    on_intel(&fixture("panics.yaml")).ends_with("panic", 1);
    let fault = on_intel(&fixture("faults.yaml"));
    fault.ends_with("panic", 1);
    fault.says("triple fault");
    let hang = on_intel(&fixture("deadlocks.yaml"));
    hang.ends_with("hang-idle", 1);
    hang.says("it holds the lock itself");
}

#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_runs_every_shipped_scenario() {
    for name in all_shipped() {
        on_intel(&shipped(&name)).ends_with("pass", 0);
    }
}

/// This processor has what keeps the kernel from user memory (SMAP).
#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_drivers_that_touch_user_memory_by_themselves_die_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("trusts.yaml");
    let module = root().join("tests/hostile/modules/trusts");
    let text = format!(
        "modules: [{}]\nsteps:\n  - insmod: trusts\n  - {{file: /proc/trusts, write: x}}\n",
        module.display()
    );
    std::fs::write(&scenario, text).unwrap();
    let ran = on_intel(&scenario);
    ran.ends_with("oops", 1);
    ran.says("trusts_write");
}

/// A kernel with virtio as modules, and its own headers to build against.
#[test]
#[ignore = "needs ./setup intel, Debian's package and minutes: make test-all"]
fn intel_runs_debians_own_kernel() {
    let package =
        std::env::var("VMM_DEBIAN_KERNEL").expect("VMM_DEBIAN_KERNEL names a linux-image package's file");
    let ran = run_with(&shipped("hello.yaml"), &["--host", "emulated-intel", "--kernel", &package]);
    ran.ends_with("pass", 0);
    assert_eq!((ran.calls("finit_module"), ran.calls("delete_module")), (104, 103), "{}", ran.text);
}
