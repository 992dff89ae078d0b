//! What the processes of a box take together: no limit of the kernel's counts that for a user who is root, and none
//! without a control group of one's own. How many they are it counts where the box has a namespace of its users.

use crate::{
    Budget, Refused,
    limits::Bytes,
    processes::{self, Process},
};
use nix::{
    sys::{
        signal::{Signal, kill},
        statvfs::statvfs,
    },
    unistd::Pid,
};
use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(200);
/// Between two looks at the disk, which take longer.
const DISK_EVERY: Duration = Duration::from_secs(2);
/// So many times as long as a look took it is not looked again: that costs a build one hundredth. But no longer than ten times what is usual:
/// who makes looking slow is looked at all the same.
const REST: u32 = 100;
const LONGEST_REST: u32 = 10;
/// So many files may be written; beyond, counting would take longer than the build.
const FILES: usize = 1_000_000;

/// Of a file system so much is left free, in bytes, and of a small one that part: others write there as well.
const RESERVE: u64 = 1 << 30;
const RESERVED: u64 = 32;
/// Who has written such a part of what it may is to blame for a file system that has no more than that left, and who takes such a part of memory
/// for a machine that has no more.
const BLAMED: u64 = 4;

/// What a file's blocks are counted in, in bytes, whatever the file system's are (stat(2)).
const BLOCK: u64 = 512;
/// So much of a path is shown, in characters.
const SHOWN: usize = 200;

/// Bytes by the file system that they are on, which has a number (stat(2), `st_dev`).
type OnDisks = HashMap<u64, u64>;

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
    /// What lay in `writes` at its beginning, in bytes; where there is room for all that it may write, at the first look.
    before: OnDisks,
    /// All that were seen, with the time at which each began: who has lost its parent is still known.
    seen: HashMap<u32, u64>,
    /// Whether there was one at the last look whose open files nobody may see.
    hidden: bool,
}

impl Watch {
    /// Of what is not started yet, and will write to these folders: what is there is none of its doing.
    pub fn new(budget: Budget, writes: Vec<PathBuf>) -> Self {
        let now = Instant::now();
        let mut before = OnDisks::new();
        // To walk through what is kept from build to build takes longer than most that runs in a box.
        let is_short = |folder: &&PathBuf| !has_room(room(folder), budget.disk);
        for folder in writes.iter().filter(is_short) {
            *before.entry(disk(folder)).or_default() += written(folder, budget.disk).unwrap_or(0);
        }
        Self {
            leader: 0,
            budget,
            writes,
            started: now,
            next: now,
            next_disk: now,
            output: 0,
            before,
            seen: HashMap::new(),
            hidden: false,
        }
    }

    /// It has been started just now, as this process.
    #[must_use]
    pub fn begin(self, leader: u32) -> Self {
        let now = Instant::now();
        let seen = processes::of(leader).map(|it| (leader, it.began)).into_iter().collect();
        Self { leader, started: now, next: now + EVERY, next_disk: now + DISK_EVERY, seen, ..self }
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
        let Budget { time, processes, .. } = self.budget;
        if self.started.elapsed() > time {
            let what = format!("it has not ended within {} s", time.as_secs());
            return Err(over(what, "time", "SECONDS"));
        }
        let now = Instant::now();
        if now < self.next {
            return Ok(());
        }
        let (count, bytes) = self.family();
        self.next = Instant::now() + rest(EVERY, now.elapsed());
        if count > processes {
            return Err(over(
                format!("it has more than {processes} processes and threads"),
                "processes",
                "NUMBER",
            ));
        }
        fits(bytes, &self.budget)?;
        if now > self.next_disk {
            let now = Instant::now();
            let looked = self.on_the_disk().and_then(|bytes| self.leaves_enough(&bytes, room));
            self.next_disk = Instant::now() + rest(DISK_EVERY, now.elapsed());
            looked?;
        }
        Ok(())
    }

