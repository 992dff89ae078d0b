use super::*;
use crate::assignment::Assignment;
use std::fs;

const MAIN: &str = "#include <linux/module.h>\nmodule_init(a);\nMODULE_LICENSE(\"GPL\");\n";

const OTHER: &str = "#include <linux/module.h>\nmodule_init(b);\nregister_chrdev(0, \"other\", &fops);\n";

fn assignment(more: &str) -> Assignment {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.yaml"), "steps: [{sleep: 1 s}]").unwrap();
    fs::write(folder.path().join("Makefile"), "obj-m := ${module}.o\n").unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, format!("kind: module\ntests: [{{scenario: t.yaml, points: 1}}]\n{more}")).unwrap();
    Assignment::load(&path).unwrap()
}

fn files(all: &[(&str, &str)]) -> Files {
    let files = all.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    Files { files, notes: Vec::new() }
}

fn prepare(
    assignment: &Assignment,
    files: &Files,
    wanted: Option<&str>,
    asked: &Asked,
) -> Result<Prepared, String> {
    super::prepare(&assignment.rules(), files, wanted, asked)
}

fn prepared(all: &[(&str, &str)]) -> Result<Prepared, String> {
    prepare(&assignment(""), &files(all), None, &Asked::default())
}

#[test]
fn a_module_is_found_at_any_depth_and_named_by_its_makefile_or_its_file() {
    let deep = prepared(&[("s/a b/(1)/drv.c", MAIN), ("s/a b/(1)/drv.h", ""), ("report.pdf", "x")]).unwrap();
    assert_eq!((&*deep.root, &*deep.module), ("s/a_b/_1_", "drv"));
    assert_eq!(deep.files["s/a_b/_1_/Kbuild"], b"obj-m := drv.o\n", "no makefile: one is made");
    assert!(
        !deep.files.contains_key("report.pdf")
            && deep.notes.iter().any(|note| note.contains("taken as s/a_b/_1_/drv.c"))
    );
    let named = prepared(&[
        ("main.c", MAIN),
        ("util.c", ""),
        ("makefile", "obj-m += mod.o\nmod-objs := main.o util.o\n"),
    ]);
    let named = named.unwrap();
    assert_eq!(
        (&*named.module, named.files.contains_key("Makefile"), named.files.contains_key("Kbuild")),
        ("mod", true, false)
    );
    // By variables, and of parts in folders below.
    let by_variable = [
        ("main.c", MAIN),
        ("util.c", ""),
        ("Makefile", "TARGET := drv\nobj-m := $(TARGET).o\n${TARGET}-objs := main.o util.o\n"),
    ];
    let below = [
        ("w/src/main.c", MAIN),
        ("w/src/util.c", ""),
        ("w/Makefile", "obj-m := drv.o\ndrv-y := src/main.o src/util.o\nccflags-y := -I$(src)/include\n"),
    ];
    for (all, root) in [(by_variable, ""), (below, "w")] {
        let found = prepared(&all).unwrap();
        assert_eq!((&*found.root, &*found.module, found.files.len()), (root, "drv", 3), "{:?}", found.notes);
        assert!(found.notes.is_empty(), "{:?}", found.notes);
    }
    let included = [
        ("w/main.c", MAIN),
        ("w/rules.mk", "obj-m := drv.o\ndrv-y := main.o\n"),
        ("w/Makefile", "include $(src)/rules.mk\n-include nowhere.mk\n"),
    ];
    let included = prepared(&included).unwrap();
    assert_eq!((&*included.root, &*included.module, included.files.len()), ("w", "drv", 3));
    let shell = prepared(&[("a.c", MAIN), ("Makefile", "obj-m := $(shell echo a).o\n")]).unwrap();
    assert!(!shell.files.contains_key("Kbuild"), "nobody overrules it");
    // LDD3's makefiles, and a name that only make knows.
    let outer = prepared(&[
        ("x/a.c", MAIN),
        ("x/Makefile", "ifneq ($(KERNELRELEASE),)\n\tobj-m := a.o\nelse\nall:\nendif\n"),
    ])
    .unwrap();
    assert_eq!((&*outer.root, &*outer.module, outer.files.len()), ("x", "a", 2));
}

