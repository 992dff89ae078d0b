//! What is searched, with its ends: revisions resolved, and said if they make no sense.

use crate::{
    command::{Request, Say, Which},
    drive::{Drive, Progress, Runner, Stop},
    git::{About, GitError, Repository},
    history::History,
    outcome::{Ended, Outcome},
    replay::{self, Told},
    search::{Answer, Rules, Seen, WrongEnds},
    sign::Sign,
    state::{Entry, State},
    subject::{self, Subject},
};
use base::cache::CacheError;
use harness::Abort;
use scenario::Scenario;
use std::path::{Path, PathBuf};

/// What is searched, resolved.
#[derive(Clone)]
pub(crate) struct Range {
    pub what: &'static str,
    pub subject: Subject,
    pub place: PathBuf,
    pub repository: Option<Repository>,
    pub new: String,
    /// Old ends, to be tried in this order until one is what it should be.
    pub olds: Vec<String>,
    /// The user left it to us.
    pub goes_back: bool,
    /// The old end that the user named is elsewhere; this is where they parted.
    pub parted: Option<String>,
    pub rules: Rules,
    pub told: Told,
    /// Nobody named the new end: it is where HEAD is now.
    pub follows_head: bool,
}

pub(crate) fn input(error: GitError) -> Abort {
    match error {
        GitError::Input(why) => Abort::input(why),
        GitError::Machine(error) => error.into(),
    }
}

impl Range {
    pub fn of(request: &Request, scenario: &Scenario, say: Say<'_>) -> Result<Self, Abort> {
        match &request.which {
            Which::Series(folder) => {
                // By the same names as for a build.
                let folder = harness::kernel::series(&folder.display().to_string(), &scenario.path)?;
                Self::of_series(&folder, request)
            }
            Which::Config { good, bad } => Self::of_symbols(good, bad, request),
            Which::Kernel(place) => Self::of_commits(place, Subject::Kernel, request, say),
            Which::Modules(place) => Self::of_commits(place, Subject::Modules, request, say),
        }
    }

    fn of_series(folder: &Path, request: &Request) -> Result<Self, Abort> {
        let folder = std::path::absolute(folder).map_err(CacheError::io("find", folder))?;
        let patches = subject::patches(&folder).map_err(kernel::KernelError::from)?;
        let Some(last) = patches.last() else {
            return Err(Abort::input(format!("{} names no patch", folder.join("series").display())));
        };
        Ok(Self {
            what: "patches",
            new: last.clone(),
            olds: vec![subject::NO_PATCH.to_owned()],
            subject: Subject::Series(folder.clone()),
            place: folder,
            repository: None,
            goes_back: false,
            parted: None,
            rules: request.rules,
            told: Told::default(),
            follows_head: false,
        })
    }

    fn of_symbols(good: &Path, bad: &Path, request: &Request) -> Result<Self, Abort> {
        let read = |path: &Path| {
            let cannot = |error| {
                Abort::input(format!("failed to read {}: {}", path.display(), base::text::plain(&error)))
            };
            base::input::read_text(path).map_err(cannot)
        };
        let (without, with) = (read(good)?, read(bad)?);
        let difference = kernel::config::difference(&without, &with);
        let lines: Vec<String> = difference.lines().map(str::to_owned).collect();
        let Some(last) = lines.last() else {
            return Err(Abort::input(format!(
                "{} and {} are the same configuration",
                good.display(),
                bad.display()
            )));
        };
        Ok(Self {
            what: "symbols",
            new: last.clone(),
            olds: vec![subject::NO_LINE.to_owned()],
            subject: Subject::Config { without, always: Vec::new(), lines },
            place: std::path::absolute(bad).map_err(CacheError::io("find", bad))?,
            repository: None,
            goes_back: false,
            parted: None,
            rules: request.rules,
            told: Told::default(),
            follows_head: false,
        })
    }

