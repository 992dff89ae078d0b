//! The Bochs process.

use super::{IntelError, image, wire};
use crate::emulated::{tail, tied_to_us};
use nix::{
    pty::openpty,
    sys::{
        personality::{self, Persona},
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
};

/// What the host's serial ports are written to, in the run's folder.
const CONSOLE: &str = "console";
pub(super) const EVENTS: &str = "events";
/// Its disk, there.
pub(super) const DISK: &str = "disk";
/// What it says of itself, is told of its machine, and told to do.
const LOG: &str = "log";
const CONFIGURATION: &str = "bochsrc";
const COMMANDS: &str = "commands";

/// A running Bochs. Dropping it kills and reaps it, unless it hangs ([`jail::end`]).
pub(super) struct Bochs {
    child: Child,
    log: PathBuf,
    console: PathBuf,
}

impl Bochs {
    /// Starts it with the image and the ROM in `folder`.
    pub(super) fn start(files: &Path, folder: &Path, memory_mib: u32) -> Result<Self, IntelError> {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).map_err(IntelError::io("write", &path)).map(|()| path)
        };
        // Bochs runs in the folder: where that is would change how far apart things are in its memory.
        write(CONFIGURATION, &configuration(files, memory_mib))?;
        let disk = folder.join(DISK);
        let made = File::create(&disk).and_then(|file| file.set_len(wire::DISK));
        made.map_err(IntelError::io("make", &disk))?;
        // Debian's build begins in its debugger, which has to be told to go on.
        write(COMMANDS, "c\n")?;
        let program = files.join("bochs");
        // Its display is a terminal. Nobody looks at it, but it must be there, and be read.
        let pair = openpty(None, None)
            .map_err(|error| IntelError::io("open", Path::new("/dev/ptmx"))(error.into()))?;
        let mut screen = File::from(pair.master);
        let side =
            || pair.slave.try_clone().map(Stdio::from).map_err(IntelError::io("open", Path::new("/dev/pts")));
        let mut command = tied_to_us(&program, files, vec![folder.to_owned()]);
        command.args(["-q", "-f", CONFIGURATION, "-rc", COMMANDS]);
        command.env("TERM", "xterm").current_dir(folder).stdin(side()?).stdout(side()?).stderr(side()?);
        let child = unrandomized(|| command.spawn()).map_err(IntelError::io("start", &program))?;
        drop((pair.slave, command));
        // It ends with an error once Bochs has closed the other side.
        thread::spawn(move || io::copy(&mut screen, &mut io::sink()));
        Ok(Self { child, log: folder.join(LOG), console: folder.join(CONSOLE) })
    }

    /// Has it stand still until it is to go on. Nothing in it can notice: its clock counts instructions.
    pub(super) fn stand_still(&self) {
        // Where it is gone, that is told when it is to go on.
        let _ = kill(self.pid(), Signal::SIGSTOP);
    }

    pub(super) fn go_on(&self) -> Result<(), IntelError> {
        let fail = |error: nix::Error| IntelError::io("wake", Path::new("Bochs"))(error.into());
        kill(self.pid(), Signal::SIGCONT).map_err(fail)
    }

    /// It has not been waited for, so no other process has its number.
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// An error that says what the host said, if it runs no more.
    pub(super) fn check(&mut self) -> Result<(), IntelError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(IntelError::Died(self.tail())),
            Err(error) => Err(IntelError::io("wait for", Path::new("Bochs"))(error)),
        }
    }

    /// The last that Bochs and the host's console said.
    pub(super) fn tail(&self) -> String {
        tail(&[&self.log, &self.console])
    }
}

impl Drop for Bochs {
    fn drop(&mut self) {
        jail::end(&mut self.child);
    }
}

/// Starts something whose memory lies where it always lies: some of what Bochs does goes by its own addresses, and then no two
/// runs take the same number of instructions. A container that forbids it gets figures that differ by hundredths of a percent.
fn unrandomized<T>(start: impl FnOnce() -> T) -> T {
    let before = personality::get();
    if let Ok(before) = before {
        let _ = personality::set(before | Persona::ADDR_NO_RANDOMIZE);
    }
    let started = start();
    if let Ok(before) = before {
        let _ = personality::set(before);
    }
    started
}

/// What a file has behind a position; nothing while it is not there.
pub(super) fn read_from(path: &Path, position: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => {
            file.seek(SeekFrom::Start(position))?;
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(bytes),
        Err(error) => Err(error),
    }
}

/// The machine (bochsrc(5)), and why.
fn configuration(files: &Path, memory_mib: u32) -> String {
    [
        "display_library: term".to_owned(),
        format!("memory: guest={memory_mib}, host={memory_mib}"),
        // Of Bochs' models one with VMX, nested paging and unrestricted guests. One instruction takes one nanosecond: that is
        // the clock of this machine, whatever else the real one does.
        "cpu: model=corei7_skylake_x, count=1, ips=1000000000, reset_on_triple_fault=0, ignore_bad_msrs=1"
            .to_owned(),
        "clock: sync=none, time0=1000000000".to_owned(),
        format!("romimage: file={}", image::ROM),
        // It wants one, and nothing runs it.
        format!("vgaromimage: file={}", files.join("vgabios.bin").display()),
        format!("optramimage1: file={}, address=0x0", image::MEMORY),
        "pci: enabled=0".to_owned(),
        "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14".to_owned(),
        format!("com1: enabled=1, mode=file, dev={CONSOLE}"),
        format!(
            "ata0-master: type=disk, path={DISK}, mode=flat, cylinders={}, heads={}, spt={}",
            wire::CYLINDERS,
            wire::HEADS,
            wire::SECTORS_A_TRACK
        ),
        format!("com2: enabled=1, mode=file, dev={EVENTS}"),
        format!("log: {LOG}"),
        "error: action=ignore".to_owned(),
        "info: action=ignore".to_owned(),
        "panic: action=fatal".to_owned(),
        "sound: waveoutdrv=dummy".to_owned(),
    ]
    .join("\n")
}
