//! `vmm confined`, for `vmm` itself: a command behind walls.

use clap::Args;
use jail::{Rules, confined};
use std::{ffi::OsString, path::PathBuf, process::ExitCode};

/// What runs in a box where no namespaces are to be had.
#[derive(Debug, Args)]
pub struct ConfinedArgs {
    /// It is the second step
    #[arg(long)]
    pub inside: bool,
    /// It has no rights of a superuser
    #[arg(long, requires = "inside")]
    pub rightless: bool,
    /// It may read this
    #[arg(long = "read")]
    pub reads: Vec<PathBuf>,
    /// It may write this
    #[arg(long = "write")]
    pub writes: Vec<PathBuf>,
    /// It may write this, and make sockets there
    #[arg(long)]
    pub sockets: Vec<PathBuf>,
    /// It may read and write this file
    #[arg(long = "device")]
    pub devices: Vec<PathBuf>,
    /// What runs
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// Runs what is not trusted, as the leader of a box asks for it.
pub fn run(args: ConfinedArgs) -> ExitCode {
    let ConfinedArgs { inside, rightless, reads, writes, sockets, devices, command } = args;
    let rules = Rules { reads, writes, sockets, devices };
    let ended = match inside {
        true => Err(confined::inside(&rules, rightless, &command)),
        false => confined::outside(&rules, &command),
    };
    ended.map_or_else(
        |error| {
            eprintln!("failed to run {} in its box: {error}", command[0].display());
            // As a shell has it of what it can't execute.
            ExitCode::from(126)
        },
        ExitCode::from,
    )
}
