//! This program's own file, and what it started by that.

use nix::{
    sys::{prctl, signal::Signal},
    unistd::Pid,
};
use std::{
    env, fs,
    io::{Error, Result},
    path::{Path, PathBuf},
};

/// By this name a process starts the very program that it is, though its file may have been replaced meanwhile (proc_pid_exe(5)).
const ITSELF: &str = "/proc/self/exe";

/// What the kernel puts behind the path of a program whose file is no longer there.
const GONE: &str = " (deleted)";

/// Its path.
///
/// # Errors
/// The file was replaced or removed since: what stands there now is not what runs.
pub fn path() -> Result<PathBuf> {
    still_there(env::current_exe()?)
}

/// Has this process be told to end (SIGTERM) once the one ends that started it, if that is this program as well: whatever a killed process had
/// begun is of use to nobody.
///
/// # Errors
/// It has ended already.
pub fn end_with_its_starter() -> Result<()> {
    if env::args_os().next().is_none_or(|name| name != ITSELF) {
        return Ok(());
    }
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    let program = |process: &str| fs::read_link(format!("/proc/{process}/exe")).ok();
    match (program("self"), program(&Pid::parent().to_string())) {
        (Some(own), Some(parents)) if own != parents => Err(Error::other("what started it has ended")),
        _ => Ok(()),
    }
}

fn still_there(path: PathBuf) -> Result<PathBuf> {
    match path.to_str().and_then(|path| path.strip_suffix(GONE)) {
        Some(was) if !path.exists() => {
            let now = if Path::new(was).exists() { "replaced" } else { "removed" };
            Err(Error::other(format!("{was} was {now} while it ran; start it again")))
        }
        _ => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader},
        process::{Child, Command, Stdio},
        thread::sleep,
        time::Duration,
    };

    fn itself(test: &str) -> Child {
        let mut command = Command::new(ITSELF);
        command.args(["--ignored", "--exact", "--nocapture", &format!("program::tests::{test}")]);
        command.stdout(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    #[ignore = "run by what_a_killed_program_started_ends"]
    fn starts_another() {
        let mut other = itself("is_another");
        println!("started {}", other.id());
        other.wait().unwrap();
    }

    #[test]
    #[ignore = "run by starts_another"]
    fn is_another() {
        end_with_its_starter().unwrap();
        sleep(Duration::from_secs(1000));
    }

    #[test]
    fn what_a_killed_program_started_ends() {
        let mut starter = itself("starts_another");
        let mut lines = BufReader::new(starter.stdout.take().unwrap()).lines().map_while(Result::ok);
        let other = lines.find_map(|line| line.split_once("started ")?.1.parse::<u32>().ok()).unwrap();
        let tied = || {
            let status = fs::read_to_string(format!("/proc/{other}/stat")).unwrap_or_default();
            status.split_whitespace().nth(2).is_some_and(|state| state != "Z")
        };
        sleep(Duration::from_millis(500));
        assert!(tied());
        starter.kill().unwrap();
        starter.wait().unwrap();
        let gone = (0..500).any(|_| {
            sleep(Duration::from_millis(10));
            !tied()
        });
        assert!(gone, "{other} is left");
    }

    #[test]
    fn a_program_whose_file_is_another_one_by_now_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmm");
        let gone = folder.path().join("vmm (deleted)");
        let said = |path: &PathBuf| still_there(path.clone()).unwrap_err().to_string();
        assert!(said(&gone).ends_with("/vmm was removed while it ran; start it again"), "{}", said(&gone));
        fs::write(&path, "another").unwrap();
        assert!(said(&gone).ends_with("/vmm was replaced while it ran; start it again"), "{}", said(&gone));
        // It may be called so.
        fs::write(&gone, "").unwrap();
        assert_eq!(still_there(gone.clone()).unwrap(), gone);
        assert_eq!(still_there(path.clone()).unwrap(), path);
        assert!(super::path().is_ok());
    }
}
