//! A saved machine on a disk: a folder with the state of everything but memory, and the memory.
//!
//! The folder gets its name once it is whole. It is never written to again, and whoever starts from it looks first
//! whether it is what was written: the state by its checksum; the memory by what make goes by (it is large), and if that
//! is not as it was noted, as after a copy, by its checksum as well.

use crate::{
    log::LogState,
    slots::DeviceStates,
    wire::{About, Notice},
};
use machine::{
    Memory,
    saved::{self, KeptMemory},
    state::{VcpuState, VmState},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    hash::Hasher,
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    time::{Duration, Instant, SystemTime},
};
use tempfile::TempDir;
use trap::SeenModules;
use twox_hash::XxHash64;

/// The file with everything but memory.
const STATE: &str = "state";
/// The memory.
const MEMORY: &str = "memory";
/// Folders in the making begin like this.
const MAKING: &str = ".making-";
/// One that is so old has nobody any more: the harness waits some minutes for it.
const ABANDONED: Duration = Duration::from_secs(900);

/// A state begins with this, its checksum and its length.
const MAGIC: [u8; 8] = *b"vmm\x00mach";
/// Raised when the form of a state changes.
const VERSION: u64 = 1;

/// A machine at one moment, but for its memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MachineState {
    pub(crate) vcpus: Vec<VcpuState>,
    pub(crate) vm: VmState,
    pub(crate) devices: DeviceStates,
    pub(crate) log: LogState,
    pub(crate) modules: SeenModules,
    /// As last told.
    pub(crate) taint: Option<u64>,
    /// What had been told of the guest by then.
    pub(crate) told: Vec<Notice>,
}

/// Everything in the file of a state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// What it is.
    pub about: About,
    /// [`machine::Vm::identity`] of where it was saved.
    pub(crate) identity: u64,
    pub(crate) machine: MachineState,
    /// What is in its memory's file.
    pub memory: KeptMemory,
    stamp: Stamp,
}

/// What changes when a file is written to, or is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    length: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { length: meta.len(), inode: meta.ino(), changed: (meta.mtime(), meta.mtime_nsec()) })
    }
}

/// Why nothing can be started from a saved machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfit {
    /// In words.
    pub why: String,
    /// What is saved is of no use to anybody. Else it was this process that could not have it, for want of a descriptor, say.
    pub damaged: bool,
}

impl Unfit {
    fn unreadable(what: &str, error: &io::Error) -> Self {
        let damaged = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof);
        Self { why: format!("its {what} can't be read: {error}"), damaged }
    }
}

impl<W: Into<String>> From<W> for Unfit {
    fn from(why: W) -> Self {
        Self { why: why.into(), damaged: true }
    }
}

/// The files of a machine that is to be saved, opened before the process gives up all files.
pub(crate) struct Files {
    state: File,
    memory: File,
}

impl Files {
    /// New ones in a folder that [`prepare`] made.
    pub(crate) fn create(making: &Path) -> io::Result<Self> {
        let create = |name| {
            let path = making.join(name);
            File::options().read(true).write(true).create_new(true).open(&path)
        };
        Ok(Self { state: create(STATE)?, memory: create(MEMORY)? })
    }

    /// Writes a machine, unless that takes longer than until then.
    pub(crate) fn write(
        &mut self,
        about: About,
        identity: u64,
        machine: MachineState,
        memory: &Memory,
        until: Instant,
    ) -> io::Result<()> {
        let kept = saved::store(memory, &self.memory, until)?;
        let stamp = Stamp::of(&self.memory)?;
        let saved = Saved { about, identity, machine, memory: kept, stamp };
        self.state.write_all(&encode(&saved))
    }
}

/// A folder for a machine that is to be saved as `folder`; dropped, it is gone.
///
/// # Errors
/// It can't be made.
pub fn prepare(folder: &Path) -> io::Result<TempDir> {
    let parent = folder.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(parent)?;
    sweep(parent);
    tempfile::Builder::new().prefix(MAKING).tempdir_in(parent)
}

/// Gives what was written into `making` its name, once it is on the disk. One that has it already is as good.
///
/// # Errors
/// Nothing has that name then.
pub fn commit(making: &TempDir, folder: &Path) -> io::Result<()> {
    for name in [MEMORY, STATE] {
        let file = File::open(making.path().join(name))?;
        file.sync_data()?;
        // Whoever may read it may start from it, and nobody writes to it.
        file.set_permissions(fs::Permissions::from_mode(0o444))?;
    }
    match fs::rename(making.path(), folder) {
        Err(_) if folder.is_dir() => Ok(()),
        result => result,
    }
}

/// Removes what a maker that was killed left behind.
pub fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|meta| meta.modified());
        let age = age.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if entry.file_name().to_string_lossy().starts_with(MAKING) && age.is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn encode(saved: &Saved) -> Vec<u8> {
    let payload = postcard::to_allocvec(saved).expect("encoding into memory");
    let mut bytes = Vec::from(MAGIC);
    for word in [VERSION, checksum(&payload), payload.len() as u64] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(payload);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Saved, &'static str> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or("its state is no state of a machine")?;
    let (words, payload) = rest.split_at_checked(24).ok_or("its state is cut short")?;
    let word = |index: usize| u64::from_le_bytes(words[8 * index..][..8].try_into().expect("eight bytes"));
    if word(0) != VERSION {
        return Err("its state is of another version");
    }
    if payload.len() as u64 != word(2) {
        return Err("its state is cut short");
    }
    if checksum(payload) != word(1) {
        return Err("its state is damaged");
    }
    postcard::from_bytes(payload).map_err(|_| "its state is damaged")
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = XxHash64::default();
    sum.write(bytes);
    sum.finish()
}

