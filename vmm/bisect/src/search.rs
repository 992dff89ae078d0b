//! The search itself: from what was seen to what has to be looked at next, and to the answer.
//!
//! It keeps nothing but what was seen, in any order. So a search that was stopped goes on when the same is told again.

use crate::{
    belief::{Belief, Tally, faulty, runs_needed},
    choose::choose,
    history::{History, Set},
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What a run at a commit came to, or what is known of the commit without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// The fault that is looked for.
    Fault,
    /// Nothing wrong.
    Clean,
    /// Something else is wrong, which may hide the fault.
    Other(String),
    /// It can't be run at all: it does not build, or lacks what the scenario needs.
    Untestable(String),
    /// Somebody else has decided: git, in a bisection that is taken over.
    ToldFaulty,
    /// The same, without the fault.
    ToldClean,
    /// The same, that can't be judged.
    ToldSkip,
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The commit's name.
    pub commit: String,
    /// What.
    pub seen: Seen,
    /// On a build that was made for the proof.
    pub fresh: bool,
}

/// What the user asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// How sure the answer has to be, below 1.
    pub confidence: f64,
    /// At most so many runs that tell something at one commit.
    pub runs: u32,
    /// The fault is at the old end, and the commit is looked for that mended it.
    pub fixed: bool,
}

/// Why something is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Is the fault there, and how often does it show itself?
    FaultyEnd,
    /// Is it not there?
    CleanEnd,
    /// Which commit?
    Search,
    /// Is the answer right?
    Proof,
}

/// What has to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Run one of these, whichever is the least work; they are equally good.
    Run {
        /// Their names; never empty.
        among: Vec<String>,
        /// Why.
        phase: Phase,
    },
    /// Nothing: this is the end.
    End(Answer),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// One of these did it, and they can't be told apart. One alone is the culprit.
    Found {
        /// Their places in the history.
        commits: Vec<usize>,
        /// The probability that it is among them.
        odds: f64,
        /// What the proof came to.
        proof: Proof,
    },
    /// The ends are not what the user said.
    Ends(WrongEnds),
}

/// What came of the proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The culprit has the change on a fresh build, its parents have not.
    Proven,
    /// The fault was not seen again where it should be.
    NotAgain(String),
    /// That one can't be built or run.
    Untestable(String),
    /// There is not one culprit.
    None,
}

/// What is wrong with the ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrongEnds {
    /// The fault is not where it should be, in so many runs.
    NotThere(u32),
    /// It is where it should not be.
    Both,
    /// Each end is what the other should be.
    Swapped,
    /// A commit of the range has the fault from one that it comes from and that is older than the range: these two, by their names.
    Inherited(String, String),
    /// An end, by its name, can't be run, and why.
    Untestable(String, String),
}

/// At the faulty end the fault has to be seen so often, if it can be: how often it shows itself is told by that.
const MEASURE: u32 = 3;
/// While the fault was not seen at the faulty end, nobody knows what it looks like. What goes wrong at the other end then tells of mixed-up
/// ends only if it does so this often.
const REPEATED: u32 = 2;
/// While searching, a commit is left with so much doubt that it has the fault after all; what is left of it is cleared up once it
/// matters.
pub(crate) const SETTLED: f64 = 0.05;
/// While more commits than this are likely, the search has not come far enough to ask which are alike.
const MANY: usize = 256;
/// So many runs with other faults, and nothing else, make a commit one that can't be judged.
const OTHERS: u32 = 3;

#[derive(Clone, Debug, Default)]
struct Record {
    tally: Tally,
    others: u32,
    untestable: Option<String>,
}

impl Record {
    fn spoilt(&self) -> bool {
        self.untestable.is_some() || self.others >= OTHERS && self.others > self.tally.runs()
    }
}

/// A search in progress.
#[derive(Clone, Debug)]
pub struct Search {
    history: History,
    rules: Rules,
    records: HashMap<String, Record>,
    reach: HashMap<usize, Set>,
    last: Option<String>,
}

impl Search {
    /// A search that has seen nothing yet.
    pub fn new(history: History, rules: Rules) -> Self {
        Self { history, rules, records: HashMap::new(), reach: HashMap::new(), last: None }
    }

    /// The commits.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Takes in what was seen.
    pub fn observe(&mut self, seen: &Observation) {
        let place = self.history.place(&seen.commit);
        self.reach.entry(place).or_insert_with(|| self.history.reach(place));
        let record = self.records.entry(seen.commit.clone()).or_default();
        let fresh = u32::from(seen.fresh);
        match &seen.seen {
            Seen::Fault => {
                record.tally.hits += 1;
                record.tally.fresh_hits += fresh;
            }
            Seen::Clean => {
                record.tally.clean += 1;
                record.tally.fresh_clean += fresh;
            }
            Seen::Other(_) => record.others += 1,
            Seen::Untestable(why) => record.untestable = Some(why.clone()),
            Seen::ToldFaulty => record.tally.told = Some(true),
            Seen::ToldClean => record.tally.told = Some(false),
            Seen::ToldSkip => record.untestable = Some("git was told to skip it".to_owned()),
        }
        self.last = Some(seen.commit.clone());
    }