    fn of_commits(
        place: &Path,
        subject: impl FnOnce(Repository) -> Subject,
        request: &Request,
        say: Say<'_>,
    ) -> Result<Self, Abort> {
        let repository = Repository::open(place).map_err(input)?;
        let resolve = |revision: &String| repository.resolve(revision).map_err(input);
        let mut rules = request.rules;
        let mut told = match &request.replay {
            Some(log) => replay::read(log).map_err(|error| Abort::input(error.to_string()))?,
            None => Told::default(),
        };
        rules.fixed |= told.fixed;
        told.fixed = rules.fixed;
        for list in [&mut told.new, &mut told.old, &mut told.skipped] {
            *list = list.iter().map(resolve).collect::<Result<_, _>>()?;
        }
        let (new, old) =
            if rules.fixed { (&request.good, &request.bad) } else { (&request.bad, &request.good) };
        if let Some(both) = told.new.iter().find(|commit| told.old.contains(commit)) {
            return Err(contradictory(&format!(
                "it says of {} that it is good, and that it is bad",
                short(both)
            )));
        }
        // Who was told to skip a commit may have been told more of it later.
        let Told { new: with, old: without, skipped, .. } = &mut told;
        skipped.retain(|commit| !with.contains(commit) && !without.contains(commit));
        let new = new.as_ref().map(resolve).transpose()?.or_else(|| told.new.last().cloned());
        let follows_head = new.is_none();
        let new = match new {
            Some(new) => new,
            None => resolve(&"HEAD".to_owned())?,
        };
        let old = old.as_ref().map(resolve).transpose()?.or_else(|| told.old.first().cloned());
        if repository.is_dirty() {
            say(
                "note       your work tree has changes that are not committed; no commit has them, so they are not tried",
            );
        }
        let (mut parted, mut goes_back) = (None, false);
        let olds = match old {
            Some(old) if old == new => {
                return Err(Abort::input(format!("both ends are the same commit, {}", short(&new))));
            }
            Some(old) => {
                let common = repository.common(&old, &new).map_err(input)?;
                if common[0] == new {
                    let [new_name, old_name] = if rules.fixed { ["good", "bad"] } else { ["bad", "good"] };
                    return Err(Abort::input(format!(
                        "the {new_name} commit {} is an ancestor of the {old_name} one, {}: have they been swapped? If the fault was mended in between, say --fixed",
                        short(&new),
                        short(&old)
                    )));
                }
                if common[0] != old {
                    let at = short(&common[0]);
                    say(&format!(
                        "note       {} is no ancestor of {}; the search begins where they parted, at {at}",
                        short(&old),
                        short(&new)
                    ));
                    parted = Some(old);
                }
                vec![common[0].clone()]
            }
            None if rules.fixed => {
                return Err(Abort::input("--fixed needs --bad REVISION: a commit that still has the fault"));
            }
            None => {
                goes_back = true;
                repository.back(&new).map_err(input)?
            }
        };
        if olds.is_empty() {
            return Err(Abort::input(format!("{} has no commit before it", short(&new))));
        }
        Ok(Self {
            what: "commits",
            subject: subject(repository.clone()),
            place: std::fs::canonicalize(place).unwrap_or_else(|_| place.to_owned()),
            repository: Some(repository),
            new,
            olds,
            goes_back,
            parted,
            rules,
            told,
            follows_head,
        })
    }

    /// Refuses what git was told if it can't be true, by itself or beside what was seen.
    pub fn refuse_contradictions(&self, entries: &[Entry]) -> Result<(), Abort> {
        let Some(old) = self.olds.first() else { return Ok(()) };
        let Some([without, with]) = replay::contradiction(&self.history(old)?, entries, self.rules.fixed)
        else {
            return Ok(());
        };
        let [is_without, is_with] = if self.rules.fixed { ["bad", "good"] } else { ["good", "bad"] };
        Err(contradictory(&format!(
            "{} is to be {is_without}, and it is, or comes from, {}, which is to be {is_with}",
            self.name(&without),
            self.name(&with)
        )))
    }