#[test]
fn a_module_may_be_in_rust() {
    let main = "// module!\nuse kernel::prelude::*;\nmodule! {\n    type: Drv,\n    name: \"drv\",\n    license: \"GPL\",\n}\n\
                const OPTIONS: MiscDeviceOptions = MiscDeviceOptions { name: c\"mine\" };\n";
    let alone = prepare(
        &assignment("penalties: {license: 5}\n"),
        &files(&[("s/drv.rs", main)]),
        None,
        &Asked::default(),
    )
    .unwrap();
    assert_eq!((&*alone.root, &*alone.module, alone.license_mended), ("s", "drv", false));
    assert_eq!(alone.files["s/Kbuild"], b"obj-m := drv.o\n");
    assert_eq!(crate::source::device(&alone.text, "drv").as_deref(), Some("mine"));
    let replaced = assignment("teacher: {Makefile: Makefile}\n");
    let all = [
        ("drv.rs", main),
        ("ring.rs", "pub struct Ring;"),
        ("old.rs", main),
        ("try.rs", "fn main() {}"),
        ("Makefile", "obj-m := drv.o\nRUSTFLAGS_drv.o := --cfg x\n"),
    ];
    let several = prepare(&replaced, &files(&all), None, &Asked::default()).unwrap();
    assert_eq!((&*several.module, &*several.files["Makefile"]), ("drv", &b"obj-m := drv.o\n"[..]));
    assert!(several.text.contains("Ring") && !several.text.contains("fn main"), "{}", several.text);
    assert!(
        several.notes.contains(&"left out: old.rs; the makefile builds drv.rs".to_owned()),
        "{:?}",
        several.notes
    );
    assert!(several.notes.iter().any(|note| note.ends_with("takes its place, and builds drv.rs")));
}

#[test]
fn what_a_program_beside_it_says_is_not_the_modules() {
    let driver = format!("{MAIN}#define DEVICE_NAME \"mydev\"\nregister_chrdev(0, DEVICE_NAME, &fops);\n");
    let client = "#define DEVICE_NAME \"/dev/mydev\"\nint main(void)\n{\n}\n";
    let found = prepared(&[("client.c", client), ("driver.c", &driver)]).unwrap();
    assert_eq!(crate::source::device(&found.text, "driver").as_deref(), Some("mydev"));
    let helper = "#define DEVICE_NAME \"helper\"\n";
    let all = [("a_helper.h", helper), ("driver.c", &*driver)];
    assert_eq!(crate::source::device(&prepared(&all).unwrap().text, "driver").as_deref(), Some("mydev"));
}

#[test]
fn the_teachers_makefile_goes_before_the_students() {
    let assignment = assignment("teacher: {Makefile: Makefile}\n");
    let all = [
        ("s/a.c", MAIN),
        ("s/Makefile", "obj-m := evil.o\n$(shell reboot)\n"),
        ("s/Kbuild", "obj-m := evil.o\n"),
        ("s/GNUmakefile", "all:\n\tmake -C /x M=. ccflags-y= modules\n"),
    ];
    let prepared = prepare(&assignment, &files(&all), None, &Asked::default()).unwrap();
    assert_eq!((&*prepared.module, &*prepared.files["s/Makefile"]), ("a", &b"obj-m := a.o\n"[..]));
    assert!(!prepared.files.contains_key("s/Kbuild"), "it would go before the Makefile");
}

#[test]
fn stale_objects_and_windows_line_ends_are_taken_out() {
    let all = [
        ("a.c", "int a;\r\nmodule_init(a);\r\n"),
        ("a.ko", "x"),
        ("a.mod.c", MAIN),
        (".a.o.cmd", "x"),
        ("Makefile", "\u{feff}obj-m := a.o\r\n"),
    ];
    let prepared = prepared(&all).unwrap();
    assert_eq!(prepared.files["a.c"], b"int a;\nmodule_init(a);\n");
    assert_eq!((&*prepared.files["Makefile"], prepared.files.len()), (&b"obj-m := a.o\n"[..], 2));
    assert!(
        prepared.notes.iter().any(|note| note.contains("3 files that a build leaves")),
        "{:?}",
        prepared.notes
    );
}

#[test]
fn what_is_no_module_is_told() {
    for (all, says) in [
        (&[("a.ko", "\x7fELF")][..], "a.ko is a built module"),
        (&[("report.pdf", "x")], "no source in it, in C or in Rust, only report.pdf"),
        (&[("a.c", "int main() {}")], "none of a.c has module_init"),
        (&[("a.c", "\x7fELF\0")], "a.c is not text: it is a program"),
        (&[("a.c", "/* module_init(x) */")], "none of a.c has module_init"),
        (&[("a.c", MAIN), ("b.c", OTHER)], "several modules in it: a.c, b.c; no makefile says which"),
        (&[("linux/MAINTAINERS", ""), ("linux/kernel/sched/core.c", "")], "a whole kernel tree"),
    ] {
        let why = prepared(all).unwrap_err();
        assert!(why.contains(says), "{why}");
    }
    let utf16 =
        Files { files: [("a.c".to_owned(), b"\xff\xfe\0\xd8i\0".to_vec())].into(), notes: Vec::new() };
    assert!(
        prepare(&assignment(""), &utf16, None, &Asked::default()).unwrap_err().contains("save it as UTF-8")
    );
    let two = files(&[("a.c", MAIN), ("b.c", OTHER)]);
    assert_eq!(prepare(&assignment(""), &two, Some("b"), &Asked::default()).unwrap().module, "b");
    let dashed = files(&[("my-a.c", MAIN), ("b.c", OTHER)]);
    assert_eq!(prepare(&assignment(""), &dashed, Some("my_a"), &Asked::default()).unwrap().module, "my-a");
    assert!(
        prepare(&assignment(""), &two, Some("c"), &Asked::default())
            .unwrap_err()
            .contains("no module named c in it, but a, b")
    );
}

