//! GitHub's runner reads commands from a job's log: lines that begin with `::`, and `##[...]` anywhere in one
//! (docs.github.com, "Workflow commands for GitHub Actions"). What a guest, a student or a commit's author wrote must not become one, so they are
//! stopped before anything of it is printed.
//!
//! The runner reads standard output and standard error. Where standard output is an answer that somebody else may read, only standard error says
//! it, and the answer can't hold a command.

use crate::{cli::Command, say};
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
        stopped.say(&format!("::stop-commands::{}\n", stopped.token));
        let _ = STOPPED.set(stopped);
    }
    Ok(())
}

impl Stopped {
    /// Where the runner reads it, and nobody else.
    fn say(&self, line: &str) {
        let _ = io::stderr().write_all(line.as_bytes());
        if self.reader == Reader::Person {
            say::out(line);
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
        stopped.say(&format!("::{}::\n", stopped.token));
    }
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

    #[test]
    fn a_file_is_no_jobs_log() {
        assert!(is_file(tempfile::tempfile().unwrap()));
        assert!(!is_file(std::io::pipe().unwrap().1));
    }
}
