//! One student, from what was handed in to the record.

use crate::{
    again::Hangs,
    assignment::{Assignment, Kind, Origin},
    build::{self, Built},
    draw,
    intake::{self, Entry, Files},
    points::Points,
    record::{Build, Made, Record, State, Test},
    run::{self, Runner, Stopped, Subject, millis},
    score,
    source::{
        self, Prepared,
        tree::{Changed, Tree},
    },
    syscall::{self, Base},
};
use base::{
    cache::{Cache, Stage},
    text::plain,
    wanted::Wanted,
};
use harness::kernel::{Patch, Sources};
use scenario::Settings;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Part of every key: a change of what a record holds makes all old ones strangers.
const FORMAT: &str = "grade 2";

/// A whole kernel is built in this time, also on a slow machine.
const WHOLE: Duration = Duration::from_secs(20 * 60);

/// What all submissions of an assignment share.
pub struct Common<'a> {
    /// The assignment.
    pub assignment: &'a Assignment,
    /// The kernel's hash.
    pub kernel: String,
    /// The user's cache.
    pub cache: Cache,
    /// The kernel's source, where students add to it.
    pub base: Option<Base>,
    /// Students' own kernels, by how many are tested on them: two may have handed in the same.
    pub own_kernels: Mutex<BTreeMap<String, usize>>,
    /// One of them is built at a time, since all are built in one folder; and whether that folder has been brought up to date.
    pub building: Mutex<bool>,
}

/// What was built, and what its tests take.
struct Subjects {
    prepared: Prepared,
    folder: PathBuf,
    stage: Stage,
    kernel: String,
}

/// What a student handed in, read; and what its record is known by.
pub struct Read {
    /// Whose.
    pub entry: Entry,
    /// The files, or why there are none.
    pub files: Result<Files, String>,
    /// Changes with the files, the assignment and the kernel.
    pub key: String,
}

