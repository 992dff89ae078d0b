//! `vmm grade`: modules whose names an assignment says, several of them, and the teacher's own beside a student's.

use super::{
    grade::{HELLO, grade, hand_in, row, words},
    modules::for_another_kernel,
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// An assignment with one scenario, in a folder of its own.
fn assignment(folder: &Path, more: &str, modules: &str, steps: &str) -> PathBuf {
    let scenario = format!(
        "params: {{folder: , module: {{type: name, default: hello}}}}\nmodules: [{modules}]\nsteps:\n{steps}"
    );
    fs::write(folder.join("loads.yaml"), scenario).unwrap();
    let path = folder.join("assignment.yaml");
    let text = format!(
        "kind: module\nparams: {{folder: {{from: folder}}{more}}}\ntests:\n  - {{name: loads, scenario: loads.yaml, points: 10}}\n"
    );
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn whose_module_is_called_otherwise_than_the_tests_load_it_is_told() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    hand_in(&submissions, "right", "hello.c", HELLO.as_bytes());
    hand_in(&submissions, "named", "main.c", HELLO.as_bytes());
    hand_in(&submissions, "named", "Makefile", b"obj-m := hello.o\nhello-y := main.o\n");
    hand_in(&submissions, "other", "mine.c", HELLO.as_bytes());
    // Which name this is only make knows.
    hand_in(&submissions, "shell", "mine.c", HELLO.as_bytes());
    hand_in(&submissions, "shell", "Makefile", b"obj-m := $(shell echo mine).o\n");
    let steps = "- insmod: $module\n  expect: {returns: 0, log: 'hello, world'}\n- rmmod: $module\n";
    for more in ["", ", module: hello"] {
        let path = assignment(folder.path(), more, "$folder", steps);
        let ran = grade(&[words(&path), words(&submissions), "--out", words(&out)]);
        assert_eq!(ran.code, Some(0), "{}", ran.text);
        for student in ["right", "named"] {
            assert!(row(&out, student).starts_with(&format!("{student},graded,10")), "{}", ran.text);
        }
        for student in ["other", "shell"] {
            let row = row(&out, student);
            assert!(row.contains(",unusable,0,10,") && row.contains("`hello`"), "{row}");
        }
    }
}

#[test]
fn two_modules_are_graded_of_which_one_uses_the_other() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    let base =
        HELLO.replace("module_init", "int seven(void) { return 7; }\nEXPORT_SYMBOL_GPL(seven);\nmodule_init");
    let user = HELLO
        .replace("static int __init", "int seven(void);\nstatic int __init")
        .replace("return 0;", "return seven() - 7;");
    for (name, text) in [("base.c", &*base), ("user.c", &*user), ("Makefile", "obj-m := base.o user.o\n")] {
        hand_in(&submissions, "both", name, text.as_bytes());
    }
    hand_in(&submissions, "one", "base.c", base.as_bytes());
    let steps =
        "- insmod: base\n- insmod: user\n- rmmod: base\n  expect: EAGAIN\n- rmmod: user\n- rmmod: base\n";
    let path = assignment(folder.path(), "", "$folder", steps);
    let ran = grade(&[words(&path), words(&submissions), "--out", words(&out)]);
    assert!(row(&out, "both").starts_with("both,graded,10"), "{}", ran.text);
    let one = row(&out, "one");
    assert!(one.contains(",unusable,") && one.contains("`user` beside `base`"), "{one}");
}

#[test]
fn a_students_module_uses_what_the_teachers_exports() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    let api = "#include <linux/module.h>\nint api_register(void);\nint api_register(void) { return 0; }\n\
               EXPORT_SYMBOL_GPL(api_register);\nMODULE_LICENSE(\"GPL\");\n";
    fs::create_dir(folder.path().join("api")).unwrap();
    fs::write(folder.path().join("api/api.c"), api).unwrap();
    fs::write(folder.path().join("api/Makefile"), "obj-m := api.o\n").unwrap();
    let uses = HELLO
        .replace("static int __init", "int api_register(void);\nstatic int __init")
        .replace("return 0;", "return api_register();");
    hand_in(&submissions, "uses", "hello.c", uses.as_bytes());
    hand_in(&submissions, "unknown", "hello.c", uses.replace("api_register", "api_unregister").as_bytes());
    let steps = "- insmod: api\n- insmod: $module\n- rmmod: $module\n- rmmod: api\n";
    let path = assignment(folder.path(), ", module: {from: module}", "api, $folder", steps);
    let ran = grade(&[words(&path), words(&submissions), "--out", words(&out)]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    assert!(row(&out, "uses").starts_with("uses,graded,10"), "{}", ran.text);
    assert!(row(&out, "unknown").contains("it does not build"), "{}", ran.text);
    // What is wrong with the teacher's is nobody else's fault.
    fs::write(folder.path().join("api/api.c"), "#error x\n").unwrap();
    let ran = grade(&[words(&path), words(&submissions), "--out", words(&out)]);
    assert_eq!(ran.code, Some(3), "{}", ran.text);
    assert!(row(&out, "uses").contains(",not graded,"), "{}", ran.text);
}

