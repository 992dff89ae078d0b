//! What is tested of a student's: a module, or a kernel with what the student added.

use super::Common;
use crate::{
    apart,
    assignment::Kind,
    build::{self, Built},
    intake::{Files, Wrong},
    record::{Build, Record, State},
    run::Stopped,
    source::{Prepared, patches::Handed, tree::Changed},
    stand_in::Asked,
    syscall::{self, Base},
};
use base::{cache::Stage, interrupt, text::plain, wanted::Wanted};
use harness::kernel::{Patch, Sources};
use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
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

/// Why there is nothing to test.
pub(super) enum Nothing {
    /// The user pressed Ctrl-C.
    Stopped,
    /// What it is for the student, and why.
    Because(State, String),
}

impl From<Stopped> for Nothing {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<Wrong> for Nothing {
    fn from(wrong: Wrong) -> Self {
        let (state, why) = super::held(wrong);
        Self::Because(state, why)
    }
}

fn unusable(why: String) -> Nothing {
    Nothing::Because(State::Unusable, why)
}

fn not_graded(why: String) -> Nothing {
    Nothing::Because(State::NotGraded, why)
}

impl Common<'_> {
    /// Builds what was handed in; `wanted` is the module that the assignment's table names.
    pub(super) fn build(
        &self,
        files: &Files,
        wanted: Option<&str>,
        stage: Stage,
        record: &mut Record,
    ) -> Result<Subjects, Nothing> {
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
    ) -> Result<Subjects, Nothing> {
        let asked = Asked::of(self.assignment, &record.student).map_err(not_graded)?;
        let prepared = apart::module(&self.assignment.rules(), files, wanted, &asked)?;
        record.notes.extend(prepared.notes.iter().cloned());
        write(&prepared, stage.path())?;
        let folder = match prepared.root.is_empty() {
            true => stage.path().to_owned(),
            false => stage.path().join(&prepared.root),
        };
        let build = |folders: &[PathBuf]| {
            build::modules(folders, &self.kernel, self.assignment.limits.build, stage.path())
        };
        let mut all = Build::default();
        for teachers in lists(&asked) {
            if !teachers.is_empty() {
                teachers_own(build(teachers)?)?;
            }
            self.taken(build(&[teachers, std::slice::from_ref(&folder)].concat())?, record)?;
            add(&mut all, std::mem::take(&mut record.build));
        }
        record.build = all;
        Ok(Subjects { prepared, folder, stage, kernel: self.kernel.clone() })
    }

    /// A kernel with what a student added.
    fn kernel(
        &self,
        files: &Files,
        base: &Base,
        stage: Stage,
        record: &mut Record,
    ) -> Result<Subjects, Nothing> {
        let rules = self.assignment.rules();
        let asked = apart::call_asks(&rules, files, base)?;
        let texts = self.originals(&asked)?.files;
        let originals = asked.into_iter().zip(texts).filter_map(|(path, text)| Some((path, text?))).collect();
        let handed_in = apart::call(&rules, files, base, &originals)?;
        record.notes.extend(handed_in.notes.iter().cloned());
        base.series(Some(&handed_in), stage.path()).map_err(not_graded)?;
        let built = self.own_kernel(handed_in.text.clone(), stage, record).and_then(|subjects| {
            self.runs_when_called(&subjects.kernel)?;
            Ok(subjects)
        });
        if let Some(errors) = record.build.errors.as_mut()
            && let Some(why) = handed_in.explains(errors)
        {
            *errors = format!("{why}\n{errors}");
        }
        built
    }

    /// A system call runs when it is called. What runs when the kernel boots does so before it is watched, and could change whatever tests look at.
    fn runs_when_called(&self, kernel: &str) -> Result<(), Nothing> {
        match harness::kernel::more_at_boot(&self.kernel, kernel, &self.assignment.path) {
            Ok(None) => Ok(()),
            Ok(Some(what)) => {
                self.give_back(kernel);
                Err(unusable(format!(
                    "it has code that runs when the kernel boots ({what}): a system call runs when it is called, and nothing of it before; \
                     take that out, and give variables their first values where they are defined"
                )))
            }
            Err(abort) => {
                self.give_back(kernel);
                Err(not_graded(abort.why))
            }
        }
    }

    /// The assignment's kernel with a student's patches behind its own.
    fn patched(&self, files: &Files, stage: Stage, record: &mut Record) -> Result<Subjects, Nothing> {
        let Handed { patches, order, notes } = apart::patches(&self.assignment.rules(), files)?;
        record.notes.extend(notes);
        let own = self.originals(&[])?;
        let text = patches.values().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        let theirs = order.into_iter().map(|name| (name.clone(), patches[&name].clone())).collect();
        self.with_series(own, theirs, text, stage, record)
    }

