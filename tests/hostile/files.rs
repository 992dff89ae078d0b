//! Files that are no files, and too many of them: each is refused with a message and an exit code, and nothing waits.

use super::{VMM, build, said, vmm};
use nix::{
    sys::signal::{Signal, kill},
    sys::stat::Mode,
    unistd::{Pid, mkfifo},
};
use std::{
    fs::{self, File},
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Nothing is built, so it is told at once; a machine may be busy.
const SOON: Duration = Duration::from_secs(20);

fn module(make: impl FnOnce(&Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Makefile"), "obj-m := a.o\n").unwrap();
    fs::write(folder.path().join("a.c"), "#include \"x.h\"\n").unwrap();
    make(folder.path());
    folder
}

#[track_caller]
fn refused(make: impl FnOnce(&Path), what: &str) {
    let folder = module(make);
    let started = Instant::now();
    let output = build(folder.path()).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(what), "{text}");
    assert!(!text.contains("root:"), "{text}");
    assert!(started.elapsed() < SOON);
}

#[test]
fn a_link_to_passwd() {
    refused(
        |at| symlink("/etc/passwd", at.join("x.h")).unwrap(),
        "a link to /etc/passwd, which is outside of",
    );
}

#[test]
fn a_link_to_what_never_ends() {
    refused(|at| symlink("/proc/kmsg", at.join("x.h")).unwrap(), "a link to /proc/kmsg");
    refused(|at| symlink("/dev/zero", at.join("x.h")).unwrap(), "a link to /dev/zero");
}

#[test]
fn a_makefile_that_is_a_link_to_what_never_ends() {
    refused(
        |at| {
            fs::remove_file(at.join("Makefile")).unwrap();
            symlink("/proc/kmsg", at.join("Makefile")).unwrap();
        },
        "a link to /proc/kmsg",
    );
}

#[test]
fn a_pipe() {
    refused(|at| mkfifo(&at.join("x.h"), Mode::S_IRWXU).unwrap(), "it is a pipe");
}

#[test]
fn a_socket() {
    refused(|at| drop(UnixListener::bind(at.join("x.h")).unwrap()), "it is a socket");
}

#[test]
fn a_device() {
    use nix::sys::stat::{SFlag, makedev, mknod};
    let made = |at: &Path| {
        // As only root may.
        mknod(&at.join("x.h"), SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 5)).is_ok()
    };
    if made(tempfile::tempdir().unwrap().path()) {
        refused(|at| assert!(made(at)), "it is a device");
    }
}

#[test]
fn a_terabyte_of_nothing() {
    refused(|at| File::create(at.join("x.h")).unwrap().set_len(1 << 40).unwrap(), "VMM_LIMITS=file=");
}

#[test]
fn many_files_much_in_them_and_folders_in_folders() {
    let many =
        |at: &Path| (0..10_001).for_each(|index| drop(File::create(at.join(index.to_string())).unwrap()));
    refused(many, "VMM_LIMITS=files=");
    let much = |at: &Path| {
        (0..5).for_each(|index| File::create(at.join(index.to_string())).unwrap().set_len(60 << 20).unwrap());
    };
    refused(much, "VMM_LIMITS=total=");
    // Who says that it may be so many has it so; it does not build all the same.
    let folder = module(many);
    let raised = build(folder.path()).env("VMM_LIMITS", "files=20000").output().unwrap();
    assert_eq!(raised.status.code(), Some(1), "{}", said(&raised));
    let deep = |at: &Path| fs::create_dir_all(at.join("d/".repeat(70))).unwrap();
    refused(deep, "VMM_LIMITS=depth=");
}

#[test]
fn a_module_s_file_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    symlink("/etc/shadow", at("link.ko")).unwrap();
    symlink("/dev/zero", at("zero.ko")).unwrap();
    mkfifo(&at("pipe.ko"), Mode::S_IRWXU).unwrap();
    File::create(at("sparse.ko")).unwrap().set_len(1 << 40).unwrap();
    fs::write(at("rubbish.ko"), [0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0xff, 0xff, 0xff]).unwrap();
    for name in ["link", "zero", "pipe", "sparse", "rubbish"] {
        let started = Instant::now();
        let path = at(&format!("{name}.ko")).display().to_string();
        let output = vmm(&["module", "check", &path]).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {text}");
        assert!(text.contains(&path) && !text.contains("panicked"), "{name}: {text}");
        assert!(started.elapsed() < SOON);
    }
}

