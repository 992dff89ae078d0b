//! Carries a search out: asks what comes next, has it run, and writes down what came of it.

use crate::{
    belief::{Tally, runs_needed},
    fault::{self, At},
    history::History,
    search::{Answer, Ask, Observation, Phase, Rules, SETTLED, Search, Seen},
    sign::{Judged, Rule, Sign},
    state::{Entry, State},
};
use base::cache::CacheError;
use harness::Abort;
use judge::Verdict;
use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

/// Which build of a commit is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Build {
    /// The one of the search, which begins with what the last one left.
    Kept,
    /// One that has nothing of the search's.
    Fresh,
}

/// How a guest begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From a saved machine, if commits share one: whether a fault shows itself in it is then told by the measure at the faulty end, which
    /// is of the same machine.
    Saved,
    /// It boots.
    Boot,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// For the rule.
    pub sign: Sign,
    /// Something was built.
    pub built: bool,
    /// The kernel that ran, by its hash.
    pub kernel: Option<String>,
}

/// Builds commits and runs the scenario on them.
pub trait Runner {
    /// Runs the scenario once.
    fn run(&mut self, commit: &str, build: Build, start: Start) -> Ran;

    /// What is another one now than it was when the search began, of all that runs have in common.
    ///
    /// # Errors
    /// It can't be read any more.
    fn changed(&mut self) -> Result<Option<String>, Abort>;

    /// Throws away what may be broken of this machine.
    fn renew(&mut self);

    /// How much work the build is, if this one is there already.
    fn work(&mut self, from: Option<&str>, to: &str) -> u64;

    /// Once both ends were run, with these kernels: the commits that give the same build as their parents. Nothing, if that could not be
    /// found out this time.
    fn same(&mut self, history: &History, kernels: [Option<String>; 2]) -> Option<HashSet<String>>;
}

/// What happens, for who looks on.
#[derive(Clone, Debug)]
pub enum Progress<'a> {
    /// What came of it.
    Ended(&'a Entry),
    /// So many commits of all can matter; the others count as one with their parents.
    Narrowed {
        /// All commits between the ends.
        all: usize,
        /// Those that can matter.
        left: usize,
    },
    /// This machine was at fault, and it is tried again.
    Again(&'a str, &'a str),
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Stop {
    /// This machine's fault, time and again.
    Infra(String),
    /// The user's wish.
    Interrupted,
    /// Commits can't be compared any more: this is another one now than when the search began, or can't be read.
    Changed(String),
    /// What was seen can't be written down.
    State(CacheError),
}

/// A run that this machine spoils is tried so often.
const TRIES: u32 = 3;
/// So many runs from a saved machine without the fault, and from then on each guest boots: the fault may need luck at boot.
const UNLUCKY: usize = 3;

/// A search that is being carried out.
pub struct Drive<'a> {
    /// The commits.
    pub history: History,
    /// The same, each by itself: what is searched once it shows that two which counted as one are not.
    pub whole: Option<History>,
    /// What the user asks for.
    pub rules: Rules,
    /// What is looked for.
    pub rule: Rule,
    /// What is known.
    pub state: State,
    /// Who runs it.
    pub runner: &'a mut dyn Runner,
    /// Who looks on.
    pub tell: &'a mut dyn FnMut(&Progress<'_>),
}

