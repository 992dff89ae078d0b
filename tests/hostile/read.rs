//! Files that are made to harm who reads them: each is read in a process of its own, whose end is no one else's.

use super::{VMM, root, said, vmm};
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

#[test]
fn what_unpacks_to_more_than_its_reader_may_have_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("bomb.ko");
    File::create(&plain).unwrap().set_len(300 << 20).unwrap();
    assert!(Command::new("xz").args(["-0", "--keep"]).arg(&plain).status().unwrap().success());
    let packed = folder.path().join("bomb.ko.xz");
    // What it is called is no reason to read it without a limit.
    let named = folder.path().join("vmm-0.1.0");
    fs::copy(VMM, &named).unwrap();
    let check = |program: &Path, limits: &str| {
        let mut command = Command::new(program);
        command.args(["module", "check"]).arg(&packed).current_dir(root()).stdin(Stdio::null());
        said(&command.env("VMM_LIMITS", limits).output().unwrap())
    };
    for program in [Path::new(VMM), &named] {
        let text = check(program, "memory=128MiB");
        assert!(text.contains("once unpacked it takes more memory than there is for that"), "{text}");
        assert!(text.contains("VMM_LIMITS=memory="), "{text}");
    }
    // It is told as what it is where there is room for it.
    let text = check(Path::new(VMM), "");
    assert!(text.contains("is no kernel module: it is no ELF file"), "{text}");
}

/// No comment ends, so each is looked for up to the file's end: that takes hours.
#[test]
fn source_that_takes_for_ever_to_read_is_unusable_and_stops_no_grading() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("t.yaml"), "steps: [{sleep: 1 s}]\n").unwrap();
    fs::write(at("a.yaml"), "kind: module\ntests: [{scenario: t.yaml, points: 1}]\n").unwrap();
    for (student, source) in [("slow", "/*x//\n".repeat(2 << 20)), ("empty", "int a;\n".to_owned())] {
        let own = at("submissions").join(student);
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("a.c"), source).unwrap();
    }
    let [assignment, submissions, out] =
        ["a.yaml", "submissions", "out"].map(|it| at(it).display().to_string());
    let start = Instant::now();
    let output = vmm(&["grade", &assignment, &submissions, "--out", &out]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let grades = fs::read_to_string(at("out/grades.csv")).unwrap();
    let of = |student: &str| grades.lines().find(|line| line.starts_with(student)).unwrap_or_default();
    assert!(of("slow,unusable").contains("its reader took longer than 120 seconds"), "{grades}");
    assert!(of("empty,unusable").contains("no file is a module"), "{grades}");
    assert!(start.elapsed() < Duration::from_secs(300), "{:?}", start.elapsed());
}

/// What it says is for who started it: nobody else gets anything out of it, and it ends with its input.
#[test]
fn a_reader_takes_no_other_file_and_ends_with_its_input() {
    for arguments in
        [&["reader"][..], &["reader", "nonsense", "1000000"], &["reader", "unpack", "1000000", "/dev/zero"]]
    {
        let output = vmm(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    }
    let start = Instant::now();
    let mut child = vmm(&["reader", "unpack", "100000000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A question that is longer than what comes.
    child.stdin.take().unwrap().write_all(&[0xff; 100]).unwrap();
    child.wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
}
