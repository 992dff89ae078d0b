use super::*;
use base::cache::{Cache, Fault};

fn sh(script: &str) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tied("sh");
    command.args(["-c", script]);
    let mut seen = 0;
    let ran = run(command, &folder.path().join("log"), None, |_| seen += 1).unwrap();
    let logged = fs::read_to_string(folder.path().join("log")).unwrap();
    assert_eq!((logged.lines().count(), seen), (ran.lines.len(), ran.lines.len()));
    ran
}

#[test]
fn both_outputs_are_kept_in_their_order() {
    let ran = sh("echo one; echo two >&2; printf 'th\\377ree'");
    assert!(ran.status.success());
    assert_eq!(ran.lines, ["one", "two", "th\u{fffd}ree"]);
}

#[test]
fn the_exit_code_is_the_commands() {
    assert_eq!(sh("exit 7").status.code(), Some(7));
    assert!(!sh("kill -KILL $$").status.success());
}

#[test]
fn that_the_leader_was_killed_is_no_failure_of_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tied("sh");
    // Nothing inside of a box could do that: there it is none of its processes.
    command.args(["-c", "echo begun; kill -KILL $PPID"]);
    let error = run(command, &folder.path().join("log"), None, |_| ()).unwrap_err();
    assert!(matches!(error, CacheError::Killed { signal: 9, .. }), "{error}");
    assert_eq!(error.fault(), Fault::Machine);
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(tied("vmm-no-such-program"), &folder.path().join("log"), None, |_| ()).unwrap();
    assert_eq!(ran.status.code(), Some(127));
    assert!(ran.lines[0].contains("vmm-no-such-program"), "{ran:?}");
}

#[test]
fn the_lock_is_held_for_the_command_which_does_not_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path()).unwrap();
    let lock = cache.lock("name", "it").unwrap();
    let mut command = tied("sh");
    command.args(["-c", "readlink /proc/self/fd/* /proc/$PPID/fd/*"]);
    let ran = run(command, &cache.log("l"), Some(&lock), |_| ()).unwrap();
    let holders = ran.lines.iter().filter(|line| line.ends_with("/locks/name")).count();
    assert_eq!(holders, 1, "{ran:?}");
}

#[test]
fn output_without_a_line_s_end_takes_no_memory() {
    let before = resident();
    let ran = sh("head -c 300000000 /dev/zero; printf '\\nend\\n'");
    assert_eq!(ran.lines.last().unwrap(), "end");
    assert!(ran.lines.iter().map(String::len).sum::<usize>() <= KEPT_BYTES + LONGEST_LINE);
    let grown = resident().saturating_sub(before);
    assert!(grown < 150 << 20, "{} MiB more", grown >> 20);
}

