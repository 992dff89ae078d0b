//! From nothing to a guest that is ready for its first step: booted, started from a saved machine, or put back.
//!
//! Whichever it was, the same follows: the guest is told the time and gets new random numbers, and then what the scenario
//! brings. Of a saved machine that turns out not to run, nobody is told anything until then.

use crate::{
    event::{RunEnd, Start},
    guest::{Guest, Halt, Moment, internal},
};
use board::saved;
use board::wire::{About, Answer, Blame, EndReason, Question, SAVING, Spec, Unfit, VcpuStanding};
use plan::{Plan, Warm, luggage::Luggage};
use protocol::{Action, Frames, Hello, Outcome};
use std::{
    fmt::Display,
    fs::File,
    io::Read,
    path::PathBuf,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

/// A guest that was saved when it answered at once answers at once.
pub(super) const WAKE: Duration = Duration::from_secs(10);

/// Starting from a saved machine may take a look at all of its memory.
const RESTORE: Duration = Duration::from_secs(60);

/// Who has not given saving up by then hangs in it.
const SAVE: Duration = if cfg!(test) { Duration::from_secs(1) } else { SAVING.saturating_mul(2) };

/// How often a wait looks whether it is wanted still.
const LOOK: Duration = Duration::from_millis(100);

/// How a guest comes to be where its run begins.
pub(super) enum Way<'w> {
    /// From its kernel; if there is a saved machine to be made, that is made on the way.
    Boot(Option<&'w Warm>),
    /// From the saved machine.
    Saved(&'w Warm),
    /// By going back to it, in the process that has carried out the plan before.
    Back(&'w Warm, &'w About),
}

/// A guest that is ready for what its scenario brings.
pub(super) struct Begun {
    pub hello: Hello,
    /// From the beginning to the hello, or to a saved guest's first answer.
    pub ready: Duration,
    pub start: Start,
    /// What it was saved as; for one that was not booted.
    pub about: Option<Box<About>>,
    /// What went wrong on the way and is worth a word.
    pub note: Option<String>,
}

/// Why there is none.
pub(super) enum Stuck {
    Halt(Halt),
    /// The agent never said hello, or has been silent since.
    NoAgent {
        greeted: bool,
        standing: Vec<Vec<VcpuStanding>>,
    },
    /// It can't be had this way; whether what is saved is of no use to anybody.
    Unusable {
        why: String,
        damaged: bool,
    },
}

impl From<Halt> for Stuck {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Unusable(Unfit { why, damaged }) => Self::Unusable { why, damaged },
            halt => Self::Halt(halt),
        }
    }
}

/// Brings a guest to where its steps can begin.
pub(super) fn begin(guest: &mut Guest, plan: &Plan, way: &Way) -> Result<Begun, Stuck> {
    match way {
        Way::Boot(warm) => boot(guest, plan, *warm),
        Way::Saved(warm) => {
            let folder = warm.folder.join(&warm.key);
            guest.hold_back();
            let spec = Spec { start: board::wire::Start::Saved(folder), ..plan.machine.clone() };
            guest.send(&spec);
            let deadline = guest.now() + RESTORE;
            let about = match guest.restored(deadline) {
                Ok(about) => about.ok_or_else(|| silent("start"))?,
                // What its process can't do for it, it may do for one that boots.
                Err(Halt::Ended(why)) => return Err(unusable(&why)),
                Err(halt) => return Err(halt.into()),
            };
            go_on(guest, plan, about, |name, cold| Start::Saved { name, cold }, warm)
        }
        Way::Back(warm, about) => {
            guest.hold_back();
            guest.began = Some(Instant::now());
            let question = Question::Reset { verify: warm.verify };
            let reset = match guest.question_within(question, RESTORE) {
                Ok(Some(Answer::Reset(Ok(reset)))) => reset,
                Ok(Some(Answer::Reset(Err(why)))) => return Err(Stuck::Unusable { why, damaged: false }),
                // It was in no state to be used again, and said so by its end.
                Err(Halt::Ended(_)) => {
                    let why = "its process did not stay".to_owned();
                    return Err(Stuck::Unusable { why, damaged: false });
                }
                Err(halt) => return Err(halt.into()),
                Ok(_) => return Err(silent("go back")),
            };
            let about = Box::new((*about).clone());
            go_on(guest, plan, about, |name, cold| Start::Back { name, cold, reset }, warm)
        }
    }
}

