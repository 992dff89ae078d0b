//! `vmm splat`: what a console log of any kernel holds against it.

use crate::{exit, say};
use ::splat::Finding;
use clap::Args;
use judge::{Gravity, Verdict};
use std::path::PathBuf;

/// Find kernel splats in console logs of any kernel.
///
/// WARN, oops, KASAN, lockdep, stalls and others. Reads `dmesg`, serial console captures, /dev/kmsg records and syslog files alike. Exits with 0 whether or not
/// anything is found (but see --exit-code), with 2 where a file can't be read.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dmesg | vmm splat -
  vmm splat --exit-code console.log
  vmm splat --json console.log | jq '.[].title'")]
pub struct SplatArgs {
    /// Logs; `-` reads the standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print one JSON array of all findings instead of text
    #[arg(long)]
    pub json: bool,
    /// Exit with 1 if something is found that is held against the kernel
    #[arg(long)]
    pub exit_code: bool,
}

/// Prints the findings of all files; returns the exit code.
pub fn splat(args: &SplatArgs) -> u8 {
    let mut findings = Vec::new();
    let mut unreadable = false;
    for file in &args.files {
        match base::input::read(file) {
            Ok(log) => findings.extend(::splat::scan(&log)),
            Err(error) => {
                say::error(&format!("failed to read {}: {error}", file.display()));
                unreadable = true;
            }
        }
    }
    let text = if args.json { json(&findings) } else { ::splat::render(&findings) };
    // A reader that went away (`| head`) has what it wanted.
    say::out(&text);
    exit::code(match unreadable {
        true => Verdict::BadInput,
        false if args.exit_code && are_against(&findings) => Verdict::Fail,
        false => Verdict::Pass,
    })
}

/// Whether one of them is held against the kernel.
fn are_against(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| Gravity::of(finding) > Gravity::Harmless)
}

/// As an array. GitHub's runner takes `##[` for the begin of a command wherever it stands, and in JSON it can be written otherwise.
fn json(findings: &[Finding]) -> String {
    let text = serde_json::to_string_pretty(findings).expect("findings are plain data");
    text.replace("##[", "#\\u0023[") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = include_str!("../splat/tests/logs/warn-x86-6.8-dmesg-levels.log");

    #[test]
    fn json_holds_no_command_and_says_the_same() {
        let mut findings = ::splat::scan(LOG.as_bytes());
        findings[0].title = "###[error]x".to_owned();
        let text = json(&findings);
        assert!(!text.contains("##[") && text.lines().all(|line| !line.trim_start().starts_with("::")));
        let again: Vec<Finding> = serde_json::from_str(&text).unwrap();
        assert_eq!(again[0].title, findings[0].title);
    }

    #[test]
    fn a_warning_is_held_against_the_kernel_and_memory_that_ran_out_is_not() {
        let found = |log: &str| are_against(&::splat::scan(log.as_bytes()));
        assert!(found(LOG) && !found("[    1.0] fine\n"));
        let mut harmless = ::splat::scan(LOG.as_bytes());
        harmless[0].kind = ::splat::Kind::Oom;
        assert!(!are_against(&harmless));
    }
}
