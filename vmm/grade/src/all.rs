//! All submissions: several at once, the dearest first, going on where an earlier attempt stopped.

use crate::{
    assignment::{Assignment, Kind, Visibility},
    intake::{Entry, Listing},
    output,
    record::{Made, Record, State},
    run::{Runner, Stopped},
    store::{Found, Store, Whose},
    student::{Common, Read},
    syscall::Base,
};
use base::{cache::Cache, wanted::Wanted};
use harness::{Abort, Options};
use host::Choice;
use sha2::{Digest, Sha256};
use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// How to grade.
#[derive(Clone, Debug)]
pub struct Grading {
    /// Where guests run.
    pub host: Choice,
    /// So many at once.
    pub jobs: usize,
    /// Only these students.
    pub only: Vec<String>,
    /// Of so many shards, counted from 1, this one.
    pub shard: Option<(usize, usize)>,
    /// Where everything is written.
    pub out: PathBuf,
    /// Whose work it is.
    pub whose: Whose,
    /// Said at the head of the teacher's page.
    pub remarks: Vec<String>,
    /// Students may see the tests that are for after the due date.
    pub is_due: bool,
}

/// What does not fit together between an assignment and the names of what was handed in, which a teacher wants to know before an hour of
/// grading.
pub fn remarks(assignment: &Assignment, listing: &Listing) -> Vec<String> {
    let mut remarks = Vec::new();
    if !listing.strays.is_empty() {
        remarks.push(format!(
            "left out, since their names are not as `attempts:` has it: {}",
            listing.strays.join(", ")
        ));
    }
    let students = || listing.entries.iter().map(|entry| entry.student.as_str());
    for student in assignment.table.keys().filter(|student| !students().any(|other| other == **student)) {
        let near = base::diagnostic::nearest(student, students());
        let near = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
        remarks.push(format!("the table has a line for `{student}`, who handed in nothing{near}"));
    }
    remarks
}

/// What came of all.
pub struct Graded {
    /// All records of this assignment, sorted by student.
    pub records: Vec<Record>,
    /// So many were taken as they were.
    pub kept: usize,
    /// The user pressed Ctrl-C.
    pub stopped: bool,
    /// Who else has a record there and is not among them, and why.
    pub left_out: Vec<String>,
}

