//! Runs that are planned and not begun: what can be known without fetching, building or booting anything.

use super::Case;
use crate::{Abort, Options, kernel::meant, session};
use ::kernel::{self, Found, wanted::Meant};
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
    /// Its kernel's source is not in the cache, so that nobody knows whether the kernel is: the same was not looked at.
    NoSource,
}

/// Looks at each case as far as a run would come before it has to get something.
///
/// # Errors
/// There is no place for the cache. What is wrong with a case is its own.
pub fn foresee(cases: &[Case], options: &Options) -> Result<Vec<Result<Foreseen, Abort>>, Abort> {
    let mut kernels = Kernels { cache: Cache::open()?, known: Vec::new() };
    Ok(cases.iter().map(|case| foresee_one(case, options, &mut kernels)).collect())
}

/// Most scenarios mean the same few kernels, and to look for one takes as long as to read a hundred scenarios.
struct Kernels {
    cache: Cache,
    known: Vec<(Meant, Result<Found, Abort>)>,
}

impl Kernels {
    fn find(&mut self, meant: Meant) -> Result<Found, Abort> {
        if let Some((_, found)) = self.known.iter().find(|(known, _)| *known == meant) {
            return found.clone();
        }
        let found = kernel::found(&meant, &self.cache).map_err(Abort::from);
        self.known.push((meant, found.clone()));
        found
    }
}

fn foresee_one(case: &Case, options: &Options, kernels: &mut Kernels) -> Result<Foreseen, Abort> {
    let scenario = &*options.applied_to(&case.scenario);
    session::look_at_modules(&scenario.modules)?;
    let meant = meant(&session::wanted(scenario, &case.kernel), Some(&scenario.path), &kernels.cache)?;
    let kernel = match kernels.find(meant)? {
        Found::Kernel(kernel) => *kernel,
        Found::NotBuilt => return Ok(Foreseen::NoKernel),
        Found::NoSource => return Ok(Foreseen::NoSource),
    };
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
        let mut kernels = Kernels { cache, known: Vec::new() };
        let mut look = |step: &str, kernel: &str| {
            let scenario = Arc::new(scenario::fixture::scenario(&format!("steps:\n- {step}\n")));
            let kernel = Wanted { kernel: Some(kernel.to_owned()), ..Wanted::default() };
            let case = Case { scenario, variant: String::new(), kernel };
            foresee_one(&case, &Options::default(), &mut kernels)
        };
        let ready = Foreseen::Ready { release: kernel.release.clone(), hash: kernel.hash.clone() };
        assert_eq!(look("syscall: ours", &kernel.hash), Ok(ready));
        let typo = look("syscall: oursx", &kernel.hash).unwrap_err();
        assert!(typo.verdict == Verdict::BadInput && typo.why.contains("`ours`"), "{}", typo.why);
        assert_eq!(look("syscall: oursx", "6.12"), Ok(Foreseen::NoSource));
        assert_eq!(kernels.known.len(), 2, "each was looked for once");
        assert_eq!(kernels.cache.keys(base::cache::Kind::Kernel).unwrap(), [kernel.hash]);
    }
}
