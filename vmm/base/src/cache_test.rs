use super::*;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

fn cache() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path()).unwrap();
    (folder, cache)
}

#[test]
fn an_entry_is_there_only_after_commit() {
    let (_folder, cache) = cache();
    let stage = cache.stage().unwrap();
    fs::write(stage.path().join("vmlinux"), "x").unwrap();
    assert_eq!(cache.find(Kind::Kernel, "abc"), None);
    stage.commit(&cache.place(Kind::Kernel, "abc")).unwrap();
    assert!(cache.find(Kind::Kernel, "abc").unwrap().join("vmlinux").is_file());
    assert_eq!(cache.keys(Kind::Kernel).unwrap(), ["abc"]);
    assert_eq!(fs::read_dir(cache.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_stage_that_is_dropped_leaves_nothing() {
    let (_folder, cache) = cache();
    let stage = cache.stage().unwrap();
    fs::write(stage.path().join("vmlinux"), "x").unwrap();
    drop(stage);
    assert_eq!(fs::read_dir(cache.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn an_entry_that_is_there_is_not_replaced() {
    let (_folder, cache) = cache();
    for text in ["first", "second"] {
        let stage = cache.stage().unwrap();
        fs::write(stage.path().join("file"), text).unwrap();
        stage.commit(&cache.place(Kind::Module, "m")).unwrap();
    }
    assert_eq!(fs::read_to_string(cache.place(Kind::Module, "m").join("file")).unwrap(), "first");
}

/// Two folders with the same files are built at once, and debug info has the folder's path.
#[test]
fn an_entry_that_two_make_at_once_has_the_seal_of_the_one_that_is_there() {
    let (_folder, cache) = cache();
    for round in 0..30 {
        let key = round.to_string();
        let start = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for text in ["one", "other"] {
                let (stage, start, place) = (cache.stage().unwrap(), &start, cache.place(Kind::Module, &key));
                fs::write(stage.path().join("file"), text).unwrap();
                scope.spawn(move || {
                    start.wait();
                    stage.commit(&place).unwrap();
                });
            }
        });
        assert!(cache.find(Kind::Module, &key).is_some(), "round {round}");
    }
}

#[test]
fn what_a_killed_process_left_is_swept_and_what_a_living_one_makes_is_not() {
    let (_folder, cache) = cache();
    let alive = cache.stage().unwrap();
    // This is what SIGKILL leaves: a folder, and a lock file that nobody holds.
    let dead = cache.root().join("tmp/999999-0");
    fs::create_dir_all(dead.join("deep")).unwrap();
    fs::write(dead.with_extension("lock"), "").unwrap();
    Cache::at(cache.root()).unwrap();
    assert!(!dead.exists() && !dead.with_extension("lock").exists());
    assert!(alive.path().is_dir());
}

/// Ends a child also when the test fails in between.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The maker of a stage, for the test below; in a process of its own it is killed in the middle.
#[test]
#[ignore = "run by a_process_that_is_killed_leaves_nothing"]
fn make_a_stage_and_wait() {
    let cache = Cache::at(Path::new(&env::var_os("VMM_TEST_CACHE").unwrap())).unwrap();
    let _lock = cache.lock("l", "it").unwrap();
    let stage = cache.stage().unwrap();
    fs::write(stage.path().join("half"), "x").unwrap();
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn a_process_that_is_killed_leaves_nothing() {
    let (_folder, cache) = cache();
    let maker = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "cache::tests::make_a_stage_and_wait"])
        .env("VMM_TEST_CACHE", cache.root())
        .stdout(std::process::Stdio::null())
        .spawn();
    let mut maker = Killed(maker.unwrap());
    let tmp = cache.root().join("tmp");
    let half = || {
        let mut folders = fs::read_dir(&tmp).unwrap().flatten().map(|entry| entry.path().join("half"));
        folders.any(|path| path.exists())
    };
    while !half() {
        assert_eq!(maker.0.try_wait().unwrap(), None, "the maker ended by itself");
        thread::sleep(Duration::from_millis(5));
    }
    // As long as the maker lives, nobody sweeps its stage.
    Cache::at(cache.root()).unwrap();
    assert!(half());
    drop(maker);
    Cache::at(cache.root()).unwrap();
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
    cache.lock("l", "it").unwrap();
}

#[test]
fn a_lock_is_held_by_one_at_a_time() {
    let (_folder, cache) = cache();
    let inside = AtomicU32::new(0);
    let runs = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let _lock = cache.lock("same", "it").unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                thread::sleep(Duration::from_millis(10));
                inside.fetch_sub(1, Ordering::SeqCst);
                runs.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    assert_eq!(runs.into_inner(), 4);
}

#[test]
fn a_child_that_shares_a_lock_keeps_it() {
    let (_folder, cache) = cache();
    let lock = cache.lock("l", "it").unwrap();
    let shared = lock.share().unwrap();
    let child = Killed(Command::new("sleep").arg("1000").stdin(shared).spawn().unwrap());
    drop(lock);
    let file = fs::File::open(cache.root().join("locks/l")).unwrap();
    assert!(matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)));
    drop(child);
    file.try_lock().unwrap();
}

#[test]
fn paths_that_makefiles_cannot_cope_with_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["with space", "with:colon"] {
        let error = Cache::at(&folder.path().join(name)).unwrap_err();
        assert!(error.to_string().contains("VMM_CACHE"), "{error}");
    }
}