    /// The versions of the kernels at the ends, by which patches are for them; of other histories there are none.
    pub fn versions(&self) -> Vec<String> {
        self.olds.iter().chain([&self.new]).filter_map(|commit| self.version(commit)).collect()
    }

    /// That of the kernel at a commit.
    pub fn version(&self, commit: &str) -> Option<String> {
        let Subject::Kernel(repository) = &self.subject else { return None };
        kernel::sources::series_in(&repository.file(commit, "Makefile")?)
    }

    /// What has to be said of a clone that does not have all of the range.
    fn cut_off(&self, history: &History) -> Option<String> {
        let cut_off = self.repository.as_ref()?.cut_off();
        let at =
            (1..history.len()).map(|place| &history.commit(place).id).find(|id| cut_off.contains(*id))?;
        Some(format!(
            "note       it is a shallow clone, and what is behind {} was never fetched; if the answer is there, `git fetch --unshallow` is \
             needed for it",
            short(at)
        ))
    }

    fn history(&self, old: &str) -> Result<History, Abort> {
        match (&self.repository, &self.subject) {
            (Some(repository), _) => {
                let not = self.parted.as_deref().unwrap_or(old);
                repository.history(not, &self.new, old).map_err(input)
            }
            (None, Subject::Series(folder)) => {
                let patches = subject::patches(folder).map_err(kernel::KernelError::from)?;
                Ok(History::line(std::iter::once(old.to_owned()).chain(patches)))
            }
            (None, Subject::Config { lines, .. }) => {
                Ok(History::line(std::iter::once(old.to_owned()).chain(lines.iter().cloned())))
            }
            (None, _) => unreachable!("a subject without a repository is a series or a configuration"),
        }
    }

    pub fn about(&self, commit: &str) -> About {
        match &self.repository {
            Some(repository) => repository.about(commit),
            None => About { commit: commit.to_owned(), ..About::default() },
        }
    }

    /// In a line.
    pub fn name(&self, commit: &str) -> String {
        match &self.repository {
            Some(repository) => {
                let about = repository.about(commit);
                match about.short.is_empty() {
                    // It was never fetched.
                    true => short(commit).to_owned(),
                    false => format!("{} {}", about.short, about.subject),
                }
            }
            None => commit.to_owned(),
        }
    }

