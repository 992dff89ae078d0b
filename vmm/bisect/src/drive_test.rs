use super::*;
use crate::{
    search::WrongEnds,
    state::{Asked, FORMAT},
};
use std::collections::HashMap;

/// Commits are numbers; from `culprit` on they panic.
struct Fake {
    culprit: usize,
    /// So many runs are spoilt before one is not.
    infra: u32,
    every: u32,
    runs: Vec<(String, Build)>,
    renewed: u32,
    /// After so many runs the program is ended.
    until: usize,
    special: HashMap<String, Sign>,
    /// These are said to change nothing.
    same: std::ops::Range<usize>,
    /// That can't be found out.
    same_unknown: bool,
    /// From so many runs on, a file of the scenario's is another one.
    edited_at: usize,
    /// Or why it can't be read from then on.
    unread: Option<Abort>,
    /// Of the first run of all.
    first: Option<Sign>,
    /// The saved machine is one in which the fault never shows itself.
    only_booted: bool,
}

fn panics(function: &str) -> Sign {
    let found = crate::sign::Found {
        kind: "oops".into(),
        title: format!("oops in {function}"),
        function: Some(function.into()),
        fingerprint: function.into(),
    };
    Sign { verdict: "oops".into(), findings: vec![found], ..Sign::default() }
}

impl Fake {
    fn new(culprit: usize) -> Self {
        let (infra, every, until) = (0, 0, usize::MAX);
        Self {
            culprit,
            infra,
            every,
            until,
            runs: Vec::new(),
            renewed: 0,
            special: HashMap::new(),
            same: 0..0,
            same_unknown: false,
            edited_at: usize::MAX,
            unread: None,
            first: None,
            only_booted: false,
        }
    }
}

impl Runner for Fake {
    fn run(&mut self, commit: &str, build: Build, start: Start) -> Ran {
        let ran = |sign, built| Ran { sign, built, kernel: Some(format!("of {commit}")) };
        if self.runs.len() >= self.until {
            return ran(Sign::without_run(Verdict::Interrupted, ""), false);
        }
        self.runs.push((commit.to_owned(), build));
        if self.infra > 0 {
            self.infra -= 1;
            return ran(Sign::without_run(Verdict::Infra, "the host is gone"), false);
        }
        self.infra = self.every;
        if let Some(sign) = self.first.take() {
            return ran(sign, true);
        }
        if let Some(sign) = self.special.get(commit) {
            return ran(sign.clone(), true);
        }
        let bad = commit.parse::<usize>().unwrap() >= self.culprit;
        let shown = bad && (start == Start::Boot || !self.only_booted);
        ran(if shown { panics("foo") } else { Sign::without_run(Verdict::Pass, "") }, true)
    }

    fn same(&mut self, history: &History, kernels: [Option<String>; 2]) -> Option<HashSet<String>> {
        let ends = [History::OLD, history.new_end()].map(|end| format!("of {}", history.commit(end).id));
        assert_eq!(kernels.map(Option::unwrap), ends, "both ends were run");
        (!self.same_unknown).then(|| self.same.clone().map(|it| it.to_string()).collect())
    }

    fn changed(&mut self) -> Result<Option<String>, Abort> {
        let is_there = self.runs.len() < self.edited_at;
        match &self.unread {
            Some(abort) if !is_there => Err(abort.clone()),
            _ => Ok((!is_there).then(|| "/s/repro".to_owned())),
        }
    }

    fn renew(&mut self) {
        self.renewed += 1;
    }

    fn work(&mut self, _: Option<&str>, to: &str) -> u64 {
        // Even ones are cheap.
        to.parse::<u64>().unwrap() % 2
    }
}

struct Bench {
    folder: tempfile::TempDir,
    history: History,
}

impl Bench {
    fn new(length: usize) -> Self {
        let history = History::line((0..length).map(|it| it.to_string()));
        Self { folder: tempfile::tempdir().unwrap(), history }
    }

