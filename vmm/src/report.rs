//! `vmm report`: reports that were written earlier.

use crate::{
    cli::{Report, one_file, whole},
    exit,
    run::render,
    say,
};
use clap::{Args, Subcommand};
use harness::Abort;
use judge::Verdict;
use report::{
    diff, json, merge,
    record::{Run, Session},
    show, summary,
    target::Target,
    terminal::{Detail, Terminal},
};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Look at, compare and merge reports of runs.
///
/// Those that `vmm run --report json=FILE` wrote.
#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put the reports of several runs together, such as the shards of one
    ///
    /// Prints the summary, and exits as one run of all that would have. A shard that is missing is an error.
    #[command(after_long_help = "\
Example:
  vmm report merge part-*.json --report json=all.json --report junit=all.xml")]
    Merge {
        /// Reports in JSON
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Also write the whole to a file: json, junit, ktap, md or html; as often as you like
        #[arg(long, value_name = "FORMAT=FILE")]
        report: Vec<Report>,
    },
    /// Show a run as the terminal showed it
    Show {
        /// A report in JSON
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Also show what programs printed and what the kernel logged in steps that went well
        #[arg(long, short)]
        verbose: bool,
    },
    /// Say what is different between two runs: what fails, what passes, new findings, what got slower
    ///
    /// In Markdown, for a comment on a pull request.
    Diff {
        /// The report of the old run, in JSON
        #[arg(value_name = "OLD")]
        old: PathBuf,
        /// That of the new one
        #[arg(value_name = "NEW")]
        new: PathBuf,
        /// Exit with 1 if something is worse, or did not run
        #[arg(long)]
        exit_code: bool,
    },
    /// Print the JSON Schema of reports
    Schema,
}

impl ReportArgs {
    /// Whether what it prints is for a program, or a file.
    pub fn prints_answer(&self) -> bool {
        matches!(self.command, Command::Schema | Command::Diff { .. })
    }
}

/// Does what was asked for, and returns the exit code.
pub fn report(args: &ReportArgs) -> u8 {
    let result = match &args.command {
        Command::Merge { files, report } => merged(files, report),
        Command::Show { file, verbose } => shown(file, *verbose),
        Command::Diff { old, new, exit_code } => different(old, new, *exit_code),
        Command::Schema => {
            say::out(json::JSON_SCHEMA);
            Ok(Verdict::Pass)
        }
    };
    match result {
        Ok(verdict) => exit::code(verdict),
        Err(abort) => say::outcome(Err(abort)),
    }
}

fn read(path: &Path) -> Result<Session, Abort> {
    let cannot = |why: &dyn std::fmt::Display| {
        Abort::input(format!("{}: can't read this report: {why}", path.display()))
    };
    let bytes = base::input::read(path).map_err(|error| cannot(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| cannot(&"it is no text"))?;
    json::read(&text).map_err(|error| Abort::input(format!("{}: {error}", path.display())))
}

fn merged(files: &[PathBuf], reports: &[Report]) -> Result<Verdict, Abort> {
    if let Some(complaint) = one_file(reports) {
        return Err(Abort::input(complaint));
    }
    let mut targets = Vec::new();
    for Report { format, file } in reports {
        let Some(render) = render(*format) else {
            return Err(Abort::input(
                "--report events: events are told while a run goes on, and this one is over",
            ));
        };
        if files.iter().any(|it| whole(it) == whole(file)) {
            return Err(Abort::input(format!(
                "the report {} would overwrite one of those to merge",
                file.display()
            )));
        }
        targets.push((Target::at(file).map_err(Abort::input)?, render));
    }
    let all = files.iter().map(|file| Ok((file.display().to_string(), read(file)?)));
    let whole = merge::merge(all.collect::<Result<Vec<_>, Abort>>()?)
        .map_err(|error| Abort::input(format!("can't merge these reports: {error}")))?;
    for (target, render) in targets {
        let written = target.write(render(&whole).as_bytes());
        written.map_err(|error| Abort::infra(format!("failed to write a report: {error}")))?;
    }
    say::out(&summary::text(&whole));
    whole.unfinished().iter().for_each(|why| say::warning(&why.reason));
    Ok(exit::worst(&counted(&whole)))
}

/// What one run of all would have come to. One that was killed before its end has something of which nobody knows.
fn counted(whole: &Session) -> Vec<Verdict> {
    let unfinished = whole.unfinished().map(|why| why.verdict);
    whole.runs.iter().map(Run::counted).chain(unfinished).collect()
}

fn shown(file: &Path, verbose: bool) -> Result<Verdict, Abort> {
    let session = read(file)?;
    let detail = if verbose { Detail::Everything } else { Detail::Line };
    match show::show(&session, &mut Terminal::stdout().with(detail), &mut io::stdout()) {
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Abort::infra(format!("failed to show {}: {error}", file.display())))
        }
        _ => {
            let _ = io::stdout().flush();
            Ok(Verdict::Pass)
        }
    }
}

fn different(old: &Path, new: &Path, exit_code: bool) -> Result<Verdict, Abort> {
    let difference = diff::diff(&read(old)?, &read(new)?);
    say::out(&difference.text);
    Ok(if exit_code && difference.is_worse { Verdict::Fail } else { Verdict::Pass })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Format;

    #[test]
    fn a_merged_report_has_a_file_of_its_own_by_whatever_name() {
        let report = |format, file: &str| Report { format, file: file.into() };
        for (reports, says) in [
            (&[report(Format::Json, "all"), report(Format::Junit, "./all")][..], "two reports"),
            (&[report(Format::Json, "./part.json")][..], "would overwrite one of those to merge"),
        ] {
            let why = merged(&["part.json".into()], reports).unwrap_err();
            assert_eq!((why.verdict, why.why.contains(says)), (Verdict::BadInput, true), "{}", why.why);
        }
    }
}
