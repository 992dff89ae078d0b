//! What the kernel complains of becomes findings, which a scenario can expect or allow, and nothing else
//! makes pass.

use super::support::{Ran, fixture, root, run, run_text};
use serde_json::Value;

/// The only finding of a run.
#[track_caller]
fn finding(ran: &Ran) -> &Value {
    let findings = ran.report()["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{}", ran.text);
    &findings[0]
}

/// Runs a fixture's module in a scenario whose one step has these fields.
fn insmod(module: &str, fields: &str) -> Ran {
    let folder = root().join("tests/fixtures/modules").join(module);
    run_text(&format!("modules: [{}]\nsteps:\n  - insmod: {module}\n    {fields}\n", folder.display()))
}

#[test]
fn warning_is_a_finding_with_its_place_in_the_users_file() {
    let ran = run(&fixture("warns.yaml"));
    ran.ends_with("splat", 1);
    let found = finding(&ran);
    assert_eq!(found["kind"], "warn");
    assert_eq!(found["function"], "warns_init");
    assert_eq!(found["frames"][0]["function"], "warns_init");
    assert_eq!(found["frames"][0]["module"], "warns");
    assert_eq!(found["step"], 0);
    assert_eq!(found["corrupted"], false);
    assert_eq!(found["taint"], "O");
    assert_eq!(found["expected"], false);
    assert_eq!(found["allowed"], Value::Null);
    assert_eq!(found["excerpt"][0], "warns: on purpose");
    let place = found["file_line"].as_str().unwrap();
    let user = root().join("tests/fixtures/modules/warns/warns.c");
    let (file, line) = place.rsplit_once(':').unwrap();
    assert!(user.ends_with(file) || user == std::path::Path::new(file), "{place}");
    assert_eq!(line, "9");
    // One of the build's copies would be somewhere below the cache.
    assert!(!ran.text.contains("/module-"), "{}", ran.text);
    ran.says("warns: on purpose");
    ran.says(&format!("fingerprint {}", &found["fingerprint"].as_str().unwrap()[..8]));

    let taint = &ran.report()["taint"];
    assert_eq!((&taint["before"], &taint["after"]), (&Value::from(0), &Value::from(4096 + 512)));
    assert_eq!(taint["added"], "WO");
}

#[test]
fn code_of_a_module_that_was_unloaded_is_named_and_not_its_caller() {
    let folder = root().join("tests/fixtures/modules/gone");
    let ran = run_text(&format!(
        "modules: [{}]\nsteps:\n  - insmod: gone\n  - mknod: /dev/gone\n    char: [242, 0]\n  - open: /dev/gone\n    flags: [write]\n    as: fd\n  - rmmod: gone\n  - write: $fd\n    data: x\n    expect: {{oops: true}}\n",
        folder.display()
    ));
    ran.ends_with("pass", 0);
    let found = finding(&ran);
    assert_eq!(found["function"], "gone_write", "{found:#}");
    assert_eq!(found["frames"][0]["module"], "gone");
}

#[test]
fn fingerprint_is_the_same_in_every_run() {
    let (one, other) = (run(&fixture("warns.yaml")), run(&fixture("warn-allowed.yaml")));
    let (one, other) = (finding(&one), finding(&other));
    assert_eq!(one["fingerprint"], other["fingerprint"], "{one:#}\n{other:#}");
}

#[test]
fn allowed_warning_passes_with_its_reason_and_another_does_not() {
    let ran = run(&fixture("warn-allowed.yaml"));
    ran.ends_with("pass", 0);
    assert_eq!(finding(&ran)["allowed"], "the module does nothing else");
    ran.says("allowed: the module does nothing else");
    insmod("warns", "allow: {splat: something else, reason: known}").ends_with("splat", 1);
}

