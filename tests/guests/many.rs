//! Many scenarios in one run: what is chosen, what is tried again, what is known, and what a merged report says.

use super::support::{Turn, VMM, on_host};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

const GOOD: &str = "tags: [quick]\nsteps:\n- sleep: 1 ms\n";
const BAD: &str = "name: broken\nsteps:\n- open: /nothing\n";
/// A random digit decides: fails one time in two.
const FLAKY: &str =
    "steps:\n- run: [/bin/sh, -c, \"exit $(($(cut -c 2 /proc/sys/kernel/random/uuid | tr a-f 0-5) % 2))\"]\n";

struct Folder(TempDir);

impl Folder {
    fn of(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("a file can be written");
        }
        Self(folder)
    }

    fn place(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn vmm(&self, words: &[&str]) -> Command {
        let mut command = Command::new(VMM);
        command.args(words).current_dir(&self.0).stdin(Stdio::null());
        command.env_remove("GITHUB_ACTIONS").env_remove("SLURM_ARRAY_TASK_ID");
        command
    }

    /// With guests. The project's patches are not near this folder, but near the program.
    fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let _turn = Turn::take();
        came(&on_host(&mut self.vmm(words)).output().expect("vmm can be started"))
    }

    /// Without.
    fn refuse(&self, words: &[&str]) -> String {
        let (code, text) = came(&self.vmm(words).output().expect("vmm can be started"));
        assert_eq!(code, Some(2), "{words:?}: {text}");
        text
    }

    fn json(&self, name: &str) -> Value {
        read(&self.place(name))
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a report was written")).expect("a report is JSON")
}

