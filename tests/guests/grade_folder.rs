//! `vmm grade`: what stays in a folder of grades, and what a later start makes of it.

use super::{
    grade::{HELLO, SLOW, assignment, assignment_with, grade, hand_in, row, words},
    interrupt, support,
};
use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

#[test]
fn a_grading_goes_on_where_it_was_and_shards_come_together() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    // Names of different shards.
    for student in ["a", "e"] {
        hand_in(&submissions, student, "hello.c", format!("// {student}\n{HELLO}").as_bytes());
    }
    let assignment = assignment();
    let (path, given) = (words(&assignment), words(&submissions));
    let shard = |number: usize| {
        let out = folder.path().join(format!("shard-{number}"));
        let ran = grade(&[path, given, "--out", words(&out), "--shard", &format!("{number}/2")]);
        ran.says("1 student: 1 graded");
        out
    };
    let (first, second) = (shard(1), shard(2));
    let ran = grade(&["merge", path, words(&first), words(&second), "--out", words(&out)]);
    ran.says("2 students: 2 graded");
    assert!(row(&out, "a").starts_with("a,graded,10") && row(&out, "e").starts_with("e,graded,10"));

    hand_in(&submissions, "e", "hello.c", HELLO.replace("pr_info(\"hello, world\\n\");", "").as_bytes());
    let ran = grade(&[path, given, "--out", words(&out)]);
    ran.says("1 as before");
    assert!(row(&out, "e").starts_with("e,graded,0"), "what changed is graded again: {}", ran.text);
    let ran = grade(&[path, given, "--out", words(&out)]);
    ran.says("2 as before");
    assert!(ran.took < Duration::from_secs(5), "nothing is built or run: {:?}", ran.took);
    assert_eq!(grade(&[path, given, "--out", words(&out), "--only", "c"]).code, Some(2));
}

#[test]
fn a_grading_that_is_stopped_keeps_what_it_has_and_goes_on() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    // Who handed in more comes first.
    for name in ["a.txt", "b.txt"] {
        hand_in(&submissions, "first", name, b"");
    }
    hand_in(&submissions, "first", "hello.ko", b"\x7fELF\0");
    hand_in(&submissions, "second", "hello.c", HELLO.as_bytes());
    hand_in(&submissions, "second", "Makefile", SLOW);
    let path = assignment_with(folder.path(), "");
    let line = ["grade", words(&path), words(&submissions), "--out", words(&out)];
    let mut grading = Command::new(support::VMM);
    support::on_host(&mut grading).args(line);
    let mut grading = interrupt::in_own_session(&grading);
    let grading = grading.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let is_record = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|it| it == "json");
    let records =
        || fs::read_dir(out.join("records")).map_or(0, |all| all.flatten().filter(is_record).count());
    let started = Instant::now();
    while records() == 0 && started.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(50));
    }
    // The build has begun, or is about to.
    thread::sleep(Duration::from_secs(1));
    let leader = grading.id();
    let pid = nix::unistd::Pid::from_raw(leader.cast_signed());
    assert!(!interrupt::session(leader).is_empty());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let asked = Instant::now();
    let ended = grading.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.code(), Some(130), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    assert!(asked.elapsed() < interrupt::SOON, "{:?}", asked.elapsed());
    assert_eq!(interrupt::session(leader), [""; 0], "something is left");
    assert!(row(&out, "first").contains(",unusable,"), "{said}");
    assert_eq!(records(), 1, "{said}");

    fs::remove_file(submissions.join("second/Makefile")).unwrap();
    let ran = support::command(&line, &[]);
    ran.says("1 as before");
    assert!(row(&out, "second").starts_with("second,graded,10"), "{}", ran.text);
}

/// The second student's record can't be written at first, as on a disk that somebody's build fills for a while; and then not at all.
#[test]
fn a_record_that_can_not_be_written_loses_nothing_of_what_was_graded() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    hand_in(&submissions, "first", "hello.ko", b"\x7fELF\0");
    // Who handed in more comes first.
    hand_in(&submissions, "first", "a.txt", b"");
    hand_in(&submissions, "second", "hello.c", HELLO.as_bytes());
    fs::create_dir_all(out.join("records")).unwrap();
    symlink("/dev/full", out.join("records/second.new")).unwrap();
    let assignment = assignment();
    let line = [words(&assignment), words(&submissions), "--out", words(&out)];
    let ran = grade(&line);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    assert!(row(&out, "second").starts_with("second,graded,10"), "{}", ran.text);

    let record = out.join("records/second.json");
    fs::remove_file(&record).unwrap();
    fs::create_dir(&record).unwrap();
    let ran = grade(&line);
    assert_eq!(ran.code, Some(3), "{}", ran.text);
    ran.says("second.json");
    assert!(row(&out, "first").contains(",unusable,"), "{}", ran.text);
    fs::remove_dir(&record).unwrap();
    let ran = grade(&line);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    ran.says("1 as before");
    assert!(row(&out, "first").contains(",unusable,"), "{}", ran.text);
    assert!(row(&out, "second").starts_with("second,graded,10"), "{}", ran.text);
}

#[test]
fn one_student_alone_leaves_the_others_in_the_tables() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    for student in ["bob", "eve"] {
        hand_in(&submissions, student, "hello.ko", b"\x7fELF\0");
    }
    let assignment = assignment();
    let ran = grade(&[words(&assignment), words(&submissions), "--at-least", "5", "--out", words(&out)]);
    assert_eq!(ran.code, Some(1), "{}", ran.text);
    ran.says("fewer than 5 points: bob, eve");
    hand_in(folder.path(), "again", "hello.c", HELLO.as_bytes());
    let again = folder.path().join("again");
    let eve = ["--student", "eve", "--at-least", "5"];
    let ran = grade(&[&[words(&assignment), words(&again), "--out", words(&out)], &eve[..]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    assert!(row(&out, "eve").starts_with("eve,graded,10"), "{}", ran.text);
    assert!(row(&out, "bob").contains(",unusable,"), "{}", ran.text);
    assert!(!ran.text.contains("bob"), "{}", ran.text);
}