impl Common<'_> {
    /// Reads a submission.
    pub fn read(&self, entry: Entry) -> Read {
        let files = match &entry.conflict {
            Some(why) => Err(why.clone()),
            None => intake::read(&entry, &self.assignment.limits),
        };
        let mut digest = Sha256::new();
        let mut add = |part: &[u8]| {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        };
        for part in [FORMAT, &self.assignment.identity, &self.kernel, &entry.student] {
            add(part.as_bytes());
        }
        match &files {
            Ok(files) => files.files.iter().for_each(|(path, bytes)| {
                add(path.as_bytes());
                add(bytes);
            }),
            Err(why) => add(why.as_bytes()),
        }
        Read { entry, files, key: crate::hex(&digest.finalize()) }
    }

    /// A submission that could not be read, by no fault of the student's.
    pub fn unread(&self, entry: Entry, why: String) -> Read {
        Read { entry: Entry { conflict: Some(why.clone()), ..entry }, files: Err(why), key: String::new() }
    }

    /// The record of a submission that was not graded.
    pub fn not_graded(&self, read: &Read, why: String) -> Record {
        Record { why: Some(why), tests: self.nothing(), ..self.begin(read) }
    }

    /// Grades a submission.
    ///
    /// # Errors
    /// The user pressed Ctrl-C.
    pub fn grade(&self, read: &Read, runner: &mut Runner) -> Result<Record, Stopped> {
        let started = Instant::now();
        let mut record = self.begin(read);
        let state = self.fill(read, runner, &mut record)?;
        let (state, why) = match state {
            Ok(()) if record.tests.iter().any(|test| test.not_graded.is_some()) => {
                let failed =
                    record.tests.iter().filter_map(|test| Some((&test.name, test.not_graded.as_ref()?)));
                let why = failed.map(|(name, why)| format!("{name}: {why}")).next();
                (State::NotGraded, why)
            }
            Ok(()) => (State::Graded, None),
            Err((state, why)) => (state, Some(why)),
        };
        if state != State::Graded && record.tests.is_empty() {
            record.tests = self.nothing();
        }
        let earned: Points = record.tests.iter().map(|test| test.points).sum();
        let lost: Points = record.penalties.iter().map(|penalty| penalty.points).sum();
        record.points = if state == State::Graded { earned.less(lost) } else { Points::NONE };
        (record.state, record.why, record.took_ms) = (state, why, millis(started));
        Ok(record)
    }

    fn begin(&self, read: &Read) -> Record {
        let notes = read.entry.notes.clone();
        Record {
            key: read.key.clone(),
            assignment: Made {
                name: self.assignment.name.clone(),
                identity: self.assignment.identity.clone(),
            },
            student: read.entry.student.clone(),
            state: State::NotGraded,
            why: None,
            notes,
            params: Settings::new(),
            build: Build::default(),
            tests: Vec::new(),
            penalties: Vec::new(),
            points: Points::NONE,
            of: self.assignment.points(),
            took_ms: 0,
        }
    }

    /// All tests, none of them run.
    fn nothing(&self) -> Vec<Test> {
        let test = |test: &crate::assignment::Test| Test {
            name: test.name.clone(),
            visibility: test.visibility.name().to_owned(),
            hint: test.hint.clone(),
            points: Points::NONE,
            of: test.award.points(),
            run: None,
            other: None,
            not_graded: None,
        };
        self.assignment.tests.iter().map(test).collect()
    }

    fn fill(&self, read: &Read, runner: &mut Runner, record: &mut Record) -> Result<Outcome, Stopped> {
        let files = match &read.files {
            Ok(files) => files,
            Err(why) => return Ok(Err((State::Unusable, why.clone()))),
        };
        let table = self.assignment.table.get(&read.entry.student);
        let stage = match self.cache.stage() {
            Ok(stage) => stage,
            Err(error) => return Ok(Err((State::NotGraded, format!("failed to {error}")))),
        };
        let built = match (&self.assignment.kind, &self.base) {
            (Kind::Syscall(..), Some(base)) => self.kernel(files, base, stage, record)?,
            (Kind::Patch, _) => self.patched(files, stage, record)?,
            (Kind::Kernel, _) => self.changed(files, stage, record)?,
            _ => {
                let own = table.and_then(|table| table.get("module")).map(String::as_str);
                self.module(files, own, stage, record)?
            }
        };
        let subjects = match built {
            Ok(subjects) => subjects,
            Err(why) => return Ok(Err(why)),
        };
        let Subjects { prepared, folder, kernel, .. } = &subjects;
        let mut params = match self.params(&read.entry.student, prepared, folder, &mut record.notes) {
            Ok(params) => params,
            Err(why) => {
                self.give_back(kernel);
                return Ok(Err((State::Unusable, why)));
            }
        };
        params.extend(table.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
        let tested = self.tests(&params, &subjects, runner, record);
        self.give_back(kernel);
        tested?;
        // Where a submission lay for a while is nobody's concern.
        params.retain(|_, value| *value != folder.display().to_string());
        record.params = params;
        record.penalties = score::penalties(
            &self.assignment.penalties,
            &record.build,
            prepared.license_mended,
            &record.tests,
        );
        Ok(Ok(()))
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
        Ok(taken(built, record).map(|()| subjects))
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
            let mut fresh = self.building.lock().unwrap_or_else(PoisonError::into_inner);
            let limit = self.assignment.limits.build;
            // Whoever comes first may find another kernel's objects there, and is not to pay for that.
            let built = build::kernel(&wanted, if *fresh { limit } else { limit.max(WHOLE) }, stage.path())?;
            *fresh |= matches!(built, Built::Done(_));
            built
        };
        if let Err(why) = taken(built, record) {
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

    /// A student's own kernel is not kept.
    fn give_back(&self, kernel: &str) {
        let mut all = self.own_kernels.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = all.get_mut(kernel) else { return };
        *count -= 1;
        if *count == 0 {
            all.remove(kernel);
            // A failure to make room is no reason to lose a grade.
            let _ = harness::kernel::forget(kernel);
        }
    }

    fn tests(
        &self,
        params: &Settings,
        subjects: &Subjects,
        runner: &mut Runner,
        record: &mut Record,
    ) -> Result<(), Stopped> {
        let kernel = Wanted::series(&subjects.kernel);
        let (folder, module) = (subjects.stage.path(), &*subjects.prepared.module);
        let own_kernel = self.assignment.kind != Kind::Module;
        let subject = Subject { params, folder, module, kernel: &kernel, own_kernel };
        let mut hangs = Hangs::default();
        let (started, limit) = (Instant::now(), self.assignment.limits.run);
        for test in &self.assignment.tests {
            let left = limit.saturating_sub(started.elapsed());
            record.tests.push(runner.test(test, &subject, self.assignment, left, &mut hangs)?);
        }
        if started.elapsed() > limit {
            record.notes.push(format!(
                "the tests took longer than {} s (`limits: run`); steps after that had {} s each",
                limit.as_secs(),
                run::LEAST.as_secs()
            ));
        }
        Ok(())
    }

    /// The values of the scenarios' parameters.
    fn params(
        &self,
        student: &str,
        prepared: &Prepared,
        folder: &Path,
        notes: &mut Vec<String>,
    ) -> Result<Settings, String> {
        let seed = &self.assignment.seed;
        let mut params = Settings::new();
        for (name, origin) in &self.assignment.params {
            let value = match origin {
                Origin::Folder => Some(folder.display().to_string()),
                Origin::Module => Some(prepared.module.clone()),
                Origin::Device => source::device(&prepared.text, &prepared.module),
                Origin::Major => source::major(&prepared.text),
                Origin::Source(regex) => regex.captures(&prepared.text).map(|found| found[1].to_owned()),
                Origin::Fixed(value) => Some(value.clone()),
                Origin::DrawText(length) => Some(draw::text(seed, student, name, *length)),
                Origin::DrawInt(low, high) => Some(draw::int(seed, student, name, *low, *high).to_string()),
            };
            if value.is_none() && !self.in_table(student, name) {
                notes.push(format!(
                    "the source does not tell its `{name}`: the tests take their own, if they have one"
                ));
            }
            params.extend(value.map(|value| (name.clone(), value)));
        }
        // What the source does not tell may have a default in each scenario that asks for it.
        for test in &self.assignment.tests {
            for open in scenario::parameters(&test.scenario).unwrap_or_default() {
                let known = params.contains_key(&open.name) || open.default.is_some();
                if !known && !self.in_table(student, &open.name) {
                    let about = open.about.map_or(String::new(), |about| format!(" ({about})"));
                    return Err(format!(
                        "the source does not tell its `{}`{about}; the assignment's table can say it",
                        open.name
                    ));
                }
            }
        }
        Ok(params)
    }

    fn in_table(&self, student: &str, name: &str) -> bool {
        self.assignment.table.get(student).is_some_and(|table| table.contains_key(name))
    }
}

/// Keeps what a build said; whether there is something to test.
fn taken(built: Built, record: &mut Record) -> Outcome {
    match built {
        Built::Done(build) => {
            record.build = build;
            Ok(())
        }
        Built::Failed(build) => {
            record.build = build;
            Err((State::Unusable, "it does not build".to_owned()))
        }
        Built::Infra(why) => Err((State::NotGraded, why)),
    }
}

/// The points are known, or they are not, and why.
type Outcome = Result<(), (State, String)>;

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