impl Drive<'_> {
    /// Goes on to the answer.
    ///
    /// # Errors
    /// See [`Stop`]; all that was seen is in the state.
    pub fn run(&mut self) -> Result<(Search, Answer), Stop> {
        self.narrow();
        let mut search = self.searched();
        loop {
            let (among, phase) = match search.ask() {
                Ask::End(answer) => return Ok((search, answer)),
                Ask::Run { among, phase } => (among, phase),
            };
            if phase == Phase::Search && self.state.same.is_none() {
                let ends = [History::OLD, self.history.new_end()];
                let kernels = ends.map(|end| self.kernel(end));
                match self.runner.same(&self.history, kernels) {
                    Some(same) => self.state.know(same).map_err(Stop::State)?,
                    // It is not written down: who goes on asks again.
                    None => self.state.same = Some(HashSet::new()),
                }
                self.narrow();
                search = self.searched();
                continue;
            }
            let commit = self.cheapest(among);
            let fresh = phase == Phase::Proof;
            let entry = self.once(&commit, fresh)?;
            (self.tell)(&Progress::Ended(&entry));
            let known = self.known();
            search.observe(&entry.observation);
            self.state.add(entry).map_err(Stop::State)?;
            // What was seen before the fault was is then judged by it.
            let is_split = self.whole.is_some() && self.contradiction(&self.observations());
            if is_split || known != self.known() {
                search = self.searched();
            }
        }
    }

    /// Counts as one the commits that are known to give the same build.
    fn narrow(&mut self) {
        let Some(same) = &self.state.same else { return };
        let less = self.history.collapse(|id| same.contains(id));
        if less.len() < self.history.len() {
            let (all, left) = (self.history.len() - 1, less.len() - 1);
            (self.tell)(&Progress::Narrowed { all, left });
            self.whole = Some(std::mem::replace(&mut self.history, less));
        }
    }

    /// A search that knows what the state knows.
    fn searched(&mut self) -> Search {
        self.judge();
        let mut observations = self.observations();
        if self.contradiction(&observations)
            && let Some(whole) = self.whole.take()
        {
            self.history = whole;
            self.judge();
            observations = self.observations();
        }
        let mut search = Search::new(self.history.clone(), self.rules);
        observations.iter().for_each(|observation| search.observe(observation));
        search
    }

    /// What was seen, as far as it says something of the history. Of other commits, nobody could say whether they have the change: git may
    /// have been told of some that it has left behind since.
    fn observations(&self) -> Vec<Observation> {
        let all = self.state.entries.iter().map(|entry| &entry.observation);
        all.filter(|it| self.history.concerns(&it.commit)).cloned().collect()
    }

    /// Has all runs say what they say by the fault that is looked for, as far as that is known by now.
    fn judge(&mut self) {
        let known = self.known();
        fault::judge(&mut self.state.entries, &self.rule, known.as_ref());
    }

    /// Whether commits that count as one were seen to be different: one has the fault, and another did not show it in as many runs as are
    /// needed to see it.
    fn contradiction(&self, observations: &[Observation]) -> bool {
        let mut seen: HashMap<&str, Tally> = HashMap::new();
        for Observation { commit, seen: what, .. } in observations {
            let tally = seen.entry(commit).or_default();
            tally.hits += u32::from(*what == Seen::Fault);
            tally.clean += u32::from(*what == Seen::Clean);
        }
        // What is outside of the range is at the old end, and counts as one with nothing.
        seen.retain(|id, _| self.history.knows(id));
        let with: Vec<_> = seen.iter().filter(|(_, tally)| tally.hits > 0).collect();
        let (hits, missed) =
            with.iter().fold((0, 0), |(hits, missed), (_, it)| (hits + it.hits, missed + it.clean));
        let enough = runs_needed(hits, missed, SETTLED).min(self.rules.runs);
        let places: HashSet<usize> = with.iter().map(|(id, _)| self.history.place(id)).collect();
        seen.iter()
            .any(|(id, it)| it.hits == 0 && it.clean >= enough && places.contains(&self.history.place(id)))
    }

    /// The run in which the fault was first seen.
    fn first_fault(&self) -> Option<&Entry> {
        let ends = [self.history.new_end(), History::OLD];
        let [faulty, clean] = if self.rules.fixed { [ends[1], ends[0]] } else { ends };
        fault::first(&self.state.entries, &self.rule, |commit| match self.history.place(commit) {
            _ if !self.history.knows(commit) => At::Outside,
            place if place == faulty => At::FaultyEnd,
            place if place == clean => At::CleanEnd,
            _ => At::Between,
        })
    }

    /// The fault, as it was first seen.
    pub(crate) fn known(&self) -> Option<Sign> {
        self.first_fault().and_then(|entry| entry.sign.clone())
    }

    /// The kernel that ran at a commit.
    fn kernel(&self, place: usize) -> Option<String> {
        let at = |entry: &&Entry| entry.observation.commit == self.history.commit(place).id;
        self.state.entries.iter().filter(at).find_map(|entry| entry.kernel.clone())
    }

    /// All runs with which the answer is found begin as the first one did that showed the fault.
    fn start(&self) -> Start {
        let runs = || self.state.entries.iter().filter(|entry| entry.sign.is_some());
        match self.first_fault() {
            Some(entry) if entry.booted => Start::Boot,
            Some(_) => Start::Saved,
            None if runs().filter(|entry| entry.observation.seen == Seen::Clean).count() >= UNLUCKY => {
                Start::Boot
            }
            None => Start::Saved,
        }
    }

    fn once(&mut self, commit: &str, fresh: bool) -> Result<Entry, Stop> {
        let build = if fresh { Build::Fresh } else { Build::Kept };
        let (known, start) = (self.known(), self.start());
        let again = &mut |why: &str| (self.tell)(&Progress::Again(commit, why));
        let begin = Instant::now();
        let Tried { seen, ran, infra, built } =
            tried(self.runner, (commit, build, start), &self.rule, known.as_ref(), again)?;
        Ok(Entry {
            observation: Observation { commit: commit.to_owned(), seen, fresh },
            sign: Some(ran.sign),
            infra,
            built,
            booted: start == Start::Boot,
            kernel: ran.kernel,
            seconds: (begin.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        })
    }

    /// Of equally good commits the one that is built soonest.
    fn cheapest(&mut self, among: Vec<String>) -> String {
        /// Git is asked about each.
        const ASKED: usize = 8;
        let from = self.state.entries.iter().rev().find(|entry| !entry.observation.fresh);
        let from = from.map(|entry| entry.observation.commit.clone());
        let mut among = among.into_iter().take(ASKED);
        let first = among.next().unwrap_or_default();
        let mut rest = among.peekable();
        if rest.peek().is_none() {
            return first;
        }
        let mut best = (self.runner.work(from.as_deref(), &first), first);
        for commit in rest {
            let work = self.runner.work(from.as_deref(), &commit);
            if work < best.0 {
                best = (work, commit);
            }
        }
        best.1
    }
}