/// Grades submissions, and writes all pages and tables. `tell` hears of each student as it is done.
///
/// # Errors
/// The kernel can't be had, nothing can be written, or a student that was named is not there.
pub fn all(
    assignment: &Assignment,
    entries: Vec<Entry>,
    grading: &Grading,
    tell: &(dyn Fn(&Record, bool) + Sync),
) -> Result<Graded, Abort> {
    for name in &grading.only {
        if !entries.iter().any(|entry| entry.student == *name) {
            let names = entries.iter().map(|entry| entry.student.as_str());
            let near = base::diagnostic::nearest(name, names);
            let near = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
            return Err(Abort::input(format!("--only: there is no submission of `{name}`{near}")));
        }
    }
    let store = Store::open(&grading.out).map_err(Abort::infra)?;
    store.is_of(grading.whose).map_err(Abort::input)?;
    // Who grades some of a shard anew leaves it one.
    if grading.only.is_empty() || grading.shard.is_some() {
        store.is_shard(grading.shard).map_err(Abort::infra)?;
    }
    let cache = Cache::open()?;
    // Before anything is built: to learn after hundreds of builds that nothing can run would be late.
    host::choose(grading.host, cache.root().join("emulator"))?;
    let (base, kernel) = base(assignment, &cache)?;
    let common = Common {
        assignment,
        kernel,
        cache,
        base,
        own_kernels: Mutex::default(),
        building: Mutex::default(),
        alone: AtomicBool::default(),
    };
    let asked = |student: &String| grading.only.is_empty() || grading.only.contains(student);
    // Who grades some of a part anew has the others of that part only.
    let shard = grading.shard.or(store.found().shard);
    let (wanted, others): (Vec<Entry>, Vec<Entry>) = entries
        .into_iter()
        .filter(|entry| {
            let is_named = grading.shard.is_none() && grading.only.contains(&entry.student);
            is_named || shard.is_none_or(|shard| is_in(shard, &entry.student))
        })
        .partition(|entry| asked(&entry.student));
    let students: Vec<String> = wanted.iter().map(|entry| entry.student.clone()).collect();
    let whole = grading.only.is_empty();
    store.is_of_these(&students, whole).map_err(Abort::infra)?;
    let before: BTreeMap<String, Record> =
        store.found().records.into_iter().map(|record| (record.student.clone(), record)).collect();
    let (mut queue, mut kept) = (Vec::new(), 0);
    for entry in wanted {
        let read = match catch_unwind(AssertUnwindSafe(|| common.read(entry.clone()))) {
            Ok(read) => read,
            Err(panic) => common.unread(entry, our_fault(&*panic)),
        };
        match before.get(&read.entry.student) {
            // What is not known is tried again.
            Some(record) if record.key == read.key && record.state != State::NotGraded => {
                kept += 1;
                tell(record, true);
            }
            earlier => queue.push((earlier.map_or(u64::MAX, |record| record.took_ms), read)),
        }
    }
    // Taken from the end.
    queue.sort_by_key(|(took, read)| (*took, read.files.as_ref().map_or(0, |files| files.files.len())));
    let queue: Vec<Read> = queue.into_iter().map(|(_, read)| read).collect();
    let work = |queue: Vec<Read>, jobs: usize| {
        let jobs = jobs.min(queue.len());
        common.alone.store(jobs <= 1, Ordering::Relaxed);
        work(&common, queue, jobs, grading.host, &store, tell)
    };
    let Worked { stopped, mut unkept, .. } = work(queue, grading.jobs).and_late(|late| work(late, 1));
    let Found { records, damaged, .. } = store.found();
    // Who stands in the tables with an earlier submission, or not at all, since nobody asked for it now.
    let current = |entry: &Entry| {
        let key = catch_unwind(AssertUnwindSafe(|| common.read(entry.clone()).key)).unwrap_or_default();
        records.iter().any(|record| record.student == entry.student && record.key == key)
    };
    let waiting: Vec<String> =
        others.iter().filter(|entry| !current(entry)).map(|entry| entry.student.clone()).collect();
    let (records, others): (Vec<Record>, Vec<Record>) = records
        .into_iter()
        // Who changed the assignment's name, or the folder, has two in one.
        .filter(|record| record.assignment.name == assignment.name)
        // Points of two versions are not points of the same.
        .partition(|record| record.assignment.identity == assignment.identity);
    let mut left_out = Vec::new();
    if !waiting.is_empty() {
        left_out.push(format!(
            "handed in, or handed in anew, and not graded yet; the tables know nothing of that (the same command without --only): {}",
            waiting.join(", ")
        ));
    }
    if !others.is_empty() {
        let names: Vec<&str> = others.iter().map(|record| record.student.as_str()).collect();
        left_out.push(format!(
            "graded by an earlier version of the assignment, and not in the tables until graded again (the same command{}): {}",
            if whole { "" } else { " without --only" },
            names.join(", ")
        ));
    }
    if !damaged.is_empty() && !whole {
        left_out.push(format!(
            "these records can't be read, so whose they are is not in the tables; without --only they are graded again: {}",
            damaged.join(", ")
        ));
    }
    if !unkept.is_empty() {
        let names: Vec<&str> = unkept.iter().map(|(student, _)| student.as_str()).collect();
        left_out.push(format!(
            "graded, and not in the tables, since that can't be written (the same command grades them again): {}",
            names.join(", ")
        ));
    }
    let remarks = [&grading.remarks[..], &left_out].concat();
    write(assignment, &records, &Grading { remarks, ..grading.clone() })?;
    if let Some((_, why)) = unkept.pop() {
        return Err(Abort::infra(why));
    }
    Ok(Graded { records, kept, stopped, left_out })
}

/// Whether a student is in this part of so many, whoever else hands in.
fn is_in((part, of): (usize, usize), student: &str) -> bool {
    let hash = Sha256::digest(student.as_bytes());
    let number = u64::from_le_bytes(std::array::from_fn(|index| hash[index]));
    number % of as u64 == part as u64 - 1
}