#[test]
fn a_scenario_s_files_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    symlink("/etc/shadow", at("link")).unwrap();
    mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
    fs::create_dir(at("tree")).unwrap();
    let _socket = UnixListener::bind(at("tree/socket")).unwrap();
    for (name, what) in [
        ("link", "a link to /etc/shadow"),
        ("pipe", "neither a file nor a folder"),
        ("tree", "it is a socket"),
    ] {
        fs::write(at("s.yaml"), format!("files: {{/x: {name}}}\nsteps:\n- sleep: 1 s\n")).unwrap();
        let output = vmm(&["run", &at("s.yaml").display().to_string()]).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {text}");
        assert!(text.contains(what), "{name}: {text}");
    }
}

/// Whatever a command waits for, two seconds after SIGTERM or SIGINT it is gone, and half a second for a busy machine.
#[test]
fn a_command_that_waits_for_what_never_comes_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let pipe = pipe.display().to_string();
    let submissions = folder.path().display().to_string();
    // A makefile that does not hear it.
    let deaf = module(|at| {
        fs::write(at.join("Makefile"), "X := $(shell trap '' TERM INT; sleep 1000)\n").unwrap();
    });
    let deaf = deaf.path().display().to_string();
    for arguments in [
        &["splat", &*pipe][..],
        &["run", &pipe],
        &["splat", "-"],
        &["grade", &pipe, &submissions],
        &["kernel", "import", &pipe],
        &["report", "show", &pipe],
        &["report", "merge", &pipe],
        &["module", "build", &deaf],
    ] {
        for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
            let mut child = Command::new(VMM)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            thread::sleep(Duration::from_millis(500));
            assert!(child.try_wait().unwrap().is_none(), "{arguments:?} ended by itself");
            let told = Instant::now();
            kill(Pid::from_raw(child.id() as i32), signal).unwrap();
            // The handle of its input stays with us, open.
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
                assert!(told.elapsed() < Duration::from_millis(2500), "{arguments:?} goes on after {signal}");
                thread::sleep(Duration::from_millis(10));
            };
            assert_eq!(status.code(), Some(code), "{arguments:?}");
        }
    }
}

#[test]
fn a_folder_of_somebody_else_is_no_place_for_a_host_or_a_cache() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let place = open.display().to_string();
    let output = vmm(&["host", "serve", "--socket", &place]).output().unwrap();
    assert!(
        !output.status.success() && said(&output).contains("others may write to it"),
        "{}",
        said(&output)
    );
    let output = vmm(&["kernel", "list"]).env("VMM_CACHE", &place).output().unwrap();
    assert!(
        !output.status.success() && said(&output).contains("others may write to it"),
        "{}",
        said(&output)
    );
    // Nor is a host that somebody may have put there.
    let mut run = vmm(&["run", "scenarios/hello.yaml", "--host", "emulated"]);
    let output = run.env("VMM_HOST_DIR", &place).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("others may write to it"), "{}", said(&output));

    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let theirs = folder.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o700)).unwrap();
    match std::os::unix::fs::chown(&theirs, Some(65534), Some(65534)) {
        // In a user namespace without other users.
        Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => {
            return eprintln!("not tried: there are no other users here");
        }
        given => given.unwrap(),
    }
    let place = theirs.display().to_string();
    for mut command in [vmm(&["host", "serve", "--socket", &place]), vmm(&["kernel", "list"])] {
        let output = command.env("VMM_CACHE", &place).output().unwrap();
        assert!(!output.status.success(), "{}", said(&output));
        assert!(said(&output).contains("the user's with number 65534"), "{}", said(&output));
    }
}