#[test]
fn a_missing_licence_is_mended_only_where_the_assignment_says_so() {
    let all = files(&[("a.c", "module_init(a);\n// MODULE_LICENSE(\"GPL\");")]);
    assert!(!prepare(&assignment(""), &all, None, &Asked::default()).unwrap().license_mended);
    let mended = prepare(&assignment("penalties: {license: 5}\n"), &all, None, &Asked::default()).unwrap();
    assert!(mended.license_mended && mended.files["a.c"].ends_with(b"\nMODULE_LICENSE(\"GPL\");\n"));
    let all = files(&[("a.c", MAIN)]);
    assert!(
        !prepare(&assignment("penalties: {license: 5}\n"), &all, None, &Asked::default())
            .unwrap()
            .license_mended
    );
}

#[test]
fn of_versions_side_by_side_the_makefile_says_which_counts() {
    let replaced = assignment("teacher: {Makefile: Makefile}\n");
    let own = assignment("");
    let makefile = ("Makefile", "obj-m := drv.o\nall:\n\tmake\n");
    for (assignment, other) in [
        (&replaced, "drv_old.c"),
        (&own, "drv_old.c"),
        (&replaced, "a copy of drv.c"),
        (&replaced, "backup/drv.c"),
        (&own, "backup/drv.c"),
    ] {
        let all = files(&[("drv.c", MAIN), (other, OTHER), makefile]);
        let prepared =
            prepare(assignment, &all, None, &Asked::default()).unwrap_or_else(|why| panic!("{other}: {why}"));
        assert_eq!((&*prepared.root, &*prepared.module), ("", "drv"), "{other}");
        assert!(!prepared.text.contains("other"), "{other}: what it says of itself");
        let other = other.replace(' ', "_");
        let note = format!("left out: {other}; the makefile builds drv.c");
        assert!(prepared.notes.contains(&note), "{:?}", prepared.notes);
    }
    // A module of several files is none of several modules.
    let parts = [("main.c", MAIN), ("io.c", OTHER), ("Makefile", "obj-m := drv.o\ndrv-y := main.o io.o\n")];
    assert!(prepare(&own, &files(&parts), None, &Asked::default()).unwrap().text.contains("other"));
    let both = [("a.c", MAIN), ("b.c", OTHER), ("Makefile", "obj-m := a.o b.o\n")];
    let why = prepare(&replaced, &files(&both), None, &Asked::default()).unwrap_err();
    assert!(why.contains("makefiles build all of them: a, b"), "{why}");
    let same =
        prepare(&replaced, &files(&[("drv.c", MAIN), ("drv (1).c", MAIN)]), None, &Asked::default()).unwrap();
    assert_eq!(same.module, "drv");
    assert!(
        same.notes.contains(&"left out: drv__1_.c; they are the same as drv.c".to_owned()),
        "{:?}",
        same.notes
    );
    let outer = [("src/drv.c", MAIN), ("src/old.c", OTHER), ("Makefile", "obj-m := src/drv.o\n")];
    assert_eq!(prepare(&replaced, &files(&outer), None, &Asked::default()).unwrap().module, "drv");
}

#[test]
fn the_assignments_makefile_lies_beside_the_main_file_and_its_headers_change_no_names() {
    let makefile = "obj-m := drv.o\ndrv-y := src/drv.o\n";
    let handed_in = files(&[("src/drv.c", MAIN), ("Makefile", makefile)]);
    let prepared = |assignment: &str| {
        let assignment = self::assignment(assignment);
        let prepared = prepare(&assignment, &handed_in, None, &Asked::default()).unwrap();
        (prepared.root, prepared.module)
    };
    assert_eq!(prepared("teacher: {Makefile: Makefile}\n"), ("src".into(), "drv".into()));
    let handed_in = files(&[("src/main.c", MAIN), ("Makefile", "obj-m := drv.o\ndrv-y := src/main.o\n")]);
    let header = self::assignment("teacher: {api.h: Makefile}\n");
    let prepared = prepare(&header, &handed_in, None, &Asked::default()).unwrap();
    assert_eq!((&*prepared.root, &*prepared.module), ("", "drv"));
}