    fn state(&self) -> State {
        let text = |text: &str| text.to_owned();
        let asked = Asked {
            format: FORMAT,
            what: text("commits"),
            place: "/r".into(),
            scenario: "/s.yaml".into(),
            new: text("b"),
            old: text("a"),
            fixed: false,
            rule: Rule::Same,
            command: String::new(),
            drawn: Default::default(),
        };
        State::open(&self.folder.path().join("state"), &asked).unwrap()
    }

    fn go(&self, fake: &mut Fake) -> Result<Answer, Stop> {
        let mut drive = Drive {
            history: self.history.clone(),
            whole: None,
            rules: Rules { confidence: 0.99, runs: 25, fixed: false },
            rule: Rule::Same,
            state: self.state(),
            runner: fake,
            tell: &mut |_| (),
        };
        drive.run().map(|(_, answer)| answer)
    }
}

fn found(answer: &Answer) -> &[usize] {
    match answer {
        Answer::Found { commits, .. } => commits,
        Answer::Ends(wrong) => panic!("{wrong:?}"),
    }
}

#[test]
fn stopped_anywhere_it_goes_on_and_runs_nothing_twice() {
    let whole = {
        let mut fake = Fake { same: 5..12, ..Fake::new(21) };
        Bench::new(50).go(&mut fake).unwrap();
        fake.runs
    };
    for until in 0..whole.len() {
        let bench = Bench::new(50);
        let mut first = Fake { until, same: 5..12, ..Fake::new(21) };
        assert!(matches!(bench.go(&mut first), Err(Stop::Interrupted)));
        let mut second = Fake { same: first.same.clone(), ..Fake::new(21) };
        // Seven before it count as one with others.
        assert_eq!(found(&bench.go(&mut second).unwrap()), [21 - 7]);
        assert_eq!([first.runs, second.runs].concat(), whole, "stopped after {until}");
    }
}

#[test]
fn infra_is_tried_again_elsewhere_and_decides_nothing() {
    let mut fake = Fake { infra: 2, every: 2, ..Fake::new(21) };
    assert_eq!(found(&Bench::new(50).go(&mut fake).unwrap()), [21]);
    assert!(fake.renewed > 10, "{}", fake.renewed);
    let mut broken = Fake { infra: 100, ..Fake::new(21) };
    assert!(matches!(Bench::new(50).go(&mut broken), Err(Stop::Infra(why)) if why == "the host is gone"));
    assert_eq!(broken.runs.len(), 3);
}

#[test]
fn another_fault_on_the_way_is_skipped() {
    let mut fake = Fake::new(21);
    for commit in 22..28 {
        fake.special.insert(commit.to_string(), panics("bar"));
    }
    fake.special.insert("20".into(), Sign::without_run(Verdict::BuildFailed, "failed to build it"));
    assert_eq!(found(&Bench::new(50).go(&mut fake).unwrap()), [20, 21]);
}

/// The fault shows itself late at the new end. What went wrong once at the old one meanwhile must neither be taken for it nor end the search.
#[test]
fn what_went_wrong_at_the_clean_end_before_is_judged_by_the_fault_once_that_is_seen() {
    let bench = Bench::new(50);
    let entry = |commit: &str, sign: Sign| {
        let seen = if sign.findings.is_empty() { Seen::Clean } else { Seen::Fault };
        let observation = Observation { commit: commit.to_owned(), seen, fresh: false };
        Entry { sign: Some(sign), ..Entry::told(observation) }
    };
    let pass = || Sign::without_run(Verdict::Pass, "");
    let write = |all: Vec<Entry>| {
        let mut state = bench.state();
        all.into_iter().for_each(|entry| state.add(entry).unwrap());
    };
    write([entry("49", pass()), entry("49", pass()), entry("49", pass()), entry("0", panics("bar"))].into());
    assert_eq!(found(&bench.go(&mut Fake::new(21)).unwrap()), [21]);
    // But if it is the same one, it is at both ends.
    let bench = Bench::new(50);
    let mut state = bench.state();
    [entry("0", panics("foo"))].into_iter().for_each(|entry| state.add(entry).unwrap());
    assert_eq!(bench.go(&mut Fake::new(21)).unwrap(), Answer::Ends(WrongEnds::Both));
}

