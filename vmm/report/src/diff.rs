//! Two reports side by side, as Markdown: for a comment on a change.

use crate::{
    markdown::cell,
    record::{Run, Session},
};
use base::text::time;
use judge::Verdict;
use std::{collections::BTreeMap, time::Duration};

/// A run that takes this much longer, in percent...
const SLOWER: u32 = 50;
/// ...and this much, is slower; times are noisy.
const LEAST: Duration = Duration::from_millis(500);

/// What is different.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// In words.
    pub text: String,
    /// Something is worse: a failure that was none, a finding that was not there, a scenario that did not run or not to its end.
    pub is_worse: bool,
}

/// The new one against the old one.
pub fn diff(old: &Session, new: &Session) -> Difference {
    let id = |run: &Run| (run.path(), run.title());
    let before: BTreeMap<_, &Run> = old.runs.iter().map(|run| (id(run), run)).collect();
    let after: BTreeMap<_, &Run> = new.runs.iter().map(|run| (id(run), run)).collect();
    let both = || new.runs.iter().filter_map(|run| Some((*before.get(&id(run))?, run)));
    let failing = |run: &Run| run.is_bad();
    // Whatever it was before: nothing is known of it now.
    let unknown = |run: &Run| matches!(run.verdict(), None | Some(Verdict::Interrupted));
    let (mut worse, mut better, mut other, mut slower, mut findings, mut unrun) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (old, new) in both() {
        let line = format!("- {}: {} → {}", named(new), old.word(), new.word());
        match (failing(old), failing(new)) {
            _ if unknown(new) => unrun.push(line),
            (false, true) => worse.push(format!("{line}: {}", cell(&new.reason()))),
            (true, false) => better.push(line),
            _ if old.word() != new.word() => other.push(line),
            _ => {}
        }
        let (was, is) = (old.ran(), new.ran());
        if is > was + LEAST && is > was + was * SLOWER / 100 {
            slower.push(format!("- {}: {} → {}", named(new), time(was), time(is)));
        }
    }
    for run in &new.runs {
        let known = before.get(&id(run)).and_then(|run| run.report.as_ref());
        let known: Vec<&String> =
            known.iter().flat_map(|report| &report.findings).map(|it| &it.splat.fingerprint).collect();
        let found = run.report.iter().flat_map(|report| &report.findings);
        let unseen = found.filter(|it| it.counts() && !known.contains(&&it.splat.fingerprint));
        findings.extend(unseen.map(|it| {
            let place =
                it.splat.file_line.as_ref().map_or(String::new(), |place| format!(" at {}", cell(place)));
            format!("- {}: {}{place} (`{}`)", named(run), cell(&it.splat.title), it.splat.fingerprint)
        }));
    }
    let added: Vec<&Run> = new.runs.iter().filter(|run| !before.contains_key(&id(run))).collect();
    let added_bad = added.iter().any(|run| failing(run));
    let added: Vec<String> = added.iter().map(|run| format!("- {}: {}", named(run), run.word())).collect();
    let gone: Vec<String> = old
        .runs
        .iter()
        .filter(|run| !after.contains_key(&id(run)))
        .map(|run| format!("- {}", named(run)))
        .collect();
    let lost = !gone.is_empty() || !new.finished;
    let is_worse = !worse.is_empty() || !findings.is_empty() || !unrun.is_empty() || added_bad || lost;
    let parts = [
        ("Fails now", worse),
        ("Did not run, or not to the end", unrun),
        ("New findings", findings),
        ("Passes now", better),
        ("Otherwise different", other),
        ("Slower", slower),
        ("New scenarios", added),
        ("Not there any more", gone),
    ];
    let mut text = String::new();
    for (head, lines) in parts.into_iter().filter(|(_, lines)| !lines.is_empty()) {
        text += &format!("### {head} ({})\n\n{}\n\n", lines.len(), lines.join("\n"));
    }
    if text.is_empty() {
        text = "No difference.\n\n".to_owned();
    }
    text += &match (&new.aborted, new.finished) {
        (_, true) => String::new(),
        (Some(why), false) => {
            let reason: Vec<String> = why.reason.lines().map(cell).collect();
            format!("The new run did not begin ({}): {}\n\n", why.verdict, reason.join(" "))
        }
        (None, false) => "The new run was cut off before its end.\n\n".to_owned(),
    };
    let passed = |session: &Session| session.runs.iter().filter(|run| run.is_good()).count();
    let (was, is) = (passed(old), passed(new));
    text += &format!("{was} of {} passed before, {is} of {} now.\n", old.runs.len(), new.runs.len());
    Difference { text, is_worse }
}

fn named(run: &Run) -> String {
    format!("{} ({})", cell(&run.title()), cell(&run.path()))
}
