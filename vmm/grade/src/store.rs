//! Records on the disk, a file for each student: what is there is whole, so that a grading that is stopped goes on later.

use crate::record::Record;
use base::text::plain;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

/// The folder of records in a folder of grades.
const FOLDER: &str = "records";

/// Beside the records: which part of the submissions they are, as `--shard` has it.
const SHARD: &str = "shard";
/// Beside the records: who hands in there, as the last start without --only saw it.
const STUDENTS: &str = "students";
/// Beside the records: whose they are.
const WHOSE: &str = "whose";
/// Is locked by who writes.
const LOCK: &str = "lock";

/// Whose work is graded. A folder has records of one kind: without --only, who is not among those who are graded goes from its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// What a class handed in.
    Students,
    /// What an assignment is checked with.
    Solutions,
}

impl Whose {
    fn name(self) -> &'static str {
        match self {
            Self::Students => "students",
            Self::Solutions => "solutions",
        }
    }
}

/// A folder of records, which nobody else writes to meanwhile.
pub struct Store {
    folder: PathBuf,
    _lock: File,
}

/// What a folder of records holds of those who hand in there.
#[derive(Default)]
pub struct Found {
    /// Sorted by student.
    pub records: Vec<Record>,
    /// What should be records and can't be read, by their files' names.
    pub damaged: Vec<String>,
    /// The part of the submissions that they are, and of how many.
    pub shard: Option<(usize, usize)>,
    /// Whose they are; unknown of an earlier version's.
    pub whose: Option<Whose>,
}

impl Store {
    /// Makes it where it is missing.
    ///
    /// # Errors
    /// It can't be made, or another grading writes there, with what to do.
    pub fn open(out: &Path) -> Result<Self, String> {
        let folder = out.join(FOLDER);
        fs::create_dir_all(&folder)
            .map_err(|error| format!("can't make the folder {}: {}", folder.display(), plain(&error)))?;
        let path = folder.join(LOCK);
        let lock = File::create(&path)
            .map_err(|error| format!("can't write {}: {}", path.display(), plain(&error)))?;
        // Where a file system has no locks, nobody is kept out.
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => Err(format!(
                "another `vmm grade` writes to {}: wait until it has ended, or give this one another folder by --out",
                out.display()
            )),
            _ => Ok(Self { folder, _lock: lock }),
        }
    }

    /// What is in a folder of grades.
    pub fn read(out: &Path) -> Found {
        read(&out.join(FOLDER))
    }

    /// What is in it by now.
    pub fn found(&self) -> Found {
        read(&self.folder)
    }

    /// Keeps which part of the submissions is graded here.
    ///
    /// # Errors
    /// It can't be written, with what to do.
    pub fn is_shard(&self, shard: Option<(usize, usize)>) -> Result<(), String> {
        let text = shard.map_or(String::new(), |(part, of)| format!("{part}/{of}\n"));
        write(&self.folder.join(SHARD), text.as_bytes())
    }

    /// Keeps who hands in here: all, or of a start with --only some more. Whoever else has a record here is gone, and it is found no more.
    ///
    /// # Errors
    /// It can't be written, with what to do.
    pub fn is_of_these(&self, students: &[String], are_all: bool) -> Result<(), String> {
        let mut all: BTreeSet<String> = students.iter().cloned().collect();
        match students_of(&self.folder) {
            Some(before) if !are_all => all.extend(before),
            // Everybody who has a record, so far.
            None if !are_all => return Ok(()),
            _ => {}
        }
        write(&self.folder.join(STUDENTS), &serde_json::to_vec(&all).unwrap_or_default())
    }

    /// Keeps whose records these are. Those whose they are not known to be are a class's, which must not get lost.
    ///
    /// # Errors
    /// They are others', with what to do.
    pub fn is_of(&self, whose: Whose) -> Result<(), String> {
        let found = self.found();
        let is_new = found.records.is_empty() && found.damaged.is_empty();
        let before = found.whose.unwrap_or(if is_new { whose } else { Whose::Students });
        if before != whose {
            return Err(format!(
                "{} has grades of {}, and those of {} would take their place: name another folder by --out",
                self.folder.parent().unwrap_or(&self.folder).display(),
                before.name(),
                whose.name()
            ));
        }
        write(&self.folder.join(WHOSE), format!("{}\n", whose.name()).as_bytes())
    }

    /// Keeps a record, in the place of an earlier one.
    ///
    /// # Errors
    /// It can't be written, with what to do.
    pub fn keep(&self, record: &Record) -> Result<(), String> {
        let path = self.folder.join(record_name(&record.student));
        let text = serde_json::to_vec_pretty(record).unwrap_or_default();
        write(&path, &text)
    }
}

