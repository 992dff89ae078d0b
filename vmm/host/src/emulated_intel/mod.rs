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

use crate::{
    boot_bench::{BootBench, Sample},
    emulated::{HostFile, initrd},
};
use base::{cache::CacheError, stage::Stage};
use bochs::Bochs;
use engine::event::Event;
use inside::FromHost;
use plan::Plan;
use protocol::Frames;
use serde::{Deserialize, Serialize};
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

/// What such a host is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Job {
    /// Carry out a plan.
    Plan(Box<Plan>),
    /// Measure how long a guest takes to boot.
    Boot(BootBench),
    /// Run this very program in the host, as a user would.
    Program {
        /// Its arguments, without its own name.
        arguments: Vec<String>,
        /// Its whole environment.
        environment: Vec<(String, String)>,
    },
}

/// What comes of a job.
#[derive(Debug, Serialize, Deserialize)]
pub enum Said {
    /// Of a plan.
    Event(Box<Event>),
    /// Of a guest's boot.
    Boot(Sample),
    /// Of a program, once it has ended.
    Ended {
        /// Its exit code; `None` if a signal ended it.
        code: Option<i32>,
        /// By the host's clock.
        took: Duration,
        /// The end of what it printed.
        last: Vec<u8>,
    },
}

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
    let guests_mib = plan.machine.memory_mib;
    work(files, &[Job::Plan(plan.into())], Vec::new(), guests_mib, stop, &mut |_, said| {
        if let Said::Event(event) = said {
            sink(*event);
        }
    })
}

/// Does several jobs, one after the other, in one host of their own: what one leaves, such as a saved machine, the next one
/// finds. `more` are files for them, and `guests_mib` is what guests and saved machines need at the same time. What comes of
/// a job is told once it is done, with its number, counted from 0.
///
/// # Errors
/// As [`execute`].
pub fn work(
    files: &Path,
    jobs: &[Job],
    more: Vec<HostFile>,
    guests_mib: u32,
    stop: &dyn Fn() -> bool,
    sink: &mut dyn FnMut(usize, Said),
) -> Result<(), IntelError> {
    let tmp = files.with_file_name("tmp");
    fs::create_dir_all(&tmp).map_err(IntelError::io("make the folder", &tmp))?;
    let folder = Stage::new(&tmp)?;
    let bytes: usize = more.iter().map(|(_, _, bytes)| bytes.len()).sum();
    let own_mib = OWN_MEMORY_MIB + u32::try_from(2 * (bytes >> 20)).unwrap_or(u32::MAX / 2);
    let memory_mib = own_mib.saturating_add(guests_mib).next_multiple_of(64);
    if memory_mib > MOST_MEMORY_MIB {
        return Err(IntelError::Image(format!("guests of {guests_mib} MiB are too large for it")));
    }
    let initrd = folder.path().join("initrd");
    let modules = MODULES.map(|name| files.join("modules").join(name));
    initrd::of(&modules, &initrd, &[inside::files(jobs)?, more].concat())?;
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
                FromHost::Said(said) => sink(done, *said),
                FromHost::Finished if done + 1 == jobs.len() => return Ok(()),
                FromHost::Finished => done += 1,
                FromHost::Failed(why) => return Err(IntelError::Failed(why)),
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
