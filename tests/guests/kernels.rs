//! Other kernels than the default one. They take minutes to build or have to be fetched, so `make test-all` has these
//! tests, and `make test` has not.

use super::support::{all_shipped, fixture, root, run, run_with, shipped};

#[test]
#[ignore = "builds a kernel for ten minutes: make test-all"]
fn every_shipped_scenario_passes_on_7_3() {
    for name in all_shipped() {
        let ran = run_with(&shipped(&name), &["--kernel", "7.3"]);
        ran.ends_with("pass", 0);
        let release = ran.report()["kernel"]["release"].as_str().unwrap();
        assert!(release.starts_with("7.3."), "{name} ran on {release}");
    }
}

/// Its locks have no head of their waiters' list, and clang writes another assembly.
#[test]
#[ignore = "builds a kernel for ten minutes: make test-all"]
fn a_deadlock_is_explained_on_7_3_too() {
    let ran = run_with(&fixture("abba.yaml"), &["--kernel", "7.3"]);
    ran.ends_with("hang-idle", 1);
    ran.says("the lock is held by abba_thread");
    ran.says("waits in down_write");
    let alone = run_with(&fixture("deadlocks.yaml"), &["--kernel", "7.3"]);
    alone.ends_with("hang-idle", 1);
    alone.says("a deadlock, found after");
    run_with(&fixture("naps.yaml"), &["--kernel", "7.3"]).ends_with("pass", 0);
}

#[test]
#[ignore = "builds a kernel for ten minutes: make test-all"]
fn findings_and_hangs_have_lines_where_there_is_debug_info() {
    let with = &["--fragment", "debuginfo"];
    let ran = run_with(&fixture("warns.yaml"), with);
    ran.ends_with("splat", 1);
    let finding = &ran.report()["findings"][0];
    let place = |function: &str| {
        let frames = finding["frames"].as_array().unwrap();
        let frame = frames.iter().find(|frame| frame["function"] == function).unwrap();
        (frame["file"].as_str().unwrap().to_owned(), frame["line"].as_u64().unwrap())
    };
    let (file, line) = place("warns_init");
    assert!(file.ends_with("tests/fixtures/modules/warns/warns.c") && line == 9, "{file}:{line}");
    assert_eq!(place("do_one_initcall").0, "init/main.c");
    assert_eq!(place("load_module").0, "kernel/module/main.c");
    ran.says("warns_init+0x14/0x1000 [warns]  ");
    // The compiler's path of the copy that was built would be of no use to anybody.
    assert!(!ran.text.contains("/module-"), "{}", ran.text);
    let without = run(&fixture("warns.yaml"));
    let frames = without.report()["findings"][0]["frames"].clone();
    let of_kernel = frames
        .as_array()
        .unwrap()
        .iter()
        .find(|frame| frame["function"] == "do_one_initcall")
        .unwrap()
        .clone();
    // A module's own frames have their lines with any kernel.
    assert_eq!((&frames[0]["line"], &of_kernel["line"]), (&9.into(), &serde_json::Value::Null));
    assert_eq!(without.report()["findings"][0]["fingerprint"], finding["fingerprint"]);

    let hang = run_with(&fixture("deadlocks.yaml"), with);
    let standing = hang.report()["standing"].as_array().unwrap();
    let line = |function: &str| {
        let line = standing.iter().find(|line| line.as_str().unwrap().contains(function)).unwrap();
        line.as_str().unwrap().to_owned()
    };
    assert!(line("mutex_lock+").contains("  kernel/locking/mutex.c:"), "{standing:?}");
    assert!(
        line("deadlocks_twice+").contains("tests/fixtures/modules/deadlocks/deadlocks.c:"),
        "{standing:?}"
    );
}

/// A bzImage without a System.map, with virtio as modules, which takes no devices from its command line.
#[test]
#[ignore = "needs Debian's package: make test-all"]
fn hello_passes_on_debians_own_kernel() {
    let package =
        std::env::var("VMM_DEBIAN_KERNEL").expect("VMM_DEBIAN_KERNEL names a linux-image package's file");
    let ran = run_with(&shipped("hello.yaml"), &["--kernel", &package]);
    ran.ends_with("pass", 0);
    let release = ran.report()["kernel"]["release"].as_str().unwrap();
    assert!(release.ends_with("-cloud-amd64"), "{release}");
    assert_eq!((ran.calls("finit_module"), ran.calls("delete_module")), (104, 103));
}

#[test]
fn a_kernel_that_is_none_is_refused_before_anything_boots() {
    for (kernel, message) in
        [("9.9", "known: 6.12, 7.3"), ("Cargo.toml", "neither an ELF file, nor a bzImage")]
    {
        let kernel = match kernel {
            "9.9" => kernel.to_owned(),
            file => root().join(file).display().to_string(),
        };
        let ran = run_with(&shipped("hello.yaml"), &["--kernel", &kernel]);
        assert_eq!(ran.code, Some(2), "{}", ran.text);
        ran.says(message);
    }
}

/// Each ready-made fragment, by the mistake that it makes visible; on the default kernel nobody would notice.
#[test]
#[ignore = "builds a kernel for six minutes: make test-all"]
fn kasan_shows_a_use_after_free() {
    let ran = run(&fixture("frees.yaml"));
    ran.ends_with("pass", 0);
    ran.says("KASAN: slab-use-after-free Read in frees_init");
}

#[test]
#[ignore = "builds a kernel for six minutes: make test-all"]
fn lockdep_shows_an_inverted_lock_order() {
    let ran = run(&fixture("inverts.yaml"));
    ran.ends_with("pass", 0);
    ran.says("possible circular locking dependency");
}

#[test]
#[ignore = "builds a kernel for six minutes: make test-all"]
fn kmemleak_shows_forgotten_memory() {
    run(&fixture("forgets.yaml")).ends_with("pass", 0);
    // What the scenario says by steps there, `clean` does by itself.
    let ran = run_with(&fixture("leaks.yaml"), &["--fragment", "kmemleak"]);
    assert_eq!(ran.code, Some(1), "{}", ran.text);
    ran.says("memory (/sys/kernel/debug/kmemleak)");
    ran.says("bytes forgotten that a module that is gone took");
}

#[test]
#[ignore = "builds six kernels: make test-all"]
fn hello_passes_with_each_ready_made_fragment() {
    for name in ["kasan", "lockdep", "kmemleak", "kunit", "lockups", "debuginfo"] {
        let ran = run_with(&shipped("hello.yaml"), &["--fragment", name]);
        ran.ends_with("pass", 0);
    }
}

#[test]
#[ignore = "builds a kernel for half an hour: make test-all"]
fn hello_passes_on_the_kernels_own_default_configuration() {
    run_with(&shipped("hello.yaml"), &["--config", "defconfig"]).ends_with("pass", 0);
}
