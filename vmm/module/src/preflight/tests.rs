//! Modules made by the compiler alone: everything that preflight reads, and no kernel.

use super::*;
use std::{collections::HashMap, process::Command};

/// Where modules and a source are.
struct Setup {
    folder: tempfile::TempDir,
    facts: Facts,
}

/// What a module's C source holds.
#[derive(Clone, Copy)]
struct Made<'a> {
    info: &'a [&'a str],
    exports: &'a [&'a str],
    gpl_exports: &'a [&'a str],
    needs: &'a [&'a str],
    versions: &'a [(&'a str, u32)],
    init: bool,
    exit: bool,
}

const GOOD: Made = Made {
    info: &["license=GPL", "name=good", "vermagic=6.12.1-x SMP mod_unload "],
    exports: &[],
    gpl_exports: &[],
    needs: &["_printk"],
    versions: &[],
    init: true,
    exit: true,
};

fn setup() -> Setup {
    let exports = "0x00000011\t_printk\tvmlinux\tEXPORT_SYMBOL\t\n\
        0x00000022\tgpl_thing\tvmlinux\tEXPORT_SYMBOL_GPL\t\n\
        0x00000033\tusb_thing\tvmlinux\tEXPORT_SYMBOL\tUSB\n\
        0x00000044\tfat_thing\tfs/fat/fat\tEXPORT_SYMBOL\t\n\
        0x00000055\tkvm_thing\tvmlinux\tEXPORT_SYMBOL_GPL\tmodule:kvm,my-*\n";
    let folder = tempfile::tempdir().unwrap();
    let map = folder.path().join("System.map");
    fs::write(&map, "ffffffff81000000 T hidden_thing\n").unwrap();
    let facts = Facts {
        release: "6.12.1-x".into(),
        vermagic: Some("6.12.1-x SMP mod_unload ".into()),
        exports: Some(Exports::of(exports.to_owned())),
        config: Some(HashMap::new()),
        map,
    };
    Setup { folder, facts }
}

