use super::*;

/// An assignment with these scenarios, beside which lies a module of the teacher's.
fn assignment(more: &str, scenarios: &[&str]) -> (TempDir, Assignment) {
    let folder = tempfile::tempdir().unwrap();
    let mut tests = String::new();
    for (index, text) in scenarios.iter().enumerate() {
        fs::write(folder.path().join(format!("{index}.yaml")), text).unwrap();
        tests += &format!("  - {{scenario: {index}.yaml, points: 1}}\n");
    }
    fs::create_dir(folder.path().join("api")).unwrap();
    fs::write(folder.path().join("api/Makefile"), "obj-m := api.o\n").unwrap();
    fs::write(folder.path().join("table.csv"), "student,module\neve,hers\n").unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, format!("kind: module\n{more}tests:\n{tests}")).unwrap();
    let assignment = Assignment::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    (folder, assignment)
}

/// A scenario of a student's module.
fn scenario(modules: &str, steps: &str) -> String {
    format!(
        "params: {{folder: , module: {{type: name, default: chardev}}}}\nmodules: [{modules}]\nsteps:\n{steps}"
    )
}

const FOLDER: &str = "params: {folder: {from: folder}}\n";

#[test]
fn an_assignment_may_say_what_a_module_has_to_be_called() {
    const MODULE: &str = "- insmod: $module\n- rmmod: $module\n";
    const FIXED: &str = "params: {folder: {from: folder}, module: drv}\n";
    const FREE: &str = "params: {folder: {from: folder}, module: {from: module}}\n";
    const TABLE: &str = "table: table.csv\nparams: {folder: {from: folder}, module: drv}\n";
    for (more, steps, student, names, any) in [
        (FOLDER, "- insmod: base\n- insmod: user\n- rmmod: user\n", "anna", &["base", "user"][..], false),
        (FOLDER, MODULE, "anna", &["chardev"], false),
        (FIXED, MODULE, "anna", &["drv"], false),
        (FREE, MODULE, "anna", &[], true),
        (TABLE, MODULE, "anna", &["drv"], false),
        (TABLE, MODULE, "eve", &["hers"], false),
    ] {
        let (_folder, assignment) = assignment(more, &[&scenario("$folder", steps)]);
        let asked = Asked::of(&assignment, student).unwrap();
        assert_eq!(
            (asked.modules.iter().map(String::as_str).collect::<Vec<_>>(), asked.any),
            (names.to_vec(), any),
            "{more}{steps}"
        );
    }
}

#[test]
fn folders_in_front_are_the_teachers() {
    let steps = "- insmod: api\n- insmod: $module\n";
    let with = scenario("api, $folder", steps);
    let without = scenario("$folder", "- insmod: $module\n");
    let behind = scenario("$folder, api", steps);
    let (folder, assignment) = assignment(FOLDER, &[&with, &without, &with, &behind]);
    let asked = Asked::of(&assignment, "anna").unwrap();
    assert_eq!(asked.modules.iter().collect::<Vec<_>>(), ["chardev"]);
    assert_eq!(asked.before, [vec![], vec![folder.path().join("api")]].into());
}

#[test]
fn a_scenario_is_read_whatever_the_students_module_is_called() {
    let (folder, assignment) = assignment(FOLDER, &[&scenario("api, $folder", "- insmod: $module\n")]);
    let theirs = folder.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("Makefile"), "obj-m := other.o\n").unwrap();
    let values = [("folder", &*theirs.display().to_string()), ("unknown", "x")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let path = &assignment.tests[0].scenario;
    let (scenario, wrong) = load(path, &values, &theirs).unwrap_or_else(|errors| panic!("{errors}"));
    let paths: Vec<&Path> = scenario.modules.iter().map(|module| &*module.path).collect();
    assert_eq!(paths, [&*folder.path().join("api"), &*theirs]);
    assert!(wrong[0].message.contains("no module named `chardev`"), "{wrong:?}");
}

#[test]
fn what_only_a_students_folder_is_to_blame_for_is_told_apart() {
    let (folder, assignment) = assignment(FOLDER, &[&scenario("api, $folder", "- insmod: api\n")]);
    for (name, makefile, says) in [
        ("good", "obj-m := hello.o\n", None),
        ("x.ko", "obj-m := hello.o\n", Some("x.ko is a folder, by its name it is a module's file")),
        ("twice", "obj-m := hello.o api.o\n", Some("a second module named `api`")),
    ] {
        let theirs = folder.path().join(name);
        fs::create_dir(&theirs).unwrap();
        fs::write(theirs.join("Makefile"), makefile).unwrap();
        let values = |folder: &Path| [("folder".to_owned(), folder.display().to_string())].into();
        let path = &assignment.tests[0].scenario;
        let (_, wrong) = load(path, &values(&theirs), &theirs).unwrap_or_else(|errors| panic!("{errors}"));
        let messages = wrong.iter().map(|it| it.message.as_str()).collect::<Vec<_>>();
        assert_eq!(messages.is_empty(), says.is_none(), "{messages:?}");
        assert!(says.is_none_or(|says| messages[0].contains(says)), "{messages:?}");
    }
    // A mistake of the scenario's own is nobody else's.
    fs::remove_dir_all(folder.path().join("api")).unwrap();
    let values = [("folder".to_owned(), folder.path().join("good").display().to_string())].into();
    assert!(load(&assignment.tests[0].scenario, &values, &folder.path().join("good")).is_err());
}

#[test]
fn scenarios_that_cannot_be_read_just_now_ask_for_something_all_the_same() {
    let (folder, assignment) = assignment(FOLDER, &[&scenario("api, $folder", "- insmod: api\n")]);
    fs::rename(folder.path().join("api"), folder.path().join("away")).unwrap();
    let why = Asked::of(&assignment, "anna").unwrap_err();
    assert!(why.contains("0.yaml") && why.contains("api"), "{why}");
    let why = StandIn::within(&folder.path().join("full")).err().unwrap();
    assert!(why.contains("/full: ") && why.contains("TMPDIR"), "{why}");
}
