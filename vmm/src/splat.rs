//! `vmm splat`: what a console log of any kernel holds against it.

use crate::exit;
use clap::Args;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// Find kernel splats (WARN, oops, KASAN, lockdep, stalls, ...) in console logs of any kernel.
///
/// Reads `dmesg`, serial console captures, /dev/kmsg records and syslog files alike. Exits 0 whether or not
/// anything is found; 2 when a file can't be read.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dmesg | vmm splat -
  vmm splat --json console.log | jq '.[].title'")]
pub struct SplatArgs {
    /// Logs; `-` reads the standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print one JSON array of all findings instead of text
    #[arg(long)]
    pub json: bool,
}

/// Prints the findings of all files; returns the exit code.
pub fn splat(args: &SplatArgs) -> u8 {
    let mut findings = Vec::new();
    let mut unreadable = false;
    for file in &args.files {
        match base::input::read(file) {
            Ok(log) => findings.extend(splat::scan(&log)),
            Err(error) => {
                eprintln!("error: failed to read {}: {error}", file.display());
                unreadable = true;
            }
        }
    }
    let text = match args.json {
        true => serde_json::to_string_pretty(&findings).expect("findings are plain data") + "\n",
        false => splat::render(&findings),
    };
    // A reader that went away (`| head`) has what it wanted.
    let _ = io::stdout().write_all(text.as_bytes());
    exit::code(if unreadable { judge::Verdict::BadInput } else { judge::Verdict::Pass })
}
