//! `vmm kernel patch`: do the patches still apply?

use crate::say::{failed, out as say};
use base::{
    cache::{Cache, Kind},
    project,
    wanted::Wanted,
};
use clap::{Args, Subcommand};
use kernel::{
    KernelError,
    check::{self, Outcome},
};
use std::fmt::Write;

/// Look after series of patches.
#[derive(Debug, Args)]
pub struct PatchArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say of each patch whether it applies; exits with 1 if one does not
    ///
    /// Every series of the project is tried on its own source, if that is in the cache. With --source, all of them
    /// are tried on that one. Nothing is built, and no source is changed.
    Check {
        /// Try on this source
        #[arg(long, value_name = "SOURCE")]
        source: Option<String>,
        /// Take this git revision of it
        #[arg(long, value_name = "REVISION", requires = "source")]
        revision: Option<String>,
        /// Try only this series; may be given several times
        #[arg(long, value_name = "DIR")]
        series: Vec<String>,
    },
}

/// Does what was asked for, and returns the exit code.
pub fn patch(args: &PatchArgs, cache: &Cache) -> u8 {
    let Command::Check { source, revision, series } = &args.command;
    let wanted = Wanted { source: source.clone(), revision: revision.clone(), ..Wanted::default() };
    let result = project::find(None)
        .map_err(KernelError::from)
        .and_then(|project| check::check(&wanted, series, &project, &cache.place(Kind::Kernel, ""), cache));
    match result {
        Ok(outcomes) => {
            let mut text = String::new();
            for outcome in &outcomes {
                let _ = write!(text, "{outcome}");
            }
            say(&text);
            u8::from(outcomes.iter().any(Outcome::is_bad))
        }
        Err(error) => failed(&error, error.fault()),
    }
}
