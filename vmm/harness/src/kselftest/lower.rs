//! A collection as a scenario.

use super::{
    Wish,
    build::{Broken, Built, text_within},
    select::Asked,
};
use crate::{Abort, written::written};
use base::cache::Cache;
use jail::{Refused, intake};
use kernel::Kernel;
use scenario::Scenario;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};
use walkdir::WalkDir;

/// What runner.sh gives a test whose collection says nothing, in seconds.
const TIMEOUT: u32 = 45;
/// A collection that wants no limit gets this one, in seconds: somebody waits for the end.
const NO_TIMEOUT: u32 = 3600;
/// A scenario takes no more.
const LONGEST: u32 = 86_400;
/// A slow host's tests have so many times as long as their collection says, which is meant for a machine.
pub const PATIENCE: u32 = 10;

/// How a test can be run, or why it can't.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    Run,
    /// This machine, or the guest, lacks something for it.
    Skip(String),
    /// It is the test's own fault.
    Fail(String),
}

/// Writes the scenario down, where `vmm run` finds it too, and reads it. `lacking` is what the collection asks of the kernel in
/// vain.
pub fn scenario(
    asked: &Asked,
    built: &Built,
    kernel: &Kernel,
    lacking: &[String],
    slow: bool,
    wish: &Wish,
    cache: &Cache,
) -> Result<Scenario, Abort> {
    let Asked { collection, .. } = asked;
    let tests: Vec<String> = built.tests.iter().filter(|test| asked.wants(test)).cloned().collect();
    if tests.is_empty() {
        return Err(Abort::input(format!(
            "the collection `{collection}` has none of these tests (it has: {})",
            built.tests.join(", ")
        )));
    }
    // Those that collections asked for.
    let modules = Some(kernel.map.with_file_name("lib").join("modules")).filter(|path| path.is_dir());
    let text = compose(collection, &tests, built, &kernel.hash, modules.as_deref(), slow, wish)?;
    let name = format!("kselftest-{}", collection.replace('/', "-"));
    let mut scenario = written(&name, &(asked, &wish.guest, wish.timeout), &text, cache)?;
    if !lacking.is_empty() {
        let symbols = lacking.join(", ");
        scenario.notes.push(format!("this kernel lacks what `{collection}` asks for: {symbols}"));
    }
    Ok(scenario)
}

/// The scenario's text: YAML in which each step has a line of its own.
fn compose(
    collection: &str,
    tests: &[String],
    built: &Built,
    kernel: &str,
    modules: Option<&Path>,
    slow: bool,
    wish: &Wish,
) -> Result<String, Abort> {
    let settings = text_within(&built.install, Path::new(collection).join("settings"))?;
    let own = || timeout(&settings).unwrap_or(TIMEOUT).saturating_mul(if slow { PATIENCE } else { 1 });
    let timeout = match wish.timeout.unwrap_or_else(own) {
        0 => NO_TIMEOUT,
        seconds => seconds.min(LONGEST),
    };
    let mut files = json!({"/": built.root, "/kselftest": built.install});
    if let Some(modules) = modules {
        files["/lib/modules"] = json!(modules);
    }
    let head: [(&str, Value); 7] = [
        ("name", json!(format!("kselftest {collection}"))),
        ("tags", json!(["kselftest"])),
        ("kernel", json!({"name": kernel})),
        ("machine", wish.guest.machine(room(built), if slow { 1 } else { 2 })),
        // Tests use debug registers, and have the kernel patch its text: all that is theirs here.
        ("count", json!(false)),
        ("autoload", json!(true)),
        ("files", files),
    ];
    let mut text = "# Written by vmm kselftest.\n".to_owned();
    for (name, value) in head {
        _ = writeln!(text, "{name}: {value}");
    }
    let prepare =
        json!({"name": "prepare the guest", "run": ["/bin/sh", "/kselftest.prepare"], "ktap": "ignored"});
    _ = writeln!(text, "steps:\n- {prepare}");
    for test in tests {
        let words = match way(collection, test, built) {
            Way::Run => {
                let words = [SH, "/kselftest.run", collection, test];
                words.into_iter().chain(slow.then_some("emulated")).map(scenario::literal).collect()
            }
            Way::Skip(why) => vec![SH.into(), "-c".into(), SKIP.into(), scenario::literal(&why)],
            Way::Fail(why) => vec![SH.into(), "-c".into(), FAIL.into(), scenario::literal(&why)],
        };
        let step = json!({"name": test, "run": words, "timeout": format!("{timeout} s")});
        _ = writeln!(text, "- {step}");
    }
    Ok(text)
}

