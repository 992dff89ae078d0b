//! Completions for shells, and man pages: both made of the command line's own definition.

use crate::{cli::Cli, say};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use harness::Abort;
use std::{fs, io, path::PathBuf};

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  vmm completions bash > ~/.local/share/bash-completion/completions/vmm")]
pub struct CompletionsArgs {
    /// Which
    #[arg(value_enum)]
    shell: Shell,
}

/// Write man pages, one for each command
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where to; the folder is made
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Prints them.
pub fn completions(args: &CompletionsArgs) -> u8 {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vmm", &mut text);
    say::out(&String::from_utf8_lossy(&text));
    0
}

/// Writes them.
pub fn man(args: &ManArgs) -> u8 {
    let write = || -> io::Result<String> {
        fs::create_dir_all(&args.folder)?;
        clap_mangen::generate_to(Cli::command(), &args.folder)?;
        Ok(String::new())
    };
    say::outcome(
        write().map_err(|error| Abort::infra(format!("failed to write {}: {error}", args.folder.display()))),
    )
}