    /// What to do next.
    pub fn ask(&self) -> Ask {
        let Rules { confidence, runs, fixed } = self.rules;
        let ends = [self.name(self.history.new_end()), self.name(History::OLD)];
        let [faulty_end, clean_end] = if fixed { [ends[1], ends[0]] } else { ends };
        let (at_faulty, at_clean) = (self.end(faulty_end), self.end(clean_end));
        let run = |commit: &str, phase| Ask::Run { among: vec![commit.to_owned()], phase };
        for (name, record) in [(faulty_end, &at_faulty), (clean_end, &at_clean)] {
            if record.spoilt() && record.tally.hits == 0 {
                let why = record.untestable.clone().unwrap_or_else(|| "another fault".to_owned());
                return Ask::End(Answer::Ends(WrongEnds::Untestable(name.to_owned(), why)));
            }
        }
        let (faulty_tally, clean_tally) = (at_faulty.tally, at_clean.tally);
        if faulty_tally.hits == 0 && clean_tally.hits >= REPEATED {
            return Ask::End(Answer::Ends(WrongEnds::Swapped));
        }
        if faulty_tally.hits < MEASURE && faulty_tally.runs() < runs && !at_faulty.spoilt() {
            // Who mixed up the ends should not have to wait for long. One failure there may be anything.
            let unclear = clean_tally.runs() == 0 || clean_tally.hits > 0 && clean_tally.runs() < MEASURE;
            let look_there = faulty_tally.hits == 0 && faulty_tally.runs() >= MEASURE && unclear;
            return match look_there {
                true => run(clean_end, Phase::CleanEnd),
                false => run(faulty_end, Phase::FaultyEnd),
            };
        }
        if faulty_tally.hits == 0 {
            return Ask::End(Answer::Ends(WrongEnds::NotThere(faulty_tally.runs())));
        }
        if clean_tally.hits > 0 {
            return Ask::End(Answer::Ends(WrongEnds::Both));
        }
        if let Some(wrong) = self.inherited() {
            return Ask::End(Answer::Ends(wrong));
        }
        let belief = self.belief();
        let clean_place = self.history.place(clean_end);
        let doubt = belief.faulty(&self.history.reach(clean_place), fixed);
        if clean_tally.runs() == 0 || clean_tally.runs() < runs && doubt > (1.0 - confidence) / 2.0 {
            return run(clean_end, Phase::CleanEnd);
        }
        self.inner(&belief)
    }

    /// A branch that began before the clean end may have the fault from there, and it was mended on the way to that end.
    fn inherited(&self) -> Option<WrongEnds> {
        let is_outside = |id: &&String| !self.rules.fixed && !self.history.knows(id);
        let has_fault = |id: &&String| self.records.get(*id).is_some_and(|it| it.tally.has_fault());
        (1..self.history.len()).map(|place| self.history.commit(place)).find_map(|commit| {
            let parent = commit.own_parents.iter().filter(is_outside).find(has_fault)?;
            Some(WrongEnds::Inherited(commit.id.clone(), parent.clone()))
        })
    }

    /// Once the ends are known.
    fn inner(&self, belief: &Belief) -> Ask {
        let best = belief.best();
        let odds_of = |commits: &[usize]| commits.iter().map(|place| belief.weights[*place]).sum::<f64>();
        let mut commits = self.alike(best, belief, MANY);
        let mut odds = odds_of(&commits);
        let doubt = 1.0 - self.rules.confidence;
        if odds < 1.0 - doubt {
            if let Some(last) = self.unsettled(belief) {
                return Ask::Run { among: vec![last], phase: Phase::Search };
            }
            let testable = |place: usize| {
                let open = |record: &Record| {
                    let tally = record.tally;
                    !record.spoilt()
                        && !tally.has_fault()
                        && tally.told.is_none()
                        && tally.clean < self.rules.runs
                };
                self.records.get(self.name(place)).is_none_or(open)
            };
            let bad_luck = self.spoilt();
            let among = choose(&self.history, belief, &testable, &bad_luck, doubt / 20.0);
            if !among.is_empty() {
                let among = among.iter().map(|place| self.name(*place).to_owned()).collect();
                return Ask::Run { among, phase: Phase::Search };
            }
            // Nothing is left to ask, so this is the answer, however many it names.
            commits = self.alike(best, belief, usize::MAX);
            odds = odds_of(&commits);
        }
        match commits[..] {
            [History::OLD] => Ask::End(Answer::Ends(if self.rules.fixed {
                WrongEnds::NotThere(self.record(self.name(History::OLD)).tally.runs())
            } else {
                WrongEnds::Both
            })),
            [culprit] => match self.proof(culprit) {
                Ok(proof) => Ask::End(Answer::Found { commits, odds, proof }),
                Err(next) => Ask::Run { among: vec![next], phase: Phase::Proof },
            },
            _ => Ask::End(Answer::Found { commits, odds, proof: Proof::None }),
        }
    }