#[test]
fn each_lesson_goes_wrong_as_it_should() {
    let ran = run(&fixture("lessons.yaml"));
    ran.ends_with("pass", 0);
    let kinds: Vec<&str> = ran.report()["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["warn", "scheduling-while-atomic", "warn", "bug", "oops"], "{}", ran.text);
    assert_eq!(ran.report()["taint"]["added"], "DWO");
}

#[test]
fn expected_oops_that_does_not_come_fails() {
    let ran = run_text("steps:\n  - syscall: getppid\n    expect: {oops: true}\n");
    ran.ends_with("fail", 1);
    ran.says("expected an oops, got none: the step returned");
}

#[test]
fn expected_oops_elsewhere_fails_with_the_one_that_came() {
    let ran = insmod("oopses", "expect: {oops: {function: elsewhere}}");
    ran.ends_with("oops", 1);
    ran.says("expected an oops in elsewhere, got oops: BUG: kernel NULL pointer dereference in oopses_init");
}

#[test]
fn bug_kills_the_loading_task() {
    let ran = run(&fixture("bugs.yaml"));
    ran.ends_with("oops", 1);
    let found = finding(&ran);
    assert_eq!((&found["kind"], &found["function"]), (&Value::from("bug"), &Value::from("bugs_init")));
    assert!(found["file_line"].as_str().unwrap().ends_with("bugs/bugs.c:9"), "{found}");
}

#[test]
fn panic_is_expected_in_init_and_absent_elsewhere() {
    insmod("panics", "expect: {panic: on purpose}").ends_with("pass", 0);
    insmod("panics", "expect: {panic: of another kind}").ends_with("panic", 1);
    let ran = insmod("warns", "expect: {panic: true}");
    ran.ends_with("fail", 1);
    ran.says("expected a panic, got splat: WARNING in warns_init");
}

#[test]
fn hang_is_expected_where_it_spins() {
    insmod("spins", "timeout: 2 s\n    expect: {hang-spinning: true}").ends_with("pass", 0);
    let ran = insmod("warns", "expect: {hang: true}\n    allow: {splat: warns_init, reason: not the point}");
    ran.ends_with("fail", 1);
    ran.says("expected a hang");
}

#[test]
fn boot_that_should_fail_does() {
    let early = "boot-timeout: 20 ms\nsteps:\n  - sleep: 1 ms\nexpect:\n  boot-failed:";
    run_text(&format!("{early} hello within 20.0 ms\n")).ends_with("pass", 0);
    run_text(&format!("{early} no such reason\n")).ends_with("boot-failed", 1);
    let ran = run_text(&format!("{early} hello within 20.0 ms\n  log: never said\n"));
    ran.ends_with("fail", 1);
    ran.says("never said");
    let ran = run_text("steps:\n  - sleep: 1 ms\nexpect: {boot-failed: true}\n");
    ran.ends_with("fail", 1);
    ran.says("expected a boot that fails, got none: every step was done");
}

#[test]
fn null_call_in_a_work_item_fails_the_run_though_its_step_passes() {
    let ran = run(&fixture("works.yaml"));
    ran.ends_with("oops", 1);
    assert_eq!(ran.step_verdicts(), ["pass"], "{}", ran.text);
    let found = finding(&ran);
    assert_eq!(found["function"], "works_run");
    assert!(found["comm"].as_str().unwrap().starts_with("kworker/"), "{found}");
}

// The kernel reports these under the lock of a cache from which its console would take memory.
#[test]
fn write_behind_the_smallest_pieces_is_a_finding_and_no_hang() {
    let ran = run(&fixture("overruns-small.yaml"));
    ran.ends_with("splat", 1);
    assert_eq!(ran.step_verdicts(), ["pass"; 3]);
    let findings = ran.report()["findings"].as_array().unwrap();
    assert_eq!(findings.iter().filter(|finding| finding["kind"] == "slab").count(), 3, "{findings:?}");
}

#[test]
fn write_behind_memory_from_kmalloc_is_a_finding() {
    let lines = |ran: &Ran, what: &str| {
        let log = ran.report()["log"].as_array().unwrap();
        log.iter().filter(|line| line["text"].as_str().unwrap().contains(what)).count()
    };
    let freed = run(&fixture("overruns.yaml"));
    freed.ends_with("splat", 1);
    assert_eq!(lines(&freed, "Right Redzone overwritten"), 1, "{}", freed.text);
    assert_eq!(lines(&freed, "kmalloc Redzone overwritten"), 1, "{}", freed.text);
    freed.says("Right Redzone overwritten (kmalloc-64) in overruns_init");
    let found = &freed.report()["findings"][0];
    assert_eq!((&found["kind"], &found["step"]), (&Value::from("slab"), &Value::from(0)), "{found}");
    assert_eq!(found["corrupted"], false, "{found}");
    let kept = run(&fixture("overruns-kept.yaml"));
    kept.ends_with("splat", 1);
    assert_eq!(lines(&kept, "Right Redzone overwritten"), 1, "{}", kept.text);
    // Nothing is looked at where nobody wants it.
    let text = std::fs::read_to_string(fixture("overruns.yaml")).unwrap();
    let modules = root().join("tests/fixtures/modules");
    let text = text.replace("../modules", modules.to_str().unwrap());
    run_text(&format!("machine: {{checks: false}}\n{text}")).ends_with("pass", 0);
}

#[test]
fn program_without_memory_is_killed_and_the_guest_lives_on() {
    let ran = run(&fixture("memory.yaml"));
    ran.ends_with("pass", 0);
    let findings = ran.report()["findings"].as_array().unwrap();
    assert!(findings.iter().all(|finding| finding["kind"] == "oom" && finding["gravity"] == "note"));
    // What is shown is not judged: without the expectation it is the exit status that fails.
    let text = std::fs::read_to_string(fixture("memory.yaml")).unwrap();
    let plain = text.replace("expect: {exit: 137, splat: {kind: oom}}", "expect: {exit: 137}");
    assert_ne!(plain, text);
    run_text(&plain).ends_with("pass", 0);
}

#[test]
fn kernel_without_memory_is_a_death_that_is_told() {
    let ran = run(&fixture("hoards.yaml"));
    let verdict = ran.report()["verdict"].as_str().unwrap();
    assert!(["panic", "fail"].contains(&verdict), "{}", ran.text);
    assert_eq!(ran.code, Some(1));
    let findings = ran.report()["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| finding["kind"] == "oom"), "{}", ran.text);
}

#[test]
fn flooded_log_keeps_its_first_and_newest_lines() {
    let ran = run(&fixture("floods.yaml"));
    // A hundred megabytes may come faster than anybody reads them; then nothing passes for what they may have said.
    match ran.report()["log_lines_lost"].as_u64().unwrap() {
        0 => ran.ends_with("pass", 0),
        lost => {
            ran.ends_with("fail", 1);
            ran.says(&format!("{lost} line"));
        }
    }
    let log = ran.report()["log"].as_array().unwrap();
    assert!(log.len() <= 5000, "{} lines", log.len());
    assert_eq!(log[0]["seq"], 0);
    let newest = log.last().unwrap()["text"].as_str().unwrap();
    assert!(newest.starts_with("floods: line 199999 "), "{newest}");
    let number = |what: &str| ran.report()[what].as_u64().unwrap();
    let all = log.len() as u64 + number("log_lines_dropped") + number("log_lines_lost");
    assert_eq!(all, log.last().unwrap()["seq"].as_u64().unwrap() + 1, "every line is kept or counted");
    assert!(all > 200_000, "{all}");
    // The process that boots the guest holds no log.
    assert!(number("own_memory_kib") < 64 << 10, "{}", ran.report()["own_memory_kib"]);
}

#[test]
fn no_line_is_lost_however_fast_they_come() {
    let ran = run(&fixture("pours.yaml"));
    ran.ends_with("pass", 0);
    assert_eq!(ran.report()["log_lines_lost"], 0, "{}", ran.text);
    let newest = ran.report()["log"].as_array().unwrap().last().unwrap()["seq"].as_u64().unwrap();
    assert!(newest > 150_000, "{newest}");
}
