//! Bisections with real git, real builds and real guests. Histories are mostly of modules, which build in a second.

use super::support::{Ran, Turn, VMM, finished, on_host, root};
use ::bisect::bench::linux::{self, Edit, Linux};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A repository with a module whose history the test makes, and a scenario beside it.
struct History {
    folder: TempDir,
    commits: Vec<String>,
}

/// It lies in the repository, beside the module's folder.
const SCENARIO: &str = "modules: [module]\nsteps:\n  - insmod: counter\n";

/// What init does.
const FINE: &str = "";
const WARNS: &str = "WARN(1, \"counter: off by one\\n\");";
const OTHER: &str = "BUG();";
const BROKEN: &str = "nonsense;";

impl History {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir_all(folder.path().join("driver/module")).unwrap();
        let history = Self { folder, commits: Vec::new() };
        history.git(&["init", "--quiet", "-b", "main"]);
        history.write("module/Makefile", "obj-m := counter.o\n");
        history.write("counter.yaml", SCENARIO);
        history
    }

    fn of(inits: &[&str]) -> Self {
        let mut history = Self::new();
        inits.iter().for_each(|init| history.commit(init));
        history
    }

    fn scenario(&self) -> PathBuf {
        self.repository().join("counter.yaml")
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("driver")
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.repository().join(file), text).unwrap();
    }

    fn git(&self, words: &[&str]) -> String {
        git_in(&self.repository(), words)
    }

    /// A commit in whose module init does this.
    fn commit(&mut self, init: &str) {
        let number = self.commits.len();
        self.write(
            "module/counter.c",
            &format!(
                "#include <linux/bug.h>\n#include <linux/module.h>\n\nstatic int __init counter_init(void)\n{{\n\tpr_info(\"counter {number}\\n\");\n\t{init}\n\treturn 0;\n}}\nmodule_init(counter_init);\nMODULE_LICENSE(\"GPL\");\nMODULE_DESCRIPTION(\"For the tests of vmm\");\n"
            ),
        );
        self.save(&format!("counter: step {number}"));
    }

    fn save(&mut self, subject: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", subject]);
        self.commits.push(self.git(&["rev-parse", "HEAD"]));
    }

    fn bisect_command(&self, options: &[&str]) -> Command {
        bisect_command(&self.repository(), options)
    }

    fn bisect(&self, options: &[&str]) -> Ran {
        bisect(&self.repository(), options)
    }

    /// What is in the work tree, the index, HEAD and all references.
    fn state(&self) -> Vec<String> {
        let mut state = vec![self.git(&["rev-parse", "HEAD"]), self.git(&["for-each-ref"])];
        state.push(self.git(&["stash", "list"]));
        for file in ["module/counter.c", ".git/index", ".git/HEAD"] {
            let bytes = fs::read(self.repository().join(file)).unwrap();
            state.push(format!("{bytes:?}"));
        }
        state
    }
}

fn bisect_command(repository: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(VMM);
    command.arg("bisect").arg("--modules").arg(repository).args(options).arg(repository.join("counter.yaml"));
    command.stdin(Stdio::null());
    on_host(&mut command);
    command
}

fn bisect(repository: &Path, options: &[&str]) -> Ran {
    reported(bisect_command(repository, options))
}

/// Has a bisection write its report, and reads it.
fn reported(mut command: Command) -> Ran {
    let _turn = Turn::take();
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("report.json");
    let started = Instant::now();
    let output = command.arg("--report").arg(format!("json={}", report.display())).output();
    finished(&output.expect("vmm can be started"), &report, started)
}

fn git_in(folder: &Path, words: &[&str]) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).stdin(Stdio::null());
    let settings = [
        "user.name=A U Thor",
        "user.email=author@example.com",
        "commit.gpgSign=false",
        // Submodules may come from here.
        "protocol.file.allow=always",
    ];
    for setting in settings {
        git.args(["-c", setting]);
    }
    let output = git.args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The one commit that is named.
#[track_caller]
fn culprit(ran: &Ran) -> &str {
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    let commits = ran.whole_report()["commits"].as_array().unwrap();
    assert_eq!(commits.len(), 1, "{}", ran.text);
    commits[0]["commit"].as_str().unwrap()
}

