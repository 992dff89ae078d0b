//! SIGKILL at random moments of a build or a run: nothing stays behind, reports are whole, and the next one is as if there had been none.

use super::{build, said, vmm};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    fs,
    hash::{BuildHasher, RandomState},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// So often each; `VMM_TEST_KILLS` says otherwise.
const BUILDS: u64 = 12;
const RUNS: u64 = 6;

fn times(usual: u64) -> u64 {
    std::env::var("VMM_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A cache of its own, by whose name its processes are known; kernels and tools are those that there are.
fn cache() -> TempDir {
    let (real, cache) = (real_cache(), tempfile::tempdir().unwrap());
    for name in ["kernels", "sources", "tools", "emulator"] {
        symlink(real.join(name), cache.path().join(name)).unwrap();
    }
    cache
}

fn all_end(cache: &Path, what: &str) {
    let end = Instant::now() + Duration::from_secs(5);
    while !users(cache).is_empty() {
        assert!(Instant::now() < end, "{what}: {:?} is left", users(cache));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_run_of_which_any_process_is_killed_leaves_a_whole_report_and_nothing_else() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), cache());
    let report = folder.path().join("report.json");
    let run = || {
        let mut command = vmm(&["run", "scenarios/hello.yaml", "--report"]);
        command.arg(format!("json={}", report.display())).env("VMM_CACHE", cache.path());
        command
    };
    let whole = || {
        let text = fs::read_to_string(&report).ok()?;
        Some(serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{error}:\n{text}")))
    };
    for round in 0..times(RUNS) {
        let _ = fs::remove_file(&report);
        let mut child = run().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let random = RandomState::new().hash_one(round);
        let after = random % 6000;
        thread::sleep(Duration::from_millis(after));
        // It itself, or one of those that it started.
        let mut victims = vec![child.id()];
        victims.extend(descendants(child.id()));
        let victim = victims[(random >> 32) as usize % victims.len()];
        let _ = kill(Pid::from_raw(victim.cast_signed()), Signal::SIGKILL);
        let status = child.wait().unwrap();
        let what = format!("{victim} of {victims:?} was killed after {after} ms, {status}");
        all_end(cache.path(), &what);
        let report = whole();
        // A machine that dies is no pass, and nobody's fault but this machine's. What dies within a build may have been killed by
        // what is built there: a Makefile can do that.
        if victim != victims[0] && status.code() != Some(0) {
            let in_build = report.as_ref().is_some_and(|report| report["verdict"] == "build-failed");
            assert_eq!(status.code(), Some(if in_build { 1 } else { 3 }), "{what}: {report:?}");
        }
    }
    let output = run().output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(whole().unwrap()["verdict"], "pass");
    assert_eq!(fs::read_dir(cache.path().join("tmp")).unwrap().count(), 0);
}

/// All processes that one has started, from whichever thread, and those that they have.
fn descendants(of: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
    let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> = texts
        .flat_map(|text| text.split_whitespace().filter_map(|it| it.parse().ok()).collect::<Vec<_>>())
        .collect();
    children.iter().flat_map(|child| [vec![*child], descendants(*child)].concat()).collect()
}

#[test]
fn a_build_of_which_any_process_is_killed_at_any_moment_leaves_nothing() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), cache());
    let build = || {
        let mut command = build(folder.path());
        command.env("VMM_CACHE", cache.path());
        command
    };
    fs::write(folder.path().join("Makefile"), "obj-m := a.o b.o\n").unwrap();
    for round in 0..times(BUILDS) {
        for name in ["a", "b"] {
            let text = format!("#include <linux/module.h>\nMODULE_LICENSE(\"GPL\"); /* {round} */\n");
            fs::write(folder.path().join(format!("{name}.c")), text).unwrap();
        }
        let mut child = build().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // From the first look at the folder to the last of the product.
        let random = RandomState::new().hash_one(round);
        let after = random % 3000;
        thread::sleep(Duration::from_millis(after));
        // It itself, or one of the box, of make, of the compiler.
        let mut victims = vec![child.id()];
        victims.extend(descendants(child.id()));
        let victim = victims[(random >> 32) as usize % victims.len()];
        let _ = kill(Pid::from_raw(victim.cast_signed()), Signal::SIGKILL);
        let status = child.wait().unwrap();
        let what = format!("{victim} of {victims:?} was killed after {after} ms, {status}");
        all_end(cache.path(), &what);
        if victim != victims[0] {
            assert!(matches!(status.code(), Some(0 | 1 | 3)), "{what}");
        }
    }
    let output = build().output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("PASS  a") && said(&output).contains("PASS  b"), "{}", said(&output));
    assert_eq!(fs::read_dir(cache.path().join("tmp")).unwrap().count(), 0);
}

/// Processes that name the cache, or work there.
fn users(cache: &Path) -> Vec<String> {
    let name = cache.display().to_string();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let known = all.filter_map(|it| {
        let line = String::from_utf8_lossy(&fs::read(it.path().join("cmdline")).ok()?).replace('\0', " ");
        let place = fs::read_link(it.path().join("cwd")).unwrap_or_default();
        (line.contains(&name) || place.starts_with(cache)).then_some(line)
    });
    known.collect()
}

/// The one that is used where nothing else is said.
pub(super) fn real_cache() -> PathBuf {
    let from = |name| std::env::var_os(name).map(PathBuf::from);
    let home = || from("HOME").unwrap().join(".cache");
    from("VMM_CACHE").unwrap_or_else(|| from("XDG_CACHE_HOME").unwrap_or_else(home).join("vmm"))
}
