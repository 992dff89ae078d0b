//! The run for a person: one line a step, as it ends; what failed, expected beside got.

use super::{Reporter, trace};
use crate::failure::{Circumstance, circumstances};
use crate::suites::{Suite, suites};
use anstyle::{AnsiColor, Style};
use base::text::{escape, time};
use board::wire::Door;
use engine::event::{Booted, Start};
use judge::{
    Began, Build, Excuse, Failure, Judged, JudgedStep, Kernel, RunReport, Settled, StepVerdict, SyscallRow,
    Verdict, untold_calls,
};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

/// Times are aligned behind this column where the titles leave room.
const TITLE: usize = 48;
/// So many frames of a finding are shown; JSON has them all.
const FRAMES: usize = 3;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const ODD: Style = AnsiColor::Yellow.on_default().bold();
const FAINT: Style = Style::new().dimmed();

/// Writes a run as text.
pub struct Terminal {
    out: Box<dyn Write + Send>,
    colour: bool,
    path: PathBuf,
    /// The scenario's name, with the kernel's where there are several.
    name: String,
    detail: Detail,
    /// What the kernel logged in the step that is being done.
    logged: Vec<String>,
}

/// How much is shown of a step that went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Its line.
    #[default]
    Line,
    /// Also what its program printed, and what the kernel logged.
    Everything,
}

/// So many lines of a step's log are shown, and of its program's output.
const SHOWN: usize = 40;

impl Terminal {
    /// Writes to `out`, with colours if wanted.
    pub fn new(out: Box<dyn Write + Send>, colour: bool) -> Self {
        Self {
            out,
            colour,
            path: PathBuf::new(),
            name: String::new(),
            detail: Detail::Line,
            logged: Vec::new(),
        }
    }

    /// Writes to standard output; in colour if that is a terminal and NO_COLOR is not set.
    pub fn stdout() -> Self {
        let colour = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        Self::new(Box::new(io::stdout()), colour)
    }

