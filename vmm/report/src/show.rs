//! An old run, as the terminal showed it.

use crate::{
    Reporter,
    record::{Run, Session},
    summary,
    terminal::Terminal,
};
use judge::Judged;
use std::io::{self, Write};

/// Tells a terminal what a report remembers.
///
/// # Errors
/// It can't be written.
pub fn show(session: &Session, terminal: &mut Terminal, out: &mut dyn Write) -> io::Result<()> {
    for run in session.runs.iter().filter(|run| run.begun) {
        events(run).iter().try_for_each(|judged| terminal.event(judged))?;
    }
    if session.runs.len() != 1 {
        out.write_all(summary::text(session).as_bytes())?;
    }
    if !session.finished {
        writeln!(out, "the run did not get to its end")?;
    }
    Ok(())
}

fn events(run: &Run) -> Vec<Judged> {
    let mut all = vec![Judged::Began(run.began.clone())];
    all.extend(run.host.clone().map(Judged::Host));
    all.extend(run.kernel.clone().map(Judged::Kernel));
    all.push(Judged::Modules(run.builds.clone(), run.preflight.unwrap_or_default()));
    all.extend(run.booted.clone().map(Judged::Booted));
    for step in run.steps.iter().filter(|step| step.is_done() || run.report.is_none()) {
        all.push(Judged::StepBegan(step.index));
        let lines = run.log.iter().filter(|line| run.step_log.get(&line.seq) == Some(&step.index));
        all.extend(lines.map(|line| Judged::Log(line.clone(), Some(step.index))));
        all.push(Judged::Step(Box::new(step.clone())));
    }
    all.extend(run.report.clone().map(|report| Judged::Ended(Box::new(report))));
    all.extend(run.settled.clone().map(|settled| Judged::Settled(Box::new(settled))));
    all
}
