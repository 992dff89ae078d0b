//! Guests that boot, that start from a saved machine, and that go back to it: nobody can tell which by what comes of them.

use super::support::{Ran, fixture, root, run, run_events, run_with, shipped};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// What has to be the same: the verdicts of run and steps, the kernel's reports, and how often steps and programs made which
/// calls. The agent itself calls as often as there is something to pass on.
fn outcome(ended: &Value, steps: &[Value]) -> Value {
    let list = |name: &str| ended[name].as_array().unwrap_or_else(|| panic!("{name} is a list: {ended}"));
    let finding = |it: &Value| {
        json!([it["kind"], it["fingerprint"], it["gravity"], it["step"], it["count"], it["expected"]])
    };
    let findings: Vec<Value> = list("findings").iter().map(finding).collect();
    assert!(findings.iter().all(|finding| finding[0].is_string() && finding[1].is_string()), "{findings:?}");
    let call = |row: &Value| json!([row["door"], row["nr"], row["by"]["step"], row["by"]["program"]]);
    // How often a program is interrupted by a signal depends on how quick others were: of two that end at the same time a shell
    // hears by one or by two.
    const RT_SIGRETURN: u64 = 15;
    let calls = list("syscalls").iter().filter(|row| row["by"]["step"] != 0 || row["by"]["program"] != 0);
    let calls = calls.filter(|row| row["nr"] != RT_SIGRETURN);
    let calls: Vec<Value> = calls.map(call).collect();
    let steps: Vec<&Value> = steps.iter().map(|step| &step["verdict"]).collect();
    json!({ "verdict": ended["verdict"], "findings": findings, "syscalls": calls, "steps": steps })
}

fn of_report(ran: &Ran) -> Value {
    let report = ran.report();
    outcome(report, report["steps"].as_array().expect("steps are a list"))
}

/// A scenario on the same machine, which ends well: the next one goes back to where that began.
fn before(scenario: &Path, folder: &Path) -> PathBuf {
    let text = fs::read_to_string(scenario).expect("scenarios can be read");
    let machine = text.lines().filter(|line| line.starts_with("machine:") || line.starts_with("kernel:"));
    let machine: Vec<&str> = machine.collect();
    // The image has busybox if a scenario runs programs, or the kernel may.
    let programs = ["run:", "modprobe:", "modinfo:", "autoload:"].iter().any(|word| text.contains(word));
    let step = if programs { "- run: [/bin/true]" } else { "- syscall: getpid" };
    let path = folder.join("before.yaml");
    fs::write(&path, format!("name: before\n{}\nsteps:\n  {step}\n", machine.join("\n"))).expect("written");
    path
}

/// The same scenario once more: a file that is named twice runs once.
fn copy(scenario: &Path, name: &str) -> PathBuf {
    let path = scenario.with_file_name(name);
    fs::copy(scenario, &path).expect("copied");
    path
}

/// How each machine of a run came to be up.
fn starts(events: &[Value]) -> Vec<&Value> {
    let booted = events.iter().filter(|event| event["event"] == "booted");
    booted.map(|event| &event["start"]["from"]).collect()
}

/// Runs a scenario cold, from a saved machine, and after another one in the same process.
#[track_caller]
fn three_ways(scenario: &Path) {
    three_ways_with(scenario, &[]);
}