    /// Looks at what is left of it on the disk: it may have ended between two looks.
    ///
    /// # Errors
    /// It is too much.
    pub fn look_at_the_disk(&mut self) -> Result<(), Refused> {
        self.on_the_disk().map(drop)
    }

    /// What is there, in bytes, if that is not too much.
    fn on_the_disk(&mut self) -> Result<OnDisks, Refused> {
        let most = self.budget.disk;
        let mut bytes = self.nameless()?;
        for folder in &self.writes {
            let there = bytes.entry(disk(folder)).or_default();
            *there = there.saturating_add(written(folder, most)?);
        }
        if bytes.values().fold(0, |sum: u64, it| sum.saturating_add(*it)) > most {
            return Err(over(format!("it has written more than {}", Bytes(most)), "disk", "SIZE"));
        }
        Ok(bytes)
    }

    /// Whether there is enough left where it writes, as it has so many bytes there by now. What it wrote to one disk is not held against it on
    /// another, which others may have filled.
    fn leaves_enough(
        &mut self,
        bytes: &OnDisks,
        room: fn(&Path) -> Option<(u64, u64)>,
    ) -> Result<(), Refused> {
        for (disk, there) in bytes {
            self.before.entry(*disk).or_insert(*there);
        }
        self.writes.iter().try_for_each(|folder| {
            let on = |all: &OnDisks| all.get(&disk(folder)).copied().unwrap_or(0);
            let grown = on(bytes).saturating_sub(on(&self.before));
            leaves_enough(folder, room(folder), grown, self.budget.disk)
        })
    }

    /// The bytes of files without a name that its processes have open, where it may write.
    ///
    /// # Errors
    /// There is a process that shows them to nobody, as there was when it was looked last: what it holds has to be taken for too much.
    fn nameless(&mut self) -> Result<OnDisks, Refused> {
        let disks: HashSet<u64> = self.writes.iter().map(|folder| disk(folder)).collect();
        let mut files = HashMap::new();
        let mut hiding = None;
        for id in self.seen.keys() {
            for task in processes::tasks(*id) {
                match processes::open_files(&task) {
                    Ok(open) => files.extend(
                        open.into_iter()
                            .filter(|meta| meta.is_file() && meta.nlink() == 0 && disks.contains(&meta.dev()))
                            .map(|meta| ((meta.dev(), meta.ino()), meta.blocks() * BLOCK)),
                    ),
                    // Of one that is about to end nobody may see them either.
                    Err(error) if hides(&error) && processes::has_memory(&task) => hiding = Some(*id),
                    Err(_) => {}
                }
            }
        }
        // bubblewrap hides them for a moment while it makes its box.
        let hid = std::mem::replace(&mut self.hidden, hiding.is_some());
        match hiding {
            Some(id) if hid => {
                let what =
                    format!("what its process {id} has written can't be counted: it hides its open files");
                Err(over(what, "disk", "SIZE"))
            }
            _ => {
                let mut bytes = OnDisks::new();
                files.iter().for_each(|((disk, _), it)| *bytes.entry(*disk).or_default() += it);
                Ok(bytes)
            }
        }
    }

