//! Ctrl-C: the run ends in order, at once, and leaves nothing.

use super::support::{Turn, finished, fixture, run_command};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Two seconds after a signal everything has ended, and half a second for a busy machine.
pub(super) const SOON: Duration = Duration::from_millis(2500);

/// The same command as the leader of a session: whatever it starts stays in that, also in process groups of
/// its own.
pub(super) fn in_own_session(command: &Command) -> Command {
    let mut leader = Command::new("setsid");
    leader.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    leader.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    leader
}

/// The processes of a session, as /proc/PID/stat has them (proc_pid_stat(5)): number, name in parentheses, state, parent,
/// group, session.
pub(super) fn session(leader: u32) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let session = leader.to_string();
    // One that has ended may wait for this machine's init to notice (state Z).
    let is_in_it = |stat: &String| {
        let fields = |rest: &str| {
            let fields: Vec<&str> = rest.split_whitespace().collect();
            fields.first() != Some(&"Z") && fields.get(3) == Some(&&*session)
        };
        stat.rsplit_once(')').is_some_and(|(_, rest)| fields(rest))
    };
    stats.filter(is_in_it).collect()
}

/// Waits until it has ended by itself; a run that does not end is ended and is a failure.
pub(super) fn wait(child: &mut Child, limit: Duration) {
    let deadline = Instant::now() + limit;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("vmm was still there {limit:?} after the signal");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn interrupt_ends_the_run_and_leaves_no_process() {
    ended_by(Signal::SIGINT, 130, "interrupted by the user");
}

// A CI system ends a job by SIGTERM: that is no wish of a user's.
#[test]
fn termination_ends_the_run_as_well_and_says_so() {
    ended_by(Signal::SIGTERM, 143, "ended by SIGTERM");
}

fn ended_by(signal: Signal, code: i32, reason: &str) {
    let _turn = Turn::take();
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("report.json");
    let started = Instant::now();
    let mut command = in_own_session(&run_command(&fixture("long.yaml"), &report));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let leader = child.id();
    // The report shows when the guest is in the middle of its steps.
    let reached = || fs::read_to_string(&report).is_ok_and(|text| text.contains("\"pass\""));
    while !reached() {
        assert!(child.try_wait().unwrap().is_none(), "vmm ended before the long step");
        thread::sleep(Duration::from_millis(50));
    }

    assert!(!session(leader).is_empty(), "what is looked for below is there now");
    kill(Pid::from_raw(leader.try_into().unwrap()), signal).unwrap();
    wait(&mut child, SOON);

    let ran = finished(&child.wait_with_output().unwrap(), &report, started);
    ran.ends_with("interrupted", code);
    ran.says(reason);
    assert_eq!(ran.step_verdicts().first(), Some(&"pass"));
    assert_eq!(ran.step_verdicts().last(), Some(&"not-run"));
    assert_eq!(session(leader), [""; 0], "these were left");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["report.json"], "nothing half-written");
}

#[test]
fn host_that_is_served_ends_with_all_that_it_started() {
    if super::support::served_host().is_none() {
        return;
    }
    let _turn = Turn::take();
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("host");
    let mut serve = Command::new(super::support::VMM);
    serve.args(["host", "serve", "--socket"]).arg(&place);
    let mut child = in_own_session(&serve).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let leader = child.id();
    let started = Instant::now();
    // Its process and the emulator.
    while session(leader).len() < 2 {
        assert!(started.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(50));
    }
    kill(Pid::from_raw(leader.try_into().unwrap()), Signal::SIGTERM).unwrap();
    wait(&mut child, SOON);
    assert_eq!(session(leader), [""; 0], "something is left");
}
