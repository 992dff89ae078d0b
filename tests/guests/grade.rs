//! `vmm grade`: what students hand in, and what comes of it.

use super::{
    emulator,
    support::{self, Ran, root},
};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub(super) const HELLO: &str = "#include <linux/module.h>\n\
    static int __init hello_init(void) { pr_info(\"hello, world\\n\"); return 0; }\n\
    static void __exit hello_exit(void) { }\n\
    module_init(hello_init);\nmodule_exit(hello_exit);\nMODULE_LICENSE(\"GPL\");\n";

pub(super) fn assignment() -> PathBuf {
    root().join("tests/fixtures/grade/assignment.yaml")
}

/// A file in a student's folder.
pub(super) fn hand_in(submissions: &Path, student: &str, name: &str, content: &[u8]) {
    let path = submissions.join(student).join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(super) fn grade(words: &[&str]) -> Ran {
    let all: Vec<&str> = ["grade"].into_iter().chain(words.iter().copied()).collect();
    support::command(&all, &[])
}

/// A student's line of the table.
pub(super) fn row(out: &Path, student: &str) -> String {
    let table = fs::read_to_string(out.join("grades.csv")).unwrap();
    let row = table.lines().find(|line| line.starts_with(&format!("{student},")));
    row.unwrap_or_else(|| panic!("{student} is not in:\n{table}")).to_owned()
}

pub(super) fn words(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn whatever_one_student_hands_in_the_others_are_graded() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    hand_in(&submissions, "good", "hello.c", HELLO.as_bytes());
    hand_in(
        &submissions,
        "no license",
        "my hello (1).c",
        HELLO.replace("MODULE_LICENSE(\"GPL\");", "").as_bytes(),
    );
    hand_in(&submissions, "typo", "hello.c", HELLO.replace("return 0;", "return 0").as_bytes());
    hand_in(&submissions, "silent", "hello.c", HELLO.replace("pr_info(\"hello, world\\n\");", "").as_bytes());
    hand_in(&submissions, "binary", "hello.ko", b"\x7fELF\0");
    hand_in(&submissions, "huge", "hello.c", &vec![b' '; 300 << 10]);
    hand_in(&submissions, "twice", "hello.c", HELLO.as_bytes());
    fs::write(submissions.join("twice.zip"), b"PK\x05\x06").unwrap();
    hand_in(&submissions, "version", "hello.v2.c", HELLO.as_bytes());
    hand_in(&submissions, "dashed", "my-hello.c", HELLO.as_bytes());
    fs::create_dir(submissions.join("empty")).unwrap();
    fs::create_dir(submissions.join("linked")).unwrap();
    symlink("/etc/passwd", submissions.join("linked/hello.c")).unwrap();
    fs::write(submissions.join("damaged.zip"), "I could not upload it").unwrap();
    // The build never ends by itself.
    hand_in(&submissions, "slow", "hello.c", HELLO.as_bytes());
    hand_in(&submissions, "slow", "Makefile", b"obj-m := hello.o\nX := $(shell sleep 1000)\n");
    let quick = fs::read_to_string(assignment()).unwrap().replace("build: 60 s", "build: 20 s");
    let quick = quick.replace(
        "scenario: loads.yaml",
        &format!("scenario: {}", words(&assignment().with_file_name("loads.yaml"))),
    );
    let path = folder.path().join("assignment.yaml");
    fs::write(&path, quick).unwrap();

    let ran = grade(&[words(&path), words(&submissions), "--out", words(&out)]);
    // Which of two is meant nobody knows, and a zero would be wrong for one of them.
    assert_eq!(ran.code, Some(3), "{}", ran.text);
    let twice = row(&out, "twice");
    assert!(
        twice.contains(",not graded,,10,")
            && twice.contains("two submissions have this name: twice, twice.zip"),
        "{twice}"
    );
    assert!(row(&out, "good").starts_with("good,graded,10,10,0,10"), "{}", ran.text);
    assert!(row(&out, "no license").starts_with("no license,graded,8,10,2,10"), "{}", ran.text);
    assert!(row(&out, "version").starts_with("version,graded,10,10,0,10"), "{}", ran.text);
    assert!(row(&out, "dashed").starts_with("dashed,graded,10,10,0,10"), "{}", ran.text);
    assert!(row(&out, "silent").starts_with("silent,graded,0,10,0,0"), "{}", ran.text);
    for (student, says) in [
        ("typo", "it does not build"),
        ("slow", "it does not build"),
        ("binary", "hello.ko is a built module"),
        ("huge", "larger than 200 KiB"),
        ("empty", "nothing in it"),
        ("linked", "the link hello.c to /etc/passwd is left out"),
        ("damaged", "pack it again"),
    ] {
        let row = row(&out, student);
        assert!(row.contains(",unusable,0,10,") && row.contains(says), "`{says}` is not in:\n{row}");
    }
    let page =
        |student: &str| fs::read_to_string(out.join("students").join(student).join("page.md")).unwrap();
    assert!(
        page("typo").contains("hello.c:2") && page("slow").contains("took longer than 20 s"),
        "{}",
        page("typo")
    );
    let good: Value =
        serde_json::from_slice(&fs::read(out.join("students/good/results.json")).unwrap()).unwrap();
    assert_eq!(good["score"], 10.0);
    // Nothing of where it was built is told.
    for student in ["typo", "silent", "good"] {
        assert!(!page(student).contains("/tmp/"), "{}", page(student));
    }
}

#[test]
fn a_host_that_is_gone_costs_nobody_a_point() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    hand_in(&submissions, "a", "hello.c", HELLO.as_bytes());
    let assignment = assignment();
    let line = ["grade", words(&assignment), words(&submissions), "--out", words(&out), "--host", "emulated"];
    let nowhere = folder.path().join("nowhere");
    let ran = support::command(&line, &[("VMM_HOST_DIR", words(&nowhere))]);
    assert_eq!(ran.code, Some(3), "{}", ran.text);
    assert!(row(&out, "a").starts_with("a,not graded,,10,,"), "{}", row(&out, "a"));
    let results = fs::read_to_string(out.join("students/a/results.json")).unwrap();
    assert!(!results.contains("\"score\""), "no zero for what is not known: {results}");
    // With a host, it is made up for.
    let ran = grade(&[words(&assignment), words(&submissions), "--out", words(&out)]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    assert!(row(&out, "a").starts_with("a,graded,10"));
}

#[test]
fn mistakes_of_an_assignment_are_bad_input_and_nothing_is_graded() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, "kind: module\ntests:\n  - {scenario: nosuch.yaml, points: -1}\n").unwrap();
    let ran = grade(&[words(&path), words(folder.path())]);
    assert_eq!(ran.code, Some(2));
    ran.says("can't find the scenario");
    ran.says("negative");
    ran.says("a.yaml:3");
}