fn boot(guest: &mut Guest, plan: &Plan, warm: Option<&Warm>) -> Result<Begun, Stuck> {
    let making = warm.map(|warm| saved::prepare(&warm.folder.join(&warm.key)));
    let begins = match &making {
        Some(Ok(making)) => board::wire::Start::BootToSave(making.path().to_owned()),
        Some(Err(_)) | None => board::wire::Start::Boot,
    };
    guest.send(&Spec { start: begins, ..plan.machine.clone() });
    let Some(hello) = guest.hello(Moment::default() + plan.boot_timeout)? else {
        let standing = guest.sample()?;
        guest.explain(&standing)?;
        return Err(Stuck::NoAgent { greeted: false, standing });
    };
    let ready = guest.lived();
    let (name, note) = match warm.zip(making) {
        None => (None, None),
        Some((warm, making)) => {
            let saved = match making {
                Ok(making) => save(guest, warm, making, &hello, ready)?,
                Err(error) => Err(error.to_string()),
            };
            let folder = warm.folder.display();
            match saved {
                Ok(()) => (Some(name(warm)), None),
                Err(why) => (None, Some(format!("the machine is not saved in {folder}: {why}"))),
            }
        }
    };
    wake(guest)?;
    Ok(Begun { hello, ready, start: Start::Booted { saved: name }, about: None, note })
}

/// Saves the machine for others. Its agent has set everything up by then, and waits; what went wrong is no harm to
/// this run.
fn save(
    guest: &mut Guest,
    warm: &Warm,
    making: TempDir,
    hello: &Hello,
    cold: Duration,
) -> Result<Result<(), String>, Stuck> {
    // A kernel that draws its first random numbers may patch itself for that: once, and not in every run.
    wake(guest)?;
    let Ok(greeting) = protocol::encode(hello) else { return Ok(Err("its hello is too long".to_owned())) };
    let about = Box::new(About { greeting, cold, ..warm.about.clone() });
    match guest.question_within(Question::Save(about), SAVE)? {
        Some(Answer::Done(Ok(()))) => commit(guest, making, warm.folder.join(&warm.key)),
        Some(Answer::Done(Err(why))) => Ok(Err(why)),
        // It does nothing else meanwhile.
        _ => Err(Halt::Ended(RunEnd::Machine(EndReason::host(format!(
            "saving the machine in {} has not come to an end in {} s: look whether that disk works, or use `--cold`, which saves none",
            warm.folder.display(),
            SAVE.as_secs()
        ))))
        .into()),
    }
}

/// Gives the saved machine its name, unless the disk takes too long to say that it has it: who waits for a disk can't be ended.
fn commit(guest: &Guest, making: TempDir, folder: PathBuf) -> Result<Result<(), String>, Stuck> {
    let (tell, told) = mpsc::channel();
    // It may get there yet, for the next run.
    let waits = move || _ = tell.send(saved::commit(&making, &folder).map_err(|error| error.to_string()));
    if let Err(error) = thread::Builder::new().spawn(waits) {
        return Ok(Err(error.to_string()));
    }
    let until = Instant::now() + SAVE;
    loop {
        match told.recv_timeout(LOOK) {
            Ok(saved) => return Ok(saved),
            Err(_) if (guest.stop)() => return Err(Halt::Interrupted.into()),
            Err(RecvTimeoutError::Timeout) if Instant::now() < until => {}
            Err(_) => return Ok(Err(format!("its disk has not written it within {} s", SAVE.as_secs()))),
        }
    }
}