    /// The assignment's kernel with a student's files in place of its own.
    fn changed(&self, files: &Files, stage: Stage, record: &mut Record) -> Result<Subjects, Nothing> {
        let rules = self.assignment.rules();
        let (asked, notes) = apart::tree_asks(&rules, files)?;
        record.notes.extend(notes);
        let own = self.originals(&asked)?;
        let Changed { patch, text, notes } = apart::tree(&rules, files, &own.files)?;
        record.notes.extend(notes);
        let theirs = vec![("files.patch".to_owned(), patch.into_bytes())];
        self.with_series(own, theirs, text, stage, record)
    }

    /// The patches of the assignment's kernel, and files of its source.
    fn originals(&self, files: &[String]) -> Result<Sources, Nothing> {
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        harness::kernel::sources(&self.assignment.kernel, &self.assignment.path, &files)
            .map_err(|abort| not_graded(abort.why))
    }

    /// The kernel of the assignment's own patches and a student's behind them.
    fn with_series(
        &self,
        own: Sources,
        theirs: Vec<Patch>,
        text: String,
        stage: Stage,
        record: &mut Record,
    ) -> Result<Subjects, Nothing> {
        let files = Prepared { files: series(own, theirs), ..Prepared::default() };
        write(&files, stage.path())?;
        self.own_kernel(text, stage, record)
    }

    /// Builds the kernel of the series in a folder.
    fn own_kernel(&self, text: String, stage: Stage, record: &mut Record) -> Result<Subjects, Nothing> {
        let wanted =
            Wanted { series: Some(stage.path().display().to_string()), ..self.assignment.kernel.clone() };
        let built = {
            let mut is_ready = self.building.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever comes first may find another kernel's objects there, and is not to pay for that.
            if !*is_ready {
                self.ready()?;
                *is_ready = true;
            }
            // What is added to a kernel as a system call is no makefile of theirs.
            let apart = !matches!(self.assignment.kind, Kind::Syscall(..));
            build::kernel(&wanted, apart, self.assignment.limits.build, stage.path())?
        };
        let taken = self.taken(built, record);
        // A student knows the file by its name, and not where it was put.
        let errors = record.build.errors.take();
        record.build.errors = errors.map(|errors| errors.replace(syscall::PLACE, ""));
        taken?;
        let kernel = {
            // Nobody gives it back between the look and the count.
            let mut all = self.own_kernels.lock().unwrap_or_else(PoisonError::into_inner);
            let kernel = harness::kernel::hash(&wanted, &self.assignment.path)
                .map_err(|abort| not_graded(abort.why))?;
            *all.entry(kernel.clone()).or_default() += 1;
            kernel
        };
        let prepared = Prepared { text, ..Prepared::default() };
        let folder = stage.path().to_owned();
        Ok(Subjects { prepared, folder, stage, kernel })
    }

    /// Brings the build folder to the state of the kernel that all share.
    fn ready(&self) -> Result<(), Nothing> {
        let stage = self.cache.stage().map_err(|error| not_graded(format!("failed to {error}")))?;
        let mut wanted = self.assignment.kernel.clone();
        if let Some(base) = &self.base {
            base.series(None, stage.path()).map_err(not_graded)?;
            wanted.series = Some(stage.path().display().to_string());
        }
        match harness::kernel::ready(&wanted, &self.assignment.path) {
            Err(_) if interrupt::requested() => Err(Nothing::Stopped),
            ready => ready.map_err(|abort| not_graded(abort.why)),
        }
    }

