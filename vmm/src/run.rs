//! `vmm run`: scenarios one after the other, reported on standard output.

use crate::{
    cli::{Format, Report, RunArgs},
    exit, repeat, say,
};
use ::bisect::{
    Seen,
    sign::{Judged as Decided, Rule, Sign},
};
use harness::{Abort, Options, Session};
use judge::{Began, Judge, Judged, Verdict};
use regex::Regex;
use report::{
    FileReport, Reporters,
    events::Events,
    github::GitHub,
    json::Json,
    junit, ktap, markdown,
    terminal::{Detail, Terminal},
};
use scenario::Scenario;
use std::{
    env,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Runs scenarios one after the other; returns the exit code. With an error in one of the files, nothing is run.
pub fn run(args: &RunArgs) -> u8 {
    let code = run_all(args);
    // git ends a bisection at any other code, and takes 126 and 127 for a script that is not there.
    if args.bisect && code > 1 { exit::SKIP } else { code }
}

fn run_all(args: &RunArgs) -> u8 {
    let (paths, reports, settings) = (&args.files, &args.report, args.settings());
    let (mut scenarios, mut bad) = (Vec::new(), false);
    for path in paths {
        match scenario::load_with(path, &settings) {
            Ok(scenario) => scenarios.push(scenario),
            Err(diagnostics) => {
                say::error(&diagnostics);
                bad = true;
            }
        }
    }
    if bad {
        return exit::code(Verdict::BadInput);
    }
    if let Some(times) = args.repeat {
        return repeat::repeat(&scenarios, args.options(), args.detail(), times);
    }
    match prepared(args.options(), &scenarios, args.detail(), reports) {
        Ok((session, reporters)) => {
            let (verdicts, signs) = all(session, &scenarios, reporters, args.bisect);
            if args.bisect { for_git(&signs, args.bad_if.as_ref()) } else { exit::of_all(&verdicts) }
        }
        Err(abort) => say::outcome(Err(abort)),
    }
}

fn prepared(
    options: Options,
    scenarios: &[Scenario],
    detail: Detail,
    reports: &[Report],
) -> Result<(Session, Reporters), Abort> {
    let mut reporters = Reporters::default();
    let whole = |path: &Path| path.canonicalize().ok();
    for Report { file, .. } in reports {
        if whole(file).is_some_and(|file| scenarios.iter().any(|it| whole(&it.path) == Some(file.clone()))) {
            let why = format!("the report {} would overwrite a scenario; name another file", file.display());
            return Err(Abort::input(why));
        }
    }
    if env::var_os("GITHUB_ACTIONS").is_some_and(|it| it == "true") {
        let summary = env::var_os("GITHUB_STEP_SUMMARY").map(PathBuf::from);
        let token =
            token().map_err(|error| Abort::infra(format!("failed to draw a random word: {error}")))?;
        reporters.add(GitHub::new(Box::new(io::stdout()), summary, token));
    }
    reporters.add(Terminal::stdout().with(detail));
    // Last, so that the terminal has shown what a file can't take.
    for Report { format, file } in reports {
        let render = match format {
            Format::Json => {
                reporters.add(Json::create(file).map_err(Abort::input)?);
                continue;
            }
            Format::Events => {
                reporters.add(Events::create(file).map_err(Abort::input)?);
                continue;
            }
            Format::Junit => junit::render,
            Format::Ktap => ktap::render,
            Format::Md => markdown::render,
        };
        reporters.add(FileReport::create(file, render).map_err(Abort::input)?);
    }
    let guests_mib = scenarios.iter().map(|scenario| scenario.machine.memory_mib).max().unwrap_or(0);
    Ok((Session::open(Options { guests_mib, ..options })?, reporters))
}

/// What a commit is to git: one bad scenario makes a bad commit, and one that can't be judged none that is good.
fn for_git(signs: &[Sign], bad_if: Option<&Regex>) -> u8 {
    let rule = bad_if.map_or(Rule::Any, |pattern| Rule::If(pattern.clone()));
    let codes = signs.iter().map(|sign| match rule.judge(sign, None) {
        Decided::Seen(Seen::Fault) => 1,
        Decided::Seen(Seen::Clean) => 0,
        _ => exit::SKIP,
    });
    let codes: Vec<u8> = codes.collect();
    if codes.contains(&1) { 1 } else { codes.into_iter().max().unwrap_or(exit::SKIP) }
}

/// A word that a guest can't guess.
fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn all(
    mut session: Session,
    scenarios: &[Scenario],
    mut reporters: Reporters,
    try_again: bool,
) -> (Vec<Verdict>, Vec<Sign>) {
    /// What this machine spoils is tried so often in all, if it is.
    const TRIES: u32 = 3;
    let (mut verdicts, mut signs) = (Vec::new(), Vec::new());
    let plan = |scenario| match Judge::new(scenario).begin() {
        Judged::Began(began) => Some(began),
        _ => None,
    };
    reporters.begin(&scenarios.iter().filter_map(plan).collect::<Vec<Began>>());
    for (index, scenario) in scenarios.iter().enumerate() {
        if index > 0 {
            say::out("\n");
        }
        session.expect_more(index + 1 < scenarios.len());
        let mut report = session.run(scenario, &mut reporters);
        for _ in 1..if try_again { TRIES } else { 1 } {
            if report.verdict == Verdict::Infra {
                say::out("\nthis machine's fault; once more\n");
                report = session.run(scenario, &mut reporters);
            }
        }
        let verdict = report.verdict;
        signs.push(Sign::of(&report));
        verdicts.push(verdict);
        if verdict == Verdict::Interrupted {
            break;
        }
    }
    if scenarios.len() > 1 {
        say::out(&summary(scenarios, &verdicts));
    }
    reporters.finish();
    reporters.errors.iter().for_each(|error| say::error(error));
    // Who waits for a report that is not there must not take the run for good.
    verdicts.extend((!reporters.errors.is_empty()).then_some(Verdict::Infra));
    (verdicts, signs)
}

/// The runs that did not pass by their names, and how many came to what.
fn summary(scenarios: &[Scenario], verdicts: &[Verdict]) -> String {
    let mut text = "\n".to_owned();
    let mut counts: Vec<(String, usize)> = Vec::new();
    let not_run = scenarios.len() - verdicts.len();
    for (scenario, verdict) in scenarios.iter().zip(verdicts) {
        let name = verdict.name().to_owned();
        if *verdict != Verdict::Pass {
            let (name, path) = (name.to_uppercase(), scenario.path.display().to_string());
            text +=
                &format!("{name}  {}  ({})\n", base::text::escape(&scenario.name), base::text::escape(&path));
        }
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    counts.extend((not_run > 0).then(|| ("not run".to_owned(), not_run)));
    let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    text + &format!("{} scenarios: {}\n", scenarios.len(), counts.join(", "))
}
