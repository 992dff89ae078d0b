//! `vmm bench bisect`: this program and `git bisect run`, each on the same history of the kernel.
//!
//! Both begin as a user does who has seen that one end is good and the other one bad: git with a build folder in which the bad end was
//! built last, this program with what `vmm run --source REPOSITORY#REVISION` left of both ends. git's script calls make, without ccache, and
//! `vmm run --bisect`. This program's time has the proof in it, which git does not make.

mod history;
pub mod linux;
mod sides;

use base::cache::{self, Cache, CacheError};
use harness::Abort;
use history::Made;
use sides::{Place, Side};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::git::GitError;

/// What this program may take of git's time.
const BAR: f64 = 0.6;

fn fault(error: GitError) -> Abort {
    match error {
        GitError::Input(why) => Abort::infra(why),
        GitError::Machine(error) => error.into(),
    }
}

/// Measures both, once each, and compares. It takes some ten minutes on two processors.
///
/// # Errors
/// This machine; or this program's answer is wrong.
pub fn measure() -> Result<String, Abort> {
    let cache = Cache::open()?;
    let base = linux::base(&cache).map_err(fault)?;
    let folder = cache.root().join("bisect-bench/run");
    let _lock = cache.lock("bisect-bench-run", "another benchmark of bisections")?;
    // Nothing of an earlier one may help.
    cache::remove(&folder)?;
    fs::create_dir_all(&folder).map_err(CacheError::io("make the folder", &folder))?;
    let salt = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let Made { linux, good, bad, culprit } =
        history::make(&folder.join("linux.git"), &base, salt).map_err(fault)?;
    let place = Place::new(&folder, own_cache(&cache, &folder)?, linux)?;
    let ends = [&place.linux.commits[good], &place.linux.commits[bad]];
    place.see_both_ends(ends)?;
    let ours = place.ours(ends)?;
    let wanted = &place.linux.commits[culprit];
    if ours.answer != *wanted {
        return Err(Abort::infra(format!(
            "vmm bisect names {} and should name {wanted}: that is a mistake of this program",
            ours.answer
        )));
    }
    let git = place.git(ends)?;
    Ok(table(place.linux.commits.len() - 1, &git, &ours, wanted))
}

/// A cache with no kernel in it. Compiled objects are shared with the user's: it is a source that was built before, and what the
/// history changes was not.
fn own_cache(cache: &Cache, folder: &Path) -> Result<PathBuf, Abort> {
    let own = folder.join("cache");
    fs::create_dir_all(&own).map_err(CacheError::io("make the folder", &own))?;
    for name in ["tools", "emulator", "ccache"] {
        let (from, to) = (cache.root().join(name), own.join(name));
        symlink(&from, &to).map_err(CacheError::io("make the link", &to))?;
    }
    Ok(own)
}

fn table(commits: usize, git: &Side, ours: &Side, wanted: &str) -> String {
    let ratio = ours.took.as_secs_f64() / git.took.as_secs_f64().max(1e-9);
    let most = ours.matter.max(1).next_power_of_two().ilog2() as usize + 2;
    let minutes = |took: Duration| format!("{:.1} min", took.as_secs_f64() / 60.0);
    let right = |side: &Side| if side.answer == wanted { "right" } else { "wrong" };
    let mut text = format!("{commits} commits, {} of which can matter\n\n", ours.matter);
    text += &format!("{:<22}{:>16}{:>16}\n", "", "git bisect run", "vmm bisect");
    let mut row = |name: &str, git: &str, ours: &str| text += &format!("{name:<22}{git:>16}{ours:>16}\n");
    row("wall time", &minutes(git.took), &minutes(ours.took));
    row("builds", &git.builds.to_string(), &ours.builds.to_string());
    row("objects compiled", &git.objects.to_string(), &ours.objects.to_string());
    row("runs", &git.runs.to_string(), &ours.runs.to_string());
    row("answer", right(git), right(ours));
    text += &format!("\ntime: {ratio:.2} of git's (bar: {BAR})\n");
    text += &format!("builds: {} (bar: {most}, ceil(log2({})) + 2)\n", ours.builds, ours.matter);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_beside_their_bars() {
        let side = |answer: &str, seconds, builds, objects| Side {
            took: Duration::from_secs(seconds),
            builds,
            objects,
            runs: 9,
            answer: answer.to_owned(),
            matter: 22,
        };
        insta::assert_snapshot!(table(67, &side("b", 1500, 9, 3000), &side("a", 600, 7, 900), "a"));
    }
}
