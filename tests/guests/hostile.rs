//! Submissions that want a pass by changing what it rests on: each is seen, and gets no pass.

use super::support::{root, run_all, run_text};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// What is played, what the steps after the module's loading are, which verdict that must get, and what is said.
pub type Case<'a> = (&'a str, String, &'a str, &'a [&'a str]);

/// All of them in one run, each in a guest that starts from the saved machine.
#[track_caller]
pub fn play(cases: &[Case<'_>]) {
    play_with(cases, &[]);
}

/// The same, with these options.
#[track_caller]
pub fn play_with(cases: &[Case<'_>], options: &[&str]) {
    let texts: Vec<String> = cases.iter().map(|(_, text, ..)| text.clone()).collect();
    let ran = run_all(&texts, options);
    let scenarios = ran.whole_report()["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), cases.len(), "{}", ran.text);
    let wrong = cases.iter().zip(scenarios).filter(|((_, _, verdict, says), scenario)| {
        !verdict.split(" or ").any(|verdict| scenario["verdict"] == verdict)
            || !says.iter().all(|words| scenario.to_string().contains(words))
    });
    let told = wrong.map(|((name, _, verdict, says), scenario)| {
        format!(
            "{name} should be {verdict} and say {says:?}: {}: {}",
            scenario["verdict"], scenario["reason"]
        )
    });
    let told: Vec<String> = told.collect();
    assert!(told.is_empty(), "{}\n\n{}", told.join("\n"), ran.text);
}

/// A scenario with the module that forges, and these steps.
fn forged(steps: &str) -> String {
    format!(
        "modules: [{}/tests/hostile/modules/forges]\nsteps:\n  - syscall: getppid\n  - insmod: forges\n{steps}",
        root().display()
    )
}

#[test]
fn what_has_to_stay_and_is_changed_is_told() {
    play(&changes());
}

pub const INTEL: &[&str] = &["--host", "emulated-intel"];

/// Registers and their meaning are the vendor's.
#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_tells_the_same_of_what_has_to_stay_and_is_changed() {
    play_with(&changes(), INTEL);
}

#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_sees_calls_and_programs_that_are_lied_about() {
    play_with(&lies_about_calls(), INTEL);
}

#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_sees_reports_that_are_hushed_made_up_or_hide_others() {
    play_with(&[reports(), reports_beside_others()].concat(), INTEL);
}

#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_sees_what_leads_elsewhere_and_keeps_clocks_and_registers() {
    let folder = tempfile::tempdir().unwrap();
    let slips = what_slips_through(folder.path());
    play_with(&[what_leads_elsewhere(), clocks_and_registers(), what_is_bent(), slips].concat(), INTEL);
}

fn changes() -> Vec<Case<'static>> {
    let trick =
        |name: &str| forged(&format!("  - {{file: /proc/forges, write: {name}}}\n  - syscall: getppid\n"));
    // A flush of all translations puts these bits back, from the kernel's own copy (native_flush_tlb_global), and may come before anybody looks.
    let protection =
        forged(&"  - {file: /proc/forges, write: supervisor-protection}\n  - syscall: getppid\n".repeat(3));
    let exits = forged("  - run: [sh, -c, 'exec 3< /proc/forges; exit 1']\n");
    const BY_CR0: &str = "4 bytes of _printk were changed from";
    vec![
        (
            "text, with its writer",
            trick("text-by-cr0"),
            "tampered",
            &[BY_CR0, "to 0f 1f 40 00 by text_by_cr0"],
        ),
        // How many bytes it writes at once is the processor's choice.
        ("text, by another mapping", trick("text-by-alias"), "tampered", &["of _printk w"]),
        ("constants", trick("constants"), "tampered", &["was changed from 30 to 58"]),
        ("write protection", trick("write-protection"), "tampered", &["CR0 of vCPU 0 was changed"]),
        ("other protection", protection, "tampered", &["CR4 of vCPU 0 was changed"]),
        ("interrupt table", trick("other-idt"), "tampered", &["IDTR of vCPU 0 was changed"]),
        ("gate", trick("gate"), "tampered", &["the gate of interrupt 0x13 was changed"]),
        ("mapping", trick("mapping"), "tampered", &["another page is where"]),
        ("taint", trick("taint"), "tampered", &["the kernel's taint", "in `write /proc/forges"]),
        ("status", exits, "tampered", &["ended with status 0, and it ended with 1"]),
    ]
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

