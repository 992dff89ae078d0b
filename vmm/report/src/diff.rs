//! Two reports side by side, as Markdown: for a comment on a change.

use crate::{
    failure,
    markdown::cell,
    record::{Run, Session},
};
use base::text::time;
use judge::{Failure, Finding, Outcome, Subtest, Verdict};
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
    /// Something is worse: a failure that was none or was another, a finding that was not there, a scenario that did not run or not
    /// to its end.
    pub is_worse: bool,
}

/// The new one against the old one.
pub fn diff(old: &Session, new: &Session) -> Difference {
    let id = |run: &Run| (run.path(), run.title());
    let before: BTreeMap<_, &Run> = old.runs.iter().map(|run| (id(run), run)).collect();
    let after: BTreeMap<_, &Run> = new.runs.iter().map(|run| (id(run), run)).collect();
    let both = || new.runs.iter().filter_map(|run| Some((*before.get(&id(run))?, run)));
    let (mut worse, mut another, mut better, mut other, mut slower, mut findings, mut unrun) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (old, new) in both() {
        let line = format!("- {}: {} → {}", named(new), old.word(), new.word());
        let with_reason = || format!("{line}: {}", cell(&new.reason()));
        match (old.is_bad(), new.is_bad()) {
            _ if is_unknown(new) => unrun.push(with_reason()),
            (was_bad, true) if !was_bad || is_unknown(old) => worse.push(with_reason()),
            (true, true) => match troubles_beyond(old, new) {
                more if more.is_empty() => {}
                more => another.push(format!("{line}: {}", cell(&more.join("; ")))),
            },
            (true, false) => better.push(line),
            _ if old.word() != new.word() => other.push(line),
            _ => {}
        }
        let (was, is) = (old.ran(), new.ran());
        if is > was + LEAST && is > was + was * SLOWER / 100 {
            slower.push(format!("- {}: {} → {}", named(new), time(was), time(is)));
        }
    }
    let counts = |finding: &&Finding| finding.counts();
    for run in &new.runs {
        let known = before.get(&id(run)).and_then(|run| run.report.as_ref());
        let known: Vec<&String> =
            known.iter().flat_map(|it| &it.findings).filter(counts).map(|it| &it.splat.fingerprint).collect();
        let found = run.report.iter().flat_map(|report| &report.findings);
        let unseen = found.filter(counts).filter(|it| !known.contains(&&it.splat.fingerprint));
        findings.extend(unseen.map(|it| {
            let place =
                it.splat.file_line.as_ref().map_or(String::new(), |place| format!(" at {}", cell(place)));
            format!("- {}: {}{place} (`{}`)", named(run), cell(&it.splat.title), it.splat.fingerprint)
        }));
    }
    let added: Vec<&Run> = new.runs.iter().filter(|run| !before.contains_key(&id(run))).collect();
    let added_bad = added.iter().any(|run| run.is_bad());
    let added: Vec<String> = added.iter().map(|run| format!("- {}: {}", named(run), run.word())).collect();
    let gone: Vec<String> = old
        .runs
        .iter()
        .filter(|run| !after.contains_key(&id(run)))
        .map(|run| format!("- {}", named(run)))
        .collect();
    let lost = !gone.is_empty() || !new.finished;
    let is_worse =
        [&worse, &another, &findings, &unrun].iter().any(|lines| !lines.is_empty()) || added_bad || lost;
    let parts = [
        ("Fails now", worse),
        ("Fails otherwise", another),
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

/// Nothing is known of what it was to try: it did not run, or something else than it was at fault.
fn is_unknown(run: &Run) -> bool {
    !run.verdict().is_some_and(|verdict| verdict == Verdict::Pass || verdict.is_against())
}

/// What went wrong in the new run and not in the old one, in words.
fn troubles_beyond(old: &Run, new: &Run) -> Vec<String> {
    let mut before: Vec<_> = troubles(old).into_iter().map(|it| it.id).collect();
    let mut more = troubles(new);
    // As often as it was there before, it is nothing new.
    more.retain(|it| match before.iter().position(|id| *id == it.id) {
        Some(at) => {
            before.swap_remove(at);
            false
        }
        None => true,
    });
    more.into_iter().map(|it| it.text).collect()
}

/// Something that went wrong in a run.
struct Trouble {
    /// The same in every run of a scenario: what was expected and what came instead may have been drawn.
    id: String,
    text: String,
}

/// All that makes a run's verdict but findings, which are compared for themselves.
fn troubles(run: &Run) -> Vec<Trouble> {
    let verdict = run.counted().to_string();
    let mut all = vec![Trouble { id: verdict.clone(), text: verdict }];
    let tests = |place: &str, tests: &[Subtest]| {
        let failed = tests.iter().filter(|it| it.test.outcome == Outcome::Failed).map(|it| it.test.name());
        failed.map(|name| Trouble { id: format!("{place} {name}"), text: name }).collect::<Vec<_>>()
    };
    for step in run.steps.iter().filter(|step| step.verdict.is_bad()) {
        let (name, place) = (run.name(step), format!("{} {}", step.index, step.verdict));
        // From the step's own line on: what is written above it may have changed.
        all.extend(step.failures.iter().map(|it| Trouble {
            id: format!("{place} {} {}", it.what, it.line as i64 - step.line as i64),
            text: format!("{name}: {}", in_words(it)),
        }));
        if step.failures.is_empty() {
            all.push(Trouble { text: format!("{name}: {}", failure::in_a_line(step)), id: place.clone() });
        }
        all.extend(tests(&place, &step.subtests));
    }
    let Some(report) = &run.report else { return all };
    all.extend(
        report
            .failures
            .iter()
            .map(|it| Trouble { id: format!("{} {}", it.what, it.line), text: in_words(it) }),
    );
    all.extend(tests("", &report.subtests));
    all
}

fn in_words(failure: &Failure) -> String {
    format!("{}: expected {}, got {}", failure.what, failure.expected, failure.got)
}

fn named(run: &Run) -> String {
    format!("{} ({})", cell(&run.title()), cell(&run.path()))
}
