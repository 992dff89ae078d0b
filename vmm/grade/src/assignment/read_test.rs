use super::*;
use crate::source::any_of;

/// Loads an assignment that lies beside a scenario `t.yaml`, or says what is wrong with it.
fn load(text: &str) -> Result<Assignment, String> {
    let folder = tempfile::tempdir().unwrap();
    let scenario =
        "params: {device: , n: 1}\nsteps:\n  - name: first\n    open: /dev/${device}${n}\n  - sleep: 1 s\n";
    fs::write(folder.path().join("t.yaml"), scenario).unwrap();
    fs::write(folder.path().join("broken.yaml"), "steps: [").unwrap();
    let typo = "params: {device: , folder: , module: {type: name}}\nmodules: [$folder]\nsteps:\n  - insmod: $modul\n";
    fs::write(folder.path().join("typo.yaml"), typo).unwrap();
    fs::write(folder.path().join("right.yaml"), typo.replace("$modul\n", "$module\n")).unwrap();
    let fixed = typo.replace(", module: {type: name}", "").replace("$modul\n", "chardev\n");
    fs::write(folder.path().join("fixed.yaml"), fixed).unwrap();
    fs::write(folder.path().join("table.csv"), "student,device,mdule\ns1,x,y\n").unwrap();
    let path = folder.path().join("assignment.yaml");
    fs::write(&path, text).unwrap();
    Assignment::load(&path).map_err(|errors| errors.to_string())
}

const PARAMS: &str = "params: {device: {from: device}}\n";

#[test]
fn an_assignment_has_defaults_for_what_it_leaves_out() {
    let text = format!(
        "kind: module\n{PARAMS}tests:\n  - {{scenario: t.yaml, points: 2.5}}\n  - {{name: b, scenario: t.yaml, steps: {{first: 5}}, run: 1}}\n"
    );
    let assignment = load(&text).unwrap();
    assert_eq!((assignment.points().to_string(), assignment.tests[0].name.as_str()), ("8.5".to_owned(), "t"));
    assert_eq!(assignment.kind, Kind::Module);
    assert!(
        ["a.c", "sub/b.h", "makefile"]
            .iter()
            .all(|name| { any_of(&assignment.files).is_match(name.rsplit('/').next().unwrap()) })
    );
    assert!(!any_of(&assignment.files).is_match("a.ko"));
}

#[test]
fn whoever_names_a_makefile_means_it_by_each_of_its_names() {
    let counts = |kind: &str, files: &str, name: &str| {
        let text = format!("kind: {kind}\n{files}{PARAMS}tests: [{{scenario: t.yaml, points: 1}}]\n");
        any_of(&load(&text).unwrap_or_else(|why| panic!("{why}")).files).is_match(name)
    };
    const CALL: &str = "calls: {x: {number: 600}}\n";
    for (kind, files, name, wanted) in [
        ("module", "files: ['*.c', Makefile]\n", "GNUmakefile", true),
        ("module", "files: ['*.c', Makefile]\n", "Kbuild", true),
        ("module", "files: ['*.c']\n", "Kbuild", false),
        ("module", "", "rules.mk", true),
        ("module", "", "table.inc", true),
        ("module", "", "driver.rs", true),
        ("module", "", "series", false),
        ("syscall", CALL, "makefile", true),
        ("patch", "files: ['*.patch']\n", "series", true),
        // It would go before the kernel's own.
        ("kernel", "", "GNUmakefile", false),
        ("kernel", "files: ['*']\n", "Kbuild", true),
    ] {
        assert_eq!(counts(kind, files, name), wanted, "{kind} {files} {name}");
    }
}

