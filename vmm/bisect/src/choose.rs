//! Which commit to look at next.
//!
//! The one that halves what is in doubt. The line of first parents comes first, and a merge's other branches only where they tell
//! much more: who reads along sees merges named before their commits.

use crate::{belief::Belief, history::History};
use std::collections::HashMap;

/// The line of first parents is kept to while it tells this part of what the best commit of all would.
const FIRST_PARENTS: f64 = 0.6;
/// Commits that are nearly as good as the best are equally good: then what is cheapest to build decides.
const EQUALLY: f64 = 0.85;
/// In longer histories only lines are looked at: to look at every commit takes the square of this.
const SHORT: usize = 4000;
/// In those, merges within merges that are looked into.
const DEPTH: usize = 8;

/// Commits that are equally good to look at, the best first; empty where none tells more than `least` (a probability).
/// `testable` says of which something can be learnt, `bad_luck` names those that can't be built.
pub(crate) fn choose(
    history: &History,
    belief: &Belief,
    testable: &dyn Fn(usize) -> bool,
    bad_luck: &[usize],
    least: f64,
) -> Vec<usize> {
    let chooser = Chooser { history, belief, testable, bad_luck };
    let tells = |found: &Vec<Scored>| found.first().map_or(0.0, |best| best.score);
    let mut found = chooser.line(history.new_end());
    if history.len() <= SHORT {
        let all = chooser.all();
        if tells(&found) < tells(&all) * FIRST_PARENTS {
            found = all;
        }
    } else {
        found = chooser.branches(found, history.new_end(), DEPTH);
    }
    found.retain(|it| it.tells > least);
    let Some(best) = found.first().map(|it| it.score) else { return Vec::new() };
    found.iter().take_while(|it| it.score >= best * EQUALLY).map(|it| it.commit).collect()
}

#[derive(Clone, Copy)]
struct Scored {
    commit: usize,
    /// The smaller of the two parts that it tells apart.
    tells: f64,
    /// The same, less near commits that could not be built: their neighbours mostly can't either.
    score: f64,
}

struct Chooser<'a> {
    history: &'a History,
    belief: &'a Belief,
    testable: &'a dyn Fn(usize) -> bool,
    bad_luck: &'a [usize],
}

impl Chooser<'_> {
    /// All commits, the best first.
    fn all(&self) -> Vec<Scored> {
        let mass = |commit: usize| {
            let mut mass = 0.0;
            self.history
                .add_reach(&mut self.history.empty_set(), commit, |new| mass += self.belief.weights[new]);
            mass
        };
        let all: Vec<usize> = (0..self.history.len()).collect();
        self.scored(&all, mass)
    }

    /// The commits of a line of first parents, the best first.
    fn line(&self, from: usize) -> Vec<Scored> {
        let line = self.history.first_parents(from);
        let masses = self.masses(&line);
        let of: HashMap<usize, f64> = line.iter().copied().zip(masses).collect();
        self.scored(&line, |commit| of[&commit])
    }

    /// How much of the belief is in each commit of a line and all that it comes from.
    fn masses(&self, line: &[usize]) -> Vec<f64> {
        let mut set = self.history.empty_set();
        let (mut mass, mut masses) = (0.0, vec![0.0; line.len()]);
        for (at, commit) in line.iter().enumerate().rev() {
            self.history.add_reach(&mut set, *commit, |new| mass += self.belief.weights[new]);
            masses[at] = mass;
        }
        masses
    }

    fn scored(&self, line: &[usize], mass: impl Fn(usize) -> f64) -> Vec<Scored> {
        let bad_luck: Vec<usize> = (0..line.len()).filter(|at| self.bad_luck.contains(&line[*at])).collect();
        let scored = |(at, commit): (usize, &usize)| {
            let mass = mass(*commit);
            let tells = mass.min(1.0 - mass);
            Scored { commit: *commit, tells, score: tells * luck(&bad_luck, at) }
        };
        let mut found: Vec<Scored> =
            line.iter().enumerate().filter(|(_, commit)| (self.testable)(**commit)).map(scored).collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found
    }

    /// What a line found, or, where most of what is in doubt came by one merge, what that one's other branches find.
    fn branches(&self, found: Vec<Scored>, from: usize, depth: usize) -> Vec<Scored> {
        const POOR: f64 = 0.15;
        if depth == 0 || found.first().is_some_and(|best| best.tells >= POOR) {
            return found;
        }
        let line = self.history.first_parents(from);
        let masses = self.masses(&line);
        // What a merge brings is between it and its first parent.
        let brings = |at: usize| masses[at] - masses.get(at + 1).copied().unwrap_or(0.0);
        let largest = (0..line.len()).max_by(|a, b| brings(*a).total_cmp(&brings(*b)));
        let parents = largest.map(|at| &self.history.commit(line[at]).parents[..]).unwrap_or_default();
        parents.iter().skip(1).fold(found, |found, parent| {
            let branch = self.branches(self.line(*parent), *parent, depth - 1);
            let better = branch.first().map(|it| it.score) > found.first().map(|it| it.score);
            if better { branch } else { found }
        })
    }
}

/// Between 0 and 1; small near those that had bad luck.
fn luck(bad_luck: &[usize], at: usize) -> f64 {
    match bad_luck.iter().map(|it| it.abs_diff(at)).min() {
        Some(distance) => distance as f64 / (distance as f64 + 2.0),
        None => 1.0,
    }
}
