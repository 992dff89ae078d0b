//! What is known so far, in one file that people can read: a line of JSON for each thing, the first of which says what is
//! asked. Lines are only added, so whatever ends the program, at most the run at hand is lost.

use crate::{
    fault,
    search::Observation,
    sign::{Rule, Sign},
};
use base::cache::CacheError;
use harness::Abort;
use scenario::Settings;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::HashSet,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};
use thiserror::Error;

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
    /// What is bad.
    #[serde(default)]
    pub rule: Rule,
    /// What the user typed, for the report.
    pub command: String,
    /// The values that were drawn for the scenario's parameters: who goes on goes on with them.
    #[serde(default)]
    pub drawn: Settings,
}

/// The format that is written.
pub const FORMAT: u32 = 2;

/// Why a state can't be opened.
#[derive(Debug, Error)]
pub enum StateError {
    /// It can't be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Another version of this program wrote it.
    #[error(
        "go on from {}: another version of vmm wrote it (format {found}, and this one has {FORMAT}); go on with that version, or begin \
         anew by --restart",
        path.display()
    )]
    Format {
        /// Which.
        path: PathBuf,
        /// The format that it says it has.
        found: u64,
    },
}

impl From<StateError> for Abort {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Cache(error) => error.into(),
            other => Self::input(format!("failed to {other}")),
        }
    }
}

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
    /// What is asked, as it was when the state was begun.
    pub asked: Asked,
    /// What was seen, in order; what each run says of its commit goes by the fault that is looked for, as it is known now.
    pub entries: Vec<Entry>,
    /// The commits that give the same build as their parents, once that is known.
    pub same: Option<HashSet<String>>,
    /// There is an answer.
    pub answered: bool,
    /// What could not be read of the file, and where that is now.
    pub damage: Option<String>,
}

/// The line that names them.
#[derive(Serialize, Deserialize)]
struct Same {
    same: HashSet<String>,
}

/// The line of a state that has its answer.
#[derive(Serialize, Deserialize)]
struct Answered {
    answered: bool,
}

/// What the whole lines of a file say.
#[derive(Default)]
struct Lines<'a> {
    asked: Option<Asked>,
    entries: Vec<Entry>,
    same: Option<HashSet<String>>,
    answered: bool,
    /// Those that can be read.
    good: Vec<&'a [u8]>,
    /// The number of the first one that can't.
    bad: Option<usize>,
}

fn json<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    serde_json::from_slice(line).ok()
}

impl<'a> Lines<'a> {
    fn read(path: &Path, text: &'a [u8]) -> Result<Self, StateError> {
        let mut lines = Self::default();
        for (at, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let is_good = match at {
                0 => lines.begins(path, line)?,
                _ => lines.goes_on(line),
            };
            match is_good {
                true => lines.good.push(line),
                // What is not known to be an answer to this question is none.
                false if at == 0 => return Ok(Self { bad: Some(1), ..Self::default() }),
                false => lines.bad = lines.bad.or(Some(at + 1)),
            }
        }
        Ok(lines)
    }

    fn begins(&mut self, path: &Path, line: &[u8]) -> Result<bool, StateError> {
        let format = json::<serde_json::Value>(line).and_then(|value| value["format"].as_u64());
        if let Some(found) = format.filter(|it| *it != u64::from(FORMAT)) {
            return Err(StateError::Format { path: path.to_owned(), found });
        }
        self.asked = json(line);
        Ok(self.asked.is_some())
    }

    fn goes_on(&mut self, line: &[u8]) -> bool {
        if let Some(entry) = json(line) {
            self.entries.push(entry);
        } else if let Some(line) = json::<Same>(line) {
            self.same = Some(line.same);
        } else if let Some(line) = json::<Answered>(line) {
            self.answered = line.answered;
        } else {
            return false;
        }
        true
    }
}

