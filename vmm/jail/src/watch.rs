//! What the processes of a box take together: no limit of the kernel's counts that for a user who is root, and none
//! without a control group of one's own.

use crate::{Budget, Refused, limits::Bytes};
use nix::{
    sys::signal::{Signal, kill},
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

/// What a file's blocks are counted in, in bytes, whatever the file system's are (stat(2)).
const BLOCK: u64 = 512;
/// So much of a path is shown, in characters.
const SHOWN: usize = 200;

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
        self.next = Instant::now() + rest(EVERY, now.elapsed());
        if count > processes {
            return Err(over(format!("it has more than {processes} processes"), "processes", "NUMBER"));
        }
        if bytes > memory {
            return Err(over(format!("it takes more than {} of memory", Bytes(memory)), "memory", "SIZE"));
        }
        if now > self.next_disk {
            let now = Instant::now();
            let looked = self.look_at_the_disk();
            self.next_disk = Instant::now() + rest(DISK_EVERY, now.elapsed());
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
        let mut bytes = self.nameless();
        for folder in &self.writes {
            bytes = bytes.saturating_add(written(folder, most)?);
        }
        match bytes > most {
            true => Err(over(format!("it has written more than {}", Bytes(most)), "disk", "SIZE")),
            false => Ok(()),
        }
    }

    /// The bytes of files without a name that its processes have open, where it may write.
    fn nameless(&self) -> u64 {
        let devices: HashSet<u64> =
            self.writes.iter().filter_map(|folder| Some(fs::metadata(folder).ok()?.dev())).collect();
        let mut files = HashMap::new();
        for id in self.seen.keys() {
            for entry in fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten() {
                // Of what is open: such a link leads there without a name (proc_pid_fd(5)).
                let Ok(meta) = fs::metadata(entry.path()) else { continue };
                if meta.is_file() && meta.nlink() == 0 && devices.contains(&meta.dev()) {
                    files.insert((meta.dev(), meta.ino()), meta.blocks() * BLOCK);
                }
            }
        }
        files.values().sum()
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
mod tests {
    use super::*;
    use nix::unistd::{Uid, setfsuid};
    use std::{io::Write, os::unix::fs::PermissionsExt, process::Command, thread};

    /// Looks as somebody without a superuser's rights.
    fn as_nobody<T: Send>(look: impl FnOnce() -> T + Send) -> T {
        let look = || {
            if Uid::effective().is_root() {
                // It is this thread's alone, and the right to read everything goes with it (capabilities(7)).
                setfsuid(Uid::from_raw(65534));
            }
            look()
        };
        thread::scope(|scope| scope.spawn(look).join().unwrap())
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_slow_look_does_not_buy_a_long_rest() {
        assert_eq!(rest(DISK_EVERY, Duration::from_millis(1)), DISK_EVERY);
        assert_eq!(rest(DISK_EVERY, Duration::from_millis(50)), Duration::from_secs(5));
        assert_eq!(rest(DISK_EVERY, Duration::from_secs(60)), DISK_EVERY * LONGEST_REST);
    }

    #[test]
    fn folders_that_nobody_can_look_into_are_too_much() {
        let folder = tempfile::tempdir().unwrap();
        // Deeper than a path can say. By steps, as only so it can be made.
        let script = "name=$(printf '%0200d' 0); for i in $(seq 30); do mkdir $name; cd -P $name; done";
        let made = Command::new("bash").args(["-c", script]).current_dir(folder.path()).status().unwrap();
        assert!(made.success());
        let said = written(folder.path(), 1 << 30).unwrap_err().to_string();
        assert!(said.contains("can't be counted") && said.len() < 1000, "{said}");
        let gone = Command::new("rm").arg("-rf").arg(folder.path()).status().unwrap();
        assert!(gone.success());
    }

    #[test]
    fn folders_that_show_nothing_or_names_alone_are_too_much() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("inside");
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join("x"), [1; 10_000]).unwrap();
        mode(folder.path(), 0o755);
        for (rights, is_seen) in [(0o000, false), (0o333, false), (0o444, false), (0o555, true)] {
            mode(&inside, rights);
            let seen = as_nobody(|| written(folder.path(), 1 << 30).map_err(|error| error.to_string()));
            assert_eq!(seen.is_ok(), is_seen, "{rights:o}: {seen:?}");
            assert!(seen.err().is_none_or(|said| said.contains("/inside can't be counted")));
        }
        mode(&inside, 0o755);
        assert!(written(&folder.path().join("nowhere"), 1).is_ok(), "it is gone");
    }

    #[test]
    fn a_file_that_has_lost_its_name_is_counted_while_it_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(&vec![1; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        fs::remove_file(path).unwrap();
        let budget = Budget { disk: 1 << 19, ..Budget::MODULE };
        let watch = Watch::new(std::process::id(), budget, vec![folder.path().to_owned()]);
        let said = watch.look_at_the_disk().unwrap_err().to_string();
        assert!(said.contains("written more than"), "{said}");
        drop(file);
        assert!(watch.look_at_the_disk().is_ok());
    }
}