    /// Keeps what a build said; whether there is something to test.
    fn taken(&self, built: Built, record: &mut Record) -> Result<(), Nothing> {
        match built {
            Built::Done(build) => {
                record.build = build;
                Ok(())
            }
            Built::TooLong(build) if !self.alone.load(Ordering::Relaxed) => {
                record.build = build;
                record.late = true;
                let limit = self.assignment.limits.build.as_secs();
                Err(not_graded(format!(
                    "the build took longer than {limit} s beside others; it is tried again at the end, alone"
                )))
            }
            Built::Failed(build) | Built::TooLong(build) => {
                record.build = build;
                Err(unusable("it does not build".to_owned()))
            }
            Built::Infra(why) => Err(not_graded(why)),
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

/// The files of a series that has a student's patches behind the assignment's own, and is built as these are.
fn series(own: Sources, theirs: Vec<Patch>) -> BTreeMap<String, Vec<u8>> {
    // A student's file may be called like one of ours.
    let ours = own.patches.into_iter().map(|(name, text)| (format!("assignment-{name}"), text));
    let theirs = theirs.into_iter().map(|(name, text)| (format!("handed-in-{name}"), text));
    harness::kernel::folder(ours.chain(theirs).collect(), own.recipe)
}

/// The folders in front of a student's in the tests, a list for each way in which it is built.
fn lists(asked: &Asked) -> Vec<&[PathBuf]> {
    let lists: Vec<&[PathBuf]> = asked.before.iter().map(Vec::as_slice).collect();
    if lists.is_empty() { vec![&[]] } else { lists }
}

/// What is wrong with a module of the teacher's is nobody else's fault.
fn teachers_own(built: Built) -> Result<(), Nothing> {
    match built {
        Built::Done(_) => Ok(()),
        Built::Failed(build) | Built::TooLong(build) => {
            let errors = build.errors.unwrap_or_default();
            Err(not_graded(format!("a module of the assignment's own does not build: {errors}")))
        }
        Built::Infra(why) => Err(not_graded(why)),
    }
}

/// Adds what another build of the same said, which is mostly the same.
fn add(all: &mut Build, build: Build) {
    let new = build.warnings.into_iter().filter(|warning| !all.warnings.contains(warning));
    let new: Vec<String> = new.collect();
    all.warnings.extend(new);
    all.took_ms += build.took_ms;
}

fn write(prepared: &Prepared, folder: &Path) -> Result<(), Nothing> {
    for (name, bytes) in &prepared.files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).and_then(|()| fs::write(&path, bytes)).map_err(|error| {
            // What the name is to blame for is whose it is; the assignment's own files were there before.
            match error.kind() {
                ErrorKind::AlreadyExists | ErrorKind::NotADirectory | ErrorKind::IsADirectory => unusable(format!(
                    "{name} can't be put beside the assignment's files: a folder of that name is handed in where there is a file, \
                     or a file where there is a folder"
                )),
                ErrorKind::InvalidFilename => unusable(format!("{name} can't be a file's name: it is too long")),
                _ => not_graded(format!("{} can't be written: {}", folder.display(), plain(&error))),
            }
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_students_patches_come_last_and_are_built_as_the_assignments_own() {
        let patch = |name: &str, text: &[u8]| (name.to_owned(), text.to_vec());
        let own = Sources {
            patches: vec![patch("series", b"ours")],
            recipe: Some(b"compiler: llvm\n".to_vec()),
            files: Vec::new(),
        };
        let files = series(own, vec![patch("series", b"theirs"), patch("recipe.yaml", b"compiler: gcc\n")]);
        let text = |name: &str| std::str::from_utf8(&files[name]).unwrap();
        assert_eq!(text("series"), "assignment-series\nhanded-in-series\nhanded-in-recipe.yaml\n");
        assert_eq!((text("assignment-series"), text("handed-in-series")), ("ours", "theirs"));
        assert_eq!(text("recipe.yaml"), "compiler: llvm\n");
    }

    #[test]
    fn a_students_module_is_built_behind_the_teachers() {
        let alone: &[PathBuf] = &[];
        assert_eq!(lists(&Asked::default()), [alone]);
        let api = vec![PathBuf::from("../api")];
        let asked = Asked { before: [vec![], api.clone()].into(), ..Asked::default() };
        assert_eq!(lists(&asked), [alone, &api]);
        let build = |errors: Option<&str>, warnings: &[&str]| Build {
            errors: errors.map(str::to_owned),
            warnings: warnings.iter().map(|it| (*it).to_owned()).collect(),
            took_ms: 5,
        };
        let mut all = Build::default();
        add(&mut all, build(None, &["a", "b"]));
        add(&mut all, build(None, &["b", "c"]));
        assert_eq!(all, Build { took_ms: 10, ..build(None, &["a", "b", "c"]) });
        assert!(teachers_own(Built::Done(build(None, &[]))).is_ok());
        for failed in
            [Built::Failed(build(Some("api.c:1"), &[])), Built::Infra("no kernel: api.c:1".to_owned())]
        {
            let Err(Nothing::Because(state, why)) = teachers_own(failed) else { panic!("it was built") };
            assert!(state == State::NotGraded && why.contains("api.c:1"), "{why}");
        }
    }
}