/// The same with these options, which name a kernel.
#[track_caller]
fn three_ways_with(scenario: &Path, options: &[&str]) {
    let name = scenario.display();
    let with = |more: &[&'static str]| [options, more].concat();
    let cold = run_with(scenario, &with(&["--cold"]));
    assert_eq!(cold.report()["start"]["from"], "boot", "{name}: {}", cold.text);
    let folder = TempDir::new().expect("a temporary folder can be made");
    let before = before(scenario, folder.path());
    // The first may be the one that makes it.
    let warm = match run_with(scenario, options) {
        first if first.report()["start"]["from"] == "saved" => first,
        _ => run_with(scenario, options),
    };
    assert_eq!(warm.report()["start"]["from"], "saved", "{name}: {}", warm.text);
    assert_eq!(of_report(&warm), of_report(&cold), "{name}, warm and cold:\n{}\n{}", warm.text, cold.text);
    // The first starts from the saved machine, and the others go back to it.
    let again = copy(&before, "again.yaml");
    let (ran, events) = run_events(&[&before, &again, scenario], &with(&["--verify-reset"]));
    let starts = starts(&events);
    assert_eq!(starts[1..], ["reset", "reset"], "{name}: {}", ran.text);
    let of_last: Vec<&Value> = events.iter().filter(|event| event["scenario"] == name.to_string()).collect();
    let ended = of_last.iter().find(|event| event["event"] == "ended").expect("it ended");
    let steps: Vec<Value> =
        of_last.iter().filter(|event| event["event"] == "step").map(|step| (*step).clone()).collect();
    let after = outcome(ended, &steps);
    let mut wanted = of_report(&cold);
    // Of steps that were not reached there is no event.
    let reached = wanted["steps"].as_array_mut().expect("a list");
    reached.retain(|verdict| *verdict != "not-run");
    assert_eq!(after, wanted, "{name}, after a reset and cold:\n{}\n{}", ran.text, cold.text);
}

#[test]
fn shipped_scenarios_come_to_the_same() {
    ["hello.yaml", "syscall.yaml", "chardev.yaml"].iter().for_each(|name| three_ways(&shipped(name)));
}

#[test]
fn more_shipped_scenarios_come_to_the_same() {
    ["memfs.yaml", "modsyscall.yaml", "modprobe.yaml", "autoload.yaml"]
        .iter()
        .for_each(|name| three_ways(&shipped(name)));
}

#[test]
fn dead_and_damaged_kernels_come_to_the_same() {
    ["panics", "oopses", "warns", "bugs", "warn-allowed"]
        .iter()
        .for_each(|name| three_ways(&fixture(&format!("{name}.yaml"))));
}

#[test]
fn hangs_come_to_the_same() {
    ["deadlocks", "spins"].iter().for_each(|name| three_ways(&fixture(&format!("{name}.yaml"))));
}

#[test]
fn entries_that_move_and_two_processors_come_to_the_same() {
    ["moves", "two-cpus", "count"].iter().for_each(|name| three_ways(&fixture(&format!("{name}.yaml"))));
}

/// Those that a run of all tests has time for are above.
#[test]
#[ignore = "takes ten minutes: make test-all"]
fn all_other_fixtures_come_to_the_same() {
    let above = [
        "panics",
        "oopses",
        "warns",
        "bugs",
        "warn-allowed",
        "deadlocks",
        "spins",
        "moves",
        "two-cpus",
        "count",
    ];
    // The first two boot no guest, the next two none that could be saved, one takes as long as all others, and of one it depends on
    // this machine how many of its lines can be read in time.
    let cannot = ["broken", "circle", "no-init", "no-time-to-boot", "long", "floods"];
    let files = fs::read_dir(fixture("")).expect("there are fixtures");
    let names = files.map(|file| file.expect("it can be read").file_name().into_string().expect("a name"));
    let mut names: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".yaml")?.to_owned())).collect();
    names.retain(|name| !above.contains(&name.as_str()) && !cannot.contains(&name.as_str()));
    names.sort();
    assert!(names.len() > 20, "{names:?}");
    let differs =
        |name: &String| std::panic::catch_unwind(|| three_ways(&fixture(&format!("{name}.yaml")))).is_err();
    let different: Vec<String> = names.into_iter().filter(differs).collect();
    assert_eq!(different, Vec::<String>::new());
}

#[test]
#[ignore = "builds a kernel for ten minutes, and needs Debian's package: make test-all"]
fn other_kernels_come_to_the_same() {
    let package =
        std::env::var("VMM_DEBIAN_KERNEL").expect("VMM_DEBIAN_KERNEL names a linux-image package's file");
    for kernel in ["7.3", &package] {
        let options = &["--kernel", kernel];
        three_ways_with(&shipped("hello.yaml"), options);
        // Debian's has no call of the project's own.
        let more = if kernel == "7.3" { &["two-cpus"][..] } else { &[] };
        [&["panics", "oopses", "warns", "deadlocks"], more]
            .concat()
            .iter()
            .for_each(|name| three_ways_with(&fixture(&format!("{name}.yaml")), options));
    }
}

