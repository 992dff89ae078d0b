//! Tests that a kernel runs by itself as it boots, suite by suite.

use judge::{Outcome, Subtest};

/// The outermost test, with those that it is made of counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// As they should.
    pub passed: usize,
    /// Or did not end well in another way that nobody expects.
    pub failed: usize,
    /// They did not run, and say so.
    pub skipped: usize,
}

/// The suites in the order in which they began. A test that is made of others counts only through these.
pub fn suites(tests: &[Subtest]) -> Vec<Suite> {
    let mut suites: Vec<Suite> = Vec::new();
    for Subtest { test, .. } in tests {
        let Some(name) = test.path.first() else { continue };
        if suites.last().is_none_or(|suite| suite.name != *name) {
            suites.push(Suite { name: name.clone(), passed: 0, failed: 0, skipped: 0 });
        }
        let Some(suite) = suites.last_mut() else { continue };
        match test.outcome {
            // A suite that fails without a failing case must not look whole.
            Outcome::Failed if test.has_parts => suite.failed = suite.failed.max(1),
            _ if test.has_parts => {}
            Outcome::Passed | Outcome::ExpectedFailure => suite.passed += 1,
            Outcome::Failed => suite.failed += 1,
            Outcome::Skipped => suite.skipped += 1,
        }
    }
    suites
}

#[cfg(test)]
mod tests {
    use super::*;
    use judge::Place;

    #[test]
    fn cases_are_counted_and_a_suite_that_fails_by_itself_has_a_failure() {
        let test = |path: &str, outcome, has_parts| Subtest {
            test: ktap::Test {
                path: path.split('/').map(str::to_owned).collect(),
                outcome,
                why: None,
                has_parts,
            },
            place: Place::Log,
        };
        let all = suites(&[
            test("a/one", Outcome::Passed, false),
            test("a/two", Outcome::Skipped, false),
            test("a", Outcome::Passed, true),
            test("b/one", Outcome::Passed, false),
            test("b", Outcome::Failed, true),
            test("c", Outcome::Failed, false),
        ]);
        let counts: Vec<_> =
            all.iter().map(|it| (it.name.as_str(), it.passed, it.failed, it.skipped)).collect();
        assert_eq!(counts, [("a", 1, 0, 1), ("b", 1, 1, 0), ("c", 0, 1, 0)]);
    }
}
