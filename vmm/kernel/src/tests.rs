//! Whole builds, of a tree that has a kernel's outside and takes a moment to build.

use crate::{
    fixture::{MAKEFILE, Setup, setup, write},
    *,
};
use base::cache::{Cache, Fault, Kind};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, SystemTime},
};

#[test]
fn a_kernel_is_built_once_and_then_found() {
    let setup = setup();
    let built = setup.ensure().unwrap();
    assert!(!built.cached);
    assert_eq!(built.release, "6.12.3-fake");
    assert_eq!(built.syscalls.name(protocol::Door::Syscall64, 548), Some("ours"));
    assert!(built.boot.ends_with("vmlinux.boot") && built.vmlinux.is_file());
    assert!(fs::read_to_string(&built.config).unwrap().contains("CONFIG_A=y"));
    assert_eq!(built.symbols().unwrap().address("_text"), Some(0xffff_ffff_8100_0000));
    let found = setup.ensure().unwrap();
    assert!(found.cached);
    assert_eq!((found.hash, found.build), (built.hash, built.build));
    assert_eq!(setup.compiled(), 1);
}

/// Else `--source FOLDER` would silently be built by gcc, with the patches of a series that asks for clang.
#[test]
fn the_series_of_the_sources_version_chooses_the_compiler() {
    let mut setup = setup();
    let all = tempfile::tempdir().unwrap();
    write(&all.path().join("6.12/series"), "");
    write(&all.path().join("6.12/recipe.yaml"), "compiler: rustc\n");
    setup.recipe.series = Patches::Matching(all.path().to_owned());
    let error = setup.ensure().unwrap_err().to_string();
    assert!(error.contains("6.12/recipe.yaml"), "{error}");
    fs::remove_file(all.path().join("6.12/series")).unwrap();
    setup.ensure().unwrap();
}

#[test]
fn the_users_tree_stays_as_it_is() {
    let setup = setup();
    let before = tree::Tree::scan(&setup.tree(""), jail::Limits::KERNEL).unwrap().state();
    setup.ensure().unwrap();
    assert_eq!(tree::Tree::scan(&setup.tree(""), jail::Limits::KERNEL).unwrap().state(), before);
    assert!(
        !fs::read_to_string(setup.tree("arch/x86/entry/syscalls/syscall_64.tbl")).unwrap().contains("ours")
    );
}

#[test]
fn only_what_changed_is_built_again() {
    let mut setup = setup();
    setup.ensure().unwrap();
    setup.recipe.series = Patches::None;
    let without = setup.ensure().unwrap();
    assert_eq!(without.syscalls.name(protocol::Door::Syscall64, 548), None);
    assert_eq!(setup.compiled(), 1, "a patch that main.c has nothing to do with");
    write(&setup.tree("main.c"), "int main(void) { return 2; }\n");
    assert!(!setup.ensure().unwrap().cached);
    assert_eq!(setup.compiled(), 2);
}

