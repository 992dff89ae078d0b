//! What goes wrong inside a guest is named by what it was, and never passes.

use super::support::{Ran, fixture, root, run};
use std::time::Duration;

/// The run's log has such a line.
#[track_caller]
fn logged(ran: &Ran, what: &str) {
    let log = ran.report()["log"].as_array().unwrap();
    assert!(log.iter().any(|line| line["text"].as_str().unwrap().contains(what)), "{log:?}");
}

/// Some finding is of this kind.
#[track_caller]
fn found(ran: &Ran, kind: &str) {
    let findings = ran.report()["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| finding["kind"] == kind), "{findings:?}");
}

#[test]
fn panic_ends_the_run_at_once_and_shows_the_log() {
    let ran = run(&fixture("panics.yaml"));
    ran.ends_with("panic", 1);
    found(&ran, "panic");
    assert_eq!(ran.step_verdicts(), ["fail"]);
    ran.says("kernel panic: panics: on purpose");
    // The stack begins where the module's own code does, and not with how a panic is printed.
    ran.says(", taint O\n            panics_init+0x");
    // The log's end.
    ran.says("Kernel Offset");
    // Not by the time limit of a step (10 s) or of the boot (60 s).
    assert!(ran.report()["timing"]["run_ms"].as_f64().unwrap() < 9_000.0, "{}", ran.report()["timing"]);
}

#[test]
fn null_pointer_is_an_oops() {
    let ran = run(&fixture("oopses.yaml"));
    ran.ends_with("oops", 1);
    found(&ran, "oops");
    logged(&ran, "NULL pointer dereference");
    ran.says("oopses_init");
}

#[test]
fn warning_is_a_splat_though_every_step_passes() {
    let ran = run(&fixture("warns.yaml"));
    ran.ends_with("splat", 1);
    assert_eq!(ran.step_verdicts(), ["pass"], "{}", ran.text);
    logged(&ran, "warns: on purpose");
    ran.says("warns_init");
}

#[test]
fn busy_loop_is_a_hang_that_spins() {
    let ran = run(&fixture("spins.yaml"));
    ran.ends_with("hang-spinning", 1);
    ran.says("insmod spins");
    assert!(ran.took < Duration::from_secs(60), "{:?}", ran.took);
}

#[test]
fn endless_sleep_is_a_hang_that_idles() {
    let ran = run(&fixture("sleeps.yaml"));
    ran.ends_with("hang-idle", 1);
    ran.says("insmod sleeps");
    assert!(ran.took < Duration::from_secs(60), "{:?}", ran.took);
}

#[test]
fn panic_at_boot_ends_the_run_at_once_and_shows_why() {
    let ran = run(&fixture("no-init.yaml"));
    ran.ends_with("boot-failed", 1);
    ran.says("Kernel panic - not syncing");
    assert!(ran.took < Duration::from_secs(30), "{:?}", ran.took);
}

#[test]
fn boot_that_takes_too_long_shows_where_the_vcpu_stood() {
    let ran = run(&fixture("no-time-to-boot.yaml"));
    ran.ends_with("boot-failed", 1);
    ran.says("20.0 ms");
    assert!(!ran.report()["standing"].as_array().unwrap().is_empty(), "{}", ran.text);
    assert_eq!(ran.step_verdicts(), ["not-run"]);
}

#[test]
fn module_that_does_not_compile_shows_the_compilers_first_error() {
    let ran = run(&fixture("broken.yaml"));
    ran.ends_with("build-failed", 1);
    // As the user knows it, not the copy that is built; and as lines, which a compiler's marks need.
    let folder = root().join("tests/fixtures/modules/broken");
    ran.says(&format!("failed to build the module in {}:\n", folder.display()));
    ran.says(&format!("{}/broken.c:8:16: error:", folder.display()));
    ran.says("undeclared");
    assert_eq!(ran.step_verdicts(), ["not-run"]);
}