/// A scenario with the module that lies, these steps and this at its end.
fn lies(steps: &str, end: &str) -> String {
    format!(
        "modules: [{}/tests/hostile/modules/lies]\nsteps:\n  - insmod: lies\n{steps}{end}",
        root().display()
    )
}

/// The trick is played by a step, and another step follows.
fn by_step(trick: &str) -> String {
    lies(&format!("  - {{file: /proc/lies, write: {trick}}}\n  - syscall: getppid\n"), "")
}

/// The trick is played by a program.
fn by_program(trick: &str) -> String {
    lies(&format!("  - run: [sh, -c, 'echo {trick} > /proc/lies; exit 0']\n  - syscall: getppid\n"), "")
}

#[test]
fn calls_and_programs_that_are_lied_about_are_seen() {
    play(&lies_about_calls());
}

fn lies_about_calls() -> Vec<Case<'static>> {
    let exits = "  - {run: [sh, -c, 'exec 3< /proc/lies; exit 9'], expect: {exit: 139}}\n";
    vec![
        ("number, step", by_step("number"), "tampered", &["and it handled 110"]),
        ("number, program", by_program("number"), "tampered", &["and it handled 110"]),
        ("way-back, step", by_step("way-back"), "tampered", &["it is in the kernel still"]),
        ("way-back, program", by_program("way-back"), "tampered", &["never returned"]),
        ("answer", by_step("answer"), "tampered", &["none to what it was asked for"]),
        ("answer-chain", by_step("answer-chain"), "tampered", &["it is in the kernel still"]),
        ("worker-code", by_step("worker-code"), "tampered", &["the agent's code at 0x6e000000"]),
        ("agent-code", by_step("agent-code"), "tampered", &["the agent's code at 0x6e000000"]),
        ("agent-code, program", by_program("agent-code"), "tampered", &["the agent's code at 0x6e000000"]),
        ("died", lies(exits, ""), "tampered", &["ended with status 139, and it ended with 9"]),
        // What a guest does is never the machine's fault.
        ("odd-access", by_step("odd-access"), "fail", &["KVM gave up on the guest"]),
        ("output", by_program("output"), "tampered", &["bytes that came as a program's output"]),
        ("no-syscalls", by_step("no-syscalls"), "tampered", &["MSR_EFER"]),
        ("gate-for-a-moment", by_step("gate-for-a-moment"), "tampered", &["the gate of interrupt 0x13"]),
        ("other-gdt", by_step("other-gdt"), "tampered", &["GDTR of vCPU 0"]),
    ]
}

#[test]
fn reports_that_are_hushed_or_made_up_are_seen() {
    play(&reports());
}

fn reports() -> Vec<Case<'static>> {
    let warns = "expect: {splat: {kind: warn}}\n";
    let oopses = "expect: {oops: true}\n";
    let panics = "expect: {panic: true}\n";
    let play_it = |trick: &str| format!("  - {{file: /proc/lies, write: {trick}}}\n");
    vec![
        ("silence", by_step("silence"), "tampered", &["suppress_printk was changed from 0x0 to 0x1"]),
        ("hush", by_step("hush"), "splat", &["has counted a warning that is not in its log"]),
        // Without 32-bit doors a breakpoint is left for the taint.
        (
            "hush-whole",
            format!("machine: {{command-line: ia32_emulation=0}}\n{}", by_step("hush-whole")),
            "tampered",
            &["the kernel's taint W was taken away by hush"],
        ),
        ("made-up-warning", lies(&play_it("made-up-warning"), warns), "tampered", &["the log tells of"]),
        (
            "made-up-warning-with-taint",
            lies(&play_it("made-up-warning-with-taint"), warns),
            "tampered",
            &["the log tells of"],
        ),
        ("made-up-oops", lies(&play_it("made-up-oops"), oopses), "tampered", &["the log tells of"]),
        ("made-up-panic", lies(&play_it("made-up-panic"), panics), "tampered", &["the kernel lives on"]),
        ("made-up-end", lies(&play_it("made-up-end"), panics), "tampered", &["the log tells of"]),
        ("record", by_step("record"), "tampered", &["was changed after it had been read"]),
    ]
}

#[test]
fn clocks_and_registers_that_are_changed_change_nothing() {
    play(&clocks_and_registers());
}

fn clocks_and_registers() -> Vec<Case<'static>> {
    let late = "  - {file: /proc/lies, write: clock, expect: {within: 200 ms}}\n";
    let counted = "  - {file: /proc/lies, write: debug-registers}\n  - {syscall: getppid, repeat: 5}\n";
    vec![
        ("clock", lies(late, ""), "fail", &["at most 200 ms"]),
        ("debug-registers", lies(counted, "expect: {syscalls: {getppid: 5}}\n"), "pass", &["getppid"]),
    ]
}

