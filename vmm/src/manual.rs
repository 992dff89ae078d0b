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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_of_a_command_says_all_that_its_list_says_in_a_line() {
        let cli = Cli::command();
        let shown = |name: &str| cli.find_subcommand(name).unwrap();
        for command in cli.get_subcommands().filter(|it| !it.is_hide_set()) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!((1..=80).contains(&about.len()), "{}: {about}", command.get_name());
        }
        for name in
            ["run", "kselftest", "kunit", "bisect", "module", "grade", "explain", "doctor", "init", "machine"]
        {
            assert!(shown(name).get_long_about().is_some(), "{name}");
        }
        let run = shown("run").get_long_about().unwrap().to_string();
        assert!(
            run.starts_with("Run scenarios and give verdicts")
                && run.contains("the second run builds nothing"),
            "{run}"
        );
    }
}
