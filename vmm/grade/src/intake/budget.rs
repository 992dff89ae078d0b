//! What a submission may still hold, and what it holds already.

use super::{Wrong, archive};
use crate::assignment::Limits;
use jail::reader::{Answers, Reader, Unread, answers};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs::File, path::PathBuf};

/// Archives in archives: an LMS packs what a student packed, and no more.
const NESTED: usize = 3;
/// So many times what a submission may hold is unpacked at most, what nobody means to hand in with it: each archive around a file counts it
/// once, and one that is packed twice, as `.tar.gz` is, twice.
const UNPACKED: u64 = NESTED as u64 + 2;
/// What editors and file managers leave, and versions that are kept; nobody means to hand these in.
const SILENT: &[&str] =
    &["__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", ".git", ".svn", ".vscode", ".idea"];

/// What belongs to a report on the work, and is no part of it, by the endings of names. Some of these are archives.
const DOCUMENTS: &[&str] = &[
    "doc", "docx", "odt", "pdf", "rtf", "xls", "xlsx", "ods", "ppt", "pptx", "odp", "pages", "png", "jpg",
    "jpeg", "gif", "heic", "webp", "mp4", "mov", "mkv", "avi", "webm", "mp3", "wav",
];

/// What unpacks archives, in a process of its own.
pub static READER: Reader = Reader { name: "archive", memory: 2 << 30, open };

fn open(_: Option<File>) -> Answers {
    answers(|(mut budget, name): (Budget, String), bytes| {
        (budget.add(&name, bytes, 0).map(|()| budget), Vec::new())
    })
}

/// The files so far, and what room there is.
#[derive(Deserialize, Serialize)]
pub struct Budget {
    limits: Limits,
    bytes: u64,
    seen: usize,
    /// So many bytes were unpacked, whatever became of them.
    unpacked: u64,
    kernel_tree: bool,
    /// The files so far.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What should be known.
    pub notes: Vec<String>,
}