/// A program of those that are hostile, compiled.
pub fn compiled(folder: &Path, name: &str) -> PathBuf {
    let program = folder.join(name);
    let mut gcc = Command::new("gcc");
    let gcc = gcc.args(["-O2", "-static", "-pthread", "-Wno-unused-result", "-o"]).arg(&program);
    let source = root().join(format!("tests/hostile/programs/{name}.c"));
    assert!(gcc.arg(source).status().unwrap().success());
    program
}

/// A scenario with the module that twists things, and these steps.
pub fn twists(steps: &str) -> String {
    format!(
        "modules: [{}/tests/hostile/modules/twists]\nsteps:\n  - insmod: twists\n{steps}",
        root().display()
    )
}

/// A step that has it play a trick.
fn played(trick: &str) -> String {
    format!("  - {{file: /proc/twists, write: {trick}}}\n")
}

#[test]
fn what_leads_elsewhere_is_seen() {
    play(&what_leads_elsewhere());
}

fn what_leads_elsewhere() -> Vec<Case<'static>> {
    let getuid = format!("{}  - {{syscall: getuid, expect: 42}}\n", played("own-tables"));
    let device = format!("{}  - syscall: getppid\n", played("device"));
    let given = format!("{}  - syscall: getppid\n", played("given"));
    let hidden = format!("{}expect: {{clean: [modules]}}\n", played("hidden"));
    let kept = format!(
        "{}  - {{file: /proc/twists, write: says-bad, expect: {{log: {{lacks: something bad}}}}}}\n{}  - syscall: getppid\n",
        played("dam"),
        played("dam-opens")
    );
    let store = format!("evidence: kprobes\n{}", twists(&played("own-store")));
    vec![
        ("own-tables", twists(&getuid), "tampered", &["lead to another kernel"]),
        ("device", twists(&device), "tampered", &["a device was made to write to the page of"]),
        ("given", twists(&given), "tampered", &["the kernel's __bug_table was changed"]),
        ("hidden", twists(&hidden), "fail", &["1 more were loaded than removed, and 0 more are in the list"]),
        ("dam", twists(&kept), "tampered", &["begun and is never finished"]),
        ("own-store", store, "tampered", &["was changed from 30 to 58 by own_store"]),
    ]
}

#[test]
fn reports_that_hide_others_or_come_before_another_end_are_seen() {
    play(&reports_beside_others());
}

fn reports_beside_others() -> Vec<Case<'static>> {
    let second = format!("{}allow: [{{splat: this one is wanted, reason: a test}}]\n", played("second"));
    let expects = |trick: &str, expect: &str| {
        format!("  - {{file: /proc/twists, write: {trick}, expect: {{{expect}}}}}\n")
    };
    let warn = expects("made-up-warning", "splat: {kind: warn}");
    let panics = format!("{warn}{}", expects("panics", "panic: true"));
    let processors = format!("machine: {{cpus: 2}}\n{}", twists(&warn));
    let sleeping = expects("made-up-sleeping", "splat: {kind: sleeping-in-atomic}");
    vec![
        ("second", twists(&second), "splat", &["has counted a warning that is not in its log"]),
        ("before a panic", twists(&panics), "tampered", &["the log tells of"]),
        ("on two processors", processors, "tampered", &["the log tells of"]),
        ("of a detector", twists(&sleeping), "tampered", &["the log tells of"]),
    ]
}

/// A scenario with the module that bends things, and these steps.
fn bends(steps: &str) -> String {
    format!("modules: [{}/tests/hostile/modules/bends]\nsteps:\n  - insmod: bends\n{steps}", root().display())
}

#[test]
fn what_is_bent_on_its_way_or_in_a_single_bit_is_seen() {
    play(&what_is_bent());
}