    /// How many processes there are with their threads, as the kernel counts them (getrlimit(2), `RLIMIT_NPROC`), and how much memory they
    /// have, in bytes.
    fn family(&mut self) -> (u64, u64) {
        let all = processes::all();
        let mut family: HashSet<u32> = HashSet::new();
        family.extend(
            self.seen
                .iter()
                .filter(|(id, began)| all.get(id).is_some_and(|it| it.began == **began))
                .map(|(id, _)| *id),
        );
        processes::add_descendants(&mut family, &all);
        self.seen = family.iter().filter_map(|id| Some((*id, all.get(id)?.began))).collect();
        let of =
            |count: fn(&Process) -> u64| family.iter().filter_map(|id| all.get(id)).map(count).sum::<u64>();
        (of(|it| it.threads), of(|it| it.pages) * page())
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

fn over(what: String, name: &'static str, value: &'static str) -> Refused {
    Refused::Overrun { what, name, value }
}

/// Whether so many bytes of memory are no more than it gets.
///
/// # Errors
/// They are: what an honest build takes too was more than the machine had, or else it is too much.
fn fits(bytes: u64, budget: &Budget) -> Result<(), Refused> {
    let most = budget.given();
    match bytes > most {
        true if most <= budget.memory / BLAMED => Err(Refused::Small { has: most }),
        true => Err(over(format!("it takes more than {} of memory", Bytes(most)), "memory", "SIZE")),
        false => Ok(()),
    }
}

fn page() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

/// The file system that a folder is on; what is gone is on none.
fn disk(folder: &Path) -> u64 {
    fs::metadata(folder).map_or(0, |meta| meta.dev())
}

/// What is free where a folder is, and how much there is in all, in bytes.
fn room(folder: &Path) -> Option<(u64, u64)> {
    let stat = statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    Some((bytes(stat.blocks_available()), bytes(stat.blocks())))
}

/// How much of a file system of that size is left free, in bytes.
fn reserve(all: u64) -> u64 {
    (all / RESERVED).min(RESERVE)
}

/// Whether one that may write so many bytes leaves enough to others in any case, where there is so much room.
fn has_room(room: Option<(u64, u64)>, most: u64) -> bool {
    room.is_none_or(|(free, all)| free >= reserve(all).saturating_add(most))
}

/// Whether one that has written so many bytes, of `most` that it may, leaves enough to others where there is so much room.
///
/// # Errors
/// It does not: what an honest build writes too was more than the machine had, or else it is too much.
fn leaves_enough(folder: &Path, room: Option<(u64, u64)>, grown: u64, most: u64) -> Result<(), Refused> {
    let Some((free, all)) = room else { return Ok(()) };
    let reserve = reserve(all);
    // What is left was as little before one that has hardly written anything.
    if free >= reserve || grown <= reserve {
        return Ok(());
    }
    if grown <= most / BLAMED {
        return Err(Refused::Full { path: folder.to_owned() });
    }
    let what = format!("it has written {}, and leaves {} of that disk", Bytes(grown), Bytes(free));
    Err(over(what, "disk", "SIZE"))
}

/// When to look again after a look that took so long.
fn rest(usual: Duration, took: Duration) -> Duration {
    (took * REST).clamp(usual, usual * LONGEST_REST)
}

/// What lies on the disk below a folder, in bytes; no more than a little over `most` is counted.
///
/// # Errors
/// There is a folder in it that nobody can look into: what lies there has to be taken for too much.
fn written(folder: &Path, most: u64) -> Result<u64, Refused> {
    let (mut bytes, mut files) = (0, 0);
    let mut todo = vec![folder.to_owned()];
    while let Some(at) = todo.pop() {
        let hidden = |error: io::Error| {
            let shown: String = at.display().to_string().chars().take(SHOWN).collect();
            over(format!("what it has written into {shown} can't be counted ({error})"), "disk", "SIZE")
        };
        let entries = match fs::read_dir(&at) {
            Ok(entries) => entries,
            Err(error) if hides(&error) => return Err(hidden(error)),
            // It is gone, or was none.
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                // The folder shows names and nothing else.
                Err(error) if hides(&error) => return Err(hidden(error)),
                Err(_) => continue,
            };
            bytes += meta.blocks() * BLOCK;
            files += 1;
            if bytes > most || files > FILES {
                return Ok(most.saturating_add(1));
            }
            if meta.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    Ok(bytes)
}

/// Whether what can't be read is there: there is no right to read it, or its path is longer than the kernel takes.
fn hides(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidFilename)
}

#[cfg(test)]
#[path = "watch_test.rs"]
mod tests;
