//! Which fault it is that is looked for, and what all runs say once that is known.

use crate::{
    search::Seen,
    sign::{Judged, Rule, Sign},
    state::{Asked, Entry},
};

/// Where something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Where the fault should be.
    FaultyEnd,
    /// Where it should not be.
    CleanEnd,
    /// Between the ends.
    Between,
    /// Not in the range.
    Outside,
}

/// The first run with the fault that is looked for. That is the one which most runs of the faulty end show: what went wrong there first
/// may be another one. As long as they show none, it is the first that was seen between the ends; what goes wrong at the clean end is none.
pub(crate) fn first<'a>(entries: &'a [Entry], rule: &Rule, at: impl Fn(&str) -> At) -> Option<&'a Entry> {
    let shows = |entry: &Entry, known: Option<&Sign>| {
        let sign = entry.sign.as_ref();
        sign.is_some_and(|sign| rule.judge(sign, known) == Judged::Seen(Seen::Fault))
    };
    let seen = |place: At| {
        let is_there = |entry: &&Entry| at(&entry.observation.commit) == place && shows(entry, None);
        entries.iter().filter(is_there).collect::<Vec<&Entry>>()
    };
    let at_end = seen(At::FaultyEnd);
    let often = |entry: &&&Entry| at_end.iter().filter(|it| shows(it, entry.sign.as_ref())).count();
    // Of equally frequent ones the first: the last of several is the greatest.
    let most = at_end.iter().rev().max_by_key(often).copied();
    most.or_else(|| seen(At::Between).first().copied())
}

/// Has all runs say what they say by that fault.
pub(crate) fn judge(entries: &mut [Entry], rule: &Rule, known: Option<&Sign>) {
    for entry in entries {
        if let Some(sign) = &entry.sign
            && let Judged::Seen(seen) = rule.judge(sign, known)
        {
            entry.observation.seen = seen;
        }
    }
}

/// The same, where nothing is known of the history but its ends.
pub(crate) fn judge_by_ends(entries: &mut [Entry], asked: &Asked) {
    let ends = [&asked.new, &asked.old];
    let [faulty, clean] = if asked.fixed { [ends[1], ends[0]] } else { ends };
    let at = |commit: &str| match commit {
        commit if commit == faulty => At::FaultyEnd,
        commit if commit == clean => At::CleanEnd,
        _ => At::Between,
    };
    let known = first(entries, &asked.rule, at).and_then(|entry| entry.sign.clone());
    judge(entries, &asked.rule, known.as_ref());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{search::Observation, sign::Found, state::State};
    use regex::Regex;

    fn entry(commit: &str, function: &str) -> Entry {
        let found = Found {
            kind: "oops".into(),
            title: format!("oops in {function}"),
            function: Some(function.into()),
            fingerprint: function.into(),
        };
        let sign = Sign { verdict: "oops".into(), findings: vec![found], ..Sign::default() };
        let observation = Observation { commit: commit.to_owned(), seen: Seen::Fault, fresh: false };
        Entry { sign: Some(sign), ..Entry::told(observation) }
    }

    fn first_of(runs: &[(&str, &str)], rule: &Rule) -> Option<usize> {
        let entries: Vec<Entry> = runs.iter().map(|(commit, function)| entry(commit, function)).collect();
        let at = |commit: &str| match commit {
            "bad" => At::FaultyEnd,
            "good" => At::CleanEnd,
            "elsewhere" => At::Outside,
            _ => At::Between,
        };
        let found = first(&entries, rule, at)?;
        entries.iter().position(|entry| std::ptr::eq(entry, found))
    }

    /// One boot that failed for another reason must not become what is searched for a night.
    #[test]
    fn the_fault_is_what_most_runs_of_the_faulty_end_show() {
        let of = |runs: &[(&str, &str)]| first_of(runs, &Rule::Same);
        assert_eq!(of(&[("bad", "boot"), ("bad", "foo"), ("bad", "foo")]), Some(1));
        assert_eq!(of(&[("bad", "boot"), ("bad", "foo")]), Some(0), "nothing tells them apart yet");
        assert_eq!(of(&[("5", "foo"), ("5", "foo"), ("bad", "boot")]), Some(2));
        assert_eq!(of(&[("good", "boot"), ("elsewhere", "boot"), ("5", "foo"), ("5", "boot")]), Some(2));
        assert_eq!(of(&[("good", "boot"), ("elsewhere", "boot")]), None);
        let runs = [("bad", "boot"), ("bad", "foo"), ("bad", "foo")];
        assert_eq!(first_of(&runs, &Rule::Any), Some(0));
        assert_eq!(first_of(&runs, &Rule::If(Regex::new("in boot").unwrap())), Some(0));
    }

    /// What failed once at the good end for another reason is no reason for `git bisect bad GOOD`, nor to refuse what git says of it.
    #[test]
    fn a_log_says_what_all_runs_say_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let asked = Asked {
            format: crate::state::FORMAT,
            what: "commits".into(),
            place: "/r".into(),
            scenario: "/s.yaml".into(),
            new: "bad".into(),
            old: "good".into(),
            fixed: false,
            rule: Rule::Same,
            command: String::new(),
            drawn: Default::default(),
        };
        let mut state = State::open(&path, &asked).unwrap();
        for (commit, function) in [("good", "boot"), ("bad", "boot"), ("bad", "foo"), ("bad", "foo")] {
            state.add(entry(commit, function)).unwrap();
        }
        let (asked, entries) = State::read(&path).unwrap();
        let log = crate::replay::write(&asked, &entries);
        assert_eq!(log, "git bisect start\ngit bisect skip good\ngit bisect bad bad\n");
        assert_eq!(State::open(&path, &asked).unwrap().entries, entries);
    }
}
