//! Modules from the whole way: what is refused before a guest boots, and what a guest does with the rest.

use super::support::{VMM, fixture, refuse, root, run, run_text, shipped};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// Builds a folder's modules into a new folder.
fn built(folder: &Path) -> TempDir {
    let out = TempDir::new().unwrap();
    let output =
        Command::new(VMM).args(["module", "build"]).arg(folder).arg("--out").arg(out.path()).output();
    let output = output.expect("vmm can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

/// Most containers forbid user namespaces. Here it is bubblewrap that is not to be found, and the same walls are left.
#[test]
fn a_module_is_built_where_there_are_no_namespaces() {
    let programs = TempDir::new().unwrap();
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap()) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name() != "bwrap" {
                let _ = std::os::unix::fs::symlink(entry.path(), programs.path().join(entry.file_name()));
            }
        }
    }
    let folder = TempDir::new().unwrap();
    // Such a module is in no cache.
    let text = "#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\nMODULE_DESCRIPTION(\"";
    let text = format!("{text}{}\");\n", folder.path().display());
    fs::write(folder.path().join("walls.c"), text).unwrap();
    fs::write(folder.path().join("Makefile"), "obj-m := walls.o\n").unwrap();
    let mut command = Command::new(VMM);
    command.args(["module", "build"]).arg(folder.path());
    let output = command.env("PATH", programs.path()).output().expect("vmm can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("bubblewrap is not installed"), "{said}");
}

/// `vmm module ...`: exit code and all that was said.
fn module(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(VMM).arg("module").args(args).output().expect("vmm can be started");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// A scenario with one given module is refused as bad input, before a host is started, in one line.
#[track_caller]
fn refused(ko: &Path, what: &str) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("scenario.yaml");
    fs::write(&path, format!("modules: [{}]\nsteps:\n  - sleep: 1 ms\n", ko.display())).unwrap();
    let ran = refuse(&path);
    assert_eq!(ran.code, Some(2), "{}", ran.text);
    assert_eq!(ran.text.matches(what).count(), 1, "`{what}` is not in this once:\n{}", ran.text);
    assert!(!ran.text.contains("boot "), "{}", ran.text);
}

#[test]
fn modules_that_depend_on_each_other_are_loaded_in_order() {
    let ran = run(&shipped("modprobe.yaml"));
    ran.ends_with("pass", 0);
    ran.says("lsmod = pair_user, pair_base (used by pair_user)");
    ran.says("rmmod pair_base = EAGAIN, in use by 1");
}

#[test]
fn the_kernel_loads_what_it_wants_by_itself() {
    let ran = run(&shipped("autoload.yaml"));
    ran.ends_with("pass", 0);
    // No step did: both came from /sbin/modprobe.
    assert_eq!(ran.calls("finit_module"), 2);
}

#[test]
fn without_autoload_nothing_is_loaded() {
    let folder = root().join("modules/memfs");
    let ran = run_text(&format!(
        "modules: [{}]\nsteps:\n  - mkdir: /mnt\n  - mount: /mnt\n    type: memfs\n    expect: ENODEV\n",
        folder.display()
    ));
    ran.ends_with("pass", 0);
    assert_eq!(ran.calls("finit_module"), 0);
}

#[test]
fn memfs_passes() {
    run(&shipped("memfs.yaml")).ends_with("pass", 0);
}

#[test]
fn a_module_brings_a_system_call() {
    let ran = run(&shipped("modsyscall.yaml"));
    ran.ends_with("pass", 0);
    assert_eq!(ran.calls("syscall_400"), 5);
}

#[test]
fn what_a_module_leaves_behind_is_named() {
    let ran = run(&fixture("leaves.yaml"));
    ran.ends_with("fail", 1);
    ran.says("devices (/proc/devices): expected as before the first step, got 241 leaves (Character) left");
    ran.says("nodes (/dev): expected as before the first step, got left-behind left");
    assert_eq!(ran.step_verdicts().iter().filter(|verdict| **verdict == "fail").count(), 1, "{}", ran.text);
}

#[test]
fn what_is_mounted_over_proc_and_dev_hides_nothing_that_is_left() {
    let leaves = root().join("tests/fixtures/modules/leaves");
    let hides = "grep -v leaves /proc/devices > /tmp/devices; mount --bind /tmp/devices /proc/devices; \
                 mkdir /tmp/dev; mount --bind /tmp/dev /dev; ! grep leaves /proc/devices; ! ls /dev/left-behind";
    let ran = run_text(&format!(
        "modules: [{}]\nsteps:\n  - insmod: leaves\n  - {{mknod: /dev/left-behind, char: [241, 0]}}\n  - rmmod: leaves\n  \
         - run: [sh, -c, '{hides}']\nexpect: {{clean: [modules, devices, nodes]}}\n",
        leaves.display()
    ));
    ran.ends_with("fail", 1);
    assert_eq!(ran.step_verdicts()[4], "pass", "{}", ran.text);
    ran.says("got 241 leaves (Character) left");
    ran.says("got left-behind left");
}

#[test]
fn configuration_that_the_kernel_lacks_is_bad_input() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("needs.yaml");
    fs::write(&path, "needs: {config: [CONFIG_SMP, CONFIG_KASAN]}\nsteps:\n  - sleep: 1 ms\n").unwrap();
    let ran = run(&path);
    assert_eq!(ran.code, Some(2), "{}", ran.text);
    ran.says("needs.yaml:1:");
    ran.says("CONFIG_KASAN is not set");
    assert!(!ran.text.contains("boot "), "{}", ran.text);
}