/// Room for what comes in, in MiB. That is in an emulated host's memory several times on its way; some tests are programs with
/// tens of MiB of nothing in them.
fn room(built: &Built) -> u64 {
    let files = [&built.root, &built.install].map(WalkDir::new);
    let sizes = files.into_iter().flatten().flatten().filter_map(|entry| Some(entry.metadata().ok()?.len()));
    // Of nothing but holes there may be more than a number can say.
    4 * sizes.fold(0, u64::saturating_add).div_ceil(1 << 20)
}

const SH: &str = "/bin/sh";
/// The reason is the script's name.
const SKIP: &str = "echo KTAP version 1; echo \"1..0 # SKIP $0\"";
const FAIL: &str = "echo \"$0\" >&2; exit 1";

/// The time limit in a collection's `settings`, in seconds.
fn timeout(settings: &str) -> Option<u32> {
    let value = |line: &str| line.trim().strip_prefix("timeout=")?.trim().parse().ok();
    settings.lines().filter_map(value).next_back()
}

fn way(collection: &str, test: &str, built: &Built) -> Way {
    let folder = Path::new(collection);
    let opened = intake::within(&built.install, folder.join(test)).and_then(|path| {
        let file = intake::open(&path, u64::MAX)?;
        let metadata = file.metadata().map_err(|source| Refused::Io { path, source })?;
        Ok((file, metadata.permissions().mode()))
    });
    let (file, mode) = match opened {
        Ok(opened) => opened,
        Err(Refused::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return match built.broken.get(test) {
                Some(Broken { why, lacks: true }) => {
                    Way::Skip(format!("it was not built, for this machine lacks something: {why}"))
                }
                Some(Broken { why, .. }) => Way::Fail(format!("it was not built: {why}")),
                None => Way::Fail("it was not built; the selftests' own makefile says no reason".to_owned()),
            };
        }
        Err(why) => return Way::Fail(format!("failed to {why}")),
    };
    let mut first = Vec::new();
    // A folder gives nothing, and fails in the guest.
    _ = file.take(256).read_to_end(&mut first);
    let first = String::from_utf8_lossy(&first).lines().next().unwrap_or_default().to_owned();
    match first.strip_prefix("#!") {
        Some(words) => match interpreter(words) {
            Some(name) if has(built, name) => Way::Run,
            Some(name) => Way::Skip(format!("it is a script for {name}, which guests do not have")),
            None => Way::Fail(format!("its first line names no interpreter: {first}")),
        },
        None if mode & 0o100 == 0 && !built.install.join(folder).join("ksft_runner.sh").is_file() => {
            Way::Fail("it is neither executable nor a script".to_owned())
        }
        None => Way::Run,
    }
}

/// The program in `/usr/bin/env -S NAME`, or in a path.
fn interpreter(words: &str) -> Option<&str> {
    let mut words = words.split_whitespace();
    let mut program = words.next()?;
    if program.rsplit('/').next() == Some("env") {
        program = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    }
    program.rsplit('/').next().filter(|name| !name.is_empty())
}

