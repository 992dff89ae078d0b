//! Unified diffs, one behind the other, and what they show of the files that they change: all of a file that they make, and of
//! others the places that they touch.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

/// So many lines are compared: as many as a few thousand changes of a large file take.
const MOST: usize = 100_000_000;

/// Files as diffs leave them, as far as these show them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patched {
    /// By their paths in the source.
    pub files: BTreeMap<String, Shown>,
    /// Lines that were compared, of which whoever means well needs few.
    compared: usize,
}

/// What is seen of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// As the diff names it, with the folders in front of the source.
    pub named: String,
    /// All of it: the diffs make it.
    pub whole: bool,
    /// Its places, each without a gap.
    pub pieces: Vec<Piece>,
}

/// Lines of a file that follow one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Of the first line, counted from 1.
    pub start: usize,
    /// All of them.
    pub lines: Vec<Line>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Without its end.
    pub text: String,
    /// A diff put it there.
    pub added: bool,
}

impl Shown {
    /// All lines of which anything is known.
    pub fn seen(&self) -> String {
        let lines = self.pieces.iter().flat_map(|piece| &piece.lines);
        lines.map(|line| format!("{}\n", line.text)).collect()
    }

    /// All lines that were added, and no others.
    pub fn added(&self) -> String {
        let lines = self.pieces.iter().flat_map(|piece| &piece.lines);
        lines.filter(|line| line.added).map(|line| format!("{}\n", line.text)).collect()
    }
}

/// Whether a text has a diff in it, whatever its file is called.
pub fn is_diff(text: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let hunk =
        |it: &[&str]| it[0].starts_with("--- ") && it[1].starts_with("+++ ") && it[2].starts_with("@@ -");
    // A file that gets another name or other permissions, or is empty, has no hunk (git-diff(1), "Generating patch text with -p").
    let header = |it: &[&str]| {
        it[0].starts_with("diff --git ") && EXTENDED.iter().any(|beginning| it[1].starts_with(beginning))
    };
    lines.windows(3).any(hunk) || lines.windows(2).any(header)
}

/// How the line behind `diff --git` begins.
const EXTENDED: [&str; 7] = [
    "old mode ",
    "new file mode ",
    "deleted file mode ",
    "similarity index ",
    "rename from ",
    "copy from ",
    "index ",
];

/// Whether a text has a context diff in it, as `diff -c` makes.
pub fn is_context(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("***************"))
        && text.lines().any(|line| line.starts_with("*** ") && line.ends_with(" ****"))
}

/// The same diffs with their files named as git names them: `a/kernel/sys.c`, however deep the source lay where they were made.
/// Names that nothing is to be made of stay as they are.
pub fn as_from_git(text: &str) -> String {
    let prefixed = prefixed(&changes(text));
    let mut lines = text.split_inclusive('\n').peekable();
    let mut out = String::with_capacity(text.len());
    let (mut left, mut right) = (0_usize, 0_usize);
    let renamed = |line: &str, sign: &str, side: &str| {
        let name = line.strip_prefix(sign)?.trim_end_matches(['\r', '\n']);
        let (name, rest) = name.split_at(name.find('\t').unwrap_or(name.len()));
        let place = match name {
            "/dev/null" => return None,
            // With blanks in it only git knows where it ends.
            name if name.contains([' ', '"']) || leads_back(name) => return None,
            name => in_source(&full(name), prefixed),
        };
        Some(format!("{sign}{side}/{place}{rest}\n"))
    };
    while let Some(line) = lines.next() {
        if left == 0 && right == 0 {
            if let Some(((_, removed), (_, added))) = head(line) {
                (left, right) = (removed, added);
            } else if line.starts_with("--- ") && lines.peek().is_some_and(|next| next.starts_with("+++ ")) {
                let other = lines.next().unwrap_or_default();
                let (old, new) = (renamed(line, "--- ", "a"), renamed(other, "+++ ", "b"));
                out += old.as_deref().unwrap_or(line);
                out += new.as_deref().unwrap_or(other);
                continue;
            } else if let Some(names) = line.strip_prefix("diff --git ")
                && let [old, new] = names.split_whitespace().collect::<Vec<_>>()[..]
                && ![old, new].into_iter().any(leads_back)
            {
                let [old, new] = [old, new].map(|name| in_source(&full(name), prefixed));
                out += &format!("diff --git a/{old} b/{new}\n");
                continue;
            }
        } else {
            match line.as_bytes().first() {
                Some(b'+') => right = right.saturating_sub(1),
                Some(b'-') => left = left.saturating_sub(1),
                Some(b'\\') => {}
                _ => (left, right) = (left.saturating_sub(1), right.saturating_sub(1)),
            }
        }
        out += line;
    }
    out
}

