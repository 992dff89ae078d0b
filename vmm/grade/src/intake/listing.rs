//! Who handed in what: the names of an LMS's export.

use super::archive;
use base::text::plain;
use regex::Regex;
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// Said of what came after the due date.
pub const LATE: &str = "handed in late";

/// A student's submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub student: String,
    /// Files, folders and archives, each with its name in the submission.
    pub parts: Vec<(PathBuf, String)>,
    /// What should be known, such as attempts that do not count.
    pub notes: Vec<String>,
    /// It came after the due date, as its name says.
    pub overdue: bool,
    /// Why nobody can tell what to grade.
    pub conflict: Option<String>,
}

/// What a folder of submissions holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Sorted by student.
    pub entries: Vec<Entry>,
    /// Names that the rule does not know.
    pub strays: Vec<String>,
}

/// A file, folder or archive as it lies there.
struct Found {
    path: PathBuf,
    attempt: String,
    /// Of the file alone, where an LMS counts files and not attempts.
    serial: Option<u64>,
    overdue: bool,
    name: String,
}

/// All submissions of a folder, but for `out`, where grades lie. `attempts` reads their names: `student`, and perhaps `attempt`, or `serial`, which
/// grows with every file, `late`, which only those have that came too late, and `file`.
///
/// # Errors
/// The folder can't be read, there is nothing in it that the rule knows, or the grades would lie between the submissions.
pub fn list(folder: &Path, attempts: Option<&Regex>, out: &Path) -> Result<Listing, String> {
    let cannot = |error: std::io::Error| format!("read {}: {}", folder.display(), plain(&error));
    let mut students: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    let mut strays = Vec::new();
    let out = fs::canonicalize(out).ok();
    if out.is_some() && out == fs::canonicalize(folder).ok() {
        return Err(format!(
            "keep grades apart from submissions: both are to be in {}; name another folder by --out",
            folder.display()
        ));
    }
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_out = || out.is_some() && fs::canonicalize(&path).ok() == out;
        if name.starts_with('.') || name == "__MACOSX" || is_out() {
            continue;
        }
        // A list of marks, a note of somebody's: whoever hands something in has a name that the rule knows.
        if attempts.is_some_and(|rule| !rule.is_match(&name)) {
            strays.push(name);
            continue;
        }
        let (student, found) = read_name(&name, path, attempts);
        students.entry(student).or_default().push(found);
    }
    strays.sort();
    if let Some(first) = strays.first().filter(|_| students.is_empty()) {
        return Err(format!(
            "find submissions: no name in {} is as the assignment's `attempts:` has it; there is {first}",
            folder.display()
        ));
    }
    if students.is_empty() {
        return Err(format!(
            "find submissions: there is nothing in {}; put a folder or an archive for each student there",
            folder.display()
        ));
    }
    let entry = |(student, found)| entry(student, found, attempts.is_some());
    Ok(Listing { entries: students.into_iter().map(entry).collect(), strays })
}

/// A folder or archive that is one student's.
pub fn single(path: &Path, student: &str) -> Entry {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parts = vec![(path.to_owned(), name)];
    Entry { student: student.to_owned(), parts, notes: Vec::new(), overdue: false, conflict: None }
}

/// Where a path leads: a link of whoever owns the folder that it is in says where submissions lie. Anybody else's may be a student's.
fn followed(path: &Path) -> PathBuf {
    let owner = |of: std::io::Result<fs::Metadata>| of.ok().map(|of| of.uid());
    let is_owners = owner(fs::symlink_metadata(path)) == path.parent().and_then(|it| owner(fs::metadata(it)));
    let to = if is_owners { fs::canonicalize(path).ok() } else { None };
    to.unwrap_or_else(|| path.to_owned())
}