#[test]
fn mistakes_are_shown_with_their_line_and_the_right_name() {
    let with = |tests: &str| load(&format!("kind: module\n{PARAMS}tests:\n{tests}")).unwrap_err();
    for (text, says) in [
        (with("  - {scenario: t.yaml, points: -5}"), vec!["these points make no sense", "negative", ".yaml:4"]),
        (with("  - {scenario: t.yaml, points: many}"), vec!["they are no number"]),
        (with("  - {scenario: nosuch.yaml, points: 5}"), vec!["can't find the scenario", "nosuch.yaml", ".yaml:4"]),
        (with("  - {scenario: broken.yaml, points: 5}"), vec!["a mistake in ", "broken.yaml:1: "]),
        (
            load("kind: module\nparams: {device: x, folder: {from: folder}, module: {from: module}}\ntests: [{scenario: typo.yaml, points: 5}]").unwrap_err(),
            vec!["a mistake in ", "typo.yaml:4: expected a module's name", "`$modul`"],
        ),
        (
            load(&format!("kind: module\n{PARAMS}table: table.csv\ntests: [{{scenario: t.yaml, points: 1}}]")).unwrap_err(),
            vec!["a column `mdule`", "did you mean `module`", ".yaml:3"],
        ),
        (
            load("kind: module\nlimits: {size: big}\ntests: []").unwrap_err(),
            vec!["expected a size like `16 MiB`, a number like `42`"],
        ),
        (
            with("  - {scenario: t.yaml, points: 1, params: {devise: x}}"),
            vec!["its scenario does not have a parameter `devise`", "did you mean `device`", ".yaml:4"],
        ),
        (with("  - {scenario: t.yaml, points: 1, params: {n: x}}"), vec!["a mistake in ", "expected a number"]),
        (with("  - {scenario: t.yaml}"), vec!["this test has no points", "points: 10"]),
        (with("  - {scenario: t.yaml, points: 1, run: 1}"), vec!["not both"]),
        (with("  - {scenario: t.yaml, steps: {frist: 1}}"), vec!["no step", "`frist`", "did you mean `first`"]),
        (with("  - {scenario: t.yaml, points: 1}\n  - {scenario: t.yaml, points: 1}"), vec!["a second test named `t`"]),
        (with("  - {scenario: t.yaml, points: 1, visibility: hiden}"), vec!["did you mean `hidden`"]),
        (
            load("kind: module\nparams: {devcie: x}\ntests: [{scenario: t.yaml, points: 1}]\n").unwrap_err(),
            vec!["no scenario of the tests has a parameter `devcie`", "did you mean `device`"],
        ),
        (load("kind: module\ntests: [{scenario: t.yaml, points: 1}]").unwrap_err(), vec!["its parameter `device` has no value"]),
        (load("kind: modul\ntests: []").unwrap_err(), vec!["did you mean `module`", "a list of tests"]),
        (load("kind: syscall\ntests: [{scenario: t.yaml, points: 1}]").unwrap_err(), vec!["needs the field `calls`"]),
        (
            load("kind: syscall\ncalls: {stats: {number: 600, prototype: 'int, long __user *'}}\ntests: []").unwrap_err(),
            vec!["`int, long __user *` is not one type", "prototype: [int, long __user *]", ".yaml:2"],
        ),
        (load("kind: module\nattempts: '(.*'\ntests: [{scenario: t.yaml, points: 1}]").unwrap_err(), vec!["not a regular expression"]),
        (load("kind: module\nattempts: '(.*)'\ntests: [{scenario: t.yaml, points: 1}]").unwrap_err(), vec!["no group named `student`"]),
        (load(&format!("kind: module\n{PARAMS}tests: [{{scenario: t.yaml, points: 1}}]\ncheck: {{bad: {{b.patch: {{points: 1, fails: [x]}}}}}}")).unwrap_err(), vec!["can't find", "there is no test `x`"]),
    ] {
        for says in says {
            assert!(text.contains(says), "`{says}` is not in:\n{text}");
        }
    }
    let right = "kind: module\nparams: {device: x, folder: {from: folder}, module: {from: module}}\ntests: [{scenario: right.yaml, points: 5}]";
    assert!(load(right).is_ok(), "{:?}", load(right));
    // What a student's module has to be called.
    for (module, scenario) in [(", module: chardev", "right.yaml"), ("", "fixed.yaml")] {
        let loaded = load(&format!(
            "kind: module\nparams: {{folder: {{from: folder}}, device: x{module}}}\ntests: [{{scenario: {scenario}, points: 5}}]"
        ));
        assert!(loaded.is_ok(), "{loaded:?}");
    }
    let own = "kind: module\ntests: [{scenario: t.yaml, points: 5, params: {device: x}}]";
    assert!(load(own).is_ok(), "{:?}", load(own));
    assert!(Assignment::load(Path::new("/")).unwrap_err().to_string().contains("this is a folder"));
}

#[test]
fn canvas_and_moodle_names_are_known() {
    for (rule, name, student, id, serial) in [
        (CANVAS, "doe_LATE_12_345_chardev.c", "doe", Some("12"), Some("345")),
        (CANVAS, "doe_12_345_my_driver.zip", "doe", Some("12"), Some("345")),
        (CANVAS, "anon_x7Yz1_345_my_driver.zip", "anon", Some("x7Yz1"), Some("345")),
        (MOODLE, "Jane Doe_678_assignsubmission_file_", "Jane Doe_678", None, None),
    ] {
        let regex = regex::Regex::new(rule).unwrap();
        let found = regex.captures(name).unwrap();
        let group = |name: &str| found.name(name).map(|it| it.as_str());
        assert_eq!((&found["student"], group("id"), group("serial")), (student, id, serial));
        assert_eq!(group("late").is_some(), name.contains("LATE"));
    }
}