/// A dirty work tree, a commit that does not build, one with another fault, commits that touch something else, a scenario in the repository
/// that has changed on the way: the commit is found all the same, proven, and nothing of the user's has changed.
#[test]
fn the_culprit_is_found_and_proven_and_nothing_of_the_users_is_touched() {
    let mut history = History::new();
    history.write("counter.yaml", "nonsense: yes\n");
    history.commit(FINE);
    history.write("counter.yaml", SCENARIO);
    [FINE, FINE].iter().for_each(|init| history.commit(init));
    for text in ["one", "two"] {
        history.write("notes", text);
        history.save(&format!("notes: {text}"));
    }
    [FINE, WARNS, BROKEN, OTHER, WARNS].iter().for_each(|init| history.commit(init));
    let wanted = history.commits[6].clone();
    history.write("module/counter.c", "not committed");
    let before = history.state();
    let ran = history.bisect(&["--good", &history.commits[0].clone(), "--revert"]);
    assert_eq!(culprit(&ran), wanted, "{}", ran.text);
    assert_eq!(history.state(), before);
    let report = ran.whole_report();
    assert_eq!(report["proof"], "proven on fresh builds of the commit and its parents");
    assert!(report["odds"].as_f64().unwrap() >= 0.99, "{}", ran.text);
    assert_eq!(report["before"], "pass");
    assert_eq!(report["after"], "splat: WARNING in counter_init");
    assert_eq!(report["commits"][0]["files"], serde_json::json!(["module/counter.c"]));
    // Two touch only notes.
    assert_eq!((&report["all"], &report["matter"]), (&Value::from(9), &Value::from(7)), "{}", ran.text);
    assert!(report["revert"].is_string(), "{}", ran.text);
    ran.says("not committed");
    ran.says("Fixes: ");
    // It is finished: the same command only tells it again.
    let again = history.bisect(&["--good", &history.commits[0].clone()]);
    assert_eq!(culprit(&again), wanted);
    assert_eq!(again.whole_report()["runs"], report["runs"]);

    // git takes over what was found out.
    let log = Command::new(VMM).args(["bisect", "log"]).output().unwrap();
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    let file = history.folder.path().join("log");
    fs::write(&file, &log).unwrap();
    history.git(&["checkout", "--quiet", "--", "."]);
    let said = history.git(&["bisect", "replay", &file.display().to_string()]);
    assert!(said.contains(&format!("{wanted} is the first bad commit")), "{said}\n{log}");
}

/// The command with a disk for checkouts and builds that has no room; `None` where users can't make such a thing.
fn on_a_full_disk(command: Command) -> Option<Output> {
    const FULL: &str =
        r#"work="$1" && shift && mkdir -p "$work" && mount -t tmpfs -o size=8k none "$work" && exec "$@""#;
    let mut inside = Command::new("unshare");
    inside.args(["--user", "--map-root-user", "--mount", "sh", "-c", FULL, "sh"]).arg(cache().join("work"));
    inside.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let may = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).status();
    may.is_ok_and(|status| status.success()).then(|| inside.output().expect("unshare can be started"))
}

/// Where this program keeps things.
fn cache() -> PathBuf {
    let given = |name| std::env::var_os(name).map(PathBuf::from);
    let home = || given("HOME").map(|home| home.join(".cache"));
    let vmm = || given("XDG_CACHE_HOME").or_else(home).map(|folder| folder.join("vmm"));
    given("VMM_CACHE").or_else(vmm).expect("there is a home")
}

