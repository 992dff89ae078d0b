//! What is known so far, in one file that people can read: a line of JSON for each thing, the first of which says what is
//! asked. Lines are only added, so whatever ends the program, at most the run at hand is lost.

use crate::{search::Observation, sign::Sign};
use base::cache::CacheError;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// What is asked: the file's first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Of this file's format.
    pub format: u32,
    /// `commits`, `patches` or `symbols`.
    pub what: String,
    /// Where they are from: a repository, a folder.
    pub place: PathBuf,
    /// The scenario's file.
    pub scenario: PathBuf,
    /// The new end's name.
    pub new: String,
    /// The old end's.
    pub old: String,
    /// The commit that mended it is looked for.
    pub fixed: bool,
    /// What the user typed, for the report.
    pub command: String,
}

/// The format that is written.
pub const FORMAT: u32 = 1;

/// A thing that was seen, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// For the search.
    pub observation: Observation,
    /// What the run came to, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<Sign>,
    /// This machine's faults before that, which decide nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub infra: Vec<String>,
    /// Something was built.
    #[serde(default)]
    pub built: bool,
    /// The guest had to boot, because the fault was not seen in a saved machine.
    #[serde(default)]
    pub booted: bool,
    /// The kernel that ran, by its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// How long it took, in seconds.
    #[serde(default)]
    pub seconds: f64,
}

impl Entry {
    /// What is known without a run.
    pub fn told(observation: Observation) -> Self {
        let (infra, kernel) = (Vec::new(), None);
        Self { observation, sign: None, infra, built: false, booted: false, kernel, seconds: 0.0 }
    }
}

/// The file, and what is in it.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    file: File,
    /// What was seen, in order.
    pub entries: Vec<Entry>,
    /// The commits that give the same build as their parents, once that is known.
    pub same: Option<HashSet<String>>,
}

/// The line that names them.
#[derive(Serialize, Deserialize)]
struct Same {
    same: HashSet<String>,
}

impl State {
    /// Opens a state, or begins one. A last line that was cut off is dropped.
    ///
    /// # Errors
    /// It can't be read or written.
    pub fn open(path: &Path, asked: &Asked) -> Result<Self, CacheError> {
        let text = if path.is_file() { fs::read(path).unwrap_or_default() } else { Vec::new() };
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (mut entries, mut same) = (Vec::new(), None);
        let mut good = 0;
        for (at, line) in text[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
            match at {
                0 if serde_json::from_slice::<Asked>(line).is_err() => break,
                0 => {}
                _ => match (serde_json::from_slice(line), serde_json::from_slice::<Same>(line)) {
                    (Ok(entry), _) => entries.push(entry),
                    (_, Ok(line)) => same = Some(line.same),
                    _ => break,
                },
            }
            good += line.len();
        }
        let fail = |what| CacheError::io(what, path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(CacheError::io("make the folder", folder))?;
        }
        let file = File::options().create(true).append(true).open(path).map_err(fail("write"))?;
        if good < text.len() {
            file.set_len(good as u64).map_err(fail("write"))?;
        }
        let mut state = Self { path: path.to_owned(), file, entries, same };
        if good == 0 {
            state.line(asked)?;
        }
        Ok(state)
    }

    /// Reads what a state's file says, without writing.
    ///
    /// # Errors
    /// It can't be read, or is none.
    pub fn read(path: &Path) -> Result<(Asked, Vec<Entry>), CacheError> {
        let text = fs::read_to_string(path).map_err(CacheError::io("read", path))?;
        let mut lines = text.lines();
        let none = |error: serde_json::Error| CacheError::io("read", path)(error.into());
        let asked = serde_json::from_str(lines.next().unwrap_or_default()).map_err(none)?;
        Ok((asked, lines.filter_map(|line| serde_json::from_str(line).ok()).collect()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds what was seen; once this returns, nothing short of a broken disk loses it.
    ///
    /// # Errors
    /// It can't be written.
    pub fn add(&mut self, entry: Entry) -> Result<(), CacheError> {
        self.line(&entry)?;
        self.entries.push(entry);
        Ok(())
    }

    /// Adds which commits give the same build as their parents.
    ///
    /// # Errors
    /// As [`State::add`].
    pub fn know(&mut self, same: HashSet<String>) -> Result<(), CacheError> {
        let line = Same { same };
        self.line(&line)?;
        self.same = Some(line.same);
        Ok(())
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), CacheError> {
        let write = |error: std::io::Error| CacheError::io("write", &self.path)(error);
        let mut line = serde_json::to_vec(value).map_err(|error| write(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Seen;

    fn asked() -> Asked {
        let text = |text: &str| text.to_owned();
        Asked {
            format: FORMAT,
            what: text("commits"),
            place: "/r".into(),
            scenario: "/s.yaml".into(),
            new: text("b"),
            old: text("a"),
            fixed: false,
            command: text("vmm bisect"),
        }
    }

    fn entry(commit: &str) -> Entry {
        let observation = Observation { commit: commit.to_owned(), seen: Seen::Clean, fresh: false };
        Entry { built: true, seconds: 1.5, ..Entry::told(observation) }
    }

    #[test]
    fn what_was_added_is_there_again_whatever_cut_the_last_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state");
        let mut state = State::open(&path, &asked()).unwrap();
        state.add(entry("x")).unwrap();
        state.add(entry("y")).unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut state = State::open(&path, &asked()).unwrap();
            assert!(state.entries.len() <= 2);
            assert!(state.entries.iter().zip(["x", "y"]).all(|(it, name)| it.observation.commit == name));
            state.add(entry("z")).unwrap();
            let (again, entries) = State::read(&path).unwrap();
            assert_eq!((again, entries.last()), (asked(), Some(&entry("z"))));
        }
    }

    #[test]
    fn a_full_disk_is_an_error_and_names_the_file() {
        let error = State::open(Path::new("/dev/full"), &asked()).unwrap_err().to_string();
        assert!(error.contains("/dev/full") && error.contains("no space left"), "{error}");
    }
}
