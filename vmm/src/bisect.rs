//! `vmm bisect`: which commit, patch or symbol it was.

use crate::{
    cli::{self, Format, Report, Where},
    exit,
    kernel::RecipeArgs,
    say,
};
use ::bisect::{
    Rules,
    command::{self, Answered, Request, Which},
    sign::Rule,
};
use clap::{Args, Subcommand};
use harness::{Abort, Options};
use judge::Verdict;
use regex::Regex;
use report::target::Target;
use std::{
    env,
    path::{Path, PathBuf},
};

/// Find the commit that broke it.
///
/// A commit of the kernel or of a module, a patch of a series, or a symbol of a configuration. Both ends are tried first. Bad is what was bad at the bad end, and nothing else: a commit with another fault, or one that does not
/// build, is skipped. How often the fault shows itself is measured, and commits are run until the answer is as sure as you ask for;
/// then the culprit and its parents are run again on fresh builds. Your work tree, index and HEAD are never touched. Stopped by whatever, the
/// same command goes on where it was.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
Examples:
  vmm bisect --source ~/linux --good v6.12 --bad HEAD scenarios/mine.yaml
  vmm bisect --modules ~/driver --good 1a2b3c scenarios/mine.yaml           the history of a module, the kernel stays
  vmm bisect --series kernel-patches/mine --scenario scenarios/mine.yaml    which patch of a series
  vmm bisect --config-good good.config --config-bad bad.config scenarios/mine.yaml
  vmm bisect --modules ~/driver --fixed --bad v1 scenarios/mine.yaml        the commit that mended it
  git bisect log | vmm bisect --modules . --replay - scenarios/mine.yaml    go on from there
  vmm bisect log | git bisect replay /dev/stdin                             and the other way
  git bisect run vmm run --bisect scenarios/mine.yaml                       for who prefers git

Exit codes:
  0    there is an answer: one commit, or those that can't be told apart
  2    bad input; also where an end is not what it was said to be
  3    this machine's fault; with an answer, if what was to follow it (--revert) is not known
  130  ended by Ctrl-C: the same command goes on"
)]
pub struct BisectArgs {
    #[command(subcommand)]
    command: Option<BisectCommand>,
    /// The scenario that fails, in YAML
    #[arg(value_name = "FILE", required_unless_present = "scenario_option")]
    scenario: Option<PathBuf>,
    /// The same
    #[arg(long = "scenario", id = "scenario_option", value_name = "FILE", conflicts_with = "scenario")]
    scenario_option: Option<PathBuf>,
    /// Give a parameter of the scenario a value; as often as you like
    #[arg(long, value_name = "NAME=VALUE", value_parser = cli::setting)]
    set: Vec<(String, String)>,
    /// Search with this kernel: a series (6.12), a hash of `vmm kernel list`, a vmlinuz, or a linux-image .deb file
    #[arg(long, value_name = "KERNEL", conflicts_with = "source")]
    kernel: Option<String>,
    /// Search the history of the scenario's modules, which are in this repository
    #[arg(long, value_name = "REPOSITORY", conflicts_with_all = ["config_good", "config_bad"])]
    modules: Option<PathBuf>,
    /// A revision without the fault [default: goes back until one has none]
    #[arg(long, value_name = "REVISION")]
    good: Option<String>,
    /// A revision with it [default: HEAD]
    #[arg(long, value_name = "REVISION")]
    bad: Option<String>,
    /// Go on from what `git bisect log` printed; - for standard input
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// A whole configuration without the fault: search for the symbols that make it
    #[arg(long, value_name = "CONFIG", requires = "config_bad", conflicts_with_all = ["good", "bad", "series", "config"])]
    config_good: Option<PathBuf>,
    /// A whole configuration with it
    #[arg(long, value_name = "CONFIG", requires = "config_good")]
    config_bad: Option<PathBuf>,
    /// Search for the commit that mended the fault: --bad is the older one
    #[arg(long)]
    fixed: bool,
    /// Take every run that does not pass for bad, whatever is wrong
    #[arg(long)]
    any_failure: bool,
    /// Take for bad what says this of itself, in findings, failures or the compiler's words: a regular expression
    #[arg(long, value_name = "PATTERN", conflicts_with = "any_failure", value_parser = pattern)]
    bad_if: Option<Regex>,
    /// How sure the answer has to be
    #[arg(long, value_name = "P", default_value_t = 0.99, value_parser = probability)]
    confidence: f64,
    /// Run one commit so often at most
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Also try the bad end with the culprit reverted
    #[arg(long)]
    revert: bool,
    /// Forget what was found out before
    #[arg(long)]
    restart: bool,
    /// Also write the answer to a file: json or md
    #[arg(long, value_name = "FORMAT=FILE")]
    report: Vec<Report>,
    /// Where guests run
    #[arg(long, value_enum, default_value_t = Where::Auto)]
    host: Where,
    #[command(flatten)]
    recipe: RecipeArgs,
}

#[derive(Debug, Subcommand)]
enum BisectCommand {
    /// Print what was found out, for `git bisect replay`
    Log {
        /// A state's file [default: that of the last bisection]
        state: Option<PathBuf>,
    },
}