impl Setup {
    fn make(&self, name: &str, made: Made<'_>) -> PathBuf {
        let mut code =
            String::from("char this_module[64] __attribute__((section(\".gnu.linkonce.this_module\")));\n");
        let info: String = made.info.iter().map(|info| format!("\"{info}\\0\" ")).collect();
        code += &format!("const char info[] __attribute__((section(\".modinfo\"))) = {info} \"\";\n");
        for (section, names) in [("__ksymtab", made.exports), ("__ksymtab_gpl", made.gpl_exports)] {
            for name in names {
                code +=
                    &format!("static int __ksymtab_{name} __attribute__((used, section(\"{section}\")));\n");
            }
        }
        for name in made.needs {
            code += &format!("extern int {name}(void); int (*use_{name})(void) = {name};\n");
        }
        if made.init {
            code += "int init_module(void) { return 0; }\n";
        }
        if made.exit {
            code += "void cleanup_module(void) {}\n";
        }
        if !made.versions.is_empty() {
            let rows: String =
                made.versions.iter().map(|(name, crc)| format!("{{ {crc}ul, \"{name}\" }},")).collect();
            code += &format!(
                "const struct {{ unsigned long crc; char name[56]; }} versions[] \
                 __attribute__((section(\"__versions\"))) = {{ {rows} }};\n"
            );
        }
        let (source, ko) = (self.at("module.c"), self.at(name));
        fs::write(&source, code).unwrap();
        let status = Command::new("gcc").args(["-c", "-w", "-o"]).args([&ko, &source]).status().unwrap();
        assert!(status.success());
        ko
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn check(&self, files: &[&Path]) -> Vec<Problem> {
        self.checked(files).problems
    }

    fn checked(&self, files: &[&Path]) -> Checked {
        let cache = Cache::at(&self.at("cache")).unwrap();
        let load = |path: &&Path| Candidate::load(path, path, Way::Given).unwrap();
        check(&files.iter().map(load).collect::<Vec<_>>(), &self.facts, &cache)
    }

    /// Asserts that there is this one problem.
    #[track_caller]
    fn complains(&self, name: &str, made: Made<'_>, what: &[&str]) {
        let problems = self.check(&[&self.make(name, made)]);
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        let text = problem.to_string();
        assert!(what.iter().all(|what| text.contains(what)), "{text}");
        assert!(text.contains(name) && !text.contains('\n'), "{text}");
    }
}

#[test]
fn a_good_module_has_no_problem_plain_or_compressed() {
    let setup = setup();
    let ko = setup.make("good.ko", GOOD);
    assert_eq!(setup.check(&[&ko]), []);
    assert!(Command::new("xz").arg(&ko).status().unwrap().success());
    assert_eq!(setup.check(&[&setup.at("good.ko.xz")]), []);
}

#[test]
fn parameters_are_told_by_the_name_that_the_kernel_gives_the_module() {
    let setup = setup();
    let info: &[&str] = &[
        "parmtype=size:int",
        "parm=size:how much",
        "parm=old:has no type",
        "parmtype=list:array of int",
        "license=GPL",
        "name=a_b",
        "vermagic=6.12.1-x SMP mod_unload ",
    ];
    let checked = setup.checked(&[&setup.make("a-b.ko", Made { info, ..GOOD })]);
    assert_eq!(checked.problems, []);
    let parameters: Vec<_> = checked.parameters.into_iter().collect();
    assert_eq!(parameters, [("a_b".to_owned(), ["list", "old", "size"].map(str::to_owned).to_vec())]);
}

#[test]
fn what_is_no_module_is_told_apart() {
    let setup = setup();
    let whole = fs::read(setup.make("good.ko", GOOD)).unwrap();
    let mut arm = whole.clone();
    arm[18] = 183;
    let cases: [(&[u8], &str); 6] = [
        (b"", "is empty"),
        (b"#!/bin/sh\n", "no ELF file"),
        (&whole[..whole.len() / 2], "cut off or damaged"),
        (&whole[..20], "cut off or damaged"),
        (&arm, "is for arm64"),
        (b"\xfd7zXZ\0rubbish", "xz compression is cut off"),
    ];
    for (bytes, what) in cases {
        let path = setup.at("bad.ko");
        fs::write(&path, bytes).unwrap();
        let text = match Candidate::load(&path, &path, Way::Given) {
            Ok(_) => setup.check(&[&path])[0].to_string(),
            Err(problem) => problem.to_string(),
        };
        assert!(text.contains(what), "{text}");
    }
    let program = std::env::current_exe().unwrap();
    let path = setup.at("program.ko");
    fs::copy(program, &path).unwrap();
    assert!(setup.check(&[&path])[0].to_string().contains("a program or a library"));
    fs::write(setup.at("plain.c"), "int x;\n").unwrap();
    let object = setup.at("plain.ko");
    let status =
        Command::new("gcc").args(["-c", "-o"]).args([&object, &setup.at("plain.c")]).status().unwrap();
    assert!(status.success());
    assert!(setup.check(&[&object])[0].to_string().contains("was not made a module"));
    let folder = setup.at("folder.ko");
    fs::create_dir(&folder).unwrap();
    let problem = Candidate::load(&folder, &folder, Way::Given).unwrap_err();
    assert!(problem.to_string().contains("is a folder"), "{problem}");
    assert_eq!(problem.fault, Fault::Input);
}

/// A module is read by our own process: whatever its bytes are, that must go on.
#[test]
fn no_damage_makes_the_reader_panic() {
    let setup = setup();
    let made = Made { versions: &[("_printk", 1)], exports: &["a"], ..GOOD };
    let whole = fs::read(setup.make("good.ko", made)).unwrap();
    for at in 0..whole.len().min(4096) {
        for value in [0x00, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let _ = Module::parse(&bytes);
        }
        let _ = Module::parse(&whole[..at]);
    }
}

#[test]
fn a_module_of_another_kernel_shows_both_vermagics() {
    let info: &[&str] =
        &["license=GPL", "name=good", "vermagic=6.1.0-13-amd64 SMP preempt mod_unload modversions "];
    setup().complains(
        "good.ko",
        Made { info, ..GOOD },
        &["`6.1.0-13-amd64 SMP preempt mod_unload modversions`", "`6.12.1-x SMP mod_unload`"],
    );
}

#[test]
fn with_modversions_checksums_decide_and_not_the_release() {
    let mut setup = setup();
    setup.facts.vermagic = Some("6.12.1-x SMP mod_unload modversions ".into());
    setup.facts.config = Some([("MODVERSIONS".to_owned(), "y".to_owned())].into());
    let info: &[&str] = &["license=GPL", "name=good", "vermagic=6.12.9-y SMP mod_unload modversions "];
    let same = Made { info, versions: &[("_printk", 0x11)], ..GOOD };
    assert_eq!(setup.check(&[&setup.make("good.ko", same)]), []);
    let other = Made { versions: &[("_printk", 0x99)], ..same };
    setup.complains("good.ko", other, &["another version of `_printk`", "0x00000099", "0x00000011"]);
}

#[test]
fn a_name_that_is_not_the_files_is_told() {
    setup().complains("other.ko", GOOD, &["calls itself `good`", "rename the file to good.ko"]);
    let info: &[&str] = &["license=GPL", "name=a_b", "vermagic=6.12.1-x SMP mod_unload "];
    let setup = setup();
    assert_eq!(setup.check(&[&setup.make("a-b.ko", Made { info, ..GOOD })]), []);
}

#[test]
fn symbols_for_gpl_modules_are_refused_to_others() {
    let info: &[&str] = &["license=Proprietary", "name=good", "vermagic=6.12.1-x SMP mod_unload "];
    let made = Made { info, needs: &["gpl_thing"], ..GOOD };
    setup().complains("good.ko", made, &["uses `gpl_thing`", "`Proprietary`", "MODULE_LICENSE"]);
    let info: &[&str] = &["license=Dual MIT/GPL", "name=good", "vermagic=6.12.1-x SMP mod_unload "];
    let setup = setup();
    assert_eq!(setup.check(&[&setup.make("good.ko", Made { info, ..made })]), []);
}

#[test]
fn a_namespace_has_to_be_imported() {
    let made = Made { needs: &["usb_thing"], ..GOOD };
    setup().complains("good.ko", made, &["namespace USB", "MODULE_IMPORT_NS(USB);"]);
    let mut setup = setup();
    (setup.facts.release, setup.facts.vermagic) = ("6.13.0".into(), None);
    setup.complains("good.ko", made, &["MODULE_IMPORT_NS(\"USB\");"]);
}

#[test]
fn a_missing_symbol_names_who_would_bring_it() {
    let setup = setup();
    let tree = setup.at("cache/sources/x/linux");
    kernel::fixture::write(&tree.join("Makefile"), "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\n");
    kernel::fixture::write(&tree.join("Kbuild"), "");
    kernel::fixture::write(&tree.join("Kconfig"), "");
    kernel::fixture::write(&tree.join("scripts/x"), "");
    kernel::fixture::write(&tree.join("arch/x86/x"), "");
    kernel::fixture::write(&tree.join("mm/a.c"), "");
    kernel::fixture::write(&tree.join("lib/Makefile"), "obj-$(CONFIG_CRC7) += crc7.o\n");
    kernel::fixture::write(&tree.join("lib/crc7.c"), "EXPORT_SYMBOL(crc7_be);\n");
    let with = |needs| Made { needs, ..GOOD };
    setup.complains("good.ko", with(&["crc7_be"]), &["needs `crc7_be`", "lib/crc7.c", "CONFIG_CRC7=y"]);
    setup.complains("good.ko", with(&["hidden_thing"]), &["does not export it"]);
    setup.complains("good.ko", with(&["_printq"]), &["did you mean `_printk`?"]);
    setup.complains("good.ko", with(&["fat_thing"]), &["fs/fat/fat.ko exports"]);
}

#[test]
fn symbols_for_modules_of_a_name_are_theirs_without_an_import() {
    let mut setup = setup();
    let of = |setup: &Setup, name: &str| {
        let own = format!("name={}", name.replace('-', "_"));
        let info: &[&str] = &["license=GPL", &own, "vermagic=6.12.1-x SMP mod_unload "];
        let ko = setup.make(&format!("{name}.ko"), Made { info, needs: &["kvm_thing"], ..GOOD });
        setup.check(&[&ko]).into_iter().map(|problem| problem.what).collect::<Vec<_>>()
    };
    // Before 6.16 it is a namespace as all others.
    let [early] = &of(&setup, "kvm")[..] else { panic!() };
    assert!(early.contains("write MODULE_IMPORT_NS(module:kvm,my-*)"), "{early}");
    setup.facts.release = "7.3.4".into();
    for name in ["kvm", "my-module"] {
        assert!(of(&setup, name).is_empty(), "{name}");
    }
    for name in ["kvm-more", "my"] {
        let [problem] = &of(&setup, name)[..] else { panic!("{name}") };
        assert!(problem.contains("uses `kvm_thing`") && problem.contains("names only"), "{problem}");
    }
}

#[test]
fn the_file_of_the_folder_that_has_a_missing_symbol_is_named() {
    let setup = setup();
    fs::create_dir(setup.at("mod")).unwrap();
    fs::write(setup.at("mod/util.c"), "int util(void)\n{\n\treturn 0;\n}\n").unwrap();
    let tree = Tree::scan(&setup.at("mod"), jail::Limits::MODULE).unwrap();
    let cache = Cache::at(&setup.at("cache")).unwrap();
    let names = ["util", "_printq"].map(str::to_owned);
    let lines = undefined(&names, &setup.at("mod"), &tree, &setup.facts, &cache);
    assert!(lines[0].starts_with("util: util.c defines it; link that into the module"), "{lines:?}");
    assert!(lines[0].contains("(NAME-objs := ... util.o)"), "{lines:?}");
    assert!(lines[1].contains("did you mean `_printk`?"), "{lines:?}");
}

#[test]
fn modules_of_a_scenario_bring_symbols_to_each_other() {
    let setup = setup();
    let info = |name| ["license=GPL", name, "vermagic=6.12.1-x SMP mod_unload "];
    let a = setup.make("a.ko", Made { info: &info("name=a"), gpl_exports: &["of_a"], ..GOOD });
    let b = setup.make("b.ko", Made { info: &info("name=b"), needs: &["of_a"], ..GOOD });
    assert_eq!(setup.check(&[&a, &b]), []);
    assert!(setup.check(&[&b])[0].to_string().contains("needs `of_a`"));
    let mit = ["license=MIT", "name=b", "vermagic=6.12.1-x SMP mod_unload "];
    let b = setup.make("b.ko", Made { info: &mit, needs: &["of_a"], ..GOOD });
    assert!(setup.check(&[&a, &b])[0].to_string().contains("which a exports for GPL-compatible"));
}

#[test]
fn modules_that_need_each_other_are_shown_as_a_circle() {
    let setup = setup();
    let info = |name| ["license=GPL", name, "vermagic=6.12.1-x SMP mod_unload "];
    let a = setup.make("a.ko", Made { info: &info("name=a"), exports: &["of_a"], needs: &["of_b"], ..GOOD });
    let b = setup.make("b.ko", Made { info: &info("name=b"), exports: &["of_b"], needs: &["of_a"], ..GOOD });
    let c = setup.make("c.ko", Made { info: &info("name=c"), needs: &["of_a"], ..GOOD });
    let problems = setup.check(&[&c, &a, &b]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let text = problems[0].to_string();
    assert!(text.contains("a -> b -> a") || text.contains("b -> a -> b"), "{text}");
}

#[test]
fn a_module_without_init_or_exit_is_only_warned_of() {
    let setup = setup();
    let warning = |made: Made| match &setup.check(&[&setup.make("good.ko", made)])[..] {
        [problem] if problem.gravity == Gravity::Warning => problem.what.clone(),
        other => panic!("{other:?}"),
    };
    assert!(warning(Made { init: false, ..GOOD }).contains("no init function"));
    assert!(warning(Made { exit: false, ..GOOD }).contains("no exit function, so it can never be unloaded"));
    // What has neither can be unloaded.
    assert!(warning(Made { init: false, exit: false, ..GOOD }).contains("no init function"));
}

#[test]
fn a_machine_without_a_process_to_read_in_is_no_fault_of_a_module() {
    for way in [Way::Built, Way::Given] {
        let candidate = Candidate { shown: "a.ko".into(), name: "a".into(), way, bytes: Vec::new() };
        let none = Unread::Machine(std::io::ErrorKind::OutOfMemory.into());
        assert_eq!(unread(&candidate, &none).fault, Fault::Machine);
        assert_eq!(unread(&candidate, &Unread::Ended("was killed".into())).fault, way.fault());
    }
}