    /// Shows more, or less, of steps that go well.
    pub fn with(mut self, detail: Detail) -> Self {
        self.detail = detail;
        self
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn head(&mut self, what: &str, text: &str) -> io::Result<()> {
        let text = escape(text);
        writeln!(self.out, "{}{text}", self.paint(FAINT, &format!("{what:<10}")))
    }

    fn kernel(&mut self, kernel: &Kernel) -> io::Result<()> {
        let hash: String = kernel.hash.chars().take(7).collect();
        let release = kernel.release.as_ref().map_or(String::new(), |release| format!("{release} "));
        let how = if kernel.cached { "cached".into() } else { format!("built in {}", time(kernel.build)) };
        self.head("kernel", &format!("{release}{hash} ({how})"))?;
        kernel.warnings.iter().try_for_each(|warning| self.head("warning", warning))
    }

    /// A warning's first line; the report has all of it.
    fn builds(&mut self, builds: &[Build]) -> io::Result<()> {
        let warnings = builds.iter().flat_map(|build| &build.warnings);
        warnings.filter_map(|warning| warning.lines().next()).try_for_each(|head| self.head("warning", head))
    }

    fn booted(&mut self, booted: &Booted) -> io::Result<()> {
        let ready = time(booted.ready);
        let how = match &booted.start {
            Start::Booted { .. } => {
                format!("agent ready in {ready}, {} exits, Linux {}", booted.exits, booted.release)
            }
            Start::Saved { name, cold } => {
                format!("saved machine {name}, ready in {ready} (cold: {})", time(*cold))
            }
            Start::Back { name, cold, .. } => {
                format!("saved machine {name}, reset in {ready} (cold: {})", time(*cold))
            }
        };
        self.head("boot", &how)?;
        booted.notes.iter().try_for_each(|note| self.head("warning", note))?;
        match &booted.not_trapping {
            Some(why) => self.head("warning", &format!("system calls are not counted: {why}")),
            None => Ok(()),
        }
    }

    fn step(&mut self, step: &JudgedStep) -> io::Result<()> {
        let label = match step.verdict {
            StepVerdict::Pass => self.paint(GOOD, "PASS"),
            StepVerdict::Fail => self.paint(BAD, "FAIL"),
            StepVerdict::Timeout => self.paint(BAD, "TIMEOUT"),
            StepVerdict::Skipped | StepVerdict::NotRun => self.paint(ODD, "SKIP"),
        };
        let title = &step.title;
        match step.took {
            Some(took) => {
                // Formatting pads by characters.
                let time = self.paint(FAINT, &format!("{:>9}", time(took)));
                writeln!(self.out, "{label}  {title:<TITLE$} {time}")?;
            }
            None => writeln!(self.out, "{label}  {title}")?,
        }
        if let Some(why) = &step.why {
            writeln!(self.out, "      {}", escape(why))?;
        }
        if step.verdict != StepVerdict::Pass && step.failures.is_empty() {
            self.place(step.line)?;
        }
        step.failures.iter().try_for_each(|failure| self.failure(failure))?;
        let logged = std::mem::take(&mut self.logged);
        if step.verdict.is_bad() { self.circumstances(step) } else { self.came(step, &logged) }
    }

    /// What a good step brought, for who wants to see it.
    fn came(&mut self, step: &JudgedStep, logged: &[String]) -> io::Result<()> {
        if self.detail == Detail::Line {
            return Ok(());
        }
        let output =
            step.result.as_ref().and_then(|result| result.output.as_ref().filter(|_| result.exit.is_some()));
        let printed = output.iter().flat_map(|excerpt| excerpt.text.lines()).map(escape).collect::<Vec<_>>();
        for (heading, lines) in [("it printed", &printed[..]), ("the kernel logged", logged)] {
            if !lines.is_empty() {
                writeln!(self.out, "      {heading}")?;
            }
            for line in lines.iter().take(SHOWN) {
                writeln!(self.out, "        {line}")?;
            }
            if lines.len() > SHOWN {
                writeln!(self.out, "        ... {} lines more ...", lines.len() - SHOWN)?;
            }
        }
        Ok(())
    }

    /// What a program printed last, and what the kernel logged, where a step went wrong. Indented, none of it looks like a
    /// verdict.
    fn circumstances(&mut self, step: &JudgedStep) -> io::Result<()> {
        for circumstance in circumstances(step) {
            match circumstance {
                Circumstance::Heading(text) => writeln!(self.out, "      {text}")?,
                Circumstance::Quoted { text, bad } => {
                    let text = if bad { self.paint(BAD, &text) } else { text };
                    writeln!(self.out, "        {text}")?;
                }
            }
        }
        Ok(())
    }

    fn failure(&mut self, failure: &Failure) -> io::Result<()> {
        write!(self.out, "      ")?;
        self.difference(failure)
    }

    fn difference(&mut self, failure: &Failure) -> io::Result<()> {
        let expected = self.paint(GOOD, &escape(&failure.expected));
        let got = self.paint(BAD, &escape(&failure.got));
        writeln!(self.out, "{}: expected {expected}, got {got}", escape(&failure.what))?;
        self.place(failure.line)
    }

    fn place(&mut self, line: usize) -> io::Result<()> {
        let place = format!("      at {}:{line}", escape(&self.path.display().to_string()));
        writeln!(self.out, "{}", self.paint(FAINT, &place))
    }

    fn ended(&mut self, report: &RunReport) -> io::Result<()> {
        let done = |step: &&JudgedStep| step.verdict != StepVerdict::NotRun;
        let missed = report.steps.iter().rev().take_while(|step| !done(step)).count();
        if missed > 0 {
            let first = &report.steps[report.steps.len() - missed];
            let label = self.paint(ODD, "SKIP");
            let plural = if missed == 1 { "" } else { "s" };
            writeln!(self.out, "{label}  {missed} step{plural} not run, the first: {}", first.title)?;
        }
        self.calls(&report.syscalls)?;
        if !report.exits.is_empty() {
            let all: u64 = report.exits.values().fold(0, |sum, count| sum.saturating_add(*count));
            let until: u64 =
                report.exits_until_ready.values().fold(0, |sum, count| sum.saturating_add(*count));
            self.head(
                "exits",
                &format!("{until} until the agent was ready, {all} in all{}", most(&report.exits)),
            )?;
        }
        for (device, count) in &report.device_errors {
            self.head("warning", &format!("the guest broke the rules of {device} {count} times"))?;
        }
        for Suite { name, passed, failed, skipped } in suites(&report.subtests) {
            let label = match (passed, failed) {
                (_, 1..) => self.paint(BAD, "FAIL"),
                (0, 0) => self.paint(ODD, "SKIP"),
                _ => self.paint(GOOD, "PASS"),
            };
            let counts = [(passed, "passed"), (failed, "failed"), (skipped, "skipped")];
            let counts: Vec<String> = counts
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, word)| format!("{count} {word}"))
                .collect();
            writeln!(self.out, "{label}  {}: {}", escape(&name), counts.join(", "))?;
        }
        for failure in &report.failures {
            let label = self.paint(BAD, "FAIL");
            write!(self.out, "{label}  ")?;
            self.difference(failure)?;
        }
        self.findings(report)?;
        for unseen in &report.unknown {
            self.head("warning", &unseen.to_string())?;
        }
        if report.log_lost > 0 {
            let lost = report.log_lost;
            let why = "the guest logged faster than it could be read";
            self.head("warning", &format!("{lost} lines of the kernel's log are not known: {why}"))?;
        }
        for line in &report.standing {
            self.head("stood", line)?;
        }
        self.log(report)?;
        self.verdict(report)
    }

    /// What all attempts came to, where a reader does not know it from the last one.
    fn settled(&mut self, settled: &Settled) -> io::Result<()> {
        let label = settled.word().to_uppercase();
        let label = self.paint(if settled.verdict == Verdict::Pass { ODD } else { BAD }, &label);
        let name = escape(&self.name);
        crate::record::remarks(settled)
            .iter()
            .try_for_each(|remark| writeln!(self.out, "{label}  {name}: {}", escape(remark)))
    }

    fn findings(&mut self, report: &RunReport) -> io::Result<()> {
        for finding in &report.findings {
            let step = finding.step.and_then(|index| report.steps.get(index));
            let during = step.map_or(String::new(), |step| format!(" (during {})", step.title));
            let often = if finding.count > 1 { format!(", {} times", finding.count) } else { String::new() };
            let excuse = match &finding.excuse {
                // The step's title says it.
                Some(Excuse::Expected) if during.contains(", as expected") => String::new(),
                Some(Excuse::Expected) => ", as expected".to_owned(),
                Some(Excuse::Allowed(reason)) => format!(", allowed: {reason}"),
                None => String::new(),
            };
            let title = &finding.splat.title;
            self.head(finding.gravity.name(), &format!("{title}{during}{often}{excuse}"))?;
            for line in details(&finding.splat) {
                writeln!(self.out, "          {}", escape(&line))?;
            }
        }
        Ok(())
    }

    fn log(&mut self, report: &RunReport) -> io::Result<()> {
        if !report.log_tail.is_empty() {
            writeln!(self.out, "the kernel's log, its end")?;
        }
        for record in &report.log_tail {
            let line = format!("  [{:>12.6}] {}", record.time.as_secs_f64(), escape(&record.text));
            let line = if record.level <= 3 { self.paint(BAD, &line) } else { line };
            writeln!(self.out, "{line}")?;
        }
        if !report.console_tail.is_empty() {
            writeln!(self.out, "the console, its end")?;
            for line in report.console_tail.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev() {
                writeln!(self.out, "  {}", escape(line.trim_end_matches('\r')))?;
            }
        }
        Ok(())
    }

    fn calls(&mut self, rows: &[SyscallRow]) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        writeln!(self.out, "system calls seen by the hypervisor")?;
        let counted: Vec<&SyscallRow> = rows.iter().filter(|row| row.count() > 0).collect();
        let width = counted.iter().map(|row| named(row).chars().count()).max().unwrap_or(0).clamp(16, 40);
        for row in counted {
            let errors: Vec<String> =
                row.errors.iter().map(|(errno, count)| format!("{count} {errno}")).collect();
            let errors =
                if errors.is_empty() { String::new() } else { format!("   ({})", errors.join(", ")) };
            let line = format!("  {:<width$}{:>7}{errors}", escape(&named(row)), row.count());
            writeln!(self.out, "{line}")?;
        }
        let agent: u64 = rows.iter().fold(0, |sum, row| sum.saturating_add(row.agent));
        if agent > 0 {
            let line = format!("  {:<width$}{agent:>7}", "(by the agent)");
            writeln!(self.out, "{}", self.paint(FAINT, &line))?;
        }
        Ok(())
    }

    fn verdict(&mut self, report: &RunReport) -> io::Result<()> {
        let good = report.verdict == Verdict::Pass;
        let label = report.verdict.to_string().to_uppercase();
        let label = self.paint(if good { GOOD } else { BAD }, &label);
        let name = escape(&report.scenario);
        let untold = untold_calls(&report.unknown).map_or(String::new(), |calls| format!("; {calls}"));
        if !good {
            // A compiler says several lines. Indented, none of them looks like a verdict.
            let reason: Vec<String> = report.reason.to_string().lines().map(escape).collect();
            return writeln!(self.out, "{label}  {name}: {}{untold}", reason.join("\n  "));
        }
        let (steps, expectations) = (report.steps.len(), report.expectations);
        let skipped = report.steps.iter().filter(|step| step.verdict == StepVerdict::Skipped).count();
        let skipped = if skipped > 0 { format!(" ({skipped} skipped)") } else { String::new() };
        writeln!(
            self.out,
            "{label}  {name}: {steps} step{}{skipped}, {expectations} expectation{}, {:.1} s{untold}",
            if steps == 1 { "" } else { "s" },
            if expectations == 1 { "" } else { "s" },
            report.ran.as_secs_f64()
        )
    }
}

