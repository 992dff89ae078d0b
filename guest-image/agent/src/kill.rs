//! Ending a program with everything that it has started.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{collections::BTreeSet, fs};

/// So many looks are taken at most: a program that makes processes faster than they are killed is not waited for.
const LOOKS: usize = 64;

/// A process as /proc/pid/stat has it (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pid: i32,
    parent: i32,
    /// It is dead, and waits to be collected.
    dead: bool,
    /// In ticks since boot.
    started: u64,
}

impl Process {
    fn parse(stat: &str) -> Option<Self> {
        // The name is in parentheses, and may have some itself, and spaces.
        let (head, rest) = stat.rsplit_once(')')?;
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            pid: head.split_once(' ')?.0.parse().ok()?,
            dead: matches!(*words.first()?, "Z" | "X"),
            parent: words.get(1)?.parse().ok()?,
            started: words.get(19)?.parse().ok()?,
        })
    }
}

/// Kills `program` and what it has started, also what has left its session or lost its parent meanwhile: those count as
/// its own that are younger and not `worker`'s. Where there is no /proc, kills its session's first group.
pub fn tree(program: Pid, worker: Option<Pid>) {
    let _ = kill(program, Signal::SIGKILL);
    let _ = kill(Pid::from_raw(-program.as_raw()), Signal::SIGKILL);
    let me = std::process::id() as i32;
    let mut killed = BTreeSet::from([program.as_raw()]);
    for _ in 0..LOOKS {
        let victims = descendants(&processes(), me, program.as_raw(), worker.map(Pid::as_raw));
        let new: Vec<i32> = victims.into_iter().filter(|pid| killed.insert(*pid)).collect();
        if new.is_empty() {
            return;
        }
        for pid in new {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// All processes, as far as they can be seen.
fn processes() -> Vec<Process> {
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = folders.filter(|folder| folder.file_name().as_encoded_bytes()[0].is_ascii_digit());
    let stats = numbers.filter_map(|folder| fs::read(folder.path().join("stat")).ok());
    stats.filter_map(|stat| Process::parse(&String::from_utf8_lossy(&stat))).collect()
}

/// The living ones below `program`, and those below a younger child of `me` that is not `worker`: orphans, whom PID 1 has
/// inherited.
fn descendants(all: &[Process], me: i32, program: i32, worker: Option<i32>) -> Vec<i32> {
    let find = |pid| all.iter().find(|process| process.pid == pid);
    let Some(since) = find(program).map(|process| process.started) else { return Vec::new() };
    let belongs = |process: &&Process| {
        let mut top = **process;
        // Parents can't form a circle, but they are not all read at one moment.
        for _ in 0..all.len() {
            if top.pid == program {
                return true;
            }
            match find(top.parent) {
                Some(parent) if parent.pid != me => top = *parent,
                _ => break,
            }
        }
        top.parent == me && top.started >= since && Some(top.pid) != worker
    };
    all.iter().filter(|process| !process.dead).filter(belongs).map(|process| process.pid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, started: u64) -> Process {
        Process { pid, parent, dead: false, started }
    }

    #[test]
    fn a_name_can_not_forge_the_fields() {
        let rest = "4 4 4 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        let parsed = Process::parse(&format!("12 (a) Z 1 (b) S {rest}"));
        assert_eq!(parsed, Some(process(12, 4, 777)));
        assert!(Process::parse(&format!("12 (a) Z {rest}")).is_some_and(|process| process.dead));
        assert_eq!(Process::parse("12 (a) S 4"), None);
        assert!(processes().iter().any(|process| process.pid == std::process::id() as i32));
    }

    #[test]
    fn children_and_orphans_die_and_who_was_there_before_lives() {
        let mut all = vec![
            process(1, 0, 0),
            // Kernel threads hang on 2.
            process(2, 0, 0),
            process(7, 2, 900),
            // The worker, started anew after the program, and a child that a call made.
            process(30, 1, 510),
            process(31, 30, 520),
            // Left over by an earlier program; it makes a child now.
            process(20, 1, 400),
            process(21, 20, 600),
            // The program, its child and grandchild, an orphan of it and that one's child.
            process(40, 1, 500),
            process(41, 40, 501),
            process(42, 41, 502),
            process(43, 1, 503),
            process(44, 43, 504),
        ];
        let dead = Process { dead: true, ..process(45, 40, 505) };
        all.push(dead);
        assert_eq!(descendants(&all, 1, 40, Some(30)), [40, 41, 42, 43, 44]);
        assert_eq!(descendants(&all, 1, 99, Some(30)), []);
    }
}
