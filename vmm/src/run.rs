//! `vmm run`: scenarios one after the other, reported on standard output.

use crate::{
    cli::{Format, HowArgs, Report, RunArgs},
    dry, exit,
    kernel::again,
    many::{Asked, Planned},
    repeat, runner, say,
};
use ::bisect::{
    Seen,
    sign::{Judged as Decided, Rule, Sign},
};
use harness::{
    Abort, Options, Session,
    many::{self, Case, Ran},
};
use judge::{Began, Judge, Judged, Verdict};
use regex::Regex;
use report::{
    Files, Render, Reporters,
    artifacts::Artifacts,
    events::{self, Events},
    github::GitHub,
    html, json, junit, ktap, markdown,
    record::Aborted,
    summary::Summary,
    terminal::Terminal,
};
use scenario::Scenario;
use std::{
    env, io,
    path::{Path, PathBuf},
};

/// Runs scenarios one after the other; returns the exit code. With an error in one of the files, nothing is run.
pub fn run(args: &RunArgs) -> u8 {
    let code = run_all(args);
    match args.bisect {
        // No commit has them.
        true if code == exit::code(Verdict::BadInput) && args.files.iter().any(is_missing) => exit::END,
        true => exit::for_git(code),
        false => code,
    }
}

/// Whether nothing is where a word of the command line leads.
fn is_missing(word: &PathBuf) -> bool {
    let is_free = word != Path::new("-") && word.try_exists().is_ok_and(|is_there| !is_there);
    // A pattern gives other files, or none.
    is_free && many::files(std::slice::from_ref(word)).map_or(true, |found| found.contains(word))
}

fn run_all(args: &RunArgs) -> u8 {
    if args.dry_run {
        return dry::dry_run(&args.how, &args.options(), planned(args));
    }
    let judge = |verdicts: &[Verdict], all: &[Ran]| match args.bisect {
        true => for_git(verdicts, all, args.bad_if.as_ref()),
        false => exit::of_all(verdicts),
    };
    carry_out(&args.how, args.options(), planned(args), judge)
}

/// Runs what is planned, or says why there is nothing to run.
pub fn carry_out(
    how: &HowArgs,
    options: Options,
    planned: Result<Planned, Abort>,
    judge: impl FnOnce(&[Verdict], &[Ran]) -> u8,
) -> u8 {
    let planned = match with_kernels(planned) {
        Ok(planned) => planned,
        Err(abort) => return abandoned(how, abort),
    };
    let guests_mib = planned.cases.iter().map(|case| case.scenario.machine.memory_mib).max().unwrap_or(0);
    let options = Options { guests_mib, ..options };
    if let Some(times) = how.table(&planned) {
        return repeat::repeat(&planned.cases, options, how.detail(), times);
    }
    let reporters = reporters(how, &planned);
    let jobs = usize::from(how.many.jobs).min(planned.cases.len());
    let sessions =
        || -> Result<Vec<_>, Abort> { (0..jobs.max(1)).map(|_| Session::open(options.clone())).collect() };
    match reporters.and_then(|reporters| Ok((reporters, sessions()?))) {
        Ok((reporters, sessions)) => {
            let (verdicts, all) = all(planned, reporters, sessions);
            judge(&verdicts, &all)
        }
        Err(abort) => abandoned(how, abort),
    }
}

/// The same, if all kernels are known that it names.
pub fn with_kernels(planned: Result<Planned, Abort>) -> Result<Planned, Abort> {
    planned.and_then(|planned| many::look_for_kernels(&planned.cases).map(|()| planned))
}

/// Says why there is nothing to run, in the reports and to GitHub as well, where a former run may have left its own.
pub fn abandoned(how: &HowArgs, abort: Abort) -> u8 {
    let why = Aborted { verdict: abort.verdict, reason: abort.why.clone() };
    for Report { format, file } in &how.report {
        report::abandon(file, render(*format).unwrap_or(events::aborted), &why);
    }
    // Who has no place for a summary is told the same below.
    let _ = github().map(|mut github| github.abandon(&why));
    say::outcome(Err(abort))
}