fn read(folder: &Path) -> Found {
    let mut found = Found::default();
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in paths.filter(|path| path.extension().is_some_and(|it| it == "json")) {
        match fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            Some(record) => found.records.push(record),
            None => found.damaged.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned()),
        }
    }
    if let Some(students) = students_of(folder) {
        let files: BTreeSet<String> = students.iter().map(|student| record_name(student)).collect();
        found.records.retain(|record| students.contains(&record.student));
        found.damaged.retain(|file| files.contains(file));
    }
    found.records.sort_by(|a, b| a.student.cmp(&b.student));
    found.damaged.sort();
    let whose = fs::read_to_string(folder.join(WHOSE)).unwrap_or_default();
    found.whose = [Whose::Students, Whose::Solutions].into_iter().find(|it| it.name() == whose.trim());
    let shard = fs::read_to_string(folder.join(SHARD)).unwrap_or_default();
    found.shard =
        shard.trim().split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    found
}

/// Who hands in there, if that is known.
fn students_of(folder: &Path) -> Option<BTreeSet<String>> {
    serde_json::from_slice(&fs::read(folder.join(STUDENTS)).ok()?).ok()
}

fn record_name(student: &str) -> String {
    format!("{}.json", file_name(student))
}

/// Writes a file that is whole at every moment.
///
/// # Errors
/// It can't be written, with what to do.
pub fn write(path: &Path, content: &[u8]) -> Result<(), String> {
    let next = path.with_extension("new");
    fs::write(&next, content).and_then(|()| fs::rename(&next, path)).map_err(|error| {
        let _ = fs::remove_file(&next);
        format!(
            "can't write {}: {}; what was graded so far is kept: free some space and start the same command again",
            path.display(),
            plain(&error)
        )
    })
}

/// A student's name as a file's: other letters are left out, and then a hash keeps it apart from others.
pub fn file_name(student: &str) -> String {
    let plain: String = student
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.@+".contains(c) { c } else { '_' })
        .take(80)
        .collect();
    // One that looks like what is made here could be another's.
    if plain == student && !plain.is_empty() && !plain.starts_with('.') && !ends_with_hash(&plain) {
        return plain;
    }
    let hash = crate::hex(&Sha256::digest(student.as_bytes()));
    format!("{}-{}", plain.trim_start_matches('.'), &hash[..8])
}

fn ends_with_hash(name: &str) -> bool {
    let end = name.rsplit_once('-').map_or("", |(_, end)| end);
    end.len() == 8 && end.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_student_has_a_file_of_its_own_below_the_folder() {
        assert_eq!(file_name("s042"), "s042");
        let odd = ["a b", "a_b", "a/b", "../../x", ".hidden", "Ünal", ""];
        let names: std::collections::BTreeSet<String> = odd.iter().map(|it| file_name(it)).collect();
        assert_eq!(names.len(), odd.len());
        assert!(names.iter().all(|name| !name.contains('/') && !name.starts_with('.')), "{names:?}");
        // Nobody can take another's place by its file's name.
        assert!(names.iter().all(|name| !names.contains(&file_name(name)) || name == "a_b"), "{names:?}");
    }
}
