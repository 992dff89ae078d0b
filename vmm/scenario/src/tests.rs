//! The language as a user meets it: what loads, and the text of what does not.

use super::model::{Action, Argument, Data, Layout, Num, Pointer, Want};
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

/// Who repeats a run of it later has nothing to read it from.
#[test]
fn the_text_of_a_scenario_that_came_by_a_pipe_is_known() {
    let text = "steps:\n- sleep: 1 s\n";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    assert_eq!(crate::load(file.path()).unwrap().piped(), None);
    let (read, mut write) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut write, text.as_bytes()).unwrap();
    drop(write);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&read));
    let piped = crate::load(path.as_ref()).unwrap();
    assert_eq!((piped.path.to_str(), piped.piped()), (Some("pipe"), Some(text)));
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
    for (symbol, evidence) in [
        ("CONFIG_KPROBES", crate::model::Watchfulness::Kprobes),
        ("CONFIG_BPF_JIT", crate::model::Watchfulness::Kprobes),
        ("CONFIG_BPF_LSM", crate::model::Watchfulness::Kprobes),
        ("CONFIG_BPF_SYSCALL", crate::model::Watchfulness::Full),
    ] {
        let needs = scenario(&format!("needs: {{config: [{symbol}]}}\nsteps:\n- sleep: 1 s\n"));
        assert_eq!(needs.evidence, evidence, "{symbol}");
    }
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

/// Every scenario that is shipped, or that a test runs.
#[test]
fn all_scenarios_of_the_project_load() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut loaded = 0;
    for folder in ["scenarios", "tests/fixtures/scenarios"] {
        for entry in walkdir::WalkDir::new(root.join(folder)) {
            let path = entry.unwrap().into_path();
            let name = path.to_string_lossy().into_owned();
            if name.ends_with(".yaml") && !name.ends_with("/assignment.yaml") {
                // The one that is there to be refused.
                let wrong = name.ends_with("/broken.yaml");
                let scenario = super::load(&path).map_err(|errors| errors.to_string());
                assert!(wrong || scenario.is_ok(), "{}", scenario.unwrap_err());
                loaded += 1;
            }
        }
    }
    assert!(loaded > 50, "{loaded}");
}

