//! What /proc says of processes: who started whom, how much memory each has, and which files it has open.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

/// A process.
pub(crate) struct Process {
    pub parent: u32,
    /// When it began, in the kernel's ticks since the machine started.
    pub began: u64,
    /// Of its memory, those that are there.
    pub pages: u64,
    /// It has so many.
    pub threads: u64,
}

/// What stands in a `stat` file (proc_pid_stat(5)) of a process, or of one of its tasks.
struct Stat {
    process: Process,
    /// It has ended, and waits for its parent.
    is_over: bool,
    /// How much it maps, in bytes; one that has none goes, or is the kernel's own.
    mapped: u64,
}

/// All processes, by their numbers; those that have ended and wait for their parent are none.
pub(crate) fn all() -> HashMap<u32, Process> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter_map(|id| Some((id, of(id)?))).collect()
}

/// One of them.
pub(crate) fn of(id: u32) -> Option<Process> {
    let Stat { process, is_over, .. } = stat(Path::new(&format!("/proc/{id}")))?;
    if !is_over {
        return Some(process);
    }
    // A process goes on without its first task as long as it has another, and only that knows its memory then.
    let pages = tasks(id).filter_map(|task| stat(&task)).find(|it| !it.is_over)?.process.pages;
    Some(Process { pages, ..process })
}

/// The folders of a process's tasks.
pub(crate) fn tasks(id: u32) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Whether a task has memory of its own: else it is about to end.
pub(crate) fn has_memory(task: &Path) -> bool {
    stat(task).is_some_and(|it| it.mapped > 0)
}

/// What a task has open. Each may have files of its own (unshare(2), `CLONE_FILES`).
///
/// # Errors
/// This process may not see that, or the task is gone.
pub(crate) fn open_files(task: &Path) -> io::Result<Vec<fs::Metadata>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(task.join("fd"))? {
        // Of what is open: such a link leads there without a name (proc_pid_fd(5)).
        match fs::metadata(entry?.path()) {
            // It was closed meanwhile.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {}
            file => files.push(file?),
        }
    }
    Ok(files)
}

/// All processes that this one has started, and those that they have.
pub(crate) fn below(id: u32) -> HashSet<u32> {
    let mut family = HashSet::from([id]);
    add_descendants(&mut family, &all());
    family.remove(&id);
    family
}

/// Adds all that was started by those that are there.
pub(crate) fn add_descendants(family: &mut HashSet<u32>, all: &HashMap<u32, Process>) {
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

fn stat(folder: &Path) -> Option<Stat> {
    let text = fs::read(folder.join("stat")).ok()?;
    // The name before may hold anything, brackets too.
    let text = String::from_utf8_lossy(&text);
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // Fields are counted from 3, the state, on: 4 parent, 20 threads, 22 start, 23 bytes mapped,
    // 24 resident pages.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        process: Process {
            parent: number(4)? as u32,
            began: number(22)?,
            pages: number(24)?,
            threads: number(20)?,
        },
        is_over: matches!(*fields.first()?, "Z" | "X"),
        mapped: number(23)?,
    })
}
