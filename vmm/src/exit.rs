//! Exit codes: the one place where a verdict becomes a number.
//!
//! | code | verdicts |
//! |---|---|
//! | 0 | pass |
//! | 1 | all that are held against a kernel, a module or an expectation |
//! | 2 | bad input; also what the command line's parser refuses |
//! | 3 | infra: this machine's fault, never the kernel's |
//! | 125 | of `vmm run --bisect` only: this commit can't be judged |
//! | 128 | of `vmm run --bisect` only: no commit can: the command line, a file that is not there, this machine |
//! | 128 + n | ended by signal n: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP |

use base::interrupt;
use judge::Verdict;
use std::ffi::OsString;

/// What `git bisect run` takes for a commit to be skipped.
pub const SKIP: u8 = 125;

/// At this, git ends its bisection, whereas all below that are not 0 and not [`SKIP`] are a bad commit's.
pub const END: u8 = 128;

/// The code of what ended before anything was begun; `words` are those of the command line.
pub fn before_anything(verdict: Verdict, mut words: impl Iterator<Item = OsString>) -> u8 {
    // clap has not read them, or could not: the typo may be in this one.
    if words.any(|word| word.as_encoded_bytes().starts_with(b"--bis")) { END } else { code(verdict) }
}

/// What `git bisect run` is told: it skips a commit that can't be judged, and ends where whoever started it wants it to end, or this
/// machine could not begin. It would end at any other code as well, and takes 126 and 127 for a script that is not there.
pub fn for_git(code: u8) -> u8 {
    match code {
        // What ended before there were runs; of those, `run.rs` says which a commit is skipped for.
        3 => END,
        2..END => SKIP,
        code => code,
    }
}

/// The code of one verdict.
pub fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::BadInput => 2,
        Verdict::Infra => 3,
        Verdict::Interrupted => 128 + interrupt::signal(),
        Verdict::Fail
        | Verdict::Splat
        | Verdict::Oops
        | Verdict::Panic
        | Verdict::HangSpinning
        | Verdict::HangIdle
        | Verdict::Tampered
        | Verdict::BootFailed
        | Verdict::BuildFailed => 1,
    }
}

/// The code of several runs. What is known to be wrong with a kernel goes before what could not be found out about
/// another, and that before a pass.
pub fn of_all(verdicts: &[Verdict]) -> u8 {
    code(worst(verdicts))
}

/// The one that goes before all others.
pub fn worst(verdicts: &[Verdict]) -> Verdict {
    let rank = |verdict: &Verdict| match code(*verdict) {
        0 => 0,
        3 => 1,
        2 => 2,
        1 => 3,
        _ => 4,
    };
    verdicts.iter().copied().max_by_key(rank).unwrap_or(Verdict::Pass)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_not_hidden_by_what_could_not_be_run() {
        use Verdict::{BadInput, BuildFailed, Fail, Infra, Interrupted, Pass};
        assert_eq!(of_all(&[Fail, BadInput]), 1);
        assert_eq!(of_all(&[Infra, BuildFailed, Pass]), 1);
        assert_eq!(of_all(&[Pass, BadInput, Infra]), 2);
        assert_eq!(of_all(&[Pass, Infra]), 3);
        assert_eq!(of_all(&[Fail, Interrupted]), 130);
        assert_eq!((of_all(&[Pass, Pass]), of_all(&[])), (0, 0));
    }

    /// git takes 2 and 3 for a bad commit, and would blame the first one for a typo.
    #[test]
    fn what_was_not_begun_ends_gits_bisection() {
        use Verdict::{BadInput, Infra};
        let of = |verdict, words: &[&str]| before_anything(verdict, words.iter().map(OsString::from));
        assert_eq!(of(BadInput, &["vmm", "run", "--bisect", "--nonsense", "s.yaml"]), 128);
        assert_eq!(of(Infra, &["vmm", "run", "s.yaml", "--bisect"]), 128);
        assert_eq!(of(BadInput, &["vmm", "run", "s.yaml", "--bisec"]), 128);
        assert_eq!((of(BadInput, &["vmm", "bisect", "--nonsense"]), of(Infra, &["vmm", "run"])), (2, 3));
    }

    #[test]
    fn git_skips_what_can_not_be_judged_and_ends_by_a_signal() {
        assert_eq!([0, 1, 2, 125, 130, 143].map(for_git), [0, 1, SKIP, SKIP, 130, 143]);
    }

    /// With a machine that is not ready, git would skip all commits one after the other.
    #[test]
    fn what_this_machine_could_not_begin_ends_gits_bisection() {
        assert_eq!(for_git(code(Verdict::Infra)), END);
    }

    #[test]
    fn a_fault_has_the_code_of_its_verdict() {
        use base::cache::Fault;
        let faults = [Fault::Build, Fault::Input, Fault::Machine, Fault::Interrupted];
        assert_eq!(faults.map(|fault| code(fault.into())), [1, 2, 3, 130]);
    }
}
