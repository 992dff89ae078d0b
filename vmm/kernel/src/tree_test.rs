use super::*;
use std::time::{Duration, SystemTime};

struct Setup {
    _folder: tempfile::TempDir,
    from: PathBuf,
    to: PathBuf,
    manifest: PathBuf,
}

fn setup(files: &[(&str, &str)]) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    for (name, text) in files {
        write(&from.join(name), text);
    }
    fs::create_dir_all(&to).unwrap();
    Setup { manifest: folder.path().join("manifest"), _folder: folder, from, to }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

impl Setup {
    fn mirror(&self, share: Share) {
        let tree = Tree::scan(&self.from, jail::Limits::KERNEL).unwrap();
        tree.mirror(&self.to, share, &BTreeSet::new(), &self.manifest).unwrap();
    }

    fn time(&self, name: &str) -> SystemTime {
        fs::metadata(self.to.join(name)).unwrap().modified().unwrap()
    }
}

fn set_time(path: &Path, ago: u64) -> SystemTime {
    let time = SystemTime::now() - Duration::from_secs(ago);
    set_to(path, time);
    time
}

fn set_to(path: &Path, time: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_file_that_did_not_change_keeps_its_time() {
    for share in [Share::Links, Share::Nothing] {
        let setup = setup(&[("a.c", "a"), ("deep/b.c", "b")]);
        set_time(&setup.from.join("a.c"), 1000);
        setup.mirror(share);
        let before = setup.time("a.c");
        // As git does when it checks out the same content once more.
        write(&setup.from.join("deep/b.c"), "b");
        setup.mirror(share);
        assert_eq!(setup.time("a.c"), before, "{share:?}");
        assert_eq!(fs::read_to_string(setup.to.join("deep/b.c")).unwrap(), "b");
    }
}

#[test]
fn a_file_that_changed_gets_newer_even_when_its_original_is_old() {
    for share in [Share::Links, Share::Nothing] {
        let setup = setup(&[("a.c", "a")]);
        setup.mirror(share);
        let before = set_time(&setup.to.join("a.c"), 10);
        fs::remove_file(setup.from.join("a.c")).unwrap();
        write(&setup.from.join("a.c"), "changed");
        set_time(&setup.from.join("a.c"), 100_000);
        setup.mirror(share);
        assert_eq!(fs::read_to_string(setup.to.join("a.c")).unwrap(), "changed");
        assert!(setup.time("a.c") > before, "{share:?}: make would not rebuild");
    }
}

/// A search goes back and forth: what was deleted at one commit and is there at the next had an object of another revision.
#[test]
fn a_file_that_comes_back_is_newer_than_what_was_built_meanwhile() {
    for share in [Share::Links, Share::Nothing] {
        let setup = setup(&[("a.c", "old"), ("b.c", "b")]);
        let original = setup.from.join("a.c");
        let old = set_time(&original, 1000);
        setup.mirror(share);
        assert_eq!(setup.time("a.c"), old, "{share:?}: nothing is built yet");
        fs::remove_file(&original).unwrap();
        write(&original, "new");
        setup.mirror(share);
        let built = set_time(&setup.to.join("b.c"), 10);
        fs::remove_file(&original).unwrap();
        setup.mirror(share);
        assert!(!setup.to.join("a.c").exists());
        write(&original, "old");
        set_time(&original, 1000);
        setup.mirror(share);
        assert_eq!(fs::read_to_string(setup.to.join("a.c")).unwrap(), "old");
        assert!(setup.time("a.c") > built, "{share:?}: make would take the object of another revision");
    }
}

#[test]
fn what_a_link_leads_to_from_now_on_is_newer_than_what_was_built() {
    for share in [Share::Links, Share::Nothing] {
        let setup = setup(&[("a.c", "a"), ("b.c", "b"), ("deep/c.h", "c"), ("other/c.h", "other")]);
        let at = |name: &str| setup.from.join(name);
        let old = set_time(&at("a.c"), 1000);
        ["b.c", "deep/c.h", "other/c.h"].iter().for_each(|name| set_to(&at(name), old));
        symlink("a.c", at("file.c")).unwrap();
        symlink("deep", at("folder")).unwrap();
        setup.mirror(share);
        setup.mirror(share);
        assert_eq!((setup.time("file.c"), setup.time("folder/c.h")), (old, old), "{share:?}");
        for (link, target) in [("file.c", "b.c"), ("folder", "other")] {
            fs::remove_file(at(link)).unwrap();
            symlink(target, at(link)).unwrap();
        }
        setup.mirror(share);
        assert_eq!(fs::read_to_string(setup.to.join("folder/c.h")).unwrap(), "other");
        assert!(setup.time("file.c") > old && setup.time("folder/c.h") > old, "{share:?}");
        assert_eq!(setup.time("a.c"), old, "{share:?}: nothing leads there");
        assert_eq!(fs::metadata(at("b.c")).unwrap().modified().unwrap(), old, "{share:?}: the original");
    }
}

/// Two revisions that are exported within one second, or archives whose maker gave all files one time.
#[test]
fn a_file_of_another_original_is_another_one_though_size_and_time_are_the_same() {
    let setup = setup(&[("a.c", "a")]);
    let time = set_time(&setup.from.join("a.c"), 1000);
    setup.mirror(Share::Links);
    let other = setup.from.with_file_name("other");
    write(&other.join("a.c"), "b");
    set_to(&other.join("a.c"), time);
    let tree = Tree::scan(&other, jail::Limits::KERNEL).unwrap();
    tree.mirror(&setup.to, Share::Links, &BTreeSet::new(), &setup.manifest).unwrap();
    assert_eq!(fs::read_to_string(setup.to.join("a.c")).unwrap(), "b");
    assert!(setup.time("a.c") > time, "make would not rebuild");
}

#[test]
fn a_path_may_become_file_folder_or_link() {
    let setup = setup(&[("a.c", "a"), ("x/deep/b.c", "b")]);
    let x = setup.from.join("x");
    let is_file = || fs::read_to_string(setup.to.join("x")).is_ok_and(|text| text == "file");
    for _ in 0..2 {
        setup.mirror(Share::Nothing);
        assert_eq!(fs::read_to_string(setup.to.join("x/deep/b.c")).unwrap(), "b");
        fs::remove_dir_all(&x).unwrap();
        setup.mirror(Share::Nothing);
        assert!(!setup.to.join("x").exists(), "an empty folder");
        write(&x.join("deep/b.c"), "b");
        setup.mirror(Share::Nothing);
        fs::remove_dir_all(&x).unwrap();
        write(&x, "file");
        setup.mirror(Share::Nothing);
        assert!(is_file());
        fs::remove_file(&x).unwrap();
        write(&x.join("deep/b.c"), "b");
        setup.mirror(Share::Nothing);
        fs::remove_dir_all(&x).unwrap();
        symlink("a.c", &x).unwrap();
        setup.mirror(Share::Nothing);
        assert_eq!(fs::read_link(setup.to.join("x")).unwrap(), Path::new("a.c"));
        fs::remove_file(&x).unwrap();
        // What somebody else left there.
        fs::remove_file(setup.to.join("x")).unwrap();
        fs::create_dir_all(setup.to.join("x/empty")).unwrap();
        write(&x, "file");
        setup.mirror(Share::Nothing);
        assert!(is_file());
        fs::remove_file(&x).unwrap();
        write(&x.join("deep/b.c"), "b");
    }
}

#[test]
fn a_link_that_came_alone_goes_again() {
    let setup = setup(&[("a.c", "a")]);
    setup.mirror(Share::Nothing);
    symlink("a.c", setup.from.join("b.c")).unwrap();
    setup.mirror(Share::Nothing);
    fs::remove_file(setup.from.join("b.c")).unwrap();
    setup.mirror(Share::Nothing);
    assert!(fs::symlink_metadata(setup.to.join("b.c")).is_err());
}

#[test]
fn the_original_never_changes() {
    let setup = setup(&[("a.c", "a")]);
    setup.mirror(Share::Links);
    copy(&setup.manifest, &setup.to.join("a.c")).unwrap();
    assert_eq!(fs::read_to_string(setup.from.join("a.c")).unwrap(), "a");
}

#[test]
fn what_the_original_lost_goes_and_what_a_build_made_stays() {
    let setup = setup(&[("a.c", "a"), ("gone.c", "b")]);
    setup.mirror(Share::Nothing);
    write(&setup.to.join("a.o"), "object");
    fs::remove_file(setup.from.join("gone.c")).unwrap();
    setup.mirror(Share::Nothing);
    assert!(!setup.to.join("gone.c").exists());
    assert!(setup.to.join("a.o").exists());
}

#[test]
fn products_and_repositories_are_no_part_of_a_source() {
    let setup = setup(&[
        ("a.c", ""),
        ("a.o", ""),
        (".a.o.cmd", ""),
        ("a.ko", ""),
        (".git/HEAD", ""),
        ("a.mod.c", ""),
    ]);
    let tree = Tree::scan(&setup.from, jail::Limits::KERNEL).unwrap();
    assert_eq!(tree.paths().collect::<Vec<_>>(), [Path::new("a.c")]);
}

/// A line in a scenario would have a kernel built anew.
#[test]
fn scenarios_and_hidden_folders_at_the_top_are_no_part_of_a_source() {
    let setup = setup(&[
        ("a.c", ""),
        (".clang-format", ""),
        ("deep/.hidden/b.h", ""),
        ("deep/vmm/first.yaml", ""),
        (".github/workflows/vmm.yml", ""),
        ("vmm/first.yaml", "steps: []"),
        ("vmm/data/input", ""),
    ]);
    let paths = |setup: &Setup| -> Vec<String> {
        let tree = Tree::scan(&setup.from, jail::Limits::KERNEL).unwrap();
        tree.paths().map(|path| path.display().to_string()).collect()
    };
    let source = [".clang-format", "a.c", "deep/.hidden/b.h", "deep/vmm/first.yaml"];
    assert_eq!(paths(&setup), source);
    // A driver may be called so, too.
    write(&setup.from.join("vmm/core.c"), "");
    assert_eq!(paths(&setup).len(), source.len() + 3);
    fs::remove_file(setup.from.join("vmm/core.c")).unwrap();
    fs::remove_file(setup.from.join("vmm/first.yaml")).unwrap();
    assert_eq!(paths(&setup).len(), source.len() + 1);
}

#[test]
fn links_inside_stay_and_those_to_nowhere_or_to_folders_outside_are_left_out() {
    let setup = setup(&[("a.c", "a")]);
    symlink("a.c", setup.from.join("in.c")).unwrap();
    symlink(setup.from.join("a.c"), setup.from.join("whole.c")).unwrap();
    symlink("nowhere", setup.from.join("broken")).unwrap();
    symlink("/usr", setup.from.join("outside")).unwrap();
    setup.mirror(Share::Nothing);
    assert_eq!(fs::read_link(setup.to.join("in.c")).unwrap(), Path::new("a.c"));
    assert!(fs::symlink_metadata(setup.to.join("whole.c")).unwrap().is_file());
    for name in ["broken", "outside"] {
        assert!(fs::symlink_metadata(setup.to.join(name)).is_err(), "{name}");
    }
    setup.mirror(Share::Nothing);
}

#[test]
fn links_to_files_outside_and_what_is_no_file_are_refused() {
    let refused = |make: &dyn Fn(&Path)| {
        let setup = setup(&[("a.c", "a")]);
        make(&setup.from.join("x"));
        let error = Tree::scan(&setup.from, jail::Limits::MODULE).unwrap_err();
        assert_eq!(error.fault(), base::cache::Fault::Input);
        error.to_string()
    };
    assert!(
        refused(&|at| symlink("/etc/passwd", at).unwrap())
            .contains("a link to /etc/passwd, which is outside of")
    );
    assert!(refused(&|at| symlink("/proc/kmsg", at).unwrap()).contains("a link to /proc/kmsg"));
    assert!(refused(&|at| symlink("/dev/zero", at).unwrap()).contains("a link to /dev/zero"));
    let mode = nix::sys::stat::Mode::S_IRUSR;
    assert!(refused(&|at| nix::unistd::mkfifo(at, mode).unwrap()).contains("is a pipe"));
    assert!(refused(&|at| drop(std::os::unix::net::UnixListener::bind(at).unwrap())).contains("is a socket"));
    let sparse = |at: &Path| fs::File::create(at).unwrap().set_len(1 << 40).unwrap();
    assert!(refused(&sparse).contains("VMM_LIMITS=file"));
}

#[test]
fn a_copy_takes_no_pipe_and_hands_on_no_set_user_id() {
    let setup = setup(&[("a.c", "a")]);
    let (pipe, to) = (setup.from.join("pipe"), setup.to.join("copy"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(copy(&pipe, &to).unwrap_err().to_string().contains("it is a pipe"));
    fs::set_permissions(setup.from.join("a.c"), fs::Permissions::from_mode(0o4755)).unwrap();
    copy(&setup.from.join("a.c"), &to).unwrap();
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn a_written_file_changes_the_state() {
    let setup = setup(&[("a.c", "a")]);
    let before = Tree::scan(&setup.from, jail::Limits::KERNEL).unwrap().state();
    assert_eq!(before, Tree::scan(&setup.from, jail::Limits::KERNEL).unwrap().state());
    set_time(&setup.from.join("a.c"), 5);
    assert_ne!(before, Tree::scan(&setup.from, jail::Limits::KERNEL).unwrap().state());
}

#[test]
fn the_callers_own_files_are_left_alone() {
    let setup = setup(&[("a.c", "a"), ("patched.c", "original")]);
    write(&setup.to.join("patched.c"), "patched");
    let except = BTreeSet::from([PathBuf::from("patched.c"), PathBuf::from("new.c")]);
    let tree = Tree::scan(&setup.from, jail::Limits::KERNEL).unwrap();
    tree.mirror(&setup.to, Share::Links, &except, &setup.manifest).unwrap();
    assert_eq!(fs::read_to_string(setup.to.join("patched.c")).unwrap(), "patched");
    write(&setup.to.join("new.c"), "made by a patch");
    // Without the patch the original comes back, and what only the patch had goes.
    setup.mirror(Share::Links);
    assert_eq!(fs::read_to_string(setup.to.join("patched.c")).unwrap(), "original");
    assert!(!setup.to.join("new.c").exists());
}

#[test]
fn what_changed_since_is_copied_and_what_did_not_is_not_even_looked_at() {
    let setup = setup(&[("a.c", "a"), ("b.c", "b"), ("c.c", "c")]);
    setup.mirror(Share::Nothing);
    write(&setup.to.join("b.c"), "not looked at");
    write(&setup.from.join("a.c"), "A");
    setup.mirror(Share::Nothing);
    assert_eq!(fs::read_to_string(setup.to.join("a.c")).unwrap(), "A");
    assert_eq!(fs::read_to_string(setup.to.join("b.c")).unwrap(), "not looked at");
    // A copy that somebody removed is made anew.
    fs::remove_dir_all(&setup.to).unwrap();
    setup.mirror(Share::Nothing);
    assert_eq!(fs::read_to_string(setup.to.join("b.c")).unwrap(), "b");
}

#[test]
fn a_copy_that_was_broken_off_is_looked_at_as_a_whole() {
    let setup = setup(&[("a.c", "a"), ("sub/b.c", "b")]);
    // A file where a folder has to be: the copy ends there.
    write(&setup.to.join("sub"), "");
    let tree = Tree::scan(&setup.from, jail::Limits::KERNEL).unwrap();
    tree.mirror(&setup.to, Share::Nothing, &BTreeSet::new(), &setup.manifest).unwrap_err();
    fs::remove_file(setup.to.join("sub")).unwrap();
    write(&setup.to.join("a.c"), "half");
    setup.mirror(Share::Nothing);
    assert_eq!(fs::read_to_string(setup.to.join("a.c")).unwrap(), "a");
    assert_eq!(fs::read_to_string(setup.to.join("sub/b.c")).unwrap(), "b");
}

/// It may have made what took a folder's place, and not yet have written down that the folder's files are gone.
#[test]
fn what_is_gone_is_not_looked_for_behind_what_took_its_place() {
    let setup = setup(&[("e/x.c", "e"), ("d/x.c", "d"), ("f/x.c", "f")]);
    setup.mirror(Share::Nothing);
    for folder in ["d", "f"] {
        fs::remove_dir_all(setup.from.join(folder)).unwrap();
        fs::remove_dir_all(setup.to.join(folder)).unwrap();
    }
    write(&setup.from.join("f"), "file");
    symlink("e", setup.from.join("d")).unwrap();
    write(&setup.to.join("f"), "file");
    symlink("e", setup.to.join("d")).unwrap();
    setup.mirror(Share::Nothing);
    assert_eq!(fs::read_to_string(setup.to.join("e/x.c")).unwrap(), "e");
    assert_eq!(fs::read_to_string(setup.to.join("f")).unwrap(), "file");
}
