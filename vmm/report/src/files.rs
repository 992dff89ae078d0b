//! Reports that are one file for all scenarios: written anew whenever something happened, and whole at every moment.

use crate::{
    Reporter,
    record::{Aborted, Session, Shard},
    target::Target,
};
use judge::{Began, Judged};
use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

/// Sessions of more steps have their files written more rarely, or writing them would take longer than the runs...
const MANY: usize = 200;
/// ...so that it takes no more than this part of the time...
const SHARE: u32 = 20;
/// ...but for the end of each run, as long as writing them takes no longer than this.
const LITTLE: Duration = Duration::from_millis(100);

/// Makes a file's text of all that is known.
pub type Render = fn(&Session) -> String;

/// Several reports of one session.
#[derive(Default)]
pub struct Files {
    files: Vec<(Target, Render)>,
    session: Session,
    written: Option<Instant>,
    /// How long the last writing took.
    took: Duration,
    /// What could not be written.
    errors: Vec<String>,
}

impl Files {
    /// No file yet; the session is this part of a greater one.
    pub fn new(shard: Option<Shard>) -> Self {
        let mut files = Self::default();
        files.session.shard = shard;
        files
    }

    /// One more, at this path. Nothing is written yet, but it is tried whether that can be done.
    ///
    /// # Errors
    /// In words, why it can't be written.
    pub fn add(&mut self, path: &Path, render: Render) -> Result<(), String> {
        self.files.push((Target::at(path)?, render));
        Ok(())
    }

    /// Writes those that can be written more than once; at the end, all of them. One that can't be written keeps none of
    /// the others from being written, and is told at the end.
    fn write(&mut self) {
        let start = Instant::now();
        let (session, errors) = (&self.session, &mut self.errors);
        self.files.retain(|(target, render)| {
            if !target.is_file() && !session.finished {
                return true;
            }
            match target.write(render(session).as_bytes()) {
                Ok(()) => true,
                // Who read it has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => false,
                Err(error) => {
                    errors.push(error.to_string());
                    false
                }
            }
        });
        (self.written, self.took) = (Some(Instant::now()), start.elapsed());
    }
}

/// Puts a report of a run that ended before anything was run in the place of a former run's, which would be taken for its. What is no report
/// stays as it is: who mistyped may have named a scenario.
pub fn abandon(path: &Path, render: Render, why: &Aborted) {
    const HEAD: usize = 8;
    let Ok(target @ Target::File(_)) = Target::at(path) else { return };
    let mut session = Session::planned(&[]);
    session.aborted = Some(why.clone());
    let text = render(&session);
    let may_go = match fs::read(path) {
        Ok(before) => before.is_empty() || before.iter().take(HEAD).eq(text.as_bytes().iter().take(HEAD)),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if may_go {
        // What could not be written is not there, which nobody takes for a pass; the run's own error is told.
        let _ = target.write(text.as_bytes());
    }
}

impl Reporter for Files {
    fn begin(&mut self, all: &[Began]) -> io::Result<()> {
        let shard = self.session.shard.take();
        self.session = Session::planned(all);
        self.session.shard = shard;
        self.write();
        Ok(())
    }

    fn event(&mut self, judged: &Judged) -> io::Result<()> {
        let news = self.session.event(judged);
        let due = matches!(judged, Judged::Ended(_) | Judged::Settled(_)) && self.took < LITTLE
            || self.session.runs.iter().map(|run| run.steps.len()).sum::<usize>() <= MANY
            || self.written.is_none_or(|at| at.elapsed() > self.took * SHARE);
        if news && due {
            self.write();
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.session.finished = true;
        self.write();
        match self.errors.is_empty() {
            true => Ok(()),
            false => Err(io::Error::other(self.errors.join("; "))),
        }
    }
}
