//! `vmm bisect`: from what the user asks for to a report.

use crate::{
    drive::{Build, Drive, Progress, Runner, Stop},
    git::{About, GitError, Repository},
    history::History,
    replay::{self, Told},
    report::{Report, Skipped},
    runner::RealRunner,
    search::{Answer, Proof, Rules, Search, Seen, WrongEnds},
    sign::{Judged, Rule, Sign},
    state::{Asked, Entry, FORMAT, State},
    subject::{self, Places, Subject},
};
use base::{
    cache::{self, Cache, CacheError},
    wanted::Wanted,
};
use harness::{Abort, Options};
use kernel::sources::hex;
use scenario::Scenario;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// What is searched.
#[derive(Clone, Debug)]
pub enum Which {
    /// The kernel's history, in this repository.
    Kernel(PathBuf),
    /// Modules'.
    Modules(PathBuf),
    /// A series of patches.
    Series(PathBuf),
    /// The symbols of a configuration.
    Config {
        /// A whole one without the fault.
        good: PathBuf,
        /// One with it.
        bad: PathBuf,
    },
}

/// What the user asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is searched.
    pub which: Which,
    /// A revision without the fault.
    pub good: Option<String>,
    /// One with it.
    pub bad: Option<String>,
    /// What `git bisect log` printed, to go on from there.
    pub replay: Option<String>,
    /// How sure, how often, and which way round.
    pub rules: Rules,
    /// What is bad.
    pub rule: Rule,
    /// The kernel that is asked for otherwise.
    pub wanted: Wanted,
    /// How to run.
    pub options: Options,
    /// The newest commit is tried without the culprit.
    pub revert: bool,
    /// What was found out before is forgotten.
    pub restart: bool,
    /// What was typed.
    pub command: String,
}

/// Something that a person who waits wants to know.
pub type Say<'a> = &'a mut dyn FnMut(&str);

/// Searches, and reports.
///
/// # Errors
/// Bad input, this machine, or the user's wish; what was found out is kept, and the same request goes on.
pub fn bisect(request: &Request, scenario: &Scenario, say: Say<'_>) -> Result<Report, Abort> {
    let cache = Cache::open()?;
    let folder = scenario.path.parent().unwrap_or(Path::new(""));
    let wanted = request.wanted.clone().or(&scenario.kernel.clone().relative_to(folder));
    let range = Range::of(request, say)?;
    if !range.subject.concerns(scenario) {
        return Err(Abort::input(format!(
            "none of the modules of {} is in the repository that --modules names, so no commit of it can matter",
            scenario.path.display()
        )));
    }
    let asked = Asked {
        format: FORMAT,
        what: range.what.to_owned(),
        place: range.place.clone(),
        scenario: std::path::absolute(&scenario.path).unwrap_or_else(|_| scenario.path.clone()),
        new: range.new.clone(),
        old: range.olds.first().cloned().unwrap_or_default(),
        fixed: range.rules.fixed,
        command: request.command.clone(),
    };
    let key = key(&asked, request, scenario, &wanted);
    let _lock = cache.lock(&format!("bisect-{key}"), "the same answer: it is the same bisection")?;
    let places = Places { work: cache.work(&format!("bisect-{key}")) };
    let path = states(&cache).join(&key);
    if request.restart {
        drop(std::fs::remove_file(&path));
        cache::remove(&places.work)?;
    }
    let mut state = State::open(&path, &asked)?;
    match state.entries.len() {
        0 => say(&format!("state      {}", path.display())),
        known => say(&format!("state      {}, which has {known} runs already", path.display())),
    }
    if state.entries.is_empty() {
        for observation in replay::observations(&range.told) {
            state.add(Entry { observation, sign: None, infra: Vec::new(), built: false, seconds: 0.0 })?;
        }
    }
    let options = Options { guests_mib: scenario.machine.memory_mib, ..request.options.clone() };
    let mut runner =
        RealRunner::new(scenario.clone(), range.subject.clone(), wanted, options, cache, places.clone());
    let found = match range.search(request, state, &mut runner, say)? {
        Ended::Found(found) => *found,
        Ended::Wrong(wrong, old) => return Err(range.wrong(&wrong, &old)),
    };
    let mut report = found.report(&range, scenario, request);
    more_symbols(&range, &found, &path, &asked, request, &mut runner, say, &mut report)?;
    if let ([culprit], true) = (&report.commits[..], request.revert) {
        let culprit = culprit.commit.clone();
        report.revert = Some(revert(&range, &culprit, request, &found, &mut runner)?);
    }
    // Trees of gigabytes; the state stays.
    cache::remove(&places.work)?;
    Ok(report)
}