/// What is to be run. All files are read, so that all that is wrong with them is told at once.
fn planned(args: &RunArgs) -> Result<Planned, Abort> {
    let files = many::files(&args.files)?;
    let files: Vec<PathBuf> = files.into_iter().filter(|file| !args.how.many.is_other(file)).collect();
    let (mut scenarios, mut bad, settings) = (Vec::new(), Vec::new(), args.settings());
    for path in &files {
        match scenario::load_with(path, &settings) {
            Ok(scenario) => scenarios.push(scenario),
            Err(diagnostics) => bad.push(diagnostics.to_string()),
        }
    }
    if !bad.is_empty() {
        return Err(Abort::input(bad.join("\n")));
    }
    let of_folders = args.files.iter().any(|file| file.is_dir());
    let asked = Asked { scenarios, of_folders, options: args.again() };
    args.how.many.plan(asked, |scenarios| many::cases(scenarios, &args.kernels, &args.common()))
}

/// What tells GitHub, where that listens.
fn github() -> Option<GitHub> {
    let summary = env::var_os("GITHUB_STEP_SUMMARY").map(PathBuf::from);
    runner::token().map(|token| GitHub::new(Box::new(io::stdout()), summary, token.to_owned()))
}

fn reporters(how: &HowArgs, planned: &Planned) -> Result<Reporters, Abort> {
    let Planned { cases, shard, options, .. } = planned;
    let mut reporters = Reporters::default();
    let whole = |path: &Path| path.canonicalize().ok();
    for Report { file, .. } in &how.report {
        let is = |scenario: &Scenario| whole(&scenario.path) == whole(file);
        if whole(file).is_some() && cases.iter().any(|case| is(&case.scenario)) {
            let why = format!("the report {} would overwrite a scenario; name another file", file.display());
            return Err(Abort::input(why));
        }
    }
    if let Some(github) = github() {
        reporters.add(github);
    }
    reporters.add(Terminal::stdout().with(how.detail()));
    // Behind it, so that the terminal has shown what a file can't take.
    let mut files = Files::new(shard.clone());
    for Report { format, file } in &how.report {
        match render(*format) {
            Some(render) => files.add(file, render).map_err(Abort::input)?,
            None => reporters.add(Events::create(file).map_err(Abort::input)?),
        }
    }
    reporters.add(files);
    if let Some(folder) = &how.many.artifacts {
        let asked = cases.iter().map(|Case { scenario, kernel, .. }| report::artifacts::Asked {
            kernel: again(kernel),
            adds_fragments: !scenario.kernel.fragments.is_empty(),
            piped: scenario.piped().map(str::to_owned),
        });
        let artifacts = Artifacts::create(folder).map_err(Abort::input)?;
        reporters.add(artifacts.with(options.clone(), asked.collect()));
    }
    reporters.add(Summary::new(Box::new(io::stdout())));
    Ok(reporters)
}

/// What makes a format's text of all runs; nothing makes that of events, which are written as they come.
pub fn render(format: Format) -> Option<Render> {
    match format {
        Format::Json => Some(json::render),
        Format::Events => None,
        Format::Junit => Some(junit::render),
        Format::Ktap => Some(ktap::render),
        Format::Md => Some(markdown::render),
        Format::Html => Some(html::render),
    }
}

