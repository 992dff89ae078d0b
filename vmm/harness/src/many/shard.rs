//! One run on several machines: each takes its part, and all agree who takes what without a word between them.
//!
//! They agree since all do the same sum over the same input. That is why times come from a file that all are given, and not
//! from a machine's own cache: caches differ, and they change while others run.

use super::{Case, Times};
use crate::Abort;
use report::record::Shard;
use sha2::{Digest, Sha256};
use std::{env, str::FromStr, time::Duration};

/// So many parts are enough for anybody.
const MOST: u32 = 10_000;

/// A part, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// `3/8`
    Given(Part),
    /// `auto`, or `auto/8` where the environment does not tell how many there are.
    Auto(Option<u32>),
}

/// One of several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Counted from 1.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

impl FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected INDEX/COUNT such as 3/8, `auto`, or auto/COUNT, found `{text}`");
        let count = |text: &str| match text.parse::<u32>() {
            Ok(of) if (1..=MOST).contains(&of) => Ok(of),
            Ok(of) => Err(format!("there can't be {of} shards (1 to {MOST})")),
            Err(_) => Err(wrong()),
        };
        match text.split_once('/') {
            None if text == "auto" => Ok(Self::Auto(None)),
            None => Err(wrong()),
            Some(("auto", of)) => Ok(Self::Auto(Some(count(of)?))),
            Some((index, of)) => {
                let (index, of) = (index.parse::<u32>().map_err(|_| wrong())?, count(of)?);
                Part::checked(index, of).map(Self::Given)
            }
        }
    }
}

impl Part {
    fn checked(index: u32, of: u32) -> Result<Self, String> {
        if (1..=of).contains(&index) {
            return Ok(Self { index, of });
        }
        Err(format!("there is no shard {index} of {of}: they are counted from 1 to {of}"))
    }

    /// What `wish` means, where the environment is asked by `var`.
    fn found(wish: Wish, var: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let count = match wish {
            Wish::Given(part) => return Ok(part),
            Wish::Auto(count) => count,
        };
        let number = |name: &str| -> Result<Option<u32>, String> {
            let Some(text) = var(name) else { return Ok(None) };
            text.parse().map(Some).map_err(|_| format!("--shard auto: {name} is no number: `{text}`"))
        };
        if let Some(id) = number("SLURM_ARRAY_TASK_ID")? {
            // A task that is submitted again alone is an array of one: only who says how many there are knows it then.
            if let Some(of) = count {
                return Self::checked(id, of)
                    .map_err(|why| format!("--shard auto/{of}: {why}; submit it with --array=1-{of}"));
            }
            let (Some(of), Some(min), Some(max)) = (
                number("SLURM_ARRAY_TASK_COUNT")?,
                number("SLURM_ARRAY_TASK_MIN")?,
                number("SLURM_ARRAY_TASK_MAX")?,
            ) else {
                return Err("--shard auto: SLURM_ARRAY_TASK_COUNT, _MIN or _MAX is missing".into());
            };
            if max.checked_sub(min).and_then(|it| it.checked_add(1)) != Some(of) {
                return Err(format!(
                    "--shard auto: this Slurm array has {of} tasks between {min} and {max}, so there are holes; write \
                     --shard auto/COUNT"
                ));
            }
            return Self::checked(id.saturating_sub(min).saturating_add(1), of);
        }
        if let Some(index) = number("JOB_COMPLETION_INDEX")? {
            // Kubernetes counts from 0, and does not tell how many there are.
            let of = count.ok_or(
                "--shard auto: Kubernetes does not tell how many there are; write --shard auto/COUNT",
            )?;
            return Self::checked(index.saturating_add(1), of);
        }
        if let Some(index) = number("CI_NODE_INDEX")? {
            let of = number("CI_NODE_TOTAL")?.or(count);
            let of = of.ok_or("--shard auto: CI_NODE_INDEX is there, and CI_NODE_TOTAL is missing")?;
            return Self::checked(index, of);
        }
        Err("--shard auto: none of SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX and CI_NODE_INDEX is in the environment".into())
    }

    /// The part that is meant.
    ///
    /// # Errors
    /// The environment does not tell.
    pub fn of(wish: Wish) -> Result<Self, Abort> {
        Self::found(wish, |name| env::var(name).ok()).map_err(Abort::input)
    }

    /// Its cases, in their order, and what it says of itself in reports. `same` is what else all parts have to be given.
    pub fn take(self, cases: Vec<Case>, times: &Times, same: &[String]) -> (Vec<Case>, Shard) {
        let ids: Vec<String> = cases.iter().map(Case::id).collect();
        let owners = split(&ids, self.of, times);
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(env!("CARGO_PKG_VERSION").as_bytes());
        same.iter().for_each(|word| add(word.as_bytes()));
        for (case, owner) in cases.iter().zip(&owners) {
            add(format!("{owner} {} {:?}", case.id(), case.kernel).as_bytes());
            // As it was read: its file may be a pipe, or another one by now.
            add(case.scenario.source.text().as_bytes());
        }
        let plan = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let mine = cases.into_iter().zip(owners).filter(|(_, owner)| *owner == self.index);
        (mine.map(|(case, _)| case).collect(), Shard { index: self.index, of: self.of, plan, run: None })
    }
}