/// Whether this may be a diff by its name.
pub fn may_be_diff(path: &str) -> bool {
    [".patch", ".diff", ".txt", ".mbox", ".eml"]
        .iter()
        .any(|ending| path.to_ascii_lowercase().ends_with(ending))
}

/// In the order of people: `2.patch` before `10.patch`.
pub fn by_number(a: &str, b: &str) -> Ordering {
    fn parts(text: &str) -> Vec<(u64, String)> {
        let mut parts = vec![(0_u64, String::new())];
        let mut in_number = false;
        for c in text.chars() {
            let last = parts.len() - 1;
            match c.to_digit(10) {
                Some(digit) if in_number => {
                    parts[last].0 = parts[last].0.saturating_mul(10).saturating_add(digit.into());
                }
                Some(digit) => parts.push((digit.into(), String::new())),
                None => parts[last].1.push(c),
            }
            in_number = c.is_ascii_digit();
        }
        parts
    }
    // The text in front of a number comes before it.
    let key = |text: &str| {
        let parts = parts(text);
        let numbers: Vec<u64> = parts.iter().map(|it| it.0).collect();
        let texts: Vec<String> = parts.into_iter().map(|it| it.1).collect();
        texts.into_iter().zip(numbers.into_iter().skip(1).chain([0])).collect::<Vec<_>>()
    };
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

/// A change of one place.
struct Hunk<'a> {
    from: usize,
    to: usize,
    lines: Vec<(char, &'a str)>,
}

impl<'a> Hunk<'a> {
    fn side(&self, left_out: char) -> Vec<&'a str> {
        self.lines.iter().filter(|(sign, _)| *sign != left_out).map(|(_, text)| *text).collect()
    }
}

/// What one diff does to one file.
struct Change<'a> {
    named: String,
    /// Its path in the source.
    place: String,
    makes: bool,
    hunks: Vec<Hunk<'a>>,
}

impl Patched {
    /// Puts a text's diffs behind those before.
    ///
    /// # Errors
    /// The file that it makes or changes, and that is not as it should be for that.
    pub fn apply(&mut self, text: &str) -> Result<(), String> {
        for change in changes(text) {
            let path = change.place.clone();
            if change.makes && self.files.remove(&path).is_some_and(|shown| !shown.whole) {
                return Err(path);
            }
            let made = Shown { named: change.named.clone(), whole: change.makes, pieces: Vec::new() };
            let shown = self.files.entry(path.clone()).or_insert(made);
            for hunk in &change.hunks {
                let lines: usize = shown.pieces.iter().map(|piece| piece.lines.len()).sum();
                // Twice, or once for each line that is taken away.
                self.compared += lines * (2 + hunk.lines.iter().filter(|(sign, _)| *sign == '-').count());
                if self.compared > MOST {
                    return Err(path);
                }
                shown.apply(hunk).ok_or_else(|| path.clone())?;
            }
        }
        // What was emptied is gone.
        self.files.retain(|_, shown| !shown.whole || shown.pieces.iter().any(|it| !it.lines.is_empty()));
        Ok(())
    }

    /// Whether a text does again what was done: then it is another attempt, and no continuation.
    pub fn is_redone_by(&self, text: &str) -> bool {
        changes(text).iter().any(|change| {
            let Some(shown) = self.files.get(&change.place) else { return false };
            let names_a_call = |text: &str| {
                text.contains("SYSCALL_DEFINE") || text.contains("asmlinkage") || text.contains("\tsys_")
            };
            let added: BTreeSet<&str> = shown
                .pieces
                .iter()
                .flat_map(|it| &it.lines)
                .filter(|it| it.added)
                .map(|it| it.text.trim())
                .collect();
            let again = |hunk: &Hunk<'_>| {
                let taken: BTreeSet<&str> =
                    hunk.lines.iter().filter(|it| it.0 == '-').map(|it| it.1.trim()).collect();
                hunk.lines.iter().any(|(sign, line)| {
                    let line = line.trim();
                    *sign == '+' && names_a_call(line) && added.contains(line) && !taken.contains(line)
                })
            };
            (change.makes && shown.whole) || change.hunks.iter().any(again)
        })
    }
}