#[test]
fn who_changes_a_test_or_a_scenario_has_all_graded_again_but_not_who_changes_a_check() {
    let text = format!("kind: module\n{PARAMS}tests: [{{scenario: t.yaml, points: 1}}]\n");
    let identity = |text: &str| load(text).unwrap().identity;
    assert_eq!(identity(&text), identity(&format!("{text}check: {{}}\n")));
    assert_ne!(identity(&text), identity(&text.replace("points: 1", "points: 2")));
    let checked = |first: &str, points: &str| {
        format!("kind: module\ncheck:\n  {first}\n{PARAMS}tests: [{{scenario: t.yaml, points: {points}}}]\n")
    };
    assert_eq!(identity(&checked("reference: t.yaml", "1")), identity(&checked("starter: t.yaml", "1")));
    assert_ne!(
        identity(&checked("reference: t.yaml", "1")),
        identity(&checked("starter: t.yaml", "2")),
        "what follows a check counts"
    );
}

#[test]
fn a_folder_without_a_value_is_no_folder_that_can_t_be_found() {
    let folder = tempfile::tempdir().unwrap();
    let scenario =
        "params: {folder: , n: {type: int, default: 1}}\nmodules: [$folder]\nsteps: [{insmod: drv}]\n";
    fs::write(folder.path().join("t.yaml"), scenario).unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, "kind: module\ntests: [{scenario: t.yaml, points: 1}]\n").unwrap();
    let errors = Assignment::load(&path).unwrap_err();
    let messages: Vec<&str> = errors.list().iter().map(|it| it.message.as_str()).collect();
    assert_eq!(messages, ["its parameter `folder` has no value"]);
}

/// Else a mended test counts for those alone who hand in after that.
#[test]
fn whatever_a_test_is_made_of_has_all_graded_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| {
        fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        fs::write(at(name), text).unwrap();
    };
    write("t.yaml", "modules: [check]\nfiles: {/bin/tool: tool, /data: data}\nsteps: [{insmod: check}]\n");
    write("a.yaml", "kind: module\ntests: [{scenario: t.yaml, points: 1}]\n");
    write("check/Makefile", "obj-m := check.o\n");
    write("check/check.c", "#include \"../common/limits.h\"\n");
    for name in ["common/limits.h", "tool-1", "data/in"] {
        write(name, name);
    }
    std::os::unix::fs::symlink("tool-1", at("tool")).unwrap();
    let identity = || Assignment::load(&at("a.yaml")).unwrap_or_else(|why| panic!("{why}")).identity;
    let before = std::cell::RefCell::new(identity());
    assert_eq!(identity(), *before.borrow());
    let is_another = |what: &str| assert_ne!(before.replace(identity()), *before.borrow(), "{what}");
    for name in ["check/check.c", "common/limits.h", "tool-1", "data/in", "data/new"] {
        write(name, "#include \"../common/limits.h\"\n// mended\n");
        is_another(name);
    }
    // Nobody is graded anew since somebody looked at a file.
    for name in [".check.c.swp", "check.c~", "tags", "compile_commands.json"] {
        write(&format!("check/{name}"), "an editor's");
    }
    assert_eq!(identity(), *before.borrow());
    std::os::unix::fs::symlink("in", at("data/link")).unwrap();
    is_another("a link");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(at("data/in"), mode).unwrap();
    is_another("what is executable");
}

#[test]
fn a_scenario_s_own_kernel_is_not_dropped_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let loaded = |own: &str| {
        fs::write(folder.path().join("t.yaml"), format!("name: t\n{own}steps: [{{sleep: 1 s}}]\n")).unwrap();
        fs::write(
            &path,
            "kind: module\nkernel: {fragments: [kasan]}\ntests:\n  - {scenario: t.yaml, points: 1}\n",
        )
        .unwrap();
        Assignment::load(&path).map(drop).map_err(|errors| errors.to_string())
    };
    assert_eq!(loaded(""), Ok(()));
    assert_eq!(loaded("kernel: {fragments: [kasan]}\n"), Ok(()), "to run it by itself");
    // By whatever way each comes to it.
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("tests")).unwrap();
    for name in ["course.config", "tests/course.config"] {
        write(name, "CONFIG_PCI=y\n");
    }
    write(
        "b.yaml",
        "kind: module\nkernel: {config: ./course.config}\ntests: [{scenario: tests/t.yaml, points: 1}]\n",
    );
    for (config, is_same) in [("../course.config", true), ("course.config", false)] {
        write("tests/t.yaml", &format!("kernel: {{config: {config}}}\nsteps: [{{sleep: 1 s}}]\n"));
        assert_eq!(Assignment::load(&folder.path().join("b.yaml")).is_ok(), is_same, "{config}");
    }
    for (own, name) in [("kernel: {fragments: [lockdep]}\n", "kernel"), ("matrix: [6.12, 7.3]\n", "matrix")] {
        let why = loaded(own).unwrap_err();
        for says in ["t.yaml:2 has", name, "a.yaml:4", "write it into the assignment's `kernel`"] {
            assert!(why.contains(says), "`{says}` is not in:\n{why}");
        }
    }
}
