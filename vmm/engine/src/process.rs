//! The process of one machine: started, and gone again whatever happens.

use crate::link::Link;
use board::wire::Blame;
use nix::sys::signal::Signal;
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::{
        fd::OwnedFd,
        unix::{
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A machine process. Dropping it kills and reaps it, unless it hangs ([`jail::end`]).
pub(super) struct MachineProcess {
    child: Child,
    /// Its standard error: a file, so that nobody has to read along.
    stderr: File,
}

impl MachineProcess {
    /// Starts this very program again as `machine serve`.
    pub(super) fn start() -> io::Result<(Self, Link)> {
        let mut command = Command::new("/proc/self/exe");
        // It needs nothing of the environment, and who breaks out of a guest is not to find any of it.
        command.args(["machine", "serve"]).env_clear();
        Self::spawn(command)
    }

    /// Starts a program with a socket as its standard input. A machine process ends by itself when that
    /// socket closes, so that it can't outlive a harness that was killed.
    fn spawn(mut command: Command) -> io::Result<(Self, Link)> {
        let (ours, theirs) = UnixStream::pair()?;
        let stderr = tempfile::tempfile()?;
        // Keys of a terminal go to who was started there, and that ends this.
        let child = command
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(stderr.try_clone()?)
            .spawn()?;
        Ok((Self { child, stderr }, Link::new(ours)?))
    }

    /// What can be said about a process that went without a word, and whose doing that is: what ends a process from
    /// outside is this machine, and what else it ends of may be a fault of ours that the guest has found.
    pub(super) fn post_mortem(&mut self) -> (Blame, String) {
        let deadline = Instant::now() + Duration::from_millis(500);
        let status = loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                Ok(status) => break status,
                Err(_) => break None,
            }
        };
        const XCPU: i32 = Signal::SIGXCPU as i32;
        let how = match status {
            None => "closed its socket but runs on".to_owned(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("ended with exit status {code}"),
                (None, Some(XCPU)) => {
                    format!("was ended by signal {XCPU}: no process has more processor time here (ulimit -t)")
                }
                (None, Some(signal)) => format!("was ended by signal {signal}"),
                (None, None) => "ended".to_owned(),
            },
        };
        let why = match self.last_words() {
            Ok(words) if !words.is_empty() => format!("the machine process {how}: {words}"),
            _ => format!("the machine process {how}"),
        };
        let from_outside = status.and_then(|status| status.signal());
        // Memory that comes from a file ends a process by SIGBUS where that can't be read any more.
        let ends = [
            Signal::SIGKILL,
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGHUP,
            Signal::SIGXCPU,
            Signal::SIGBUS,
        ];
        let from_outside = from_outside.is_some_and(|signal| ends.iter().any(|end| *end as i32 == signal));
        (if from_outside { Blame::Host } else { Blame::Unknown }, why)
    }

    fn last_words(&mut self) -> io::Result<String> {
        let length = self.stderr.seek(SeekFrom::End(0))?;
        self.stderr.seek(SeekFrom::Start(length.saturating_sub(2048)))?;
        let mut bytes = Vec::new();
        self.stderr.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }
}

impl Drop for MachineProcess {
    fn drop(&mut self) {
        jail::end(&mut self.child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkError;

    fn shell(script: &str) -> (MachineProcess, Link) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        MachineProcess::spawn(command).unwrap()
    }

    #[test]
    fn a_process_that_fails_is_told_with_its_last_words() {
        let (mut process, mut link) = shell("echo no such KVM >&2; exit 7");
        let end = link.receive::<()>(Instant::now() + Duration::from_secs(60));
        assert!(matches!(end, Err(LinkError::Closed)), "{end:?}");
        let words = "the machine process ended with exit status 7: no such KVM";
        assert_eq!(process.post_mortem(), (Blame::Unknown, words.to_owned()));
        // On a busy machine it may take a shell a while to get there.
        let ended_by = |signal: &str| {
            let (mut process, mut link) = shell(&format!("kill -{signal} $$"));
            let end = link.receive::<()>(Instant::now() + Duration::from_secs(60));
            assert!(matches!(end, Err(LinkError::Closed)), "{end:?}");
            process.post_mortem()
        };
        let words = "the machine process was ended by signal 9";
        assert_eq!(ended_by("KILL"), (Blame::Host, words.to_owned()));
        assert_eq!(ended_by("QUIT").0, Blame::Host);
        assert_eq!(ended_by("SEGV").0, Blame::Unknown);
        let (blame, why) = ended_by("XCPU");
        assert!(blame == Blame::Host && why.ends_with("(ulimit -t)"), "{why}");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let (process, _link) = shell("exec sleep 100");
        let folder = format!("/proc/{}", process.child.id());
        assert!(std::fs::exists(&folder).unwrap());
        let start = Instant::now();
        drop(process);
        assert!(start.elapsed() < Duration::from_secs(10));
        assert!(!std::fs::exists(&folder).unwrap());
    }
}
