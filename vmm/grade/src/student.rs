//! One student, from what was handed in to the record.

mod building;
mod params;

use crate::{
    again::Hangs,
    assignment::{Assignment, Kind},
    intake::{self, Entry, Files, Wrong},
    points::Points,
    record::{Build, Made, Record, State, Test},
    run::{self, Runner, Stopped, Subject, millis},
    score,
    stand_in::{self, Asked},
    syscall::Base,
};
use base::{cache::Cache, diagnostic::Diagnostic, wanted::Wanted};
use building::{Nothing, Subjects};
use params::Values;
use scenario::Settings;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, atomic::AtomicBool},
    time::{Duration, Instant},
};

/// Part of every key: a change of what a record holds makes all old ones strangers.
const FORMAT: &str = "grade 4";

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
    /// Nothing else of this grading runs beside.
    pub alone: AtomicBool,
}

/// What a student handed in, read; and what its record is known by.
pub struct Read {
    /// Whose.
    pub entry: Entry,
    /// The files, or why there are none.
    pub files: Result<Files, Wrong>,
    /// Changes with the files, the assignment, the kernel and the release of this program.
    pub key: String,
}

impl Common<'_> {
    /// Reads a submission.
    pub fn read(&self, entry: Entry) -> Read {
        let files = match &entry.conflict {
            // Who of two is meant is for the teacher to say.
            Some(why) => Err(Wrong::ours(why.clone())),
            None => intake::read(&entry, &self.assignment.limits),
        };
        let mut digest = Sha256::new();
        let mut add = |part: &[u8]| {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        };
        // Another release may see what this one does not.
        let release = env!("CARGO_PKG_VERSION");
        for part in [FORMAT, release, &self.assignment.identity, &self.kernel, &entry.student] {
            add(part.as_bytes());
        }
        add(&[u8::from(entry.overdue)]);
        match &files {
            Ok(files) => files.files.iter().for_each(|(path, bytes)| {
                add(path.as_bytes());
                add(bytes);
            }),
            Err(wrong) => add(wrong.why.as_bytes()),
        }
        Read { entry, files, key: crate::hex(&digest.finalize()) }
    }

    /// A submission that could not be read, by no fault of the student's.
    pub fn unread(&self, entry: Entry, why: String) -> Read {
        Read { entry, files: Err(Wrong::ours(why)), key: String::new() }
    }

    /// The record of a submission that was not graded.
    pub fn not_graded(&self, read: &Read, why: String) -> Record {
        Record { tests: self.nothing(Some(&why)), why: Some(why), ..self.begin(read) }
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
            record.tests = self.nothing(why.as_ref().filter(|_| state == State::NotGraded));
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
            overdue: read.entry.overdue,
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
            late: false,
        }
    }

    /// All tests, none of them run; why their points are not known, if they are not.
    fn nothing(&self, not_graded: Option<&String>) -> Vec<Test> {
        let test = |test: &crate::assignment::Test| Test {
            name: test.name.clone(),
            visibility: test.visibility.name().to_owned(),
            hint: test.hint.clone(),
            points: Points::NONE,
            of: test.award.points(),
            run: None,
            other: None,
            not_graded: not_graded.cloned(),
        };
        self.assignment.tests.iter().map(test).collect()
    }

    fn fill(&self, read: &Read, runner: &mut Runner, record: &mut Record) -> Result<Outcome, Stopped> {
        let files = match &read.files {
            Ok(files) => files,
            Err(wrong) => return Ok(Err(held(wrong.clone()))),
        };
        let table = self.assignment.table.get(&read.entry.student);
        let stage = match self.cache.stage() {
            Ok(stage) => stage,
            Err(error) => return Ok(Err((State::NotGraded, format!("failed to {error}")))),
        };
        let own = table.and_then(|table| table.get("module")).map(String::as_str);
        let subjects = match self.build(files, own, stage, record) {
            Ok(subjects) => subjects,
            Err(Nothing::Because(state, why)) => return Ok(Err((state, why))),
            Err(Nothing::Stopped) => return Err(Stopped),
        };
        let Subjects { prepared, folder, kernel, .. } = &subjects;
        let student = &read.entry.student;
        let values = params::of(self.assignment, student, prepared, folder, &mut record.notes)
            .and_then(|values| self.fit(student, &values, &subjects).map(|()| values));
        let values = match values {
            Ok(values) => values,
            Err(wrong) => {
                self.give_back(kernel);
                return Ok(Err(held(wrong)));
            }
        };
        let tested = self.tests(&values, &subjects, runner, record);
        self.give_back(kernel);
        tested?;
        record.params = values.kept(self.assignment, folder);
        record.penalties = score::penalties(
            &self.assignment.penalties,
            &record.build,
            prepared.license_mended,
            &record.tests,
        );
        Ok(Ok(()))
    }

    /// Whether the tests can be run with what was handed in.
    ///
    /// # Errors
    /// It has no module of the name that they load, or stands in their way.
    fn fit(&self, student: &str, values: &Values, subjects: &Subjects) -> Result<(), Wrong> {
        if self.assignment.kind != Kind::Module {
            return Ok(());
        }
        for (test, values) in self.assignment.tests.iter().zip(&values.tests) {
            let (scenario, wrong) = stand_in::load(&test.scenario, values, &subjects.folder)
                .map_err(|errors| Wrong::ours(run::at_home(&errors.to_string(), subjects.stage.path())))?;
            let is_loaded = scenario.modules.iter().any(|module| module.path == subjects.folder);
            // What can't be built here is told of the run.
            let missing = || harness::module::missing(&scenario, &subjects.kernel).ok().flatten();
            if let Some(missing) = is_loaded.then(missing).flatten() {
                let module = &subjects.prepared.module;
                let asked = Asked::of(self.assignment, student).map_err(Wrong::ours)?;
                return Err(called_otherwise(module, &missing, asked.has(module)).into());
            }
            if !wrong.is_empty() {
                return Err(in_the_way(&wrong, subjects.stage.path()).into());
            }
        }
        Ok(())
    }

    fn tests(
        &self,
        values: &Values,
        subjects: &Subjects,
        runner: &mut Runner,
        record: &mut Record,
    ) -> Result<(), Stopped> {
        let kernel = Wanted::series(&subjects.kernel);
        let (folder, module) = (subjects.stage.path(), &*subjects.prepared.module);
        let own_kernel = self.assignment.kind != Kind::Module;
        let mut hangs = Hangs::default();
        runner.another_student();
        let (mut taken, limit) = (Duration::ZERO, self.assignment.limits.run);
        for (test, params) in self.assignment.tests.iter().zip(&values.tests) {
            let subject = Subject { params, folder, module, kernel: &kernel, own_kernel };
            let left = limit.saturating_sub(taken);
            let test = runner.test(test, &subject, self.assignment, left, &mut hangs)?;
            // What hosts take to start, or to fail, is no student's time.
            let runs = test.run.iter().chain(&test.other);
            taken += runs.map(|run| Duration::from_millis(run.own_ms)).sum::<Duration>();
            record.tests.push(test);
        }
        if taken > limit {
            record.notes.push(too_long(limit));
        }
        Ok(())
    }
}