/// One run of the bad end failed for another reason, before any other: the search is for what the others show.
#[test]
fn what_went_wrong_first_at_the_faulty_end_is_not_searched_for_if_it_was_that_once() {
    let bench = Bench::new(50);
    let mut fake = Fake { first: Some(panics("bar")), ..Fake::new(21) };
    assert_eq!(found(&bench.go(&mut fake).unwrap()), [21]);
}

/// A program that the scenario brings is built anew in the middle of the night: runs before and after it tell nothing of each other.
#[test]
fn a_search_stops_at_what_was_changed_and_keeps_what_it_knew_before() {
    let bench = Bench::new(50);
    let mut fake = Fake { edited_at: 5, ..Fake::new(21) };
    assert!(matches!(bench.go(&mut fake), Err(Stop::Changed(what)) if what == "/s/repro was changed"));
    assert_eq!((fake.runs.len(), bench.state().entries.len()), (5, 4));
    // That it can't be looked at is no doing of the user's.
    let go = |unread: Abort| {
        bench.go(&mut Fake { edited_at: 1, unread: Some(unread), ..Fake::new(21) }).unwrap_err()
    };
    assert!(
        matches!(go(Abort::infra("too many open files")), Stop::Infra(why) if why.contains("open files"))
    );
    assert!(matches!(go(Abort::interrupted()), Stop::Interrupted));
    assert!(matches!(go(Abort::input("no such patch")), Stop::Changed(_)));
    assert_eq!(found(&bench.go(&mut Fake::new(21)).unwrap()), [21]);
}

/// git was told of commits that are not in the range any more, such as the bad end that it began with.
#[test]
fn what_is_known_of_commits_outside_of_the_range_decides_nothing() {
    let bench = Bench::new(50);
    let mut state = bench.state();
    for (commit, seen) in [("49", Seen::ToldFaulty), ("0", Seen::ToldClean), ("70", Seen::ToldFaulty)] {
        let observation = Observation { commit: commit.to_owned(), seen, fresh: false };
        state.add(Entry::told(observation)).unwrap();
    }
    assert_eq!(found(&bench.go(&mut Fake::new(21)).unwrap()), [21]);
}

#[test]
fn of_equally_good_commits_the_cheapest_is_built() {
    let mut fake = Fake::new(21);
    Bench::new(51).go(&mut fake).unwrap();
    let middle = fake.runs.iter().map(|(commit, _)| commit).find(|it| !["0", "50"].contains(&it.as_str()));
    assert!(middle.unwrap().parse::<u32>().unwrap() % 2 == 0, "{middle:?}");
}

#[test]
fn the_proof_is_on_fresh_builds_of_culprit_and_parent() {
    let mut fake = Fake::new(21);
    Bench::new(50).go(&mut fake).unwrap();
    let fresh: std::collections::BTreeSet<_> = fake
        .runs
        .iter()
        .filter(|(_, build)| *build == Build::Fresh)
        .map(|(commit, _)| commit.as_str())
        .collect();
    assert_eq!(fresh.into_iter().collect::<Vec<_>>(), ["20", "21"]);
}

/// 30 was taken for one that changes nothing, and yet it did it: the proof, which runs 29 and 30 by their own names, shows that.
#[test]
fn commits_that_were_wrongly_counted_as_one_are_told_apart_by_the_proof() {
    let mut fake = Fake { same: 28..32, ..Fake::new(30) };
    assert_eq!(found(&Bench::new(50).go(&mut fake).unwrap()), [30]);
}

