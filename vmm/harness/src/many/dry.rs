//! Runs that are planned and not begun: what can be known without fetching, building or booting anything.

use super::Case;
use crate::{Abort, Options, kernel::meant, session};
use base::cache::Cache;

/// What is known of a run that was not begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreseen {
    /// Its kernel is here, by its release and hash, and can do what the steps ask for.
    Ready {
        /// `uname -r`.
        release: String,
        /// The cache's key.
        hash: String,
    },
    /// Its kernel is not in the cache, so what only the kernel knows was not looked at: names of system calls, its configuration.
    NoKernel,
}

/// Looks at each case as far as a run would come before it has to get something.
///
/// # Errors
/// There is no place for the cache. What is wrong with a case is its own.
pub fn foresee(cases: &[Case], options: &Options) -> Result<Vec<Result<Foreseen, Abort>>, Abort> {
    let cache = Cache::open()?;
    Ok(cases.iter().map(|case| foresee_one(case, options, &cache)).collect())
}

fn foresee_one(case: &Case, options: &Options, cache: &Cache) -> Result<Foreseen, Abort> {
    let scenario = &*options.applied_to(&case.scenario);
    session::look_at_modules(&scenario.modules)?;
    let meant = meant(&session::wanted(scenario, &case.kernel), Some(&scenario.path), cache)?;
    let Some(kernel) = kernel::found(&meant, cache)? else { return Ok(Foreseen::NoKernel) };
    session::look(scenario, &kernel, options.trace.as_deref())?;
    Ok(Foreseen::Ready { release: kernel.release, hash: kernel.hash })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::wanted::Wanted;
    use judge::Verdict;
    use std::sync::Arc;

    /// Who checks a scenario before a commit is told of what a run would say after minutes, and no kernel is built for that.
    #[test]
    fn names_are_looked_up_in_a_kernel_that_is_there_and_none_is_built() {
        let (_folder, cache, kernel) = ::kernel::fixture::fake_kernel();
        let look = |step: &str, kernel: &str| {
            let scenario = Arc::new(scenario::fixture::scenario(&format!("steps:\n- {step}\n")));
            let kernel = Wanted { kernel: Some(kernel.to_owned()), ..Wanted::default() };
            let case = Case { scenario, variant: String::new(), kernel };
            foresee_one(&case, &Options::default(), &cache)
        };
        let ready = Foreseen::Ready { release: kernel.release.clone(), hash: kernel.hash.clone() };
        assert_eq!(look("syscall: ours", &kernel.hash), Ok(ready));
        let typo = look("syscall: oursx", &kernel.hash).unwrap_err();
        assert!(typo.verdict == Verdict::BadInput && typo.why.contains("`ours`"), "{}", typo.why);
        let before = cache.keys(base::cache::Kind::Kernel).unwrap();
        assert_eq!(look("syscall: oursx", "6.12"), Ok(Foreseen::NoKernel));
        assert_eq!(cache.keys(base::cache::Kind::Kernel).unwrap(), before);
    }
}
