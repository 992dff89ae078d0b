//! What does not get all points is run once more, so that no student loses any by chance. Only a hang that came twice at one place is
//! not waited for again in later tests: nobody learns anything by it.

use crate::{assignment::Rule, points::Points, record::Run, run::Stopped, score};
use regex::Regex;
use std::{collections::BTreeSet, sync::LazyLock};

/// Where a student's code hung in two runs of a test.
#[derive(Debug, Default)]
pub struct Hangs(BTreeSet<String>);

impl Hangs {
    /// The run that counts of a first one and, where it is needed, of `again`'s; and another one that came to something else. `module` is the
    /// student's.
    ///
    /// # Errors
    /// The user pressed Ctrl-C.
    pub fn settle(
        &mut self,
        first: Run,
        of: Points,
        rule: Rule,
        module: &str,
        again: &mut dyn FnMut() -> Result<Result<Run, String>, Stopped>,
    ) -> Result<(Run, Option<Run>), Stopped> {
        let place = place(&first, module);
        if first.points == of || place.as_ref().is_some_and(|place| self.0.contains(place)) {
            return Ok((first, None));
        }
        // A host that fails now takes nothing from what is known.
        let Ok(second) = again()? else { return Ok((first, None)) };
        if let Some(here) = place
            && self::place(&second, module).as_ref() == Some(&here)
        {
            self.0.insert(here);
        }
        Ok(score::choose(first, second, rule))
    }
}

/// The function in which a run hung: the student's own, as far as one is seen; else the one in which a processor was most of the time.
pub fn place(run: &Run, module: &str) -> Option<String> {
    static FUNCTION: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(\w+)\+0x[0-9a-f]+(?: \[(\w+)\])?").expect("a constant that tests use")
    });
    static SAMPLES: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"running at .*\((\d+) of (\d+) samples\)").expect("a constant that tests use")
    });
    if !run.verdict.starts_with("hang") {
        return None;
    }
    let module = module.replace('-', "_");
    let functions = || run.standing.iter().filter_map(|line| FUNCTION.captures(line));
    let own =
        functions().find(|found| found.get(2).is_some_and(|it| !module.is_empty() && it.as_str() == module));
    let most = || {
        run.standing.iter().find_map(|line| {
            let samples = SAMPLES.captures(line)?;
            let number = |index: usize| samples[index].parse::<u32>().ok();
            (number(1)? * 2 > number(2)?).then(|| FUNCTION.captures(line))?
        })
    };
    let found = own.or_else(most)?;
    Some(format!("{} in {}", run.verdict, &found[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(verdict: &str, standing: &[&str]) -> Run {
        Run {
            verdict: verdict.into(),
            reason: String::new(),
            points: Points::NONE,
            parts: Vec::new(),
            steps: Vec::new(),
            failures: Vec::new(),
            findings: Vec::new(),
            standing: standing.iter().map(|it| (*it).to_owned()).collect(),
            log: Vec::new(),
            took_ms: 1,
        }
    }

    const READ: &str = "vCPU 0 running at x_read+0x9b [x], x.c:49 (4 of 5 samples)";
    const WRITE: &str = "vCPU 0 running at x_write+0x1 [x], x.c:60 (5 of 5 samples)";

    #[test]
    fn a_hang_is_known_by_the_students_own_function() {
        for (verdict, standing, wanted) in [
            (
                "hang-spinning",
                &["vCPU 0 running at update_curr+0x1 (1 of 5 samples)", READ][..],
                Some("x_read"),
            ),
            (
                "hang-idle",
                &[
                    "vCPU 0 halted at pv_native_safe_halt+0x17 (5 of 5 samples)",
                    "init (pid 28) sleeps:",
                    "  schedule+0x2a",
                    "  x_read+0x39 [x]  x.c:49",
                ],
                Some("x_read"),
            ),
            (
                "hang-spinning",
                &["vCPU 0 running at __x64_sys_average+0x25 (5 of 5 samples)"],
                Some("__x64_sys_average"),
            ),
            (
                "hang-spinning",
                &["vCPU 0 running at a+0x1 (1 of 5 samples)", "vCPU 0 running at b+0x1 (2 of 5 samples)"],
                None,
            ),
            ("hang-idle", &["vCPU 0 halted at pv_native_safe_halt+0x17 (5 of 5 samples)"], None),
            ("fail", &[READ], None),
        ] {
            let wanted = wanted.map(|function| format!("{verdict} in {function}"));
            assert_eq!(place(&run(verdict, standing), "x"), wanted, "{standing:?}");
        }
    }

    #[test]
    fn only_a_hang_that_came_twice_at_one_place_is_not_tried_again() {
        let mut hangs = Hangs::default();
        let mut tried = |first: Run, second: Run| {
            let mut times = 0;
            let mut again = || {
                times += 1;
                Ok(Ok(second.clone()))
            };
            let settled = hangs.settle(first, Points::MOST, Rule::Best, "x", &mut again);
            (settled.unwrap().1.is_some(), times)
        };
        let (read, write) = (|| run("hang-spinning", &[READ]), || run("hang-spinning", &[WRITE]));
        let pass = || Run { points: Points::MOST, ..run("pass", &[]) };
        assert_eq!(tried(pass(), pass()), (false, 0));
        assert_eq!(tried(read(), pass()), (true, 1), "by chance");
        assert_eq!(tried(read(), read()), (false, 1), "that was once only");
        assert_eq!(tried(read(), pass()), (false, 0), "that was twice");
        assert_eq!(tried(write(), write()), (false, 1), "elsewhere");
        assert_eq!(tried(run("fail", &[]), run("fail", &[])), (false, 1));
    }
}