/// The fault was seen at 49, and only 45, which counts as the same, is run after that: it must not be named for what 47 did.
#[test]
fn commits_that_were_wrongly_counted_as_one_with_the_new_end_are_told_apart_as_well() {
    let mut fake = Fake { same: 46..50, ..Fake::new(47) };
    assert_eq!(found(&Bench::new(50).go(&mut fake).unwrap()), [47]);
    let fresh = fake.runs.iter().filter(|it| **it == ("45".to_owned(), Build::Fresh));
    assert!(fresh.count() < 5, "{:?}", fake.runs);
}

/// A rare fault does not show itself in each run, and the search must not begin anew with all commits for that.
#[test]
fn one_run_without_the_fault_tells_no_commits_apart() {
    let bench = Bench::new(50);
    let mut fake = Fake::new(45);
    let drive = Drive {
        history: bench.history.collapse(|id| ["46", "47", "48", "49"].contains(&id)),
        whole: Some(bench.history.clone()),
        rules: Rules { confidence: 0.99, runs: 25, fixed: false },
        rule: Rule::Same,
        state: bench.state(),
        runner: &mut fake,
        tell: &mut |_| (),
    };
    let seen = |commit: &str, seen| Observation { commit: commit.to_owned(), seen, fresh: true };
    let clean = seen("45", Seen::Clean);
    let mut all = vec![seen("49", Seen::Fault); 3];
    for told_apart in [false, false, false, true, true] {
        assert_eq!(drive.contradiction(&all), told_apart, "{all:?}");
        all.push(clean.clone());
    }
    // One that showed it itself is no other, and one outside of the range is at no place of it.
    all.push(seen("45", Seen::Fault));
    assert!(!drive.contradiction(&all));
    all.extend(vec![seen("0", Seen::Clean); 9]);
    all.push(seen("elsewhere", Seen::Fault));
    assert!(!drive.contradiction(&all));
}

#[test]
fn commits_that_change_nothing_are_not_built() {
    let mut fake = Fake { same: 1..41, ..Fake::new(45) };
    let bench = Bench::new(50);
    bench.go(&mut fake).unwrap();
    let built: std::collections::BTreeSet<usize> =
        fake.runs.iter().map(|(it, _)| it.parse().unwrap()).collect();
    assert!(built.iter().all(|it| *it == 0 || *it > 40), "{built:?}");
    assert!(built.len() <= 2 + 4, "{built:?}");
    // The new end is one with 45, and is not run by that name as well, but for the proof.
    let mut fake = Fake { same: 46..50, ..Fake::new(45) };
    let bench = Bench::new(50);
    assert_eq!(found(&bench.go(&mut fake).unwrap()), [45]);
    assert!(!fake.runs.contains(&("45".into(), Build::Kept)), "{:?}", fake.runs);
}

/// It was killed together with the program, or a fetch failed: the next time it is asked again.
#[test]
fn which_commits_change_nothing_is_not_written_down_unless_it_is_known() {
    let bench = Bench::new(50);
    let mut fake = Fake { same_unknown: true, until: 8, ..Fake::new(21) };
    assert!(matches!(bench.go(&mut fake), Err(Stop::Interrupted)));
    assert_eq!(bench.state().same, None);
    let mut fake = Fake { same: 5..12, ..Fake::new(21) };
    assert_eq!(found(&bench.go(&mut fake).unwrap()), [21 - 7]);
    assert_eq!(bench.state().same.map(|same| same.len()), Some(7));
}

#[test]
fn a_fault_that_never_shows_itself_in_the_saved_machine_is_looked_for_in_guests_that_boot() {
    let mut fake = Fake { only_booted: true, ..Fake::new(21) };
    let bench = Bench::new(50);
    assert_eq!(found(&bench.go(&mut fake).unwrap()), [21]);
    let (_, entries) = State::read(&bench.folder.path().join("state")).unwrap();
    assert!(entries.iter().skip(UNLUCKY).all(|entry| entry.booted), "{entries:?}");
    assert!(entries.iter().take(UNLUCKY).all(|entry| !entry.booted), "{entries:?}");
}
