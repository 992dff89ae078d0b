//! Inside an emulated host: `vmm` as its init process.
//!
//! It loads KVM and the console driver, then serves every port on a thread of its own. It has nobody
//! to report a failure to but its console, which the harness outside keeps and shows.

use super::{
    BLOBS, MODULES, PORT_PREFIX,
    room::{free, keep_blobs, keep_machines, make_room},
    talk::{Blob, CALL_LENGTH, Call, FILES, FromHost, Key, ToHost, files},
};
use crate::emulated_intel;
use engine::{
    Machines,
    link::{Link, LinkError},
};
use nix::{
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::time::TimeSpec,
    time::{ClockId, clock_settime},
};
use plan::Plan;
use std::{
    cell::{Cell, RefCell},
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempPath;

/// Where saved machines are: they live as long as this host, and travel in its own saved state.
const MACHINES: &str = "/machines";

/// A port that nobody is connected to reads as ended at once; looking again takes a while.
const IDLE: Duration = Duration::from_millis(10);

/// A client that is alive has no longer pauses than this in what it sends.
const STALL: Duration = Duration::from_secs(2);

/// The same where this host's clock is not the client's: what takes that a second may be an hour here.
const AGES: Duration = Duration::from_secs(30 * 24 * 3600);

/// A client that takes nothing for so long is not there.
const UNREAD: Duration = Duration::from_secs(60);

/// Whether this process is the init of an emulated host.
pub fn is_init() -> bool {
    std::process::id() == 1 && Path::new("/vmm-host").exists()
}

/// Runs the host until it is switched off.
///
/// # Errors
/// What it could not set up. The caller prints it and ends, which ends the host.
pub fn init() -> io::Result<()> {
    if Path::new(emulated_intel::ORDER).exists() {
        set_up(&emulated_intel::MODULES)?;
        return emulated_intel::run_inside();
    }
    let key =
        super::key_from_hex(fs::read_to_string("/vmm-host")?.trim()).ok_or(io::ErrorKind::InvalidData)?;
    if let Ok(modules) = fs::read_to_string(emulated_intel::WIRE_MODULES) {
        set_up(&modules.lines().collect::<Vec<_>>())?;
        serve(&File::from(OwnedFd::from(emulated_intel::stream()?)), "the wire", &key, AGES);
        return Ok(());
    }
    set_up(&MODULES)?;
    if Path::new(super::bench::ORDER).exists() {
        return super::bench::inside();
    }
    let ports = ports()?;
    thread::scope(|scope| {
        for port in ports {
            scope.spawn(move || {
                let name = port.display().to_string();
                match OpenOptions::new().read(true).write(true).open(&port) {
                    Ok(file) => serve(&file, &name, &key, STALL),
                    Err(error) => eprintln!("failed to open {name}: {error}"),
                }
            });
        }
    });
    Ok(())
}

/// Mounts what there always is, and loads modules: each by its name, and parameters behind it.
fn set_up(modules: &[&str]) -> io::Result<()> {
    for (kind, place) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/tmp")] {
        mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
            .map_err(|error| failed(&format!("mount {place}"), error.into()))?;
    }
    // Guest memory is a memfd. In pages of 2 MiB it takes a hundredth of the faults, each of which is dear here: a guest boots in two
    // thirds of the time, by AMD's nested page tables and by Intel's. A kernel without this is only slower.
    let _ = fs::write("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "always");
    fs::create_dir_all(BLOBS)?;
    for module in modules {
        let (name, parameters) = module.split_once(' ').unwrap_or((module, ""));
        let path = format!("/modules/{name}");
        let parameters = CString::new(parameters)?;
        File::open(&path)
            .and_then(|file| Ok(finit_module(&file, &parameters, ModuleInitFlags::empty())?))
            .map_err(|error| failed(&format!("load {path}"), error))?;
    }
    Ok(())
}

fn failed(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("failed to {what}: {error}"))
}

