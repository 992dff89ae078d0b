//! The harness's side: starting a host or finding one that is served, and one run in one of its slots.

use super::{
    BLOBS, EmulatedError, HostFile, SLOTS,
    initrd::{self, Initrd},
    own::OwnHost,
    qemu::socket,
    talk::{Blob, Call, FILES, FromHost, Key, ToHost, files},
};
use crate::emulated_intel::{IntelHost, SILENCE};
use base::stage::of_ones_own;
use engine::{
    event::{Event, Start},
    link::Link,
};
use plan::Plan;
use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What to do where a folder is not to be used for a host's sockets.
const ELSEWHERE: &str = "name another, such as $XDG_RUNTIME_DIR/host";

/// From the start of QEMU until the host answers. Two seconds are usual; a machine that is busy with other
/// things needs more.
const START: Duration = Duration::from_secs(90);

/// A host that is up answers within this, also when it has to put an earlier run away first.
const ANSWER: Duration = Duration::from_secs(15);

/// What a run in a host may take beyond the time limits in its plan.
const SLACK: Duration = Duration::from_secs(60);

/// How often the caller is asked whether to give up, and QEMU looked after.
const LOOK: Duration = Duration::from_millis(50);

/// A host that is continued is up at once.
const CONTINUE: Duration = Duration::from_secs(20);

/// A host to run plans in.
pub struct EmulatedHost {
    slot: Slot,
    key: Key,
    /// It has answered before.
    called: bool,
}

enum Slot {
    /// A host of our own.
    Own(Box<OwnHost>),
    /// The same with an Intel processor.
    Intel(Box<IntelHost>),
    /// One slot of a host that somebody else keeps; held by the lock on its file.
    Shared { folder: PathBuf, number: usize, _lock: File },
}

impl EmulatedHost {
    /// Starts a host and returns while it boots. It ends when this is dropped, or with this process. `files`
    /// is where `./setup emulator` puts what it prepares; `guests_mib` is what the guests need.
    ///
    /// # Errors
    /// Something is missing there, or can't be started.
    pub fn start(files: &Path, guests_mib: u32) -> Result<Self, EmulatedError> {
        let own = OwnHost::start(files, None, guests_mib)?;
        Ok(Self { key: own.key(), slot: Slot::Own(Box::new(own)), called: false })
    }

    /// Will start a host with an Intel processor, once there is a plan for it. `files` is where `./setup intel` puts what it prepares.
    pub fn intel(files: &Path, guests_mib: u32) -> Self {
        // It has its key when it is started.
        let slot = Slot::Intel(Box::new(IntelHost::new(files, guests_mib)));
        Self { slot, key: Key::default(), called: false }
    }

    /// Takes a slot of the host that `vmm host serve` keeps in `folder`, waiting until one is free.
    ///
    /// # Errors
    /// Nobody serves there, or `stop` said so.
    pub fn join(files: &Path, folder: &Path, stop: &dyn Fn() -> bool) -> Result<Self, EmulatedError> {
        let Initrd { key, .. } = initrd::ensure(files)?;
        let not_served = |source| EmulatedError::NotServed { folder: folder.to_owned(), source };
        // Whoever could put a socket there would get the plan and give the verdict.
        if folder.is_dir() {
            of_ones_own(folder, ELSEWHERE).map_err(EmulatedError::Folder)?;
        }
        loop {
            // A host that is gone would keep us waiting for a slot of it.
            if is_free(&folder.join("serving")).map_err(not_served)?.is_some() {
                return Err(not_served(io::Error::other("its process is gone")));
            }
            for number in 0..SLOTS {
                if let Some(lock) = is_free(&lock_file(folder, number)).map_err(not_served)? {
                    return Ok(Self {
                        slot: Slot::Shared { folder: folder.to_owned(), number, _lock: lock },
                        key,
                        called: false,
                    });
                }
            }
            if stop() {
                return Err(EmulatedError::Interrupted);
            }
            thread::sleep(LOOK);
        }
    }