/// A symbol alone may not be enough: others that stand before it may have to be there as well. So those are searched with it, until what
/// was found makes the fault by itself.
#[allow(clippy::too_many_arguments, reason = "it is a part of the function above")]
fn more_symbols(
    range: &Range,
    found: &Outcome,
    path: &Path,
    asked: &Asked,
    request: &Request,
    runner: &mut RealRunner,
    say: Say<'_>,
    report: &mut Report,
) -> Result<(), Abort> {
    let Subject::Config { without, lines, .. } = &range.subject else { return Ok(()) };
    let (mut always, mut lines) = (Vec::new(), lines.clone());
    let line = |found: &Outcome| match found.commits[..] {
        [one] => Some(found.search.history().commit(one).id.clone()),
        _ => None,
    };
    let mut next = line(found);
    while let Some(culprit) = next.take() {
        lines.truncate(lines.iter().position(|line| *line == culprit).unwrap_or(0));
        always.push(culprit);
        let Some(last) = lines.last() else { break };
        let subject =
            Subject::Config { without: without.clone(), always: always.clone(), lines: lines.clone() };
        let range = Range { new: last.clone(), subject: subject.clone(), ..range.clone() };
        runner.subject = subject;
        say(&format!("together   is {} enough?", always.join(" with ")));
        let state = State::open(&path.with_extension(always.len().to_string()), asked)?;
        match range.search(request, state, runner, say)? {
            // It is.
            Ended::Wrong(..) => break,
            Ended::Found(more) => {
                let of_more = more.report(&range, &runner.scenario, request);
                report.commits.extend(of_more.commits);
                report.odds *= of_more.odds;
                report.runs += of_more.runs;
                report.builds += of_more.builds;
                report.seconds += of_more.seconds;
                report.skipped.extend(of_more.skipped);
                report.together = true;
                next = line(&more);
            }
        }
    }
    Ok(())
}

/// Where states are kept.
fn states(cache: &Cache) -> PathBuf {
    cache.root().join("bisect")
}

/// The log of a state, or of the one that was written last, for `git bisect replay`.
///
/// # Errors
/// There is none.
pub fn log(file: Option<&Path>) -> Result<String, Abort> {
    let file = match file {
        Some(file) => file.to_owned(),
        None => {
            let folder = states(&Cache::open()?);
            let time = |path: &PathBuf| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
            let all = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
            all.max_by_key(time).ok_or_else(|| Abort::input("there was no bisection yet"))?
        }
    };
    let (asked, entries) = State::read(&file).map_err(|error| Abort::input(format!("failed to {error}")))?;
    if asked.what != "commits" {
        return Err(Abort::input(format!(
            "{} is of {}, which git does not know",
            file.display(),
            asked.what
        )));
    }
    Ok(replay::write(&asked, &entries))
}

fn key(asked: &Asked, request: &Request, scenario: &Scenario, wanted: &Wanted) -> String {
    let rule = match &request.rule {
        Rule::Same => "same".to_owned(),
        Rule::Any => "any".to_owned(),
        Rule::If(pattern) => format!("if {pattern}"),
    };
    let text = scenario.source.text();
    let Asked { what, place, new, old, fixed, .. } = asked;
    // How sure the answer has to be, and how often something is run, may be changed on the way.
    let all = format!("{what}\n{}\n{new}\n{old}\n{fixed}\n{rule}\n{wanted:?}\n{text}", place.display());
    hex(Sha256::digest(all))[..12].to_owned()
}

