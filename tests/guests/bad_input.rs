//! Bad input: exit code 2, one message that shows where, and nothing else happens.

use super::support::{Ran, command, fixture, refuse, run_several, run_text, run_with, shipped};
use std::{fs, path::Path};
use tempfile::TempDir;

/// Nothing was run, there is one message, and the report says no more than that.
#[track_caller]
fn refused(ran: &Ran) {
    assert_eq!(ran.code, Some(2), "{}", ran.text);
    let report = ran.whole_report();
    assert_eq!((report["verdict"].as_str(), report["finished"].as_bool()), (Some("bad-input"), Some(false)));
    assert!(report["scenarios"].as_array().is_some_and(Vec::is_empty), "{report}");
    assert_eq!(ran.text.matches("error:").count(), 1, "{}", ran.text);
    for word in ["host ", "boot ", "PASS", "FAIL", "panicked"] {
        assert!(!ran.text.contains(word), "`{word}` is in:\n{}", ran.text);
    }
}

fn refuse_text(text: &str) -> Ran {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("typo.yaml");
    fs::write(&path, text).unwrap();
    refuse(&path)
}

#[test]
fn missing_scenario_is_named() {
    let ran = refuse(Path::new("/nonexistent/none.yaml"));
    refused(&ran);
    ran.says("/nonexistent/none.yaml");
    ran.says("no such file");
}

#[test]
fn unknown_step_is_shown_with_the_nearest_name() {
    let ran = refuse_text("steps:\n  - sleep: 1 ms\n  - insmodd: chardev\n");
    refused(&ran);
    ran.says("typo.yaml:3:5");
    ran.says("- insmodd: chardev");
    ran.says("did you mean `insmod`?");
}

#[test]
fn missing_module_folder_is_shown_where_it_is_named() {
    let ran = refuse_text("modules: [nosuch]\nsteps:\n  - insmod: nosuch\n");
    refused(&ran);
    ran.says("typo.yaml:1:11");
    ran.says("nosuch");
}

#[test]
fn text_that_is_no_yaml_is_shown_with_its_line() {
    let ran = refuse_text("steps:\n  - {sleep: 1 ms\n");
    refused(&ran);
    ran.says("typo.yaml:");
}

// What only shows when the guest is put together is still the scenario's mistake, not this machine's (3).

#[test]
fn file_in_the_agents_place_is_bad_input() {
    let ran = run_text("files: {/init: scenario.yaml}\nsteps:\n  - sleep: 1 ms\n");
    ran.ends_with("bad-input", 2);
    ran.says("/init");
}

#[test]
fn machine_too_small_for_its_files_is_bad_input() {
    // This very test is a program of some megabytes.
    let large = std::env::current_exe().unwrap();
    let ran = run_text(&format!(
        "machine: {{memory: 32 MiB}}\nfiles: {{/large: {0}, /larger: {0}, /largest: {0}}}\nsteps:\n  - sleep: 1 ms\n",
        large.display()
    ));
    ran.ends_with("bad-input", 2);
    ran.says("32 MiB");
}

#[test]
fn kernel_that_there_is_not_is_bad_input_and_no_fault_of_the_machine() {
    let ran = run_with(&fixture("long.yaml"), &["--kernel", "nosuch"]);
    refused(&ran);
    ran.says("find the kernel `nosuch`");
}

#[test]
fn dry_run_says_what_is_wrong_and_boots_nothing() {
    // The kernel is there then.
    run_text("steps:\n  - sleep: 1 ms\n").ends_with("pass", 0);
    let folder = TempDir::new().unwrap();
    let typo = folder.path().join("typo.yaml");
    fs::write(&typo, "steps:\n  - {syscall: csci_ad}\n").unwrap();
    let dry = |path: &Path| command(&["run", "--dry-run", &path.display().to_string()], &[]);
    let good = dry(&shipped("syscall.yaml"));
    assert_eq!(good.code, Some(0), "{}", good.text);
    good.says("ok  syscall (");
    assert!(!good.text.contains("\nboot ") && !good.text.contains("\nhost "), "{}", good.text);
    let bad = dry(&typo);
    assert_eq!(bad.code, Some(2), "{}", bad.text);
    bad.says("bad-input  typo (");
    bad.says("did you mean `csci_add`?");
}

#[test]
fn need_that_the_kernel_does_not_meet_is_told_once() {
    let ran = run_text("needs: {config: CONFIG_KASAN}\nsteps:\n  - sleep: 1 ms\n");
    ran.ends_with("bad-input", 2);
    assert_eq!(ran.text.matches("CONFIG_KASAN is not set").count(), 1, "{}", ran.text);
}

#[test]
fn report_in_a_scenarios_place_is_refused_and_the_scenario_stays() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("keep.yaml");
    let text = "steps:\n  - sleep: 1 ms\n";
    fs::write(&path, text).unwrap();
    let report = format!("junit={}", path.display());
    let ran = run_with(&path, &["--report", &report]);
    assert_eq!(ran.code, Some(2), "{}", ran.text);
    ran.says("would overwrite a scenario");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

// One that fails is known to be wrong, whatever else could not be run.
#[test]
fn failure_beside_bad_input_is_a_failure_and_all_are_summed_up() {
    let folder = TempDir::new().unwrap();
    let small = folder.path().join("small.yaml");
    let large = std::env::current_exe().unwrap();
    fs::write(
        &small,
        format!(
            "machine: {{memory: 32 MiB}}\nfiles: {{/a: {0}, /b: {0}, /c: {0}}}\nsteps:\n  - sleep: 1 ms\n",
            large.display()
        ),
    )
    .unwrap();
    let fails = folder.path().join("fails.yaml");
    fs::write(&fails, "steps:\n  - open: /nonexistent\n").unwrap();
    let ran = run_several(&[&small, &fails]);
    assert_eq!(ran.code, Some(1), "{}", ran.text);
    ran.says("BAD-INPUT  small");
    ran.says("FAIL  fails");
    ran.says("2 scenarios: 1 bad-input, 1 fail");
}
