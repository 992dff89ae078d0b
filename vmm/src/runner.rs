//! GitHub's runner reads commands from a job's log: lines that begin with `::`, and `##[...]` anywhere in one
//! (docs.github.com, "Workflow commands for GitHub Actions"). What a guest, a student or a commit's author wrote must not become one, so they are
//! stopped before anything of it is printed.
//!
//! The runner reads standard output and standard error by two pipes, and handles what has come by the second before what has come by the first, so
//! nothing is known of the order of two lines in different streams. Both say that commands are stopped, as the first of all. What lets them in
//! again stands on standard output alone, behind all that was printed there, and what goes to standard error holds no command ([`broken`]). Where
//! standard output is an answer that somebody else may read, only standard error says it, and commands stay stopped: their state ends with
//! the job's step.

use crate::cli::Command;
use base::progress;
use std::{
    env,
    fs::File,
    io::{self, Read, Write},
    os::fd::AsFd,
    sync::OnceLock,
};

/// How commands were stopped.
struct Stopped {
    /// The word that lets them in again.
    token: String,
    /// Who reads standard output.
    reader: Reader,
}

/// Who reads standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// A person, in the job's log.
    Person,
    /// A program, or a file.
    Program,
}

static STOPPED: OnceLock<Stopped> = OnceLock::new();

/// Stops commands, where there is a runner, for a subcommand that prints what others wrote.
///
/// # Errors
/// No random word can be drawn.
pub fn stop(command: &Command) -> io::Result<()> {
    let of_others = matches!(
        command,
        Command::Run(_)
            | Command::Kselftest(_)
            | Command::Kunit(_)
            | Command::Bisect(_)
            | Command::Explain(_)
            | Command::Grade(_)
            | Command::Kernel(_)
            | Command::Module(_)
            | Command::Report(_)
            | Command::Splat(_)
    );
    if of_others && env::var_os("GITHUB_ACTIONS").is_some_and(|it| it == "true") {
        let reader = if is_file(io::stdout()) { Reader::Program } else { reader(command) };
        let stopped = Stopped { token: draw()?, reader };
        stopped.stop(&mut io::stdout(), &mut io::stderr());
        let _ = STOPPED.set(stopped);
        progress::show_as(for_stderr);
    }
    Ok(())
}

impl Stopped {
    /// In each stream that the runner reads and nobody else, before anything else.
    fn stop(&self, out: &mut impl Write, err: &mut impl Write) {
        let line = format!("::stop-commands::{}\n", self.token);
        let _ = err.write_all(line.as_bytes());
        if self.reader == Reader::Person {
            let _ = out.write_all(line.as_bytes());
        }
    }

    /// Behind all that was printed, so never in a stream that did not print it.
    fn resume(&self, out: &mut impl Write) {
        if self.reader == Reader::Person {
            let _ = writeln!(out, "::{}::", self.token);
        }
    }
}

/// What is asked for where it is printed, such as `$(vmm kernel hash)`, is read as it is.
fn reader(command: &Command) -> Reader {
    let is_answer = match command {
        Command::Kernel(_) => true,
        Command::Bisect(args) => args.prints_log(),
        Command::Report(args) => args.prints_answer(),
        Command::Splat(args) => args.json,
        _ => false,
    };
    if is_answer { Reader::Program } else { Reader::Person }
}

/// A runner reads pipes.
fn is_file(stream: impl AsFd) -> bool {
    let meta = stream.as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    meta.is_ok_and(|meta| meta.is_file())
}

/// The word by which commands are stopped; none if they are not.
pub fn token() -> Option<&'static str> {
    STOPPED.get().map(|stopped| &*stopped.token)
}

/// Lets commands in again, for whatever comes behind this program in a job's step.
pub fn resume() {
    if let Some(stopped) = STOPPED.get() {
        stopped.resume(&mut io::stdout());
    }
}

/// What goes to standard error: where a runner reads that, it holds no command.
pub fn for_stderr(text: String) -> String {
    if STOPPED.get().is_some() { broken(&text) } else { text }
}

/// A text of which no line is a command: the last character of what would begin one is shown by its number.
fn broken(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        // Only ASCII: the runner compares as its language does, for which some characters are none.
        let mut seen = String::new();
        for c in line.chars() {
            match c {
                ':' if seen.trim_start() == ":" => shown += "\\x3a",
                '[' if seen.ends_with("##") => shown += "\\x5b",
                c => shown.push(c),
            }
            seen.extend(c.is_ascii().then_some(c));
        }
    }
    shown
}

/// A word that nobody can guess.
fn draw() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    #[test]
    fn nothing_is_written_among_what_a_program_reads() {
        let reader = |line: &str| reader(&Cli::try_parse_from(line.split(' ')).unwrap().command);
        for line in [
            "vmm kernel hash",
            "vmm kernel list",
            "vmm splat --json a.log",
            "vmm report schema",
            "vmm report diff a.json b.json",
            "vmm bisect log",
        ] {
            assert_eq!(reader(line), Reader::Program, "{line}");
        }
        for line in ["vmm run a.yaml", "vmm splat a.log", "vmm report merge a.json", "vmm bisect a.yaml"] {
            assert_eq!(reader(line), Reader::Person, "{line}");
        }
    }

    /// Standard error comes first in each batch of lines: what would let commands in there did so before the guest's own lines were read.
    #[test]
    fn commands_are_let_in_again_only_behind_what_was_printed() {
        let written = |reader| {
            let stopped = Stopped { token: "word".to_owned(), reader };
            let (mut out, mut err) = (Vec::new(), Vec::new());
            stopped.stop(&mut out, &mut err);
            stopped.resume(&mut out);
            (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
        };
        let stop = "::stop-commands::word\n";
        assert_eq!(written(Reader::Person), (format!("{stop}::word::\n"), stop.to_owned()));
        assert_eq!(written(Reader::Program), (String::new(), stop.to_owned()));
    }

    #[test]
    fn standard_error_holds_no_command() {
        let text = "error: a::b [-Wx] #[c]\n \t::error::x\n:\u{200b}:error::y\nz ###[error]z #\u{200b}#[e]";
        let safe = "error: a::b [-Wx] #[c]\n \t:\\x3aerror::x\n:\u{200b}\\x3aerror::y\nz ###\\x5berror]z #\u{200b}#\\x5be]";
        assert_eq!(broken(text), safe);
    }

    #[test]
    fn a_file_is_no_jobs_log() {
        assert!(is_file(tempfile::tempfile().unwrap()));
        assert!(!is_file(std::io::pipe().unwrap().1));
    }
}
