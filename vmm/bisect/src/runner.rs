//! Runs commits with real builds and real guests.

use crate::{
    drive::{Build, Runner},
    history::History,
    relevance::Looked,
    sign::Sign,
    subject::{Places, Subject},
};
use base::{
    cache::{Cache, Kind},
    wanted::Wanted,
};
use harness::{Options, Session};
use judge::Judged;
use kernel::Manifest;
use report::{Reporter, Reporters};
use scenario::Scenario;
use std::{cell::RefCell, collections::HashSet, fs, io, path::Path, rc::Rc};

/// Builds and runs.
pub struct RealRunner {
    /// The scenario, as the user gave it.
    pub scenario: Scenario,
    /// What the history is of.
    pub subject: Subject,
    /// The kernel that is asked for otherwise.
    pub wanted: Wanted,
    /// How to run; without a kernel.
    pub options: Options,
    /// Where everything is kept.
    pub cache: Cache,
    /// What is ours of it.
    pub places: Places,
    session: Option<Session>,
    looked: Looked,
}

/// What is wanted of a run besides its report.
#[derive(Default)]
struct Watched {
    kernel: Option<String>,
    built: bool,
}

struct Watcher(Rc<RefCell<Watched>>);

impl Reporter for Watcher {
    fn event(&mut self, judged: &Judged) -> io::Result<()> {
        let mut watched = self.0.borrow_mut();
        match judged {
            Judged::Kernel(kernel) => {
                watched.kernel = Some(kernel.hash.clone());
                watched.built |= !kernel.cached;
            }
            Judged::Modules(builds, _) => watched.built |= builds.iter().any(|build| !build.cached),
            _ => {}
        }
        Ok(())
    }
}

impl RealRunner {
    /// Nothing is built and no host started yet.
    pub fn new(
        scenario: Scenario,
        subject: Subject,
        wanted: Wanted,
        options: Options,
        cache: Cache,
        places: Places,
    ) -> Self {
        Self { scenario, subject, wanted, options, cache, places, session: None, looked: Looked::default() }
    }

    fn session(&mut self) -> Result<&mut Session, harness::Abort> {
        if self.session.is_none() {
            self.session = Some(Session::open(self.options.clone())?);
        }
        Ok(self.session.as_mut().expect("it was just made"))
    }

    /// Remembers what a kernel's build looked at.
    fn look(&mut self, hash: &str) {
        let file = self.cache.place(Kind::Kernel, hash).join("kernel.json");
        let manifest = fs::read(file).ok().and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
        if let Some(slot) = manifest.map(|it| it.facts.ingredients.slot).filter(|slot| !slot.is_empty()) {
            self.looked.add(&self.cache.work(&slot).join("build"));
        }
    }

    fn repository(&self) -> Option<&crate::git::Repository> {
        match &self.subject {
            Subject::Kernel(repository) | Subject::Modules(repository) => Some(repository),
            Subject::Series(_) | Subject::Config { .. } => None,
        }
    }
}

impl Runner for RealRunner {
    fn run(&mut self, commit: &str, build: Build) -> (Sign, bool) {
        let scenario = match self.subject.at(commit, build, &self.scenario, &self.wanted, &self.places) {
            Ok(scenario) => scenario,
            Err(sign) => return (sign, false),
        };
        let watched = Rc::new(RefCell::new(Watched::default()));
        let mut reporters = Reporters::default();
        reporters.add(Watcher(Rc::clone(&watched)));
        let report = match self.session() {
            Ok(session) => session.run(&scenario, &mut reporters),
            Err(abort) => return (Sign::without_run(abort.verdict, &abort.why), false),
        };
        let Watched { kernel, built } = watched.take();
        if let (Some(hash), Subject::Kernel(_), Build::Kept) = (kernel, &self.subject, build) {
            self.look(&hash);
        }
        let sign = Sign::of(&report);
        let known = self.repository().and_then(|repository| repository.top.as_ref());
        let sign = match known {
            Some(top) => sign.renamed(&self.places.tree(build), &top.display().to_string()),
            None => sign,
        };
        (sign, built)
    }

    fn renew(&mut self) {
        self.session = None;
    }

    fn work(&mut self, from: Option<&str>, to: &str) -> u64 {
        match (self.repository(), from) {
            (Some(repository), Some(from)) => repository.distance(from, to),
            _ => 0,
        }
    }

    fn same(&mut self, history: &History) -> HashSet<String> {
        let none = HashSet::new();
        let Some(changes) = self.repository().and_then(|it| it.changes(history).ok()) else { return none };
        let matters: Box<dyn Fn(&str) -> bool> = match &self.subject {
            Subject::Kernel(_) if !self.looked.is_empty() => Box::new(|file| self.looked.matters(file)),
            Subject::Modules(_) => {
                let Some(folders) = self.subject.folders(&self.scenario, &self.places) else { return none };
                Box::new(move |file| folders.iter().any(|folder| Path::new(file).starts_with(folder)))
            }
            _ => return none,
        };
        // A commit without files is one that only says something.
        let same = |id: &String| changes.get(id).is_none_or(|files| !files.iter().any(|file| matters(file)));
        (1..history.len()).map(|place| history.commit(place).id.clone()).filter(same).collect()
    }
}
