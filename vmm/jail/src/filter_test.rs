use super::*;
use crate::answers;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use std::{
    net::{TcpStream, UdpSocket},
    os::unix::{
        net::{UnixDatagram, UnixListener, UnixStream},
        process::CommandExt,
    },
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

#[test]
fn a_socket_in_a_folder_is_out_of_reach_and_a_pair_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let refused = |result: io::Result<()>| result.unwrap_err().raw_os_error() == Some(libc::EPERM);
    // On a thread of its own: there is no way back.
    let tried = thread::spawn(move || {
        enter(KNOWN).unwrap();
        assert!(refused(UnixStream::connect(&path).map(drop)));
        assert!(refused(UnixListener::bind(path.with_extension("other")).map(drop)));
        assert!(refused(UdpSocket::bind("127.0.0.1:0").map(drop)));
        assert!(refused(TcpStream::connect("127.0.0.1:9").map(drop)));
        // Each end of which could send to the path.
        assert!(refused(UnixDatagram::pair().map(drop)));
        let (mut one, mut other) = UnixStream::pair().unwrap();
        one.write_all(b"x").unwrap();
        assert_eq!(io::Read::read(&mut other, &mut [0; 2]).unwrap(), 1);
    });
    tried.join().unwrap();
}

#[test]
fn there_is_no_memory_that_is_in_nobodys_resident_set() {
    let tried = thread::spawn(|| {
        enter(KNOWN).unwrap();
        let file = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC);
        assert_eq!(file.unwrap_err(), rustix::io::Errno::PERM);
        assert!(nix::sys::prctl::set_dumpable(false).is_err());
    });
    tried.join().unwrap();
}

fn answer(call: i64, arguments: &[u64]) -> u32 {
    answers::answer(&program(KNOWN).unwrap(), call, arguments)
}

fn errno(errno: i32) -> u32 {
    SeccompAction::Errno(errno.unsigned_abs()).into()
}

#[test]
fn what_is_a_superusers_is_refused_and_what_builds_do_is_not() {
    let allowed = u32::from(SeccompAction::Allow);
    for call in [
        libc::SYS_init_module,
        libc::SYS_reboot,
        libc::SYS_swapoff,
        libc::SYS_sethostname,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_mount,
        libc::SYS_unshare,
    ] {
        assert_eq!(answer(call, &[]), errno(libc::EPERM), "{call}");
        assert_eq!(answer(call | X32, &[]), errno(libc::ENOSYS), "{call}");
    }
    for call in [libc::SYS_clone3, libc::SYS_openat2] {
        assert_eq!(answer(call, &[]), errno(libc::ENOSYS), "{call}");
    }
    for call in [libc::SYS_read, libc::SYS_execve, libc::SYS_wait4, libc::SYS_pipe2, libc::SYS_chown] {
        assert_eq!(answer(call, &[0, 0, 0]), allowed, "{call}");
    }
    let child = (libc::CLONE_VM | libc::CLONE_THREAD | libc::SIGCHLD) as u64;
    assert_eq!(answer(libc::SYS_clone, &[child]), allowed);
    let superuser = child | libc::CLONE_NEWUSER as u64;
    assert_eq!(answer(libc::SYS_clone, &[superuser]), errno(libc::EPERM));
}

#[test]
fn what_others_may_take_and_who_runs_before_them_is_theirs_to_say() {
    let (own, others) = ([0, 0], [4711, 0]);
    for call in OF_PROCESSES {
        assert_eq!(answer(call, &own), SeccompAction::Allow.into(), "{call}");
        assert_eq!(answer(call, &others), errno(libc::EPERM), "{call}");
    }
    for (call, process) in OF_MANY {
        assert_eq!(answer(call, &[process, 0]), SeccompAction::Allow.into(), "{call}");
        for (kind, of) in [(process, 4711), (process + 1, 0), (process + 2, 1000)] {
            assert_eq!(answer(call, &[kind, of]), errno(libc::EPERM), "{call} {kind} {of}");
        }
    }
    for call in [libc::SYS_shmat, libc::SYS_msgrcv, libc::SYS_semop, libc::SYS_mq_unlink] {
        assert_eq!(answer(call, &[]), errno(libc::EPERM), "{call}");
    }
    // As builds do it, by the tools that they have.
    let tried = thread::spawn(|| {
        enter(KNOWN).unwrap();
        let goes = |words: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", words]).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().unwrap().success()
        };
        assert!(goes("prlimit --core=0 nice -n 1 sh -c 'ulimit -n 200'"));
        assert!(!goes("prlimit --pid $PPID --core=0") && !goes("renice -n 19 -p $PPID"));
    });
    tried.join().unwrap();
}

