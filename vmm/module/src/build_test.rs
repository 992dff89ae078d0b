use super::*;
use kernel::fixture::{fake_kernel, write};
use walkdir::WalkDir;

struct Setup {
    folder: tempfile::TempDir,
    cache: Cache,
    kernel: Kernel,
}

fn setup(files: &[(&str, &str)]) -> Setup {
    let (folder, cache, kernel) = fake_kernel();
    for (name, text) in files {
        write(&folder.path().join("mod").join(name), text);
    }
    Setup { folder, cache, kernel }
}

impl Setup {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("mod").join(name)
    }

    /// Whatever comes of it, nothing that a makefile wrote stays.
    fn build(&self) -> Result<Vec<Module>, ModuleError> {
        let built = build(&self.folder.path().join("mod"), &[], &self.kernel, &self.cache);
        let work: Vec<_> = WalkDir::new(self.cache.work("")).max_depth(1).into_iter().flatten().collect();
        let left = work.iter().find(|entry| entry.file_name().to_string_lossy().starts_with("module-"));
        assert!(left.is_none(), "{left:?}");
        built.map(|built| built.modules)
    }

    /// Asserts that the build failed and left no entry.
    fn error(&self) -> ModuleError {
        let error = self.build().unwrap_err();
        assert!(self.cache.keys(Kind::Module).unwrap().is_empty());
        assert_eq!(fs::read_dir(self.cache.root().join("tmp")).unwrap().count(), 0);
        error
    }
}

#[test]
fn all_modules_of_a_folder_are_built_and_then_found() {
    let setup = setup(&[("Makefile", "obj-m := b.o a.o\n"), ("a.c", "int a;\n"), ("b.c", "int b;\n")]);
    let built = setup.build().unwrap();
    let names: Vec<_> = built.iter().map(|it| (it.name.as_str(), it.cached, it.ko.is_file())).collect();
    assert_eq!(names, [("a", false, true), ("b", false, true)]);
    assert!(setup.build().unwrap().iter().all(|module| module.cached));
    let left: Vec<_> = fs::read_dir(setup.at("")).unwrap().flatten().map(|it| it.file_name()).collect();
    assert_eq!(left.len(), 3, "the user's folder is not clean: {left:?}");
}

#[test]
fn a_change_is_built_and_a_module_that_is_no_longer_named_is_gone() {
    let setup = setup(&[("Makefile", "obj-m := a.o b.o\n"), ("a.c", "int a;\n"), ("b.c", "int b;\n")]);
    setup.build().unwrap();
    write(&setup.at("Makefile"), "obj-m := a.o\n");
    let built = setup.build().unwrap();
    assert_eq!(built.iter().map(|it| (it.name.as_str(), it.cached)).collect::<Vec<_>>(), [("a", false)]);
}

#[test]
fn the_first_error_is_told_with_the_users_path() {
    let setup = setup(&[("Makefile", "obj-m := a.o\n"), ("a.c", "int f(void) { return x; }\n")]);
    let error = setup.error();
    assert_eq!(error.fault(), Fault::Build);
    let text = error.to_string();
    assert!(text.contains(&format!("{}:1:", setup.at("a.c").display())), "{text}");
    assert!(text.contains("return x") && text.contains("the whole output is in"), "{text}");
}

#[test]
fn warnings_are_kept_with_the_users_path_also_in_the_cache() {
    let setup = setup(&[("Makefile", "obj-m := a.o\n"), ("a.c", "int f(void) { int x; return 0; }\n")]);
    for cached in [false, true] {
        let built = setup.build().unwrap();
        assert_eq!(built[0].cached, cached);
        let warning = &built[0].warnings[0];
        assert!(warning.contains(&format!("{}:1:", setup.at("a.c").display())), "{warning}");
        assert!(warning.contains("unused variable"), "{warning}");
    }
}

#[test]
fn warnings_of_a_file_outlive_the_change_of_another() {
    let text = "int f(void) { int x; return 0; }\n";
    let setup = setup(&[("Makefile", "obj-m := a.o b.o\n"), ("a.c", text), ("b.c", "int b;\n")]);
    for changed in ["int b;\n", "long b;\n"] {
        write(&setup.at("b.c"), changed);
        let built = setup.build().unwrap();
        assert!(!built[0].cached);
        assert_eq!(built[0].warnings.len(), 1, "{:?}", built[0].warnings);
    }
}

