//! How sure it is which commit did it.
//!
//! A fault shows itself in a run with a chance that nobody knows. So each commit that may have done it is held against all that was seen:
//! the fault was seen in `h` runs, and if this commit did it, `n` runs of commits that must have the fault showed nothing. With every
//! chance equally likely beforehand, what was seen then has the likelihood B(h + 1, n + 1), the beta function; and no
//! likelihood at all if the fault was seen where it can't be.

use crate::history::{History, Set};

/// What was seen at a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Runs that showed the fault.
    pub hits: u32,
    /// Runs that did not.
    pub clean: u32,
    /// Of both, those on a fresh build.
    pub fresh_hits: u32,
    pub fresh_clean: u32,
    /// Somebody else is sure.
    pub told: Option<bool>,
}

impl Tally {
    pub fn runs(&self) -> u32 {
        self.hits + self.clean
    }

    /// The fault is there, beyond doubt.
    pub fn has_fault(&self) -> bool {
        self.hits > 0 || self.told == Some(true)
    }
}

/// Beforehand: that the ends are not what the user says.
const DOUBT: f64 = 0.1;

/// How likely each commit is to have done it.
#[derive(Clone, Debug)]
pub(crate) struct Belief {
    /// By place; the old end's is that of everything before the range.
    /// What is missing from 1 is that no commit did.
    pub weights: Vec<f64>,
}

/// Whether a commit has the fault, if it was the search's object that changed there.
pub(crate) fn faulty(has_change: bool, fixed: bool) -> bool {
    has_change != fixed
}

impl Belief {
    /// From what was seen, at each place.
    pub fn new(history: &History, seen: &[(usize, Tally, Set)], fixed: bool) -> Self {
        let hits: u32 = seen.iter().map(|(_, tally, _)| tally.hits).sum();
        let likelihood = |has_change: &dyn Fn(&Set) -> bool| {
            let mut clean = 0;
            for (_, tally, reach) in seen {
                let faulty = faulty(has_change(reach), fixed);
                if !faulty && tally.hits > 0 || tally.told.is_some_and(|told| told != faulty) {
                    return f64::NEG_INFINITY;
                }
                if faulty {
                    clean += tally.clean;
                }
            }
            ln_beta(hits, clean)
        };
        let inner = (history.len() - 1).max(1) as f64;
        let mut logs: Vec<f64> = (0..history.len())
            .map(|place| {
                let prior = if place == History::OLD { DOUBT } else { (1.0 - 2.0 * DOUBT) / inner };
                prior.ln() + likelihood(&|reach: &Set| reach.contains(place))
            })
            .collect();
        logs.push(DOUBT.ln() + likelihood(&|_| false));
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut weights: Vec<f64> =
            logs.iter().map(|log| if most.is_finite() { (log - most).exp() } else { 0.0 }).collect();
        let sum: f64 = weights.iter().sum();
        if sum > 0.0 {
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        weights.pop();
        Self { weights }
    }

    /// How likely it is that this commit has the fault.
    pub fn faulty(&self, reach: &Set, fixed: bool) -> f64 {
        let changed: f64 =
            self.weights.iter().enumerate().filter(|(place, _)| reach.contains(*place)).map(|(_, w)| w).sum();
        if fixed { 1.0 - changed } else { changed }
    }

    /// The likeliest commit; of equal ones the oldest.
    pub fn best(&self) -> usize {
        let mut best = 0;
        for (place, weight) in self.weights.iter().enumerate() {
            if *weight > self.weights[best] {
                best = place;
            }
        }
        best
    }
}

/// ln B(h + 1, n + 1) = ln (h! n! / (h + n + 1)!).
pub(crate) fn ln_beta(hits: u32, clean: u32) -> f64 {
    // h! n! / (h + n + 1)! is the product of k / (l + k) for k up to the smaller one, with l the larger, over h + n + 1.
    let (small, large) = (hits.min(clean), hits.max(clean));
    let quotient = |k: u32| (f64::from(k) / f64::from(large + k)).ln();
    (1..=small).map(quotient).sum::<f64>() - f64::from(hits + clean + 1).ln()
}

/// So many further runs without the fault make it unlikely enough that a commit has it, after so many that showed it and so many
/// that had it and did not.
pub(crate) fn runs_needed(hits: u32, missed: u32, doubt: f64) -> u32 {
    let before = ln_beta(hits, missed);
    (1..1000).find(|more| ln_beta(hits, missed + more) - before <= doubt.ln()).unwrap_or(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sure_faults_need_few_runs_and_rare_ones_many() {
        assert_eq!(runs_needed(3, 0, 0.05), 3);
        assert_eq!(runs_needed(10, 0, 0.05), 2);
        assert!((10..20).contains(&runs_needed(4, 12, 0.05)), "{}", runs_needed(4, 12, 0.05));
    }

    #[test]
    fn beta_is_what_the_books_say() {
        // B(2, 3) = 1! 2! / 4! = 1/12.
        assert!((ln_beta(1, 2).exp() - 1.0 / 12.0).abs() < 1e-12);
    }
}