/// What became of steps once a student's time was up.
fn too_long(limit: Duration) -> String {
    format!(
        "the tests took longer than {} s (`limits: run`); steps after that had {} s each, unless they were to block or to hang",
        limit.as_secs(),
        run::LEAST.as_secs()
    )
}

/// What it is for a student that something is wrong, and why.
fn held(Wrong { why, is_theirs }: Wrong) -> (State, String) {
    (if is_theirs { State::Unusable } else { State::NotGraded }, why)
}

/// What to do where nothing is called as the tests have it; `is_asked`, if they name the student's module, too.
fn called_otherwise(module: &str, wanted: &str, is_asked: bool) -> String {
    match is_asked {
        true => format!(
            "the tests load a module `{wanted}` beside `{module}`, and nothing that was handed in makes one: say `obj-m += {wanted}.o` in \
             your Makefile"
        ),
        false => format!(
            "your module is called `{module}`, and it has to be `{wanted}`, by which the tests load it: call its file {wanted}.c, or say \
             `obj-m := {wanted}.o` and `{wanted}-y := {module}.o` in your Makefile"
        ),
    }
}

/// What is wrong with a scenario by a student's folder. Its own lines are no student's to see.
fn in_the_way(wrong: &[Diagnostic], stage: &Path) -> String {
    let help = |it: &Diagnostic| it.help.as_ref().map_or(String::new(), |help| format!(" ({help})"));
    let wrong: Vec<String> = wrong.iter().map(|it| format!("{}{}", it.message, help(it))).collect();
    run::at_home(&format!("the tests can't be run with what was handed in: {}", wrong.join("; ")), stage)
}

/// The points are known, or they are not, and why.
type Outcome = Result<(), (State, String)>;

#[cfg(test)]
mod tests {
    #[test]
    fn who_took_too_long_is_told_which_steps_had_less_time() {
        let note = super::too_long(super::Duration::from_secs(600));
        for says in ["longer than 600 s", "had 1 s each", "to block or to hang"] {
            assert!(note.contains(says), "{note}");
        }
    }

    #[test]
    fn who_called_a_module_otherwise_is_told_how_to_call_it() {
        let why = super::called_otherwise("base", "user", true);
        assert!(why.contains("a module `user` beside `base`") && why.contains("`obj-m += user.o`"), "{why}");
        let why = super::called_otherwise("mine", "chardev", false);
        for says in ["`mine`", "`chardev`", "chardev.c", "`obj-m := chardev.o`", "`chardev-y := mine.o`"] {
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn what_stands_in_the_tests_way_is_told_without_where_it_lay() {
        let wrong = super::Diagnostic::whole("/stage/x.ko is a folder").help("rename it");
        let why = super::in_the_way(&[wrong], super::Path::new("/stage"));
        assert!(why.ends_with(": x.ko is a folder (rename it)"), "{why}");
    }
}