impl Shown {
    fn apply(&mut self, hunk: &Hunk<'_>) -> Option<()> {
        let (old, new) = (hunk.side('+'), hunk.side('-'));
        let mut found: Option<(usize, usize, usize)> = None;
        for (index, piece) in self.pieces.iter().enumerate().filter(|_| !old.is_empty()) {
            for at in 0..(piece.lines.len() + 1).saturating_sub(old.len()) {
                let same = piece.lines[at..].iter().zip(&old).all(|(a, b)| a.text.trim_end() == b.trim_end());
                let away = (piece.start + at).abs_diff(hunk.from);
                if same && found.is_none_or(|(_, _, other)| away < other) {
                    found = Some((index, at, away));
                }
            }
        }
        let Some((index, at, _)) = found else { return self.elsewhere(hunk) };
        let piece = &mut self.pieces[index];
        let mut before = piece.lines[at..at + old.len()].iter().cloned();
        let mut lines = Vec::new();
        for (sign, text) in &hunk.lines {
            match sign {
                '+' => lines.push(Line { text: (*text).to_owned(), added: true }),
                '-' => _ = before.next(),
                _ => lines.extend(before.next()),
            }
        }
        piece.lines.splice(at..at + old.len(), lines);
        piece.start = hunk.to.saturating_sub(at).max(1);
        let start = piece.start;
        for other in self.pieces.iter_mut().filter(|other| other.start > start) {
            other.start = (other.start + new.len()).saturating_sub(old.len());
        }
        Some(())
    }

    /// A place of which nothing was seen before.
    fn elsewhere(&mut self, hunk: &Hunk<'_>) -> Option<()> {
        let known = |line: &str| {
            let mut lines = self.pieces.iter().flat_map(|it| &it.lines);
            line.len() > 8 && lines.any(|it| it.added && it.text.trim_end() == line.trim_end())
        };
        let lost = hunk.lines.iter().any(|(sign, line)| *sign == '-' && known(line));
        if lost || (self.whole && !self.pieces.is_empty()) {
            return None;
        }
        let line = |(sign, text): &(char, &str)| Line { text: (*text).to_owned(), added: *sign == '+' };
        let lines = hunk.lines.iter().filter(|(sign, _)| *sign != '-').map(line).collect();
        self.pieces.push(Piece { start: hunk.to.max(1), lines });
        self.pieces.sort_by_key(|piece| piece.start);
        Some(())
    }
}

/// All changes of a text, which may be a mailbox with many commits.
fn changes(text: &str) -> Vec<Change<'_>> {
    let mut changes: Vec<Change<'_>> = Vec::new();
    let mut lines = text.lines().peekable();
    let mut old = "";
    let mut inside = false;
    while let Some(line) = lines.next() {
        if line.starts_with("diff ") {
            inside = false;
        } else if let Some(name) = line.strip_prefix("--- ")
            && lines.peek().is_some_and(|next| next.starts_with("+++ "))
        {
            old = file_name(name);
            inside = false;
        } else if let Some(name) = line.strip_prefix("+++ ") {
            let name = match file_name(name) {
                "/dev/null" => old,
                name => name,
            };
            let (named, place) = (full(name), String::new());
            changes.push(Change { named, place, makes: old == "/dev/null", hunks: Vec::new() });
            inside = true;
        } else if inside
            && let Some(change) = changes.last_mut()
            && let Some((from, to)) = head(line)
        {
            change.makes |= from == (0, 0);
            let (mut left, mut right) = (from.1, to.1);
            let mut hunk = Hunk { from: from.0, to: to.0, lines: Vec::new() };
            while let Some(next) = lines.peek() {
                // Editors take blanks at lines' ends away.
                let sign = next.chars().next().unwrap_or(' ');
                let over = left == 0 && right == 0;
                match sign {
                    // Whoever edits a diff forgets to count.
                    '+' if over && next.starts_with("+++ ") => break,
                    '+' => right = right.saturating_sub(1),
                    _ if over => break,
                    '-' => left = left.saturating_sub(1),
                    ' ' => (left, right) = (left.saturating_sub(1), right.saturating_sub(1)),
                    '\\' => {}
                    _ => break,
                }
                if sign != '\\' {
                    hunk.lines.push((sign, next.get(1..).unwrap_or_default()));
                }
                lines.next();
            }
            change.hunks.push(hunk);
        }
    }
    let prefixed = prefixed(&changes);
    changes.iter_mut().for_each(|change| change.place = place(&change.named, prefixed));
    changes
}

