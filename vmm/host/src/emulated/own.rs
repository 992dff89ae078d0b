//! A host of our own: booted the first time, and from then on continued from where it had booted to.
//!
//! Booting takes seconds, continuing a fraction of one. So the first boot ends with saving the idle host
//! in the cache, under a name that changes with everything that shapes it.

use super::{
    EmulatedError,
    initrd::{self, Initrd},
    qemu::{Qemu, Start},
    qmp,
};
use base::stage::{Stage, sweep};
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// What the host itself needs, in MiB, beside its guests' memory.
const OWN_MEMORY_MIB: u32 = 512;

/// Memory comes in such steps, in MiB, so that guests of similar size share a saved host.
const STEP_MIB: u32 = 512;

/// The file with the rate of the time stamp counter by which hosts were booted.
const RATE: &str = "tsc-khz";

/// How many saved hosts are kept, of some 120 MB each.
const KEPT: usize = 3;

/// The host, and what it takes to start it over.
pub(super) struct OwnHost {
    pub(super) qemu: Qemu,
    pub(super) folder: PathBuf,
    files: PathBuf,
    initrd: Initrd,
    rate: u64,
    memory_mib: u32,
    /// Where the booted host is kept.
    saved: PathBuf,
    /// Where it is saved before it is kept; a cache that can't be written to keeps none.
    saves: Option<Stage>,
    /// It was continued from there.
    pub(super) is_continued: bool,
    _temporary: Option<Stage>,
}

impl OwnHost {
    /// Starts a host with its sockets in `folder`, or in a folder that goes with it.
    pub(super) fn start(
        files: &Path,
        folder: Option<PathBuf>,
        guests_mib: u32,
    ) -> Result<Self, EmulatedError> {
        let initrd = initrd::ensure(files)?;
        let memory_mib = (OWN_MEMORY_MIB + guests_mib).next_multiple_of(STEP_MIB);
        let (folder, temporary) = match folder {
            Some(folder) => (folder, None),
            None => {
                // Only its owner may enter it: who can write to a slot can run code in the host.
                let temporary = Stage::running().map_err(EmulatedError::Folder)?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let rate = rate(files);
        let saved = files.join(format!("saved-{}", state_key(files, &initrd, memory_mib, rate)?));
        let is_continued = saved.exists();
        let start = if is_continued { Start::Continue(&saved) } else { Start::Boot(&initrd, rate) };
        // Where QEMU may write, and on the disk where the host will be kept.
        let saves = sweep(files).and_then(|()| Stage::new(files)).ok();
        let qemu = Qemu::start(files, &folders(&folder, saves.as_ref()), memory_mib, &start)?;
        Ok(Self {
            qemu,
            saves,
            folder,
            files: files.to_owned(),
            initrd,
            rate,
            memory_mib,
            saved,
            is_continued,
            _temporary: temporary,
        })
    }

    /// What the host says it is.
    pub(super) fn key(&self) -> super::Key {
        self.initrd.key
    }

    /// Gives the saved host up, and boots.
    pub(super) fn boot_instead(&mut self) -> Result<(), EmulatedError> {
        let _ = fs::remove_file(&self.saved);
        self.is_continued = false;
        self.qemu.end();
        let start = Start::Boot(&self.initrd, self.rate);
        let folders = folders(&self.folder, self.saves.as_ref());
        self.qemu = Qemu::start(&self.files, &folders, self.memory_mib, &start)?;
        Ok(())
    }

    /// Keeps the host as it is now, with nobody connected to it. A host that can't be kept is booted
    /// again the next time, so a failure costs seconds and is not worth a word.
    pub(super) fn save(&mut self) {
        let Some(saves) = &self.saves else { return };
        // The host has to notice that nobody is connected.
        thread::sleep(Duration::from_millis(100));
        let saved = tempfile::NamedTempFile::new_in(saves.path()).and_then(|file| {
            qmp::save(&self.qemu.monitor(), file.path())?;
            file.persist(&self.saved).map_err(|error| error.error)
        });
        if saved.is_ok() {
            initrd::keep_newest(&self.files, |name| name.starts_with("saved-"), KEPT);
        }
    }
}

/// Where QEMU may write; the first is for its sockets.
fn folders(own: &Path, saves: Option<&Stage>) -> Vec<PathBuf> {
    [own].into_iter().chain(saves.map(Stage::path)).map(Path::to_owned).collect()
}

/// The rate of the time stamp counter, in kHz, which a host has from this machine; the same number each time on the same machine.
/// A saved host of another rate, from a cache that came from elsewhere, would have a wrong clock.
fn rate(files: &Path) -> u64 {
    remembered(&files.join(RATE), machine::tsc::rate_khz())
}

/// What is in a file, if `measured` is as good as the same; else that, which is in the file from now on.
fn remembered(file: &Path, measured: u64) -> u64 {
    let known = fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok());
    if let Some(known) = known.filter(|known| known.abs_diff(measured) < measured / 200) {
        return known;
    }
    // Where it can't be kept, hosts are booted each time.
    let _ = fs::write(file, format!("{measured}\n"));
    measured
}

/// Changes with everything that a saved host depends on.
fn state_key(files: &Path, initrd: &Initrd, memory_mib: u32, rate: u64) -> Result<String, EmulatedError> {
    let emulator =
        ["qemu-system-x86_64", "root/usr/bin/qemu-system-x86_64", "vmlinuz"].map(|name| files.join(name));
    let present: Vec<_> = emulator.into_iter().filter(|path| path.exists()).collect();
    let parts = [
        initrd::identity(&present)?,
        super::hex(&initrd.key),
        Qemu::shape(memory_mib).join(" "),
        super::qemu::COMMAND_LINE.join(" "),
        rate.to_string(),
    ];
    Ok(super::hex_digest(parts.join("\n").as_bytes())[..32].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_stays_what_it_was_until_the_machine_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(RATE);
        for (measured, wanted) in [
            (2_500_000, 2_500_000),
            (2_500_900, 2_500_000),
            (2_499_100, 2_500_000),
            (2_100_000, 2_100_000),
            (2_100_500, 2_100_000),
        ] {
            assert_eq!(remembered(&file, measured), wanted);
        }
        fs::write(&file, "nonsense").unwrap();
        assert_eq!(remembered(&file, 7_000), 7_000);
    }
}