#[test]
fn nothing_that_is_made_runs_as_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let refused = |result: io::Result<()>| result.is_err_and(|it| it.raw_os_error() == Some(libc::EPERM));
    fs::write(path("x"), "").unwrap();
    let (made, to) = (path("made"), path("x"));
    let tried = thread::spawn(move || {
        enter(KNOWN).unwrap();
        for (mode, is_refused) in [(0o4755, true), (0o2755, true), (0o6711, true), (0o1755, false)] {
            let changed = fs::set_permissions(&to, fs::Permissions::from_mode(mode));
            assert_eq!(refused(changed), is_refused, "{mode:o}");
            let file = File::options().write(true).create(true).mode(mode).open(&made);
            assert_eq!(refused(file.map(drop)), is_refused, "{mode:o}");
        }
        // What opens without making has no mode, whatever stands in its place.
        let opened = File::options().read(true).mode(0o4755).open(&to);
        assert!(opened.is_ok());
    });
    tried.join().unwrap();
    let modes = [libc::SYS_fchmod, libc::SYS_creat, libc::SYS_mknod];
    assert!(modes.iter().all(|call| answer(*call, &[0, 0o4644]) == errno(libc::EPERM)));
    assert_eq!(answer(libc::SYS_fchmodat2, &[0, 0, 0o2644]), errno(libc::EPERM));
    let nameless = libc::O_TMPFILE as u64;
    assert_eq!(answer(libc::SYS_openat, &[0, 0, nameless, 0o4600]), errno(libc::EPERM));
}

#[test]
fn bubblewrap_reads_whole_instructions() {
    let bytes = fs::read(path().unwrap()).unwrap();
    assert_eq!(bytes.len(), 8 * program(KNOWN).unwrap().len());
    assert_eq!(bytes, fs::read(path().unwrap()).unwrap(), "a second time, too");
}

