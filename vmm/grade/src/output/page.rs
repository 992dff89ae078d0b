//! A student's page, as blocks that can be written in any format.

use crate::{
    assignment::{Assignment, Show},
    record::{Finding, Record, Run, State, Step, Test},
    run::is_shown,
};

/// A piece of a page. Texts are plain; whoever writes them escapes what its format takes for more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A heading, 1 to 3.
    Heading(u8, String),
    /// A paragraph.
    Text(String),
    /// Several lines, each with its dot.
    List(Vec<String>),
    /// Column heads and rows.
    Table(Vec<String>, Vec<Vec<String>>),
    /// What a machine said.
    Quoted(String),
}

/// Who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Sees visible tests, and of failures what the assignment allows.
    Student,
    /// Sees everything.
    Teacher,
}

/// The page.
pub fn of(assignment: &Assignment, record: &Record, reader: Reader) -> Vec<Block> {
    let mut page = vec![Block::Heading(1, format!("{}: {}", assignment.title, record.student))];
    grade(assignment, record, reader, &mut page);
    build(record, &mut page);
    let detail = reader == Reader::Teacher || assignment.show == Show::Everything;
    for test in record.tests.iter().filter(|test| reader == Reader::Teacher || is_shown(test)) {
        if test.is_whole() && test.other.is_none() {
            continue;
        }
        page.push(Block::Heading(2, format!("{}: {} of {}", test.name, test.points, test.of)));
        page.extend(in_words(test, detail, reader));
    }
    page
}

fn grade(assignment: &Assignment, record: &Record, reader: Reader, page: &mut Vec<Block>) {
    page.push(Block::Heading(2, "Grade".to_owned()));
    let hidden = record.tests.iter().any(|test| !is_shown(test));
    page.push(Block::Text(match (record.state, reader) {
        (State::NotGraded, _) => {
            "This could not be graded, which is not your fault: it will be tried again.".to_owned()
        }
        // Who knew the sum would know what hidden tests came to.
        (_, Reader::Student) if hidden => "Some tests are not shown here, so there is no sum.".to_owned(),
        _ => format!("{} of {} points.", record.points, record.of),
    }));
    if let Some(why) =
        record.why.as_ref().filter(|_| reader == Reader::Teacher || record.state == State::Unusable)
    {
        page.push(Block::Quoted(why.clone()));
    }
    if !record.notes.is_empty() {
        page.push(Block::List(record.notes.clone()));
    }
    let mut rows = Vec::new();
    for test in record.tests.iter().filter(|test| reader == Reader::Teacher || is_shown(test)) {
        let mut verdict = match (&test.not_graded, &test.run) {
            (Some(_), _) => "not graded".to_owned(),
            (None, Some(run)) => run.verdict.clone(),
            (None, None) => "not run".to_owned(),
        };
        if test.other.is_some() {
            verdict = format!("unstable: {verdict}");
        }
        let points = match test.not_graded {
            Some(_) => "-".to_owned(),
            None => test.points.to_string(),
        };
        rows.push(vec![test.name.clone(), points, test.of.to_string(), verdict]);
        // A group shows where its points went.
        let parts =
            test.run.iter().flat_map(|run| &run.parts).filter(|_| assignment.show == Show::Everything);
        if test.run.as_ref().is_some_and(|run| run.parts.len() > 1) {
            for part in parts {
                rows.push(vec![
                    format!("· {}", part.name),
                    part.points.to_string(),
                    part.of.to_string(),
                    String::new(),
                ]);
            }
        }
    }
    for penalty in &record.penalties {
        rows.push(vec![
            penalty.what.clone(),
            format!("-{}", penalty.points),
            String::new(),
            "deducted".to_owned(),
        ]);
    }
    let heads = ["", "points", "of", "came to"].map(str::to_owned);
    page.push(Block::Table(heads.into(), rows));
}

fn build(record: &Record, page: &mut Vec<Block>) {
    if record.build.errors.is_none() && record.build.warnings.is_empty() {
        return;
    }
    page.push(Block::Heading(2, "Build".to_owned()));
    if let Some(errors) = &record.build.errors {
        page.push(Block::Quoted(errors.clone()));
    }
    for warning in &record.build.warnings {
        page.push(Block::Quoted(warning.clone()));
    }
}

