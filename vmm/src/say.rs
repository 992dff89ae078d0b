//! Saying things. A reader that is gone, or has seen enough, is no reason to stop.

use crate::{exit, runner};
use base::cache::Fault;
use harness::Abort;
use std::{
    fmt::Display,
    io::{self, Write},
};

/// On standard output.
pub fn out(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// What went wrong, on standard error. Diagnostics of a file begin with the word already.
pub fn error(why: &dyn Display) {
    let why = why.to_string();
    let word = if why.starts_with("error") { "" } else { "error: " };
    err(&format!("{word}{why}"));
}

/// What a person should look at, on standard error.
pub fn warning(why: &dyn Display) {
    err(&format!("warning: {why}"));
}

fn err(text: &str) {
    let _ = writeln!(io::stderr(), "{}", runner::for_stderr(base::text::escape_lines(text)));
}

/// Says what came of a command, and returns its exit code.
pub fn outcome(result: Result<String, Abort>) -> u8 {
    match result {
        Ok(text) => {
            out(&text);
            0
        }
        Err(Abort { verdict, why }) => {
            if verdict != judge::Verdict::Interrupted {
                error(&why);
            }
            exit::code(verdict)
        }
    }
}

/// Says why a command failed (`error` continues "failed to"), and returns its exit code.
pub fn failed(error: &dyn Display, fault: Fault) -> u8 {
    let Abort { verdict, why } = Abort::fault(error, fault);
    outcome(Err(Abort { verdict, why }))
}