fn go_on(
    guest: &mut Guest,
    plan: &Plan,
    about: Box<About>,
    how: impl FnOnce(String, Duration) -> Start,
    warm: &Warm,
) -> Result<Begun, Stuck> {
    if about.cold > plan.boot_timeout {
        let why = "its boot took longer than this scenario allows".to_owned();
        return Err(Stuck::Unusable { why, damaged: false });
    }
    let mut frames = Frames::new();
    frames.push(&about.greeting);
    let hello: Hello = frames.next().ok().flatten().ok_or_else(|| Stuck::Unusable {
        why: "what its agent said is not kept".to_owned(),
        damaged: true,
    })?;
    guest.introduce(hello.clone());
    let woken = wake(guest);
    // Whatever this guest ends of before its first word, another one has to show.
    woken.map_err(|stuck| match stuck {
        Stuck::Halt(Halt::Ended(why)) => unusable(&why),
        Stuck::NoAgent { .. } => {
            let why = format!("its agent does not answer within {} s", WAKE.as_secs());
            Stuck::Unusable { why, damaged: true }
        }
        stuck => stuck,
    })?;
    guest.let_go();
    let cold = about.cold;
    let (ready, start) = (guest.lived(), how(name(warm), cold));
    Ok(Begun { hello, ready, start, about: Some(about), note: None })
}

/// Of a guest that ended before its first word. What is this machine's doing says nothing against what is saved.
fn unusable(why: &RunEnd) -> Stuck {
    let (why, damaged) = match why {
        RunEnd::Machine(EndReason::Failed { blame, why }) => (why.clone(), *blame != Blame::Host),
        why => (format!("it does not run ({why:?})"), true),
    };
    Stuck::Unusable { why, damaged }
}

fn silent(what: &str) -> Stuck {
    Stuck::Unusable { why: format!("it does not {what} within {} s", RESTORE.as_secs()), damaged: false }
}

/// As people see it: like a kernel's, the first digits.
pub(super) fn name(warm: &Warm) -> String {
    warm.key.chars().take(7).collect()
}

/// Tells the guest the time, and gives it random numbers of its own.
fn wake(guest: &mut Guest) -> Result<(), Stuck> {
    let mut seed = vec![0; 32];
    let drawn = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut seed));
    drawn.map_err(|error| internal(format!("no random numbers are to be had on this machine: {error}")))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    do_it(guest, Action::Wake { now, seed })
}

/// Puts what the scenario brings into the guest.
pub(super) fn bring(guest: &mut Guest, plan: &Plan) -> Result<(), Halt> {
    let cant = |why: &dyn Display| format!("the scenario's files can't be put into the guest: {why}");
    // Who has nothing to bring needs no file.
    if plan.luggage.as_os_str().is_empty() {
        return Ok(());
    }
    let packed = File::open(&plan.luggage).map_err(|error| internal(cant(&error)))?;
    for piece in Luggage::new(packed) {
        let piece = piece.map_err(|error| internal(cant(&error)))?;
        match do_it(guest, Action::Place(piece)) {
            Ok(()) => {}
            Err(Stuck::Halt(halt)) => return Err(halt),
            Err(_) => return Err(ended(cant(&"the agent does not answer"))),
        }
    }
    Ok(())
}

/// Has the agent do what it does by itself, and at once.
fn do_it(guest: &mut Guest, action: Action) -> Result<(), Stuck> {
    let deadline = guest.now() + WAKE;
    match guest.ask(action, deadline)? {
        Some((Outcome::Done, _)) => Ok(()),
        Some((Outcome::Refused { why }, _)) => {
            Err(ended(format!("the agent could not prepare the guest: {why}")).into())
        }
        Some((other, _)) => {
            Err(Halt::Ended(RunEnd::BadAgent(format!("{other:?}, where it was done"))).into())
        }
        None => {
            let standing = guest.sample()?;
            guest.explain(&standing)?;
            Err(Stuck::NoAgent { greeted: true, standing })
        }
    }
}

/// What the guest may have brought about.
fn ended(why: String) -> Halt {
    Halt::Ended(RunEnd::Machine(EndReason::Failed { blame: Blame::Unknown, why }))
}