/// A module of the teacher's, in a folder beside the assignment.
fn teachers(folder: &Path, name: &str, text: &str) {
    fs::create_dir_all(folder.join(name)).unwrap();
    fs::write(folder.join(name).join(format!("{name}.c")), text).unwrap();
    fs::write(folder.join(name).join("Makefile"), format!("obj-m := {name}.o\n")).unwrap();
}

#[test]
fn what_a_student_does_not_export_costs_the_tests_that_use_it() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    let exports =
        HELLO.replace("module_init", "int seven(void) { return 7; }\nEXPORT_SYMBOL_GPL(seven);\nmodule_init");
    hand_in(&submissions, "exports", "hello.c", exports.as_bytes());
    hand_in(&submissions, "lacks", "hello.c", HELLO.as_bytes());
    let check = HELLO
        .replace("static int __init", "int seven(void);\nstatic int __init")
        .replace("return 0;", "return seven() - 7;");
    teachers(folder.path(), "check", &check);
    let steps = "- insmod: $module\n- insmod: check\n- rmmod: check\n- rmmod: $module\n";
    let path = assignment(folder.path(), ", module: {from: module}", "$folder, check", steps);
    let ran = grade(&[words(&path), words(&submissions), "--out", words(&out)]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    assert!(row(&out, "exports").starts_with("exports,graded,10"), "{}", ran.text);
    assert!(row(&out, "lacks").starts_with("lacks,graded,0"), "{}", ran.text);
    // What is wrong with the teacher's is nobody else's fault.
    teachers(folder.path(), "check", "#error x\n");
    let ran = grade(&[words(&path), words(&submissions), "--out", words(&out)]);
    assert_eq!(ran.code, Some(3), "{}", ran.text);
    assert!(row(&out, "lacks").contains(",not graded,"), "{}", ran.text);
}

#[test]
fn a_folder_that_stands_in_the_tests_way_is_unusable() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    hand_in(&submissions, "named", "x.ko/hello.c", HELLO.as_bytes());
    hand_in(&submissions, "named", "x.ko/Makefile", b"obj-m := hello.o\n");
    hand_in(&submissions, "second", "hello.c", HELLO.as_bytes());
    hand_in(&submissions, "second", "api.c", b"#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\n");
    hand_in(&submissions, "second", "Makefile", b"obj-m := hello.o api.o\n");
    teachers(folder.path(), "api", HELLO);
    let steps = "- insmod: api\n- insmod: hello\n- rmmod: hello\n- rmmod: api\n";
    let path = assignment(folder.path(), "", "api, $folder", steps);
    let ran = grade(&[words(&path), words(&submissions), "--out", words(&out)]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    for (student, says) in [("named", "x.ko is a folder"), ("second", "a second module named `api`")] {
        let row = row(&out, student);
        assert!(row.contains(",unusable,0,10,") && row.contains(says), "{row}");
    }
}

/// A file that the kernel has to refuse is no reason not to look what the student's is called.
#[test]
fn beside_a_file_that_is_to_be_refused_a_wrong_name_is_told() {
    let folder = TempDir::new().unwrap();
    let (submissions, out) = (folder.path().join("submissions"), folder.path().join("out"));
    hand_in(&submissions, "other", "mine.c", HELLO.as_bytes());
    let foreign = for_another_kernel();
    let ko = foreign.path().join("helloModule.ko").display().to_string();
    let steps = "- {insmod: helloModule, expect: ENOEXEC}\n- insmod: hello\n";
    let path = assignment(folder.path(), "", &format!("{ko}, $folder"), steps);
    let ran = grade(&[words(&path), words(&submissions), "--out", words(&out)]);
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    let row = row(&out, "other");
    assert!(row.contains(",unusable,0,10,") && row.contains("`hello`"), "{row}");
}
