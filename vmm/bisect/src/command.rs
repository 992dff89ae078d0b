//! `vmm bisect`: from what the user asks for to a report.

use crate::{
    drive::{Build, Runner, Start},
    git::GitError,
    outcome::{Ended, Outcome},
    range::{Range, input},
    replay,
    report::Report,
    runner::RealRunner,
    search::{Rules, Seen},
    sign::{Judged, Rule},
    state::{Asked, Entry, FORMAT, State},
    subject::{Places, Subject},
};
use base::{
    cache::{self, Cache},
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
            state.add(Entry::told(observation))?;
        }
    }
    let options = Options { guests_mib: scenario.machine.memory_mib, ..request.options.clone() };
    let mut runner = RealRunner::new(scenario.clone(), range.subject.clone(), wanted, options, cache, places);
    let found = match range.search(request, state, &mut runner, say)? {
        Ended::Found(found) => *found,
        Ended::Wrong(wrong, old) => {
            runner.clean_up()?;
            return Err(range.wrong(&wrong, &old));
        }
    };
    let mut report = found.report(&range, scenario, request);
    more_symbols(&range, &found, &path, &asked, request, &mut runner, say, &mut report)?;
    if let ([culprit], true) = (&report.commits[..], request.revert) {
        let culprit = culprit.commit.clone();
        report.revert = Some(revert(&range, &culprit, request, &found, &mut runner)?);
    }
    // The state stays.
    runner.clean_up()?;
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
    let booted = found.state.entries.iter().any(|entry| entry.booted);
    let start = if booted { Start::Boot } else { Start::Saved };
    for _ in 0..runs {
        let sign = runner.run(&tree, Build::Fresh, start).sign;
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