#[test]
fn a_gradescope_container_gets_its_results() {
    let folder = TempDir::new().unwrap();
    let top = folder.path();
    fs::create_dir_all(top.join("source/assignment")).unwrap();
    for file in ["assignment.yaml", "loads.yaml"] {
        fs::copy(assignment().with_file_name(file), top.join("source/assignment").join(file)).unwrap();
    }
    hand_in(top, "submission", "hello.c", HELLO.as_bytes());
    fs::write(
        top.join("submission_metadata.json"),
        "{\"id\": 7, \"users\": [{\"email\": \"jane@x.edu\", \"id\": 1}]}",
    )
    .unwrap();
    let script = root().join("scenarios/courses/gradescope/run_autograder");
    let ran = support::script(&script, &[("AUTOGRADER", words(top)), ("VMM_HOST", "auto")]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    ran.says("jane@x.edu");
    let results: Value =
        serde_json::from_slice(&fs::read(top.join("results/results.json")).unwrap()).unwrap();
    assert_eq!(
        (&results["score"], &results["tests"][0]["status"]),
        (&Value::from(10.0), &Value::from("passed"))
    );
}

/// The pages in a browser, where one is installed (with VMM_TEST_BROWSER one has to be): the teacher's shows the plot and the matrix,
/// a student's what went wrong, and both load nothing.
#[test]
fn a_browser_shows_the_summary() {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).flat_map(|it| names.map(|name| it.join(name))).find(|it| it.is_file());
    let Some(browser) = found else {
        assert!(std::env::var_os("VMM_TEST_BROWSER").is_none(), "no browser is installed");
        eprintln!("no browser is installed, so none was asked");
        return;
    };
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    hand_in(&submissions, "binary", "hello.ko", b"\x7fELF\0");
    let oopses = HELLO.replace("return 0;", "*(volatile int *)8 = 1; return 0;");
    hand_in(&submissions, "oopses", "hello.c", oopses.as_bytes());
    let assignment = assignment();
    grade(&[words(&assignment), words(&submissions), "--out", words(&out)]);
    for (page, says) in [
        ("index.html", &["<svg", "binary", "hello.ko is a built module", "comes and goes"][..]),
        ("students/oopses/page.html", &["NULL pointer dereference", "hello.c:2", "0 of 10 points"][..]),
    ] {
        let output = std::process::Command::new(&browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--enable-logging=stderr"])
            .arg(format!("file://{}/{page}", out.display()))
            .output()
            .unwrap();
        let dom = String::from_utf8_lossy(&output.stdout);
        for says in says {
            assert!(dom.contains(says), "`{says}` is not in:\n{dom}");
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("Refused to") && !said.contains("CONSOLE"), "{said}");
    }
}

/// The assignment of these tests, with something more in it, in a folder of its own.
pub(super) fn assignment_with(folder: &Path, more: &str) -> PathBuf {
    for file in ["assignment.yaml", "loads.yaml"] {
        fs::copy(assignment().with_file_name(file), folder.join(file)).unwrap();
    }
    let path = folder.join("assignment.yaml");
    let text = fs::read_to_string(&path).unwrap();
    // What is said once more takes the place of what was said.
    let said_twice =
        |line: &&str| more.lines().all(|other| line.split(':').next() != other.split(':').next());
    let text: Vec<&str> = text.lines().filter(said_twice).chain(more.lines()).collect();
    fs::write(&path, text.join("\n")).unwrap();
    path
}

pub(super) const SLOW: &[u8] = b"obj-m := hello.o\nX := $(shell sleep 1000)\n";

#[test]
fn a_build_that_is_slow_beside_others_is_tried_again_alone() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    for student in ["a", "b"] {
        hand_in(&submissions, student, "hello.c", HELLO.as_bytes());
        hand_in(&submissions, student, "Makefile", SLOW);
    }
    let path = assignment_with(folder.path(), "limits: {build: 2 s}");
    let ran = grade(&[words(&path), words(&submissions), "--out", words(&out), "-j", "2"]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    let again = |text: &str| text.matches("it is tried again at the end, alone").count();
    assert_eq!(again(&ran.text), 2, "{}", ran.text);
    for student in ["a", "b"] {
        let row = row(&out, student);
        assert!(row.contains(",unusable,0,10,") && again(&row) == 0, "{row}");
    }
    // Nobody is beside the only one.
    let alone = folder.path().join("alone");
    let ran = grade(&[words(&path), words(&submissions), "--out", words(&alone)]);
    assert_eq!((ran.code, again(&ran.text)), (Some(0), 0), "{}", ran.text);
}

/// All processes that one has started, and those that they have.
fn descendants(of: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
    let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> = texts
        .flat_map(|text| text.split_whitespace().filter_map(|it| it.parse().ok()).collect::<Vec<_>>())
        .collect();
    children.iter().flat_map(|child| [vec![*child], descendants(*child)].concat()).collect()
}

#[test]
fn a_host_that_dies_is_replaced_and_costs_nobody_a_point() {
    // With a KVM of its own a machine need not have an emulator, and the host is this machine.
    if support::served_host().is_none() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    hand_in(&submissions, "a", "hello.c", HELLO.as_bytes());
    let path = assignment_with(folder.path(), "");
    let scenario = folder.path().join("loads.yaml");
    let text = fs::read_to_string(&scenario).unwrap();
    // Time to die in.
    let slow = text.replace("run: [id, -u]\n    user", "run: [sh, -c, sleep 3; id -u]\n    user");
    assert_ne!(slow, text);
    fs::write(&scenario, slow).unwrap();
    let line = ["grade", words(&path), words(&submissions), "--out", words(&out), "--host", "emulated"];
    let mut grading = Command::new(support::VMM);
    // A host of its own, not the one that the tests share.
    let grading = grading.args(line).env_remove("VMM_HOST_DIR").env("SECRET_TOKEN", "took-secret");
    let grading = grading.stdin(Stdio::null());
    let mut grading = grading.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = grading.id();
    let its_emulator = || {
        let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        descendants(pid).into_iter().find(|pid| name(pid).starts_with("qemu-system"))
    };
    let started = Instant::now();
    let first = loop {
        match its_emulator() {
            Some(pid) => break pid,
            None => assert!(started.elapsed() < Duration::from_secs(60), "no host was started"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    drop(emulator::monitor(first));
    // Meanwhile it can be looked at: a filter of system calls in each of its threads, and nothing of our environment.
    for task in fs::read_dir(format!("/proc/{first}/task")).unwrap().flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap();
        for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000"] {
            assert!(status.contains(line), "{line}: {status}");
        }
    }
    assert!(emulator::writes(first, "inside"), "it saves the host");
    let outside = tempfile::tempdir().unwrap();
    assert!(
        !emulator::writes(first, outside.path().join("outside").to_str().unwrap()),
        "the rest is none of its business"
    );
    let environment = fs::read(format!("/proc/{first}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("took-secret"));
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(first.cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let another = loop {
        if let Some(pid) = its_emulator().filter(|pid| *pid != first) {
            break Some(pid);
        }
        if grading.try_wait().unwrap().is_some() {
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let ended = grading.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(another.is_some(), "it went on without a host: {said}");
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(row(&out, "a").starts_with("a,graded,10"), "{said}");
}

#[test]
fn a_table_says_which_module_is_meant_and_students_see_what_they_may() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    let silent = HELLO.replace("pr_info(\"hello, world\\n\");", "");
    hand_in(&submissions, "two", "draft.c", silent.as_bytes());
    hand_in(&submissions, "two", "final.c", HELLO.as_bytes());
    hand_in(&submissions, "silent", "hello.c", silent.as_bytes());
    fs::write(folder.path().join("table.csv"), "student,module\ntwo,final\n").unwrap();
    let path = assignment_with(folder.path(), "table: table.csv\nshow: names");
    let (path, given) = (words(&path), words(&submissions));
    let ran = grade(&[path, given, "--out", words(&out), "--only", "two"]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    assert!(row(&out, "two").starts_with("two,graded,10,10,0,10"), "{}", ran.text);
    assert!(!fs::read_to_string(out.join("grades.csv")).unwrap().contains("silent"), "{}", ran.text);

    let ran = grade(&[path, given, "--out", words(&out)]);
    ran.says("1 as before");
    assert!(row(&out, "silent").starts_with("silent,graded,0,"), "{}", ran.text);
    let page = |name: &str| fs::read_to_string(out.join("students/silent").join(name)).unwrap();
    for name in ["page.md", "page.html", "results.json"] {
        assert!(
            page(name).contains("comes and goes") && !page(name).contains("hello, world"),
            "{}",
            page(name)
        );
    }
    assert!(page("teacher.html").contains("hello, world"), "{}", page("teacher.html"));
}

#[test]
fn an_assignment_that_is_not_sound_is_told_so() {
    let folder = TempDir::new().unwrap();
    hand_in(folder.path(), "reference", "hello.c", HELLO.as_bytes());
    hand_in(folder.path(), "silent", "hello.c", HELLO.replace("hello, world", "good bye").as_bytes());
    let out = folder.path().join("out");
    let check = |points: &str| {
        let more = format!(
            "check: {{reference: reference, bad: {{silent: {{points: {points}, fails: [comes and goes]}}}}}}"
        );
        grade(&["check", words(&assignment_with(folder.path(), &more)), "--out", words(&out)])
    };
    let wrong = check("5");
    assert_eq!(wrong.code, Some(1), "{}", wrong.text);
    wrong.says("silent");
    let right = check("0");
    assert_eq!(right.code, Some(0), "{}", right.text);
    right.says("the assignment is sound");
}
