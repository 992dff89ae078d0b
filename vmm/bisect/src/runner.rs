//! Runs commits with real builds and real guests.

use crate::{
    brought::Brought,
    drive::{Build, Ran, Runner, Start},
    history::History,
    relevance,
    sign::Sign,
    subject::{Places, Subject},
};
use base::{
    cache::{self, Cache, Kind},
    wanted::Wanted,
};
use harness::{Options, Session};
use judge::Judged;
use kernel::Looked;
use report::{Reporter, Reporters};
use scenario::Scenario;
use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
    fs, io,
    rc::Rc,
};

/// Builds and runs.
pub struct RealRunner {
    /// The scenario, as the user gave it.
    pub scenario: Scenario,
    /// What the history is of.
    subject: Subject,
    /// The kernel that is asked for otherwise.
    pub wanted: Wanted,
    /// How to run; without a kernel.
    pub options: Options,
    /// Where everything is kept.
    pub cache: Cache,
    /// What is ours of it.
    pub places: Places,
    /// What has to stay as it is while commits are compared.
    pub(crate) brought: Option<Brought>,
    session: Option<Session>,
    /// The kernels that ran, by commit and build: they need no look at the source any more.
    kernels: HashMap<(String, Build), String>,
    /// What builds at both ends looked at, once both are known.
    looked: Looked,
    /// Of the proof: what the build folder is of, the folders, and the kernels.
    fresh: Fresh,
}

#[derive(Debug, Default)]
struct Fresh {
    commit: Option<String>,
    slots: BTreeSet<String>,
    kernels: BTreeSet<String>,
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
        let (session, kernels) = (None, HashMap::new());
        let (looked, fresh, brought) = (Looked::default(), Fresh::default(), None);
        Self { scenario, subject, wanted, options, cache, places, brought, session, kernels, looked, fresh }
    }

    /// Goes on with another history. A commit of it is another one than that of the same name in the last, and so is its kernel.
    pub fn turn_to(&mut self, subject: Subject) {
        self.subject = subject;
        self.kernels.clear();
        self.fresh.commit = None;
    }

    /// Has the next build begin with nothing, unless it is of the same commit as the last one.
    fn begin_afresh(&mut self, commit: &str, scenario: &Scenario) -> Result<(), harness::Abort> {
        if matches!(self.subject, Subject::Modules(_)) || self.fresh.commit.as_deref() == Some(commit) {
            return Ok(());
        }
        if let Some(slot) = harness::kernel::slot(&scenario.kernel, &scenario.path)? {
            let _lock = self.cache.lock(&slot, "a build folder of the proof")?;
            cache::remove(&self.cache.work(&slot))?;
            self.fresh.slots.insert(slot);
        }
        self.fresh.commit = Some(commit.to_owned());
        Ok(())
    }

    /// Removes what only this bisection has a use for: trees of gigabytes, and kernels of the proof.
    ///
    /// # Errors
    /// The cache can't be written.
    pub fn clean_up(&mut self) -> Result<(), harness::Abort> {
        let Fresh { slots, kernels, .. } = std::mem::take(&mut self.fresh);
        for slot in slots {
            cache::remove(&self.cache.work(&slot))?;
            // How many steps it took, which tells nothing of another one.
            drop(fs::remove_file(self.cache.work(&format!("{slot}.steps"))));
        }
        kernels.iter().try_for_each(|hash| harness::kernel::forget(hash))?;
        Ok(cache::remove(&self.places.work)?)
    }

    fn session(&mut self) -> Result<&mut Session, harness::Abort> {
        if self.session.is_none() {
            self.session = Some(Session::open(self.options.clone())?);
        }
        Ok(self.session.as_mut().expect("it was just made"))
    }

    fn repository(&self) -> Option<&crate::git::Repository> {
        match &self.subject {
            Subject::Kernel(repository) | Subject::Modules(repository) => Some(repository),
            Subject::Series(_) | Subject::Config { .. } => None,
        }
    }
}