#[test]
fn what_cannot_be_built_is_told_apart() {
    let bare = setup(&[]);
    assert!(bare.error().to_string().ends_with("there is no such folder"));
    assert_eq!(bare.error().fault(), Fault::Input);
    write(&bare.folder.path().join("mod"), "a file");
    assert!(bare.error().to_string().ends_with("it is not a folder"));

    let without = setup(&[("a.c", "int a;\n")]);
    assert!(without.error().to_string().contains("neither a Makefile nor a Kbuild"));

    for name in ["makefile", "GNUmakefile"] {
        let other = setup(&[(name, "obj-m := a.o\n"), ("a.c", "int a;\n")]);
        let text = other.error().to_string();
        assert!(
            text.contains(&format!("reads a Kbuild or a Makefile and no {name}; rename it: mv ")),
            "{text}"
        );
    }

    let unnamed = setup(&[("Makefile", "all:\n\ttrue\n"), ("a.c", "int a;\n")]);
    assert!(unnamed.error().to_string().contains("Makefile names no module"), "{}", unnamed.error());

    let switched_off = setup(&[("Makefile", "obj-$(CONFIG_NEVER) := a.o\n"), ("a.c", "int a;\n")]);
    assert!(switched_off.error().to_string().contains("made no .ko"));

    let missing = setup(&[("Makefile", "obj-m := a.o\n")]);
    let text = missing.error().to_string();
    assert!(
        text.contains("No rule to make target") && text.contains(&missing.at("a.ko").display().to_string()),
        "{text}"
    );
}

#[test]
fn a_kernel_without_rust_is_told_of_where_rust_ended_the_build_alone() {
    let setup = setup(&[("hello_c.c", ""), ("hello_rust.rs", "")]);
    let tree = Tree::scan(&setup.at(""), Limits::MODULE).unwrap();
    let of = |said: &[&str], first: &str| {
        let said: Vec<String> = said.iter().map(|line| (*line).to_owned()).collect();
        ended_at_rust(&tree, &said, Some(&first.to_owned()))
    };
    let rust = "make[3]: *** [/k/scripts/Makefile.build:366: /m/hello_rust.o] Error 127";
    assert!(of(&[rust], "/bin/sh: 1: rustc: not found"));
    assert!(of(&[rust], "error: Error loading target specification: could not find specification"));
    assert!(of(&["make[3]: *** No rule to make target 'hello_rust.o', needed by 'x'.  Stop."], "make[3]: x"));
    let c = "make[3]: *** [/k/scripts/Makefile.build:234: hello_c.o] Error 1";
    assert!(!of(&[c], "mod/hello_c.c:3:1: error: expected ';'"));
    assert!(!of(&[c, rust], "mod/hello_c.c:3:1: error: expected ';'"));
    assert!(!of(&["make: *** [Makefile:1: modules] Error 2"], "ERROR: modpost: x"));
}

#[test]
fn files_outside_of_the_folder_are_built_with_it() {
    let setup = setup(&[
        ("Makefile", "obj-m := a.o\nccflags-y := -I$(src)/../include\n"),
        ("a.c", "#include \"../common/b.h\"\n#include <c.h>\nint a = B + C;\n"),
    ]);
    write(&setup.folder.path().join("common/b.h"), "#define B 1\n");
    write(&setup.folder.path().join("include/c.h"), "#define C 2\n");
    assert!(!setup.build().unwrap()[0].cached);
    assert!(setup.build().unwrap()[0].cached);
    // They are part of what the module is made from, and people know them where they are.
    write(&setup.folder.path().join("include/c.h"), "#define C oops\n");
    let text = setup.build().unwrap_err().to_string();
    assert!(text.contains("'oops' undeclared"), "{text}");
    let header = setup.folder.path().canonicalize().unwrap().join("include/c.h");
    assert!(text.contains("mod/a.c:3:") || text.contains(&header.display().to_string()), "{text}");
    assert!(!text.contains("work/module-"), "{text}");
}

/// As the makefiles of "Linux Device Drivers" do it.
#[test]
fn variables_of_an_outer_make_line_reach_the_build() {
    let setup = setup(&[
        (
            "Makefile",
            "ifneq ($(M),)\nobj-m := a.o\nccflags-y := -I$(LDDINC) $(MORE)\nelse\nPWD := $(shell pwd)\nmodules:\n\t\
             $(MAKE) -C /nowhere M=$(PWD) LDDINC=$(PWD)/../include MORE=\"-DD=1 -DE=2\" modules\nendif\n",
        ),
        ("a.c", "#include <c.h>\nint a = C + D + E;\n"),
    ]);
    write(&setup.folder.path().join("include/c.h"), "#define C 2\n");
    assert_eq!(setup.build().unwrap()[0].name, "a");
}

#[test]
fn makefiles_that_ask_where_they_are_find_the_folder() {
    let setup = setup(&[
        ("Makefile", "obj-m := a.o\nccflags-y := -I$(PWD)/inc\n"),
        ("a.c", "#include <c.h>\nint a = C;\n"),
        ("inc/c.h", "#define C 2\n"),
    ]);
    setup.build().unwrap();
}

#[test]
fn a_damaged_entry_is_built_again() {
    let setup = setup(&[("Makefile", "obj-m := a.o\n"), ("a.c", "int a;\n")]);
    let built = setup.build().unwrap();
    fs::remove_file(&built[0].ko).unwrap();
    assert!(!setup.build().unwrap()[0].cached);
    assert!(built[0].ko.is_file());
}