#[test]
fn what_others_makefiles_leave_behind_is_for_nobody() {
    let mut setup = setup();
    let kernel = setup.ensure().unwrap();
    let makefile = fs::read_to_string(setup.tree("Makefile")).unwrap();
    let code = fs::read_to_string(setup.tree("main.c")).unwrap();
    let times =
        || ["Makefile", "main.c"].map(|name| fs::metadata(setup.tree(name)).unwrap().modified().unwrap());
    let before = times();
    let spoil = "@touch $(O)/spoiled; ! touch $$CCACHE_DIR/spoiled 2>/dev/null; echo main.o >> $(O)/made";
    write(&setup.tree("Makefile"), &makefile.replace("@echo main.o >> $(O)/made", spoil));
    write(&setup.tree("main.c"), "int main(void) { return 3; }\n");
    setup.recipe.apart = true;
    let theirs = setup.ensure().unwrap();
    assert!(!theirs.cached && theirs.hash != kernel.hash);
    let slot = || {
        let all = fs::read_dir(setup.cache.root().join("work")).unwrap().flatten().map(|it| it.path());
        all.filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let [root] = &slot()[..] else { panic!("{:?}", slot()) };
    let spoiled = |folder: &Path| folder.join("spoiled").exists();
    assert!(!spoiled(&root.join("build")) && !spoiled(&setup.cache.root().join("ccache")));
    assert_eq!(setup.compiled(), 1);
    assert_eq!(fs::read(root.join("source/main.c")).unwrap(), code.as_bytes());

    // One that is killed leaves its own folder, and what was set aside.
    let kept = root.with_extension(format!("{}.kept", root.extension().unwrap().to_str().unwrap()));
    fs::rename(root, &kept).unwrap();
    write(&root.join("build/spoiled"), "");
    for ((name, text), time) in [("Makefile", &makefile), ("main.c", &code)].into_iter().zip(before) {
        write(&setup.tree(name), text);
        fs::File::options().write(true).open(setup.tree(name)).unwrap().set_modified(time).unwrap();
    }
    fs::remove_dir_all(kernel.vmlinux.parent().unwrap()).unwrap();
    let recipe = Recipe { apart: false, ..setup.recipe.clone() };
    let again = ensure(&recipe, &setup.cache).unwrap();
    assert_eq!((again.hash, again.cached), (kernel.hash, false));
    assert!(!spoiled(&root.join("build")) && !kept.exists());
    assert_eq!(setup.compiled(), 1, "nothing was compiled again");
}

#[test]
fn a_build_that_makes_links_and_pipes_of_its_files_is_told_so() {
    // What is made where; with what the message has.
    let cases = [
        ("tinyconfig:\n", "\t@ln -s SECRET $(O)/.config; exit 0\nunused:\n", "which is outside of"),
        ("tinyconfig:\n", "\t@mkfifo $(O)/.config\nunused:\n", "a pipe"),
        ("olddefconfig:\n", "\t@rm $(O)/.config; mkfifo $(O)/.config\nunused:\n", "a pipe"),
        (
            "vmlinux: $(O)/vmlinux $(O)/.config\n",
            "\t@ln -s SECRET $(O)/System.map\nunused:\n",
            "which is outside of",
        ),
        ("vmlinux: $(O)/vmlinux $(O)/.config\n", "\t@mkfifo $(O)/modules.order\n", "a pipe"),
        (
            "\t@echo 6.12.3-fake > $(O)/include/config/kernel.release\n",
            "\t@ln -sf SECRET $(O)/include/config/kernel.release\n",
            "which is outside of",
        ),
        (
            "\t@echo 'ffffffff81000000 T _text' > $(O)/System.map\n",
            "\t@rm -r $(O)/include/config; ln -s FOLDER $(O)/include/config\n",
            "which is outside of",
        ),
    ];
    for (line, instead, says) in cases {
        let setup = setup();
        let secret = setup.folder.path().join("secrets/kernel.release");
        write(&secret, "CONFIG_SECRET=y\n");
        let folder = secret.parent().unwrap().display().to_string();
        let instead = instead.replace("SECRET", &secret.display().to_string()).replace("FOLDER", &folder);
        assert!(MAKEFILE.contains(line), "{line}");
        write(&setup.tree("Makefile"), &MAKEFILE.replacen(line, &format!("{line}{instead}"), 1));
        let error = setup.error();
        assert!(error.to_string().contains(says), "{instead}: {error}");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "CONFIG_SECRET=y\n", "{instead}");
    }
}

