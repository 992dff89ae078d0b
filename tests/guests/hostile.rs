//! Submissions that want a pass by changing what it rests on: each is seen, and gets no pass.

use super::support::{Ran, root, run_text};

/// A scenario with the module that forges, and these steps.
fn forged(steps: &str) -> Ran {
    run_text(&format!(
        "modules: [{}/tests/hostile/modules/forges]\nsteps:\n  - syscall: getppid\n  - insmod: forges\n{steps}",
        root().display()
    ))
}

/// The run is called tampered, and says with what.
#[track_caller]
fn seen(trick: &str, words: &[&str]) {
    let ran = forged(&format!("  - {{file: /proc/forges, write: {trick}}}\n  - syscall: getppid\n"));
    ran.ends_with("tampered", 1);
    words.iter().for_each(|word| ran.says(word));
    ran.says("in `write /proc/forges");
}

#[test]
fn text_that_is_changed_is_told_with_place_and_writer() {
    seen("text-by-cr0", &["4 bytes of _printk were changed", "to 0f 1f 40 00 by text_by_cr0"]);
}

#[test]
fn text_that_is_changed_by_another_mapping_is_seen() {
    // How many bytes it writes at once is the processor's choice.
    seen("text-by-alias", &["of _printk w"]);
}

#[test]
fn constants_that_are_changed_are_seen() {
    seen("constants", &["was changed from 30 to 58"]);
}

#[test]
fn protection_that_is_switched_off_is_seen() {
    seen("write-protection", &["CR0 of vCPU 0 was changed"]);
    seen("supervisor-protection", &["CR4 of vCPU 0 was changed"]);
}

#[test]
fn tables_of_interrupts_that_are_changed_are_seen() {
    seen("other-idt", &["IDTR of vCPU 0 was changed"]);
    seen("gate", &["the gate of interrupt 0x13 was changed"]);
}

#[test]
fn text_that_is_mapped_elsewhere_is_seen() {
    seen("mapping", &["another page is where"]);
}

#[test]
fn taint_that_is_taken_away_is_seen() {
    seen("taint", &["the kernel's taint"]);
}

#[test]
fn status_that_no_program_ended_with_is_seen() {
    let ran = forged("  - run: [sh, -c, 'exec 3< /proc/forges; exit 1']\n");
    ran.ends_with("tampered", 1);
    ran.says("the agent says that a program ended with status 0, and none did");
}

#[test]
fn driver_that_touches_user_memory_by_itself_dies_of_it() {
    let ran = run_text(&format!(
        "modules: [{}/tests/hostile/modules/trusts]\nsteps:\n  - insmod: trusts\n  - {{file: /proc/trusts, write: x}}\n",
        root().display()
    ));
    ran.ends_with("oops", 1);
    ran.says("trusts_write");
}

#[test]
fn kprobes_change_the_kernels_text_where_that_is_meant() {
    let scenario = |evidence: &str| {
        format!(
            "modules: [{}/tests/hostile/modules/probes]\nevidence: {evidence}\nsteps:\n  - insmod: probes\n  - syscall: getppid\n  \
             - rmmod: probes\n",
            root().display()
        )
    };
    run_text(&scenario("kprobes")).ends_with("pass", 0);
    let ran = run_text(&scenario("full"));
    ran.ends_with("tampered", 1);
    ran.says("write `evidence: kprobes` where they are meant");
}

#[test]
fn program_that_runs_as_an_ordinary_user_has_no_rights_and_gets_none() {
    let script = "test $(id -u) = 65534; grep -q NoNewPrivs:.1 /proc/self/status; grep -q CapEff:.0000000000000000 /proc/self/status; ! cat /proc/1/mem";
    let ran = run_text(&format!(
        "steps:\n  - {{script: '{script}', user: nobody}}\n  - {{run: id, user: root, expect: {{stdout: {{contains: uid=0}}}}}}\n"
    ));
    ran.ends_with("pass", 0);
}