/// The most memory that this process ever had, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn what_is_left_of_the_group_ends_with_the_guard() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let mut command = tied("sh");
    command.arg("-c").arg(format!("sleep 1000 & echo $! > {}; wait", pid.display()));
    let group = Group::start(command, None).unwrap();
    let sleeper = loop {
        match fs::read_to_string(&pid) {
            Ok(text) if text.ends_with('\n') => break PathBuf::from("/proc").join(text.trim()),
            _ => thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(sleeper.exists());
    drop(group);
    // init has to collect it yet.
    let gone = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(10));
        fs::read_to_string(sleeper.join("stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    assert!(gone);
}

mod in_a_box {
    use super::*;
    use jail::Budget;

    struct Inside {
        folder: tempfile::TempDir,
        sandbox: Sandbox,
    }

    fn inside(change: impl FnOnce(&mut Budget)) -> Inside {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("own")).unwrap();
        let mut sandbox = Sandbox::new(Budget::MODULE).unwrap().write(folder.path().join("own"));
        change(&mut sandbox.budget);
        Inside { folder, sandbox }
    }

    impl Inside {
        fn run(&self, script: &str) -> Result<Ran, String> {
            let mut command = boxed(&self.sandbox, "sh");
            command.args(["-c", script]).current_dir(self.folder.path().join("own"));
            run_in(&self.sandbox, command, &self.folder.path().join("log"), None, |_| ())
                .map_err(|error| error.to_string())
        }
    }

    fn says(script: &str) -> Vec<String> {
        inside(|_| ()).run(script).unwrap().lines
    }

    #[test]
    fn compilers_work_and_write_where_they_may() {
        let inside = inside(|_| ());
        let ran = inside
            .run("echo 'int main(void) { return 7; }' > a.c && gcc a.c -o a; ./a; echo $?; rustc --version");
        let lines = ran.unwrap().lines;
        assert_eq!(lines[0], "7", "{lines:?}");
        assert!(lines[1].starts_with("rustc "), "{lines:?}");
        assert!(inside.folder.path().join("own/a").is_file());
    }

    #[test]
    fn the_machine_is_out_of_reach() {
        for script in [
            "cat /etc/passwd",
            "cat /etc/shadow",
            "ls /root/.ssh",
            "ls /home",
            "touch /usr/x",
            "touch /x",
            "mknod d c 1 3",
            "mount -t tmpfs none /tmp",
            "unshare --user true",
            "chroot / true",
            "cat /dev/kmsg",
            "cat /proc/kmsg",
            "echo b > /proc/sysrq-trigger",
            "ls /dev/kvm",
            "ls /dev/vda",
        ] {
            let ran = inside(|_| ()).run(script).unwrap();
            assert!(!ran.status.success(), "{script}: {ran:?}");
        }
        let around = inside(|_| ());
        let ran = around.run("ls ..; touch ../x; mkdir ../y; rm -rf ../*").unwrap();
        assert_eq!(ran.lines[0], "own", "{ran:?}");
        assert!(around.folder.path().join("log").is_file() && !around.folder.path().join("x").exists());
        assert_eq!(says("ls /sys 2>/dev/null | wc -l"), ["0"]);
        assert_eq!(says("grep -c : /proc/net/dev"), ["1"], "only the loopback of its own");
        // Its own processes: bubblewrap, the limits' shell, and what it runs.
        assert_eq!(says("ls /proc | grep -c '^[0-9]' | xargs test 8 -gt && echo few"), ["few"]);
        assert_eq!(says("grep CapEff /proc/self/status"), ["CapEff:\t0000000000000000"]);
        assert_eq!(says("grep NoNewPrivs /proc/self/status"), ["NoNewPrivs:\t1"]);
    }

    #[test]
    fn there_are_no_sockets_and_no_files_in_memory() {
        // What each call says, in this order; only the third and the fourth are such that compilers could need.
        let code = "#define _GNU_SOURCE\n#include <errno.h>\n#include <stdio.h>\n#include <sys/mman.h>\n#include <sys/shm.h>\n\
                    #include <sys/socket.h>\nint main(void) {\nint s[2];\n#define TRY(x) printf(\"%d \", (x) < 0 ? errno : 0)\n\
                    TRY(socket(AF_UNIX, SOCK_STREAM, 0)); TRY(socket(AF_INET, SOCK_DGRAM, 0));\n\
                    TRY(socketpair(AF_UNIX, SOCK_STREAM, 0, s)); TRY(send(s[0], \"x\", 1, 0));\n\
                    TRY(sendmsg(s[0], &(struct msghdr){0}, 0)); TRY(sendmmsg(s[0], &(struct mmsghdr){0}, 1, 0));\n\
                    TRY(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, s));\n\
                    TRY(memfd_create(\"x\", 0)); TRY(shmget(IPC_PRIVATE, 4096, 0600)); }\n";
        let ran = inside(|_| ()).run(&format!("cat > a.c <<'END'\n{code}END\ngcc a.c -o a && ./a")).unwrap();
        assert_eq!(ran.lines, ["1 1 0 0 1 1 1 1 1"], "EPERM");
    }

    #[test]
    fn the_environment_is_short() {
        let lines = says("env | cut -d= -f1 | sort");
        let known = [
            "HOME",
            "LANG",
            "LC_ALL",
            "LIBCLANG_PATH",
            "OLDPWD",
            "PATH",
            "PWD",
            "RUSTUP_HOME",
            "RUSTUP_TOOLCHAIN",
            "RUST_LIB_SRC",
            "SHLVL",
            "TMPDIR",
            "TZ",
            "_",
        ];
        assert!(lines.iter().all(|name| known.contains(&&**name)), "{lines:?}");
    }

    #[test]
    fn what_it_leaves_behind_ends_with_it() {
        let mark = "4242.17";
        let started = Instant::now();
        let ran =
            inside(|_| ()).run(&format!("setsid sleep {mark} & (sleep {mark} &) ; echo started")).unwrap();
        assert_eq!(ran.lines, ["started"]);
        assert!(started.elapsed() < Duration::from_secs(10));
        let left = || {
            let all = fs::read_dir("/proc").unwrap().flatten();
            all.filter(|it| {
                fs::read(it.path().join("cmdline")).is_ok_and(|line| line == b"sleep\x004242.17\0")
            })
            .count()
        };
        let gone = (0..100).any(|_| {
            thread::sleep(Duration::from_millis(10));
            left() == 0
        });
        assert!(gone);
    }

    #[test]
    fn each_limit_ends_it_and_says_so() {
        let ended = |change: fn(&mut Budget), script: &str| {
            let started = Instant::now();
            let said = inside(change).run(script).unwrap_err();
            assert!(started.elapsed() < Duration::from_secs(20), "{said}");
            said
        };
        let said = ended(|it| it.time = Duration::from_secs(1), "trap '' TERM; while :; do sleep 1; done");
        assert!(said.contains("it has not ended within 1 s; VMM_LIMITS=time=SECONDS"), "{said}");
        let said = ended(|it| it.processes = 20, "for i in $(seq 100); do sleep 60 & done; wait");
        assert!(said.contains("more than 20 processes"), "{said}");
        let said =
            ended(|it| it.memory = 64 << 20, "head -c 120000000 /dev/zero | tail -c 120000000 | sleep 60");
        assert!(said.contains("more than 64 MiB of memory"), "{said}");
        let said = ended(|it| it.output = 1 << 20, "cat /dev/zero");
        assert!(said.contains("printed more than 1 MiB"), "{said}");
        let said = ended(|it| it.output = 1 << 20, "yes");
        assert!(said.contains("printed more than 1 MiB"), "{said}");
        let said = ended(
            |it| it.disk = 8 << 20,
            "for i in $(seq 99); do head -c 1000000 /dev/urandom > $i; done; sleep 60",
        );
        assert!(said.contains("written more than 8 MiB"), "{said}");
        // Of files without a name, and where nobody can look.
        let said = ended(
            |it| it.disk = 8 << 20,
            "exec 7> x 8> y; rm x y; for i in $(seq 6); do head -c 1000000 /dev/urandom | cat >&7; head -c 1000000 /dev/urandom >&8; done; sleep 60",
        );
        assert!(said.contains("written more than 8 MiB"), "{said}");
        let said =
            ended(|_| (), "n=$(printf '%0200d' 0); while mkdir $n; do cd -P $n; done 2>/dev/null; sleep 60");
        assert!(said.contains("can't be counted"), "{said}");
    }
}
