//! From what a search found to its report.

use crate::{
    command::Request,
    git::About,
    range::Range,
    report::{Report, Skipped},
    search::{Proof, Search, Seen, WrongEnds},
    sign::Sign,
    state::{Entry, State},
};
use scenario::Scenario;

/// How a search ended.
pub(crate) enum Ended {
    Found(Box<Outcome>),
    /// The ends are wrong; the old one is named.
    Wrong(WrongEnds, String),
}

/// What a search found.
pub(crate) struct Outcome {
    pub search: Search,
    pub commits: Vec<usize>,
    pub odds: f64,
    pub proof: Proof,
    pub state: State,
    /// The fault, as it was first seen.
    pub known: Option<Sign>,
    pub all: usize,
}

impl Outcome {
    /// The fault, and what there is without it.
    fn signs(&self) -> (String, String) {
        let line = |sign: Option<&Sign>| sign.map_or("pass".to_owned(), Sign::line);
        let is_clean = |entry: &&Entry| entry.observation.seen == Seen::Clean && entry.sign.is_some();
        let clean = self.state.entries.iter().find(is_clean).and_then(|entry| entry.sign.as_ref());
        (line(self.known.as_ref()), line(clean))
    }

    pub fn report(&self, range: &Range, scenario: &Scenario, request: &Request) -> Report {
        let name = |place: &usize| self.search.history().commit(*place).id.clone();
        let commits: Vec<About> = self.commits.iter().map(|place| range.about(&name(place))).collect();
        let (fault, clean) = self.signs();
        let (before, after) = if range.rules.fixed { (fault, clean) } else { (clean, fault) };
        let (seen, missed) = self.search.rate(self.commits[0]);
        let mut skipped: Vec<Skipped> = Vec::new();
        for Entry { observation, .. } in &self.state.entries {
            let why = match &observation.seen {
                Seen::Untestable(why) => why.clone(),
                Seen::Other(why) => format!("another fault: {why}"),
                Seen::ToldSkip => "git was told to skip it".to_owned(),
                _ => continue,
            };
            let about = range.about(&observation.commit);
            let commit = if about.short.is_empty() { about.commit } else { about.short };
            if !skipped.iter().any(|it| it.commit == commit && it.why == why) {
                skipped.push(Skipped { commit, subject: about.subject, why });
            }
        }
        // Others act on it without a look at the odds.
        let certain = self.proof == Proof::Proven && self.odds >= range.rules.confidence;
        let fixes = match &commits[..] {
            [about] if certain && !range.rules.fixed && !about.short.is_empty() => {
                Some(format!("Fixes: {} (\"{}\")", about.short, about.subject))
            }
            _ => None,
        };
        let runs = self.state.entries.iter().filter(|entry| entry.sign.is_some());
        Report {
            scenario: scenario.path.display().to_string(),
            fixed: range.rules.fixed,
            odds: self.odds,
            certain,
            proof: match &self.proof {
                Proof::Proven => "proven on fresh builds of the commit and its parents".to_owned(),
                Proof::NotAgain(id) => format!("not proven: {} did not show the fault again", range.name(id)),
                Proof::Untestable(id) => format!("not proven: {} can't be judged", range.name(id)),
                Proof::None => "those between can't be judged".to_owned(),
            },
            before,
            after,
            seen,
            missed,
            all: self.all,
            matter: self.search.history().len() - 1,
            builds: runs.clone().filter(|entry| entry.built).count(),
            runs: runs.clone().count(),
            seconds: runs.map(|entry| entry.seconds).sum(),
            skipped,
            revert: None,
            notes: Vec::new(),
            together: false,
            fixes,
            command: request.command.clone(),
            commits,
        }
    }
}
