//! SIGKILL at random moments of a build: nothing stays behind, and the next build is as if there had been none.

use super::{build, said};
use std::{
    fs,
    hash::{BuildHasher, RandomState},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

/// So often; `VMM_TEST_KILLS` says otherwise.
const TIMES: u64 = 12;

#[test]
fn a_build_that_is_killed_at_any_moment_leaves_nothing() {
    let times = std::env::var("VMM_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(TIMES);
    let folder = tempfile::tempdir().unwrap();
    // A cache of its own, by whose name its processes are known; kernels and tools are those that there are.
    let (real, cache) = (real_cache(), tempfile::tempdir().unwrap());
    for name in ["kernels", "sources", "tools"] {
        symlink(real.join(name), cache.path().join(name)).unwrap();
    }
    let build = || {
        let mut command = build(folder.path());
        command.env("VMM_CACHE", cache.path());
        command
    };
    fs::write(folder.path().join("Makefile"), "obj-m := a.o b.o\n").unwrap();
    for round in 0..times {
        for name in ["a", "b"] {
            let text = format!("#include <linux/module.h>\nMODULE_LICENSE(\"GPL\"); /* {round} */\n");
            fs::write(folder.path().join(format!("{name}.c")), text).unwrap();
        }
        let mut child = build().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // From the first look at the folder to the last of the product.
        let after = RandomState::new().hash_one(round) % 3000;
        thread::sleep(Duration::from_millis(after));
        let _ = child.kill();
        child.wait().unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        while !builders(cache.path()).is_empty() {
            assert!(Instant::now() < end, "killed after {after} ms: {:?} is left", builders(cache.path()));
            thread::sleep(Duration::from_millis(20));
        }
    }
    let output = build().output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("PASS  a") && said(&output).contains("PASS  b"), "{}", said(&output));
    assert_eq!(fs::read_dir(cache.path().join("tmp")).unwrap().count(), 0);
}

/// Processes that name the cache, or work there.
fn builders(cache: &Path) -> Vec<String> {
    let name = cache.display().to_string();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let known = all.filter_map(|it| {
        let line = String::from_utf8_lossy(&fs::read(it.path().join("cmdline")).ok()?).replace('\0', " ");
        let place = fs::read_link(it.path().join("cwd")).unwrap_or_default();
        (line.contains(&name) || place.starts_with(cache)).then_some(line)
    });
    known.collect()
}

/// The one that is used where nothing else is said.
fn real_cache() -> PathBuf {
    let from = |name| std::env::var_os(name).map(PathBuf::from);
    let home = || from("HOME").unwrap().join(".cache");
    from("VMM_CACHE").unwrap_or_else(|| from("XDG_CACHE_HOME").unwrap_or_else(home).join("vmm"))
}