/// Runs these with a saved machine there that `first` has made. A host that lives for one command alone has it from the same.
#[track_caller]
fn behind(first: &Path, scenarios: &[&Path], options: &[&str]) -> (Ran, Vec<Value>) {
    if !options.contains(&"emulated-intel") {
        run_with(first, options);
        return run_events(scenarios, options);
    }
    let first = copy(first, "first-of-all.yaml");
    let all: Vec<&Path> = [&*first].into_iter().chain(scenarios.iter().copied()).collect();
    let (ran, mut events) = run_events(&all, options);
    events.retain(|event| event["scenario"] != first.display().to_string());
    (ran, events)
}

const INTEL: &[&str] = &["--host", "emulated-intel"];

/// Cold in one host, and one after the other in another one, where they start from what was saved or go back to it.
#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_guests_come_to_the_same_cold_warm_and_after_a_reset() {
    let of_fixtures =
        ["panics", "oopses", "warns", "bugs", "warn-allowed", "moves", "two-cpus", "count", "deadlocks"];
    let fixtures = of_fixtures.map(|name| fixture(&format!("{name}.yaml")));
    let of_shipped = ["hello", "syscall", "chardev", "memfs", "modsyscall", "modprobe"];
    let all: Vec<PathBuf> =
        of_shipped.iter().map(|name| shipped(&format!("{name}.yaml"))).chain(fixtures).collect();
    let paths: Vec<&Path> = all.iter().map(PathBuf::as_path).collect();
    let (cold, of_cold) = run_events(&paths, &[INTEL, &["--cold"]].concat());
    assert!(starts(&of_cold).iter().all(|from| *from == "boot"), "{}", cold.text);
    // Twice, so that each comes behind one that went well.
    let folder = TempDir::new().expect("a temporary folder can be made");
    let mut mixed = Vec::new();
    for (number, path) in all.iter().enumerate() {
        let before = before(path, folder.path());
        let own = before.with_file_name(format!("before-{number}.yaml"));
        fs::rename(before, &own).expect("renamed");
        mixed.extend([own, path.clone()]);
    }
    let mixed: Vec<&Path> = mixed.iter().map(PathBuf::as_path).collect();
    let (warm, of_warm) = run_events(&mixed, &[INTEL, &["--verify-reset"]].concat());
    for way in ["saved", "reset"] {
        assert!(starts(&of_warm).iter().filter(|from| **from == way).count() > 3, "{way}: {}", warm.text);
    }
    for path in &all {
        let of = |events: &[Value]| {
            let its: Vec<&Value> =
                events.iter().filter(|event| event["scenario"] == path.display().to_string()).collect();
            let ended = its.iter().find(|event| event["event"] == "ended").expect("it ended");
            let steps: Vec<Value> =
                its.iter().filter(|event| event["event"] == "step").map(|step| (*step).clone()).collect();
            outcome(ended, &steps)
        };
        assert_eq!(of(&of_warm), of(&of_cold), "{}:\n{}\n{}", path.display(), warm.text, cold.text);
    }
}

#[test]
#[ignore = "needs ./setup intel and minutes: make test-all"]
fn intel_machines_are_left_clean_and_alike_in_nothing_but_what_was_saved() {
    nothing_is_left(INTEL);
    forks_differ(INTEL);
    goes_back_unless_it_went_wrong(INTEL);
}

/// A word that one scenario leaves wherever it can, and the next one looks for.
#[test]
fn nothing_of_one_scenario_is_left_in_the_next() {
    nothing_is_left(&[]);
}