/// A disk that is full decides nothing. Two at once ask the same: one waits for the other, and has its answer.
#[test]
fn killed_it_goes_on_and_runs_nothing_twice() {
    let history = History::of(&[FINE, FINE, FINE, FINE, WARNS, WARNS]);
    let options = ["--good", &history.commits[0]];
    if let Some(full) = on_a_full_disk(history.bisect_command(&options)) {
        let said = String::from_utf8_lossy(&full.stderr).into_owned();
        assert_eq!(full.status.code(), Some(3), "{said}");
        assert!(said.contains("no space left") && said.contains("the same command goes on"), "{said}");
    }
    {
        let _turn = Turn::take();
        let mut command = history.bisect_command(&options);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Some runs into it.
        thread::sleep(Duration::from_secs(15));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut other = history.bisect_command(&options);
    let other = other.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let ran = history.bisect(&options);
    let other = other.wait_with_output().unwrap();
    assert_eq!(culprit(&ran), history.commits[4], "{}", ran.text);
    ran.says("runs already");
    let other = String::from_utf8_lossy(&other.stdout).into_owned();
    assert!(other.contains(&format!("culprit   {}", &history.commits[4][..12])), "{other}");
    let all = |text: &str| {
        text.lines().filter(|line| line.starts_with("good ") || line.starts_with("bad ")).count()
    };
    let runs = usize::try_from(ran.whole_report()["runs"].as_u64().unwrap()).unwrap();
    assert!(all(&ran.text) + all(&other) < runs, "the killed one had some: {}\n{other}", ran.text);
}

#[test]
fn ends_that_are_not_as_said_are_told() {
    let history = History::of(&[WARNS, WARNS, FINE]);
    let both = history.bisect(&["--good", &history.commits[0], "--bad", &history.commits[1]]);
    assert_eq!(both.code, Some(2), "{}", both.text);
    both.says("at both ends");
    let swapped = history.bisect(&["--good", &history.commits[1], "--bad", &history.commits[2]]);
    assert_eq!(swapped.code, Some(2), "{}", swapped.text);
    swapped.says("have they been swapped");
    let order = history.bisect(&["--good", &history.commits[2], "--bad", &history.commits[1]]);
    assert_eq!(order.code, Some(2), "{}", order.text);
    order.says("is an ancestor of the good one");
    // The same question, the other way round: who mended it?
    let fixed = history.bisect(&["--fixed", "--bad", &history.commits[0]]);
    assert_eq!(culprit(&fixed), history.commits[2], "{}", fixed.text);
    fixed.says("mended by");
}

/// Where nothing that builds lies between, the commits are named that can't be told apart.
#[test]
fn a_culprit_behind_commits_that_do_not_build_is_in_a_range() {
    let history = History::of(&[FINE, BROKEN, WARNS]);
    let ran = history.bisect(&["--good", &history.commits[0]]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    let report = ran.whole_report();
    let named = report["commits"].as_array().unwrap().iter().map(|it| it["commit"].as_str().unwrap());
    assert_eq!(named.collect::<Vec<_>>(), history.commits[1..], "{}", ran.text);
    assert_eq!(report["skipped"][0]["subject"], "counter: step 1", "{}", ran.text);
    ran.says("one of");
}

/// A shallow clone with a submodule, in which the fault is, and a good end from which the bad one does not come.
#[test]
fn a_submodules_new_commit_is_the_culprit_in_a_shallow_clone() {
    let mut inner = History::new();
    inner.write("inner.h", "#define WHEN 0\n");
    inner.save("inner: never");
    inner.write("inner.h", "#define WHEN 1\n");
    inner.save("inner: always");
    let mut outer = History::new();
    let inner_place = inner.repository().display().to_string();
    [FINE, FINE].iter().for_each(|init| outer.commit(init));
    outer.git(&["submodule", "--quiet", "add", &inner_place, "module/inner"]);
    let at = |outer: &History, commit: usize| {
        git_in(&outer.repository().join("module/inner"), &["checkout", "--quiet", &inner.commits[commit]]);
    };
    at(&outer, 0);
    outer.write("module/Makefile", "obj-m := counter.o\nccflags-y := -include $(src)/inner/inner.h\n");
    outer.commit("WARN_ON(WHEN);");
    outer.git(&["checkout", "--quiet", "-b", "side"]);
    outer.write("notes", "aside");
    outer.save("on the side");
    outer.git(&["checkout", "--quiet", "main"]);
    at(&outer, 1);
    outer.save("module: take the newest inner");
    outer.commit("pr_info(\"more\\n\"); WARN_ON(WHEN);");
    // The first commit is not in it.
    let clone = outer.folder.path().join("clone");
    let from = format!("file://{}", outer.repository().display());
    let to = clone.display().to_string();
    git_in(
        outer.folder.path(),
        &["clone", "--quiet", "--depth=3", "--no-single-branch", "--recurse-submodules", &from, &to],
    );
    refused_in(&clone, &["--good", &outer.commits[0]], "it is a shallow clone");
    let ran = bisect(&clone, &["--good", "origin/side"]);
    assert_eq!(culprit(&ran), outer.commits[4], "{}", ran.text);
    ran.says("is no ancestor of");
    assert_eq!(ran.whole_report()["commits"][0]["files"], serde_json::json!(["module/inner"]));
}

/// Two good lines make a bad merge.
#[test]
fn a_merge_is_the_culprit_and_the_good_end_is_found_by_going_back() {
    let mut history = History::of(&[FINE]);
    history.git(&["checkout", "--quiet", "-b", "side"]);
    history.write("notes", "side");
    history.save("side");
    history.git(&["checkout", "--quiet", "main"]);
    history.commit(FINE);
    history.git(&["merge", "--quiet", "--no-commit", "--no-ff", "side"]);
    history.commit(WARNS);
    history.commit(WARNS);
    let ran = history.bisect(&[]);
    assert_eq!(culprit(&ran), history.commits[3], "{}", ran.text);
}

#[test]
fn what_git_bisect_run_calls_has_the_codes_that_git_knows() {
    let history = History::of(&[FINE, FINE, FINE, BROKEN, WARNS]);
    let code = |options: &[&str]| {
        let _turn = Turn::take();
        let mut command = Command::new(VMM);
        command.args(["run", "--bisect"]).args(options).arg(history.scenario()).stdin(Stdio::null());
        on_host(&mut command).output().unwrap().status.code()
    };
    let at = |commit: usize| history.git(&["checkout", "--quiet", "--detach", &history.commits[commit]]);
    at(0);
    assert_eq!(code(&[]), Some(0));
    at(3);
    assert_eq!(code(&[]), Some(125));
    at(4);
    assert_eq!(code(&[]), Some(1));
    assert_eq!(code(&["--bad-if", "KASAN"]), Some(125), "another fault");
    assert_eq!(code(&["--kernel", "nosuch"]), Some(125), "never 2, which git takes for bad");
    assert_eq!(code(&["scenaros/mine.yaml"]), Some(128), "a typo ends it");
}

/// A series of two patches, of which the second one warns while the kernel boots.
#[test]
#[ignore = "builds a kernel some times: make test-all"]
fn the_patch_of_a_series_is_named() {
    let folder = TempDir::new().unwrap();
    let series = folder.path().join("mine");
    fs::create_dir(&series).unwrap();
    let patch = |name: &str, before: &str, after: &str| {
        let text = format!(
            "--- a/init/version.c\n+++ b/init/version.c\n@@ -1,3 +1,3 @@\n-{before}\n+{after}\n /*\n  *  linux/init/version.c\n"
        );
        fs::write(series.join(name), text).unwrap();
    };
    let first = "// SPDX-License-Identifier: GPL-2.0-only";
    patch("1.patch", first, "// SPDX-License-Identifier: GPL-2.0-only, ours");
    patch("2.patch", "// SPDX-License-Identifier: GPL-2.0-only, ours", "#error no");
    fs::write(series.join("series"), "1.patch\n2.patch\n").unwrap();
    let scenario = folder.path().join("boots.yaml");
    fs::write(&scenario, "steps:\n  - sleep: 1 ms\n").unwrap();
    let mut command = Command::new(VMM);
    command.current_dir(root()).arg("bisect").arg("--series").arg(&series).arg("--scenario").arg(&scenario);
    on_host(command.args(["--bad-if", "error"]));
    let ran = reported(command);
    assert_eq!(culprit(&ran), "2.patch", "{}", ran.text);
}

#[track_caller]
fn refused_in(repository: &Path, options: &[&str], message: &str) {
    let output = bisect_command(repository, options).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(message), "`{message}` is not in:\n{text}");
}

#[track_caller]
fn refused(options: &[&str], scenario: &Path, message: &str) {
    let output = Command::new(VMM).arg("bisect").args(options).arg(scenario).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(message), "`{message}` is not in:\n{text}");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_built() {
    let history = History::of(&[FINE, WARNS]);
    let (scenario, repository) = (history.scenario(), history.repository().display().to_string());
    let modules = ["--modules", repository.as_str()];
    refused(&["--good", "v1"], &scenario, "say what to search");
    refused(&[&modules[..], &["--good", "nosuch"]].concat(), &scenario, "there is no commit `nosuch`");
    refused(&["--modules", "/", "--good", "v1"], &scenario, "is no git repository");
    refused(&[&modules[..], &["--good", "HEAD"]].concat(), &scenario, "both ends are the same commit");
    refused(&[&modules[..], &["--report", "junit=x"]].concat(), &scenario, "json=FILE or md=FILE");
    refused(&[&modules[..], &["--bad-if", "("]].concat(), &scenario, "regex");
    let other = history.folder.path().join("other.yaml");
    fs::write(&other, "steps:\n  - sleep: 1 ms\n").unwrap();
    refused(&[&modules[..], &["--good", "HEAD~1"]].concat(), &other, "none of the modules of");
}

/// What needs no module, and no Rust in the kernel.
const CALLS: &str = "\
steps:
  - syscall: umask
    args: [18]
  - syscall: umask
    args: [18]
    expect: {returns: 18}
  - syscall: membarrier
    args: [0, 0, 0]
";

fn of_kernels(folder: &Path) -> Command {
    fs::write(folder.join("calls.yaml"), CALLS).unwrap();
    fs::write(folder.join("less.config"), "# CONFIG_RUST is not set\n").unwrap();
    let mut command = Command::new(VMM);
    command.current_dir(folder).stdin(Stdio::null());
    on_host(&mut command);
    command
}

/// Six commits on top of Linux 6.12: one of documentation, one that does not build, the culprit, one behind it.
#[test]
#[ignore = "builds a kernel some times: make test-all"]
fn the_commit_of_a_kernels_history_is_named() {
    let folder = TempDir::new().unwrap();
    let base = linux::base(&base::cache::Cache::open().unwrap()).unwrap();
    let mut history = Linux::new(&folder.path().join("linux.git"), &base, 1).unwrap();
    let fault = "\treturn mask;\n}\n\nstatic int prctl_set";
    let worse = "\treturn mask | 01000;\n}\n\nstatic int prctl_set";
    let changes = [
        ("Documentation/admin-guide/README.rst", Edit::Comment),
        ("kernel/sys.c", Edit::Function),
        ("kernel/sys.c", Edit::Replace(fault, worse)),
        ("fs/pipe.c", Edit::Replace("#include <linux/mm.h>", "#include <linux/no-such-file.h>")),
        ("kernel/sys.c", Edit::Function),
        ("fs/pipe.c", Edit::Replace("#include <linux/no-such-file.h>", "#include <linux/mm.h>")),
    ];
    let mut last = 0;
    for (at, (file, edit)) in changes.into_iter().enumerate() {
        last = history.commit(last, &format!("change {at}"), file, edit).unwrap();
    }
    let history = history.finish().unwrap();
    let mut command = of_kernels(folder.path());
    command.args(["bisect", "--source", "linux.git", "--good", &history.commits[0], "--bad", "main"]);
    command.args(["--series", "none", "--fragment", "less.config", "--revert", "calls.yaml"]);
    let ran = reported(command);
    assert_eq!(culprit(&ran), history.commits[3], "{}", ran.text);
    let report = ran.whole_report();
    assert_eq!(report["proof"], "proven on fresh builds of the commit and its parents", "{}", ran.text);
    assert_eq!((&report["all"], &report["matter"]), (&Value::from(6), &Value::from(5)), "{}", ran.text);
    assert!(report["revert"].as_str().unwrap().starts_with("the fault is gone"), "{}", ran.text);
    ran.says("fail: step 2 (syscall umask");
}

/// Of four symbols that two configurations differ by, one takes the call away.
#[test]
#[ignore = "builds a kernel some times: make test-all"]
fn the_symbol_of_a_configuration_is_named() {
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("built.json");
    let mut run = of_kernels(folder.path());
    run.args(["run", "--fragment", "less.config", "calls.yaml", "--report"]);
    let output = run.arg(format!("json={}", report.display())).output().unwrap();
    let built = finished(&output, &report, Instant::now());
    built.ends_with("pass", 0);
    let hash = built.report()["kernel"]["hash"].as_str().unwrap();
    let good = fs::read_to_string(cache().join("kernels").join(hash).join("config")).unwrap();
    fs::write(folder.path().join("good.config"), &good).unwrap();
    let without = ["SIGNALFD", "ADVISE_SYSCALLS", "MEMBARRIER", "TIMERFD"];
    let bad = without.iter().fold(good.clone(), |config, symbol| {
        config.replace(&format!("CONFIG_{symbol}=y"), &format!("# CONFIG_{symbol} is not set"))
    });
    fs::write(folder.path().join("bad.config"), bad).unwrap();
    let mut command = of_kernels(folder.path());
    command.args(["bisect", "--config-good", "good.config", "--config-bad", "bad.config", "calls.yaml"]);
    let ran = reported(command);
    assert_eq!(culprit(&ran), "# CONFIG_MEMBARRIER is not set", "{}", ran.text);
    assert_eq!(ran.whole_report()["together"], false, "{}", ran.text);
}
