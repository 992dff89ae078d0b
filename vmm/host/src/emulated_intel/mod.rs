//! A KVM host on an Intel processor, under emulation: Bochs has VMX with nested paging, which QEMU's TCG has not.
//!
//! It runs one instruction after the other, some fifty million a second, so a host is made for one run and small: there is no
//! firmware, no boot loader and no kernel that unpacks itself. All of its memory is laid out here (`image`), with
//! kernel, this very program as init, and in the initrd the plan and the guest's files. What happens comes out as on any
//! emulated host, by a serial port that Bochs writes to a file.

mod bochs;
mod image;
mod inside;

pub(crate) use inside::{ORDER, run as run_inside};

use crate::emulated::{FromHost, initrd};
use base::{cache::CacheError, stage::Stage};
use bochs::Bochs;
use engine::event::Event;
use plan::Plan;
use protocol::Frames;
use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// What turns Debian's cloud kernel into a KVM host on Intel, in the order of loading.
pub(crate) const MODULES: [&str; 3] = ["irqbypass.ko", "kvm.ko", "kvm-intel.ko"];

/// The host's own memory, in MiB, beside its guests': the kernel, and everything in the initrd twice.
const OWN_MEMORY_MIB: u32 = 512;

/// Below 1 GiB lies all that the boot reads; more than 3 GiB has a gap for devices, which the boot ROM knows nothing of.
const MOST_MEMORY_MIB: u32 = 3 << 10;

/// A host that says nothing for so long does nothing. Its guests' time limits are in its own time.
const SILENCE: Duration = Duration::from_secs(30 * 60);

/// How often the caller is asked whether to give up, and Bochs looked after.
const LOOK: Duration = Duration::from_millis(50);

/// Why there is no such host, or it did not do its part.
#[derive(Debug, thiserror::Error)]
pub enum IntelError {
    /// It was never set up.
    #[error("find {}; `./setup intel` puts it there", .0.display())]
    Missing(PathBuf),
    /// The system refused something.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// The attempt, as a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The folder for its files can't be made.
    #[error(transparent)]
    Folder(#[from] CacheError),
    /// Its initrd can't be written.
    #[error(transparent)]
    Initrd(#[from] crate::emulated::EmulatedError),
    /// Its memory can't be laid out.
    #[error("lay out the memory of the emulated Intel host: {0}")]
    Image(String),
    /// Bochs is gone.
    #[error("keep the emulated Intel host running: Bochs ended; the host said last:\n  {0}")]
    Died(String),
    /// It runs, and does nothing.
    #[error("hear from the emulated Intel host within {minutes} min; it said last:\n  {0}", minutes = SILENCE.as_secs() / 60)]
    Silent(String),
    /// What it says makes no sense.
    #[error("understand the emulated Intel host: {0}")]
    Talk(String),
    /// The machine inside could not be started.
    #[error("run the plan in the emulated Intel host: {0}")]
    Failed(String),
    /// The caller gave up.
    #[error("finish: interrupted")]
    Interrupted,
}

impl IntelError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

/// Whether everything is there that a run needs. `files` is where `./setup intel` puts it.
///
/// # Errors
/// [`IntelError::Missing`].
pub fn check(files: &Path) -> Result<(), IntelError> {
    let modules = MODULES.map(|name| files.join("modules").join(name));
    let others = ["bochs", "vgabios.bin", "vmlinuz"].map(|name| files.join(name));
    match others.into_iter().chain(modules).find(|path| !path.exists()) {
        Some(path) => Err(IntelError::Missing(path)),
        None => Ok(()),
    }
}

/// Carries out a plan in a host of its own, as [`engine::execute`] does here.
///
/// # Errors
/// The host failed, or `stop` said so; never the guest's fault.
pub fn execute(
    files: &Path,
    plan: &Plan,
    stop: &dyn Fn() -> bool,
    sink: &mut dyn FnMut(Event),
) -> Result<(), IntelError> {
    // Such a host is made for this plan alone: there is no saved machine in it, and nobody to make one for.
    let plan = Plan { warm: None, ..plan.clone() };
    execute_all(files, &[plan], stop, &mut |_, event| sink(event))
}

/// Carries out several plans, one after the other, in one host of their own: who saves a machine on the way finds it there.
///
/// # Errors
/// As [`execute`].
pub fn execute_all(
    files: &Path,
    plans: &[Plan],
    stop: &dyn Fn() -> bool,
    sink: &mut dyn FnMut(usize, Event),
) -> Result<(), IntelError> {
    let tmp = files.with_file_name("tmp");
    fs::create_dir_all(&tmp).map_err(IntelError::io("make the folder", &tmp))?;
    let folder = Stage::new(&tmp)?;
    let guest_mib = plans.iter().map(|plan| plan.machine.memory_mib).max().unwrap_or(0);
    // A saved machine is in memory, too.
    let guests = if plans.iter().any(|plan| plan.warm.is_some()) { 2 } else { 1 };
    let memory_mib = (OWN_MEMORY_MIB + guests * guest_mib).next_multiple_of(64);
    if memory_mib > MOST_MEMORY_MIB {
        return Err(IntelError::Image(format!("a guest of {guest_mib} MiB is too large for it")));
    }
    let initrd = folder.path().join("initrd");
    let modules = MODULES.map(|name| files.join("modules").join(name));
    initrd::of(&modules, &initrd, &inside::files(plans)?)?;
    image::write(files, &initrd, memory_mib, folder.path())?;
    let mut bochs = Bochs::start(files, folder.path(), memory_mib)?;
    let events = folder.path().join(bochs::EVENTS);
    let (mut frames, mut read, mut heard, mut done) = (Frames::new(), 0, Instant::now(), 0);
    loop {
        // Whether it still runs has to be known before what it wrote last is read.
        let alive = bochs.check();
        let new = bochs::read_from(&events, read).map_err(IntelError::io("read", &events))?;
        if !new.is_empty() {
            (read, heard) = (read + new.len() as u64, Instant::now());
            frames.push(&new);
        }
        while let Some(message) = frames.next().map_err(|error| IntelError::Talk(error.to_string()))? {
            match message {
                FromHost::Event(event) => sink(done, *event),
                FromHost::Finished if done + 1 == plans.len() => return Ok(()),
                FromHost::Finished => done += 1,
                FromHost::Failed(why) => return Err(IntelError::Failed(why)),
                FromHost::Need(_) => return Err(IntelError::Talk("it spoke out of turn".to_owned())),
            }
        }
        alive?;
        if stop() {
            return Err(IntelError::Interrupted);
        }
        if heard.elapsed() > SILENCE {
            return Err(IntelError::Silent(bochs.tail()));
        }
        thread::sleep(LOOK);
    }
}