    /// Carries out a plan inside, as [`engine::execute`] does here.
    ///
    /// # Errors
    /// The host failed, or the caller gave up; never the guest's fault.
    pub fn execute(
        &mut self,
        plan: &Plan,
        stop: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(), EmulatedError> {
        let mut plan = plan.clone();
        let mut bytes = Vec::new();
        let mut load = |path: &mut PathBuf| -> Result<Blob, EmulatedError> {
            let (blob, content) = Blob::load(path).map_err(EmulatedError::io("read", path))?;
            bytes.push(content);
            Ok(blob)
        };
        let [kernel, initramfs, luggage] = files(&mut plan).map(&mut load);
        let offer = [kernel?, initramfs?, luggage?];

        if let Slot::Intel(intel) = &mut self.slot {
            // What a scenario brings is of no use to another one, so that is sent.
            let lasting = offer.iter().zip(&bytes).take(FILES - 1);
            let has: Vec<HostFile> = lasting
                .filter_map(|(blob, bytes)| {
                    let place = blob.place(Path::new(BLOBS))?.display().to_string();
                    Some((place, 0o444, bytes.clone()))
                })
                .collect();
            if let Some(key) = intel.wake(plan.machine.memory_mib, &has)? {
                self.key = key;
            }
        }
        let mut link = self.call(stop)?;
        link.send(&ToHost::Offer(offer));
        let FromHost::Need(needed) = self.next(&mut link, ANSWER, stop)? else {
            return Err(self.out_of_turn());
        };
        for (bytes, needed) in bytes.iter().zip(needed) {
            if needed {
                link.send_raw(bytes);
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        link.send(&ToHost::Run { plan: Box::new(plan.clone()), now });
        let limit = plan.boot_timeout + plan.steps.iter().map(|step| step.timeout).sum::<Duration>() + SLACK;
        let start = Instant::now();
        // A machine that was saved lives in the host: the next one has it as well.
        let mut made = false;
        loop {
            match self.next(&mut link, limit.saturating_sub(start.elapsed()), stop)? {
                FromHost::Event(event) => {
                    made |= matches!(&*event, Event::Booted(booted) if is_new(&booted.start));
                    sink(*event);
                }
                FromHost::Finished => break,
                FromHost::Failed(why) => return Err(EmulatedError::Failed(why)),
                FromHost::Need(_) => return Err(self.out_of_turn()),
            }
        }
        drop(link);
        match &mut self.slot {
            Slot::Own(own) if made => own.save(),
            Slot::Intel(intel) => intel.rest(),
            _ => {}
        }
        Ok(())
    }

    /// Gets a host that is up on the line.
    fn call(&mut self, stop: &dyn Fn() -> bool) -> Result<Link, EmulatedError> {
        let mut fresh = matches!(&self.slot, Slot::Own(own) if !own.is_continued);
        loop {
            let answer = self.try_call(stop);
            match (&mut self.slot, answer) {
                (Slot::Own(own), Ok(link)) if fresh && !self.called => {
                    drop(link);
                    own.save();
                    fresh = false;
                }
                // Whatever is wrong with what was saved, booting helps.
                (
                    Slot::Own(own),
                    Err(EmulatedError::Died { .. } | EmulatedError::Silent { .. } | EmulatedError::Talk(..)),
                ) if own.is_continued && !self.called => {
                    own.boot_instead()?;
                    fresh = true;
                }
                (_, answer) => {
                    self.called |= answer.is_ok();
                    return answer;
                }
            }
        }
    }

    /// Connects, and calls until the host answers.
    fn try_call(&mut self, stop: &dyn Fn() -> bool) -> Result<Link, EmulatedError> {
        let limit = match &self.slot {
            Slot::Own(own) if own.is_continued => CONTINUE,
            Slot::Own(_) => START,
            Slot::Shared { .. } => ANSWER,
            Slot::Intel(_) => SILENCE,
        };
        let deadline = Instant::now() + limit;
        let stream = loop {
            let connected = match &self.slot {
                Slot::Own(own) => UnixStream::connect(socket(&own.folder, 0)),
                Slot::Shared { folder, number, .. } => UnixStream::connect(socket(folder, *number)),
                Slot::Intel(intel) => intel.connect(),
            };
            match connected {
                Ok(stream) => break stream,
                // QEMU has not come to it yet.
                Err(_) if self.is_own() && Instant::now() < deadline => {
                    self.look(stop)?;
                    thread::sleep(Duration::from_millis(2));
                }
                Err(source) => return Err(self.not_served(source)),
            }
        };
        let broken = |error: &dyn std::fmt::Display| EmulatedError::Talk(error.to_string(), String::new());
        let mut link = Link::new(stream).map_err(|error| broken(&error))?;
        let call = Call::new().map_err(|error| broken(&error))?;
        let mut stream = Vec::new();
        let mut called = None;
        while Instant::now() < deadline {
            if called.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(1)) {
                called = Some(Instant::now());
                link.send_raw(call.bytes());
            }
            self.look(stop)?;
            match link.receive_raw(Instant::now() + LOOK) {
                Ok(bytes) => stream.extend_from_slice(&bytes),
                Err(error) => return Err(self.broken(&error)),
            }
            if let Some((key, rest)) = call.answered(&stream) {
                if key != self.key {
                    let folder = match &self.slot {
                        Slot::Shared { folder, .. } => folder.clone(),
                        _ => PathBuf::new(),
                    };
                    return Err(EmulatedError::OtherBuild(folder));
                }
                link.unread(rest);
                return Ok(link);
            }
        }
        Err(EmulatedError::Silent { seconds: limit.as_secs(), tail: self.tail() })
    }

    fn next(
        &mut self,
        link: &mut Link,
        limit: Duration,
        stop: &dyn Fn() -> bool,
    ) -> Result<FromHost, EmulatedError> {
        // What a plan may take is in the time of that host.
        let limit = if matches!(self.slot, Slot::Intel(_)) { SILENCE } else { limit };
        let deadline = Instant::now() + limit;
        loop {
            match link.receive(deadline.min(Instant::now() + LOOK)) {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(error) => return Err(self.broken(&error)),
            }
            self.look(stop)?;
            if Instant::now() >= deadline {
                return Err(EmulatedError::Silent { seconds: limit.as_secs(), tail: self.tail() });
            }
        }
    }

    /// Whether to go on at all.
    fn look(&mut self, stop: &dyn Fn() -> bool) -> Result<(), EmulatedError> {
        if stop() {
            return Err(EmulatedError::Interrupted);
        }
        match &mut self.slot {
            Slot::Own(own) => own.qemu.check(),
            Slot::Intel(intel) => Ok(intel.check()?),
            Slot::Shared { .. } => Ok(()),
        }
    }

    fn broken(&mut self, error: &dyn std::fmt::Display) -> EmulatedError {
        if self.is_own() {
            // A connection breaks a moment before its process is seen to be gone.
            thread::sleep(Duration::from_millis(100));
            if let Err(died) = self.look(&|| false) {
                return died;
            }
        }
        EmulatedError::Talk(error.to_string(), self.tail())
    }

    fn out_of_turn(&self) -> EmulatedError {
        EmulatedError::Talk("it spoke out of turn".to_owned(), self.tail())
    }

    fn not_served(&self, source: io::Error) -> EmulatedError {
        match &self.slot {
            Slot::Shared { folder, .. } => EmulatedError::NotServed { folder: folder.clone(), source },
            Slot::Own(own) => EmulatedError::io("connect to QEMU in", &own.folder)(source),
            Slot::Intel(intel) => EmulatedError::Talk(source.to_string(), intel.tail()),
        }
    }

    fn is_own(&self) -> bool {
        matches!(self.slot, Slot::Own(_) | Slot::Intel(_))
    }

    fn tail(&self) -> String {
        match &self.slot {
            Slot::Own(own) => own.qemu.tail(),
            Slot::Intel(intel) => intel.tail(),
            Slot::Shared { folder, .. } => format!("(see {})", folder.join("console").display()),
        }
    }
}

/// A host that others may use, until this is dropped.
pub struct Serving {
    host: EmulatedHost,
    /// Says that somebody serves here.
    _lock: File,
}

impl Serving {
    /// Starts a host whose slots are in `folder`, which is made where it is missing, and waits until it is
    /// up. `guests_mib` is what all of its guests together may need.
    ///
    /// # Errors
    /// As for [`EmulatedHost::start`]; or another host is served there; or `stop` said so.
    pub fn start(
        files: &Path,
        folder: &Path,
        guests_mib: u32,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, EmulatedError> {
        let io = |what| EmulatedError::io(what, folder);
        of_ones_own(folder, ELSEWHERE).map_err(EmulatedError::Folder)?;
        // Absolute, because the users of the sockets have their own current folders.
        let folder = fs::canonicalize(folder).map_err(io("find"))?;
        for number in 0..SLOTS {
            let path = lock_file(&folder, number);
            File::create(&path).map_err(EmulatedError::io("make", &path))?;
        }
        let serving = folder.join("serving");
        File::options()
            .create(true)
            .append(true)
            .open(&serving)
            .map_err(EmulatedError::io("make", &serving))?;
        let lock = is_free(&serving)
            .map_err(EmulatedError::io("lock", &serving))?
            .ok_or_else(|| io("serve in")(io::Error::other("another `vmm host serve` does so already")))?;
        let own = OwnHost::start(files, Some(folder), guests_mib)?;
        let mut host = EmulatedHost { key: own.key(), slot: Slot::Own(Box::new(own)), called: false };
        host.call(stop)?;
        Ok(Self { host, _lock: lock })
    }

    /// Serves until `stop` says so.
    ///
    /// # Errors
    /// The host ended by itself.
    pub fn wait(mut self, stop: &dyn Fn() -> bool) -> Result<(), EmulatedError> {
        loop {
            match self.host.look(stop) {
                Ok(()) => thread::sleep(LOOK),
                Err(EmulatedError::Interrupted) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_new(start: &Start) -> bool {
    matches!(start, Start::Booted { saved: Some(_) })
}

fn lock_file(folder: &Path, slot: usize) -> PathBuf {
    folder.join(format!("slot.{slot}.lock"))
}

/// The lock of a file that exists, if nobody else holds it.
fn is_free(path: &Path) -> io::Result<Option<File>> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
