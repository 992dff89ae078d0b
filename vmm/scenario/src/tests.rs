//! The language as a user meets it: what loads, and the text of what does not.

use super::model::{Action, Argument, Layout, Num};
use crate::fixture::{CHARDEV, HELLO, SYSCALL, damaged, scenario, try_load};
use proptest::prelude::*;
use std::time::Duration;

fn errors(text: &str) -> String {
    try_load(text.as_bytes()).expect_err("this scenario should not load")
}

/// A scenario of these steps.
fn steps(steps: &str) -> String {
    format!("modules: [../modules/chardev]\nsteps:\n{steps}")
}

#[test]
fn the_shipped_scenarios_load() {
    assert_eq!(scenario(CHARDEV).name, "chardev");
    assert_eq!(scenario(HELLO).modules[0].names, ["helloModule"]);
    assert_eq!(scenario(SYSCALL).steps.last().map(|step| step.repeat), Some(1000));
}

/// Each value has its place, and to find it takes no longer in a large file.
#[test]
fn a_large_scenario_is_read_at_once() {
    let before = std::time::Instant::now();
    let text = steps(&"- sleep: 1 ms\n".repeat(20_000));
    let _ = try_load(text.as_bytes());
    let one_line = format!("steps: [{}]\n", "{sleep: 1 ms}, ".repeat(20_000));
    let _ = try_load(one_line.as_bytes());
    assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
}

#[test]
fn places_are_right_behind_characters_of_several_bytes() {
    let error = errors("name: \u{e4}\u{1f600}\nsteps:\n- {sleep: \u{e4} , timeut: 1 s}\n");
    assert!(error.contains("timeut") && error.contains("^^^^^^"), "{error}");
}

#[test]
fn defaults_and_units_are_as_the_reference_says() {
    let plain = scenario("steps:\n- sleep: 200 ms\n");
    assert_eq!((plain.machine.memory_mib, plain.machine.vcpus, plain.machine.checks), (128, 1, true));
    assert_eq!(
        (plain.boot_timeout, plain.steps[0].timeout),
        (Duration::from_secs(60), Duration::from_secs(10))
    );
    assert_eq!(plain.name, "test");
    let text = "machine: {memory: 1 GiB, cpus: 2, checks: false}\nkernel: 6.10\ntimeout: 1.5 s\nboot-timeout: 2 min\nsteps:\n- {sleep: 1 s, timeout: 3 s}\n- sleep: 1 s\n";
    let full = scenario(text);
    assert_eq!((full.machine.memory_mib, full.machine.vcpus, full.machine.checks), (1024, 2, false));
    assert_eq!(full.evidence, crate::model::Watchfulness::Full);
    let probes = scenario("needs: {config: [CONFIG_KPROBES]}\nsteps:\n- sleep: 1 s\n");
    assert_eq!(probes.evidence, crate::model::Watchfulness::Kprobes);
    let strict = scenario("needs: {config: [CONFIG_KPROBES]}\nevidence: full\nsteps:\n- sleep: 1 s\n");
    assert_eq!(strict.evidence, crate::model::Watchfulness::Full);
    assert!(full.count && !scenario("count: false\nsteps:\n- sleep: 1 s\n").count);
    assert_eq!(full.kernel.kernel.as_deref(), Some("6.10"), "a version is no number");
    assert_eq!(full.boot_timeout, Duration::from_secs(120));
    assert_eq!(full.steps[0].timeout, Duration::from_secs(3));
    assert_eq!(full.steps[1].timeout, Duration::from_millis(1500));
}

#[test]
fn a_number_in_quotes_is_a_string() {
    let scenario = scenario("steps:\n- syscall: 1\n  args: [42, \"42\", -1, null, {out: 16}]\n");
    let Action::Syscall { args, .. } = &scenario.steps[0].action else { panic!("no system call") };
    assert_eq!(args[0], Argument::Num(Num::Int(42)));
    assert_eq!(args[1], Argument::Text("42".into()));
    assert_eq!(args[2], Argument::Num(Num::Int(-1)));
    assert_eq!(args[4], Argument::Out(Layout::Bytes(16)));
}