fn nothing_is_left(options: &[&str]) {
    const LEAVES: &str = r#"name: leaves
steps:
  - run: [/bin/sh, -c, "echo left-be-hind > /tmp/mark; echo left-be-hind > /dev/kmsg; echo left-be-hind; hostname left-be-hind; sysctl -w kernel.domainname=left-be-hind; mkdir /left-be-hind; (while true; do sleep 1; done) &"]
"#;
    const LOOKS: &str = r#"name: looks
steps:
  - name: no file, no host, no folder, no process of it
    run: [/bin/sh, -c, "ls /tmp /; hostname; cat /proc/sys/kernel/domainname; dmesg; ps"]
    expect: {stdout: {lacks: left-be-hind}}
  - name: nor anywhere in memory but where it is looked for
    run: [/bin/sh, -c, "test -e /dev/mem || exit 0; a=left-be; ! grep -q $a-hind /proc/self/environ"]
"#;
    let folder = TempDir::new().expect("a temporary folder can be made");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let (leaves, looks) = (write("leaves.yaml", LEAVES), write("looks.yaml", LOOKS));
    let verified = [options, &["--verify-reset"]].concat();
    let again = copy(&looks, "again.yaml");
    let (ran, events) = behind(&looks, &[&leaves, &looks, &again], &verified);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    let from = starts(&events);
    assert_eq!(from, ["saved", "reset", "reset"], "{}", ran.text);
    // Neither on its console, nor in its log.
    let of_looks = events.iter().filter(|event| event["scenario"] == looks.display().to_string());
    for event in of_looks.filter(|event| event["event"] == "console" || event["event"] == "log") {
        assert!(!event["text"].as_str().is_some_and(|text| text.contains("left-be-hind")), "{event}");
    }
}

#[test]
fn forks_draw_different_numbers_and_know_the_time_and_their_clocks_and_timers_go_on() {
    forks_differ(&[]);
}

fn forks_differ(options: &[&str]) {
    const DRAWS: &str = r#"name: draws
steps:
  - run: [/bin/sh, -c, "cat /proc/sys/kernel/random/uuid; date +%s; cat /proc/uptime; sleep 0.2; cat /proc/uptime; cat /proc/sys/kernel/random/boot_id"]
"#;
    let folder = TempDir::new().expect("a temporary folder can be made");
    let path = folder.path().join("draws.yaml");
    fs::write(&path, DRAWS).expect("written");
    let others = ["second.yaml", "third.yaml"].map(|name| copy(&path, name));
    // So that a clock that only goes on would be seen in the next one.
    let slow = folder.path().join("slow.yaml");
    fs::write(&slow, format!("{DRAWS}  - sleep: 8 s\n")).expect("written");
    let seconds = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let before = seconds();
    let (ran, events) = behind(&path, &[&slow, &others[0], &others[1]], options);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    assert_eq!(starts(&events), ["saved", "reset", "reset"], "{}", ran.text);
    let printed: Vec<Vec<String>> = events
        .iter()
        .filter(|event| event["event"] == "step" && event["output"].is_string())
        .map(|step| step["output"].as_str().expect("it prints").lines().map(str::to_owned).collect())
        .collect();
    assert_eq!(printed.len(), 3);
    let mut numbers: Vec<&String> = printed.iter().map(|lines| &lines[0]).collect();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 3, "{printed:?}");
    // An emulated Intel host has a time of its own, and hands that on. Another one that was saved has that of its saving, until it is told.
    let now = match options {
        [] => before - 2..=seconds() + 2,
        _ => 999_999_880..=1_000_000_120,
    };
    let uptime = |line: &str| line.split(' ').next().unwrap().parse::<f64>().unwrap();
    let began = uptime(&printed[0][2]);
    for lines in &printed {
        let time: u64 = lines[1].parse().expect("seconds");
        assert!(now.contains(&time), "{time}, where it is {now:?}");
        let (first, second) = (uptime(&lines[2]), uptime(&lines[3]));
        // It goes on from where it was saved, whenever that was, and whatever came in between.
        assert!(
            (first - began).abs() < 7.0 && first < 60.0 && (0.15..20.0).contains(&(second - first)),
            "{lines:?}"
        );
    }
}

/// What went wrong in a guest may be anywhere in it: the next scenario gets another one.
#[test]
fn nobody_goes_back_after_a_run_that_went_wrong() {
    goes_back_unless_it_went_wrong(&[]);
}