impl State {
    /// Opens a state, or begins one. A last line that was cut off is dropped; if another one can't be read, the whole file is kept beside
    /// the state, and what is readable is gone on from.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn open(path: &Path, asked: &Asked) -> Result<Self, StateError> {
        let fail = |what| CacheError::io(what, path);
        let text = if path.is_file() { fs::read(path).map_err(fail("read"))? } else { Vec::new() };
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let Lines { asked: before, mut entries, same, answered, good, bad } =
            Lines::read(path, &text[..whole])?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(CacheError::io("make the folder", folder))?;
        }
        let damage = bad.map(|line| put_aside(path, line, &good)).transpose()?;
        let file = File::options().create(true).append(true).open(path).map_err(fail("write"))?;
        if damage.is_none() && whole < text.len() {
            file.set_len(whole as u64).map_err(fail("write"))?;
        }
        let is_new = before.is_none();
        let asked = before.unwrap_or_else(|| asked.clone());
        fault::judge_by_ends(&mut entries, &asked);
        let mut state = Self { path: path.to_owned(), file, asked, entries, same, answered, damage };
        if is_new {
            let asked = state.asked.clone();
            state.line(&asked)?;
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
        let mut entries: Vec<Entry> = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
        fault::judge_by_ends(&mut entries, &asked);
        Ok((asked, entries))
    }

    /// What is asked in a state that has no answer yet, and how many runs it has.
    pub(crate) fn unanswered(path: &Path) -> Option<(Asked, usize)> {
        let text = fs::read(path).ok()?;
        let lines = Lines::read(path, &text).ok().filter(|lines| !lines.answered)?;
        Some((lines.asked?, lines.entries.len()))
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

    /// Adds that there is an answer.
    ///
    /// # Errors
    /// As [`State::add`].
    pub fn answer(&mut self) -> Result<(), CacheError> {
        if !self.answered {
            self.line(&Answered { answered: true })?;
        }
        self.answered = true;
        Ok(())
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), CacheError> {
        let write = |error: std::io::Error| CacheError::io("write", &self.path)(error);
        let mut line = serde_json::to_vec(value).map_err(|error| write(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(write)
    }
}

/// Keeps a damaged file, and leaves what can be read of it in its place. Says where it is.
fn put_aside(path: &Path, line: usize, good: &[&[u8]]) -> Result<String, CacheError> {
    let with = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (aside, new) = (with(".unreadable"), with(".new"));
    fs::write(&new, good.concat()).map_err(CacheError::io("write", &new))?;
    fs::rename(path, &aside).map_err(CacheError::io("move aside", path))?;
    fs::rename(&new, path).map_err(CacheError::io("write", path))?;
    let left = if good.is_empty() { "nothing of it is used" } else { "the other lines are gone on from" };
    Ok(format!(
        "line {line} of {} can't be read; the file is now {}, and {left}",
        path.display(),
        aside.display()
    ))
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
            rule: Rule::Same,
            command: text("vmm bisect"),
            drawn: Settings::new(),
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

    /// A night's work must not be cut off without a word because another version wrote it, or a disk forgot some of it.
    #[test]
    fn what_another_version_wrote_is_refused_and_what_is_damaged_is_kept_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut state = State::open(&path, &asked()).unwrap();
        ["x", "y"].iter().for_each(|name| state.add(entry(name)).unwrap());
        state.answer().unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        let damaged = whole.replace("\"commit\":\"x\"", "\"commit\":x");
        fs::write(&path, &damaged).unwrap();
        let state = State::open(&path, &asked()).unwrap();
        assert_eq!((&state.entries[..], state.answered), (&[entry("y")][..], true));
        let told = state.damage.unwrap();
        assert!(told.contains("line 2 of ") && told.contains("state.unreadable"), "{told}");
        assert_eq!(fs::read_to_string(folder.path().join("state.unreadable")).unwrap(), damaged);
        let again = State::open(&path, &asked()).unwrap();
        assert_eq!((&again.entries[..], again.damage), (&[entry("y")][..], None));

        let other = whole.replace(&format!("\"format\":{FORMAT}"), "\"format\":9");
        fs::write(&path, &other).unwrap();
        let error = State::open(&path, &asked()).unwrap_err().to_string();
        assert!(error.contains("format 9") && error.contains("--restart"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), other, "it is left as it is");

        fs::write(&path, "nonsense\n").unwrap();
        let state = State::open(&path, &asked()).unwrap();
        assert!(state.entries.is_empty() && state.damage.is_some_and(|it| it.contains("nothing of it")));
    }

    /// Guests are asked for what was drawn: with other values the fault may be another one.
    #[test]
    fn who_goes_on_has_the_values_that_were_drawn_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let with = |value: &str| Asked { drawn: [("word".to_owned(), value.to_owned())].into(), ..asked() };
        State::open(&path, &with("first")).unwrap();
        assert_eq!(State::open(&path, &with("second")).unwrap().asked, with("first"));
    }

    #[test]
    fn a_full_disk_is_an_error_and_names_the_file() {
        let error = State::open(Path::new("/dev/full"), &asked()).unwrap_err().to_string();
        assert!(error.contains("/dev/full") && error.contains("no space left"), "{error}");
    }
}
