//! `vmm run`: scenarios one after the other, reported on standard output.

use crate::{exit, say};
use harness::{Abort, Options, Session};
use judge::Verdict;
use report::{Reporters, json::Json, terminal::Terminal};
use scenario::Scenario;
use std::path::{Path, PathBuf};

/// Runs scenarios one after the other; returns the exit code. With an error in one of the files, nothing is run.
pub fn run(paths: &[PathBuf], options: Options, json: Option<&Path>) -> u8 {
    let (mut scenarios, mut bad) = (Vec::new(), false);
    for path in paths {
        match scenario::load(path) {
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
    match prepared(options, &scenarios, json) {
        Ok((session, json)) => exit::of_all(&all(session, &scenarios, json)),
        Err(abort) => say::outcome(Err(abort)),
    }
}

fn prepared(
    options: Options,
    scenarios: &[Scenario],
    json: Option<&Path>,
) -> Result<(Session, Option<Json>), Abort> {
    let json = json.map(Json::create).transpose().map_err(Abort::input)?;
    let guests_mib = scenarios.iter().map(|scenario| scenario.machine.memory_mib).max().unwrap_or(0);
    Ok((Session::open(Options { guests_mib, ..options })?, json))
}

fn all(mut session: Session, scenarios: &[Scenario], mut json: Option<Json>) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut unwritten = false;
    for (index, scenario) in scenarios.iter().enumerate() {
        if index > 0 {
            say::out("\n");
        }
        let mut reporters = Reporters::default();
        reporters.add(Terminal::stdout());
        // Last, so that the terminal has shown what a file can't take.
        json.take().into_iter().for_each(|json| reporters.add(json));
        let verdict = session.run(scenario, &mut reporters).verdict;
        reporters.errors.iter().for_each(|error| say::error(error));
        unwritten |= !reporters.errors.is_empty();
        verdicts.push(verdict);
        if verdict == Verdict::Interrupted {
            break;
        }
    }
    if scenarios.len() > 1 {
        say::out(&summary(scenarios, &verdicts));
    }
    // Who waits for a report that is not there must not take the run for good.
    verdicts.extend(unwritten.then_some(Verdict::Infra));
    verdicts
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