impl Reporter for Terminal {
    fn event(&mut self, judged: &Judged) -> io::Result<()> {
        match judged {
            Judged::Began(Began { path, notes, drawn, scenario, variant, attempt, .. }) => {
                if !self.path.as_os_str().is_empty() {
                    writeln!(self.out)?;
                }
                self.path.clone_from(path);
                self.name =
                    if variant.is_empty() { scenario.clone() } else { format!("{scenario} [{variant}]") };
                if !variant.is_empty() {
                    let name = self.name.clone();
                    self.head("scenario", &name)?;
                }
                if *attempt > 1 {
                    self.head("attempt", &attempt.to_string())?;
                }
                notes.iter().try_for_each(|note| self.head("warning", note))?;
                drawn.iter().try_for_each(|(name, value)| self.head("drawn", &format!("{name}={value}")))?;
            }
            Judged::Host(host) => self.head("host", host)?,
            Judged::Kernel(kernel) => self.kernel(kernel)?,
            Judged::Modules(builds, _) => self.builds(builds)?,
            Judged::Booted(booted) => self.booted(booted)?,
            Judged::Step(step) => self.step(step)?,
            Judged::Ended(report) => self.ended(report)?,
            Judged::Settled(settled) => self.settled(settled)?,
            Judged::Call(name, seen) => {
                let who = seen
                    .process
                    .as_ref()
                    .map_or(String::new(), |(pid, name)| format!("[{pid} {}] ", escape(name)));
                let text = format!("{who}{} = {}", trace::call(name, seen), trace::result(seen));
                writeln!(self.out, "      {}", self.paint(FAINT, &text))?;
            }
            Judged::LeftOut(left_out) => {
                let why = "no room while others were told; `-j 1` leaves nothing out";
                self.head("warning", &format!("left out: {left_out} ({why})"))?;
            }
            Judged::StepBegan(_) => self.logged.clear(),
            // A line more than is shown tells that there is one.
            Judged::Log(record, Some(_))
                if self.detail == Detail::Everything && self.logged.len() < 10_000 =>
            {
                self.logged.push(escape(&record.text));
            }
            Judged::Log(..) | Judged::Console(_) | Judged::Attempt(_) => {}
        }
        self.out.flush()
    }
}