    pub fn search(
        &self,
        request: &Request,
        mut state: State,
        runner: &mut dyn Runner,
        say: Say<'_>,
    ) -> Result<Ended, Abort> {
        let mut all = 0;
        for (at, old) in self.olds.iter().enumerate() {
            let history = self.history(old)?;
            all = history.len() - 1;
            if let Some(note) = self.cut_off(&history) {
                say(&note);
            }
            let mut tell = |progress: &Progress<'_>| {
                say(&self.line(progress));
            };
            let mut drive = Drive {
                history,
                whole: None,
                rules: self.rules,
                rule: request.rule.clone(),
                state,
                runner,
                tell: &mut tell,
            };
            let result = drive.run();
            let known = drive.known();
            state = drive.state;
            let (search, answer) = result.map_err(|stop| self.stopped(stop, &state))?;
            let further = self.goes_back && at + 1 < self.olds.len();
            match &answer {
                Answer::Ends(WrongEnds::Both | WrongEnds::Inherited(..)) if further => continue,
                Answer::Ends(WrongEnds::Untestable(end, _)) if further && end == old => continue,
                Answer::Ends(wrong) => return Ok(Ended::Wrong(wrong.clone(), old.clone())),
                Answer::Found { commits, odds, proof } => {
                    let (commits, odds, proof) = (commits.clone(), *odds, proof.clone());
                    let found = Outcome { search, commits, odds, proof, state, known, all };
                    return Ok(Ended::Found(Box::new(found)));
                }
            }
        }
        Err(Abort::input(format!(
            "{all} commits back the fault is there as well; name a good commit by --good{}",
            self.repository.as_ref().map(Repository::shallow).unwrap_or_default()
        )))
    }

    pub fn stopped(&self, stop: Stop, state: &State) -> Abort {
        let kept =
            format!("what was found out is in {}, and the same command goes on", state.path().display());
        match stop {
            Stop::Interrupted => Abort::interrupted(),
            Stop::State(error) => error.into(),
            Stop::Changed(what) => Abort::input(format!(
                "{what}, while it was searched, and what was found out before is of what it was\n  put it back, and {kept}; as it is now, the same command begins anew"
            )),
            Stop::Infra(why) => Abort::infra(format!("{why}\n  {kept}")),
        }
    }

    fn line(&self, progress: &Progress<'_>) -> String {
        match progress {
            Progress::Again(_, why) => format!("again      this machine's fault: {}", first_line(why)),
            Progress::Narrowed { all, left } => {
                format!("matter     {left} of {all} commits; the others give the same build as their parents")
            }
            Progress::Ended(entry) => {
                let word = match (&entry.observation.seen, entry.observation.fresh) {
                    (Seen::Fault, false) => "bad",
                    (Seen::Clean, false) => "good",
                    (Seen::Fault, true) => "bad still",
                    (Seen::Clean, true) => "good still",
                    (Seen::Other(_), _) => "other",
                    _ => "skip",
                };
                let came_to = entry.sign.as_ref().map_or_else(String::new, Sign::line);
                let came_to = if came_to == "pass" { String::new() } else { format!("  {came_to}") };
                // "good still" is as long as the column.
                format!("{word:<11}{}{came_to}", self.name(&entry.observation.commit))
            }
        }
    }

    pub fn wrong(&self, wrong: &WrongEnds, old: &str) -> Abort {
        let [faulty, clean] = if self.rules.fixed { [old, &self.new] } else { [&*self.new, old] };
        let (faulty, clean) = (self.name(faulty), self.name(clean));
        let what = match wrong {
            WrongEnds::NotThere(runs) => format!(
                "the fault is not at the bad end, {faulty}: {runs} runs there showed nothing; if it is rare, raise --runs"
            ),
            WrongEnds::Both if self.parted.is_some() => format!(
                "the fault is at both ends: it is there where they parted already, at {clean}, so it was mended on the good side; look for that with --fixed"
            ),
            WrongEnds::Both => {
                format!("the fault is at both ends: it is in {clean} as well; name an older good commit")
            }
            WrongEnds::Swapped => format!(
                "the bad end, {faulty}, shows no fault, and the good end, {clean}, has one: have they been swapped? If it was mended in between, say --fixed"
            ),
            WrongEnds::Inherited(commit, parent) => format!(
                "the fault is older than the search: {} has it from {}, which it comes from, and it was mended on the way to {clean}, but not on that branch; search for it with --bad {} and an older --good",
                self.name(commit),
                self.name(parent),
                short(parent)
            ),
            WrongEnds::Untestable(end, why) => {
                format!("an end of the search can't be judged: {}: {why}", self.name(end))
            }
        };
        Abort::input(format!(
            "{what}\n  what was seen is kept, and decides the next time as well; --restart forgets it"
        ))
    }
}

fn contradictory(what: &str) -> Abort {
    Abort::input(format!(
        "--replay can't be gone on from: {what}; mend the log, or forget by --restart what was seen before"
    ))
}

#[cfg(test)]
impl Range {
    /// Of symbols, without anything around them.
    pub fn of_lines(lines: &[&str]) -> Self {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        Self {
            what: "symbols",
            new: lines[lines.len() - 1].clone(),
            olds: vec![subject::NO_LINE.to_owned()],
            subject: Subject::Config { without: String::new(), always: Vec::new(), lines },
            place: PathBuf::new(),
            repository: None,
            goes_back: false,
            parted: None,
            rules: Rules { confidence: 0.99, runs: 25, fixed: false },
            told: Told::default(),
            follows_head: false,
        }
    }
}

fn short(commit: &str) -> &str {
    &commit[..12.min(commit.len())]
}

pub(crate) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
