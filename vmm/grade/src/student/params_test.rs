use super::*;
use std::{collections::BTreeMap, fs};
use tempfile::TempDir;

fn assignment() -> (TempDir, Assignment) {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "params:\n  device: {type: name, default: x}\n  note: {default: y}\n  size: {type: int, about: of the buffer}\nsteps:\n\
                    - {mkdir: '/${device}', name: '${note} ${size}'}\n";
    fs::write(folder.path().join("t.yaml"), scenario).unwrap();
    fs::write(folder.path().join("table.csv"), "student,device,size\neve,other,7\n").unwrap();
    let path = folder.path().join("a.yaml");
    let text = "kind: module\ntable: table.csv\nparams: {device: {from: device}, note: {from: device}, size: {source: 'SIZE (\\w+)'}}\n\
                tests: [{scenario: t.yaml, points: 1}]\n";
    fs::write(&path, text).unwrap();
    let assignment = Assignment::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    (folder, assignment)
}

/// Of its only test.
fn given(student: &str, source: &str) -> (Result<Settings, Wrong>, Vec<String>) {
    let prepared = Prepared {
        files: BTreeMap::new(),
        root: String::new(),
        module: "my-mod".into(),
        text: source.into(),
        license_mended: false,
        notes: Vec::new(),
    };
    let (_folder, assignment) = assignment();
    let mut notes = Vec::new();
    let values = of(&assignment, student, &prepared, Path::new("/f"), &mut notes);
    (values.map(|mut values| values.tests.remove(0)), notes)
}

#[test]
fn the_table_goes_before_the_source_and_the_source_before_defaults() {
    let (params, notes) = given("anna", "SIZE 5 register_chrdev(0, \"my.drv\", &f)");
    let params = params.unwrap();
    assert_eq!((&*params["device"], &*params["size"], notes.len()), ("my.drv", "5", 0));
    let (params, notes) = given("eve", "SIZE many register_chrdev(0, \"my drv\", &f)");
    assert!(params.unwrap_err().why.contains("`my drv` as its `note`") && notes.is_empty());
    let (params, notes) = given("eve", "");
    let params = params.unwrap();
    assert_eq!((&*params["device"], &*params["size"], params.get("note")), ("other", "7", None));
    assert!(notes.len() == 1 && notes[0].contains("`note`"), "{notes:?}");
}

#[test]
fn a_module_is_called_as_the_kernel_calls_it() {
    let (_folder, mut assignment) = assignment();
    assignment.params.push(("module".to_owned(), Origin::Module));
    assignment.table.get_mut("eve").unwrap().insert("module".to_owned(), "the-other".to_owned());
    let prepared = Prepared {
        module: "my-mod".into(),
        text: "SIZE 5 register_chrdev(0, \"x\", &f)".into(),
        ..Prepared::default()
    };
    for (student, name) in [("anna", "my_mod"), ("eve", "the_other")] {
        let values = of(&assignment, student, &prepared, Path::new("/f"), &mut Vec::new()).unwrap();
        assert_eq!(values.shared["module"], name);
    }
}

#[test]
fn what_the_tests_can_t_take_is_told_to_the_student() {
    for (source, says) in [
        (
            "SIZE 5 register_chrdev(0, \"a; reboot\", &f)",
            "`a; reboot` as its `device`, and the tests can look only for a name",
        ),
        ("SIZE 5 register_chrdev(0, \"gerät\", &f)", "`gerät` as its `device`"),
        (
            "SIZE many register_chrdev(0, \"a\", &f)",
            "`many` as its `size`, and the tests can look only for a number",
        ),
        ("register_chrdev(0, \"a\", &f)", "does not tell its `size` (of the buffer)"),
    ] {
        let Wrong { why, is_theirs } = given("anna", source).0.unwrap_err();
        assert!(is_theirs && why.contains(says), "{why}");
    }
}

#[test]
fn a_scenario_that_cannot_be_read_is_no_students_fault() {
    let (folder, assignment) = assignment();
    for test in &assignment.tests {
        fs::remove_file(&test.scenario).unwrap();
    }
    let values = of(&assignment, "anna", &Prepared::default(), folder.path(), &mut Vec::new());
    assert!(!values.unwrap_err().is_theirs);
}

#[test]
fn of_alternatives_the_one_that_the_source_has_is_taken() {
    let regex = Regex::new(r"SIZE (\d+)|enum \{ size = (\d+)|(BIG)?SIZED").unwrap();
    for (source, value) in
        [("SIZE 5", Some("5")), ("enum { size = 7", Some("7")), ("SIZED", None), ("BIGSIZED", Some("BIG"))]
    {
        assert_eq!(said(&regex, source).as_deref(), value, "{source}");
    }
}

#[test]
fn a_scenario_is_tested_with_other_values_by_a_test_of_its_own() {
    let (folder, _) = assignment();
    let path = folder.path().join("a.yaml");
    let text = "kind: module\ntable: table.csv\nparams: {device: {from: device}, size: 3, note: {draw: text, length: 9}}\ntests:\n\
                - {scenario: t.yaml, points: 1}\n\
                - {name: other, scenario: t.yaml, points: 1, params: {size: 0, note: {draw: text, length: 9}}}\n";
    fs::write(&path, text).unwrap();
    let assignment = Assignment::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    let prepared = Prepared { text: "register_chrdev(0, \"x\", &f)".into(), ..Prepared::default() };
    let of = |student: &str| of(&assignment, student, &prepared, Path::new("/f"), &mut Vec::new()).unwrap();
    for (student, size, device) in [("anna", "3", "x"), ("eve", "7", "other")] {
        let values = of(student);
        let [first, second] = &values.tests[..] else { panic!("{values:?}") };
        assert_eq!((&*first["size"], &*second["size"]), (size, "0"), "a table goes not before a test's own");
        assert_eq!((&*first["device"], &*second["device"]), (device, device));
        assert_ne!(first["note"], second["note"], "drawn for each");
        let drawn = second["note"].clone();
        let kept = values.kept(&assignment, Path::new("/f"));
        assert_eq!((&kept["note of other"], kept.get("size of other")), (&drawn, None));
    }
    assert_eq!(of("anna").tests, of("anna").tests);
}