/// Whatever can't fail, or can't be meant, is refused, with what to write.
#[test]
fn what_says_nothing_is_refused() {
    let sleep = "steps:\n- sleep: 1 s\n";
    let syscall = |args: &str| format!("steps:\n- syscall: 1\n  args: {args}\n");
    let run = |fields: &str| format!("steps:\n- {{run: ls, {fields}}}\n");
    let cases = [
        (format!("expect: {{syscalls: {{-1: 5}}}}\n{sleep}"), "no system call has the number -1"),
        (format!("expect: {{syscalls: {{}}}}\n{sleep}"), "like `{openat: 2}`"),
        (format!("expect: {{syscalls: {{getpid: {{at-least: 0}}}}}}\n{sleep}"), "so this says nothing"),
        (format!("expect: {{log: []}}\n{sleep}"), "an empty list says nothing"),
        (format!("expect: {{log: {{}}}}\n{sleep}"), "or a map like `{has: text, lacks: BUG}`"),
        (run("expect: {stdout: {lacks: []}}"), "an empty list says nothing"),
        (run("expect: {stdout: {contains: [{bytes: ''}]}}"), "is part of every text"),
        (run("expect: {stdout: {matches: '.*'}}"), "every text matches this expression"),
        (run("match: 'ok|'"), "every text matches this expression"),
        (run("expect: {log: {matches: 'a*'}}"), "every text matches this expression"),
        ("steps:\n- syscall: getpid\n  expect: {data: {lacks: x}}\n".into(), "brings no data back"),
        ("steps:\n- syscall: getpid\n  match: '(1)'\n".into(), "this step brings no text for `match`"),
        (syscall("[O_RDWR]"), "`O_RDWR` is no number here"),
        (syscall("[O_RDWR|O_CREAT]"), "put it into quotes"),
        (syscall("[4KB]"), "`4KB` is no number here"),
        (syscall("[1e3]"), "`1e3` is no number here"),
        (syscall("[4096UL]"), "`4096UL` is no number here"),
        (syscall("[1<<3]"), "`1<<3` is no number here"),
        (syscall("[18446744073709551616]"), "is no number here"),
        (syscall("[true]"), "`true` is no number here"),
        (syscall("[0644]"), "write `0o644` for a number in octal, `644` for one in decimal"),
        (syscall("[{in: 8, value: 42}]"), "write `{in: u64, value: 42}`"),
        (syscall("[{inout: 4, value: $n}]"), "write `{inout: u32, value: $n}`"),
        (syscall("[{bytes: 1 2 3 4}]"), "two digits each"),
        ("steps:\n- {mknod: /dev/x, char: [0240, 0]}\n".into(), "write `0o240` for a number in octal"),
        ("steps:\n- {write: 1, data: \"\\xff\\0\"}\n".into(), "write `{bytes: \"ff 00\"}` for bytes"),
        ("steps:\n- {run: [/bin/echo, \"\\xff\"]}\n".into(), "are characters of two bytes each"),
        ("steps:\n- {open: \"/\\xe4\"}\n".into(), "are characters of two bytes each"),
        ("steps:\n- {syscall: 1, args: [\"\\x80\"]}\n".into(), "are characters of two bytes each"),
        (
            "steps:\n- {syscall: 1, expect: {returns: {at-least: 5, at-most: 0xffffffffffffffff}}}\n".into(),
            "no call returns a number from 5 to -1",
        ),
        ("steps:\n- run: /bin/echo $HOME\n".into(), "`$` has no meaning"),
        ("steps:\n- run: [/bin/sh, -c, 'echo ${HOME}']\n".into(), "write `script:`"),
        ("steps:\n- run: [/bin/echo, $nobody]\n".into(), "no step gives `$nobody` a value"),
        (run("expect: {stdout: {lacks: '${major} chardev'}}"), "no step gives `$major` a value"),
        (run("stdin: '${major}'"), "no step gives `$major` a value"),
        (run("match: '(${major})'"), "can't stand in an expression"),
        ("expect: {log: '${n}'}\nsteps:\n- {open: /x, as: n}\n".into(), "expect it of the step"),
        ("steps:\n- {read: 3, expect: timeout}\n".into(), "write `blocks` for a call that does not return"),
        ("steps:\n- {read: 3, expect: {timeout: 1 s}}\n".into(), "write `blocks` for a call"),
        ("steps:\n- {read: 3, expect: {blocks: true, data: x}}\n".into(), "returns nothing to expect"),
        ("steps:\n- {read: 3, expect: blocks, match: '(1)', as: n}\n".into(), "brings nothing for `as`"),
        ("steps:\n- {sleep: 1 s, expect: blocks}\n".into(), "only a call can block"),
        (run("expect: blocks"), "an exit status"),
        ("steps:\n- {sleep: 2 s, timeout: 1 s}\n".into(), "waits longer than it may take"),
        ("steps:\n- sleep: !!str 1 s\n".into(), "a tag has no place in a scenario"),
        ("steps:\n- run: [ls, !!int &x \"40\"]\n".into(), "a tag has no place in a scenario"),
        ("steps:\n- run: [ls,!!int \"40\"]\n".into(), "a tag has no place in a scenario"),
        ("name: !!str # one\n  x\nsteps: [{sleep: 1 s}]\n".into(), "a tag has no place in a scenario"),
        ("steps: !!seq\n- sleep: 1 s\n".into(), "a tag has no place in a scenario"),
        ("steps:\n- sleep:\n    !x\n    1 s\n".into(), "a tag has no place in a scenario"),
        ("--- !!map\nsteps: [{sleep: 1 s}]\n".into(), "a tag has no place in a scenario"),
        ("steps:\n- {write: 3, data: !!binary aGk=}\n".into(), "a tag has no place in a scenario"),
        ("steps:\n- {ioctl: 3, request: _IOR('k', 1, u64)}\n".into(), "put the request into quotes"),
        ("steps:\n- sleep: 1 s\n  expect:\n    log: chardev: registered\n".into(), "into quotes"),
    ];
    for (text, wanted) in cases {
        let errors = try_load(text.as_bytes()).expect_err(&text);
        assert!(errors.contains(wanted), "{text}{errors}");
    }
}

#[test]
fn a_tab_is_shown_where_it_stands() {
    for (text, place) in
        [("steps:\n\t- sleep: 1 s\n", "2:1"), ("steps:\n- sleep: 1 s\n\ttimeout: 2 s\n", "3:1")]
    {
        let error = errors(text);
        assert!(
            error.contains(&format!("test.yaml:{place}\n")) && error.contains("a tab stands before"),
            "{error}"
        );
    }
}

#[test]
fn what_looks_like_the_refused_and_is_meant_loads() {
    let text = "kernel: 12e4567\nsteps:\n- syscall: 1\n  args: [\"O_RDWR\", text, {string: O_RDWR}, null, 0XFF, {in: 4, value: \"42\"}]\n  \
                expect: {log: {matches: '^$'}}\n- {write: 1, data: \"\\u00ff\\\\xff\"}\n- {run: ls, expect: {stdout: {matches: '^$'}}}\n\
                - sleep: 60 s\n- {modprobe: helloModule, params: {debug: , name: ''}}\n- {mknod: /dev/f, fifo: true, mode: 0644}\n";
    let scenario = scenario(&format!("modules: [../modules/hello]\n{text}"));
    assert_eq!(scenario.kernel.kernel.as_deref(), Some("12e4567"));
    let Action::Syscall { args, .. } = &scenario.steps[0].action else { panic!("no system call") };
    let text = |text: &str| Argument::Text(text.into());
    let wanted = [
        text("O_RDWR"),
        text("text"),
        text("O_RDWR"),
        Argument::Pointer(Pointer::Null),
        Argument::Num(Num::Int(255)),
    ];
    assert_eq!(args[..5], wanted);
    assert!(
        matches!(&scenario.steps[1].action, Action::Write { data, .. } if *data.written() == *"\u{ff}\\xff".as_bytes())
    );
    assert!(scenario.steps[3].timeout > Duration::from_secs(60));
    let Action::Modprobe { params, .. } = &scenario.steps[4].action else { panic!("no modprobe") };
    assert_eq!(params[..], [("debug".into(), None), ("name".into(), Some(String::new()))]);
}