/// The state in this folder, without a look at the memory.
///
/// # Errors
/// Why there is none.
pub fn read(folder: &Path) -> Result<Saved, Unfit> {
    let bytes = fs::read(folder.join(STATE)).map_err(|error| Unfit::unreadable("state", &error))?;
    Ok(decode(&bytes)?)
}

/// The machine in this folder, and the file with its memory.
///
/// # Errors
/// Why nothing can be started from it.
pub(crate) fn open(folder: &Path) -> Result<(Saved, File), Unfit> {
    let saved = read(folder)?;
    let cant = |error: io::Error| Unfit::unreadable("memory", &error);
    let file = File::open(folder.join(MEMORY)).map_err(cant)?;
    let stamp = Stamp::of(&file).map_err(cant)?;
    if stamp.length < saved.memory.length() {
        return Err("its memory is cut short".into());
    }
    if stamp != saved.stamp && !saved.memory.is_in(&file).map_err(cant)? {
        return Err("its memory is damaged".into());
    }
    Ok((saved, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::create_memory;
    use vm_memory::{Bytes, GuestAddress};

    fn saved(folder: &Path) {
        let memory = create_memory(32).unwrap();
        memory.write_slice(&[7; 8192], GuestAddress(0x5000)).unwrap();
        let machine = MachineState {
            vcpus: vec![],
            vm: VmState::default(),
            devices: DeviceStates::from([("clock".to_owned(), vec![1, 2])]),
            log: LogState::Memory(Default::default()),
            modules: SeenModules::default(),
            taint: Some(4096),
            told: vec![Notice::Console(b"hello".to_vec())],
        };
        let making = prepare(folder).unwrap();
        let mut files = Files::create(making.path()).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        files.write(About::default(), 42, machine, &memory, until).unwrap();
        commit(&making, folder).unwrap();
    }

    #[test]
    fn a_machine_comes_back_whole_and_nothing_else_is_left_in_its_folder() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("machines/key");
        saved(&folder);
        saved(&folder);
        let (back, file) = open(&folder).unwrap();
        assert_eq!((back.identity, back.machine.taint), (42, Some(4096)));
        assert_eq!(back.machine.told, [Notice::Console(b"hello".to_vec())]);
        assert!(back.memory.is_in(&file).unwrap());
        // Zero pages take no room.
        assert!(file.metadata().unwrap().blocks() * 512 <= 64 << 10);
        assert_eq!(fs::read_dir(folder.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    }

    #[test]
    fn a_copy_is_as_good_and_what_is_damaged_or_cut_short_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let fresh = |name: &str| {
            let folder = parent.path().join(name);
            saved(&folder);
            folder
        };
        let change = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = fs::read(path).unwrap();
            change(&mut bytes);
            fs::remove_file(path).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let copied = fresh("copied");
        change(&copied.join(MEMORY), &|_| {});
        assert!(open(&copied).is_ok());
        let why = |name: &str, file: &str, how: &dyn Fn(&mut Vec<u8>)| {
            let folder = fresh(name);
            change(&folder.join(file), how);
            let unfit = open(&folder).err().unwrap();
            assert!(unfit.damaged, "{unfit:?}");
            unfit.why
        };
        assert_eq!(why("a", MEMORY, &|bytes| bytes[0x5003] = 8), "its memory is damaged");
        assert_eq!(why("b", MEMORY, &|bytes| bytes.truncate(0x6000)), "its memory is cut short");
        assert_eq!(why("c", STATE, &|bytes| bytes[40] ^= 1), "its state is damaged");
        assert_eq!(why("d", STATE, &|bytes| _ = bytes.pop()), "its state is cut short");
        assert_eq!(why("e", STATE, &|bytes| bytes.truncate(9)), "its state is cut short");
        assert_eq!(why("f", STATE, &|bytes| bytes[8] += 1), "its state is of another version");
        assert_eq!(why("g", STATE, &|bytes| bytes.clear()), "its state is no state of a machine");
        let gone = fresh("h");
        fs::remove_file(gone.join(MEMORY)).unwrap();
        let gone = open(&gone).err().unwrap();
        assert!(gone.why.starts_with("its memory can't be read") && gone.damaged, "{gone:?}");
    }

    #[test]
    fn what_this_process_can_t_have_says_nothing_against_what_is_saved() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("machine");
        saved(&folder);
        // A folder in the file's place can be opened and not read, as a file on a disk that fails.
        fs::remove_file(folder.join(STATE)).unwrap();
        fs::create_dir(folder.join(STATE)).unwrap();
        let unfit = open(&folder).err().unwrap();
        assert!(unfit.why.starts_with("its state can't be read") && !unfit.damaged, "{unfit:?}");
    }
}
