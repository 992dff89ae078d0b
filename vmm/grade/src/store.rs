//! Records on the disk, a file for each student: what is there is whole, so that a grading that is stopped goes on later.

use crate::record::Record;
use base::text::plain;
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder of records in a folder of grades.
const FOLDER: &str = "records";

/// A folder of records.
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Makes it where it is missing.
    ///
    /// # Errors
    /// It can't be made, in words that follow "failed to".
    pub fn open(out: &Path) -> Result<Self, String> {
        let folder = out.join(FOLDER);
        fs::create_dir_all(&folder)
            .map_err(|error| format!("can't make the folder {}: {}", folder.display(), plain(&error)))?;
        Ok(Self { folder })
    }

    /// All records of a folder of grades.
    pub fn read(out: &Path) -> Vec<Record> {
        Self { folder: out.join(FOLDER) }.records()
    }

    /// All records, sorted by student. What can't be read is made again.
    pub fn records(&self) -> Vec<Record> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let paths = entries.flatten().map(|entry| entry.path());
        let json = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
        let read = |path: PathBuf| serde_json::from_slice(&fs::read(path).ok()?).ok();
        let mut records: Vec<Record> = json.filter_map(read).collect();
        records.sort_by(|a, b| a.student.cmp(&b.student));
        records
    }

    /// Keeps a record, in the place of an earlier one.
    ///
    /// # Errors
    /// It can't be written, with what to do.
    pub fn keep(&self, record: &Record) -> Result<(), String> {
        let path = self.folder.join(format!("{}.json", file_name(&record.student)));
        let text = serde_json::to_vec_pretty(record).unwrap_or_default();
        write(&path, &text)
    }
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
    if plain == student && !plain.starts_with('.') {
        return plain;
    }
    let hash = crate::hex(&Sha256::digest(student.as_bytes()));
    format!("{}-{}", plain.trim_start_matches('.'), &hash[..8])
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
    }
}