#[test]
fn where_landlock_lets_files_be_emptied_the_filter_does_not() {
    let (read, write) = (libc::O_RDONLY as u64, libc::O_WRONLY as u64);
    let (neither, empty) = (libc::O_ACCMODE as u64, libc::O_TRUNC as u64);
    for form in [ABI::Unsupported, ABI::V1, ABI::V2, ABI::V3, KNOWN] {
        let is_refused = |call, arguments: &[u64]| {
            answers::answer(&program(form).unwrap(), call, arguments) == errno(libc::EPERM)
        };
        let is_old = form < ABI::V3;
        assert_eq!(is_refused(libc::SYS_truncate, &[0, 0]), is_old, "{form:?}");
        for (flags, is_told) in [
            (read | empty, false),
            (neither | empty, false),
            (read, true),
            (neither, true),
            (write | empty, true),
            (libc::O_RDWR as u64 | empty, true),
            (write | empty | libc::O_CREAT as u64, true),
        ] {
            assert_eq!(
                is_refused(libc::SYS_open, &[0, flags, 0o644]),
                is_old && !is_told,
                "{form:?} {flags:o}"
            );
            let at = [0, 0, flags, 0o644];
            assert_eq!(is_refused(libc::SYS_openat, &at), is_old && !is_told, "{form:?} {flags:o}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    fs::write(&path, "kept").unwrap();
    let to = path.clone();
    let tried = thread::spawn(move || {
        use nix::{fcntl, sys::stat::Mode, unistd};
        enter(ABI::V2).unwrap();
        assert_eq!(unistd::truncate(&to, 0), Err(Errno::EPERM));
        for flags in [read | empty, neither | empty] {
            let flags = fcntl::OFlag::from_bits_retain(flags as i32);
            assert_eq!(fcntl::open(&to, flags, Mode::empty()).map(drop), Err(Errno::EPERM), "{flags:?}");
        }
        assert_eq!(fs::read_to_string(&to).unwrap(), "kept");
        // As who may write there does it.
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"cp "$0" "$0.2" && truncate -s 1 "$0.2" && : > "$0""#]).arg(&to);
        assert!(shell.status().unwrap().success());
    });
    tried.join().unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "");
}

#[test]
fn where_landlock_lets_others_be_signalled_the_filter_does_not() {
    for form in [ABI::Unsupported, ABI::V1, ABI::V5, ABI::V6, KNOWN] {
        let is_refused = |call, arguments: &[u64]| {
            answers::answer(&program(form).unwrap(), call, arguments) == errno(libc::EPERM)
        };
        let is_old = form < ABI::V6;
        for to in [-1i32, 0, -4711, 1, 4711] {
            let to = u64::from(to.cast_unsigned());
            assert!(SIGNALS.iter().all(|call| is_refused(*call, &[to, 9, 9]) == is_old), "{form:?} {to}");
        }
        for (call, command, is_told) in [
            (libc::SYS_fcntl, libc::F_SETOWN as u64, false),
            (libc::SYS_fcntl, 15, false),
            (libc::SYS_ioctl, 0x8901, false),
            (libc::SYS_ioctl, 0x8902, false),
            (libc::SYS_fcntl, libc::F_SETLKW as u64, true),
            (libc::SYS_fcntl, libc::F_DUPFD_CLOEXEC as u64, true),
            (libc::SYS_ioctl, libc::TCGETS, true),
            (libc::SYS_ioctl, libc::FIONBIO, true),
        ] {
            assert_eq!(
                is_refused(call, &[3, command, 1]),
                is_old && !is_told,
                "{form:?} {call} {command:#x}"
            );
        }
    }
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let id = Pid::from_raw(other.id().cast_signed());
    let tried = thread::spawn(move || {
        enter(ABI::V5).unwrap();
        // With no signal at all, it is only asked whether one could be sent.
        for to in [id, Pid::from_raw(-1), Pid::from_raw(0), Pid::this()] {
            assert_eq!(kill(to, None), Err(Errno::EPERM), "{to}");
        }
        assert_eq!(kill(id, Signal::SIGKILL), Err(Errno::EPERM));
    });
    tried.join().unwrap();
    assert!(other.try_wait().unwrap().is_none());
    other.kill().unwrap();
    other.wait().unwrap();
}

/// It builds, tells of a failure, and once told to end makes order, as it does where it may signal its children.
#[test]
fn make_works_where_nobody_can_be_signalled() {
    const MAKEFILE: &str = "all: a b\na b: %: %.c\n\tgcc $< -o $@\na.c b.c:\n\techo 'int main(void) { return 0; }' > $@\n\
        fails: bad slow\nbad:\n\twhile ! test -e starts; do sleep 0.01; done; false\n\
        slow:\n\ttouch starts; sleep 0.3; touch $@\n\
        half:\n\techo half > $@; touch begun; sleep 60; echo whole > $@\n";
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("Makefile"), MAKEFILE).unwrap();
    let make = |target: &str| {
        let mut make = Command::new("make");
        make.args(["-j4", target]).current_dir(folder.path()).process_group(0);
        make.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // On a thread of its own: there is no way back.
        let started = thread::spawn(move || {
            enter(ABI::V2).unwrap();
            make.spawn().unwrap()
        });
        started.join().unwrap()
    };
    assert!(make("all").wait().unwrap().success());
    assert!(path("a").is_file() && path("b").is_file());
    assert_eq!(make("fails").wait().unwrap().code(), Some(2));
    assert!(path("slow").is_file(), "it waits for the others");
    let mut main = make("half");
    while !path("begun").exists() {
        thread::sleep(Duration::from_millis(10));
    }
    let begun = Instant::now();
    killpg(Pid::from_raw(main.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert!(!main.wait().unwrap().success());
    assert!(
        begun.elapsed() < Duration::from_secs(30) && !path("half").exists(),
        "it removes what is half made"
    );
}