/// What is searched, resolved.
#[derive(Clone)]
struct Range {
    what: &'static str,
    subject: Subject,
    place: PathBuf,
    repository: Option<Repository>,
    new: String,
    /// Old ends, to be tried in this order until one is what it should be.
    olds: Vec<String>,
    /// The user left it to us.
    goes_back: bool,
    /// The old end that the user named is elsewhere; this is where they parted.
    parted: Option<String>,
    rules: Rules,
    told: Told,
}

fn input(error: GitError) -> Abort {
    match error {
        GitError::Input(why) => Abort::input(why),
        GitError::Machine(error) => error.into(),
    }
}

impl Range {
    fn of(request: &Request, say: Say<'_>) -> Result<Self, Abort> {
        match &request.which {
            Which::Series(folder) => Self::of_series(folder, request),
            Which::Config { good, bad } => Self::of_symbols(good, bad, request),
            Which::Kernel(place) => Self::of_commits(place, Subject::Kernel, request, say),
            Which::Modules(place) => Self::of_commits(place, Subject::Modules, request, say),
        }
    }

    fn of_series(folder: &Path, request: &Request) -> Result<Self, Abort> {
        let folder = std::path::absolute(folder).map_err(CacheError::io("find", folder))?;
        let patches =
            subject::patches(&folder).map_err(|error| Abort::input(format!("failed to {error}")))?;
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
        })
    }

    fn of_symbols(good: &Path, bad: &Path, request: &Request) -> Result<Self, Abort> {
        let read = |path: &Path| {
            let cannot = |error| {
                Abort::input(format!("failed to read {}: {}", path.display(), base::text::plain(&error)))
            };
            std::fs::read_to_string(path).map_err(cannot)
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
        let new = match new.as_ref().map(resolve).transpose()?.or_else(|| told.new.last().cloned()) {
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
        })
    }

    fn history(&self, old: &str) -> Result<History, Abort> {
        match (&self.repository, &self.subject) {
            (Some(repository), _) => {
                let not = self.parted.as_deref().unwrap_or(old);
                repository.history(not, &self.new, old).map_err(input)
            }
            (None, Subject::Series(folder)) => {
                let patches = subject::patches(folder)?;
                Ok(History::line(std::iter::once(old.to_owned()).chain(patches)))
            }
            (None, Subject::Config { lines, .. }) => {
                Ok(History::line(std::iter::once(old.to_owned()).chain(lines.iter().cloned())))
            }
            (None, _) => unreachable!("a subject without a repository is a series or a configuration"),
        }
    }

    fn about(&self, commit: &str) -> About {
        match &self.repository {
            Some(repository) => repository.about(commit),
            None => About { commit: commit.to_owned(), ..About::default() },
        }
    }

    /// In a line.
    fn name(&self, commit: &str) -> String {
        match &self.repository {
            Some(repository) => {
                let about = repository.about(commit);
                format!("{} {}", about.short, about.subject)
            }
            None => commit.to_owned(),
        }
    }

    fn search(
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
            state = drive.state;
            let (search, answer) = result.map_err(|stop| self.stopped(stop, &state))?;
            let further = self.goes_back && at + 1 < self.olds.len();
            match &answer {
                Answer::Ends(WrongEnds::Both) if further => continue,
                Answer::Ends(WrongEnds::Untestable(end, _)) if further && end == old => continue,
                Answer::Ends(wrong) => return Ok(Ended::Wrong(wrong.clone(), old.clone())),
                Answer::Found { commits, odds, proof } => {
                    let (commits, odds, proof) = (commits.clone(), *odds, proof.clone());
                    return Ok(Ended::Found(Box::new(Outcome { search, commits, odds, proof, state, all })));
                }
            }
        }
        Err(Abort::input(format!(
            "{all} commits back the fault is there as well; name a good commit by --good"
        )))
    }

    fn stopped(&self, stop: Stop, state: &State) -> Abort {
        let kept =
            format!("what was found out is in {}, and the same command goes on", state.path().display());
        match stop {
            Stop::Interrupted => Abort::interrupted(),
            Stop::State(error) => error.into(),
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

    fn wrong(&self, wrong: &WrongEnds, old: &str) -> Abort {
        let [faulty, clean] = if self.rules.fixed { [old, &self.new] } else { [&*self.new, old] };
        let (faulty, clean) = (self.name(faulty), self.name(clean));
        Abort::input(match wrong {
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
            WrongEnds::Untestable(end, why) => {
                format!("an end of the search can't be judged: {}: {why}", self.name(end))
            }
        })
    }
}

/// How a search ended.
enum Ended {
    Found(Box<Outcome>),
    /// The ends are wrong; the old one is named.
    Wrong(WrongEnds, String),
}

/// What a search found.
struct Outcome {
    search: Search,
    commits: Vec<usize>,
    odds: f64,
    proof: Proof,
    state: State,
    all: usize,
}

impl Outcome {
    /// The fault, and what there is without it.
    fn signs(&self) -> (String, String) {
        let of = |seen: Seen| {
            let entry = self
                .state
                .entries
                .iter()
                .find(|entry| entry.observation.seen == seen && entry.sign.is_some());
            entry.and_then(|entry| entry.sign.as_ref()).map_or("pass".to_owned(), Sign::line)
        };
        (of(Seen::Fault), of(Seen::Clean))
    }

    fn report(&self, range: &Range, scenario: &Scenario, request: &Request) -> Report {
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
        let fixes = match &commits[..] {
            [about] if !range.rules.fixed && !about.short.is_empty() => {
                Some(format!("Fixes: {} (\"{}\")", about.short, about.subject))
            }
            _ => None,
        };
        let runs = self.state.entries.iter().filter(|entry| entry.sign.is_some());
        Report {
            scenario: scenario.path.display().to_string(),
            fixed: range.rules.fixed,
            odds: self.odds,
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
            together: false,
            fixes,
            command: request.command.clone(),
            commits,
        }
    }
}

/// Runs the newest commit without the culprit.
fn revert(
    range: &Range,
    culprit: &str,
    request: &Request,
    found: &Outcome,
    runner: &mut RealRunner,
) -> Result<String, Abort> {
    let Some(repository) = &range.repository else {
        return Ok("only commits can be reverted".to_owned());
    };
    let objects = runner.places.work.join("objects");
    let (with, tree) = match repository.reverted(&range.new, culprit, &objects) {
        Ok(reverted) => reverted,
        Err(GitError::Input(why)) => return Ok(format!("can't be: {why}")),
        Err(error) => return Err(input(error)),
    };
    runner.subject = match &range.subject {
        Subject::Kernel(_) => Subject::Kernel(with),
        _ => Subject::Modules(with),
    };
    let known = found.state.entries.iter().find(|entry| entry.observation.seen == Seen::Fault);
    let known = known.and_then(|entry| entry.sign.clone());
    let runs = found.search.convincing(found.commits[0]);
    for _ in 0..runs {
        let (sign, _) = runner.run(&tree, Build::Fresh);
        match request.rule.judge(&sign, known.as_ref()) {
            Judged::Seen(Seen::Clean) => {}
            Judged::Seen(Seen::Fault) => return Ok("the fault is still there".to_owned()),
            Judged::Seen(_) => return Ok(format!("something else is wrong: {}", sign.line())),
            Judged::Infra(why) => return Err(Abort::infra(why)),
            Judged::Interrupted => return Err(Abort::interrupted()),
        }
    }
    Ok(format!("the fault is gone ({runs} runs)"))
}

fn short(commit: &str) -> &str {
    &commit[..12.min(commit.len())]
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
