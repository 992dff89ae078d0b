use super::*;
use nix::{sys::stat::Mode, unistd::mkfifo};
use std::os::unix::{fs::symlink, net::UnixListener};

fn said(error: Refused) -> String {
    error.to_string()
}

#[test]
fn what_is_no_regular_file_is_told_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    mkfifo(&at("pipe"), Mode::S_IRUSR).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    assert!(said(read(&at("pipe"), 10).unwrap_err()).contains("it is a pipe"));
    assert!(said(read(&at("socket"), 10).unwrap_err()).contains("it is a socket"));
    assert!(said(read(Path::new("/dev/zero"), 10).unwrap_err()).contains("it is a device"));
    assert!(said(read(Path::new("/proc/self/maps"), 1 << 20).unwrap_err()).contains("the kernel's own"));
    assert!(read(&at("nothing"), 10).unwrap_err().as_io().is_some());
}

#[test]
fn a_file_is_read_to_its_limit_and_holes_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fs::write(&path, "0123456789").unwrap();
    assert_eq!(read(&path, 10).unwrap(), b"0123456789");
    let text = said(read(&path, 9).unwrap_err());
    assert!(text.contains("it has 10 bytes, and 9 bytes is the most"), "{text}");
    File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(said(read(&path, 1 << 30).unwrap_err()).contains("1048576 MiB"));
}

#[test]
fn a_named_link_is_followed_within_its_folder_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a"), "a").unwrap();
    symlink("a", at("inside")).unwrap();
    symlink("/etc/passwd", at("outside")).unwrap();
    assert_eq!(read_named(&at("inside"), 10).unwrap(), b"a");
    let text = said(read_named(&at("outside"), 1 << 20).unwrap_err());
    assert!(text.contains("it is a link to /etc/passwd, which is outside of"), "{text}");
    // Of one that is in a larger whole.
    fs::create_dir_all(at("series")).unwrap();
    fs::create_dir_all(at(".git")).unwrap();
    fs::write(at(".git/config"), "token").unwrap();
    for (to, name) in [("../a", "shared"), ("/etc/passwd", "outside"), ("../.git/config", "kept")] {
        symlink(to, at("series").join(name)).unwrap();
    }
    let of = |name: &str| read_named_in(folder.path(), &at("series").join(name), 1 << 20);
    assert_eq!(of("shared").unwrap(), b"a");
    assert!(matches!(of("outside"), Err(Refused::LeadsOut { .. })));
    assert!(matches!(of("kept"), Err(Refused::LeadsOut { .. })));
    assert!(read_named(&at("series/shared"), 10).is_err());
    // A distribution's own.
    assert!(named(Path::new("/usr/bin/awk")).is_ok());
}

#[test]
fn what_lies_behind_a_link_is_not_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("home/a/b")).unwrap();
    fs::create_dir(at("other")).unwrap();
    fs::write(at("home/a/b/c"), "").unwrap();
    fs::write(at("other/c"), "").unwrap();
    // How the folder itself is reached is its owner's affair.
    symlink("home", at("link")).unwrap();
    for home in [at("home"), at("link")] {
        for name in ["a", "a/b/c"] {
            assert_eq!(
                in_place(&home, &home.join(name)).unwrap(),
                at("home").canonicalize().unwrap().join(name)
            );
        }
        assert!(in_place(&home, &home.join("a/x")).unwrap_err().as_io().is_some());
    }
    // Whether it leads out or stays within, and at whatever part of the way it is.
    fs::rename(at("home/a/b"), at("home/a/x")).unwrap();
    for target in [at("other"), at("home/a/x")] {
        symlink(target, at("home/a/b")).unwrap();
        for name in ["home/a/b", "home/a/b/c"] {
            let refused = in_place(&at("home"), &at(name)).unwrap_err();
            assert!(refused.blames_files() && said(refused).contains("it is a link to"), "{name}");
        }
        fs::remove_file(at("home/a/b")).unwrap();
    }
}

#[test]
fn too_many_too_large_and_too_deep_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::write(at("file"), "12345").unwrap();
    let limits = Limits { file: 5, total: 11, files: 3, depth: 2 };
    let meta = |name: &str| fs::symlink_metadata(at(name)).unwrap();
    let mut tally = Tally::new(folder.path(), limits);
    tally.add(&at("file"), &meta("file")).unwrap();
    tally.add(&at("file"), &meta("file")).unwrap();
    assert!(said(tally.clone().add(&at("file"), &meta("file")).unwrap_err()).contains("VMM_LIMITS=total"));
    tally.add(&at("a/b"), &meta("a/b")).unwrap();
    assert!(said(tally.add(&at("a"), &meta("a")).unwrap_err()).contains("more than 3 files"));
    let mut tally = Tally::new(folder.path(), limits);
    assert!(said(tally.add(&at("a/b/c"), &meta("a/b/c")).unwrap_err()).contains("more than 2 folders deep"));
    let mut tally = Tally::new(folder.path(), Limits { file: 4, ..limits });
    assert!(said(tally.add(&at("file"), &meta("file")).unwrap_err()).contains("VMM_LIMITS=file"));
}
