//! GitHub's runner reads commands from a job's log: lines that begin with `::`, and `##[...]` anywhere in one
//! (docs.github.com, "Workflow commands for GitHub Actions"). What a guest, a student or a commit's author wrote must not become one, so they are
//! stopped before anything of it is printed.

use crate::{cli::Command, say};
use std::{
    env,
    fs::File,
    io::{self, Read},
    sync::OnceLock,
};

/// The word that lets commands in again, once they are stopped.
static TOKEN: OnceLock<String> = OnceLock::new();

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
        let token = draw()?;
        let token = TOKEN.get_or_init(|| token);
        say::out(&format!("::stop-commands::{token}\n"));
    }
    Ok(())
}

/// The word by which commands are stopped; none if they are not.
pub fn token() -> Option<&'static str> {
    TOKEN.get().map(String::as_str)
}

/// Lets commands in again, for whatever comes behind this program in a job's step.
pub fn resume() {
    if let Some(token) = token() {
        say::out(&format!("::{token}::\n"));
    }
}

/// A word that nobody can guess.
fn draw() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