/// Whether the guest has a program: one of this machine's, or busybox's.
fn has(built: &Built, name: &str) -> bool {
    built.root.join("usr/bin").join(name).exists() || ["sh", "awk", "sed"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Guest;
    use std::{
        collections::BTreeMap,
        fs,
        os::unix::{fs::symlink, net::UnixListener},
    };

    fn built(place: &Path, broken: BTreeMap<String, Broken>) -> Built {
        let (install, root) = (place.join("install"), place.join("root"));
        Built { install, root, tests: Vec::new(), broken }
    }

    #[test]
    fn the_last_limit_in_the_settings_counts() {
        assert_eq!(timeout("# why\ntimeout=120\n"), Some(120));
        assert_eq!(timeout("timeout=0"), Some(0));
        assert_eq!(timeout("#timeout=5\nother=1\ntimeout=x\n"), None);
    }

    #[test]
    fn an_interpreter_is_known_by_its_name() {
        assert_eq!(interpreter(" /bin/sh -e"), Some("sh"));
        assert_eq!(interpreter("/usr/bin/env -S python3 -u"), Some("python3"));
        assert_eq!(interpreter("/usr/bin/env A=b bash"), Some("bash"));
        assert_eq!(interpreter("/usr/bin/env"), None);
        assert_eq!(interpreter(" "), None);
    }

    #[test]
    fn a_test_that_cannot_run_says_why_and_whose_fault_it_is() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("install/a");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(place.path().join("root/usr/bin")).unwrap();
        fs::write(place.path().join("root/usr/bin/bash"), "").unwrap();
        let broken = |why: &str, lacks| Broken { why: why.to_owned(), lacks };
        let broken =
            [("lacks".to_owned(), broken("-lcap", true)), ("bad".to_owned(), broken("x.c:1", false))];
        let built = built(place.path(), broken.into());
        let file = |name: &str, mode: u32, text: &str| {
            fs::write(folder.join(name), text).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        file("script.sh", 0o644, "#!/bin/bash\n");
        file("tool.py", 0o755, "#!/usr/bin/env python3\n");
        file("program", 0o755, "\x7fELF");
        file("data", 0o644, "words\n");
        file("odd", 0o755, "#!\n");
        symlink("program", folder.join("link")).unwrap();
        symlink("/dev/zero", folder.join("endless")).unwrap();
        let _socket = UnixListener::bind(folder.join("socket")).unwrap();
        let way = |test: &str| way("a", test, &built);
        assert_eq!([way("script.sh"), way("program"), way("link")], [Way::Run, Way::Run, Way::Run]);
        assert!(matches!(way("tool.py"), Way::Skip(why) if why.contains("python3")));
        assert!(matches!(way("lacks"), Way::Skip(why) if why.contains("-lcap")));
        assert!(matches!(way("bad"), Way::Fail(why) if why.contains("x.c:1")));
        assert!(matches!(way("never"), Way::Fail(why) if why.contains("no reason")));
        assert!(matches!(way("data"), Way::Fail(why) if why.contains("neither")));
        assert!(matches!(way("odd"), Way::Fail(why) if why.contains("interpreter")));
        for test in ["endless", "/etc/passwd", "../../../../../../../../etc/passwd"] {
            assert!(matches!(way(test), Way::Fail(why) if why.contains("outside of")), "{test}");
        }
        assert!(matches!(way("socket"), Way::Fail(why) if why.contains("a socket")));
        file("ksft_runner.sh", 0o755, "#!/bin/bash\n");
        assert_eq!(way("data"), Way::Run);
    }

    #[test]
    fn what_is_written_is_a_scenario() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("install/a/b");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(place.path().join("root")).unwrap();
        for name in ["one", "two: {x}", "three\"${x}"] {
            fs::write(folder.join(name), "\x7fELF").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(folder.join("settings"), "timeout=7\n").unwrap();
        let tests = ["one", "two: {x}", "three\"${x}"].map(str::to_owned).to_vec();
        let built = built(place.path(), BTreeMap::new());
        let text = compose("a/b", &tests, &built, "abcd", None, false, &wish()).unwrap();
        let path = place.path().join("a.yaml");
        fs::write(&path, text).unwrap();
        let scenario = scenario::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(
            (scenario.name.as_str(), scenario.steps.len(), scenario.count),
            ("kselftest a/b", 4, false)
        );
        assert_eq!(scenario.steps[1].timeout.as_secs(), 7);
        assert_eq!(scenario.steps[2].name.as_deref(), Some("two: {x}"));
        let scenario::model::Action::Run { argv, .. } = &scenario.steps[3].action else {
            panic!("no program")
        };
        let last = scenario::model::Data::of_text(argv.last().unwrap());
        assert!(last.names().next().is_none() && last.written().ends_with(b"three\"${x}"), "{argv:?}");
        assert!(scenario.files.iter().any(|file| file.guest == "/kselftest/a/b/one"));
        assert!(scenario.steps[1].line + 1 == scenario.steps[2].line);
        let slow = |wish| {
            compose("a/b", &tests, &built, "abcd", None, true, &wish).unwrap().matches("\"70 s\"").count()
        };
        assert_eq!((slow(wish()), slow(Wish { timeout: Some(9), ..wish() })), (3, 0));
    }

    fn wish() -> Wish {
        let guest = Guest { kernel: Default::default(), memory_mib: 512, vcpus: None };
        Wish { guest, tests: Vec::new(), timeout: None }
    }
}