/// The text that a user sees, for each mistake.
#[test]
fn mistakes_are_shown_with_their_line_and_the_right_name() {
    let cases: &[(&str, String)] = &[
        ("not_yaml", "steps:\n  - insmod: [chardev\n  - rmmod: chardev\n".into()),
        ("unclosed_quote", "name: \"chardev\nsteps:\n- sleep: 1 s\n".into()),
        ("tab", "steps:\n\t- sleep: 1 s\n".into()),
        ("no_steps", "name: x\n".into()),
        ("steps_is_a_map", "steps:\n  sleep: 1 s\n".into()),
        ("a_list_at_the_top", "- sleep: 1 s\n".into()),
        ("unknown_top_field", "kernal: 6.12\nsteps:\n- sleep: 1 s\n".into()),
        ("unknown_step", steps("  - insmodd: chardev\n")),
        ("unknown_field", steps("  - insmod: chardev\n    parms: {a: 1}\n")),
        ("two_actions", steps("  - insmod: chardev\n    rmmod: chardev\n")),
        ("no_action", steps("  - name: nothing\n")),
        ("unknown_errno", steps("  - rmmod: chardev\n    expect: EWOULDBLOK\n")),
        ("unknown_expectation", steps("  - sleep: 1 s\n    expect: {retruns: 0}\n")),
        ("empty_text", steps("  - run: ls\n    expect: {stdout: {lacks: ''}, log: {has: ''}}\n")),
        ("exit_status_that_there_is_not", steps("  - run: ls\n    expect: 300\n")),
        ("less_often_than_never", "expect: {syscalls: {getpid: {at-most: -1}}}\nsteps:\n- sleep: 1 s\n".into()),
        ("unknown_flag", steps("  - open: /dev/x\n    flags: [raed]\n")),
        ("unknown_type", steps("  - syscall: getpid\n    args: [{out: lnog, as: x}]\n")),
        ("wrong_type", steps("  - sleep: soon\n")),
        ("missing_field", steps("  - write: 1\n")),
        ("unknown_module", steps("  - insmod: chardve\n")),
        ("unknown_name", steps("  - open: /dev/x\n    as: fd\n  - close: $df\n")),
        ("used_before", steps("  - close: $fd\n  - open: /dev/x\n    as: fd\n")),
        ("named_twice", steps("  - open: /a\n    as: fd\n  - open: /b\n    as: fd\n")),
        ("bytes_as_number", steps("  - syscall: 1\n    args: [{out: 8, as: b}]\n  - close: $b\n")),
        ("dollar_in_as", steps("  - open: /a\n    as: $fd\n")),
        ("key_twice", "expect:\n  syscalls:\n    getpid: 1\n    getpid: 2\nsteps:\n- sleep: 1 s\n".into()),
        ("no_module_folder", "modules: [../modules/chardv]\nsteps:\n- insmod: chardev\n".into()),
        ("module_that_is_a_folder", "modules: [../modules/folder.ko]\nsteps:\n- insmod: x\n".into()),
        ("need_that_is_no_symbol", "needs: {config: [KPROBES, CONFIG_A=y]}\nsteps:\n- sleep: 1 s\n".into()),
        ("lsmod_of_one", steps("  - lsmod: hello\n")),
        ("modprobe_removes_with_params", "modules: [../modules/hello]\nsteps:\n- modprobe: helloModule\n  remove: true\n  params: {a: 1}\n".into()),
        ("unknown_place", "steps:\n- sleep: 1 s\nexpect: {clean: [module]}\n".into()),
        ("nothing_to_be_clean", "steps:\n- sleep: 1 s\nexpect: {clean: []}\n".into()),
        ("bare_memory", "machine: {memory: 128}\nsteps:\n- sleep: 1 s\n".into()),
        (
            "calls_without_counting",
            "count: false\nexpect:\n  syscalls:\n    getpid: 1\nsteps:\n- sleep: 1 s\n".into(),
        ),
        ("too_many_cpus", "machine: {cpus: 64}\nsteps:\n- sleep: 1 s\n".into()),
        ("value_too_large", steps("  - syscall: 1\n    args: [{in: u8, value: 300}]\n")),
        ("bad_regex", steps("  - file: /a\n    match: '(\\d+'\n")),
        ("no_group", steps("  - file: /a\n    match: '\\d+'\n    as: n\n")),
        ("returns_and_errno", steps("  - sleep: 1 s\n    expect: {returns: 0, errno: EIO}\n")),
        ("shell_syntax", steps("  - run: ls | wc\n")),
        ("seven_arguments", steps("  - syscall: 1\n    args: [1, 2, 3, 4, 5, 6, 7]\n")),
        ("allowed_without_reason", "allow: [{splat: foo_ioctl}]\nsteps:\n- sleep: 1 s\n".into()),
        ("allowed_with_empty_reason", steps("  - sleep: 1 s\n    allow: {splat: foo, reason: ''}\n")),
        ("everything_allowed", steps("  - sleep: 1 s\n    allow: [{splat: true, reason: noisy}]\n")),
        ("every_oops_allowed", "allow: [{oops: true, reason: old}]\nsteps:\n- sleep: 1 s\n".into()),
        ("everything_allowed_by_nothing", "allow: [{oops: {}, reason: old}]\nsteps:\n- sleep: 1 s\n".into()),
        ("everything_allowed_by_an_expression", steps("  - sleep: 1 s\n    allow: {splat: {matches: '.*'}, reason: old}\n")),
        ("two_documents", "steps:\n- sleep: 1 s\n---\nsteps:\n- sleep: 1 s\n".into()),
        ("panic_allowed", "allow: [{panic: foo, reason: old}]\nsteps:\n- sleep: 1 s\n".into()),
        ("two_allowed_at_once", "allow: [{oops: a, splat: b, reason: old}]\nsteps:\n- sleep: 1 s\n".into()),
        ("unknown_ktap", steps("  - run: /bin/x\n    ktap: maybe\n")),
        ("allowed_is_a_text", "allow: foo\nsteps:\n- sleep: 1 s\n".into()),
        ("null_is_no_text", steps("  - sleep: 1 s\n    expect: {oops: NULL}\n")),
        ("unknown_kind", steps("  - sleep: 1 s\n    expect: {splat: {kind: kasna}}\n")),
        ("kind_of_another_end", steps("  - sleep: 1 s\n    expect: {splat: {kind: oops}}\n")),
        ("two_ends", steps("  - sleep: 1 s\n    expect: {oops: true, panic: true}\n")),
        ("end_and_value", steps("  - sleep: 1 s\n    expect: {oops: true, returns: 0}\n")),
        ("end_is_false", steps("  - sleep: 1 s\n    expect: {oops: false}\n")),
        ("function_of_a_hang", steps("  - sleep: 1 s\n    expect: {hang: {function: foo}}\n")),
        ("unknown_taint", steps("  - sleep: 1 s\n    expect: {taint: [O, Q]}\n")),
        ("control_characters", "name: \"\\e[31m\"\nsteps:\n- \"\\e[2J\": 1\n".into()),
        ("alias_bomb", alias_bomb()),
        ("deep", format!("steps: {}1{}\n", "[".repeat(200), "]".repeat(200))),
        (
            "several_at_once",
            steps("  - insmodd: chardev\n  - sleep: 10\n  - close: $fd\n  - open: dev\n    flags: [rd]\n"),
        ),
    ];
    for (name, text) in cases {
        insta::assert_snapshot!(*name, errors(text));
    }
}