fn read_name(name: &str, path: PathBuf, attempts: Option<&Regex>) -> (String, Found) {
    let captures = attempts.and_then(|regex| regex.captures(name));
    let Some(captures) = captures else {
        let stem = archive::stem(name).unwrap_or(name);
        let stem = match path.is_file() && stem == name {
            true => Path::new(name).file_stem().map_or(name.into(), |stem| stem.to_string_lossy()),
            false => stem.into(),
        };
        let name = name.to_owned();
        let found = Found { path, attempt: String::new(), serial: None, overdue: false, name };
        return (stem.into_owned(), found);
    };
    let group = |group: &str| captures.name(group).map(|it| it.as_str()).filter(|it| !it.is_empty());
    let mut student = group("student").unwrap_or(name).to_owned();
    if let Some(id) = group("id") {
        student = format!("{student}_{id}");
    }
    let found = Found {
        path,
        attempt: group("attempt").unwrap_or_default().to_owned(),
        serial: group("serial").and_then(|serial| serial.parse().ok()),
        overdue: group("late").is_some(),
        name: group("file").unwrap_or(name).to_owned(),
    };
    (student, found)
}

/// Of files that were handed in again the newest; and what does not count.
fn newest_files(found: Vec<Found>) -> (Vec<Found>, Vec<String>) {
    let (mut kept, mut older): (Vec<Found>, Vec<String>) = (Vec::new(), Vec::new());
    let mut sorted = found;
    sorted.sort_by_key(|it| std::cmp::Reverse(it.serial));
    // What is handed in again under its name has a number there: `driver-1.c` beside `driver.c`. `part-1.c` and `part-2.c` are two.
    let names: BTreeSet<String> = sorted.iter().map(|it| it.name.clone()).collect();
    let same = |a: &str, b: &str| {
        let plain = |name: &str| match again(name).map(|(stem, ending)| format!("{stem}{ending}")) {
            Some(plain) if names.contains(&plain) => plain,
            _ => name.to_owned(),
        };
        plain(a) == plain(b)
    };
    for it in sorted {
        match it.serial.is_some()
            && kept.iter().any(|other| other.serial.is_some() && same(&it.name, &other.name))
        {
            true => older.push(it.path.file_name().unwrap_or_default().to_string_lossy().into_owned()),
            false => kept.push(it),
        }
    }
    (kept, older)
}

/// A name as it was before an LMS or a browser told it from an older file's: its beginning and its ending, without `-1` or ` (1)`.
pub fn again(name: &str) -> Option<(&str, &str)> {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^(.*[^-_( ])(?:-\d{1,2}|[ _]?\(\d{1,2}\)|__\d{1,2}_)((?:\.\w+)*)$")
            .expect("a constant that tests use")
    });
    let found = NUMBER.captures(name)?;
    Some((found.get(1)?.as_str(), found.get(2)?.as_str()))
}

fn entry(student: String, found: Vec<Found>, rule: bool) -> Entry {
    let (mut found, replaced) = newest_files(found);
    found.sort_by(|a, b| later(&a.attempt, &b.attempt).then_with(|| a.path.cmp(&b.path)));
    let newest = found.last().map(|it| it.attempt.clone()).unwrap_or_default();
    let (mut notes, mut conflict) = (Vec::new(), None);
    let shown = |it: &Found| it.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut older: Vec<&str> =
        found.iter().filter(|it| it.attempt != newest).map(|it| it.attempt.as_str()).collect();
    older.dedup();
    if !older.is_empty() {
        notes.push(format!("attempt {newest} counts; older ones do not: {}", older.join(", ")));
    }
    if !replaced.is_empty() {
        notes.push(format!("newer files take the place of {}", replaced.join(", ")));
    }
    let newest: Vec<&Found> = found.iter().filter(|it| it.attempt == newest).collect();
    // An LMS gives every file of an attempt an entry of its own; without its rule, that is two people's work.
    let whole = newest.iter().filter(|it| it.path.is_dir()).count();
    if newest.len() > 1 && (!rule || whole > 1) {
        let names: Vec<String> = newest.iter().map(|it| shown(it)).collect();
        conflict = Some(format!(
            "two submissions have this name: {}; remove or rename one, or give the assignment a rule: `attempts:`",
            names.join(", ")
        ));
    }
    let overdue = newest.iter().any(|it| it.overdue);
    if overdue {
        notes.push(LATE.to_owned());
    }
    let parts = newest.into_iter().map(|it| (followed(&it.path), it.name.clone())).collect();
    Entry { student, parts, notes, overdue, conflict }
}

/// Attempts are counted or dated: digits by their number, all else as text.
fn later(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}