/// A run that says something of its commit.
pub(crate) struct Tried {
    pub seen: Seen,
    pub ran: Ran,
    /// This machine's faults before it.
    pub infra: Vec<String>,
    /// Something was built for it, or for one of those.
    pub built: bool,
}

/// Runs a commit until this machine does not spoil it; `again` is told of each time that it did.
pub(crate) fn tried(
    runner: &mut dyn Runner,
    (commit, build, start): (&str, Build, Start),
    rule: &Rule,
    known: Option<&Sign>,
    again: &mut dyn FnMut(&str),
) -> Result<Tried, Stop> {
    let (mut infra, mut built) = (Vec::new(), false);
    loop {
        let ran = runner.run(commit, build, start);
        built |= ran.built;
        match rule.judge(&ran.sign, known) {
            Judged::Seen(seen) => {
                return match runner.changed() {
                    Ok(None) => Ok(Tried { seen, ran, infra, built }),
                    Ok(Some(what)) => Err(Stop::Changed(format!("{what} was changed"))),
                    Err(abort) if abort.verdict == Verdict::Infra => Err(Stop::Infra(abort.why)),
                    Err(abort) if abort.verdict == Verdict::Interrupted => Err(Stop::Interrupted),
                    Err(abort) => Err(Stop::Changed(abort.why)),
                };
            }
            Judged::Interrupted => return Err(Stop::Interrupted),
            Judged::Infra(why) => {
                infra.push(why.clone());
                if infra.len() as u32 >= TRIES {
                    return Err(Stop::Infra(why));
                }
                again(&why);
                runner.renew();
            }
        }
    }
}

#[cfg(test)]
#[path = "drive_test.rs"]
mod tests;