#[test]
fn a_makefile_that_is_not_used_is_told() {
    let replaced = assignment("teacher: {Makefile: Makefile}\n");
    let with = |makefile: &str| {
        prepare(&replaced, &files(&[("s/a.c", MAIN), ("s/Makefile", makefile)]), None, &Asked::default())
            .unwrap()
            .notes
    };
    let told = "s/Makefile is not used: the assignment's Makefile takes its place, and builds a.c";
    assert_eq!(with("obj-m := a.o\nccflags-y := -O3\n"), [told]);
    assert!(with("obj-m :=  a.o\n").is_empty());
}

#[test]
fn a_makefile_of_many_lines_is_read_once() {
    let lines: String = (0..10_000).map(|number| format!("obj-m += a{number}.o\n")).collect();
    let start = std::time::Instant::now();
    assert!(prepared(&[("a1.c", MAIN), ("Makefile", &lines)]).is_ok());
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    let error = prepared(&[("a1.c", MAIN), ("Makefile", &lines.repeat(2))]).unwrap_err();
    assert!(error.contains("more than 256 KiB"), "{error}");
}

#[test]
fn several_modules_are_taken_where_the_tests_name_them() {
    let asked = |names: &[&str], any: bool| Asked {
        modules: names.iter().map(|it| (*it).to_owned()).collect(),
        any,
        ..Asked::default()
    };
    let base = ("base.c", "module_init(b);\nEXPORT_SYMBOL(f);\nMODULE_LICENSE(\"GPL\");\n");
    let user = ("user.c", "module_init(u);\n");
    let old = ("old.c", OTHER);
    let both = ("Makefile", "obj-m := base.o user.o\n");
    let parts = ("Makefile", "obj-m := base.o drv.o\ndrv-y := user.o more.o\n");
    let all = asked(&["base", "user"], false);
    let licensed = assignment("penalties: {license: 5}\n");
    let made = |files_: &[(&str, &str)], asked: &Asked| prepare(&licensed, &files(files_), None, asked);
    let two = made(&[base, user, both], &all).unwrap();
    assert_eq!((&*two.module, &*two.files["Makefile"]), ("base", both.1.as_bytes()));
    assert!(two.text.contains("module_init(b)") && two.text.contains("module_init(u)"));
    assert!(two.license_mended && two.files["user.c"].ends_with(b"\nMODULE_LICENSE(\"GPL\");\n"));
    assert_eq!(two.files["base.c"], base.1.as_bytes(), "it has one");
    // Without a makefile, beside what nobody asks for.
    let made_up = made(&[base, user, old], &all).unwrap();
    assert_eq!(made_up.files["Kbuild"], b"obj-m := base.o user.o\n");
    assert!(
        !made_up.text.contains("other") && made_up.notes.iter().any(|note| note.contains("left out: old.c"))
    );
    // By the name that it has in the makefile; and one more by whatever name it has.
    let by_part = made(&[base, user, ("more.c", ""), parts], &asked(&["base"], true)).unwrap();
    assert_eq!(by_part.module, "drv");
    // Also where no makefile says so, or only the assignment's: it is the one that is left.
    let one_more = made(&[base, user], &asked(&["base"], true)).unwrap();
    assert_eq!((&*one_more.module, &*one_more.files["Kbuild"]), ("user", &b"obj-m := user.o base.o\n"[..]));
    let taught = assignment("teacher: {Makefile: Makefile}\n");
    let one_more = prepare(&taught, &files(&[base, user]), None, &asked(&["base"], true)).unwrap();
    assert_eq!((&*one_more.module, &*one_more.files["Makefile"]), ("user", &b"obj-m := user.o\n"[..]));
    let why = made(&[base, user, old], &asked(&["base"], true)).unwrap_err();
    assert!(why.contains("several modules in it: old.c, user.c; no makefile says which"), "{why}");
    let copies = [base, user, ("user (1).c", user.1), ("base (1).c", base.1)];
    assert_eq!(made(&copies, &asked(&["base"], true)).unwrap().module, "user");
    let left_out = made(&[base, old], &asked(&["base"], false)).unwrap();
    let note = "left out: old.c; the tests load base.c".to_owned();
    assert!(left_out.module == "base" && left_out.notes.contains(&note), "{:?}", left_out.notes);
    // What the makefile builds goes before what is only called so.
    let makefile = ("Makefile", "obj-m := user.o\n");
    assert_eq!(made(&[base, user, makefile], &asked(&["base"], false)).unwrap().module, "user");
    let both_roots = [("a/base.c", base.1), ("b/base.c", base.1), ("b/user.c", user.1)];
    assert_eq!(made(&both_roots, &all).unwrap().root, "b");
    // Nobody names them all.
    let why = made(&[base, user, both], &asked(&["x"], true)).unwrap_err();
    assert!(why.contains("makefiles build all of them: base, user"), "{why}");
    let wanted = prepare(&licensed, &files(&[base, user, old, both]), Some("old"), &all).unwrap();
    assert_eq!(wanted.module, "old");
}