/// The devices of our ports. They appear some time after their driver was loaded.
fn ports() -> io::Result<Vec<PathBuf>> {
    let wanted: usize = super::SLOTS;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut found = Vec::new();
        for entry in fs::read_dir("/sys/class/virtio-ports").into_iter().flatten().flatten() {
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            let device = Path::new("/dev").join(entry.file_name());
            if name.trim().starts_with(PORT_PREFIX) && device.exists() {
                found.push(device);
            }
        }
        if found.len() >= wanted {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("found {} ports, where {wanted} should be", found.len())));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Serves one client after the other, each of which says something within `patience` where it has to.
fn serve(port: &File, name: &str, key: &Key, patience: Duration) {
    // A plan may go on with the machine of the plan before.
    let mut machines = Machines::default();
    loop {
        match conversation(port, key, &mut machines, patience) {
            Ok(()) | Err(LinkError::Closed) => {}
            Err(error) => eprintln!("{name}: {error}"),
        }
        // While nobody waits.
        machines.get_ready();
        thread::sleep(IDLE);
    }
}

fn conversation(
    port: &File,
    key: &Key,
    machines: &mut Machines,
    patience: Duration,
) -> Result<(), LinkError> {
    let mut link = Link::new(port.try_clone()?)?;
    if !answer_call(&mut link, key, patience)? {
        return Ok(());
    }
    let link = RefCell::new(link);
    let answer = match take_order(&link, Path::new(BLOBS), patience) {
        Ok((plan, now, _luggage)) => {
            set_clock(now);
            run(&plan, &link, machines)
        }
        Err(Refusal::Link(error)) => return Err(error),
        Err(Refusal::Say(why)) => FromHost::Failed(why),
    };
    say(&link, &answer);
    // The other side hangs up once it has read everything.
    let deadline = Instant::now() + STALL;
    while !link.borrow().is_closed() && !link.borrow().has_input() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Sends a message, and says whether it was taken.
fn say(link: &RefCell<Link>, message: &FromHost) -> bool {
    let mut link = link.borrow_mut();
    link.send(message);
    matches!(link.flush(Instant::now() + UNREAD), Ok(true))
}

fn run(plan: &Plan, link: &RefCell<Link>, machines: &mut Machines) -> FromHost {
    let heard = Cell::new(true);
    // Whatever comes in now is from another client: this one has nothing more to say.
    let gone = || !heard.get() || link.borrow().is_closed() || link.borrow().has_input();
    let ended = machines.execute(plan, &gone, &mut |event| {
        heard.set(heard.get() && say(link, &FromHost::Event(Box::new(event))));
    });
    match ended {
        Ok(()) => FromHost::Finished,
        Err(error) => FromHost::Failed(error.to_string()),
    }
}

/// Guests are told this host's time. A host in which instructions are counted keeps a time of its own.
fn set_clock(now: Duration) {
    // Nobody else's, as in a test.
    if std::process::id() == 1 && !Path::new(emulated_intel::WIRE_MODULES).exists() {
        // A wrong time is no reason to run nothing.
        let _ = clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(now));
    }
}

/// Why there is nothing to run.
enum Refusal {
    /// Nobody is there to hear of it.
    Link(LinkError),
    /// This.
    Say(String),
}

impl From<LinkError> for Refusal {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Frame(error) => Self::Say(format!("received {error}")),
            error => Self::Link(error),
        }
    }
}

