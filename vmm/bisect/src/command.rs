//! `vmm bisect`: from what the user asks for to a report.

use crate::{
    after,
    brought::Brought,
    key,
    outcome::Ended,
    range::Range,
    replay,
    report::Report,
    runner::RealRunner,
    search::Rules,
    sign::Rule,
    state::{Asked, Entry, FORMAT, State},
    subject::{Places, Subject},
};
use base::{
    cache::{self, Cache},
    wanted::Wanted,
};
use harness::{Abort, Options};
use kernel::KernelError;
use scenario::{Scenario, Settings};
use std::{
    fs,
    path::{Path, PathBuf},
};

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
    /// Values that were given to the scenario's parameters.
    pub settings: Settings,
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

/// What came of it.
#[derive(Debug)]
pub struct Answered {
    /// The answer.
    pub report: Report,
    /// Why something that was to follow it is missing.
    pub stopped: Option<Abort>,
}

/// Searches, and reports.
///
/// # Errors
/// Bad input, this machine, or the user's wish; what was found out is kept, and the same request goes on.
pub fn bisect(request: &Request, scenario: &Scenario, say: Say<'_>) -> Result<Answered, Abort> {
    let cache = Cache::open()?;
    let mut range = Range::of(request, scenario, say)?;
    let scenario = &range.subject.placed(scenario);
    if !range.subject.concerns(scenario) {
        return Err(Abort::input(format!(
            "none of the modules of {} is in the repository that --modules names, so no commit of it can matter",
            scenario.path.display()
        )));
    }
    let wanted = wanted(request, scenario, &range.subject)?;
    if range.goes_back && wanted.series.is_none() {
        let newest = range.version(&range.new);
        range.olds = alike(&range.olds, newest.as_deref(), |commit| range.version(commit), &scenario.path)?;
    }
    let wanted = of_one_kind(wanted, &range.versions(), &scenario.path, say)?;
    let asked = Asked {
        format: FORMAT,
        what: range.what.to_owned(),
        place: range.place.clone(),
        scenario: std::path::absolute(&scenario.path).unwrap_or_else(|_| scenario.path.clone()),
        new: range.new.clone(),
        old: range.olds.first().cloned().unwrap_or_default(),
        fixed: range.rules.fixed,
        rule: request.rule.clone(),
        command: request.command.clone(),
        drawn: scenario.drawn.clone(),
    };
    let steady = key::kernel(&range.subject, &asked, &wanted);
    let brought = Brought::of(scenario, &range.subject, steady.clone())?;
    let key = key::key(&asked, request, &range, scenario, &steady, &brought)?;
    let _lock = cache.lock(&format!("bisect-{key}"), "the same answer: it is the same bisection")?;
    let places = Places { work: cache.work(&format!("bisect-{key}")) };
    let path = states(&cache).join(&key);
    if request.restart {
        forget(&path);
        cache::remove(&places.work)?;
    }
    range.subject = range.subject.kept(&range.new, &places).map_err(KernelError::from)?;
    let state = opened(&path, &asked, &range, say)?;
    let scenario = &range.subject.placed(&as_begun(scenario, request, &state, say)?);
    let options = Options { guests_mib: scenario.machine.memory_mib, ..request.options.clone() };
    // With the values that were drawn first, it may bring others.
    let brought = Brought::of(scenario, &range.subject, steady)?;
    let mut runner = RealRunner::new(scenario.clone(), range.subject.clone(), wanted, options, cache, places);
    runner.brought = Some(brought);
    let mut found = match range.search(request, state, &mut runner, say)? {
        Ended::Found(found) => *found,
        Ended::Wrong(wrong, old) => {
            let wrong = range.wrong(&wrong, &old);
            return Err(runner.clean_up().err().unwrap_or(wrong));
        }
    };
    found.state.answer()?;
    let mut report = found.report(&range, scenario, request);
    let mut after = after::After { range: &range, found: &found, request, runner: &mut runner, say };
    let stopped = after.answer(&path, &asked, &mut report).err();
    // The state stays. Who goes on needs what was checked out.
    let stopped = if stopped.is_none() { runner.clean_up().err() } else { stopped };
    Ok(Answered { report, stopped })
}

