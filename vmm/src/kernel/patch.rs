//! `vmm kernel patch`: do the patches still apply?

use crate::{
    exit,
    say::{failed, out as say},
};
use base::{
    cache::{Cache, Kind},
    project,
    wanted::Wanted,
};
use clap::{Args, Subcommand};
use judge::Verdict;
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
    /// Say of each patch whether it applies; exits with 1 if one does not, and with 3 if a series could not be tried
    ///
    /// Every series of the project is tried on its own source, which is fetched if it is not in the cache. With --source, all of them
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
            code(&outcomes)
        }
        Err(error) => failed(&error, error.fault()),
    }
}

/// What was not tried must not look as if it applied.
fn code(outcomes: &[Outcome]) -> u8 {
    let verdict = |outcome: &Outcome| match outcome.source {
        Err(_) => Verdict::Infra,
        Ok(_) if outcome.is_bad() => Verdict::Fail,
        Ok(_) => Verdict::Pass,
    };
    exit::of_all(&outcomes.iter().map(verdict).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::patch::PatchError;

    #[test]
    fn a_series_that_could_not_be_tried_is_not_green() {
        let outcome = |source: Result<&str, KernelError>, patch: Option<Result<(), PatchError>>| Outcome {
            series: "kernel-patches/6.12".into(),
            source: source.map(str::to_owned),
            patches: vec![("1.patch".into(), patch)],
        };
        let applies = || outcome(Ok("6.12.3"), Some(Ok(())));
        let not_tried = || outcome(Err(KernelError::NoSuch("x".to_owned())), None);
        let unread = || PatchError::Unreadable {
            path: "1.patch".into(),
            series: None,
            source: std::io::Error::other("no"),
        };
        let rejected = || outcome(Ok("6.12.3"), Some(Err(unread())));
        assert_eq!(code(&[applies()]), 0);
        assert_eq!(code(&[not_tried(), applies()]), 3);
        assert_eq!(code(&[not_tried(), rejected()]), 1);
        assert!(not_tried().to_string().contains("6.12: not tried: failed to "));
    }
}