/// Takes in a plan and the files that it needs. Its luggage is of no use to later ones, and goes with what comes back beside it;
/// others may bring just the same meanwhile, so it has a name of its own.
fn take_order(
    link: &RefCell<Link>,
    folder: &Path,
    patience: Duration,
) -> Result<(Plan, Duration, TempPath), Refusal> {
    let slow = || Refusal::Say(format!("received nothing for {} s", patience.as_secs()));
    let offer = link.borrow_mut().receive(Instant::now() + patience)?.ok_or_else(slow)?;
    let ToHost::Offer(blobs) = offer else {
        return Err(Refusal::Say("received a plan without its files".to_owned()));
    };
    let place = |blob: &Blob| {
        blob.place(folder).ok_or_else(|| Refusal::Say("received a digest that is none".to_owned()))
    };
    let mut places = blobs.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let luggage = tempfile::Builder::new().prefix("luggage-").make_in(folder, |path| Ok(path.to_owned()));
    let luggage = luggage
        .map_err(|error| {
            Refusal::Say(format!("failed to make a place for what the scenario brings: {error}"))
        })?
        .into_temp_path();
    places[FILES - 1] = luggage.to_path_buf();
    let needed: [bool; FILES] = std::array::from_fn(|index| !places[index].exists());
    keep_blobs(folder, &places);
    let coming: u64 =
        blobs.iter().zip(needed).filter(|(_, needed)| *needed).map(|(blob, _)| blob.length).sum();
    make_room(Path::new(MACHINES), coming, &|| free(folder));
    say(link, &FromHost::Need(needed));
    for ((blob, place), needed) in blobs.iter().zip(&places).zip(needed) {
        if needed {
            take(&mut link.borrow_mut(), blob, place, folder, patience)?;
        }
    }
    match link.borrow_mut().receive(Instant::now() + patience)?.ok_or_else(slow)? {
        ToHost::Run { mut plan, now } => {
            files(&mut plan).into_iter().zip(places).for_each(|(file, place)| *file = place);
            if let Some(warm) = &mut plan.warm {
                warm.folder = MACHINES.into();
                // Of a saved machine all of its memory may be there.
                keep_machines(Path::new(MACHINES), &warm.key, u64::from(plan.machine.memory_mib) << 20);
            }
            plan.machine.forgets = Path::new(emulated_intel::WIRE_MODULES).exists();
            Ok((*plan, now, luggage))
        }
        ToHost::Offer(_) => Err(Refusal::Say("received a second offer".to_owned())),
    }
}

/// Drops bytes until somebody calls, and answers. Says whether the caller went on to speak.
fn answer_call(link: &mut Link, key: &Key, patience: Duration) -> Result<bool, LinkError> {
    let mut stream: Vec<u8> = Vec::new();
    let mut answered = None;
    let mut deadline = None;
    loop {
        let until = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
        stream.extend_from_slice(&link.receive_raw(until)?);
        if let Some((call, rest)) = Call::find(&stream) {
            // Who had to wait for the answer has called several times. Another call is another caller: the
            // last one hung up again.
            if answered != Some(call) {
                link.send_raw(&[call.bytes(), key].concat());
                answered = Some(call);
                deadline = Some(Instant::now() + patience);
            }
            stream = rest.to_vec();
        } else if answered.is_some() && !Call::may_begin(&stream) {
            link.unread(&stream);
            return Ok(true);
        } else if answered.is_none() {
            let rubbish = stream.len().saturating_sub(CALL_LENGTH);
            stream.drain(..rubbish);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(false);
        }
    }
}

/// Takes a file's bytes in. It has its name only once it is whole.
fn take(
    link: &mut Link,
    blob: &Blob,
    place: &Path,
    folder: &Path,
    patience: Duration,
) -> Result<(), Refusal> {
    let cant_keep = |error: io::Error| {
        Refusal::Say(format!("failed to keep a file of {} bytes in the host's memory: {error}", blob.length))
    };
    // Two clients may send the same file at once.
    let mut partial = tempfile::NamedTempFile::new_in(folder).map_err(cant_keep)?;
    let mut left = blob.length;
    while left > 0 {
        let bytes = link.receive_raw(Instant::now() + patience)?;
        if bytes.is_empty() {
            return Err(Refusal::Say(format!("received nothing for {} s", patience.as_secs())));
        }
        let length = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        partial.write_all(&bytes[..length]).map_err(cant_keep)?;
        left -= length as u64;
        link.unread(&bytes[length..]);
    }
    partial.persist(place).map_err(|error| cant_keep(error.error))?;
    Ok(())
}

#[cfg(test)]
#[path = "inside_test.rs"]
mod tests;