#[test]
fn a_configuration_is_made_again_only_when_something_shapes_it() {
    let mut setup = setup();
    let configured = |setup: &Setup| {
        setup.ensure().unwrap();
        let slots = fs::read_dir(setup.cache.root().join("work")).unwrap().flatten();
        let made = slots.filter_map(|slot| fs::read_to_string(slot.path().join("build/configured")).ok());
        made.map(|text| text.lines().count()).sum::<usize>()
    };
    assert_eq!(configured(&setup), 1);
    write(&setup.tree("main.c"), "int main(void) { return 2; }\n");
    assert_eq!(configured(&setup), 1, "a C file");
    write(&setup.tree("lib/Kconfig.debug"), "config B\n\tbool\n");
    assert_eq!(configured(&setup), 2, "a Kconfig file");
    write(&setup.folder.path().join("a.config"), "CONFIG_A=y\nCONFIG_B=y\n");
    assert_eq!(configured(&setup), 3, "a fragment");
    setup.recipe.series = Patches::None;
    assert_eq!(configured(&setup), 3, "a patch of another file");
    let patch = "--- a/Kconfig\n+++ b/Kconfig\n@@ -1,2 +1,3 @@\n config A\n+\t# patched\n \tbool\n";
    write(&setup.folder.path().join("series/1.patch"), patch);
    setup.recipe.series = Patches::Folder(setup.folder.path().join("series"));
    assert_eq!(configured(&setup), 4, "a patch of a Kconfig file");
    let slots = fs::read_dir(setup.cache.root().join("work")).unwrap().flatten();
    let config = slots.map(|slot| slot.path().join("build/.config")).find(|path| path.exists()).unwrap();
    write(&config, "# CONFIG_A is not set\n");
    write(&setup.tree("main.c"), "int main(void) { return 3; }\n");
    assert_eq!(configured(&setup), 5, "the result itself");
    assert!(fs::read_to_string(config).unwrap().contains("CONFIG_A=y"));
}

/// In an archive whose maker gave all files one time, nothing but their content may tell two versions apart.
#[test]
fn another_source_is_configured_and_built_anew_though_sizes_and_times_are_the_same() {
    let mut setup = setup();
    let tarball = setup.folder.path().join("linux.tar");
    setup.recipe.source = Source::Tarball(tarball.clone());
    for (round, number) in ["1", "2"].into_iter().enumerate() {
        write(&setup.tree("main.c"), &format!("int main(void) {{ return {number}; }}\n"));
        write(&setup.tree("scripts/tool"), number);
        let mut tar = Command::new("tar");
        tar.arg("--mtime=@1000000000")
            .arg("-cf")
            .arg(&tarball)
            .arg("-C")
            .arg(setup.folder.path())
            .arg("linux");
        assert!(tar.status().unwrap().success());
        setup.ensure().unwrap();
        let slots = fs::read_dir(setup.cache.root().join("work")).unwrap().flatten();
        let made = slots.filter_map(|slot| fs::read_to_string(slot.path().join("build/configured")).ok());
        assert_eq!(made.map(|text| text.lines().count()).collect::<Vec<_>>(), [round + 1], "{number}");
        assert_eq!(setup.compiled(), round + 1, "{number}");
    }
}

/// Else the kernel would be linked from what was built when the clock was wrong.
#[test]
fn an_object_from_before_the_clock_was_put_back_is_made_again() {
    let setup = setup();
    setup.ensure().unwrap();
    let mut slots = fs::read_dir(setup.cache.root().join("work")).unwrap().flatten().map(|slot| slot.path());
    let slot = slots.find(|slot| slot.join("build").exists()).unwrap();
    let later = SystemTime::now() + Duration::from_secs(3600);
    for name in ["build/main.o", "build/vmlinux", "ended"] {
        fs::File::options().write(true).open(slot.join(name)).unwrap().set_modified(later).unwrap();
    }
    write(&setup.tree("main.c"), "int main(void) { return 2; }\n");
    setup.ensure().unwrap();
    assert!(fs::metadata(slot.join("build/main.o")).unwrap().modified().unwrap() < later);
    // And only then.
    write(&setup.tree("main.c"), "int main(void) { return 3; }\n");
    setup.ensure().unwrap();
    assert_eq!(setup.compiled(), 2);
}

