//! Why a patch does not apply, of what GNU `patch` said and left.

use super::{NONE_AT_ALL, Patch, PatchError, file_below, headers::files_of};
use jail::intake;
use std::path::Path;

/// A hunk that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The file it is for, in the source.
    pub file: String,
    /// Counted from 1 within the file.
    pub hunk: usize,
    /// The hunk as it stands in the patch, its `@@` line first.
    pub wanted: Vec<String>,
    /// What stands in the file there, with line numbers counted from 1.
    pub found: Vec<(usize, String)>,
    /// Hunks of this patch that don't fit, in all.
    pub count: usize,
}

impl std::fmt::Display for Reject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "hunk {} of {} does not apply", self.hunk, self.file)?;
        if self.count > 1 {
            write!(f, " ({} hunks of this patch don't)", self.count)?;
        }
        write!(f, "\n  the patch expects:")?;
        for line in &self.wanted {
            write!(f, "\n    {line}")?;
        }
        if self.found.is_empty() {
            return write!(f, "\n  the file is not there, or ends before");
        }
        write!(f, "\n  {} has there:", self.file)?;
        for (number, line) in &self.found {
            write!(f, "\n    {number:5} {line}")?;
        }
        if self.fits_but_for_its_blanks() {
            write!(
                f,
                "\n  These lines are there but for their blanks: a terminal, a web page or an editor made spaces of tabs, or took them \
                 away; hand the patch over as the file that `git diff` wrote."
            )?;
        }
        if self.fits_but_for_its_end() {
            write!(
                f,
                "\n  These lines are there. But the hunk ends with its change, which means the end of the file; \
                 make the patch with `git diff` or `diff -u`, which keep lines of the file behind a change."
            )?;
        }
        Ok(())
    }
}

impl Reject {
    /// Whether what it expects is there, and only lines behind its change are missing: git and patch then look at the end of the file alone.
    fn fits_but_for_its_end(&self) -> bool {
        self.wanted.last().is_some_and(|line| line.starts_with(['+', '-'])) && self.has_there(str::to_owned)
    }

    /// Whether only blanks differ, which look alike where this is shown.
    fn fits_but_for_its_blanks(&self) -> bool {
        let folded = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        !self.has_there(str::to_owned) && self.has_there(folded)
    }

    /// Whether the lines that it expects stand there as `seen`.
    fn has_there(&self, seen: impl Fn(&str) -> String) -> bool {
        let [_, lines @ ..] = &self.wanted[..] else { return false };
        let old: Vec<String> =
            lines.iter().filter_map(|line| line.strip_prefix([' ', '-'])).map(&seen).collect();
        let found: Vec<String> = self.found.iter().map(|(_, line)| seen(line)).collect();
        !old.is_empty() && found.windows(old.len()).any(|there| there == old)
    }
}

/// Makes an error of what `patch` said and of the rejects that it left.
pub(super) fn explain(patch: &Patch, source: &Path, scratch: &Path, said: &[String]) -> PatchError {
    let failed = |said: String| PatchError::Failed { patch: patch.path.clone(), said };
    let mut file = String::new();
    let mut first = None;
    let mut count = 0;
    for line in said {
        if let Some(name) = line.strip_prefix("patching file ") {
            name.trim_matches('\'').clone_into(&mut file);
        }
        if line.starts_with("Reversed (or previously applied) patch detected") {
            return failed(format!("{file} has this change already{NONE_AT_ALL}"));
        }
        // Two lines: "The next patch would create the file x.c," and "which already exists!  Skipping patch."
        if let Some(name) = line.strip_prefix("The next patch would create the file ") {
            let name = name.trim_end_matches(',');
            return failed(format!("it makes the file {name}, which the source has already{NONE_AT_ALL}"));
        }
        if let Some(name) = line.strip_prefix("The next patch would delete the file ") {
            return failed(format!(
                "it removes the file {}, which the source has not",
                name.trim_end_matches(',')
            ));
        }
        if let Some(name) = line.strip_suffix(": git binary diffs are not supported.") {
            let name = name.trim_start_matches("File ");
            return failed(format!("{name} is a binary file, which only git can change; install git"));
        }
        if line.starts_with("can't find file to patch") {
            let name = said.iter().find_map(|line| line.strip_prefix("|+++ ")).unwrap_or("?");
            let name = name.split('\t').next().unwrap_or_default();
            let stripped = |name| str::split_once(name, '/').map_or(name, |(_, rest)| rest);
            let once = stripped(name);
            let meant = [name, stripped(once)].into_iter().find(|it| is_file(source, it));
            let advice = meant.map(|file| {
                format!("; {file} there is: make the patch with paths like a/{file} (-p1), as `git diff` does in the source's root")
            });
            return failed(format!("the source has no file {once}{}", advice.unwrap_or_default()));
        }
        // "Hunk #2 FAILED at 45."
        if let Some(rest) = line.strip_prefix("Hunk #").filter(|rest| rest.contains("FAILED")) {
            count += 1;
            let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).filter_map(|it| it.parse().ok());
            if let (None, Some(hunk), Some(at)) = (&first, numbers.next(), numbers.next()) {
                first = Some((file.clone(), hunk, at));
            }
        }
    }
    let Some((file, hunk, at)) = first else {
        let is_letter = files_of(&String::from_utf8_lossy(&patch.text)).is_empty();
        return failed(match said.last() {
            _ if is_letter => {
                "it changes no file; if it is a cover letter, take its line out of the file `series`, else make it with `git diff`".to_owned()
            }
            Some(last) => last.clone(),
            None => "patch failed, and said nothing".to_owned(),
        });
    };
    // It may have made links before it came to this one.
    let text = |name: &str| intake::read_within(scratch, name).unwrap_or_default();
    let wanted = first_hunk(&text(&format!("{file}.rej")));
    let found = around(&text(&file), at, wanted.len());
    PatchError::Rejected { patch: patch.path.clone(), reject: Reject { file, hunk, wanted, found, count } }
}

fn is_file(source: &Path, name: &str) -> bool {
    matches!(file_below(source, Path::new(name)), Ok(Some(_)))
}

fn first_hunk(reject: &str) -> Vec<String> {
    let mut lines = reject.lines().skip_while(|line| !line.starts_with("@@ "));
    let header = lines.next().map(str::to_owned);
    header.into_iter().chain(lines.take_while(|line| !line.starts_with("@@ ")).map(str::to_owned)).collect()
}

/// So many lines from line `at` on, and a few before.
fn around(text: &str, at: usize, count: usize) -> Vec<(usize, String)> {
    let first = at.saturating_sub(3).max(1);
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned()));
    numbered.skip(first - 1).take(at.saturating_sub(first) + count.max(6)).collect()
}