fn alias_bomb() -> String {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (this, last) in "bcdefghi".chars().zip("abcdefgh".chars()) {
        let aliases = vec![format!("*{last}"); 10].join(", ");
        text.push_str(&format!("{this}: &{this} [{aliases}]\n"));
    }
    text + "steps: *i\n"
}

#[test]
fn files_that_are_no_text_have_one_message_each() {
    insta::assert_snapshot!("empty", errors(""));
    let none = errors("name: x\nsteps: []\n");
    assert!(none.contains("expected a list of steps, each with its own `-`; this one is empty"), "{none}");
    assert!(!none.contains("found a list"), "{none}");
    insta::assert_snapshot!("only_a_comment", errors("# later\n\n"));
    let utf8 = try_load(b"name: x\nsteps: \xff\n").expect_err("not UTF-8");
    insta::assert_snapshot!("not_utf8", utf8);
    let huge = try_load(&vec![b'#'; (1 << 20) + 1]).expect_err("too large");
    insta::assert_snapshot!("huge", huge);
    let folder = super::load(std::path::Path::new("/proc/self")).expect_err("a folder");
    insta::assert_snapshot!("folder", folder);
    let missing = super::load(std::path::Path::new("/nonexistent.yaml")).expect_err("missing");
    insta::assert_snapshot!("missing", missing);
    let named = |text: &str| std::path::Path::new(text).to_owned();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let loaded = std::thread::scope(|scope| {
        scope.spawn(|| std::fs::write(&pipe, "steps:\n- sleep: 1 s\n"));
        super::load(&pipe).expect("a pipe")
    });
    assert_eq!((loaded.path, &*loaded.name), (pipe.clone(), "pipe"));
    // As a shell's `<(...)`, its folder means nothing.
    let (ours, theirs) = nix::unistd::pipe().unwrap();
    nix::unistd::write(&theirs, b"files: {/etc/motd: Cargo.toml}\nsteps:\n- sleep: 1 s\n").unwrap();
    drop(theirs);
    let fd = std::os::fd::AsRawFd::as_raw_fd(&ours);
    let loaded = super::load(&named(&format!("/dev/fd/{fd}"))).expect("a descriptor");
    assert_eq!((loaded.path, loaded.files[0].host.clone()), (named("pipe"), named("Cargo.toml")));
    let device = super::load(std::path::Path::new("/dev/zero")).expect_err("a device");
    insta::assert_snapshot!("device", device);
}

