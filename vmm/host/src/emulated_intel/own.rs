//! A host of our own that carries out plans, one after the other, with the same words over its wire as any emulated host.
//!
//! It is started with the first plan, whose kernel and image are in its memory from the beginning. Between plans it stands
//! still: nobody waits in a machine whose clock is its own.

use super::{
    IntelError, MODULES,
    bochs::{self, Bochs},
    image,
    wire::{self, Side, Wire},
};
use crate::emulated::{HostFile, Key, initrd};
use base::stage::Stage;
use nix::fcntl::OFlag;
use std::{
    fs::{self, File},
    io,
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// The host's own memory, in MiB, beside its guests': the kernel, and everything in the initrd twice.
pub(super) const OWN_MEMORY_MIB: u32 = 512;

/// Below 1 GiB lies all that the boot reads; more than 3 GiB has a gap for devices, which the boot ROM knows nothing of.
const MOST_MEMORY_MIB: u32 = 3 << 10;

/// In the host: which modules make it one with a wire, in the order of loading, with their parameters. It is there in no other one.
pub(crate) const WIRE_MODULES: &str = "/wire";

/// By these it has a disk, and one at the address alone that it is at.
const DISK: &str = "pata_legacy.ko";
const DISK_PARAMETERS: &str = "probe_mask=1";
const DISK_DEVICE: &str = "/dev/sda";

/// How long a host's disk may take to appear, by the host's clock.
const APPEARS: Duration = Duration::from_secs(60);

/// How often each side looks for something new: the host by its own clock, where each look takes it some ten thousand instructions.
const LOOK_INSIDE: Duration = Duration::from_millis(5);
const LOOK_OUTSIDE: Duration = Duration::from_millis(1);

/// A host for plans.
pub(crate) struct IntelHost {
    files: PathBuf,
    guests_mib: u32,
    running: Option<Running>,
}

struct Running {
    bochs: Bochs,
    /// Closed, it ends the thread that looks after the wire.
    stream: UnixStream,
    disk: PathBuf,
    carries: Carries,
    _folder: Stage,
}

impl IntelHost {
    /// One that is not started yet. `files` is where `./setup intel` puts what it needs; `guests_mib` is what its guests need.
    pub(crate) fn new(files: &Path, guests_mib: u32) -> Self {
        Self { files: files.to_owned(), guests_mib, running: None }
    }

    /// Lets it run, for a guest of this size. If that is its start, these files are in it, and it is known by what comes back.
    ///
    /// # Errors
    /// It can't be started.
    pub(crate) fn wake(&mut self, memory_mib: u32, has: &[HostFile]) -> Result<Option<Key>, IntelError> {
        if let Some(running) = &self.running {
            running.bochs.go_on()?;
            return Ok(None);
        }
        // One guest, and saved ones.
        let guests_mib = 2 * self.guests_mib.max(memory_mib);
        let (key, running) = start(&self.files, guests_mib, has)?;
        self.running = Some(running);
        Ok(Some(key))
    }

    /// Has it stand still.
    pub(crate) fn rest(&self) {
        if let Some(running) = &self.running {
            running.bochs.stand_still();
        }
    }

    /// The wire's stream.
    pub(crate) fn connect(&self) -> io::Result<UnixStream> {
        let running = self.running.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        running.stream.try_clone()
    }

    /// An error that says what the host said, if it runs no more, or why nothing of that comes any more.
    pub(crate) fn check(&mut self) -> Result<(), IntelError> {
        let Some(Running { bochs, disk, carries, .. }) = &mut self.running else { return Ok(()) };
        bochs.check()?;
        carries.failed().map_or(Ok(()), |error| Err(IntelError::io("talk over", disk)(error)))
    }

    /// The last that Bochs and the host's console said.
    pub(crate) fn tail(&self) -> String {
        self.running.as_ref().map_or_else(|| "(nothing)".to_owned(), |running| running.bochs.tail())
    }
}

fn start(files: &Path, guests_mib: u32, has: &[HostFile]) -> Result<(Key, Running), IntelError> {
    let names = modules(files)?;
    let with_parameters = |name: &String| match &name[..] {
        DISK => format!("{name} {DISK_PARAMETERS}\n"),
        _ => format!("{name}\n"),
    };
    let list: String = names.iter().map(with_parameters).collect();
    let more = [has, &[(WIRE_MODULES.to_owned(), 0o444, list.into_bytes())]].concat();
    let modules: Vec<PathBuf> = names.iter().map(|name| files.join("modules").join(name)).collect();
    let folder = folder(files)?;
    let (key, memory_mib) = boots_from(files, &modules, &more, guests_mib, folder.path())?;
    let bochs = Bochs::start(files, folder.path(), memory_mib)?;
    let disk = folder.path().join(bochs::DISK);
    let file = File::options().read(true).write(true).open(&disk).map_err(IntelError::io("open", &disk))?;
    let talk = |error: io::Error| IntelError::Talk(error.to_string());
    let (stream, ours) = UnixStream::pair().map_err(talk)?;
    let carries = Carries::start(Wire::new(file, Side::Outside), ours);
    Ok((key, Running { bochs, stream, disk, carries, _folder: folder }))
}

/// Carries what is said between the wire and its stream.
#[derive(Clone, Default)]
struct Carries(Arc<Mutex<Option<io::Error>>>);

impl Carries {
    fn start(wire: Wire, stream: UnixStream) -> Self {
        let (carries, ours) = (Self::default(), stream);
        let told = carries.clone();
        thread::spawn(move || {
            let failed = wire::carry(wire, &ours, LOOK_OUTSIDE).err();
            // Before the stream ends: whoever waits there looks at this then.
            *told.0.lock().unwrap_or_else(PoisonError::into_inner) = failed;
            drop(ours);
        });
        carries
    }

    /// Why it carries no more, once.
    fn failed(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A folder for a host's files.
pub(super) fn folder(files: &Path) -> Result<Stage, IntelError> {
    let tmp = files.with_file_name("tmp");
    fs::create_dir_all(&tmp).map_err(IntelError::io("make the folder", &tmp))?;
    Ok(Stage::new(&tmp)?)
}

/// Lays out what a host boots from. What it is known by, and how much memory it has, in MiB.
pub(super) fn boots_from(
    files: &Path,
    modules: &[PathBuf],
    more: &[HostFile],
    guests_mib: u32,
    folder: &Path,
) -> Result<(Key, u32), IntelError> {
    let bytes: usize = more.iter().map(|(_, _, bytes)| bytes.len()).sum();
    let own_mib = OWN_MEMORY_MIB + u32::try_from(2 * (bytes >> 20)).unwrap_or(u32::MAX / 2);
    let memory_mib = own_mib.saturating_add(guests_mib).next_multiple_of(64);
    if memory_mib > MOST_MEMORY_MIB {
        return Err(IntelError::Image(format!("guests of {guests_mib} MiB are too large for it")));
    }
    let initrd = folder.join("initrd");
    let key = initrd::of(modules, &initrd, more)?;
    image::write(files, &initrd, memory_mib, folder)?;
    Ok((key, memory_mib))
}

/// The modules of a host with a wire, in the order of loading.
///
/// # Errors
/// [`IntelError::Missing`]: one is not there, as where `./setup intel` ran before there was a wire.
pub(super) fn modules(files: &Path) -> Result<Vec<String>, IntelError> {
    let folder = files.join("modules");
    let order = fs::read_to_string(folder.join("order")).unwrap_or_default();
    let names: Vec<String> = order.lines().map(str::to_owned).collect();
    let wanted = MODULES.iter().chain(&[DISK, "sd_mod.ko"]).map(|name| (*name).to_owned());
    let mut missing = wanted
        .chain(names.iter().cloned())
        .filter(|name| !names.contains(name) || !folder.join(name).exists());
    match missing.next() {
        Some(name) => Err(IntelError::Missing(folder.join(name))),
        None => Ok(names),
    }
}

/// Inside: the stream that the wire carries.
///
/// # Errors
/// There is no disk.
pub(crate) fn stream() -> io::Result<UnixStream> {
    let deadline = Instant::now() + APPEARS;
    let disk = loop {
        let mut options = File::options();
        match options.read(true).write(true).custom_flags(OFlag::O_DIRECT.bits()).open(DISK_DEVICE) {
            Ok(disk) => break disk,
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    };
    let (stream, ours) = UnixStream::pair()?;
    thread::spawn(move || {
        if let Err(error) = wire::carry(Wire::new(disk, Side::Inside), &ours, LOOK_INSIDE) {
            eprintln!("failed to talk over {DISK_DEVICE}: {error}");
        }
    });
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_disk_that_takes_no_more_is_told_once_the_stream_ends() {
        let path = tempfile::NamedTempFile::new().unwrap();
        path.as_file().set_len(wire::DISK).unwrap();
        // As full as one that can be read alone.
        let disk = File::open(path.path()).unwrap();
        let (mut stream, ours) = UnixStream::pair().unwrap();
        let carries = Carries::start(Wire::new(disk, Side::Outside), ours);
        assert!(carries.failed().is_none());
        stream.write_all(b"a plan").unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        assert!(carries.failed().is_some());
    }
}
