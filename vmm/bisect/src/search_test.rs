use super::*;
use std::cell::Cell;

/// A world in which one commit did it.
struct World {
    history: History,
    culprit: usize,
    /// How often the fault shows itself where it is.
    rate: f64,
    unbuildable: Vec<bool>,
    /// Of those that build, some have another fault, which hides this one.
    other: Vec<bool>,
    rules: Rules,
    seed: Cell<u64>,
}

struct Outcome {
    answer: Answer,
    runs: u32,
    /// Different commits that were built for the search, the ends aside.
    builds: usize,
}

impl World {
    fn line(length: usize, culprit: usize, rate: f64, seed: u64) -> Self {
        Self::of(History::line((0..length).map(|it| it.to_string())), culprit, rate, seed)
    }

    fn of(history: History, culprit: usize, rate: f64, seed: u64) -> Self {
        let length = history.len();
        let rules = Rules { confidence: 0.99, runs: 60, fixed: false };
        let seed = Cell::new(seed | 1);
        Self {
            history,
            culprit,
            rate,
            unbuildable: vec![false; length],
            other: vec![false; length],
            rules,
            seed,
        }
    }

    /// xorshift64*, from the seed alone: a failure can be repeated.
    fn chance(&self) -> f64 {
        let mut x = self.seed.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.seed.set(x);
        (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn run(&self, id: &str) -> Seen {
        let place = self.history.place(id);
        if self.unbuildable[place] {
            return Seen::Untestable("does not build".to_owned());
        }
        if self.other[place] {
            return Seen::Other("another".to_owned());
        }
        let has = self.history.reach(place).contains(self.culprit);
        match faulty(has, self.rules.fixed) && self.chance() < self.rate {
            true => Seen::Fault,
            false => Seen::Clean,
        }
    }

    fn search(&self) -> Outcome {
        let mut search = Search::new(self.history.clone(), self.rules);
        let (mut runs, mut built, mut skipped) = (0, std::collections::BTreeSet::new(), 0);
        loop {
            match search.ask() {
                Ask::End(answer) => return Outcome { answer, runs, builds: built.len() },
                Ask::Run { among, phase } => {
                    let commit = among[0].clone();
                    let seen = self.run(&commit);
                    match seen {
                        Seen::Untestable(_) | Seen::Other(_) => skipped += 1,
                        _ => runs += 1,
                    }
                    if phase == Phase::Search {
                        built.insert(commit.clone());
                    }
                    search.observe(&Observation { commit, seen, fresh: phase == Phase::Proof });
                    assert!(runs + skipped < 20_000, "it does not end");
                }
            }
        }
    }

    fn is_right(&self, answer: &Answer) -> bool {
        matches!(answer, Answer::Found { commits, .. } if commits.contains(&self.culprit))
    }

    fn of_chance(history: History, seed: u64) -> Self {
        let mut world = Self::of(history, 1, 1.0, seed);
        (0..8).for_each(|_| _ = world.chance());
        world.culprit = 1 + world.below(world.history.len() - 1);
        world.rate = 0.2 + 0.8 * world.chance();
        world
    }

    fn below(&self, bound: usize) -> usize {
        (self.chance() * bound as f64) as usize
    }
}

/// Any history: each commit comes from one of the newest, some from two.
fn any_history(seed: u64) -> History {
    let world = World::line(2, 1, 1.0, seed);
    (0..8).for_each(|_| _ = world.chance());
    let length = 3 + world.below(60);
    let mut commits: Vec<(String, Vec<String>)> = Vec::new();
    for at in 1..length {
        let before = |back: usize| at.saturating_sub(1 + back).to_string();
        let mut parents = vec![before(if world.chance() < 0.3 { world.below(6) } else { 0 })];
        if world.chance() < 0.2 {
            parents.push(before(world.below(10)));
        }
        parents.dedup();
        commits.push((at.to_string(), parents));
    }
    // The new end has all that nobody else comes from.
    let used: Vec<String> = commits.iter().flat_map(|(_, parents)| parents.clone()).collect();
    let mut loose: Vec<String> =
        commits.iter().map(|(id, _)| id.clone()).filter(|id| !used.contains(id)).collect();
    loose.reverse();
    commits.push(("end".to_owned(), loose));
    History::new("0", commits)
}

fn log2(n: usize) -> usize {
    n.next_power_of_two().trailing_zeros() as usize
}

/// The promise, for each rate by itself: 500 searches each, of which one in a hundred may be wrong.
#[test]
fn answers_are_right_as_often_as_asked_for_at_every_rate() {
    for tenth in 2..=10 {
        let rate = f64::from(tenth) / 10.0;
        for fixed in [false, true] {
            let mut right = 0;
            for seed in 0..250_u64 {
                let mut world =
                    World::of_chance(any_history(seed), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 77);
                (world.rate, world.rules.fixed) = (rate, fixed);
                right += u32::from(world.is_right(&world.search().answer));
            }
            assert!(right >= 246, "rate {rate}, fixed {fixed}: {right} of 250 are right");
        }
    }
}

/// The same with commits that don't build and others that have another fault, at any rate: 10,000 searches.
#[test]
fn ten_thousand_searches_through_anything_are_right_as_often_as_asked_for() {
    let (mut right, mut alone) = (0, 0);
    const COUNT: u64 = 10_000;
    for seed in 0..COUNT {
        let mut world = World::of_chance(any_history(seed), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 99);
        let odd = world.chance() * 0.4;
        for place in 1..world.history.new_end() {
            world.unbuildable[place] = world.chance() < odd;
            world.other[place] = world.chance() < odd / 4.0;
        }
        let outcome = world.search();
        let limit = world.rules.runs * u32::try_from(outcome.builds + 6).unwrap();
        assert!(outcome.runs <= limit, "seed {seed}: {} runs, {limit} are the bound", outcome.runs);
        if let Answer::Found { commits, odds, .. } = &outcome.answer {
            alone += u32::from(commits.len() == 1);
            for place in commits.iter().filter(|_| commits.len() > 1) {
                let spoilt = |it: usize| world.unbuildable[it] || world.other[it];
                let needless = commits.iter().filter(|it| !spoilt(**it)).count();
                assert!(spoilt(*place) || needless == 1, "seed {seed}: {commits:?} could be told apart");
            }
            assert!(*odds <= 1.0 + 1e-9);
        }
        right += u32::from(world.is_right(&outcome.answer));
    }
    assert!(right >= 9_900, "{right} of 10,000 are right");
    assert!(alone > 5_000, "{alone} of 10,000 name one commit");
}

/// A fault that always shows itself costs few runs, and no commit is built in vain.
#[test]
fn a_sure_fault_is_found_in_as_many_builds_as_halving_takes() {
    for length in [2, 3, 8, 64, 100, 700] {
        for culprit in (1..length).step_by(1 + length / 60) {
            let world = World::line(length, culprit, 1.0, 5);
            let Outcome { answer, runs, builds, .. } = world.search();
            let Answer::Found { commits, odds, proof } = answer else { panic!("{answer:?}") };
            assert_eq!((&commits[..], proof), (&[culprit][..], Proof::Proven));
            assert!(odds >= 0.99);
            let halvings = log2(length);
            assert!(builds <= halvings + 1, "{length} commits, {culprit} did it: {builds} builds");
            let limit = 3 * u32::try_from(halvings).unwrap() + 16;
            assert!(runs <= limit, "{length} commits, {culprit} did it: {runs} runs");
        }
    }
}

/// As maintainers make it: a line, and branches of some commits that are merged into it.
fn merged_history(seed: u64) -> History {
    let world = World::line(2, 1, 1.0, seed + 5);
    (0..8).for_each(|_| _ = world.chance());
    let mut commits: Vec<(String, Vec<String>)> = Vec::new();
    let (mut head, mut forks) = ("0".to_owned(), vec!["0".to_owned()]);
    for at in 0..4 + world.below(20) {
        let id = format!("l{at}");
        let mut parents = vec![head];
        if world.chance() < 0.4 {
            let mut tip = forks[world.below(forks.len())].clone();
            for step in 0..1 + world.below(12) {
                let next = format!("l{at}b{step}");
                commits.push((next.clone(), vec![tip]));
                tip = next;
            }
            parents.push(tip);
        }
        commits.push((id.clone(), parents));
        forks.push(id.clone());
        head = id;
    }
    History::new("0", commits)
}

#[test]
fn in_histories_with_branches_halving_takes_two_builds_more_at_most() {
    for seed in 0..400 {
        let mut world = World::of_chance(merged_history(seed), seed + 1);
        world.rate = 1.0;
        let outcome = world.search();
        assert!(world.is_right(&outcome.answer), "seed {seed}: {:?}", outcome.answer);
        let limit = log2(world.history.len()) + 2;
        assert!(outcome.builds <= limit, "seed {seed}: {} builds, {limit} are the bound", outcome.builds);
    }
}

fn merge_history() -> History {
    let pairs = [("1", "0"), ("s1", "1"), ("s2", "s1"), ("s3", "s2"), ("2", "1")];
    let mut commits: Vec<_> =
        pairs.iter().map(|(id, parent)| ((*id).to_owned(), vec![(*parent).to_owned()])).collect();
    commits.push(("m".to_owned(), vec!["2".to_owned(), "s3".to_owned()]));
    commits.push(("3".to_owned(), vec!["m".to_owned()]));
    History::new("0", commits)
}

#[test]
fn a_merge_that_did_it_itself_is_named() {
    let history = merge_history();
    for culprit in ["m", "s2", "2", "3"] {
        let world = World::of(history.clone(), history.place(culprit), 1.0, 3);
        let Answer::Found { commits, proof, .. } = world.search().answer else { panic!() };
        assert_eq!((commits, proof), (vec![history.place(culprit)], Proof::Proven), "{culprit}");
    }
}

#[test]
fn what_cannot_be_told_apart_is_a_range() {
    let mut world = World::line(20, 9, 1.0, 3);
    for place in [7, 8, 9] {
        world.unbuildable[place] = true;
    }
    let Answer::Found { commits, odds, proof } = world.search().answer else { panic!() };
    assert_eq!((&commits[..], proof), (&[7, 8, 9, 10][..], Proof::None));
    assert!(odds >= 0.99);
}

/// None of them is more likely than another, however many there are.
#[test]
fn of_many_that_cannot_be_told_apart_all_are_named() {
    let mut world = World::line(700, 400, 1.0, 3);
    (100..500).for_each(|place| world.unbuildable[place] = true);
    let Answer::Found { commits, odds, proof } = world.search().answer else { panic!() };
    assert_eq!((commits, proof), ((100..=500).collect(), Proof::None));
    assert!(odds >= 0.99, "{odds}");
}

/// A disk that was full in one run must not end a search, or hide the fault for ever.
#[test]
fn one_failure_at_the_clean_end_does_not_swap_the_ends() {
    let world = World::line(30, 10, 1.0, 3);
    let mut search = Search::new(world.history.clone(), world.rules);
    let mut tell = |commit: &str, seen| {
        search.observe(&Observation { commit: commit.to_owned(), seen, fresh: false });
        search.ask()
    };
    let run = |commit: &str, phase| Ask::Run { among: vec![commit.to_owned()], phase };
    for _ in 0..2 {
        assert_eq!(tell("29", Seen::Clean), run("29", Phase::FaultyEnd));
    }
    assert_eq!(tell("29", Seen::Clean), run("0", Phase::CleanEnd));
    assert_eq!(tell("0", Seen::Fault), run("0", Phase::CleanEnd));
    assert_eq!(tell("0", Seen::Clean), run("0", Phase::CleanEnd));
    assert_eq!(tell("0", Seen::Clean), run("29", Phase::FaultyEnd));
}

#[test]
fn ends_that_are_not_as_said_are_told_before_anything_else_is_built() {
    let ends = |culprit: usize, unbuildable: Option<usize>| {
        let mut world = World::line(30, 1, 1.0, 3);
        world.culprit = culprit;
        if let Some(place) = unbuildable {
            world.unbuildable[place] = true;
        }
        let outcome = world.search();
        assert_eq!(outcome.builds, 0);
        let Answer::Ends(wrong) = outcome.answer else { panic!("{:?}", outcome.answer) };
        wrong
    };
    assert_eq!(ends(0, None), WrongEnds::Both);
    assert!(matches!(ends(5, Some(29)), WrongEnds::Untestable(id, _) if id == "29"));
    assert!(matches!(ends(5, Some(0)), WrongEnds::Untestable(id, _) if id == "0"));
    // Nobody did it: the fault is nowhere.
    let never = World { rate: 0.0, ..World::line(30, 1, 1.0, 3) };
    assert_eq!(never.search().answer, Answer::Ends(WrongEnds::NotThere(60)));
    // It is at the end that should be without it, and mended since.
    let mut swapped = World::line(30, 10, 1.0, 3);
    swapped.rules.fixed = true;
    let mut search = Search::new(swapped.history.clone(), Rules { fixed: false, ..swapped.rules });
    loop {
        match search.ask() {
            Ask::End(answer) => break assert_eq!(answer, Answer::Ends(WrongEnds::Swapped)),
            Ask::Run { among, .. } => {
                let commit = among[0].clone();
                assert!(["0", "29"].contains(&&*commit), "{commit}");
                search.observe(&Observation { seen: swapped.run(&commit), commit, fresh: false });
            }
        }
    }
}

/// A topic branch forked where the fault still was; it was mended between there and the good end.
#[test]
fn a_branch_that_has_the_fault_from_before_the_range_is_named_with_what_it_comes_from() {
    let pairs = [("1", vec!["0"]), ("s1", vec!["fork"]), ("s2", vec!["s1"]), ("m", vec!["1", "s2"])];
    let owned = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let history = History::new("0", pairs.map(|(id, parents)| (id.to_owned(), owned(parents))));
    let rules = Rules { confidence: 0.99, runs: 60, fixed: false };
    let mut search = Search::new(history, rules);
    let mut good_end = 0;
    let answer = loop {
        match search.ask() {
            Ask::End(answer) => break answer,
            Ask::Run { among, phase } => {
                let commit = among[0].clone();
                good_end += u32::from(commit == "0");
                let seen = if ["0", "1"].contains(&&*commit) { Seen::Clean } else { Seen::Fault };
                search.observe(&Observation { commit, seen, fresh: phase == Phase::Proof });
            }
        }
    };
    assert_eq!(answer, Answer::Ends(WrongEnds::Inherited("s1".to_owned(), "fork".to_owned())));
    assert!(good_end < 10, "the good end was clean each time, and was run {good_end} times");
}

#[test]
fn what_git_was_told_is_believed() {
    let world = World::line(100, 42, 1.0, 3);
    let mut search = Search::new(world.history.clone(), world.rules);
    for (commit, seen) in [("40", Seen::ToldClean), ("44", Seen::ToldFaulty), ("43", Seen::ToldSkip)] {
        search.observe(&Observation { commit: commit.to_owned(), seen, fresh: false });
    }
    let mut tested = Vec::new();
    let answer = loop {
        match search.ask() {
            Ask::End(answer) => break answer,
            Ask::Run { among, phase } => {
                let commit = among[0].clone();
                if phase == Phase::Search {
                    tested.push(commit.clone());
                }
                let seen = world.run(&commit);
                search.observe(&Observation { commit, seen, fresh: phase == Phase::Proof });
            }
        }
    };
    assert!(tested.iter().all(|it| ["41", "42"].contains(&it.as_str())), "{tested:?}");
    assert!(matches!(answer, Answer::Found { commits, .. } if commits == [42]));
}
