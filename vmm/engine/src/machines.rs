//! Machine processes: one for each plan, or one for several.
//!
//! A process that started from a saved machine, and has ended its plan in order, can go back to where it began. It is kept
//! for the next plan that wants the same machine in the same session; nobody else gets it.
//!
//! What no plan decides about a machine can be there before a plan is ([`Machines::get_ready`]).

use crate::{
    EngineError,
    begin::{Way, name},
    event::Event,
    execute::{Converse, End},
    link::Link,
    process::MachineProcess,
};
use board::wire::About;
use plan::{Plan, Warm};
use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
};

/// Carries out plans, and may keep a machine process from one to the next.
#[derive(Default)]
pub struct Machines {
    kept: Option<Kept>,
    /// One that waits for its first order.
    spare: Option<(MachineProcess, Link)>,
}

struct Kept {
    process: MachineProcess,
    link: Link,
    about: Box<About>,
    key: String,
    session: u64,
}

impl Machines {
    /// Starts a machine process for the next plan that needs a new one, so that it is there when the plan is.
    pub fn get_ready(&mut self) {
        if self.spare.is_none() {
            // If that fails, it will once more when it is needed, and is told then.
            self.spare = MachineProcess::start().ok();
        }
    }

    fn process(&mut self) -> Result<(MachineProcess, Link), EngineError> {
        // One that has ended meanwhile is no use to anybody.
        let spare = self.spare.take().filter(|(_, link)| !link.is_closed());
        spare.map_or_else(|| MachineProcess::start().map_err(EngineError::Start), Ok)
    }

    /// Carries out a plan. Unless it is kept, its machine process is gone when this returns.
    ///
    /// `stop` is asked every 50 ms or so whether to give up; `sink` gets every event as it happens, and
    /// last, unless there is an error, [`Event::Ended`].
    ///
    /// # Errors
    /// Only when there was no machine process or the caller gave up. Everything else that can go wrong is
    /// told as an event.
    pub fn execute(
        &mut self,
        plan: &Plan,
        stop: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(), EngineError> {
        let kept = self.kept.take();
        let Some(warm) = &plan.warm else { return self.cold(plan, None, None, stop, sink) };
        let same = |kept: &Kept| warm.reset && kept.key == warm.key && kept.session == warm.session;
        if let Some(Kept { process, link, about, .. }) = kept.filter(same)
            && self.carry_out(plan, (process, link), Way::Back(warm, &about), None, stop, sink)?.is_none()
        {
            return Ok(());
        }
        let folder = warm.folder.join(&warm.key);
        if !folder.is_dir() {
            return self.cold(plan, Some(warm), None, stop, sink);
        }
        let process = self.process()?;
        let Some(unusable) = self.carry_out(plan, process, Way::Saved(warm), None, stop, sink)? else {
            // When it was used last is nobody's concern where nothing can be written.
            let _ = fs::write(folder.join("used"), "");
            return Ok(());
        };
        let name = name(warm);
        let Unusable { why, damaged } = unusable;
        let (save, then) = match damaged {
            false => (None, "the kernel boots".to_owned()),
            true => match remove(&folder) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    (Some(warm), "it is made again".to_owned())
                }
                Ok(()) => (Some(warm), "it is made again".to_owned()),
                Err(error) => (None, format!("and it can't be removed: {error}")),
            },
        };
        let note = format!("saved machine {name} is not used: {why}; {then}");
        self.cold(plan, save, Some(note), stop, sink)
    }

    fn cold(
        &mut self,
        plan: &Plan,
        save: Option<&Warm>,
        note: Option<String>,
        stop: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(Event),
    ) -> Result<(), EngineError> {
        let process = self.process()?;
        self.carry_out(plan, process, Way::Boot(save), note, stop, sink).map(drop)
    }

    /// In this process. Says why it could not, if that was before anything was told.
    fn carry_out(
        &mut self,
        plan: &Plan,
        (mut process, link): (MachineProcess, Link),
        way: Way,
        note: Option<String>,
        stop: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(Event),
    ) -> Result<Option<Unusable>, EngineError> {
        let mut post_mortem = || process.post_mortem();
        let converse = Converse { plan, way, note, stop, sink };
        match converse.with(link, &mut post_mortem)? {
            End::Over => Ok(None),
            End::Rests(link, about) => {
                let warm = plan.warm.as_ref().expect("only what was saved rests");
                let (key, session) = (warm.key.clone(), warm.session);
                self.kept = Some(Kept { process, link, about, key, session });
                Ok(None)
            }
            End::Unusable { why, damaged } => Ok(Some(Unusable { why, damaged })),
        }
    }
}

struct Unusable {
    why: String,
    damaged: bool,
}

/// By one rename, so that nobody finds half of it.
fn remove(folder: &Path) -> io::Result<()> {
    let parent = folder.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let gone = tempfile::Builder::new().prefix(".making-").tempdir_in(parent)?;
    fs::rename(folder, gone.path().join("gone"))
}
