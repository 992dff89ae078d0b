//! A box where no namespaces are to be had: a process that confines what it starts, and ends with all of that.
//!
//! In two steps. [`outside`] stays outside of the walls, where nothing inside reaches it with a signal (Landlock, since Linux 6.12), and is the
//! parent of all that lose theirs (prctl(2), `PR_SET_CHILD_SUBREAPER`), so that nobody hides from it. [`inside`], its child, goes behind the walls
//! and becomes the command: no thread of ours stays there that a signal could be sent to.

use crate::{restrict, sandbox::DEVICES, watch};
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
    fs::File,
    io,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{self, Command},
    thread::sleep,
    time::{Duration, Instant},
};

/// The hidden command of this program's that does it, and the option of the second step.
const COMMAND: &str = "confined";
const INSIDE: &str = "--inside";

/// So long what runs inside may make order after SIGTERM.
const GRACE: Duration = Duration::from_millis(800);
/// So many times it is looked for what is left.
const LOOKS: usize = 400;

/// What may be read and what written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Files and folders.
    pub reads: Vec<PathBuf>,
    /// Folders.
    pub writes: Vec<PathBuf>,
}

impl Rules {
    fn words(&self) -> impl Iterator<Item = OsString> {
        let reads = self.reads.iter().map(|path| ("--read", path));
        let all = reads.chain(self.writes.iter().map(|path| ("--write", path)));
        all.flat_map(|(option, path)| [option.into(), path.into()])
    }

    /// The words that stand before a command; none in a program that is not `vmm`, as a unit test's.
    pub(crate) fn prefix(&self) -> Option<Vec<OsString>> {
        let program = program()?;
        let words = [program.into(), COMMAND.into()].into_iter().chain(self.words());
        Some(words.chain(["--".into()]).collect())
    }
}

/// `vmm`, if that is what runs and it still lies where it was started.
pub(crate) fn program() -> Option<PathBuf> {
    env::current_exe()
        .ok()
        .filter(|path| path.file_name().is_some_and(|name| name == "vmm") && path.is_file())
}

/// Runs a command behind the walls, and ends all that it started once it has ended, or once this process is told to end. Returns the
/// command's exit status, as a shell has it.
///
/// # Errors
/// It can't be started, or this process can't be the parent of those that lose theirs.
pub fn outside(rules: &Rules, command: &[OsString]) -> io::Result<u8> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    prctl::set_child_subreaper(true)?;
    // The leader's end is ours.
    prctl::set_pdeathsig(Signal::SIGTERM)?;
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
        status = reap(main);
    }
    for _ in 0..LOOKS {
        let left = watch::below(process::id());
        if left.is_empty() {
            break;
        }
        for id in left {
            // One that is gone is what was wanted.
            let _ = kill(Pid::from_raw(id.cast_signed()), Signal::SIGKILL);
        }
        sleep(Duration::from_millis(5));
        status = status.or(reap(main));
    }
    Ok(status.unwrap_or(128 + Signal::SIGKILL as u8))
}

/// Takes the end of all that have ended; this one's is told.
fn reap(main: Pid) -> Option<u8> {
    let mut status = None;
    loop {
        let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(_) => return status,
            Ok(_) => continue,
        };
        if pid == main {
            status = Some(code as u8);
        }
    }
}

/// Goes behind the walls, and becomes the command. Returns why it did not.
pub fn inside(rules: &Rules, command: &[OsString]) -> io::Error {
    if let Err(error) = restrict(&rules.reads, &rules.writes, &DEVICES.map(PathBuf::from)) {
        return io::Error::other(error);
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
        let rules = Rules { reads: vec!["/usr".into(), "/a b".into()], writes: vec!["/w".into()] };
        let words: Vec<OsString> = rules.words().collect();
        assert_eq!(words, ["--read", "/usr", "--read", "/a b", "--write", "/w"]);
        assert_eq!(rules.prefix(), None, "this is no vmm");
    }
}
