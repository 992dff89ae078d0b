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
use base::stage::Stage;
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

/// How many saved hosts are kept, of some 120 MB each.
const KEPT: usize = 3;

/// The host, and what it takes to start it over.
pub(super) struct OwnHost {
    pub(super) qemu: Qemu,
    pub(super) folder: PathBuf,
    files: PathBuf,
    initrd: Initrd,
    memory_mib: u32,
    /// Where the booted host is kept.
    saved: PathBuf,
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
        let saved = files.join(format!("saved-{}", state_key(files, &initrd, memory_mib)?));
        let is_continued = saved.exists();
        let start = if is_continued { Start::Continue(&saved) } else { Start::Boot(&initrd) };
        let qemu = Qemu::start(files, &folder, memory_mib, &start)?;
        Ok(Self {
            qemu,
            folder,
            files: files.to_owned(),
            initrd,
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
        self.qemu = Qemu::start(&self.files, &self.folder, self.memory_mib, &Start::Boot(&self.initrd))?;
        Ok(())
    }

    /// Keeps the host as it is now, with nobody connected to it. A host that can't be kept is booted
    /// again the next time, so a failure costs seconds and is not worth a word.
    pub(super) fn save(&mut self) {
        // The host has to notice that nobody is connected.
        thread::sleep(Duration::from_millis(100));
        let saved = tempfile::Builder::new().prefix("saving-").tempfile_in(&self.files).and_then(|file| {
            qmp::save(&self.qemu.monitor(), file.path())?;
            file.persist(&self.saved).map_err(|error| error.error)
        });
        if saved.is_ok() {
            initrd::keep_newest(&self.files, |name| name.starts_with("saved-"), KEPT);
        }
    }
}

/// Changes with everything that a saved host depends on.
fn state_key(files: &Path, initrd: &Initrd, memory_mib: u32) -> Result<String, EmulatedError> {
    let emulator =
        ["qemu-system-x86_64", "root/usr/bin/qemu-system-x86_64", "vmlinuz"].map(|name| files.join(name));
    let present: Vec<_> = emulator.into_iter().filter(|path| path.exists()).collect();
    let parts = [
        initrd::identity(&present)?,
        super::hex(&initrd.key),
        Qemu::shape(memory_mib).join(" "),
        super::qemu::COMMAND_LINE.join(" "),
    ];
    Ok(super::hex_digest(parts.join("\n").as_bytes())[..32].to_owned())
}
