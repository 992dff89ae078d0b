//! Programs that want a pass by what they do, with the kernel's help or without: each is seen, and gains nothing.

use super::{
    hostile::{Case, INTEL, compiled, play, play_with, twists},
    support::{root, run_text},
};
use std::{path::Path, process::Command};

#[test]
fn programs_with_the_kernels_help_gain_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path(), "more");
    // Three hundred processes take their time.
    let with = |steps: &str| {
        format!("timeout: 60 s\nfiles: {{/bin/more: {}}}\n{}", program.display(), twists(steps))
    };
    let run = |script: &str| format!("  - run: [sh, -c, '{script}']\n");
    let ended = "ended with status 0, and it ended with 1";
    let covered = run("echo output > /proc/twists; head -c 1000 /dev/zero > /dev/null");
    let many = run("i=0; while [ $i -lt 300 ]; do (exit 1); i=$((i+1)); done; exec 3< /proc/twists; exit 1");
    let number =
        run("(exec 4> /proc/twists; echo number-of-parent >&4; exit 0); exec 3< /proc/twists; exit 1");
    play(&[
        ("threads", with("  - run: [/bin/more, threads]\n"), "tampered", &[ended]),
        ("many ends", with(&many), "tampered", &[ended]),
        ("another's number", with(&number), "tampered", &[ended]),
        ("output", with(&covered), "tampered", &["no program wrote 13 of the 17 bytes"]),
    ]);
}

#[test]
fn a_program_that_is_no_longer_the_one_that_was_brought_is_seen() {
    play(&swapped(tempfile::tempdir().unwrap().path()));
}

/// The processor's page tables are the vendor's.
#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_sees_a_program_that_is_no_longer_the_one_that_was_brought() {
    play_with(&swapped(tempfile::tempdir().unwrap().path()), INTEL);
}

/// Of the folder, programs are put there.
fn swapped(folder: &Path) -> Vec<Case<'static>> {
    let compiled = |name: &str, options: &[&str]| {
        let program = folder.join(name);
        let mut gcc = Command::new("gcc");
        let gcc = gcc.args(options).arg("-O2").arg("-o").arg(&program);
        assert!(gcc.arg(root().join("tests/hostile/programs/asked.c")).status().unwrap().success());
        program.display().to_string()
    };
    let (fixed, moves) = (compiled("fixed", &["-static"]), compiled("moves", &["-static-pie"]));
    let other = compiled("other", &["-static", "-DVERDICT=0"]);
    let with = |program: &str, steps: &str| {
        format!(
            "modules: [{}/tests/hostile/modules/swaps]\nfiles: {{/bin/asked: {program}, /bin/other: {other}}}\nsteps:\n{steps}",
            root().display()
        )
    };
    let swap = |program: &str, how: &str, run: &str| {
        with(program, &format!("  - {{insmod: swaps, params: {{how: {how}}}}}\n  - {{run: {run}}}\n"))
    };
    let honest = |program: &str| {
        let steps = ["asked", "[/bin/sh, -c, 'exec /bin/asked']", "[env, A=1, asked]"];
        let steps: String = steps
            .map(|run| format!("  - {{run: {run}, expect: {{exit: 1, stdout: \"verdict: 1\\n\"}}}}\n"))
            .concat();
        with(program, &steps)
    };
    let said: &[&str] = &["the program is not the one that was brought into the guest"];
    vec![
        ("honest", honest(&fixed), "pass", &[]),
        ("honest, wherever it lies", honest(&moves), "pass", &[]),
        ("written", swap(&fixed, "written", "asked"), "tampered", said),
        ("moved", swap(&fixed, "moved", "/bin/asked"), "tampered", said),
        ("patched", swap(&fixed, "patched", "[asked]"), "tampered", said),
        ("written, wherever it lies", swap(&moves, "written", "asked"), "tampered", said),
        ("patched, wherever it lies", swap(&moves, "patched", "asked"), "tampered", said),
    ]
}

#[test]
fn programs_that_pretend_gain_nothing_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path(), "more");
    let run = |how: &str, more: &str| {
        format!(
            "files: {{/bin/more: {}}}\nsteps:\n  - {{run: [/bin/more, {how}]{more}}}\n",
            program.display()
        )
    };
    let traced = format!("{}  - syscall: getppid\n", run("traces", ""));
    play(&[
        ("number", run("number", "") + "expect: {syscalls: {getppid: 5}}\n", "pass", &["getppid"]),
        ("skips", run("skips", ", expect: {stdout: 42}"), "fail", &["42"]),
        ("traces", traced, "tampered", &["reached into process"]),
        (
            "floods",
            run("floods", ", timeout: 60 s") + "expect: {syscalls: {getppid: 5}}\n",
            "pass",
            &["made-up numbers of their own"],
        ),
        ("weak", run("weak", ""), "pass", &[]),
    ]);
}

#[test]
fn programs_that_pretend_gain_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path(), "pretends");
    let run = |how: &str, end: &str| {
        let program = program.display();
        format!(
            "files: {{/bin/pretends: {program}}}\nsteps:\n  - run: [/bin/pretends, {how}]\n  - syscall: getuid\n{end}"
        )
    };
    play(&[
        ("agent", run("agent", "expect: {syscalls: {getppid: 5}}\n"), "pass", &["getppid"]),
        // Our kernels go around no protection for it (PROC_MEM_NO_FORCE).
        ("memory", run("memory", ""), "tampered", &["reached into process 1"]),
    ]);
}

#[test]
fn program_that_runs_as_an_ordinary_user_has_no_rights_and_gets_none() {
    let script = "test $(id -u) = 65534; grep -q NoNewPrivs:.1 /proc/self/status; grep -q CapEff:.0000000000000000 /proc/self/status; ! cat /proc/1/mem";
    let ran = run_text(&format!(
        "steps:\n  - {{script: '{script}', user: nobody}}\n  - {{run: id, user: root, expect: {{stdout: {{contains: uid=0}}}}}}\n"
    ));
    ran.ends_with("pass", 0);
}