#[test]
fn a_flood_of_errors_is_bounded() {
    let text = steps(&"  - insmodd: chardev\n".repeat(500));
    let errors = errors(&text);
    assert!(errors.lines().count() < 120, "{} lines", errors.lines().count());
    assert!(errors.contains("488 more errors"), "{errors}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_loader_panic(text in damaged()) {
        let _ = try_load(&text);
    }

    #[test]
    fn no_bytes_make_the_loader_panic(text in any::<Vec<u8>>()) {
        let _ = try_load(&text);
    }
}

#[test]
fn a_folder_is_a_file_for_each_thing_in_it() {
    use crate::GuestFileKind::{File, Folder, Link};
    let here = tempfile::tempdir().unwrap();
    let tree = here.path().join("tree");
    std::fs::create_dir_all(tree.join("sub/empty")).unwrap();
    std::fs::write(tree.join("sub/file"), "x").unwrap();
    std::os::unix::fs::symlink("/nowhere", tree.join("link")).unwrap();
    let load = |guest: &str, host: &str| {
        let text = format!("files: {{{guest}: {host}}}\nsteps:\n- sleep: 1 s\n");
        let path = here.path().join("s.yaml");
        std::fs::write(&path, text).unwrap();
        crate::load(&path)
    };
    let files = |guest: &str| -> Vec<(String, crate::GuestFileKind)> {
        load(guest, "tree").unwrap().files.into_iter().map(|file| (file.guest, file.kind)).collect()
    };
    let list = |list: &[(&str, crate::GuestFileKind)]| -> Vec<(String, crate::GuestFileKind)> {
        list.iter().map(|(path, kind)| ((*path).to_owned(), *kind)).collect()
    };
    let inside =
        [("/opt/link", Link), ("/opt/sub", Folder), ("/opt/sub/empty", Folder), ("/opt/sub/file", File)];
    assert_eq!(files("/opt"), list(&[&[("/opt", Folder)][..], &inside].concat()));
    assert_eq!(files("/")[..2], list(&[("/link", Link), ("/sub", Folder)]));
    nix::unistd::mkfifo(&tree.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = load("/opt", "tree").unwrap_err().to_string();
    assert!(error.contains("tree/pipe: it is a pipe"), "{error}");
}

#[test]
fn a_word_without_effect_is_told() {
    let noted = scenario("machine: {command-line: quiet kaslr}\nsteps:\n- sleep: 1 s\n");
    assert!(noted.notes[0].starts_with("`kaslr` in the kernel's command line has no effect"));
    let plain = scenario("machine: {command-line: quiet nokaslr}\nsteps:\n- sleep: 1 s\n");
    assert_eq!(plain.notes, [""; 0]);
}

#[test]
fn programs_are_roots_unless_they_are_somebody_elses() {
    let user = |field: &str| {
        let runs = scenario(&format!("steps:\n- {{run: ls{field}}}\n"));
        let mut action = runs.steps[0].action.clone();
        let said = action.user();
        action.run_as(9);
        (said, action.user())
    };
    assert_eq!(user(""), (None, Some(9)));
    assert_eq!([", user: root", ", user: 0"].map(user), [(None, None); 2]);
    assert_eq!([", user: nobody", ", user: 1000"].map(user), [65534, 1000].map(|it| (Some(it), Some(it))));
    assert!(errors("steps:\n- {run: ls, user: someone}\n").contains("`root`, `nobody`, or a user's number"));
}
