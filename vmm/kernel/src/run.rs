//! Running one of the tools that builds are made of, with its output in a log.
//!
//! The tool gets a process group of its own, so that Ctrl-C at a terminal reaches only us and we end it
//! and everything that it started; and it dies with us (`setpriv --pdeathsig`) when we are killed.

use base::{
    cache::{CacheError, Lock},
    interrupt,
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// Between two looks at the interrupt flag.
const POLL: Duration = Duration::from_millis(100);
/// From SIGTERM, upon which make removes half-written targets, to SIGKILL.
const PATIENCE: Duration = Duration::from_secs(5);
/// Lines of output that are kept for diagnosis; a build that fails says why near its end.
const KEPT_LINES: usize = 20_000;

/// A tool that ran to its end.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// The last lines of what it said, standard output and standard error in their order.
    pub lines: Vec<String>,
}

/// Leads the group and waits for the command; told to end, it tells the whole group. (make alone would end
/// the shells that it started, but not what they started.) Standard input goes by way of descriptor 3, for
/// shells give what runs in the background an empty one.
const LEADER: &str = r#"trap 'trap - TERM; kill -TERM 0' TERM; exec 3<&0; "$@" <&3 3<&- & wait $!"#;

/// A command that ends with us, and everything that it started with it. `setpriv`, which has the kernel
/// send the leader a signal when we die, is part of util-linux, which every Debian has; without it the
/// command only ends with us when we live long enough to say so.
pub fn tied(program: &str) -> Command {
    let mut command = if super::toolchain::find("setpriv").is_some() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    command.args(["-c", LEADER, "sh", program]).process_group(0);
    // The kernel's makefile takes LC_ALL out of the environment: then LANG would say in which language compilers
    // speak. LANGUAGE goes before all of them.
    command.env("LC_ALL", "C").env("LANG", "C").env_remove("LANGUAGE").env_remove("LC_MESSAGES");
    command
}

/// Runs a command made by [`tied`], appends its output to the file `log`, hands every line to `on_line`.
/// `lock`, if given, is held until the command and its last descendant are gone.
///
/// # Errors
/// It can't be started, the log can't be written, or the user pressed Ctrl-C.
pub fn run(
    mut command: Command,
    log: &Path,
    lock: Option<&Lock>,
    mut on_line: impl FnMut(&str),
) -> Result<Ran, CacheError> {
    let mut file = fs::File::options()
        .append(true)
        .create(true)
        .open(log)
        .map_err(CacheError::io("open the log", log))?;
    let program = PathBuf::from(command.get_program());
    let start = CacheError::io("start", &program);
    let stdin = match lock {
        Some(lock) => Stdio::from(lock.share().map_err(CacheError::io("share a lock for", &program))?),
        None => Stdio::null(),
    };
    let (reader, writer) = io::pipe().map_err(CacheError::io("make a pipe for", &program))?;
    let both = writer.try_clone().map_err(CacheError::io("make a pipe for", &program))?;
    command.stdin(stdin).stdout(writer).stderr(both);
    let mut group = Group(command.spawn().map_err(start)?);
    // The command keeps the pipe's other end open in this process too, and the reader would wait for ever.
    drop(command);

    // Bounded: a build that shouts faster than the disk takes it has to wait.
    let (send, lines) = sync_channel(1024);
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            if send.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    let mut kept = std::collections::VecDeque::new();
    loop {
        if interrupt::requested() {
            return Err(CacheError::Interrupted);
        }
        match lines.recv_timeout(POLL) {
            Ok(line) => {
                writeln!(file, "{line}").map_err(CacheError::io("write the log", log))?;
                on_line(&line);
                if kept.len() == KEPT_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = group.0.wait().map_err(CacheError::io("wait for", &program))?;
    Ok(Ran { status, lines: kept.into() })
}

/// A child that leads a process group. Whatever is left of the group ends when this is dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // After an ordinary end the leader's number is no longer ours to signal.
        let Ok(None) = self.0.try_wait() else { return };
        let Ok(id) = i32::try_from(self.0.id()).map(Pid::from_raw) else { return };
        let _ = killpg(id, Signal::SIGTERM);
        let end = Instant::now() + PATIENCE;
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() > end {
                let _ = killpg(id, Signal::SIGKILL);
                let _ = self.0.wait();
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
#[path = "run_test.rs"]
mod tests;
