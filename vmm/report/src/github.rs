//! For GitHub Actions: annotations where people look at code, and the job's summary.
//!
//! Commands are lines of the log that begin with `::` (docs.github.com, "Workflow commands for GitHub Actions"). What a guest
//! printed must not become one: whoever makes this reporter has stopped them, and it lets them in only for its own.

use crate::{
    Reporter, failure, markdown,
    record::{Aborted, Run, Session},
};
use judge::{Began, Judged, Verdict};
use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::PathBuf,
};

/// GitHub shows so many annotations of a kind for one step of a job.
const MOST: usize = 10;
/// A step's summary must be smaller than 1 MiB.
const SUMMARY: usize = 1 << 20;

/// Writes annotations and a summary.
pub struct GitHub {
    out: Box<dyn Write + Send>,
    /// `$GITHUB_STEP_SUMMARY`.
    summary: Option<PathBuf>,
    /// The word by which commands were stopped, and that lets them in again; nobody in a guest can know it.
    token: String,
    session: Session,
}

impl GitHub {
    /// Commands go to `out`, which is the job's log, where they were stopped by `token`.
    pub fn new(out: Box<dyn Write + Send>, summary: Option<PathBuf>, token: String) -> Self {
        Self { out, summary, token, session: Session::default() }
    }

    /// Says why nothing was run, in place of all else: at the lines that are wrong, where these are known.
    ///
    /// # Errors
    /// The system's.
    pub fn abandon(&mut self, why: &Aborted) -> io::Result<()> {
        self.session = Session::planned(&[]);
        self.session.aborted = Some(why.clone());
        let all = reasons(&why.reason).map(|reason| error(place(reason), "vmm: nothing was run", reason));
        self.say(&all.collect::<Vec<_>>())?;
        self.summarise()
    }

    /// So many of these commands as GitHub shows.
    fn say(&mut self, all: &[String]) -> io::Result<()> {
        writeln!(self.out, "::{}::", self.token)?;
        all.iter().take(MOST).try_for_each(|line| writeln!(self.out, "{line}"))?;
        if all.len() > MOST {
            writeln!(self.out, "{} more annotations are in the summary", all.len() - MOST)?;
        }
        writeln!(self.out, "::stop-commands::{}", self.token)?;
        self.out.flush()
    }

    fn annotate(&mut self) -> io::Result<()> {
        // The worst first: what counts against a kernel before what this machine could not do.
        let mut runs: Vec<&Run> =
            self.session.runs.iter().filter(|run| run.is_bad() || run.word() == "flaky").collect();
        runs.sort_by_key(|run| match run.counted() {
            _ if run.verdict().is_none() => 2,
            Verdict::Infra | Verdict::BadInput | Verdict::Interrupted => 1,
            Verdict::Pass => 3,
            _ => 0,
        });
        let all: Vec<String> = runs.iter().flat_map(|run| annotations(run)).collect();
        self.say(&all)
    }

    fn summarise(&self) -> io::Result<()> {
        let Some(path) = &self.summary else { return Ok(()) };
        let mut text = markdown::render(&self.session);
        if text.len() >= SUMMARY {
            let end = (0..SUMMARY - 100).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
            text += "\n\n(cut: a summary holds 1 MiB)\n";
        }
        OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())
    }
}

impl Reporter for GitHub {
    fn begin(&mut self, all: &[Began]) -> io::Result<()> {
        self.session = Session::planned(all);
        Ok(())
    }

    fn event(&mut self, judged: &Judged) -> io::Result<()> {
        self.session.event(judged);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.session.finished = true;
        self.annotate()?;
        self.summarise()
    }
}

/// The messages of a text, each from its word `error` on.
fn reasons(text: &str) -> impl Iterator<Item = &str> {
    let begins = text.match_indices("\nerror").map(|(at, _)| at + 1);
    let begins: Vec<usize> = std::iter::once(0).chain(begins).collect();
    let ends = begins.iter().skip(1).copied().chain([text.len()]).collect::<Vec<_>>();
    begins.into_iter().zip(ends).map(|(begin, end)| text[begin..end].trim_end())
}

/// The file and line that a message is about, as [`base::diagnostic`] shows them.
fn place(reason: &str) -> Option<(&str, usize)> {
    let place = reason.lines().find_map(|line| line.trim_start().strip_prefix("--> "))?;
    let mut parts = place.rsplitn(3, ':');
    let (_column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
    Some((file, line.parse().ok()?))
}

/// One line each: failed steps and expectations at the scenario's line, findings at their line of code.
fn annotations(run: &Run) -> Vec<String> {
    let path = run.path();
    if run.word() == "flaky" {
        return vec![command(
            if run.is_bad() { "error" } else { "warning" },
            Some((&path, 1)),
            &format!("{}: flaky", run.title()),
            &run.remarks().join("\n"),
        )];
    }
    let mut lines = Vec::new();
    for step in run.steps.iter().filter(|step| step.verdict.is_bad()) {
        let line = step.failures.first().map_or(step.line, |failure| failure.line);
        let title = format!("{}: {}", run.title(), step.title);
        lines.push(error(Some((&path, line)), &title, &failure::in_full(step, &path)));
    }
    let Some(report) = &run.report else {
        return vec![error(Some((&path, 1)), &run.title(), &run.reason())];
    };
    for finding in report.findings.iter().filter(|finding| finding.counts()) {
        let place = finding.splat.file_line.as_deref().and_then(|place| {
            let (file, line) = place.rsplit_once(':')?;
            Some((file, line.parse().ok()?))
        });
        let text = finding.splat.frames.iter().take(8).map(|frame| format!("{frame}\n")).collect::<String>();
        lines.push(error(place.or(Some((&path, 1))), &finding.splat.title, &text));
    }
    for failure in &report.failures {
        let text = format!("{}: expected {}, got {}", failure.what, failure.expected, failure.got);
        lines.push(error(Some((&path, failure.line)), &run.title(), &text));
    }
    if lines.is_empty() {
        let title = format!("{}: {}", run.title(), run.word());
        lines.push(error(Some((&path, 1)), &title, &run.reason()));
    }
    lines
}

fn error(place: Option<(&str, usize)>, title: &str, text: &str) -> String {
    command("error", place, title, text)
}

fn command(kind: &str, place: Option<(&str, usize)>, title: &str, text: &str) -> String {
    let place = place.map_or(String::new(), |(file, line)| format!("file={},line={line},", property(file)));
    let text = base::text::escape_lines(text.trim_end());
    format!("::{kind} {place}title={}::{}", property(title), data(&text))
}

/// As the runner's own toolkit escapes a command's data.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The same for a property, in which `:` and `,` mean something.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