impl Budget {
    /// Nothing yet.
    pub fn new(limits: &Limits) -> Self {
        let limits = limits.clone();
        Self {
            limits,
            bytes: 0,
            seen: 0,
            unpacked: 0,
            kernel_tree: false,
            files: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// Counts one more name, of whatever it is.
    pub fn count(&mut self, name: &str) -> Result<(), String> {
        self.seen += 1;
        self.kernel_tree |= name == "MAINTAINERS" || name.ends_with("/MAINTAINERS");
        self.counted()
    }

    fn counted(&self) -> Result<(), String> {
        match self.seen <= self.limits.files {
            true => Ok(()),
            false => Err(self.too_much(format!("it holds more than {} files", self.limits.files))),
        }
    }

    /// Counts what an archive was unpacked to, also where nobody wants what is in it.
    ///
    /// # Errors
    /// It is more than anybody's work.
    pub fn passes(&mut self, bytes: u64) -> Result<(), String> {
        self.unpacked = self.unpacked.saturating_add(bytes);
        match self.unpacked <= UNPACKED.saturating_mul(self.limits.bytes) {
            true => Ok(()),
            false => Err(self.too_large()),
        }
    }

    /// So many bytes may still come.
    pub fn room(&self) -> u64 {
        self.limits.bytes - self.bytes
    }

    /// It does not fit.
    pub fn too_large(&self) -> String {
        self.too_much(format!("it is larger than {} once unpacked", size(self.limits.bytes)))
    }

    fn too_much(&self, why: String) -> String {
        match self.kernel_tree {
            true => format!(
                "this is a whole kernel tree ({why}); hand in only the files that you wrote or changed"
            ),
            false => format!("{why}; hand in only source files"),
        }
    }

    /// Whether this is rubbish that nobody need hear of.
    pub fn is_silent(name: &str) -> bool {
        name.split('/').any(|part| SILENT.contains(&part) || part.starts_with("._"))
    }

    /// Whether a file is a document, which is left out unread, and noted.
    pub fn leaves_out(&mut self, name: &str) -> bool {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
        let is_document = ending.is_some_and(|ending| DOCUMENTS.contains(&&*ending));
        if is_document && !Self::is_silent(name) {
            self.notes.push(format!("{name} is left out: it is a document, and no source"));
        }
        is_document
    }

    /// Notes a link, which nobody follows, wherever it leads: whoever reads through it gives away what is there.
    pub fn link(&mut self, name: &str, to: Option<PathBuf>) {
        let to = to.map_or(String::new(), |to| format!(" to {}", to.display()));
        self.notes.push(format!("the link {name}{to} is left out"));
    }

    /// Takes a file; an archive is unpacked apart.
    ///
    /// # Errors
    /// As [`Self::add`], or there is no process for it.
    pub fn take(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), Wrong> {
        if archive::kind(name, &bytes).is_none() {
            return Ok(self.add(name, bytes, 0)?);
        }
        // What is there already is none of an archive's business.
        let room = Self { limits: self.limits.clone(), files: BTreeMap::new(), notes: Vec::new(), ..*self };
        match READER.ask::<_, Result<Self, String>>(&(room, name), &bytes) {
            Ok((unpacked, _)) => Ok(self.join(unpacked?)?),
            Err(error @ Unread::Machine(_)) => Err(Wrong::ours(format!("{name}: {error}"))),
            Err(error) => Err(format!("{name} can't be unpacked: {error}").into()),
        }
    }

    /// Adds what came out of an archive, in a process that the archive may have made anything of: all is held against the limits once more.
    fn join(&mut self, other: Self) -> Result<(), String> {
        self.kernel_tree |= other.kernel_tree;
        self.seen = self.seen.saturating_add(other.files.len()).max(other.seen);
        self.counted()?;
        self.passes(other.unpacked.saturating_sub(self.unpacked))?;
        for (name, bytes) in other.files {
            self.keep(&name, bytes)?;
        }
        self.bytes = other.bytes.clamp(self.bytes, self.limits.bytes);
        self.notes.extend(other.notes);
        Ok(())
    }

    /// Takes a file; of an archive, what is in it. `depth` is the number of archives around it.
    pub fn add(&mut self, name: &str, bytes: Vec<u8>, depth: usize) -> Result<(), String> {
        if Self::is_silent(name) {
            return Ok(());
        }
        if let Some(kind) = archive::kind(name, &bytes) {
            if depth >= NESTED {
                return Err(format!(
                    "{name} is an archive in an archive in an archive; hand in source files"
                ));
            }
            return archive::unpack(kind, name, bytes, self, depth + 1);
        }
        if let Some(kind) = archive::foreign(&bytes) {
            self.notes.push(format!(
                "{name} is left out: it is a {kind} archive, and only .zip, .tar and .tar.gz are read"
            ));
            return Ok(());
        }
        self.keep(name, bytes)
    }

    /// Keeps a file that is no archive.
    fn keep(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), String> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.limits.bytes {
            self.bytes = self.limits.bytes;
            return Err(self.too_large());
        }
        let path = clean(name).ok_or_else(|| format!("the path {name} leads out of the submission"))?;
        if path.len() > LONGEST_PATH || path.split('/').any(|part| part.len() > LONGEST_NAME) {
            let start: String = path.chars().take(60).collect();
            return Err(format!(
                "the name {start}... is too long: a name has at most {LONGEST_NAME} bytes, with all its folders {LONGEST_PATH}"
            ));
        }
        if path.split('/').count() > DEEPEST {
            let start: String = path.chars().take(60).collect();
            return Err(format!("{start}... lies more than {DEEPEST} folders deep; move it up"));
        }
        if let Some(both) = self.file_and_folder(&path) {
            return Err(format!("{both} is there as a file and as a folder; rename one of them"));
        }
        if self.files.insert(path.clone(), bytes).is_some() {
            self.notes.push(format!("{path} is there twice; the later one counts"));
        }
        Ok(())
    }

    /// A name that would be a file's and a folder's, if this path came to what is there.
    fn file_and_folder(&self, path: &str) -> Option<String> {
        let mut above = path.match_indices('/').map(|(at, _)| &path[..at]);
        if let Some(file) = above.find(|above| self.files.contains_key(*above)) {
            return Some(file.to_owned());
        }
        let below = format!("{path}/");
        let (next, _) = self.files.range(below.clone()..).next()?;
        next.starts_with(&below).then(|| path.to_owned())
    }
}

/// What Linux takes as a file's name (NAME_MAX of include/uapi/linux/limits.h), in bytes.
const LONGEST_NAME: usize = 255;
/// A quarter of PATH_MAX: it comes to lie below a folder.
const LONGEST_PATH: usize = 1024;

/// Builds take no folders that are deeper than twice this ([`jail::Limits`]), and it comes to lie below some.
const DEEPEST: usize = 32;

/// A relative path without `.` and empty parts; `None` for one that leads out.
fn clean(name: &str) -> Option<String> {
    let name = name.replace('\\', "/");
    if name.starts_with('/') || name.contains('\0') {
        return None;
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| parts.join("/"))
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// What may hold so many files and bytes.
    fn budget(files: usize, bytes: u64) -> Budget {
        Budget::new(&Limits { files, bytes, build: Duration::ZERO, run: Duration::ZERO })
    }

    #[test]
    fn what_a_reader_answers_is_held_against_the_limits_once_more() {
        let said = |files: &[(&str, usize)], change: fn(&mut Budget)| {
            let mut own = budget(3, 100);
            own.add("first.c", vec![0; 10], 0).unwrap();
            own.seen = 1;
            let mut answer = budget(1000, 1 << 40);
            answer.files = files.iter().map(|(name, bytes)| ((*name).to_owned(), vec![0; *bytes])).collect();
            change(&mut answer);
            own.join(answer).map(|()| (own.limits.bytes, own.bytes, own.seen, own.files.len()))
        };
        let as_it_is: fn(&mut Budget) = |_| ();
        assert_eq!(said(&[("a/x.c", 30), ("y.c", 60)], as_it_is).unwrap(), (100, 100, 3, 3));
        for name in ["../../x.c", "/x.c", "a\\..\\..\\x.c", &"x".repeat(300), "first.c/x.c", ""] {
            assert!(said(&[(name, 1)], as_it_is).is_err(), "{name}");
        }
        assert!(said(&[("x.c", 91)], as_it_is).unwrap_err().contains("larger than 100 bytes"));
        assert!(said(&[("x", 1), ("y", 1), ("z", 1)], as_it_is).unwrap_err().contains("more than 3 files"));
        assert!(said(&[], |answer| answer.seen = 4).is_err());
        assert!(said(&[], |answer| answer.unpacked = 1 << 20).is_err());
        // What was counted before stays counted.
        assert_eq!(said(&[], as_it_is).unwrap(), (100, 10, 1, 1));
        assert_eq!(said(&[], |answer| answer.bytes = u64::MAX).unwrap(), (100, 100, 1, 1));
    }
}
