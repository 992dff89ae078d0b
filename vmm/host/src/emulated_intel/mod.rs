//! A KVM host on an Intel processor, under emulation: Bochs has VMX with nested paging, which QEMU's TCG has not.
//!
//! It runs one instruction after the other, some fifty million a second, so a host is small: there is no firmware, no boot loader
//! and no kernel that unpacks itself. All of its memory is laid out here (`image`), with kernel, this very program as init, and in
//! the initrd the first guest's files. Plans go in, and what happens comes out, as with any emulated host (`own`); in place of a port there is
//! a disk (`wire`).
//!
//! Where instructions are counted nothing comes from outside once it runs: all that such a host does is in its initrd, and what comes of
//! it goes to a serial port that Bochs writes to a file ([`work`]).

mod bochs;
mod image;
mod inside;
mod own;
mod wire;

pub(crate) use inside::{ORDER, run as run_inside};
pub(crate) use own::{IntelHost, WIRE_MODULES, stream};

use crate::{
    boot_bench::{BootBench, Sample},
    emulated::HostFile,
};
use base::cache::CacheError;
use bochs::Bochs;
use engine::event::Event;
use inside::FromHost;
use plan::Plan;
use protocol::Frames;
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// What turns Debian's cloud kernel into a KVM host on Intel, in the order of loading.
pub(crate) const MODULES: [&str; 3] = ["irqbypass.ko", "kvm.ko", "kvm-intel.ko"];

/// A host that says nothing for so long does nothing. Its guests' time limits are in its own time.
pub(crate) const SILENCE: Duration = Duration::from_secs(30 * 60);

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
    own::modules(files)?;
    let others = ["bochs", "vgabios.bin", "vmlinuz"].map(|name| files.join(name));
    match others.into_iter().find(|path| !path.exists()) {
        Some(path) => Err(IntelError::Missing(path)),
        None => Ok(()),
    }
}

/// Does several jobs, one after the other, in one host of their own: what one leaves, such as a saved machine, the next one
/// finds. `more` are files for them, and `guests_mib` is what guests and saved machines need at the same time. What comes of
/// a job is told once it is done, with its number, counted from 0.
///
/// # Errors
/// The host failed, or `stop` said so; never the guest's fault.
pub fn work(
    files: &Path,
    jobs: &[Job],
    more: Vec<HostFile>,
    guests_mib: u32,
    stop: &dyn Fn() -> bool,
    sink: &mut dyn FnMut(usize, Said),
) -> Result<(), IntelError> {
    let folder = own::folder(files)?;
    let modules = MODULES.map(|name| files.join("modules").join(name));
    let more = [inside::files(jobs)?, more].concat();
    let (_, memory_mib) = own::boots_from(files, &modules, &more, guests_mib, folder.path())?;
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