    /// The commit that was looked at last, if that is not done.
    fn unsettled(&self, belief: &Belief) -> Option<String> {
        let last = self.last.clone()?;
        let record = self.record(&last);
        let place = self.history.place(&last);
        let open = !record.tally.has_fault()
            && record.tally.told.is_none()
            && !record.spoilt()
            && record.tally.clean < self.rules.runs
            && self.name(place) == last
            && belief.faulty(self.reach.get(&place)?, self.rules.fixed) > SETTLED;
        open.then_some(last)
    }

    /// The culprit and its parents have to be run again, by their own names: what comes next, or what came of it.
    fn proof(&self, culprit: usize) -> Result<Proof, String> {
        let commit = self.history.commit(culprit);
        let with = faulty(true, self.rules.fixed);
        let all = std::iter::once((&commit.id, with)).chain(commit.own_parents.iter().map(|id| (id, !with)));
        for (id, should) in all {
            let record = self.record(id);
            let Tally { fresh_hits, fresh_clean, .. } = record.tally;
            let fresh = fresh_hits + fresh_clean;
            let done = if should { fresh_hits > 0 } else { fresh_clean >= self.convincing(culprit) };
            match () {
                () if done => {}
                () if record.spoilt() => return Ok(Proof::Untestable(id.clone())),
                () if should && fresh >= self.rules.runs => return Ok(Proof::NotAgain(id.clone())),
                () => return Err(id.clone()),
            }
        }
        Ok(Proof::Proven)
    }

    /// So many clean runs show that the fault is not there, if this is the culprit.
    pub fn convincing(&self, culprit: usize) -> u32 {
        let (hits, missed) = self.rate(culprit);
        runs_needed(hits, missed, SETTLED).min(self.rules.runs)
    }

    /// In how many runs the fault was seen, and in how many it was not though it is there, if this is the culprit.
    pub fn rate(&self, culprit: usize) -> (u32, u32) {
        let mut rate = (0, 0);
        for (id, record) in &self.records {
            let place = self.history.place(id);
            rate.0 += record.tally.hits;
            if self.reach.get(&place).is_some_and(|reach| faulty(reach.contains(culprit), self.rules.fixed)) {
                rate.1 += record.tally.clean;
            }
        }
        rate
    }

    /// The commits that no commit which can be run tells from this one; it alone if more than `bound` are likely.
    fn alike(&self, best: usize, belief: &Belief, bound: usize) -> Vec<usize> {
        let live: Vec<usize> =
            (0..self.history.len()).filter(|it| belief.weights[*it] > belief.weights[best] / 1e3).collect();
        if live.len() > bound {
            return vec![best];
        }
        let spoilt = self.spoilt();
        let tells: Vec<usize> = (0..self.history.len()).filter(|place| !spoilt.contains(place)).collect();
        let after = |place: usize| {
            let mut has = vec![false; self.history.len()];
            for it in place..has.len() {
                has[it] = it == place || self.history.commit(it).parents.iter().any(|parent| has[*parent]);
            }
            tells.iter().map(|it| has[*it]).collect::<Vec<bool>>()
        };
        let of_best = after(best);
        live.into_iter().filter(|place| *place == best || after(*place) == of_best).collect()
    }

    fn belief(&self) -> Belief {
        let mut seen: HashMap<usize, Tally> = HashMap::new();
        for (id, record) in &self.records {
            let tally = seen.entry(self.history.place(id)).or_default();
            tally.hits += record.tally.hits;
            tally.clean += record.tally.clean;
            tally.told = tally.told.or(record.tally.told);
        }
        let seen: Vec<_> = seen
            .into_iter()
            .filter_map(|(place, tally)| Some((place, tally, self.reach.get(&place)?.clone())))
            .collect();
        Belief::new(&self.history, &seen, self.rules.fixed)
    }

    /// Those that can't be judged, by their places.
    fn spoilt(&self) -> Vec<usize> {
        let spoilt = self.records.iter().filter(|(_, record)| record.spoilt()).map(|(id, _)| id);
        spoilt
            .filter(|id| self.history.knows(id))
            .map(|id| (self.history.place(id), id))
            .filter(|(place, id)| self.name(*place) == *id)
            .map(|(place, _)| place)
            .collect()
    }

    fn name(&self, place: usize) -> &str {
        &self.history.commit(place).id
    }

    /// What was seen at an end, by whatever commit that counts as one with it.
    fn end(&self, id: &str) -> Record {
        let place = self.history.place(id);
        let there = |(id, _): &(&String, &Record)| self.history.knows(id) && self.history.place(id) == place;
        self.records.iter().filter(there).fold(Record::default(), |mut all, (_, record)| {
            all.tally.hits += record.tally.hits;
            all.tally.clean += record.tally.clean;
            all.others += record.others;
            all.untestable = all.untestable.or_else(|| record.untestable.clone());
            all
        })
    }

    fn record(&self, id: &str) -> Record {
        self.records.get(id).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "search_test.rs"]
mod tests;