#[test]
fn a_name_stands_for_its_value_wherever_a_text_does() {
    let scenario = scenario(
        "modules: [../modules/hello]\nsteps:\n- {open: /x, as: n}\n- {insmod: helloModule, params: {a: $n, b: [$n, 1]}}\n\
         - {write: $n, data: 'n=${n}', expect: {log: {lacks: $n}}}\n- {run: [/bin/echo, $n], env: {N: $n}, stdin: $n}\n",
    );
    let filled = |data: &Data| data.filled(|_| Ok::<_, ()>(3)).unwrap().into_owned();
    let Action::Insmod { params, .. } = &scenario.steps[1].action else { panic!("no insmod") };
    assert_eq!(params[..], [("a".into(), Some("${n}".into())), ("b".into(), Some("${n},1".into()))]);
    assert!(matches!(&scenario.steps[2].action, Action::Write { data, .. } if filled(data) == b"n=3"));
    let log = scenario.steps[2].checks.iter().find(|check| matches!(check.want, Want::Log(_))).unwrap();
    let with = |value| log.want.filled(|_| value).map(|want| format!("{want:?}"));
    assert_eq!(with(None), Err("n".to_owned()));
    assert!(with(Some(3)).unwrap().contains("[51]"), "{:?}", with(Some(3)));
    let Action::Run { argv, env, stdin, .. } = &scenario.steps[3].action else { panic!("no program") };
    assert_eq!((&argv[1][..], &env[0][..], filled(stdin)), ("${n}", "N=${n}", b"3".to_vec()));
}

#[test]
fn what_is_returned_is_any_number_of_64_bits() {
    let scenario = scenario(
        "steps:\n- {syscall: 1, expect: 0xfffffffffffffff2}\nexpect: {syscalls: {1: {returns: [0, 0xfffffffffffffff2, EFAULT]}}}\n",
    );
    assert_eq!(scenario.expect.syscalls[0].returns.as_ref().unwrap().0, [0, -14, -14]);
    for range in
        ["{at-least: 0xfffffffffffff000, at-most: 0xfffffffffffffff2}", "{at-least: -4096, at-most: -14}"]
    {
        let scenario =
            crate::fixture::scenario(&format!("steps:\n- {{syscall: 1, expect: {{returns: {range}}}}}\n"));
        let [check] = &scenario.steps[0].checks[..] else { panic!("{range}") };
        let Want::Returns(range) = &check.want else { panic!("{range}") };
        assert_eq!((&range.low, &range.high), (&Some(Num::Int(-4096)), &Some(Num::Int(-14))));
    }
    let wanted = Some(Num::Int(-14));
    assert!(matches!(&scenario.steps[0].checks[0].want, Want::Returns(range) if range.low == wanted));
}

#[test]
fn what_is_named_may_be_any_text() {
    let scenario = scenario("steps:\n- file: /proc/devices\n  match: '(.*)'\n  as: all\n");
    assert!(matches!(scenario.steps[0].binds[0].from, crate::model::Origin::Match(_)));
}

#[test]
fn what_looks_like_a_tag_within_a_text_is_none() {
    let scenario = scenario(
        "# !a\nname: >-\n  b\n  !c\n\n  !d\nsteps: # !e\n- script: |\n    echo !f\n    !g\n    h: !i\n\n  env: {A: 'x, !j', B: \"[!k]\", C: l !m}\n\
         - run: [/bin/echo, &x '!n', *x]\n# !o\n- script: |+\n    - !p\n\n\n- {run: [/bin/echo, q\n  !r]}\n- file: /s\n  expect:\n    log:\n    - '!t'\n",
    );
    assert_eq!(scenario.steps.len(), 5);
}

#[test]
fn what_modprobe_does_not_read_is_told() {
    let notes =
        |path: &str, line: &str| scenario(&format!("steps:\n- file: {path}\n  write: |\n    {line}\n")).notes;
    assert!(notes("/etc/modprobe.d/a.conf", "softdep a pre: b")[0].contains("knows no `softdep` (line 4)"));
    assert_eq!(notes("/etc/modprobe.d/a.conf", "alias a install"), [""; 0]);
    assert_eq!(notes("/tmp/a.conf", "install a b"), [""; 0]);
}