/// What the run is called that a part is of: as it was given, else as the engine calls it. Jobs that are run again, since
/// they failed, have the same there.
pub fn run_id(given: Option<&str>) -> Option<String> {
    let of_engine = || ["GITHUB_RUN_ID", "CI_PIPELINE_ID"].into_iter().find_map(|name| env::var(name).ok());
    given.map(str::to_owned).or_else(of_engine)
}

/// Which part takes each: the longest first, always to the one that has the least so far.
fn split(ids: &[String], of: u32, times: &Times) -> Vec<u32> {
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|at| (std::cmp::Reverse(times.of(&ids[*at])), &ids[*at]));
    let mut loads = vec![Duration::ZERO; of as usize];
    let mut owners = vec![0; ids.len()];
    for at in order {
        let least = (0..loads.len()).min_by_key(|shard| (loads[*shard], *shard)).unwrap_or(0);
        loads[least] += times.of(&ids[at]);
        owners[at] = least as u32 + 1;
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_part_is_one_of_those_that_there_are() {
        assert_eq!("3/8".parse(), Ok(Wish::Given(Part { index: 3, of: 8 })));
        assert_eq!("auto".parse(), Ok(Wish::Auto(None)));
        assert_eq!("auto/4".parse(), Ok(Wish::Auto(Some(4))));
        for wrong in ["9/8", "0/8", "1/0", "auto/0", "3", "", "a/b", "1/99999999999", "-1/3", "1/2/3"] {
            assert!(wrong.parse::<Wish>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_environment_of_each_engine_tells_the_part() {
        let found = |text: &str, given: &[(&str, &str)]| {
            let var = |name: &str| given.iter().find(|(known, _)| *known == name).map(|it| it.1.to_owned());
            Part::found(text.parse().unwrap(), var)
        };
        let slurm = |id, count, min, max| {
            [
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_COUNT", count),
                ("SLURM_ARRAY_TASK_MIN", min),
                ("SLURM_ARRAY_TASK_MAX", max),
            ]
        };
        let part = |index, of| Ok(Part { index, of });
        assert_eq!(found("auto", &slurm("5", "4", "4", "7")), part(2, 4));
        assert_eq!(found("auto", &slurm("0", "4", "0", "3")), part(1, 4));
        // Submitted again alone.
        assert_eq!(found("auto/4", &slurm("2", "1", "2", "2")), part(2, 4));
        assert!(found("auto/4", &slurm("0", "4", "0", "3")).unwrap_err().contains("--array=1-4"));
        assert!(found("auto", &slurm("5", "2", "1", "5")).unwrap_err().contains("holes"));
        assert_eq!(found("auto/3", &[("JOB_COMPLETION_INDEX", "2")]), part(3, 3));
        assert!(found("auto", &[("JOB_COMPLETION_INDEX", "2")]).unwrap_err().contains("auto/COUNT"));
        assert_eq!(found("auto", &[("CI_NODE_INDEX", "2"), ("CI_NODE_TOTAL", "5")]), part(2, 5));
        assert!(found("auto", &[("CI_NODE_INDEX", "6"), ("CI_NODE_TOTAL", "5")]).is_err());
        assert!(found("auto", &[("CI_NODE_INDEX", "x")]).unwrap_err().contains("no number"));
        assert!(found("auto", &[]).is_err());
    }

    #[test]
    fn parts_of_one_run_have_the_same_plan_and_parts_of_others_have_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        let plan = |index, text: &str, kernel: &str, same: &str| {
            fs::write(&path, text).unwrap();
            let scenario = scenario::load(&path).unwrap();
            // Of a pipe nothing comes any more.
            fs::write(&path, format!("read again by {index}")).unwrap();
            let cases = super::super::cases(vec![scenario], &[kernel.to_owned()], &Default::default());
            Part { index, of: 2 }.take(cases, &Times::default(), &[same.to_owned()]).1.plan
        };
        let text = "steps:\n- sleep: 1 s\n";
        let one = plan(1, text, "6.12", "--set a=b");
        assert_eq!(one, plan(2, text, "6.12", "--set a=b"));
        assert_ne!(one, plan(2, &text.replace('1', "2"), "6.12", "--set a=b"), "another scenario");
        assert_ne!(one, plan(2, text, "7.3", "--set a=b"), "another kernel");
        assert_ne!(one, plan(2, text, "6.12", "--set a=c"), "other options");
        assert_eq!(run_id(Some("7")), Some("7".to_owned()));
    }

    #[test]
    fn parts_are_even_by_time_and_everything_is_in_exactly_one() {
        let ids: Vec<String> = (0..7).map(|at| format!("{at}.yaml")).collect();
        let even = split(&ids, 3, &Times::default());
        let counts = [1, 2, 3].map(|part| even.iter().filter(|owner| **owner == part).count());
        assert_eq!(counts, [3, 2, 2]);
        // One takes as long as all others together.
        let times = Times::given(&[("0.yaml", 60), ("1.yaml", 10), ("2.yaml", 10), ("3.yaml", 10)]);
        let owners = split(&ids[..4], 2, &times);
        assert_eq!(owners, [1, 2, 2, 2]);
        assert_eq!(split(&ids, 3, &times), split(&ids, 3, &times), "always the same");
        assert_eq!(split(&ids[..1], 3, &times).len(), 1);
    }
}
