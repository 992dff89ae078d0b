//! What the processes of a box take together: no limit of the kernel's counts that for a user who is root, and none
//! without a control group of one's own.

use crate::{Budget, Refused, limits::Bytes};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(200);
/// Between two looks at the disk, which take longer.
const DISK_EVERY: Duration = Duration::from_secs(2);
/// So many times as long as a look took it is not looked again: that costs a build one hundredth.
const REST: u32 = 100;
/// So many files may be written; beyond, counting would take longer than the build.
const FILES: usize = 1_000_000;

/// Watches a process and all that it starts.
#[derive(Debug)]
pub struct Watch {
    leader: u32,
    budget: Budget,
    writes: Vec<PathBuf>,
    started: Instant,
    next: Instant,
    next_disk: Instant,
    output: u64,
    /// All that were seen, with the time at which each began: who has lost its parent is still known.
    seen: HashMap<u32, u64>,
}

struct Process {
    parent: u32,
    began: u64,
    pages: u64,
}

impl Watch {
    /// From now on. `writes` are the folders that it may write to.
    pub fn new(leader: u32, budget: Budget, writes: Vec<PathBuf>) -> Self {
        let now = Instant::now();
        let seen = process(leader).map(|it| (leader, it.began)).into_iter().collect();
        Self {
            leader,
            budget,
            writes,
            started: now,
            next: now + EVERY,
            next_disk: now + DISK_EVERY,
            output: 0,
            seen,
        }
    }

    /// It printed so many bytes.
    ///
    /// # Errors
    /// It is too much.
    pub fn printed(&mut self, bytes: u64) -> Result<(), Refused> {
        self.output = self.output.saturating_add(bytes);
        let most = self.budget.output;
        match self.output > most {
            true => Err(over(format!("it has printed more than {}", Bytes(most)), "output", "SIZE")),
            false => Ok(()),
        }
    }

    /// Looks, if it is time.
    ///
    /// # Errors
    /// It takes too much of something.
    pub fn look(&mut self) -> Result<(), Refused> {
        let Budget { time, processes, memory, .. } = self.budget;
        if self.started.elapsed() > time {
            let what = format!("it has not ended within {} s", time.as_secs());
            return Err(over(what, "time", "SECONDS"));
        }
        let now = Instant::now();
        if now < self.next {
            return Ok(());
        }
        let (count, bytes) = self.family();
        self.next = Instant::now() + EVERY.max(now.elapsed() * REST);
        if count > processes {
            return Err(over(format!("it has more than {processes} processes"), "processes", "NUMBER"));
        }
        if bytes > memory {
            return Err(over(format!("it takes more than {} of memory", Bytes(memory)), "memory", "SIZE"));
        }
        if now > self.next_disk {
            let now = Instant::now();
            let looked = self.look_at_the_disk();
            self.next_disk = Instant::now() + DISK_EVERY.max(now.elapsed() * REST);
            looked?;
        }
        Ok(())
    }

    /// Looks at what is left of it on the disk: it may have ended between two looks.
    ///
    /// # Errors
    /// It is too much.
    pub fn look_at_the_disk(&self) -> Result<(), Refused> {
        let most = self.budget.disk;
        let written: u64 = self.writes.iter().map(|folder| written(folder, most)).sum();
        match written > most {
            true => Err(over(format!("it has written more than {}", Bytes(most)), "disk", "SIZE")),
            false => Ok(()),
        }
    }

    /// How many processes there are, and how much memory they have, in bytes.
    fn family(&mut self) -> (u64, u64) {
        let all = processes();
        let mut family: HashSet<u32> = HashSet::new();
        family.extend(
            self.seen
                .iter()
                .filter(|(id, began)| all.get(id).is_some_and(|it| it.began == **began))
                .map(|(id, _)| *id),
        );
        add_descendants(&mut family, &all);
        self.seen = family.iter().filter_map(|id| Some((*id, all.get(id)?.began))).collect();
        let pages: u64 = family.iter().filter_map(|id| Some(all.get(id)?.pages)).sum();
        (self.seen.len() as u64, pages * page())
    }

    /// Ends all that are left of what was seen, but for the leader, which is its starter's to end.
    pub fn end(&mut self) {
        // Whoever starts others meanwhile is found by the next look.
        for _ in 0..20 {
            self.family();
            let left: Vec<u32> = self.seen.keys().copied().filter(|id| *id != self.leader).collect();
            if left.is_empty() {
                return;
            }
            for id in left.into_iter().filter_map(|id| i32::try_from(id).ok()) {
                // One that is gone is what was wanted.
                let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// All processes that this one has started, and those that they have.
pub(crate) fn below(id: u32) -> HashSet<u32> {
    let mut family = HashSet::from([id]);
    add_descendants(&mut family, &processes());
    family.remove(&id);
    family
}

fn add_descendants(family: &mut HashSet<u32>, all: &HashMap<u32, Process>) {
    loop {
        let new: Vec<u32> = all
            .iter()
            .filter(|(id, process)| !family.contains(id) && family.contains(&process.parent))
            .map(|(id, _)| *id)
            .collect();
        if new.is_empty() {
            break;
        }
        family.extend(new);
    }
}

fn over(what: String, name: &'static str, value: &'static str) -> Refused {
    Refused::Overrun { what, name, value }
}

fn page() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

/// All processes, by their numbers (proc_pid_stat(5)); those that have ended and wait for their parent are none.
fn processes() -> HashMap<u32, Process> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter_map(|id| Some((id, process(id)?))).collect()
}

fn process(id: u32) -> Option<Process> {
    let text = fs::read(format!("/proc/{id}/stat")).ok()?;
    // The name before may hold anything, brackets too.
    let text = String::from_utf8_lossy(&text);
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // Fields are counted from 3, the state, on: 4 parent, 22 start, 24 resident pages.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    if *fields.first()? == "Z" {
        return None;
    }
    Some(Process { parent: number(4)? as u32, began: number(22)?, pages: number(24)? })
}

/// What lies on the disk below a folder, in bytes; no more than a little over `most` is counted.
fn written(folder: &Path, most: u64) -> u64 {
    let (mut bytes, mut files) = (0, 0);
    let mut todo = vec![folder.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            // A block is 512 bytes, whatever the file system's are (stat(2)).
            bytes += meta.blocks() * 512;
            files += 1;
            if bytes > most || files > FILES {
                return most.saturating_add(1);
            }
            if meta.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    bytes
}
