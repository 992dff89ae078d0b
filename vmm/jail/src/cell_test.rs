use super::*;
use std::{
    env, fs,
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
    thread,
};

/// Says which of `attempts` a child is to make.
const ASKED: &str = "JAIL_TEST_ATTEMPT";

/// More than a machine process has for itself.
const MEMORY: u64 = 5 << 30;

/// Runs one attempt of this very program in a process of its own, since there is no way back.
fn attempt(name: &str) -> ExitStatus {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "cell::tests::in_a_process_of_its_own", "--ignored", "--nocapture"]);
    command.env(ASKED, name).output().unwrap().status
}

/// What there is of rights and limits once they are given up.
fn of_nobody() {
    let status = fs::read_to_string("/proc/self/status");
    assert!(status.is_err(), "no file can be read");
    let limit = |of| nix::sys::resource::getrlimit(of).unwrap();
    assert_eq!(limit(Resource::RLIMIT_CORE), (0, 0));
    assert_eq!(limit(Resource::RLIMIT_DATA), (MEMORY, MEMORY));
    assert_eq!(limit(Resource::RLIMIT_FSIZE), (WORDS, WORDS));
    // Who starts it as root sees that it is nobody from then on; others it is anyway.
    assert!(!Uid::effective().is_root() && nix::unistd::getgroups().unwrap().is_empty());
    assert!(nix::sys::prctl::get_no_new_privs().unwrap());
    // Where Landlock has no scopes, filters keep it from that.
    if restrict(&Rules::default()).unwrap() == Walls::All {
        let parent = nix::unistd::Pid::parent();
        assert_eq!(nix::sys::signal::kill(parent, None), Err(nix::Error::EPERM));
    }
}

/// Ends with the filter's signal, or, if the attempt was let through, as any test.
#[test]
#[ignore = "the other tests start it"]
fn in_a_process_of_its_own() {
    let Ok(name) = env::var(ASKED) else { return };
    let (what, work) = name.split_once(':').unwrap();
    let work = match work {
        "vcpu" => Work::Vcpu,
        "serve" => Work::Serve,
        _ => Work::Read,
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    give_up(Files::Open, MEMORY).unwrap();
    let files =
        fs::read("/etc/hostname").is_ok() || fs::read_dir("/").is_ok_and(|mut it| it.next().is_some());
    assert!(!files);
    match what {
        "files" => return,
        "rights" => return of_nobody(),
        _ => {}
    }
    lock(work).unwrap();
    match what {
        "work" => {
            let text = vec![7u8; 10 << 20];
            assert_eq!(text.iter().map(|it| u64::from(*it)).sum::<u64>(), 70 << 20);
            assert!(std::time::Instant::now().elapsed().as_secs() < 1000);
            thread::sleep(std::time::Duration::from_millis(1));
            // As the allocator does.
            assert!(thread::available_parallelism().is_ok());
        }
        "open" => assert!(fs::File::open("/dev/null").is_err()),
        "program" => drop(Command::new("true").status()),
        "thread" => drop(thread::spawn(|| ()).join()),
        "socket" => drop(std::net::UdpSocket::bind("127.0.0.1:0")),
        "accept" => drop(listener.accept()),
        "abort" => std::process::abort(),
        // The kernel would signal whoever is named as the owner.
        "tell" => {
            let asked = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_ASYNC);
            let _ = nix::fcntl::fcntl(&listener, asked);
        }
        "kill" => drop(nix::sys::signal::kill(nix::unistd::Pid::this(), None)),
        "chmod" => drop(fs::set_permissions("/tmp/x", std::os::unix::fs::PermissionsExt::from_mode(0o777))),
        "user" => drop(setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))),
        // It asks by a request of terminals (ioctl_tty(2), TCGETS).
        "device" => drop(std::io::IsTerminal::is_terminal(&std::io::stdin())),
        "mount" => drop(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)),
        other => panic!("{other}?"),
    }
    std::process::exit(0);
}

#[test]
fn a_thread_does_its_work_and_nothing_else() {
    for work in ["vcpu", "serve", "read"] {
        assert!(attempt(&format!("work:{work}")).success(), "{work}");
        assert!(attempt(&format!("files:{work}")).success(), "{work}");
        for what in
            ["program", "thread", "socket", "accept", "kill", "tell", "chmod", "user", "mount", "device"]
        {
            let status = attempt(&format!("{what}:{work}"));
            assert_eq!(status.signal(), Some(libc::SIGSYS), "{what} in {work}: {status}");
        }
    }
    for work in ["vcpu", "serve", "read"] {
        assert!(attempt(&format!("open:{work}")).success(), "{work}");
        // It signals itself, whose end is to be told by that.
        assert_eq!(attempt(&format!("abort:{work}")).signal(), Some(libc::SIGABRT), "{work}");
    }
}

/// Landlock's scopes are not there before Linux 6.12.
#[test]
fn a_thread_signals_its_own_process_and_nobody_else() {
    let (allowed, killed) = (u32::from(SeccompAction::Allow), u32::from(SeccompAction::KillProcess));
    for work in [Work::Vcpu, Work::Serve, Work::Read] {
        let filter = of(work).unwrap();
        let answer = |call, arguments: &[u64]| crate::answers::answer(&filter, call, arguments);
        let own = u64::from(process::id());
        assert_eq!(answer(libc::SYS_tgkill, &[own, own, 34]), allowed);
        for other in [1, own + 1, u64::MAX] {
            assert_eq!(answer(libc::SYS_tgkill, &[other, other, 9]), killed, "{other}");
        }
        assert_eq!(answer(libc::SYS_fcntl, &[0, libc::F_GETFD as u64]), allowed);
        for command in [
            libc::F_SETOWN,
            10, /* F_SETSIG */
            15, /* F_SETOWN_EX */
            libc::F_SETFL,
            libc::F_SETLEASE,
        ] {
            assert_eq!(answer(libc::SYS_fcntl, &[0, command as u64, 1]), killed, "{command}");
        }
        for call in [libc::SYS_kill, libc::SYS_tkill, libc::SYS_rt_sigqueueinfo, libc::SYS_pidfd_send_signal]
        {
            assert_eq!(answer(call, &[own]), killed, "{call}");
        }
    }
}

#[test]
fn who_has_given_up_has_no_rights_and_limits() {
    if Uid::effective().is_root() {
        assert!(attempt("rights:vcpu").success());
    }
}

#[test]
fn the_loop_of_a_vcpu_makes_few_calls() {
    assert!(allowed(Work::Vcpu).len() <= 30, "{}", allowed(Work::Vcpu).len());
}

#[test]
fn every_layer_is_told() {
    let names: Vec<_> = layers().iter().map(|layer| layer.name).collect();
    assert_eq!(names, ["namespaces", "landlock", "seccomp"]);
}

#[test]
fn a_limit_that_a_shell_has_for_itself_is_raised_to_what_may_be_had() {
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    // No other test writes as much meanwhile.
    setrlimit(Resource::RLIMIT_FSIZE, hard.min(1 << 40), hard).unwrap();
    raise();
    assert_eq!(getrlimit(Resource::RLIMIT_FSIZE).unwrap(), (hard, hard));
}
