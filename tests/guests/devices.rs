//! Guests that misuse their devices.

use super::support::{fixture, run};

/// One error for each rule that the module breaks: ten of the registers', three of the ring's and six of the chains'.
#[test]
fn rules_that_a_module_breaks_are_counted_and_the_run_goes_on() {
    let ran = run(&fixture("tramples.yaml"));
    ran.ends_with("pass", 0);
    assert_eq!(ran.report()["device_errors"], serde_json::json!({"console": 19}), "{}", ran.text);
    ran.says("the guest broke the rules of console 19 times");
}

#[test]
fn a_module_that_ruins_its_device_is_to_blame_itself() {
    let ran = run(&fixture("tramples-all.yaml"));
    let verdict = ran.report()["verdict"].as_str().unwrap();
    assert!(["hang-idle", "hang-spinning", "fail"].contains(&verdict), "{}", ran.text);
    assert_eq!(ran.code, Some(1), "{}", ran.text);
    let errors = ran.report()["device_errors"]["console"].as_u64().unwrap();
    assert!((1000..=5000).contains(&errors), "{errors}");
    let memory = ran.report()["own_memory_kib"].as_u64().unwrap();
    assert!(memory < 64 << 10, "{memory} KiB");
}

/// The kernel's driver keeps the rules: none is counted against it.
#[test]
fn an_honest_driver_breaks_no_rule() {
    for scenario in ["shouts.yaml", "two-cpus.yaml"] {
        let ran = run(&fixture(scenario));
        assert_eq!(ran.report()["device_errors"], serde_json::json!({}), "{}", ran.text);
    }
}