/// Whether a diff's paths have a folder of their author's in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefixed {
    Yes,
    /// One begins with a folder of the kernel's, so all do, or with a new one.
    No,
}

fn prefixed(changes: &[Change<'_>]) -> Prefixed {
    let first = |change: &Change<'_>| change.named.split('/').next().is_some_and(is_top);
    if changes.iter().any(first) { Prefixed::No } else { Prefixed::Yes }
}

/// `@@ -1,2 +3,4 @@`: where, and how many lines.
fn head(line: &str) -> Option<((usize, usize), (usize, usize))> {
    fn range(text: &str) -> Option<(usize, usize)> {
        let (start, count) = text.split_once(',').unwrap_or((text, "1"));
        Some((start.parse().ok()?, count.parse().ok()?))
    }
    let mut words = line.strip_prefix("@@ -")?.split_whitespace();
    Some((range(words.next()?)?, range(words.next()?.strip_prefix('+')?)?))
}

fn file_name(line: &str) -> &str {
    line.split(['\t', ' ']).next().unwrap_or_default()
}

/// Whether a path goes back where it has been: of one that begins so it is only the folder in which the diff was made.
fn leads_back(name: &str) -> bool {
    name.split('/').skip_while(|part| ["", ".", ".."].contains(part)).any(|part| part == "..")
}

/// Without what no path in a submission has, and what would mean something to make or to a shell.
fn full(name: &str) -> String {
    let parts = name.split('/').filter(|part| !["", ".", ".."].contains(part));
    super::plain(&parts.collect::<Vec<_>>().join("/"))
}

/// Folders of the kernel's source; `usr` may be this machine's.
const TOPS: [&str; 18] = [
    "arch", "block", "certs", "crypto", "drivers", "fs", "include", "init", "io_uring", "ipc", "kernel",
    "lib", "mm", "net", "security", "sound", "usr", "virt",
];

fn is_top(folder: &str) -> bool {
    TOPS.contains(&folder) && folder != "usr"
}

/// Whether a path's first folder is none of the source's: `a` and `b`, and one that is called as a kernel's source is, in any diff.
fn is_prefix(first: &str, prefixed: Prefixed) -> bool {
    !is_top(first)
        && (prefixed == Prefixed::Yes || first == "a" || first == "b" || first.starts_with("linux"))
}

/// The path in the source of one that may lie anywhere: below the folder that is called as a kernel's source is, or from the first
/// folder on that only the kernel's source has.
fn in_source(named: &str, prefixed: Prefixed) -> String {
    let parts: Vec<&str> = named.split('/').collect();
    let is_linux = |at: &usize| {
        parts[*at].starts_with("linux")
            && *at + 1 < parts.len()
            && (*at == 0 || !["include", "uapi"].contains(&parts[at - 1]))
    };
    let start = match parts[0] {
        _ if parts.len() == 1 => 0,
        "a" | "b" => 1,
        first if !is_prefix(first, prefixed) => 0,
        _ => (0..parts.len())
            .rfind(is_linux)
            .map(|at| at + 1)
            .or_else(|| parts.iter().position(|part| is_top(part)))
            .unwrap_or(1),
    };
    parts[start..].join("/")
}

/// A path in the source, of one that a diff names: as with -p1, if it has a prefix.
fn place(named: &str, prefixed: Prefixed) -> String {
    match named.split_once('/') {
        Some((first, rest)) if is_prefix(first, prefixed) => rest.to_owned(),
        _ => named.to_owned(),
    }
}

#[cfg(test)]
#[path = "diff_test.rs"]
mod tests;