impl Runner for RealRunner {
    fn run(&mut self, commit: &str, build: Build, start: Start) -> Ran {
        let not_run = |sign| Ran { sign, built: false, kernel: None };
        let modules = matches!(self.subject, Subject::Modules(_));
        let key = (commit.to_owned(), build);
        let there = |hash: &&String| self.cache.find(Kind::Kernel, hash).is_some();
        let built = self.kernels.get(&key).filter(there).filter(|_| !modules);
        let mut scenario = match built {
            Some(hash) => {
                let kernel = Wanted { kernel: Some(hash.clone()), ..Wanted::default() };
                Scenario { kernel, ..self.scenario.clone() }
            }
            None => match self.subject.at(commit, build, &self.scenario, &self.wanted, &self.places) {
                Ok(scenario) => scenario,
                Err(sign) => return not_run(*sign),
            },
        };
        // Each kernel would have a saved machine of its own, so that all runs of one commit had a single boot's luck.
        scenario.machine.cold |= start == Start::Boot || !modules;
        if build == Build::Fresh
            && scenario.kernel.kernel.is_none()
            && let Err(abort) = self.begin_afresh(commit, &scenario)
        {
            return not_run(Sign::without_run(abort.verdict, &abort.why));
        }
        let watched = Rc::new(RefCell::new(Watched::default()));
        let mut reporters = Reporters::default();
        reporters.add(Watcher(Rc::clone(&watched)));
        let report = match self.session() {
            Ok(session) => session.run(&scenario, &mut reporters),
            Err(abort) => return not_run(Sign::without_run(abort.verdict, &abort.why)),
        };
        let Watched { kernel, built } = watched.take();
        if let Some(kernel) = &kernel {
            self.kernels.insert(key, kernel.clone());
        }
        if build == Build::Fresh && !modules {
            self.fresh.kernels.extend(kernel.clone());
        }
        let sign = Sign::of(&report);
        let known = self.repository().and_then(|repository| repository.top.as_ref());
        let sign = match known {
            Some(top) => sign.renamed(&self.places.tree(build), &top.display().to_string()),
            None => sign,
        };
        Ran { sign, built, kernel }
    }

    fn changed(&mut self) -> Result<Option<String>, harness::Abort> {
        self.brought.as_ref().map_or(Ok(None), Brought::changed)
    }

    fn renew(&mut self) {
        self.session = None;
    }

    fn work(&mut self, from: Option<&str>, to: &str) -> u64 {
        let (Some(repository), Some(from)) = (self.repository(), from) else { return 0 };
        let objects = |file: &String| match self.looked.files.get(file) {
            Some(objects) => u64::from(*objects),
            // Of nothing known, each file counts as one object.
            None => u64::from(self.looked.files.is_empty() || relevance::matters(&self.looked, file)),
        };
        repository.differing(from, to).iter().map(objects).sum()
    }

    fn same(&mut self, history: &History, kernels: [Option<String>; 2]) -> Option<HashSet<String>> {
        let looked = kernels.map(|hash| Looked::of_kernel(&self.cache.place(Kind::Kernel, &hash?)));
        if let [Some(old), Some(new)] = looked {
            self.looked = old.and(new);
        }
        let none = Some(HashSet::new());
        let Some(repository) = self.repository() else { return none };
        let changes = match repository.changes(history) {
            Ok(changes) => changes,
            Err(error) => {
                base::progress::note(&format!(
                    "all commits count, as it is not known what each changes: {error}"
                ));
                return None;
            }
        };
        let matters: Box<dyn Fn(&str) -> bool> = match &self.subject {
            Subject::Kernel(_) if !self.looked.files.is_empty() => {
                Box::new(|file| relevance::matters(&self.looked, file))
            }
            Subject::Modules(_) => {
                let ends = [History::OLD, history.new_end()].map(|end| &*history.commit(end).id);
                let folders = self.subject.folders(&self.scenario, &self.places, ends);
                let Some(folders) = folders else { return none };
                Box::new(move |file| relevance::matters_to_modules(&folders, file))
            }
            _ => return none,
        };
        // A commit without files is one that only says something.
        let same = |id: &String| changes.get(id).is_some_and(|files| !files.iter().any(|file| matters(file)));
        Some((1..history.len()).map(|place| history.commit(place).id.clone()).filter(same).collect())
    }
}