#[test]
fn the_kernels_own_modules_are_installed_into_its_entry() {
    let setup = setup();
    let install = "modules_install:\n\t@mkdir -p $(INSTALL_MOD_PATH)/lib/modules/6.12.3-fake/kernel\n\
                   \t@touch $(INSTALL_MOD_PATH)/lib/modules/6.12.3-fake/kernel/a.ko\n\
                   \t@ln -s $(O) $(INSTALL_MOD_PATH)/lib/modules/6.12.3-fake/build\n";
    let makefile =
        MAKEFILE.replace("modules: vmlinux\n", "modules: vmlinux\n\t@echo a.o > $(O)/modules.order\n");
    write(&setup.tree("Makefile"), &(makefile + install));
    let kernel = setup.ensure().unwrap();
    let installed = kernel.vmlinux.with_file_name("lib/modules/6.12.3-fake");
    assert!(installed.join("kernel/a.ko").is_file());
    assert_eq!(fs::canonicalize(installed.join("build")).unwrap(), fs::canonicalize(&kernel.build).unwrap());
}

#[test]
fn what_installs_the_modules_changes_nothing_else_of_the_entry() {
    let setup = setup();
    // What is finished lies in the folder's surroundings, whatever that is called.
    let attack = "for at in $(INSTALL_MOD_PATH) $(INSTALL_MOD_PATH)/../*; do for file in kernel.json vmlinux; do \
                  echo '{\"early\": [\"/etc/passwd\"]}' > $$at/$$file; done; done 2>/dev/null";
    let lib = "$(INSTALL_MOD_PATH)/lib/modules/6.12.3-fake";
    let install = format!(
        "modules_install:\n\t@{attack}; mkdir -p {lib}/kernel {lib}/source\n\t@touch {lib}/kernel/a.ko {lib}/source/x\n\
         \t@ln -s /etc {lib}/out; mkfifo {lib}/pipe; mkdir -p $(INSTALL_MOD_PATH)/early\n"
    );
    let makefile =
        MAKEFILE.replace("modules: vmlinux\n", "modules: vmlinux\n\t@echo a.o > $(O)/modules.order\n");
    write(&setup.tree("Makefile"), &(makefile + &install));
    let kernel = setup.ensure().unwrap();
    let entry = kernel.vmlinux.parent().unwrap();
    assert_eq!((kernel.release.as_str(), &kernel.early[..]), ("6.12.3-fake", &[][..]));
    assert!(fs::read(&kernel.vmlinux).unwrap().starts_with(b"\x7fELF"));
    assert!(!entry.join("early").exists() && !entry.join(".stripped").exists());
    let installed = entry.join("lib/modules/6.12.3-fake");
    assert!(installed.join("kernel/a.ko").is_file());
    assert!(["out", "pipe"].iter().all(|name| fs::symlink_metadata(installed.join(name)).is_err()));
    assert_eq!(fs::read_link(installed.join("source")).unwrap(), Path::new("../../../source"));
}

#[test]
fn a_build_that_calls_its_kernel_by_no_kernels_name_is_told_so() {
    let setup = setup();
    write(&setup.tree("Makefile"), &MAKEFILE.replace("@echo 6.12.3-fake", "@echo ../../../tmp"));
    let error = setup.error();
    assert!(error.to_string().contains("no kernel's release"), "{error}");
    assert_eq!(error.fault(), Fault::Build);
}

#[test]
fn an_entry_whose_early_modules_lie_elsewhere_is_not_used() {
    let setup = setup();
    let entry = setup.ensure().unwrap().vmlinux.parent().unwrap().to_owned();
    let text = fs::read_to_string(entry.join("kernel.json")).unwrap();
    for name in ["/etc/passwd", "../vmlinux"] {
        write(&entry.join("kernel.json"), &text.replace("\"early\":[]", &format!("\"early\":[\"{name}\"]")));
        let error = Kernel::open(&entry, true).unwrap_err().to_string();
        assert!(error.contains("no name of an early module"), "{error}");
    }
}