/// What a person needs of a finding beside its title: where, in whose context, how it came there.
fn details(splat: &splat::Finding) -> Vec<String> {
    let mut lines = Vec::new();
    if splat.kind == splat::Kind::Warn {
        // The author's own message comes before the kernel's head.
        let message = splat.excerpt.iter().take_while(|line| !line.starts_with("WARNING: "));
        lines.extend(message.take(FRAMES).cloned());
    }
    let mut place = Vec::new();
    if let Some(file_line) = &splat.file_line {
        place.push(format!("at {file_line}"));
    }
    if let Some(cpu) = splat.cpu {
        place.push(format!("CPU {cpu}"));
    }
    match (splat.pid, &splat.comm) {
        (Some(pid), Some(comm)) => place.push(format!("pid {pid} ({comm})")),
        (Some(pid), None) => place.push(format!("pid {pid}")),
        (None, _) => {}
    }
    if let Some(taint) = splat.taint.as_deref().filter(|taint| !taint.is_empty()) {
        place.push(format!("taint {taint}"));
    }
    if !place.is_empty() {
        lines.push(place.join(", "));
    }
    let frames = splat.telling_frames();
    lines.extend(frames.iter().take(FRAMES).map(|frame| format!("  {frame}")));
    if frames.len() > FRAMES {
        lines.push(format!("  ... and {} more", frames.len() - FRAMES));
    }
    lines.extend(splat.panicked.as_ref().map(|why| format!("then the kernel panicked: {why}")));
    if splat.corrupted {
        lines.push(format!("the report is damaged: {}", splat.damage.join("; ")));
    }
    lines.push(format!("fingerprint {}", splat.fingerprint.get(..8).unwrap_or(&splat.fingerprint)));
    lines
}

/// The three most frequent kinds.
fn most(exits: &BTreeMap<String, u64>) -> String {
    let mut kinds: Vec<_> = exits.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let kinds: Vec<String> = kinds.iter().take(3).map(|(kind, count)| format!("{kind} {count}")).collect();
    format!(" ({})", kinds.join(", "))
}

/// A call's name, and its door where that is none of 64-bit programs'.
fn named(row: &SyscallRow) -> String {
    let door = match row.door {
        Door::Syscall64 => return row.name.clone(),
        Door::Syscall32 => "32-bit syscall",
        Door::Sysenter => "sysenter",
        Door::Int80 => "int 0x80",
    };
    format!("{}, {door}", row.name)
}
