//! Reports that are one file for all scenarios: written anew whenever something happened, and whole at every moment.

use crate::{Reporter, record::Session, target::Target};
use judge::{Began, Judged};
use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

/// A file is not written more often than this while a run goes on; its end is always written.
const PAUSE: Duration = Duration::from_millis(500);

/// Makes the file's text of all that is known.
pub type Render = fn(&Session) -> String;

/// A report in a file.
pub struct FileReport {
    target: Target,
    render: Render,
    session: Session,
    written: Option<Instant>,
}

impl FileReport {
    /// A report at this path. Nothing is written yet, but it is tried whether that can be done.
    ///
    /// # Errors
    /// In words, why it can't be written.
    pub fn create(path: &Path, render: Render) -> Result<Self, String> {
        Ok(Self { target: Target::at(path)?, render, session: Session::default(), written: None })
    }

    fn write(&mut self) -> io::Result<()> {
        self.target.write((self.render)(&self.session).as_bytes())?;
        self.written = Some(Instant::now());
        Ok(())
    }
}

impl Reporter for FileReport {
    fn begin(&mut self, all: &[Began]) -> io::Result<()> {
        self.session = Session::planned(all);
        if self.target.is_file() { self.write() } else { Ok(()) }
    }

    fn event(&mut self, judged: &Judged) -> io::Result<()> {
        let news = self.session.event(judged);
        let due = matches!(judged, Judged::Ended(_)) || self.written.is_none_or(|at| at.elapsed() > PAUSE);
        if news && due && self.target.is_file() { self.write() } else { Ok(()) }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.write()
    }
}