#[test]
fn what_a_build_leaves_is_its_own_fault_and_goes() {
    // Deeper than this process may have files open.
    let deep = "all:\n\t@(for i in $$(seq 1500); do mkdir d; cd d; done) 2>/dev/null; true\nobj-m := a.o\nmodules: all\n";
    let setup = setup(&[("Makefile", deep), ("a.c", "int a;\n")]);
    assert_eq!(setup.build().unwrap().len(), 1);
    // As others than root see it.
    let why = Refused::Io { path: "a.ko".into(), source: std::io::ErrorKind::PermissionDenied.into() };
    assert!(why.blames_files());
    assert_eq!(ModuleError::Product { folder: "x".into(), why }.fault(), Fault::Build);
    let why = Refused::Io { path: "a.ko".into(), source: std::io::Error::from_raw_os_error(24) };
    assert!(!why.blames_files(), "this process has too many files open");
}

/// As a background process or a shell of its author's would do it.
#[test]
fn what_lies_behind_a_link_in_its_place_is_no_product_of_a_build() {
    let other = setup(&[("Makefile", "obj-m := other.o\n"), ("other.c", "int other;\n")]);
    other.build().unwrap();
    // Others' modules; and its own, elsewhere.
    for target in ["../../modules", "source.x"] {
        let last = format!("@mv $(M) $(M).x && ln -s {target} $(M)");
        let makefile = format!("obj-m := a.o\nmodules: last\nlast: $(M)/a.ko\n\t{last}\n");
        write(&other.at("Makefile"), &makefile);
        write(&other.at("a.c"), "int a;\n");
        let error = other.build().unwrap_err();
        assert_eq!(error.fault(), Fault::Build);
        assert!(error.to_string().contains("can't be kept: failed to read"), "{error}");
        assert_eq!(other.cache.keys(Kind::Module).unwrap().len(), 1, "{target}");
    }
}

#[test]
fn a_build_that_claims_a_full_disk_is_at_fault_itself() {
    let setup = setup(&[
        ("Makefile", "obj-m := a.o\n$(shell cat /proc/version > /dev/full)\n"),
        ("a.c", "#error x\n"),
    ]);
    // Nobody gets a machine's excuse by what a makefile prints.
    let error = setup.error();
    assert_eq!(error.fault(), base::cache::Fault::Build, "{error}");
    assert!(!error.to_string().contains("no space left on the file system"), "{error}");
}

/// Each byte of a hole is one of the cache's disk.
#[test]
fn modules_of_nothing_are_not_kept_where_they_are_many_or_much() {
    for (script, said) in [
        ("for i in $$(seq 300); do truncate -s 1 $(src)/z$$i.ko; done", "VMM_LIMITS=files="),
        ("for i in $$(seq 5); do truncate -s 300M $(src)/z$$i.ko; done", "VMM_LIMITS=total="),
        ("truncate -s 600M $(src)/z.ko", "VMM_LIMITS=file="),
    ] {
        let setup =
            setup(&[("Makefile", &format!("obj-m := a.o\n$(shell {script})\n")), ("a.c", "int a;\n")]);
        let error = setup.error();
        assert_eq!(error.fault(), Fault::Build);
        assert!(error.to_string().contains("can't be kept") && error.to_string().contains(said), "{error}");
    }
}

#[test]
fn what_is_written_while_it_is_read_is_built_as_what_it_is() {
    let (old, new) = ("int old;\n", "int new;\n");
    let setup = setup(&[("Makefile", "obj-m := a.o\n"), ("a.c", old)]);
    let folder = fs::canonicalize(setup.at("")).unwrap();
    // Who builds has read the folder, and waits.
    let lock = setup.cache.lock(&work_name(&folder, &setup.kernel), "it").unwrap();
    std::thread::scope(|scope| {
        let builder = scope.spawn(|| setup.build().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(700));
        write(&setup.at("a.c"), new);
        drop(lock);
        assert!(!builder.join().unwrap()[0].cached);
    });
    assert!(setup.build().unwrap()[0].cached);
    write(&setup.at("a.c"), old);
    assert!(!setup.build().unwrap()[0].cached, "the new one's was taken for the old one's");
}

#[test]
fn links_within_a_folder_are_built_as_links() {
    let setup = setup(&[
        ("Makefile", "obj-m := a.o\nccflags-y := -I$(src)/inc\n"),
        ("a.c", "#include \"x.h\"\nint a = X;\n"),
        ("include/x.h", "#define X 1\n"),
        ("made.o", "a product, and no source"),
    ]);
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, setup.at(name)).unwrap();
    link("include", "inc");
    link("made.o", "product");
    assert!(!setup.build().unwrap()[0].cached);
    write(&setup.at("include/x.h"), "#define X 2\n");
    assert!(!setup.build().unwrap()[0].cached);
    fs::remove_file(setup.at("inc")).unwrap();
    link("./include", "inc");
    assert!(!setup.build().unwrap()[0].cached);
}