#[test]
fn what_was_built_of_somebody_elses_patch_is_not_there_for_the_next() {
    let setup = setup();
    let (series, patch) =
        (setup.folder.path().join("series/series"), setup.folder.path().join("series/2.patch"));
    let hand_in = |code: &str| {
        write(&patch, &format!("--- /dev/null\n+++ b/extra/handed_in/a.c\n@@ -0,0 +1 @@\n+{code}\n"));
        write(&series, "1.patch\n2.patch\n");
        setup.ensure().unwrap();
        let slots = fs::read_dir(setup.cache.root().join("work")).unwrap().flatten().map(|it| it.path());
        let build = slots.map(|slot| slot.join("build")).find(|build| build.is_dir()).unwrap();
        build.join("extra/handed_in/a.o")
    };
    let object = hand_in("int a;");
    write(&object, "the first one's");
    write(&setup.tree("main.c"), "int main(void) { return 2; }\n");
    hand_in("int a;");
    assert!(object.is_file(), "nothing was handed in anew");
    hand_in("asm(\".incbin \\\"extra/handed_in/a.o\\\"\");");
    assert!(!object.exists());
}

#[test]
fn an_entry_keeps_its_headers_when_the_source_changes() {
    let setup = setup();
    let kernel = setup.ensure().unwrap();
    write(&setup.tree("include/linux/x.h"), "changed");
    let second = setup.ensure().unwrap();
    let header = |kernel: &Kernel| fs::read_to_string(kernel.build.join("source/include/linux/x.h")).unwrap();
    assert_eq!((header(&kernel).as_str(), header(&second).as_str()), ("", "changed"));
}

#[test]
fn the_compilers_first_error_is_told_with_the_users_own_path() {
    let setup = setup();
    write(&setup.tree("main.c"), "int main(void) { return x; }\n");
    let error = setup.error();
    assert_eq!(error.fault(), Fault::Build);
    let text = error.to_string();
    let place = format!("{}:1:", setup.tree("main.c").display());
    assert!(text.contains(&place) && text.contains("error: ") && text.contains("return x"), "{text}");
    let KernelError::Build(failed) = error else { panic!() };
    assert!(fs::read_to_string(failed.log).unwrap().contains("undeclared"));
}

#[test]
fn a_lost_symbol_is_an_error_with_its_reason() {
    let setup = setup();
    write(&setup.folder.path().join("a.config"), "CONFIG_A=y\nCONFIG_NEVER=y\n");
    let text = setup.error().to_string();
    assert!(text.contains("a.config:2: CONFIG_NEVER=y") && text.contains("IMPOSSIBLE is not set"), "{text}");
}

#[test]
fn a_patch_that_does_not_apply_is_an_error_before_anything_is_built() {
    let setup = setup();
    write(&setup.tree("arch/x86/entry/syscalls/syscall_64.tbl"), "0\tcommon\twrite\tsys_write\n");
    let error = setup.error();
    assert_eq!(error.fault(), Fault::Build);
    assert!(error.to_string().contains("hunk 1 of arch/x86/entry/syscalls/syscall_64.tbl"), "{error}");
    assert_eq!(setup.compiled(), 0);
}

#[test]
fn a_build_that_says_that_the_disk_is_full_is_a_build_that_failed() {
    let setup = setup();
    // Whatever it says of this machine, there is space.
    write(&setup.tree("Makefile"), &MAKEFILE.replace("@gcc -c -o $@ $<", "@cat $< > /dev/full"));
    let error = setup.error();
    assert_eq!(error.fault(), Fault::Build);
    assert!(error.to_string().contains("build the kernel"), "{error}");
}

/// Whoever has to free space should not have to look for ours.
#[test]
fn a_disk_that_is_full_from_the_beginning_is_relieved_of_the_build_folder_too() {
    let setup = setup();
    setup.ensure().unwrap();
    let mut slots = fs::read_dir(setup.cache.root().join("work")).unwrap().flatten().map(|slot| slot.path());
    let slot = slots.find(|slot| slot.join("build").exists()).unwrap();
    // Nothing can be written there.
    fs::remove_file(slot.join("ended")).unwrap();
    std::os::unix::fs::symlink("/dev/full", slot.join("ended")).unwrap();
    write(&setup.tree("main.c"), "int main(void) { return 2; }\n");
    let error = setup.ensure().unwrap_err();
    assert_eq!(error.fault(), Fault::Machine);
    assert!(!slot.exists(), "{error}");
}