/// All pages and tables.
fn write(assignment: &Assignment, records: &[Record], grading: &Grading) -> Result<(), Abort> {
    let records: Vec<Record> = records.iter().map(|record| as_seen(record, grading.is_due)).collect();
    output::write(assignment, &records, &grading.remarks, &grading.out).map_err(Abort::infra)
}

/// A record of which, once the due date is over, students see what they did not before.
pub(crate) fn as_seen(record: &Record, is_due: bool) -> Record {
    let mut record = record.clone();
    let later = record.tests.iter_mut().filter(|test| test.visibility == Visibility::AfterDueDate.name());
    later.filter(|_| is_due).for_each(|test| Visibility::Visible.name().clone_into(&mut test.visibility));
    record
}

/// One submission on which this program breaks is no reason to grade no other.
fn our_fault(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("a bug of vmm's own, which is not the student's fault: {}", said.unwrap_or("it panicked"))
}

/// The kernel that all share, built, and the source behind it where students add to that.
fn base(assignment: &Assignment, cache: &Cache) -> Result<(Option<Base>, String), Abort> {
    let Kind::Syscall(slots, _) = &assignment.kind else {
        return Ok((None, harness::kernel::hash(&assignment.kernel, &assignment.path)?));
    };
    let base = Base::new(&assignment.kernel, &assignment.path, slots)?;
    let stage = cache.stage()?;
    base.series(None, stage.path()).map_err(Abort::infra)?;
    let series = Some(stage.path().display().to_string());
    let kernel = harness::kernel::hash(&Wanted { series, ..assignment.kernel.clone() }, &assignment.path)?;
    Ok((Some(base), kernel))
}

/// What came of a queue.
struct Worked {
    /// The user pressed Ctrl-C.
    stopped: bool,
    /// Who is owed another attempt.
    late: Vec<Read>,
    /// Whose record can't be written, and why.
    unkept: Vec<(String, String)>,
}

impl Worked {
    /// With what comes of those who are owed another attempt: of the one before nobody has to know that it could not be written.
    fn and_late(mut self, work: impl FnOnce(Vec<Read>) -> Self) -> Self {
        if self.stopped {
            return self;
        }
        let late: Vec<String> = self.late.iter().map(|read| read.entry.student.clone()).collect();
        let again = work(std::mem::take(&mut self.late));
        // Who stops it may do so before it came to all of them.
        self.unkept.retain(|(student, _)| again.stopped || !late.contains(student));
        self.unkept.extend(again.unkept);
        Self { stopped: again.stopped, ..self }
    }
}

/// Grades all of a queue, so many at once.
fn work(
    common: &Common<'_>,
    queue: Vec<Read>,
    jobs: usize,
    host: Choice,
    store: &Store,
    tell: &(dyn Fn(&Record, bool) + Sync),
) -> Worked {
    let (queue, late, unkept) = (Mutex::new(queue), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let worker = || -> bool {
        // A guest's memory is the scenario's choice; the host is started for what most of them take.
        let new = || Runner::new(Options { host, guests_mib: 256, ..Options::default() });
        let mut runner = new();
        loop {
            let Some(read) = queue.lock().unwrap_or_else(PoisonError::into_inner).pop() else { return false };
            let graded = catch_unwind(AssertUnwindSafe(|| common.grade(&read, &mut runner)));
            let graded = graded.unwrap_or_else(|panic| {
                runner = new();
                Ok(common.not_graded(&read, our_fault(&*panic)))
            });
            match graded {
                Ok(record) => {
                    tell(&record, false);
                    if record.late {
                        late.lock().unwrap_or_else(PoisonError::into_inner).push(read);
                    }
                    // What one build wrote may have filled the disk: that is no reason to grade nobody else.
                    if store.keep(&record).is_err() {
                        unkept.lock().unwrap_or_else(PoisonError::into_inner).push(record);
                    }
                }
                Err(Stopped) => return true,
            }
        }
    };
    let stopped = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        // All are waited for, whatever the first one says.
        let ends: Vec<bool> = workers.into_iter().map(|it| it.join().unwrap_or(true)).collect();
        ends.contains(&true)
    });
    // By now it is gone.
    let unkept = unkept.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter();
    let unkept = unkept.filter_map(|record| store.keep(&record).err().map(|why| (record.student, why)));
    Worked {
        stopped,
        late: late.into_inner().unwrap_or_else(PoisonError::into_inner),
        unkept: unkept.collect(),
    }
}