fn what_is_bent() -> Vec<Case<'static>> {
    let trick = |name: &str, then: &str| bends(&format!("  - {{file: /proc/bends, write: {name}}}\n{then}"));
    let next = "  - syscall: getppid\n";
    let umask = "  - {syscall: umask, args: [83]}\n";
    let value = format!("{}{umask}", trick("value", umask));
    let overflow = "  - {syscall: csci_add, args: [0x7fffffffffffffff, 1, {out: 8}]}\n";
    let data = "  - {file: /proc/version, expect: {data: {contains: Minix}}}\n";
    let status = "  - {run: [sh, -c, 'exit 77'], expect: {exit: 0}}\n";
    let failing = "  - run: [sh, -c, 'exit 77']\n";
    let allowed = "allow: [{splat: {kind: ubsan}, reason: known}]\n";
    let renumbered = bends("  - run: [sh, -c, 'echo renumbered > /proc/bends']\n");
    vec![
        ("value", value, "tampered", &["returned 83, and the agent says 84"]),
        ("errno", trick("errno", overflow), "tampered", &["the agent says"]),
        ("data", trick("data", data), "tampered", &["differs"]),
        ("status", trick("status", status), "tampered", &["ended with status"]),
        ("returned", trick("returned", failing), "tampered", &["none to what it was asked for"]),
        ("ended", trick("ended", overflow), "tampered", &["ended with status 0, and its call returned"]),
        ("leave", trick("leave", next), "fail", &["the calling process ended in this call"]),
        ("other-log", trick("other-log", next), "tampered", &["prb was changed"]),
        // It may be looked at while the log is off.
        ("hush-oops", trick("hush-oops", next), "oops or tampered", &[]),
        ("flood", trick("flood", next) + allowed, "splat", &["WARNING in flood"]),
        (
            "cover",
            trick("cover", next) + allowed,
            "splat",
            &["taint W tells of a warning that is not in its log"],
        ),
        ("renumbered", renumbered, "tampered", &["has not the number that it had when it called"]),
        ("smep", trick("smep", next), "tampered", &["CR4 of vCPU 0 was changed"]),
        ("smap", trick("smap", next), "tampered", &["CR4 of vCPU 0 was changed"]),
        ("gate-0x80", trick("gate-0x80", next), "tampered", &["the gate of interrupt 0x80 was changed"]),
    ]
}

/// Its exit runs in the process that unloads it.
#[test]
fn what_a_module_leaves_is_seen_whatever_it_does_to_who_unloads_it() {
    let blinds = |how: &str, place: &str| {
        format!(
            "modules: [{}/tests/hostile/modules/blinds]\nsteps:\n  \
             - run: [sh, -c, 'mkdir -p /tmp/copies && cat /proc/devices > /tmp/copies/devices']\n  \
             - {{insmod: blinds, params: {{how: {how}}}}}\n  - rmmod: blinds\nexpect: {{clean: [{place}]}}\n",
            root().display()
        )
    };
    play(&[
        ("without rights", blinds("rights", "memory"), "fail", &["more objects in kmalloc-"]),
        ("with copies", blinds("copies", "devices"), "fail", &["left_behind (Character) left"]),
    ]);
}

#[test]
fn what_slips_through_where_nobody_looks_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    play(&what_slips_through(folder.path()));
}

/// Of the folder, a program is put there.
fn what_slips_through(folder: &Path) -> Vec<Case<'static>> {
    let loads = compiled(folder, "loads");
    let with = |steps: &str| {
        let (root, loads) = (root(), loads.display());
        format!(
            "modules: [{}/tests/hostile/modules/slips]\nfiles: {{/bin/loads: {loads}}}\nsteps:\n  - insmod: slips\n{steps}",
            root.display()
        )
    };
    let trick = |name: &str, then: &str| with(&format!("  - {{file: /proc/slips, write: {name}}}\n{then}"));
    let counted = "  - {syscall: getppid, repeat: 5}\nexpect: {syscalls: {getppid: 5}}\n";
    let other_number = with("  - run: [sh, -c, 'echo other-number > /proc/slips']\n");
    let hidden = with("  - run: [/bin/loads, /lib/modules/hides.ko]\nexpect: {clean: [modules]}\n");
    vec![
        // No guest has a virtual machine that could be loaded.
        ("vmload", trick("vmload", counted), "pass", &["getppid"]),
        ("static-call", trick("static-call", "  - syscall: getppid\n"), "tampered", &["sched_clock_noinstr"]),
        ("other-number", other_number, "tampered", &["has not the number that it had when it called"]),
        ("by another door", hidden, "fail", &["not known: 1 more were not told apart"]),
    ]
}

/// Who watches less sees less, and says so.
#[test]
fn with_basic_evidence_less_is_seen() {
    let trick = forged("  - {file: /proc/forges, write: write-protection}\n  - syscall: getppid\n");
    play_with(&[("write protection", trick, "pass", &["getppid"])], &["--evidence", "basic"]);
}
