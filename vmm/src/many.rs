//! Options of `vmm run` that matter where many scenarios run.

use crate::say;
use clap::{Args, ValueEnum};
use harness::{
    Abort,
    many::{self, Case, Part, Policy, Quarantine, Times, Wish},
};
use report::record::Shard;
use scenario::Scenario;
use std::path::PathBuf;

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Running many")]
pub struct ManyArgs {
    /// Run so many scenarios at once, each on a host of its own; they are told one after the other
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: u8,
    /// Run scenarios that have one of these tags
    #[arg(long = "tag", value_name = "TAG,...", value_delimiter = ',')]
    tags: Vec<String>,
    /// Leave out scenarios that have one of these tags
    #[arg(long, value_name = "TAG,...", value_delimiter = ',')]
    skip: Vec<String>,
    /// Run what fails again, up to so many times; a pass after a failure is `flaky`
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with_all = ["repeat", "until_fail"])]
    retry: u32,
    /// Run each scenario so many times; all of them count
    ///
    /// Shows how verdicts and times spread, as a table; with --report, --artifacts, --shard or --quarantine the reports have them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: Option<u32>,
    /// Run each scenario until it fails; with --repeat, so many times at the most
    #[arg(long)]
    until_fail: bool,
    /// What else is a failure
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    fail_on: Vec<FailOn>,
    /// Failures that are known, in a YAML file: shown, and not held against anybody
    #[arg(long, value_name = "FILE")]
    quarantine: Option<PathBuf>,
    /// Run one part of several: 3/8, or auto for Slurm, Kubernetes and GitLab (auto/8 where they don't say how many)
    #[arg(long, value_name = "INDEX/COUNT")]
    shard: Option<Wish>,
    /// The run that this is a part of, the same for all parts; a report of another run is no part of it [default: what GitHub
    /// or GitLab call it]
    #[arg(long, value_name = "ID", requires = "shard")]
    run_id: Option<String>,
    /// Split by the times in this report (json) of a former run
    #[arg(long, value_name = "FILE", requires = "shard")]
    times: Option<PathBuf>,
    /// For each scenario a folder in DIR: log, output, report, modules, and the command that repeats it
    #[arg(long, value_name = "DIR")]
    pub artifacts: Option<PathBuf>,
}

/// What else is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A pass that was no pass at once
    Flaky,
}

/// What was asked for.
pub struct Asked {
    pub scenarios: Vec<Scenario>,
    /// They are all that are below a folder.
    pub of_folders: bool,
    /// The options that whoever repeats one of the runs needs, too.
    pub options: Vec<String>,
}

/// What is to be run, and what is known of it.
pub struct Planned {
    pub cases: Vec<Case>,
    pub shard: Option<Shard>,
    pub quarantine: Quarantine,
    pub policy: Policy,
    /// The options that whoever repeats one of the runs needs, too.
    pub options: Vec<String>,
}

impl ManyArgs {
    /// Whether more is asked of repeated runs than how they went.
    pub fn is_judged(&self) -> bool {
        self.until_fail || self.quarantine.is_some() || self.jobs > 1
    }

    /// What clap can't see.
    pub fn complaint(&self) -> Option<String> {
        self.tags.iter().chain(&self.skip).any(String::is_empty).then(|| "a tag is empty".to_owned())
    }

    /// The cases of these scenarios, as far as they are this machine's part.
    pub fn plan(
        &self,
        asked: Asked,
        cases: impl FnOnce(Vec<Scenario>) -> Vec<Case>,
    ) -> Result<Planned, Abort> {
        let Asked { scenarios, of_folders, options } = asked;
        let quarantine = self.quarantine.as_deref().map(Quarantine::load).transpose()?.unwrap_or_default();
        let times = self.times.as_deref().map(Times::of_report).transpose()?.unwrap_or_default();
        let part = self.shard.map(Part::of).transpose()?;
        let named: Vec<_> = scenarios.iter().map(|it| (it.name.clone(), it.path.clone())).collect();
        let astray = if of_folders { quarantine.astray(&named) } else { Vec::new() };
        quarantine.too_wide(&named).iter().chain(&astray).for_each(|odd| say::warning(odd));
        let cases = cases(many::tagged(scenarios, &self.tags, &self.skip)?);
        let policy = Policy {
            retry: self.retry,
            repeat: self.repeat.unwrap_or(0),
            until_fail: self.until_fail,
            fail_on_flaky: self.fail_on.contains(&FailOn::Flaky),
        };
        let (cases, shard) = match part {
            None => (cases, None),
            Some(part) => {
                let run = many::run_id(self.run_id.as_deref());
                let known = self.quarantine.as_deref().map(base::input::read_text).transpose();
                let known = known.map_err(|error| Abort::input(format!("--quarantine: {error}")))?;
                let same = [&options[..], &[format!("{policy:?}"), known.unwrap_or_default()]].concat();
                let (cases, shard) = part.take(cases, &times, &same);
                (cases, Some(Shard { run, ..shard }))
            }
        };
        Ok(Planned { cases, shard, quarantine, policy, options })
    }

    /// The quarantine file, which is no scenario though it may lie among them.
    pub fn is_other(&self, path: &std::path::Path) -> bool {
        let whole = |path: &std::path::Path| path.canonicalize().ok();
        self.quarantine.as_deref().is_some_and(|it| whole(it).is_some() && whole(it) == whole(path))
    }
}
