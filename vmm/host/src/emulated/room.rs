//! What stays in an emulated host from plan to plan, and what goes for what comes: all of it is in the host's memory.

use super::{initrd, talk::FILES};
use nix::sys::statvfs::statvfs;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// So many kernels and images stay, beside those that come with a plan: as many as all slots use at once. With debugging a kernel takes
/// a tenth of the host's memory.
const KEPT_BLOBS: usize = super::SLOTS * (FILES - 1);

/// So many saved machines are kept, those used last: each takes some ten MiB of the host's memory.
const KEPT_MACHINES: usize = 4;

/// So many bytes are left free beside what is known to come.
const SPARE: u64 = 32 << 20;

/// Makes room for files that later plans may want again, and counts these as the newest. Those that other slots use were so a
/// moment ago.
pub fn keep_blobs(folder: &Path, used: &[PathBuf]) {
    for place in used {
        // It fails where the file is still to come.
        let _ =
            File::options().append(true).open(place).and_then(|file| file.set_modified(SystemTime::now()));
    }
    initrd::keep_newest(folder, |name| name.bytes().all(|byte| byte.is_ascii_hexdigit()), KEPT_BLOBS);
}

/// Makes room for one more saved machine of this size, unless it is there.
pub fn keep_machines(folder: &Path, wanted: &str, bytes: u64) {
    if folder.join(wanted).exists() {
        return;
    }
    let mut all = machines(folder);
    let old = (all.len() + 1).saturating_sub(KEPT_MACHINES);
    all.truncate(old);
    // A machine that runs from one of them has its memory mapped, and keeps it.
    all.iter().for_each(|path| drop(fs::remove_dir_all(path)));
    make_room(folder, bytes, &|| free(folder));
}

/// Removes saved machines, those first that were not used for longest, until so many bytes are free, and some more for all
/// that a run writes.
pub fn make_room(folder: &Path, bytes: u64, free: &dyn Fn() -> u64) {
    for path in machines(folder) {
        if free() >= bytes.saturating_add(SPARE) {
            return;
        }
        let _ = fs::remove_dir_all(path);
    }
}

/// How many bytes may still be written where this is. Who does not say it has room.
pub fn free(folder: &Path) -> u64 {
    statvfs(folder).map_or(u64::MAX, |it| it.blocks_available().saturating_mul(it.fragment_size()))
}

/// All saved machines, in the order in which they were used. What somebody is just saving is none yet.
fn machines(folder: &Path) -> Vec<PathBuf> {
    let used = |path: &Path| {
        fs::metadata(path.join("used")).or_else(|_| fs::metadata(path)).and_then(|it| it.modified())
    };
    let mut all: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .filter_map(|entry| Some((used(&entry.path()).ok()?, entry.path())))
        .collect();
    all.sort();
    all.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn saved_machines_go_until_there_is_room_the_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        for (index, name) in ["oldest", "older", "newest"].iter().enumerate() {
            let machine = folder.path().join(name);
            fs::create_dir(&machine).unwrap();
            let used = File::create(machine.join("used")).unwrap();
            used.set_modified(SystemTime::now() - Duration::from_secs(100 - index as u64)).unwrap();
        }
        let in_the_making = folder.path().join(".making-x");
        fs::create_dir(&in_the_making).unwrap();
        let there = || machines(folder.path()).len() as u64;
        // Each takes 64 MiB of 192.
        let free = || (3 - there()) * (64 << 20);
        make_room(folder.path(), 0, &|| SPARE);
        assert_eq!(there(), 3);
        make_room(folder.path(), 64 << 20, &free);
        assert_eq!(machines(folder.path()), [folder.path().join("newest")]);
        // What can't be had is not waited for.
        make_room(folder.path(), u64::MAX, &free);
        assert_eq!(there(), 0);
        assert!(in_the_making.exists());
    }

    #[test]
    fn files_that_nobody_used_lately_make_room_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let place = |index: usize| folder.path().join(format!("{index:064x}"));
        for index in 0..=KEPT_BLOBS {
            fs::write(place(index), "a kernel").unwrap();
            let age = Duration::from_secs(100 - index as u64);
            File::options()
                .append(true)
                .open(place(index))
                .unwrap()
                .set_modified(SystemTime::now() - age)
                .unwrap();
        }
        fs::write(folder.path().join("luggage-1"), "").unwrap();
        // The oldest is wanted again, and another one is still to come.
        keep_blobs(folder.path(), &[place(0), place(99)]);
        let there: Vec<bool> = (0..=KEPT_BLOBS).map(|index| place(index).exists()).collect();
        assert_eq!(there.iter().filter(|there| !**there).count(), 1);
        assert!(there[0] && !there[1] && folder.path().join("luggage-1").exists());
    }
}