#[test]
fn a_full_disk_is_told_with_its_file_system() {
    // /dev/full answers every write as a full disk does.
    let path = Path::new("/dev/full");
    let error = fs::write(path, "x").map_err(CacheError::io("write", path)).unwrap_err();
    let CacheError::DiskFull { full, .. } = &error else { panic!("{error:?}") };
    assert_eq!(full.mount, Path::new("/dev"));
    assert!(full.free_mib.is_some());
    let text = error.to_string();
    assert!(
        text.contains("no space left on the file system at /dev") && text.contains("MiB are free"),
        "{text}"
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let error = Cache::at(Path::new("/proc/nothing")).unwrap_err().to_string();
    assert!(error.contains("/proc/nothing"), "{error}");
}

/// Somebody else's cache, with all that is needed in it.
#[test]
fn a_cache_that_cannot_be_written_still_gives_scratch_folders() {
    let (_folder, cache) = cache();
    // Not even root can make a file in sysfs.
    fs::remove_dir(cache.root().join("tmp")).unwrap();
    std::os::unix::fs::symlink("/sys/kernel", cache.root().join("tmp")).unwrap();
    let cache = Cache::at(cache.root()).unwrap();
    let stage = cache.stage().unwrap();
    let path = stage.path().to_owned();
    fs::write(path.join("file"), "x").unwrap();
    assert!(!path.starts_with(cache.root()));
    drop(stage);
    assert!(!path.exists());
}

#[test]
fn a_cache_is_its_users_own() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/cache");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    Cache::at(&root).unwrap();
    assert_eq!(mode(&root), 0o700);
    for bits in [0o770, 0o702, 0o777] {
        set(&root, bits);
        let said = Cache::at(&root).unwrap_err().to_string();
        assert!(said.contains("others may write to it; run chmod go-w"), "{said}");
    }
    // To be read by others is its user's choice.
    set(&root, 0o755);
    Cache::at(&root).unwrap();
    set(root.parent().unwrap(), 0o777);
    let said = Cache::at(&root).unwrap_err().to_string();
    assert!(said.contains("others may write to the folder that it is in"), "{said}");
    set(root.parent().unwrap(), 0o1777);
    Cache::at(&root).unwrap();
}

#[test]
fn an_entry_that_somebody_has_changed_is_not_used() {
    let (_folder, cache) = cache();
    let make = || {
        let stage = cache.stage().unwrap();
        fs::write(stage.path().join("vmlinux"), "mine").unwrap();
        stage.commit(&cache.place(Kind::Kernel, "abc")).unwrap();
    };
    make();
    let file = cache.place(Kind::Kernel, "abc").join("vmlinux");
    assert!(cache.find(Kind::Kernel, "abc").is_some());
    fs::write(&file, "evil").unwrap();
    assert_eq!(cache.find(Kind::Kernel, "abc"), None);
    assert!(!file.exists());
    make();
    assert!(cache.find(Kind::Kernel, "abc").is_some());
}

#[test]
fn a_small_machine_is_its_own_fault_and_not_that_of_what_is_built() {
    let over = || Refused::Overrun { what: String::new(), name: "memory", value: "SIZE" };
    assert_eq!(CacheError::from(over()).fault(), Fault::Build);
    assert_eq!(CacheError::from(Refused::Small { has: 1 }).fault(), Fault::Machine);
}
