//! A box where no namespaces are to be had: a process that confines what it starts, and ends with all of that.
//!
//! In two steps. [`outside`] stays outside of the walls, where nothing inside reaches it with a signal (Landlock since Linux 6.12, before that
//! the filter), and is the parent of all that lose theirs (prctl(2), `PR_SET_CHILD_SUBREAPER`), so that nobody hides from it. Where it can signal
//! nobody else (Landlock again) it ends them all with one signal: nobody forks faster than that. [`inside`], its child, goes behind the walls and
//! becomes the command: no thread of ours stays there that a signal could be sent to.

use crate::{
    Rules, filter,
    landlocked::{restrict_as_far, signal_own_alone},
    processes, rights,
};
use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, dup2_stdin},
};
use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

/// The hidden command of this program's that does it, and the option of the second step.
const COMMAND: &str = "confined";
const INSIDE: &str = "--inside";
/// Its option for who is to have no rights.
const RIGHTLESS: &str = "--rightless";

/// So long what runs inside may make order after SIGTERM.
const GRACE: Duration = Duration::from_millis(800);
/// So many times it is looked for what is left.
const LOOKS: usize = 400;

impl Rules {
    fn words(&self) -> impl Iterator<Item = OsString> {
        let paths =
            |option, paths: &'_ [PathBuf]| paths.iter().map(move |path| (option, path.clone())).collect();
        let all: [Vec<(&str, PathBuf)>; 4] = [
            paths("--read", &self.reads),
            paths("--write", &self.writes),
            paths("--sockets", &self.sockets),
            paths("--device", &self.devices),
        ];
        all.into_iter().flatten().flat_map(|(option, path)| [option.into(), path.into()])
    }

    /// The words that stand before a command; none in a program that is not `vmm`, as a unit test's.
    pub(crate) fn prefix(&self) -> Option<Vec<OsString>> {
        let program = program()?;
        let words = [program.into(), COMMAND.into()].into_iter().chain(self.words());
        Some(words.chain(["--".into()]).collect())
    }

    /// The same for a program that is trusted until a guest gets hold of it, and then has no rights either: it is not looked after.
    pub fn emulators_prefix(&self) -> Option<Vec<OsString>> {
        let words = [program()?.into(), COMMAND.into(), INSIDE.into(), RIGHTLESS.into()];
        Some(words.into_iter().chain(self.words()).chain(["--".into()]).collect())
    }
}

static HAS_COMMANDS: AtomicBool = AtomicBool::new(false);

/// This program is `vmm`, whatever it is called: from now on boxes and readers are processes of it, by its hidden commands. Other programs, such as
/// unit tests, have no such commands, and do themselves what these would do.
pub fn has_commands() {
    HAS_COMMANDS.store(true, Ordering::Relaxed);
}

/// Where `vmm` is to be started from, if that is what runs.
pub(crate) fn program() -> Option<PathBuf> {
    HAS_COMMANDS.load(Ordering::Relaxed).then(|| own_file(env::current_exe().ok()))
}

/// The file of this program, which is expected at a path. Where another one lies by now, or none, the kernel still has it.
fn own_file(expected: Option<PathBuf>) -> PathBuf {
    // By its number: who starts it may be a shell by then.
    let own = PathBuf::from(format!("/proc/{}/exe", process::id()));
    let file = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    expected.filter(|path| file(path).is_some_and(|it| Some(it) == file(&own))).unwrap_or(own)
}

/// Runs a command behind the walls, and ends all that it started once it has ended, or once this process is told to end. Returns the
/// command's exit status, as a shell has it.
///
/// # Errors
/// It can't be started, this process can't be the parent of those that lose theirs, or some are left that can't be ended.
pub fn outside(rules: &Rules, command: &[OsString]) -> io::Result<u8> {
    let signals = awaited();
    signals.thread_block()?;
    prctl::set_child_subreaper(true)?;
    // The leader's end is ours.
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    let alone = signal_own_alone();
    let mut second = Command::new("/proc/self/exe");
    second.args([COMMAND, INSIDE]).args(rules.words()).arg("--").args(command);
    let main = Pid::from_raw(second.spawn()?.id().cast_signed());
    // Who feeds the command is to learn that it reads no more.
    dup2_stdin(File::open("/dev/null")?)?;
    let (mut status, mut until) = (None, None);
    while status.is_none() && until.is_none_or(|until| Instant::now() < until) {
        match until {
            Some(_) => sleep(Duration::from_millis(20)),
            None if signals.wait()? == Signal::SIGTERM => until = Some(Instant::now() + GRACE),
            None => {}
        }
        reap(main, &mut status);
    }
    end(alone, main, &mut status)?;
    Ok(status.unwrap_or(128 + Signal::SIGKILL as u8))
}

/// The signals that [`outside`] waits for.
fn awaited() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGTERM].into_iter().collect()
}