#[test]
fn warnings_of_the_compiler_are_in_the_report() {
    let ran = run(&fixture("unused.yaml"));
    ran.ends_with("pass", 0);
    ran.says("warning   ");
    ran.says("unused variable");
    let warnings = ran.report()["builds"][0]["warnings"].as_array().unwrap();
    let place = root().join("tests/fixtures/modules/unused/unused.c:");
    let place = place.display().to_string();
    assert!(warnings.iter().any(|text| text.as_str().unwrap().starts_with(&place)), "{warnings:?}");
}

#[test]
fn files_that_are_no_modules_are_refused() {
    let good = built(&root().join("modules/hello"));
    let whole = fs::read(good.path().join("helloModule.ko")).unwrap();
    let at = |name: &str| good.path().join(name);
    fs::write(at("empty.ko"), "").unwrap();
    refused(&at("empty.ko"), "empty.ko: is empty");
    fs::write(at("text.ko"), "obj-m := text.o\n").unwrap();
    refused(&at("text.ko"), "text.ko: is no kernel module");
    fs::write(at("half.ko"), &whole[..whole.len() / 2]).unwrap();
    refused(&at("half.ko"), "half.ko: is cut off or damaged");
    fs::create_dir(at("folder.ko")).unwrap();
    refused(&at("folder.ko"), "is a folder");
    fs::write(at("other.ko"), &whole).unwrap();
    refused(&at("other.ko"), "other.ko: calls itself `helloModule`");
    // As if another kernel had been there when it was built.
    let release = b"-vmm SMP";
    let place =
        whole.windows(release.len()).position(|window| window == release).expect("the release is in it");
    let mut foreign = whole.clone();
    foreign[place..place + 4].copy_from_slice(b"-try");
    fs::create_dir(at("foreign")).unwrap();
    fs::write(at("foreign/helloModule.ko"), foreign).unwrap();
    refused(&at("foreign/helloModule.ko"), "was built for another kernel: its vermagic is");
}

#[test]
fn modules_in_a_circle_do_not_build() {
    let ran = run(&fixture("circle.yaml"));
    ran.ends_with("build-failed", 1);
    ran.says("need each other in a circle");
}

#[test]
fn module_check_tells_of_each_file_and_takes_compressed_ones() {
    let pair = built(&root().join("modules/pair"));
    let file = |name: &str| -> PathBuf { pair.path().join(name) };
    let (base, user) = (file("pair_base.ko"), file("pair_user.ko"));
    let (code, text) = module(&["check", user.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("pair_user.ko: needs `pair_ticket`, which neither kernel"), "{text}");
    assert!(Command::new("xz").arg(&base).status().unwrap().success());
    let base = file("pair_base.ko.xz");
    let (code, text) = module(&["check", user.to_str().unwrap(), base.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn module_build_shows_the_compilers_first_error() {
    let broken = root().join("tests/fixtures/modules/broken");
    let (code, text) = module(&["build", broken.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("{}/broken.c:8:16: error:", broken.display())), "{text}");
    let (code, text) = module(&["build", "/nonexistent"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no such folder"), "{text}");
}

#[test]
fn folder_uses_what_one_before_it_exports() {
    let ran = run(&fixture("folders.yaml"));
    ran.ends_with("pass", 0);
    let text = fs::read_to_string(fixture("folders.yaml")).unwrap();
    let path = |name: &str| root().join("tests/fixtures/modules").join(name).display().to_string();
    let modules = format!("modules: [{}, {}]", path("taker"), path("giver"));
    let wrong = run_text(&text.replace("modules: [../modules/giver, ../modules/taker]", &modules));
    wrong.ends_with("build-failed", 1);
    wrong.says("giver_number");
    wrong.says("nor a module that is named before this one");
}

#[test]
fn memory_that_a_module_forgets_is_dirt() {
    let ran = run(&fixture("leaks.yaml"));
    ran.ends_with("fail", 1);
    ran.says("memory (/proc/slabinfo)");
    ran.says("more objects in kmalloc-");
}

#[test]
fn memory_that_kfree_rcu_has_still_to_free_is_no_dirt() {
    let module = root().join("tests/fixtures/modules/defers");
    let ran = run_text(&format!(
        "modules: [{}]\nsteps:\n  - insmod: defers\n  - rmmod: defers\nexpect: {{clean: [memory]}}\n",
        module.display()
    ));
    ran.ends_with("pass", 0);
}

/// `helloModule.ko`, as another kernel would have it, in a folder of its own.
pub(super) fn for_another_kernel() -> TempDir {
    let good = built(&root().join("modules/hello"));
    let whole = fs::read(good.path().join("helloModule.ko")).unwrap();
    let release = b"-vmm SMP";
    let place =
        whole.windows(release.len()).position(|window| window == release).expect("the release is in it");
    let mut foreign = whole;
    foreign[place..place + 4].copy_from_slice(b"-try");
    let ko = good.path().join("helloModule.ko");
    fs::write(&ko, foreign).unwrap();
    good
}

#[test]
fn a_lesson_may_be_about_what_the_loader_refuses() {
    let foreign = for_another_kernel();
    let ko = foreign.path().join("helloModule.ko");
    let ran = run_text(&format!(
        "modules: [{}]\nsteps:\n  - {{insmod: helloModule, expect: {{errno: ENOEXEC, log: version magic}}}}\n  \
         - {{modprobe: helloModule, expect: 1}}\n",
        ko.display()
    ));
    ran.ends_with("pass", 0);
    ran.says("was built for another kernel: its vermagic is");
}