fn goes_back_unless_it_went_wrong(options: &[&str]) {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let [before, between, after] = ["before", "between", "after"].map(|name| {
        let path = folder.path().join(format!("{name}.yaml"));
        fs::write(&path, format!("name: {name}\nsteps:\n  - syscall: getpid\n")).expect("written");
        path
    });
    let [warns, oopses] = ["warns.yaml", "oopses.yaml"].map(fixture);
    let (ran, events) = behind(&before, &[&before, &warns, &between, &oopses, &after], options);
    assert_eq!(starts(&events), ["saved", "reset", "saved", "reset", "saved"], "{}", ran.text);
    ran.says("after: 1 step");
}

/// Where one changes the kernel's text, and may, the next one finds it as it was, and answers for nothing.
#[test]
fn nobody_answers_for_what_another_changed() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let [first, probes, innocent] = ["first", "probes", "innocent"].map(|name| {
        let path = folder.path().join(format!("{name}.yaml"));
        let module = root().join("tests/hostile/modules/probes");
        let text = match name {
            "probes" => format!(
                "name: {name}\nmodules: [{}]\nevidence: kprobes\nsteps:\n  - insmod: probes\n  - rmmod: probes\n",
                module.display()
            ),
            _ => format!("name: {name}\nsteps:\n  - syscall: getpid\n"),
        };
        fs::write(&path, text).expect("written");
        path
    });
    let (ran, events) = behind(&first, &[&probes, &innocent], &["--verify-reset"]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    assert_eq!(starts(&events), ["saved", "reset"], "{}", ran.text);
}

#[test]
fn what_is_demanded_cold_boots() {
    let text = fs::read_to_string(shipped("syscall.yaml")).expect("it can be read");
    let cold = text.replacen("\nsteps:", "\nmachine: {cold: true}\n\nsteps:", 1);
    assert_ne!(cold, text, "there is a place for it");
    let path = root().join("scenarios").join(".cold-test.yaml");
    fs::write(&path, cold).expect("written");
    let ran = run(&path);
    let _ = fs::remove_file(&path);
    assert_eq!(
        (&ran.report()["start"]["from"], &ran.report()["start"]["saved_as"]),
        (&json!("boot"), &json!(null))
    );
}

#[test]
fn twenty_megabytes_of_files_arrive() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let content = folder.path().join("content");
    fs::create_dir(&content).unwrap();
    for number in 0..200u32 {
        let bytes: Vec<u8> =
            (0..100 << 10).map(|byte: u32| (byte.wrapping_mul(number + 1) >> 3) as u8).collect();
        fs::write(content.join(format!("{number:03}")), bytes).unwrap();
    }
    let path = folder.path().join("files.yaml");
    let text = "name: files\nmachine: {memory: 256 MiB}\ntimeout: 120 s\nfiles: {/opt/content: content}\nsteps:\n  - run: [/bin/sh, -c, \"cat /opt/content/* | md5sum; ls /opt/content | wc -l\"]\n";
    fs::write(&path, text).unwrap();
    let (cold, warm) = (run_with(&path, &["--cold"]), run_with(&path, &[]));
    let warm = if warm.report()["start"]["from"] == "boot" { run_with(&path, &[]) } else { warm };
    let printed = |ran: &Ran| ran.report()["steps"][0]["output"].clone();
    assert_eq!(warm.report()["start"]["from"], "saved");
    assert!(printed(&cold).as_str().unwrap().ends_with("200\n"), "{}", printed(&cold));
    assert_eq!(printed(&warm), printed(&cold));
}

#[test]
fn a_kernel_that_is_tainted_by_its_command_line_goes_back_as_well() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let [one, two] = ["one", "two"].map(|name| {
        let path = folder.path().join(format!("{name}.yaml"));
        let text = format!(
            "name: {name}\nmachine: {{command-line: clearcpuid=smap}}\nsteps:\n  - syscall: getpid\n"
        );
        fs::write(&path, text).expect("written");
        path
    });
    run_with(&one, &[]);
    let (ran, events) = run_events(&[&one, &two], &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    let from = starts(&events);
    assert_eq!(from, ["saved", "reset"], "{}", ran.text);
}