/// Ends all that this process has started, and what they have, as [`reap`] has it. `alone`: this process can signal nobody else.
fn end(alone: bool, main: Pid, status: &mut Option<u8>) -> io::Result<()> {
    for _ in 0..LOOKS {
        let all = match alone {
            // Everybody (kill(2)), in one moment: who is to end forks no more.
            true => vec![-1],
            // Those that can be seen. Who forks and ends faster than that is seen by nobody.
            false => processes::below(process::id()).into_iter().map(u32::cast_signed).collect(),
        };
        for id in all {
            // One that is gone is what was wanted.
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
        if !reap(main, status) {
            return Ok(());
        }
        sleep(Duration::from_millis(5));
    }
    Err(io::Error::other(
        "what it started goes on, whoever is killed of it; end it by hand, or wait until it ends",
    ))
}

/// Takes the end of all that have ended; how `main` did is told. Whether anybody is left: all that lose their parent are this process's.
fn reap(main: Pid, status: &mut Option<u8>) -> bool {
    loop {
        let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(WaitStatus::StillAlive) => return true,
            Err(_) => return false,
            Ok(_) => continue,
        };
        if pid == main {
            *status = Some(code as u8);
        }
    }
}

/// Goes behind the walls, and becomes the command. Returns why it did not.
pub fn inside(rules: &Rules, rightless: bool, command: &[OsString]) -> io::Error {
    let form = match restrict_as_far(rules) {
        Ok(form) => form,
        Err(error) => return io::Error::other(error),
    };
    let given_up = rights::give_up();
    // An emulator makes sockets, and confines its calls by itself; it has to run where nothing can be given up, too.
    if !rightless && let Err(error) = given_up.and_then(|()| filter::enter(form)) {
        return error;
    }
    // A command would have them blocked as well: make would not learn that it is to end, and leave half of what it was at.
    if let Err(error) = awaited().thread_unblock() {
        return error.into();
    }
    match command {
        [program, arguments @ ..] => Command::new(program).args(arguments).exec(),
        [] => io::ErrorKind::InvalidInput.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_stand_before_the_command() {
        let rules = Rules {
            reads: vec!["/usr".into(), "/a b".into()],
            writes: vec!["/w".into()],
            sockets: vec!["/s".into()],
            devices: vec!["/d".into()],
        };
        let words: Vec<OsString> = rules.words().collect();
        assert_eq!(
            words,
            ["--read", "/usr", "--read", "/a b", "--write", "/w", "--sockets", "/s", "--device", "/d"]
        );
        assert!(rules.prefix().is_none() && rules.emulators_prefix().is_none(), "this is no vmm");
    }

    #[test]
    fn what_is_started_is_the_file_that_runs() {
        let path = env::current_exe().unwrap();
        assert_eq!(own_file(Some(path.clone())), path);
        // As it is once a package's update has come.
        let gone = PathBuf::from(format!("{} (deleted)", path.display()));
        for other in [None, Some(gone), Some("/bin/sh".into())] {
            let own = own_file(other);
            assert_eq!(fs::canonicalize(&own).unwrap(), path);
            // A shell starts it, too.
            let words = ["-c", r#"exec "$0" --list"#];
            let listed = Command::new("sh").args(words).arg(&own).output().unwrap();
            assert!(String::from_utf8_lossy(&listed.stdout).contains("rules_stand_before_the_command"));
        }
    }

    #[test]
    #[ignore = "run by a_command_learns_that_it_is_to_end"]
    fn becomes_a_command() {
        awaited().thread_block().unwrap();
        let reads = ["/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/proc"].map(PathBuf::from);
        let rules = Rules { reads: reads.into_iter().filter(|it| it.exists()).collect(), ..Rules::default() };
        panic!("{}", inside(&rules, false, &["grep", "SigBlk", "/proc/self/status"].map(OsString::from)));
    }

    #[test]
    fn a_command_learns_that_it_is_to_end() {
        let test = ["--exact", "confined::tests::becomes_a_command", "--ignored", "--nocapture"];
        let output = Command::new(env::current_exe().unwrap()).args(test).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("SigBlk:\t0000000000000000"), "{said}");
    }

    /// Who forks and ends faster than anybody can look; for no longer than a minute, should it not be ended.
    const SWARM: &str =
        "hop() { [ $1 -gt 0 ] && hop $(($1 - 1)) & }; for i in $(seq 30); do hop 10000; done; wait";

    /// On its own: from here on there is no way back, and all that it starts goes.
    #[test]
    #[ignore = "run by what_forks_faster_than_anybody_looks_is_ended_all_the_same"]
    fn ends_a_swarm() {
        prctl::set_child_subreaper(true).unwrap();
        if !signal_own_alone() {
            return;
        }
        let swarm = Command::new("sh").args(["-c", SWARM]).spawn().unwrap().id();
        let swarm = Pid::from_raw(swarm.cast_signed());
        sleep(Duration::from_millis(500));
        let mut status = None;
        assert!(reap(swarm, &mut status));
        end(true, swarm, &mut status).unwrap();
        sleep(Duration::from_millis(300));
        assert!(!reap(swarm, &mut status) && status.is_some());
    }

    #[test]
    fn what_forks_faster_than_anybody_looks_is_ended_all_the_same() {
        let test = ["--exact", "confined::tests::ends_a_swarm", "--ignored", "--nocapture"];
        let output = Command::new(env::current_exe().unwrap()).args(test).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