/// The kernel that is asked for, where it is not what is searched. Its paths are absolute: the scenario's folder is not looked into twice.
fn wanted(request: &Request, scenario: &Scenario, subject: &Subject) -> Result<Wanted, Abort> {
    let is_named = request.wanted.kernel.is_some() || request.wanted.source.is_some();
    let own = match &scenario.matrix[..] {
        _ if is_named || matches!(subject, Subject::Kernel(_)) => &scenario.kernel,
        [] => &scenario.kernel,
        [one] => one,
        several => {
            return Err(Abort::input(format!(
                "{} is for {} kernels, and one is searched with; name it by --kernel",
                scenario.path.display(),
                several.len()
            )));
        }
    };
    let folder = scenario.path.parent().unwrap_or(Path::new(""));
    Ok(request.wanted.clone().absolute().or(&own.clone().relative_to(folder).absolute()))
}

/// The same for all commits of a kernel's history: a version that is raised would bring other patches and another compiler.
fn of_one_kind(wanted: Wanted, versions: &[String], near: &Path, say: Say<'_>) -> Result<Wanted, Abort> {
    let Some(newest) = versions.last().filter(|_| wanted.series.is_none()) else { return Ok(wanted) };
    let (series, llvm) = harness::kernel::of_history(versions, near)?;
    let llvm = wanted.llvm.clone().or(llvm);
    if let Some(other) = versions.iter().find(|version| *version != newest) {
        let compiler = if llvm.is_some() { "clang" } else { "gcc" };
        say(&format!(
            "note       the ends are Linux {other} and {newest}: so that commits differ by nothing else, no series of patches is put on \
             any, and {compiler} builds all; --series and --llvm name others"
        ));
    }
    Ok(Wanted { series: Some(series), llvm, ..wanted })
}

/// Those old ends that the search goes back to by itself: all whose kernels are built as the new end's is, for one of another version would
/// have all commits built otherwise. If there is none, all.
fn alike(
    olds: &[String],
    newest: Option<&str>,
    version: impl Fn(&str) -> Option<String>,
    near: &Path,
) -> Result<Vec<String>, Abort> {
    let Some(newest) = newest else { return Ok(olds.to_vec()) };
    let built = |old: Option<String>| {
        let versions: Vec<String> = old.into_iter().chain([newest.to_owned()]).collect();
        harness::kernel::of_history(&versions, near)
    };
    let own = built(None)?;
    let mut alike = Vec::new();
    for old in olds {
        if built(version(old))? == own {
            alike.push(old.clone());
        }
    }
    Ok(if alike.is_empty() { olds.to_vec() } else { alike })
}

/// Opens the state, and adds what git was told.
fn opened(path: &Path, asked: &Asked, range: &Range, say: Say<'_>) -> Result<State, Abort> {
    let mut state = State::open(path, asked)?;
    match state.entries.len() {
        0 => say(&format!("state      {}", path.display())),
        known => say(&format!("state      {}, which has {known} runs already", path.display())),
    }
    if let Some(damage) = &state.damage {
        say(&format!("note       {damage}"));
    }
    if state.entries.is_empty() && range.follows_head {
        others(path, asked, range, say);
    }
    let known = |entry: &Entry| state.entries.iter().any(|it| it.observation == entry.observation);
    let told: Vec<Entry> = replay::observations(&range.told).into_iter().map(Entry::told).collect();
    let told: Vec<Entry> = told.into_iter().filter(|entry| !known(entry)).collect();
    if !told.is_empty() {
        range.refuse_contradictions(&[&state.entries[..], &told].concat())?;
    }
    told.into_iter().try_for_each(|entry| state.add(entry))?;
    Ok(state)
}

/// Who names no new end searches from HEAD, and that moves on while an earlier search waits to be gone on with.
fn others(path: &Path, asked: &Asked, range: &Range, say: Say<'_>) {
    let files = path.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    for file in files.map(|entry| entry.path()).filter(|file| file != path && is_state(file)) {
        let Some((other, runs)) = State::unanswered(&file) else { continue };
        let is_same = (&other.what, &other.place, &other.scenario, other.fixed)
            == (&asked.what, &asked.place, &asked.scenario, asked.fixed);
        // Where it goes back by itself, the first old end hangs on the new one.
        if is_same && runs > 0 && (range.goes_back || other.old == asked.old) {
            let option = if asked.fixed { "--good" } else { "--bad" };
            say(&format!(
                "note       {} has {runs} runs, and HEAD has moved since; to go on with them, add {option} {}",
                file.display(),
                other.new
            ));
        }
    }
}