fn came(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn several_at_once_are_told_one_after_the_other() {
    const SLOW: &str = "steps:\n- sleep: 1500 ms\n- syscall: getpid\n";
    let folder = Folder::of(&[("a.yaml", SLOW), ("b.yaml", GOOD), ("c.yaml", BAD), ("d.yaml", GOOD)]);
    let (code, text) = folder.run(&["run", ".", "-j", "2", "--report", "json=r.json"]);
    assert_eq!(code, Some(1), "{text}");
    let ends: Vec<&str> = text
        .lines()
        .filter(|line| {
            ["PASS  a:", "PASS  b:", "FAIL  broken:", "PASS  d:"].iter().any(|end| line.starts_with(end))
        })
        .map(|line| &line[..7])
        .collect();
    assert_eq!(ends, ["PASS  a", "PASS  b", "FAIL  b", "PASS  d"], "{text}");
    // Of the slow one all lines come first, though others were over long before it.
    let slow = text.lines().position(|line| line.starts_with("PASS  a:")).unwrap();
    assert_eq!(text.lines().take(slow).filter(|line| line.starts_with("boot ")).count(), 1, "{text}");
    let report = folder.json("r.json");
    let verdicts: Vec<&str> =
        report["scenarios"].as_array().unwrap().iter().map(|it| it["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["pass", "pass", "fail", "pass"]);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_runs_and_leaves_nothing() {
    let folder = Folder::of(&[("good.yaml", GOOD), ("bad.yaml", BAD)]);
    fs::create_dir(folder.place("empty")).unwrap();
    let quarantine = "- scenario: broken\n  verdict: fail\n  owner: ann\n  until: 2030-01-01\n";
    fs::write(folder.place("no-reason.txt"), quarantine).unwrap();
    let dated = format!("{}  reason: x\n", quarantine.replace("2030-01-01", "2030-13-01"));
    fs::write(folder.place("bad-date.txt"), dated).unwrap();
    for (words, expected) in [
        (&["run", ".", "--tag", "quikc"][..], "did you mean `quick`?"),
        (&["run", ".", "--skip", "slow"], "no scenario has the tag `slow`"),
        (&["run", "empty"], "there is no scenario"),
        (&["run", "x*.yaml"], "no file matches"),
        (&["run", ".", "--shard", "9/8"], "there is no shard 9 of 8"),
        (&["run", ".", "--shard", "auto"], "SLURM_ARRAY_TASK_ID"),
        (&["run", ".", "--report", "pdf=x"], "there is no format `pdf`"),
        (&["run", ".", "--report", "json=x", "--report", "html=x"], "two reports"),
        (&["run", ".", "--report", "json=good.yaml"], "would overwrite a scenario"),
        (&["run", ".", "--quarantine", "no-reason.txt"], "needs the field `reason`"),
        (&["run", ".", "--quarantine", "bad-date.txt"], "a day, like"),
        (&["run", ".", "--quarantine", "missing"], "No such file"),
        (&["run", ".", "--shard", "1/2", "--times", "good.yaml"], "no JSON"),
        (&["run", ".", "--artifacts", "good.yaml"], "can't write artifacts"),
        (&["report", "show", "good.yaml"], "no JSON"),
        (&["report", "merge", "missing.json"], "can't read this report"),
    ] {
        let text = folder.refuse(words);
        assert!(text.contains(expected), "{words:?}: {text}");
    }
    let mut left: Vec<String> =
        fs::read_dir(&folder.0).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["bad-date.txt", "bad.yaml", "empty", "good.yaml", "no-reason.txt"]);
}

#[test]
fn shards_run_everything_once_and_merge_to_what_one_run_would_have_said() {
    let folder = Folder::of(&[("a.yaml", GOOD), ("b.yaml", BAD), ("c.yaml", GOOD)]);
    let known = "- scenario: broken\n  verdict: fail\n  reason: known\n  owner: ann\n  until: 2099-01-01\n";
    fs::write(folder.place("known.yaml"), known).unwrap();
    let part = |index: u32, more: &[&str]| {
        let (shard, report) = (format!("{index}/2"), format!("json=part-{index}.json"));
        let words =
            [&["run", ".", "--quarantine", "known.yaml", "--shard", &shard, "--report", &report][..], more];
        folder.run(&words.concat())
    };
    let (first, text) = part(1, &["--artifacts", "left"]);
    assert_eq!(first, Some(0), "{text}");
    let missing = folder.refuse(&["report", "merge", "part-1.json"]);
    assert!(missing.contains("parts of 2 are missing: 2"), "{missing}");
    let (second, text) = part(2, &[]);
    assert_eq!(second, Some(0), "{text}");
    let merged = folder.vmm(&["report", "merge", "part-1.json", "part-2.json", "--report", "json=all.json"]);
    let (code, text) = came(&{ merged }.output().unwrap());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.ends_with("3 scenarios: 2 pass, 1 quarantined\n"), "{text}");
    let all = folder.json("all.json");
    let words: Vec<&str> =
        all["scenarios"].as_array().unwrap().iter().map(|it| it["verdict"].as_str().unwrap()).collect();
    assert_eq!((words, &all["finished"]), (vec!["pass", "fail", "pass"], &Value::Bool(true)));
    assert!(folder.place("left").read_dir().unwrap().count() > 0);
    // The same failure without the file.
    let (code, text) = folder.run(&["run", "b.yaml", "--retry", "1", "--report", "json=b.json"]);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(folder.json("b.json")["scenarios"][0]["attempts"].as_array().unwrap().len(), 2);
}

#[test]
fn what_fails_now_and_then_is_found_by_repeating_it() {
    let folder = Folder::of(&[("flaky.yaml", FLAKY)]);
    // One in two: that twelve runs are alike happens once in two thousand times.
    let (code, text) = folder.run(&["run", "flaky.yaml", "--repeat", "12", "--report", "json=r.json"]);
    assert_eq!(code, Some(1), "{text}");
    let report = folder.json("r.json");
    let attempts = report["scenarios"][0]["attempts"].as_array().unwrap();
    let passed = attempts.iter().filter(|it| it["verdict"] == "pass").count();
    assert!(attempts.len() == 12 && (1..12).contains(&passed), "{text}");
    assert!(text.contains(&format!("{passed} of 12 passed")), "{text}");
    let (code, text) = folder.run(&["run", "flaky.yaml", "--retry", "20", "--fail-on", "flaky"]);
    assert_eq!(code, Some(i32::from(text.contains("FLAKY"))), "{text}");
}