/// What a commit is to git: one bad scenario makes a bad commit, and one that can't be judged none that is good.
fn for_git(verdicts: &[Verdict], all: &[Ran], bad_if: Option<&Regex>) -> u8 {
    let rule = bad_if.map_or(Rule::Any, |pattern| Rule::If(pattern.clone()));
    let codes: Vec<u8> =
        all.iter().map(|ran| of_commit(&Sign::of(&ran.report), ran.on_host, &rule)).collect();
    // Whoever stopped it wants git to stop, too.
    if verdicts.contains(&Verdict::Interrupted) {
        return exit::of_all(verdicts);
    }
    let code = if codes.contains(&1) { 1 } else { codes.into_iter().max().unwrap_or(exit::SKIP) };
    match code {
        exit::END => say::warning(&"this machine can judge no commit as it is, so git ends its bisection"),
        exit::SKIP if verdicts.contains(&Verdict::Infra) => {
            say::warning(&"this machine could not judge this commit (infra), so git skips it");
        }
        _ => {}
    }
    code
}

/// What a commit is to git by one run. What fails before a host is at work is no commit's own: no KVM, no compiler, no space; nor is what
/// somebody built in the folder, which git leaves there whatever it checks out.
fn of_commit(sign: &Sign, on_host: bool, rule: &Rule) -> u8 {
    match rule.judge(sign, None) {
        Decided::Seen(Seen::Fault) => 1,
        Decided::Seen(Seen::Clean) => 0,
        Decided::Interrupted => exit::code(Verdict::Interrupted),
        Decided::Infra(_) if !on_host => exit::END,
        _ if sign.reason.contains(kernel::NOT_CLEAN) => exit::END,
        _ => exit::SKIP,
    }
}

fn all(planned: Planned, mut reporters: Reporters, sessions: Vec<Session>) -> (Vec<Verdict>, Vec<Ran>) {
    let plan = |case: &Case| match Judge::new(&case.scenario).begin() {
        Judged::Began(began) => Some(Began { variant: case.variant.clone(), ..began }),
        _ => None,
    };
    reporters.begin(&planned.cases.iter().filter_map(plan).collect::<Vec<Began>>());
    let all = many::run(sessions, &planned.cases, planned.policy, &planned.quarantine, &mut reporters);
    planned.quarantine.complaints(&all).iter().for_each(|complaint| say::warning(complaint));
    reporters.finish();
    reporters.errors.iter().for_each(|error| say::error(error));
    let mut verdicts: Vec<Verdict> = all.iter().map(|ran| ran.settled.counted).collect();
    // Who waits for a report that is not there must not take the run for good.
    verdicts.extend((!reporters.errors.is_empty()).then_some(Verdict::Infra));
    (verdicts, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// git would skip all commits one after the other.
    #[test]
    fn what_would_fail_at_every_commit_ends_gits_bisection() {
        let of =
            |verdict, why: &str, on_host| of_commit(&Sign::without_run(verdict, why), on_host, &Rule::Any);
        assert_eq!(of(Verdict::Infra, "there is no flex", false), exit::END);
        assert_eq!(of(Verdict::Infra, "the host is gone", true), exit::SKIP);
        let built = kernel::sources::SourceError::NotClean("/linux".into()).to_string();
        assert_eq!(of(Verdict::BadInput, &built, false), exit::END);
        assert_eq!(of(Verdict::BadInput, "it has no Makefile", false), exit::SKIP);
        assert_eq!(of(Verdict::BuildFailed, "it does not build", false), exit::SKIP);
        // That is a matter of the commit's.
        assert_eq!(
            of(Verdict::Infra, &kernel::KernelError::NoRust("too new".into()).to_string(), false),
            exit::SKIP
        );
        assert_eq!((of(Verdict::Oops, "", true), of(Verdict::Pass, "", true)), (1, 0));
    }

    #[test]
    fn what_is_not_there_is_known_from_what_does_not_load() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yaml"), "nonsense").unwrap();
        let missing = |word: &str| is_missing(&folder.path().join(word));
        assert_eq!(["b.yaml", "b*.yaml"].map(missing), [true; 2]);
        assert_eq!(["", "a.yaml", "*.yaml"].map(missing), [false; 3]);
        assert!(!is_missing(&PathBuf::from("-")));
    }
}
