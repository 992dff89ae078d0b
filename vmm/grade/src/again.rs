//! What does not get all points is run once more, so that no student loses any by chance. Whoever hangs is not waited for as long as
//! the first time, once it is known where: what hangs again at that place has hung.

use crate::{assignment::Rule, points::Points, record::Run, run::Stopped, score};
use base::module::kernels_name;
use judge::StepVerdict;
use regex::Regex;
use std::{collections::BTreeSet, sync::LazyLock};

/// How long a run's steps may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// As long as the scenario says.
    Whole,
    /// A part of that, which is enough to be found again where it hung before.
    Short,
}

/// A run, or why there is none.
type Ran = Result<Result<Run, String>, Stopped>;

/// Where a student's code hung in two runs of a test.
#[derive(Debug, Default)]
pub struct Hangs(BTreeSet<String>);

impl Hangs {
    /// The run of a test that counts, and another one that came to something else. `module` is the student's.
    ///
    /// # Errors
    /// Why the first run could not be; or the user pressed Ctrl-C.
    pub fn settle(
        &mut self,
        of: Points,
        rule: Rule,
        module: &str,
        run: &mut dyn FnMut(Patience) -> Ran,
    ) -> Result<Result<(Run, Option<Run>), String>, Stopped> {
        let first = match self.0.is_empty() {
            true => run(Patience::Whole)?,
            false => shortly(run, module, |place| self.0.contains(place))?,
        };
        let first = match first {
            Ok(first) if first.points != of => first,
            other => return Ok(other.map(|first| (first, None))),
        };
        let place = place(&first, module);
        let second = match &place {
            Some(here) => shortly(run, module, |place| place == here)?,
            None => run(Patience::Whole)?,
        };
        // A host that fails now takes nothing from what is known.
        let Ok(second) = second else { return Ok(Ok((first, None))) };
        if place.is_some() && self::place(&second, module) == place {
            self.0.extend(place);
        }
        Ok(Ok(score::choose(first, second, rule)))
    }
}

/// A run with little patience, and one with all of it where the first did not end and is not known to hang there.
fn shortly(run: &mut dyn FnMut(Patience) -> Ran, module: &str, known: impl Fn(&str) -> bool) -> Ran {
    match run(Patience::Short)? {
        Ok(short) if was_cut(&short) && !place(&short, module).is_some_and(|place| known(&place)) => {
            run(Patience::Whole)
        }
        short => Ok(short),
    }
}

/// Whether with more time it might have come to something else: it hung, or a program that still ran was ended.
fn was_cut(run: &Run) -> bool {
    hung(run) || run.steps.iter().any(|step| step.verdict == StepVerdict::Timeout.to_string())
}

fn hung(run: &Run) -> bool {
    run.verdict.starts_with("hang")
}

/// The function in which a run hung: the student's own, as far as one is seen; else the one in which a processor was most of the time.
pub fn place(run: &Run, module: &str) -> Option<String> {
    static FUNCTION: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(\w+)\+0x[0-9a-f]+(?: \[(\w+)\])?").expect("a constant that tests use")
    });
    static SAMPLES: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"running at .*\((\d+) of (\d+) samples\)").expect("a constant that tests use")
    });
    if !hung(run) {
        return None;
    }
    let module = kernels_name(module);
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
    use crate::record::Step;

    fn run(verdict: &str, standing: &[&str]) -> Run {
        Run {
            verdict: verdict.into(),
            reason: String::new(),
            is_complete: true,
            doubt: None,
            points: Points::NONE,
            parts: Vec::new(),
            steps: Vec::new(),
            failures: Vec::new(),
            findings: Vec::new(),
            standing: standing.iter().map(|it| (*it).to_owned()).collect(),
            log: Vec::new(),
            took_ms: 1,
            own_ms: 0,
        }
    }

    fn step(verdict: StepVerdict) -> Step {
        Step {
            name: None,
            title: "run x".into(),
            of_the_run: false,
            verdict: verdict.to_string(),
            bad: true,
            why: None,
            failures: Vec::new(),
            output: String::new(),
            log: Vec::new(),
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
    fn a_hang_is_waited_for_once_and_everybody_has_a_second_chance() {
        use Patience::{Short, Whole};
        let mut hangs = Hangs::default();
        // What it comes to with all patience, run by run; a hang with little is what it is with all of it.
        let mut tried = |runs: &[Run]| {
            let mut runs = runs.iter();
            let mut waited = Vec::new();
            let mut run = |patience| {
                waited.push(patience);
                Ok(Ok(runs.next().expect("no more is run").clone()))
            };
            let settled = hangs.settle(Points::MOST, Rule::Best, "x", &mut run).unwrap().unwrap();
            assert!(runs.next().is_none(), "more should have been run");
            (settled.0.verdict, settled.1.is_some(), waited)
        };
        let (read, write) = (|| run("hang-spinning", &[READ]), || run("hang-spinning", &[WRITE]));
        let pass = || Run { points: Points::MOST, ..run("pass", &[]) };
        let fail = || run("fail", &[]);
        let hang = || "hang-spinning".to_owned();
        assert_eq!(tried(&[pass()]), ("pass".to_owned(), false, vec![Whole]));
        assert_eq!(tried(&[read(), pass()]), ("pass".to_owned(), true, vec![Whole, Short]), "by chance");
        assert_eq!(
            tried(&[read(), write(), pass()]),
            ("pass".to_owned(), true, vec![Whole, Short, Whole]),
            "merely slow"
        );
        assert_eq!(tried(&[fail(), fail()]), ("fail".to_owned(), false, vec![Whole, Whole]));
        assert_eq!(tried(&[read(), read()]), (hang(), false, vec![Whole, Short]), "known from now on");
        assert_eq!(tried(&[read(), read()]), (hang(), false, vec![Short, Short]), "in another test");
        assert_eq!(tried(&[read(), pass()]), ("pass".to_owned(), true, vec![Short, Short]), "at times");
        assert_eq!(tried(&[pass()]), ("pass".to_owned(), false, vec![Short]));
        // A program that only takes its time: the guest lives.
        let slow = || Run { steps: vec![step(StepVerdict::Timeout)], ..fail() };
        assert_eq!(tried(&[slow(), pass()]), ("pass".to_owned(), false, vec![Short, Whole]));
        assert_eq!(
            tried(&[write(), write(), write()]),
            (hang(), false, vec![Short, Whole, Short]),
            "elsewhere"
        );
        assert_eq!(hangs.settle(Points::MOST, Rule::Best, "x", &mut |_| Err(Stopped)).err(), Some(Stopped));
        let none = hangs.settle(Points::MOST, Rule::Best, "x", &mut |_| Ok(Err("no host".into())));
        assert_eq!(none.unwrap().unwrap_err(), "no host");
    }
}