/// The scenario with the values that were drawn when the state was begun.
fn as_begun(scenario: &Scenario, request: &Request, state: &State, say: Say<'_>) -> Result<Scenario, Abort> {
    let drawn = &state.asked.drawn;
    for (name, value) in drawn {
        say(&format!("drawn      {name}={value}"));
    }
    if *drawn == scenario.drawn {
        return Ok(scenario.clone());
    }
    let settings = request.settings.clone().into_iter().chain(drawn.clone()).collect();
    let again = scenario::parse_with(scenario.source.clone(), &settings);
    let again = again.map_err(|errors| Abort::input(errors.to_string()))?;
    Ok(Scenario { drawn: drawn.clone(), ..again })
}

/// Where states are kept.
fn states(cache: &Cache) -> PathBuf {
    cache.root().join("bisect")
}

/// What belongs to a state has its name, and an ending.
fn is_state(file: &Path) -> bool {
    file.extension().is_none() && file.is_file()
}

/// Removes a state, with all that belongs to it.
fn forget(path: &Path) {
    let files = path.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let files = files.map(|entry| entry.path()).filter(|file| file.file_stem() == path.file_name());
    files.for_each(|file| drop(fs::remove_file(file)));
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
            let time = |path: &PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
            let all = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
            let last = all.filter(|path| is_state(path)).max_by_key(time);
            last.ok_or_else(|| Abort::input("there was no bisection yet"))?
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{Observation, Seen};

    /// A search from a fresh start must not meet what an earlier one found out of another symbol.
    #[test]
    fn what_belongs_to_a_state_is_forgotten_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["abc", "abc.with-1", "abc.unreadable", "abcd", "other.with-1"] {
            fs::write(at(name), "").unwrap();
        }
        forget(&at("abc"));
        let left = |name: &str| at(name).exists();
        assert!(!left("abc") && !left("abc.with-1") && !left("abc.unreadable"));
        assert!(left("abcd") && left("other.with-1"));
        assert!(is_state(&at("abcd")) && !is_state(&at("other.with-1")));
    }

    fn request() -> Request {
        Request {
            which: Which::Modules("/r".into()),
            good: None,
            bad: None,
            replay: None,
            rules: Rules { confidence: 0.99, runs: 25, fixed: false },
            rule: Rule::Same,
            wanted: Wanted::default(),
            settings: Settings::new(),
            options: Options::default(),
            revert: false,
            restart: false,
            command: String::new(),
        }
    }

    /// It would be searched with a kernel that the scenario may not be for.
    #[test]
    fn a_scenario_for_several_kernels_needs_one_to_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.yaml");
        let of = |text: &str, request: &Request| {
            fs::write(&path, format!("{text}steps:\n- sleep: 1 s\n")).unwrap();
            let scenario = scenario::load(&path).unwrap();
            wanted(request, &scenario, &Subject::Series("/s".into())).map(|it| it.kernel)
        };
        let error = of("matrix: [6.12, 7.3]\n", &request()).unwrap_err();
        assert!(error.why.contains("is for 2 kernels") && error.why.contains("--kernel"), "{}", error.why);
        let named = Request { wanted: Wanted::series("7.3"), ..request() };
        assert_eq!(of("matrix: [6.12, 7.3]\n", &named).unwrap().as_deref(), Some("7.3"));
        assert_eq!(of("matrix: [6.12]\n", &request()).unwrap().as_deref(), Some("6.12"));
        assert_eq!(of("kernel: 7.3\n", &request()).unwrap().as_deref(), Some("7.3"));
    }

    /// A project with patches for one version.
    fn project() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in
            [("7.3/series", ""), ("7.3/recipe.yaml", "compiler: llvm\n"), ("config/base.config", "")]
        {
            let path = folder.path().join("kernel-patches").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    /// The first commit of all is of another version, and would take the patches from all commits.
    #[test]
    fn who_names_no_old_end_is_searched_for_among_kernels_that_are_built_alike() {
        let folder = project();
        let of = |newest: &str, olds: &[&str]| {
            let olds: Vec<String> = olds.iter().map(|it| (*it).to_owned()).collect();
            alike(&olds, Some(newest), |commit| Some(commit.to_owned()), folder.path()).unwrap()
        };
        assert_eq!(of("7.3", &["7.3", "7.3", "7.2", "2.6"]), ["7.3", "7.3"]);
        assert_eq!(of("7.3", &["7.2", "2.6"]), ["7.2", "2.6"], "without patches all are alike");
        assert_eq!(of("7.2", &["7.2", "7.1", "2.6"]), ["7.2", "7.1", "2.6"]);
        let olds = ["a".to_owned()];
        assert_eq!(alike(&olds, None, |_| None, folder.path()).unwrap(), olds, "no kernel's");
    }

    #[test]
    fn a_history_of_several_versions_is_built_in_one_way_and_that_is_said() {
        let folder = project();
        let of = |wanted: &Wanted, versions: &[&str]| {
            let versions: Vec<String> = versions.iter().map(|it| (*it).to_owned()).collect();
            let mut said = String::new();
            let Wanted { series, llvm, .. } =
                of_one_kind(wanted.clone(), &versions, folder.path(), &mut |line| said += line).unwrap();
            (series.unwrap_or_default(), llvm.unwrap_or_default(), said)
        };
        let (nothing, text) = (Wanted::default(), |text: &str| text.to_owned());
        let (series, llvm, said) = of(&nothing, &["7.2", "7.3"]);
        assert_eq!((series, llvm), (text("none"), text("1")));
        assert!(said.contains("Linux 7.2 and 7.3") && said.contains("clang builds all"), "{said}");
        assert_eq!(of(&nothing, &["7.3", "7.3"]), (text("7.3"), text(""), text("")));
        let named = Wanted { series: Some(text("mine")), ..Wanted::default() };
        assert_eq!(of(&named, &["7.2", "7.3"]), (text("mine"), text(""), text("")));
        let (series, llvm, _) = of(&Wanted { llvm: Some(text("19")), ..Wanted::default() }, &["7.2", "7.3"]);
        assert_eq!((series, llvm), (text("none"), text("19")));
        assert_eq!(of(&nothing, &[]), (text(""), text(""), text("")), "the kernel is not what is searched");
    }

    fn asked(new: &str) -> Asked {
        Asked {
            format: FORMAT,
            what: "commits".to_owned(),
            place: "/r".into(),
            scenario: "/s.yaml".into(),
            new: new.to_owned(),
            old: "old".to_owned(),
            fixed: false,
            rule: Rule::Same,
            command: String::new(),
            drawn: Settings::new(),
        }
    }

    /// A commit in the morning, and the night's work would be looked for in vain.
    #[test]
    fn an_earlier_search_of_another_head_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let range = Range::of_lines(&["CONFIG_A=y"]);
        let seen = Observation { commit: "x".to_owned(), seen: Seen::Clean, fresh: false };
        let mut night = State::open(&at("night"), &asked("evening")).unwrap();
        night.add(Entry::told(seen.clone())).unwrap();
        let elsewhere = Asked { place: "/other".into(), ..asked("evening") };
        State::open(&at("elsewhere"), &elsewhere).unwrap().add(Entry::told(seen)).unwrap();
        let mut told = Vec::new();
        let mut tell = || {
            told.clear();
            others(&at("morning"), &asked("morning"), &range, &mut |line| told.push(line.to_owned()));
            told.clone()
        };
        let lines = tell();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("1 runs") && lines[0].ends_with("add --bad evening"), "{lines:?}");
        night.answer().unwrap();
        assert!(tell().is_empty());
    }

    /// A night's runs are of the values that were drawn in the evening.
    #[test]
    fn who_goes_on_runs_the_scenario_as_it_was_begun() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.yaml");
        let text = "params: {word: {draw: text}, n: 1}\nsteps:\n- run: /bin/echo {{word}} {{n}}\n";
        fs::write(&path, text).unwrap();
        let settings = Settings::from([("n".to_owned(), "2".to_owned())]);
        let load = || scenario::load_with(&path, &settings).unwrap();
        let (first, second) = (load(), load());
        assert_ne!(first.drawn, second.drawn);
        let asked = Asked { drawn: first.drawn.clone(), ..asked("new") };
        let state = State::open(&folder.path().join("state"), &asked).unwrap();
        let request = Request { settings: settings.clone(), ..request() };
        let again = as_begun(&second, &request, &state, &mut |_| ()).unwrap();
        assert_eq!(again.drawn, first.drawn);
        assert_eq!(format!("{:?}", again.steps[0].action), format!("{:?}", first.steps[0].action));
    }
}