/// Puts the records of several shards together, and writes all pages and tables. Of a student in two of them, the later folder's
/// counts.
///
/// # Errors
/// A folder has no records, or some of another assignment or another version of it; or nothing can be written.
pub fn merge(assignment: &Assignment, folders: &[PathBuf], grading: &Grading) -> Result<Vec<Record>, Abort> {
    let mut records: BTreeMap<String, Record> = BTreeMap::new();
    let mut shards = Vec::new();
    let mut dropped = Vec::new();
    for folder in folders {
        let Found { records: found, damaged, shard, whose } = Store::read(folder);
        if whose == Some(Whose::Solutions) {
            let why = format!(
                "{} has what `vmm grade check` wrote, and no student's grades; name a folder that `vmm grade --out` wrote",
                folder.display()
            );
            return Err(Abort::input(why));
        }
        if let Some(file) = damaged.first() {
            let why = format!(
                "{} has a record that can't be read, {file}: grade these submissions again (the same command), and merge again",
                folder.display()
            );
            return Err(Abort::input(why));
        }
        shards.push(shard);
        // What an earlier grading left there, of another part or by another rule, is another part's.
        let (found, others): (Vec<Record>, Vec<Record>) =
            found.into_iter().partition(|record| shard.is_none_or(|shard| is_in(shard, &record.student)));
        dropped.extend(others.into_iter().map(|record| (record.student, folder)));
        // A part may have no submission in it.
        if found.is_empty() && shard.is_none() {
            let why =
                format!("{} has no grades; name a folder that `vmm grade --out` wrote", folder.display());
            return Err(Abort::input(why));
        }
        let mine = Made { name: assignment.name.clone(), identity: assignment.identity.clone() };
        if let Some(other) = found.iter().find(|record| record.assignment != mine) {
            let what = match &*other.assignment.name {
                name if name == mine.name => format!(
                    "another version of `{name}` (its file, a scenario, a teacher's file or the table was changed since)"
                ),
                name => format!("another assignment, `{name}`"),
            };
            let why = format!(
                "{} has grades of {what}: that of {}; grade these submissions by {} and merge again",
                folder.display(),
                other.student,
                assignment.path.display()
            );
            return Err(Abort::input(why));
        }
        records.extend(found.into_iter().map(|record| (record.student.clone(), record)));
    }
    whole(&shards)?;
    if let Some((student, folder)) = dropped.iter().find(|(student, _)| !records.contains_key(student)) {
        return Err(Abort::input(format!(
            "{} has grades of {student}, who is in another part by today's rule and is not graded there: grade all parts again, and merge \
             again",
            folder.display()
        )));
    }
    let store = Store::open(&grading.out).map_err(Abort::infra)?;
    store.is_of(Whose::Students).map_err(Abort::input)?;
    let records: Vec<Record> = records.into_values().collect();
    let students: Vec<String> = records.iter().map(|record| record.student.clone()).collect();
    store.is_of_these(&students, true).map_err(Abort::infra)?;
    for record in &records {
        store.keep(record).map_err(Abort::infra)?;
    }
    write(assignment, &records, grading)?;
    Ok(records)
}

/// Whether these parts of the submissions are all of them. A folder that is no part may have whatever is missing.
fn whole(shards: &[Option<(usize, usize)>]) -> Result<(), Abort> {
    let Some(parts) = shards.iter().copied().collect::<Option<Vec<_>>>() else { return Ok(()) };
    let Some((_, of)) = parts.first().copied() else { return Ok(()) };
    if let Some((part, other)) = parts.iter().find(|(_, other)| *other != of) {
        return Err(Abort::input(format!(
            "these are parts of different gradings: {part}/{other} is not one of {of}"
        )));
    }
    let missing: Vec<String> =
        (1..=of).filter(|part| !parts.contains(&(*part, of))).map(|part| format!("{part}/{of}")).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Abort::input(format!(
            "not all parts are there, and whoever is in another would be in no table: name the folder{} of shard {}, too",
            if missing.len() == 1 { "" } else { "s" },
            missing.join(", ")
        ))),
    }
}

#[cfg(test)]
#[path = "all_test.rs"]
mod tests;
