//! What is tested of a student's: a module, or a kernel with what the student added.

use super::{Common, Outcome};
use crate::{
    assignment::Kind,
    build::{self, Built},
    intake::Files,
    record::{Record, State},
    run::Stopped,
    source::{
        self, Prepared,
        tree::{Changed, Tree},
    },
    syscall::{self, Base},
};
use base::{cache::Stage, interrupt, text::plain, wanted::Wanted};
use harness::kernel::{Patch, Sources};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{PoisonError, atomic::Ordering},
};

/// What was built, and what its tests take.
pub(super) struct Subjects {
    pub prepared: Prepared,
    pub folder: PathBuf,
    pub stage: Stage,
    pub kernel: String,
}

impl Common<'_> {
    /// Builds what was handed in; `wanted` is the module that the assignment's table names. An error within says why there is nothing
    /// to test.
    ///
    /// # Errors
    /// The user pressed Ctrl-C.
    pub(super) fn build(
        &self,
        files: &Files,
        wanted: Option<&str>,
        stage: Stage,
        record: &mut Record,
    ) -> Result<Result<Subjects, (State, String)>, Stopped> {
        match (&self.assignment.kind, &self.base) {
            (Kind::Syscall(..), Some(base)) => self.kernel(files, base, stage, record),
            (Kind::Patch, _) => self.patched(files, stage, record),
            (Kind::Kernel, _) => self.changed(files, stage, record),
            _ => self.module(files, wanted, stage, record),
        }
    }

    fn module(
        &self,
        files: &Files,
        wanted: Option<&str>,
        stage: Stage,
        record: &mut Record,
    ) -> Result<Result<Subjects, (State, String)>, Stopped> {
        let prepared = match source::module::prepare(self.assignment, files, wanted) {
            Ok(prepared) => prepared,
            Err(why) => return Ok(Err((State::Unusable, why))),
        };
        record.notes.extend(prepared.notes.iter().cloned());
        if let Err(error) = write(&prepared, stage.path()) {
            let why = format!("{} can't be written: {}", stage.path().display(), plain(&error));
            return Ok(Err((State::NotGraded, why)));
        }
        let folder = match prepared.root.is_empty() {
            true => stage.path().to_owned(),
            false => stage.path().join(&prepared.root),
        };
        let built = build::module(&folder, &self.kernel, self.assignment.limits.build, stage.path())?;
        let subjects = Subjects { prepared, folder, stage, kernel: self.kernel.clone() };
        Ok(self.taken(built, record).map(|()| subjects))
    }

    /// A kernel with what a student added.
    fn kernel(
        &self,
        files: &Files,
        base: &Base,
        stage: Stage,
        record: &mut Record,
    ) -> Result<Result<Subjects, (State, String)>, Stopped> {
        let submission = match syscall::Submission::read(self.assignment, files, base) {
            Ok(submission) => submission,
            Err(why) => return Ok(Err((State::Unusable, why))),
        };
        let asked = submission.asked();
        let originals = match self.originals(&asked.iter().map(String::as_str).collect::<Vec<_>>()) {
            Ok((_, originals)) => {
                asked.into_iter().zip(originals).filter_map(|(path, text)| Some((path, text?)))
            }
            Err(why) => return Ok(Err(why)),
        };
        let handed_in = match syscall::prepare(self.assignment, submission, base, &originals.collect()) {
            Ok(handed_in) => handed_in,
            Err(why) => return Ok(Err((State::Unusable, why))),
        };
        record.notes.extend(handed_in.notes.iter().cloned());
        if let Err(why) = base.series(Some(&handed_in), stage.path()) {
            return Ok(Err((State::NotGraded, why)));
        }
        let built = self.own_kernel(handed_in.text.clone(), stage, record)?;
        if let Some(errors) = record.build.errors.as_mut()
            && let Some(why) = handed_in.explains(errors)
        {
            *errors = format!("{why}\n{errors}");
        }
        Ok(built)
    }

    /// The assignment's kernel with a student's patches behind its own.
    fn patched(
        &self,
        files: &Files,
        stage: Stage,
        record: &mut Record,
    ) -> Result<Result<Subjects, (State, String)>, Stopped> {
        let (patches, order) = match source::patches::prepare(self.assignment, files) {
            Ok(prepared) => prepared,
            Err(why) => return Ok(Err((State::Unusable, why))),
        };
        let (own, _) = match self.originals(&[]) {
            Ok(originals) => originals,
            Err(why) => return Ok(Err(why)),
        };
        let text = patches.values().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        let theirs = order.into_iter().map(|name| (name.clone(), patches[&name].clone())).collect();
        self.with_series(own, theirs, text, stage, record)
    }

    /// The assignment's kernel with a student's files in place of its own.
    fn changed(
        &self,
        files: &Files,
        stage: Stage,
        record: &mut Record,
    ) -> Result<Result<Subjects, (State, String)>, Stopped> {
        let mut wanted = Tree::of(self.assignment, files);
        record.notes.append(&mut wanted.notes);
        let (own, originals) = match self.originals(&wanted.asked()) {
            Ok(originals) => originals,
            Err(why) => return Ok(Err(why)),
        };
        let Changed { patch, text, notes } = match wanted.changed(&originals) {
            Ok(changed) => changed,
            Err(why) => return Ok(Err((State::Unusable, why))),
        };
        record.notes.extend(notes);
        let theirs = vec![("files.patch".to_owned(), patch.into_bytes())];
        self.with_series(own, theirs, text, stage, record)
    }

    /// The patches of the assignment's kernel, and files of its source.
    fn originals(&self, files: &[&str]) -> Result<Sources, (State, String)> {
        harness::kernel::sources(&self.assignment.kernel, &self.assignment.path, files)
            .map_err(|abort| (State::NotGraded, abort.why))
    }

    /// The kernel of the assignment's own patches and a student's behind them.
    fn with_series(
        &self,
        own: Vec<Patch>,
        theirs: Vec<Patch>,
        text: String,
        stage: Stage,
        record: &mut Record,
    ) -> Result<Result<Subjects, (State, String)>, Stopped> {
        // A student's file may be called like one of ours.
        let own = own.into_iter().map(|(name, text)| (format!("assignment-{name}"), text));
        let theirs = theirs.into_iter().map(|(name, text)| (format!("handed-in-{name}"), text));
        let mut files = Prepared::default();
        let mut series = String::new();
        for (name, text) in own.chain(theirs) {
            series += &format!("{name}\n");
            files.files.insert(name, text);
        }
        files.files.insert("series".to_owned(), series.into_bytes());
        if let Err(error) = write(&files, stage.path()) {
            let why = format!("{} can't be written: {}", stage.path().display(), plain(&error));
            return Ok(Err((State::NotGraded, why)));
        }
        self.own_kernel(text, stage, record)
    }

    /// Builds the kernel of the series in a folder.
    fn own_kernel(
        &self,
        text: String,
        stage: Stage,
        record: &mut Record,
    ) -> Result<Result<Subjects, (State, String)>, Stopped> {
        let wanted =
            Wanted { series: Some(stage.path().display().to_string()), ..self.assignment.kernel.clone() };
        let built = {
            let mut is_ready = self.building.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever comes first may find another kernel's objects there, and is not to pay for that.
            if !*is_ready && let Err(why) = self.ready() {
                return if interrupt::requested() { Err(Stopped) } else { Ok(Err((State::NotGraded, why))) };
            }
            *is_ready = true;
            // What is added to a kernel as a system call is no makefile of theirs.
            let apart = !matches!(self.assignment.kind, Kind::Syscall(..));
            build::kernel(&wanted, apart, self.assignment.limits.build, stage.path())?
        };
        if let Err(why) = self.taken(built, record) {
            // A student knows the file by its name, and not where it was put.
            let errors = record.build.errors.take();
            record.build.errors = errors.map(|errors| errors.replace(syscall::PLACE, ""));
            return Ok(Err(why));
        }
        let kernel = {
            // Nobody gives it back between the look and the count.
            let mut all = self.own_kernels.lock().unwrap_or_else(PoisonError::into_inner);
            match harness::kernel::hash(&wanted, &self.assignment.path) {
                Ok(kernel) => {
                    *all.entry(kernel.clone()).or_default() += 1;
                    kernel
                }
                Err(abort) => return Ok(Err((State::NotGraded, abort.why))),
            }
        };
        let prepared = Prepared { text, ..Prepared::default() };
        let folder = stage.path().to_owned();
        Ok(Ok(Subjects { prepared, folder, stage, kernel }))
    }

    /// Brings the build folder to the state of the kernel that all share.
    fn ready(&self) -> Result<(), String> {
        let stage = self.cache.stage().map_err(|error| format!("failed to {error}"))?;
        let mut wanted = self.assignment.kernel.clone();
        if let Some(base) = &self.base {
            base.series(None, stage.path())?;
            wanted.series = Some(stage.path().display().to_string());
        }
        harness::kernel::ready(&wanted, &self.assignment.path).map_err(|abort| abort.why)
    }

    /// Keeps what a build said; whether there is something to test.
    fn taken(&self, built: Built, record: &mut Record) -> Outcome {
        match built {
            Built::Done(build) => {
                record.build = build;
                Ok(())
            }
            Built::TooLong(build) if !self.alone.load(Ordering::Relaxed) => {
                record.build = build;
                record.late = true;
                let limit = self.assignment.limits.build.as_secs();
                let why = format!(
                    "the build took longer than {limit} s beside others; it is tried again at the end, alone"
                );
                Err((State::NotGraded, why))
            }
            Built::Failed(build) | Built::TooLong(build) => {
                record.build = build;
                Err((State::Unusable, "it does not build".to_owned()))
            }
            Built::Infra(why) => Err((State::NotGraded, why)),
        }
    }

    /// A student's own kernel is not kept.
    pub(super) fn give_back(&self, kernel: &str) {
        let mut all = self.own_kernels.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = all.get_mut(kernel) else { return };
        *count -= 1;
        if *count == 0 {
            all.remove(kernel);
            // A failure to make room is no reason to lose a grade.
            let _ = harness::kernel::forget(kernel);
        }
    }
}

fn write(prepared: &Prepared, folder: &Path) -> std::io::Result<()> {
    for (path, bytes) in &prepared.files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(())
}