/// Takes a regular expression.
pub fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string())
}

fn probability(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|error| error.to_string())?;
    match (0.5..1.0).contains(&number) {
        true => Ok(number),
        false => Err("expected a number from 0.5 on, below 1, such as 0.99".to_owned()),
    }
}

impl BisectArgs {
    /// Whether what it prints is for git.
    pub fn prints_log(&self) -> bool {
        self.command.is_some()
    }

    fn which(&self) -> Result<Which, Abort> {
        let source = self.recipe.source();
        if let (Some(good), Some(bad)) = (&self.config_good, &self.config_bad) {
            return Ok(Which::Config { good: good.clone(), bad: bad.clone() });
        }
        if let Some(modules) = &self.modules {
            return Ok(Which::Modules(modules.clone()));
        }
        let ends = self.good.is_some() || self.bad.is_some() || self.replay.is_some();
        match (self.recipe.series(), source) {
            (Some(series), _) if !ends && series != "none" => Ok(Which::Series(series.into())),
            (_, Some(source)) => Ok(Which::Kernel(source.into())),
            _ => Err(Abort::input(
                "say what to search: --source REPOSITORY (a kernel's history), --modules REPOSITORY, --series FOLDER, or --config-good and --config-bad",
            )),
        }
    }

    fn request(&self) -> Result<Request, Abort> {
        let which = self.which()?;
        let mut wanted = self.recipe.wanted(self.kernel.as_ref(), None);
        match which {
            Which::Kernel(_) => wanted.source = None,
            Which::Series(_) => wanted.series = None,
            _ => {}
        }
        let replay = self.replay.as_deref().map(read).transpose()?;
        let rule = match (&self.bad_if, self.any_failure) {
            (Some(pattern), _) => Rule::If(pattern.clone()),
            (None, true) => Rule::Any,
            (None, false) => Rule::Same,
        };
        Ok(Request {
            which,
            good: self.good.clone(),
            bad: self.bad.clone(),
            replay,
            rules: Rules { confidence: self.confidence, runs: self.runs, fixed: self.fixed },
            rule,
            wanted,
            settings: self.set.iter().cloned().collect(),
            options: Options { host: self.host.into(), ..Options::default() },
            revert: self.revert,
            restart: self.restart,
            command: typed(),
        })
    }

    fn run(&self) -> Result<String, Abort> {
        if let Some(BisectCommand::Log { state }) = &self.command {
            return command::log(state.as_deref());
        }
        for Report { format, .. } in &self.report {
            if !matches!(format, Format::Json | Format::Md) {
                return Err(Abort::input("a bisection's report is json=FILE or md=FILE"));
            }
        }
        if let Some(complaint) = cli::one_file(&self.report).or_else(|| cli::set_twice(&self.set)) {
            return Err(Abort::input(complaint));
        }
        // Known now, and not at the end of a night's search.
        let targets = self.report.iter().map(|Report { file, .. }| Target::at(file).map_err(Abort::input));
        let targets = targets.collect::<Result<Vec<_>, _>>()?;
        let path = self.scenario.as_ref().or(self.scenario_option.as_ref());
        let path = path.ok_or_else(|| Abort::input("name the scenario that fails"))?;
        let request = self.request()?;
        let scenario = scenario::load_with(path, &request.settings);
        let scenario = scenario.map_err(|errors| Abort::input(errors.to_string()))?;
        let Answered { report, stopped } = command::bisect(&request, &scenario, &mut |line| {
            say::out(&format!("{}\n", base::text::escape(line)));
        })?;
        // First of all, whatever becomes of files.
        say::out(&format!("\n{}", report.text()));
        for (Report { format, .. }, target) in self.report.iter().zip(targets) {
            let text = match format {
                Format::Json => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
                _ => report.markdown(),
            };
            target
                .write(text.as_bytes())
                .map_err(|error| Abort::infra(format!("failed to write a report: {error}")))?;
        }
        stopped.map_or(Ok(String::new()), Err)
    }
}

fn read(file: &Path) -> Result<String, Abort> {
    base::input::read_text(file).map_err(|error| {
        Abort::input(format!("failed to read {}: {}", file.display(), base::text::plain(&error)))
    })
}

/// What the user typed, to be typed again.
fn typed() -> String {
    let words = env::args().skip(1).map(|word| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@~+,^#".contains(c);
        match !word.is_empty() && word.chars().all(plain) {
            true => word,
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    });
    std::iter::once("vmm".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// Does what was asked for, and returns the exit code.
pub fn bisect(args: &BisectArgs) -> u8 {
    match args.run() {
        Err(abort) if abort.verdict == Verdict::Interrupted => {
            say::error(&"interrupted; the same command goes on where this one was");
            exit::code(abort.verdict)
        }
        // What can't be built at an end is no verdict here: there is no answer.
        Err(Abort { verdict: Verdict::BuildFailed, why }) => say::outcome(Err(Abort::input(why))),
        result => say::outcome(result),
    }
}