/// What became of a test that did not get all points.
pub fn in_words(test: &Test, detail: bool, reader: Reader) -> Vec<Block> {
    let mut blocks: Vec<Block> = test.hint.iter().map(|hint| Block::Text(hint.clone())).collect();
    if let Some(why) = &test.not_graded {
        blocks.push(Block::Text("Its points are not known; it will be run again.".to_owned()));
        blocks.extend((reader == Reader::Teacher).then(|| Block::Quoted(why.clone())));
    }
    if let Some(run) = test.run.as_ref().filter(|_| detail) {
        blocks.extend(of_run(run));
    }
    if let Some(other) = test.other.as_ref().filter(|_| reader == Reader::Teacher) {
        blocks.push(Block::Heading(
            3,
            format!("Another run came to {}: {} points", other.verdict, other.points),
        ));
        blocks.extend(of_run(other));
    }
    blocks
}

fn of_run(run: &Run) -> Vec<Block> {
    let mut blocks = Vec::new();
    if !run.reason.is_empty() {
        blocks.push(Block::Text(run.reason.clone()));
    }
    let doubt = run.doubt.iter().map(|doubt| &doubt.why).filter(|why| **why != run.reason);
    blocks.extend(doubt.map(|why| Block::Text(format!("And the run is in doubt: {why}."))));
    let failed =
        run.steps.iter().flat_map(|step| step.failures.iter().map(move |it| (step.title.as_str(), it)));
    let of_run = run.failures.iter().map(|it| ("the whole run", it));
    let rows: Vec<Vec<String>> = failed
        .chain(of_run)
        .map(|(title, it)| vec![title.to_owned(), it.what.clone(), it.expected.clone(), it.got.clone()])
        .collect();
    if !rows.is_empty() {
        blocks.push(Block::Table(["step", "of it", "expected", "got"].map(str::to_owned).into(), rows));
    }
    let why: Vec<String> = run
        .steps
        .iter()
        .filter(|step| step.bad || step.verdict == "skipped")
        .filter_map(|step| Some(format!("{}: {}", step.title, step.why.as_ref()?)))
        .collect();
    if !why.is_empty() {
        blocks.push(Block::List(why));
    }
    for finding in &run.findings {
        blocks.extend(of_finding(finding));
    }
    for step in run.steps.iter().filter(|step| step.bad) {
        blocks.extend(said(step));
    }
    if !run.standing.is_empty() {
        blocks.push(Block::Heading(3, "Where it hung".to_owned()));
        blocks.push(Block::Quoted(run.standing.join("\n")));
    }
    if !run.log.is_empty() {
        blocks.push(Block::Heading(3, "The end of the kernel's log".to_owned()));
        blocks.push(Block::Quoted(run.log.join("\n")));
    }
    blocks
}

fn of_finding(finding: &Finding) -> Vec<Block> {
    let step = finding.step.as_ref().map_or(String::new(), |step| format!(", during {step}"));
    let place = finding.place.as_ref().map_or(String::new(), |place| format!(" at {place}"));
    let allowed = if finding.counts { "" } else { " (not held against you)" };
    let title = format!("The kernel found: {}{place}{allowed}", finding.title);
    let text = format!("{}{step}; fingerprint {}", finding.gravity, finding.fingerprint);
    let mut blocks = vec![Block::Heading(3, title), Block::Text(text)];
    if !finding.frames.is_empty() {
        blocks.push(Block::Quoted(finding.frames.join("\n")));
    }
    blocks
}

fn said(step: &Step) -> Vec<Block> {
    let mut blocks = Vec::new();
    if !step.output.is_empty() {
        blocks.push(Block::Heading(3, format!("{} printed", step.title)));
        blocks.push(Block::Quoted(step.output.clone()));
    }
    if !step.log.is_empty() {
        blocks.push(Block::Heading(3, format!("The kernel logged during {}", step.title)));
        blocks.push(Block::Quoted(step.log.join("\n")));
    }
    blocks
}
