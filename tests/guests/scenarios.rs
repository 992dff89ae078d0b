//! What is shipped passes, and its report tells what happened.

use super::support::{fixture, run, shipped};

#[test]
fn chardev_passes_with_a_full_report() {
    let ran = run(&shipped("chardev.yaml"));
    ran.ends_with("pass", 0);
    ran.says("PASS  chardev:");
    ran.says("PASS  syscall csci_add(2, 40) = 0, sum = 42");
    // As often as the scenario calls it.
    assert_eq!(ran.calls("csci_add"), 3);

    let report = ran.report();
    assert!(report["kernel"]["release"].as_str().unwrap().ends_with("-vmm"), "{}", report["kernel"]);
    assert!(report["kernel"]["hash"].as_str().unwrap().len() >= 7, "{}", report["kernel"]);
    assert!(!report["host"].as_str().unwrap().is_empty());
    assert_eq!(report["scenario"]["name"], "chardev");
    let add = report["syscalls"].as_array().unwrap().iter().find(|row| row["name"] == "csci_add").unwrap();
    assert_eq!(add["nr"], 548);

    let verdicts = ran.step_verdicts();
    assert_eq!(verdicts.len(), 47, "the scenario's steps");
    assert!(verdicts.iter().all(|verdict| *verdict == "pass"), "{verdicts:?}");
    for step in report["steps"].as_array().unwrap() {
        assert!(step["took_ms"].as_f64().unwrap() > 0.0, "{step}");
        assert!(step["returned"].is_i64(), "{step}");
        assert!(!step["name"].as_str().unwrap().is_empty(), "{step}");
    }

    for part in ["build_ms", "boot_to_agent_ms", "run_ms"] {
        assert!(report["timing"][part].as_f64().unwrap() > 0.0, "{part}: {}", report["timing"]);
    }
    let exits = |when: &str| -> u64 {
        let kinds = report["exits"][when].as_object().unwrap();
        kinds.values().map(|count| count.as_u64().unwrap()).sum()
    };
    assert!(exits("until_ready") > 0 && exits("total") > exits("until_ready"), "{}", report["exits"]);
    let log = report["log"].as_array().unwrap();
    let logged = |what: &str| log.iter().any(|line| line["text"].as_str().unwrap().contains(what));
    assert!(logged("Linux version") && logged("chardev: registered major 240"), "{log:?}");
}

#[test]
fn hello_passes() {
    run(&shipped("hello.yaml")).ends_with("pass", 0);
}

#[test]
fn thousand_calls_count_as_exactly_thousand() {
    let ran = run(&shipped("syscall.yaml"));
    ran.ends_with("pass", 0);
    assert_eq!(ran.calls("getppid"), 1000);
    assert_eq!(ran.calls("csci_add"), 10);
}

#[test]
fn two_vcpus_count_exactly() {
    let ran = run(&fixture("two-cpus.yaml"));
    ran.ends_with("pass", 0);
    assert_eq!(ran.calls("getppid"), 100);
    assert_eq!(ran.calls("csci_add"), 2);
}