/// Each byte of a hole is one of the cache's disk.
#[test]
fn a_build_folder_of_holes_is_not_kept() {
    let setup = setup();
    let holes = "for i in $$(seq 17); do truncate -s 1000M $(O)/z$$i; done";
    write(&setup.tree("Makefile"), &MAKEFILE.replace("@echo main.o >> $(O)/made", &format!("@{holes}")));
    let error = setup.error();
    assert_eq!(error.fault(), Fault::Build);
    assert!(error.to_string().contains("VMM_LIMITS=total="), "{error}");
}

#[test]
fn two_builds_of_one_recipe_at_once_build_it_once() {
    let setup = setup();
    let kernels: Vec<Kernel> = thread::scope(|scope| {
        let both = [scope.spawn(|| setup.ensure().unwrap()), scope.spawn(|| setup.ensure().unwrap())];
        both.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(kernels.iter().filter(|kernel| kernel.cached).count(), 1);
    assert_eq!(setup.compiled(), 1);
}

#[test]
fn a_damaged_entry_is_made_anew() {
    let setup = setup();
    let kernel = setup.ensure().unwrap();
    let entry = kernel.vmlinux.parent().unwrap();
    fs::write(entry.join("kernel.json"), "{").unwrap();
    let again = setup.ensure().unwrap();
    assert_eq!((again.hash, again.cached), (kernel.hash, false));
}

/// The builder of the next test, in a process of its own.
#[test]
#[ignore = "run by a_build_that_is_killed_leaves_no_entry_and_no_process"]
fn build_until_killed() {
    let folder = PathBuf::from(std::env::var_os("VMM_TEST_FOLDER").unwrap());
    let recipe = Recipe {
        source: Source::Folder(folder.join("linux")),
        series: Patches::None,
        base: Base::Tiny,
        fragments: vec![],
        compiler: Compiler::Gcc,
        apart: false,
    };
    ensure(&recipe, &Cache::at(&folder.join("cache")).unwrap()).unwrap();
}

#[test]
fn a_build_that_is_killed_leaves_no_entry_and_no_process() {
    let mut setup = setup();
    setup.recipe.series = Patches::None;
    setup.recipe.fragments.clear();
    let slow = MAKEFILE.replace("@gcc -c -o $@ $<", "@echo started > $(O)/started; sleep 1000.4217");
    write(&setup.tree("Makefile"), &slow);
    let mut builder = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "tests::build_until_killed"])
        .env("VMM_TEST_FOLDER", setup.folder.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let work = setup.cache.root().join("work");
    loop {
        assert_eq!(builder.try_wait().unwrap(), None, "the builder ended by itself");
        let mut slots = fs::read_dir(&work).unwrap().flatten();
        if slots.any(|slot| slot.path().join("build/started").exists()) {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    builder.kill().unwrap();
    builder.wait().unwrap();
    // make gets SIGTERM by its parent's death, and passes it on.
    let runs = || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|it| fs::read(it.path().join("cmdline")).ok())
            .any(|line| line == b"sleep\x001000.4217\0")
    };
    let gone = (0..500).any(|_| {
        thread::sleep(Duration::from_millis(10));
        !runs()
    });
    assert!(gone, "the build's shell outlived it");
    assert!(setup.cache.keys(Kind::Kernel).unwrap().is_empty());
    // The next build is not disturbed by what the killed one left.
    write(&setup.tree("Makefile"), MAKEFILE);
    assert!(!setup.ensure().unwrap().cached);
    assert_eq!(fs::read_dir(setup.cache.root().join("tmp")).unwrap().count(), 0);
}
