//! `vmm grade` with kernels of its own: whole courses, and kernels that students hand in.

use super::{
    grade::{grade, hand_in, row, words},
    support::root,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use walkdir::WalkDir;

fn course(name: &str) -> PathBuf {
    root().join("scenarios/courses").join(name).join("assignment.yaml")
}

/// A course on the kernel that there is anyway, without these solutions, whose mistakes only the course's own kernel finds.
fn on_the_default_kernel(name: &str, without: &[&str]) {
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join(name);
    for file in WalkDir::new(course(name).parent().unwrap()) {
        let file = file.unwrap();
        let to = copy.join(file.path().strip_prefix(course(name).parent().unwrap()).unwrap());
        match file.file_type().is_dir() {
            true => fs::create_dir(to).unwrap(),
            false => drop(fs::copy(file.path(), to).unwrap()),
        }
    }
    let path = copy.join("assignment.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let is_left = |line: &&str| {
        *line != "kernel: {fragments: [course]}"
            && !without.iter().any(|name| line.contains(&format!("bad/{name}.patch")))
    };
    let left: Vec<&str> = text.lines().filter(is_left).collect();
    assert_eq!(left.len() + 1 + without.len(), text.lines().count());
    // What 0 / 0 is the compiler may choose: with this kernel's options it takes it for 0, and no oops names a line; with those of the
    // course's kernel it divides.
    let text = left.join("\n").replace("[Bad arguments], says: 'average.c:'", "[Bad arguments]");
    // A machine that has other things to do is no reason for a test to fail.
    let text = format!("limits: {{build: 20 min}}\n{text}");
    fs::write(&path, text).unwrap();
    let out = folder.path().join("out");
    let ran = grade(&["check", words(&path), "--out", words(&out)]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
}

#[test]
fn drivers_of_the_course_get_on_the_default_kernel_what_is_written_beside_them() {
    on_the_default_kernel("pa2", &["sleeps-under-spinlock"]);
}

#[test]
fn system_calls_of_the_course_get_on_the_default_kernel_what_is_written_beside_them() {
    on_the_default_kernel("pa1", &[]);
}

#[test]
#[ignore = "takes many minutes, and kernels of its own: make test-all"]
fn the_course_on_drivers_grades_its_solutions_as_written_beside_them() {
    let out = TempDir::new().unwrap();
    let ran = grade(&["check", words(&course("pa2")), "--out", words(out.path()), "-j", "2"]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
}

#[test]
#[ignore = "takes many minutes, and kernels of its own: make test-all"]
fn the_course_on_system_calls_grades_its_solutions_as_written_beside_them() {
    let out = TempDir::new().unwrap();
    let ran = grade(&["check", words(&course("pa1")), "--out", words(out.path()), "-j", "2"]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
}

/// What differs when the whole kernel is built: a table, a header and a makefile, as TASK.md has them changed.
fn as_a_patch(code: &str) -> String {
    let behind = |path: &str, line: &str, new: &str| {
        let source = root().join("kernel-patches/6.12/0001-x86-add-the-system-call-csci_add.patch");
        let patch = fs::read_to_string(source).unwrap();
        let of_file = patch.split(&format!("+++ b/{path}\n")).nth(1).unwrap();
        let head = of_file.lines().next().unwrap();
        let new_start: u32 = head.split('+').nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        let lines = of_file.lines().skip(1).take_while(|line| !line.starts_with("diff "));
        let at = lines.filter(|line| !line.starts_with('-')).position(|found| found.contains(line)).unwrap();
        let mut lines = of_file.lines().skip_while(|found| !found.contains(line));
        let line = &lines.next().unwrap()[1..];
        // None at the file's end.
        let behind: String = lines
            .take(1)
            .filter(|it| !it.starts_with("diff "))
            .map(|it| format!(" {}\n", &it[1..]))
            .collect();
        let (start, count) = (new_start as usize + at, 1 + behind.lines().count());
        let head = format!("@@ -{start},{count} +{start},{} @@", count + 1);
        format!("--- a/{path}\n+++ b/{path}\n{head}\n {line}\n+{new}\n{behind}")
    };
    let lines: String = code.lines().map(|line| format!("+{line}\n")).collect();
    [
        behind("arch/x86/entry/syscalls/syscall_64.tbl", "sys_csci_add", "600\t64\taverage\tsys_average"),
        behind("arch/x86/kernel/Makefile", "newSysCall.o", "obj-y += average.o"),
        behind(
            "include/linux/syscalls.h",
            "sys_csci_add",
            "asmlinkage long sys_average(const long __user *numbers, int count, long __user *result);",
        ),
        format!(
            "--- /dev/null\n+++ b/arch/x86/kernel/average.c\n@@ -0,0 +1,{} @@\n{lines}",
            code.lines().count()
        ),
    ]
    .concat()
}

#[test]
#[ignore = "takes many minutes, and kernels of its own: make test-all"]
fn a_call_alone_comes_to_what_a_kernel_built_as_a_whole_does() {
    let folder = TempDir::new().unwrap();
    let top = folder.path();
    let pa1 = course("pa1").parent().unwrap().to_owned();
    let written = fs::read_to_string(pa1.join("assignment.yaml")).unwrap();
    // No other numbers for each of the two assignments, and nothing to check.
    let alone = written.split("\ncheck:\n").next().unwrap();
    let alone = alone.replace("{draw: int, at-least: 100, at-most: 9999}", "4711");
    let (before, rest) = alone.split_once("\ncalls:").unwrap();
    let (_, behind) = rest.split_once("\nparams:").unwrap();
    let whole = format!("{before}\nlimits: {{build: 20 min}}\nparams:{behind}")
        .replace("kind: syscall", "kind: patch");
    for (name, text) in [("alone", &alone), ("whole", &whole)] {
        let text = text.replace("scenario: tests/", &format!("scenario: {}/tests/", pa1.display()));
        fs::write(top.join(name).with_extension("yaml"), text).unwrap();
    }
    let students = ["reference", "no-efault", "off-by-one", "reads-directly", "writes-too-much"];
    for student in students {
        let own = top.join("alone").join(student);
        fs::create_dir_all(&own).unwrap();
        for file in ["Makefile", "average.c", "syscall_64.tbl", "syscalls.h"] {
            fs::copy(pa1.join("reference").join(file), own.join(file)).unwrap();
        }
        let patch = pa1.join("bad").join(format!("{student}.patch"));
        if patch.exists() {
            let patch = fs::File::open(patch).unwrap();
            let mut command = std::process::Command::new("patch");
            let status = command.args(["-p1", "-s", "-d"]).arg(&own).stdin(patch).status().unwrap();
            assert!(status.success());
        }
        let code = fs::read_to_string(own.join("average.c")).unwrap();
        hand_in(&top.join("whole"), student, "call.patch", as_a_patch(&code).as_bytes());
    }
    let mut came = Vec::new();
    for name in ["alone", "whole"] {
        let out = top.join(format!("{name}-out"));
        let assignment = top.join(name).with_extension("yaml");
        let ran = grade(&[words(&assignment), words(&top.join(name)), "--out", words(&out)]);
        assert_eq!(ran.code, Some(0), "{}", ran.text);
        came.push(students.map(|student| came_to(&out, student)));
    }
    assert_eq!(came[0], came[1]);
    assert!(came[0][0].iter().all(|line| line.starts_with("pass ")), "{:?}", came[0][0]);
    assert!(came[0][1..].iter().all(|student| *student != came[0][0]), "{came:?}");
}

/// By a diff of four files of the kernel; and as files, the header among them with nothing but what was added.
#[test]
#[ignore = "needs a kernel of its own: make test-all"]
fn types_in_the_kernels_headers_and_calls_in_its_files_are_built_and_graded() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    let reference = course("pa1").with_file_name("reference");
    let read = |name: &str| fs::read_to_string(reference.join(name)).unwrap();
    let header = "#define MOST 1000\n\nstruct average_of {\n\tlong sum;\n\tint count;\n};\n";
    let code = read("average.c")
        .replace("#define MOST 1000\n", "")
        .replace("long sum = 0;", "struct average_of all = { .sum = 0, .count = count };")
        .replace("check_add_overflow(sum, number, &sum)", "check_add_overflow(all.sum, number, &all.sum)")
        .replace("put_user(sum / count,", "put_user(all.sum / all.count,");
    assert!(!code.contains("sum, number, &sum") && code.contains("all.count"), "{code}");
    let hunk = |path: &str, before: &[&str], added: &str| {
        let before: String = before.iter().map(|line| format!(" {line}\n")).collect();
        let added: String = added.lines().map(|line| format!("+{line}\n")).collect();
        let (old, new) = (before.lines().count(), before.lines().count() + added.lines().count());
        format!(
            "diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -100,{old} +100,{new} @@\n{before}{added}"
        )
    };
    let function = &code[code.find("SYSCALL_DEFINE3").unwrap()..];
    let diff = [
        hunk("include/linux/kernel.h", &["#include <asm/byteorder.h>"], header),
        hunk("kernel/sys.c", &["\treturn 0;", "}", "#endif /* CONFIG_COMPAT */"], function),
        hunk("arch/x86/entry/syscalls/syscall_64.tbl", &[], "333\tcommon\taverage\t\t__x64_sys_average"),
        hunk("include/linux/syscalls.h", &[], read("syscalls.h").lines().last().unwrap()),
    ]
    .concat();
    hand_in(&submissions, "diff", "average.diff", diff.as_bytes());
    for name in ["Makefile", "syscall_64.tbl", "syscalls.h"] {
        hand_in(&submissions, "files", name, read(name).as_bytes());
    }
    hand_in(&submissions, "files", "average.c", code.as_bytes());
    hand_in(&submissions, "files", "include/linux/kernel.h", header.as_bytes());
    // What runs before anybody watches, and what would be watched in place of the kernel's own, which is one file's alone.
    let twin = "volatile unsigned long tainted_mask = 1;\nvoid touch_it(void);\nvoid touch_it(void)\n{\n\ttainted_mask = 0;\n}\n";
    for (student, more) in [
        ("boots", "static int __init early(void)\n{\n\treturn 0;\n}\nlate_initcall(early);\n"),
        ("twin", &format!("static {twin}")),
        ("known-twin", &format!("extern volatile unsigned long tainted_mask;\n{twin}")),
    ] {
        for name in ["Makefile", "syscall_64.tbl", "syscalls.h"] {
            hand_in(&submissions, student, name, read(name).as_bytes());
        }
        let code = format!("{}\n{more}", read("average.c"));
        hand_in(&submissions, student, "average.c", code.as_bytes());
    }
    let ran = grade(&[words(&course("pa1")), words(&submissions), "--out", words(&out)]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    for student in ["diff", "files"] {
        let row = row(&out, student);
        assert!(row.starts_with(&format!("{student},graded,100,100,")), "{row}\n{}", ran.text);
    }
    let why = came_to(&out, "boots").concat();
    assert!(why.contains("\"unusable\"") && why.contains("late_initcall()"), "{why}");
    for student in ["twin", "known-twin"] {
        let row = row(&out, student);
        assert!(row.starts_with(&format!("{student},graded,0,100,")), "{row}\n{}", ran.text);
        let page = fs::read_to_string(out.join("students").join(student).join("page.html")).unwrap();
        assert!(page.contains("more than one symbol of that name"), "{page}");
    }
}

/// The verdict of each test and of each of its steps, with the points; or why there are none.
fn came_to(out: &Path, student: &str) -> Vec<String> {
    let all = fs::read_dir(out.join("records")).unwrap().map(|entry| entry.unwrap().path());
    // Beside them lies a file by which one grading keeps others out.
    let records = all.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    let record = records.map(|path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap());
    let record = record.into_iter().find(|record| record["student"] == student).unwrap();
    if record["state"] != "graded" {
        return vec![format!("{}: {} {}", record["state"], record["why"], record["build"]["errors"])];
    }
    let line = |test: &Value| {
        let run = &test["run"];
        let steps: Vec<&str> =
            run["steps"].as_array().unwrap().iter().map(|step| step["verdict"].as_str().unwrap()).collect();
        let findings: Vec<&Value> =
            run["findings"].as_array().unwrap().iter().map(|it| &it["title"]).collect();
        format!("{} {} {steps:?} {findings:?}", run["verdict"].as_str().unwrap(), run["points"])
    };
    record["tests"].as_array().unwrap().iter().map(line).collect()
}

/// A patch that puts lines at the beginning of `kernel/`'s makefile.
fn kernel_patch(lines: &[&str]) -> String {
    let added: String = lines.iter().map(|line| format!("+{line}\n")).collect();
    format!(
        "--- a/kernel/Makefile\n+++ b/kernel/Makefile\n@@ -1,2 +1,{} @@\n{added} # SPDX-License-Identifier: GPL-2.0\n #\n",
        2 + lines.len()
    )
}

#[test]
#[ignore = "builds kernels: make test-all"]
fn what_one_students_kernel_leaves_behind_does_not_reach_the_next() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    // Everything that the build folder and ccache have is to be this one's.
    let spoil = "SPOILED := $(shell find $(objtree) $(CCACHE_DIR) -name '*.o' -exec sh -c 'echo spoiled > $$0' {} \\; 2>/dev/null; echo spoiled > $(objtree)/spoiled)";
    hand_in(&submissions, "z", "1.patch", kernel_patch(&[spoil]).as_bytes());
    for student in ["b", "c"] {
        let line = format!("# by {student}");
        hand_in(&submissions, student, "1.patch", kernel_patch(&[&line]).as_bytes());
    }
    fs::write(folder.path().join("boots.yaml"), "steps:\n  - syscall: getpid\n").unwrap();
    let path = folder.path().join("assignment.yaml");
    fs::write(&path, "kind: patch\ntests:\n  - {scenario: boots.yaml, points: 10}\nlimits: {build: 900 s}\n")
        .unwrap();
    let ran = grade(&[words(&path), words(&submissions), "--out", words(&out)]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    for student in ["b", "c"] {
        assert!(row(&out, student).starts_with(&format!("{student},graded,10,")), "{}", ran.text);
    }
}
